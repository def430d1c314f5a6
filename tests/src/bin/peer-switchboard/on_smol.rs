//! The works on the async peer.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fs::File;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smol::LocalExecutor;
use switchboard_smol::{
    Builder, Cx, Hub, Peer, Raw, Reason, RequestError, SendRefusal, SharedFd, builder,
};

use crate::args::{ASK, Args, Driver, Role, TELL, Work};
use crate::report::{self, Latencies, now};

type Done = Result<(), Box<dyn Error>>;

pub(crate) async fn run(args: &Args) -> Done {
    let builder = match args.role {
        Role::Hub => builder(&args.address).hub(),
        Role::Server if args.through_hub => server(args).name("server"),
        Role::Server => server(args).hub(),
        Role::Client => builder(&args.address),
    };
    match args.driver {
        // One thread for both, and tasks of one executor: who wakes the other wakes no thread.
        Driver::Split => {
            let (peer, driver) = builder.split().await?;
            let executor = LocalExecutor::new();
            executor.spawn(driver).detach();
            let play = executor.spawn(play(&peer, args));
            executor.run(play).await
        }
        _ => play(&builder.open()?, args).await,
    }
}

async fn play(peer: &Peer, args: &Args) -> Done {
    peer.connected().await?;
    match (args.role, args.work) {
        (Role::Client, Work::Ask(window)) => ask(peer, args, window).await,
        (Role::Client, Work::Tell) => tell(peer, args).await,
        (Role::Client, Work::Descriptors(window)) => pass_descriptors(peer, args, window).await,
        (Role::Hub | Role::Server, _) => {
            report::ready()?;
            pending().await
        }
    }
}

fn server(args: &Args) -> Builder {
    let received = Arc::new(AtomicU64::new(0));
    let (count, is_counted) = (args.count, !matches!(args.work, Work::Ask(_)));
    let asked = move |received: &AtomicU64| {
        if is_counted && received.fetch_add(1, Ordering::Relaxed) + 1 == count {
            // Whoever reads it may have closed it.
            let _ = report::ended(count);
        }
    };
    let told = Arc::clone(&received);
    let ask = move |cx: Cx, payload: Raw| {
        if cx.take_fd().is_some() {
            asked(&received);
        }
        async move { Ok(payload) }
    };
    let tell = move |_: Raw| {
        asked(&told);
        async move { Ok(()) }
    };
    builder(&args.address).on(ASK, ask).on(TELL, tell)
}

async fn one(client: &Peer, args: &Args) -> Result<(), RequestError> {
    let request = client.request(ASK, &args.payload);
    let request = match args.through_hub {
        true => request.to("server"),
        false => request.to(Hub),
    };
    request.await.map(drop)
}

async fn ask(client: &Peer, args: &Args, window: usize) -> Done {
    for _ in 0..args.warm_up() {
        one(client, args).await?;
    }
    let latencies = RefCell::new(Latencies::default());
    let left = Cell::new(args.count);
    let begun = now();
    let worker = async || -> Result<(), RequestError> {
        while let Some(fewer) = left.get().checked_sub(1) {
            left.set(fewer);
            let at = now();
            one(client, args).await?;
            latencies.borrow_mut().add(now() - at);
        }
        Ok(())
    };
    together(window, worker).await?;
    Ok(latencies.into_inner().report(begun)?)
}

async fn tell(client: &Peer, args: &Args) -> Done {
    let begun = now();
    for _ in 0..args.count {
        client.emit(TELL, &args.payload).to(Hub).await?;
    }
    report::begun(args.count, begun)?;
    pending().await
}

async fn pass_descriptors(client: &Peer, args: &Args, window: usize) -> Done {
    let null = SharedFd::new(File::open("/dev/null")?);
    let left = Cell::new(args.count);
    let begun = now();
    let worker = async || -> Done {
        while let Some(fewer) = left.get().checked_sub(1) {
            left.set(fewer);
            loop {
                let request = client.request(ASK, &args.payload);
                match request.to(Hub).attach(&null).await {
                    Err(RequestError::NotRun(refused)) if too_many(refused.reason()) => {
                        // Nothing tells that attachments have been received.
                        smol::Timer::after(std::time::Duration::from_millis(1)).await;
                    }
                    answered => break drop(answered?),
                }
            }
        }
        Ok(())
    };
    together(window, worker).await?;
    report::begun(args.count, begun)?;
    pending().await
}

fn too_many(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::NotAccepted(SendRefusal::TooManyAttachments { .. })
    )
}

/// Runs so many at once, in this thread.
async fn together<E>(count: usize, worker: impl AsyncFn() -> Result<(), E>) -> Result<(), E> {
    if count == 1 {
        return worker().await;
    }
    let executor = LocalExecutor::new();
    let tasks: Vec<_> = (0..count).map(|_| executor.spawn(worker())).collect();
    executor
        .run(async {
            for task in tasks {
                task.await?;
            }
            Ok(())
        })
        .await
}
