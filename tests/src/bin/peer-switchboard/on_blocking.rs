//! The works on the blocking handle: whoever waits drives.

use std::collections::VecDeque;
use std::error::Error;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use switchboard_mio::{Board, Cx, Hub, IntoTargets, Peer, Pending, Raw, SharedFd, Target, Targets};

use crate::args::{ASK, Args, Role, TELL, Work};
use crate::report::{self, Latencies, now};

type Done = Result<(), Box<dyn Error>>;

/// As long as a start may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &Args) -> Done {
    let builder = Board::builder();
    match args.role {
        Role::Hub => {
            let hub = builder.listen(&args.address)?.blocking();
            hub.ready();
            report::ready()?;
            hub.serve();
            Ok(())
        }
        Role::Server => {
            let board = match args.through_hub {
                true => builder.name("server").join(&args.address)?,
                false => builder.listen(&args.address)?,
            };
            serve(&board.blocking(), args)
        }
        Role::Client => {
            let client = builder.join(&args.address)?.blocking();
            client.ready();
            client.connected(PATIENCE)?;
            match args.work {
                Work::Ask(window) => ask(&client, args, window),
                Work::Tell => tell(&client, args),
                Work::Descriptors(window) => pass_descriptors(&client, args, window),
            }
        }
    }
}

fn serve(server: &Peer, args: &Args) -> Done {
    static RECEIVED: AtomicU64 = AtomicU64::new(0);
    let (count, is_counted) = (args.count, !matches!(args.work, Work::Ask(_)));
    let arrived = move || {
        if is_counted && RECEIVED.fetch_add(1, Ordering::Relaxed) + 1 == count {
            // Whoever reads it may have closed it.
            let _ = report::ended(count);
        }
    };
    let ask = move |cx: Cx, payload: Raw| {
        if cx.take_fd().is_some() {
            arrived();
        }
        Ok(payload)
    };
    let tell = move |_: Raw| {
        arrived();
        Ok(())
    };
    server
        .on(ASK, ask)
        .checked()
        .map_err(|e| e.to_string())?
        .forever();
    server
        .on(TELL, tell)
        .checked()
        .map_err(|e| e.to_string())?
        .forever();
    server.ready();
    server.connected(PATIENCE)?;
    report::ready()?;
    server.serve();
    Ok(())
}

fn target(args: &Args) -> Result<Target, Box<dyn Error>> {
    let mut targets = Targets::new();
    match args.through_hub {
        true => "server".add_to(&mut targets)?,
        false => Hub.add_to(&mut targets)?,
    }
    Ok(targets.into_vec().remove(0))
}

fn ask(client: &Peer, args: &Args, window: usize) -> Done {
    let to = target(args)?;
    let request = || client.request(ASK, &args.payload).to(to.clone());
    for _ in 0..args.warm_up() {
        let _: Raw = request().wait()?;
    }
    let mut latencies = Latencies::default();
    let begun = now();
    if window == 1 {
        for _ in 0..args.count {
            let at = now();
            let _: Raw = request().wait()?;
            latencies.add(now() - at);
        }
        return Ok(latencies.report(begun)?);
    }
    let mut under_way: VecDeque<(u64, Pending<Raw>)> = VecDeque::new();
    let mut left = args.count;
    loop {
        let cork = client.cork();
        while left > 0 && under_way.len() < window {
            under_way.push_back((now(), request().send()?));
            left -= 1;
        }
        drop(cork);
        // One is waited for, and those that came with it are taken too.
        let Some((at, first)) = under_way.pop_front() else {
            return Ok(latencies.report(begun)?);
        };
        let _: Raw = first.wait()?;
        latencies.add(now() - at);
        while under_way.front().is_some_and(|(_, next)| next.is_done()) {
            if let Some((at, next)) = under_way.pop_front() {
                let _: Raw = next.wait()?;
                latencies.add(now() - at);
            }
        }
    }
}

fn tell(client: &Peer, args: &Args) -> Done {
    let to = target(args)?;
    let begun = now();
    let cork = client.cork();
    for _ in 0..args.count {
        client.emit(TELL, &args.payload).to(to.clone()).wait()?;
    }
    drop(cork);
    report::begun(args.count, begun)?;
    client.serve();
    Ok(())
}

fn pass_descriptors(client: &Peer, args: &Args, window: usize) -> Done {
    let null = SharedFd::new(File::open("/dev/null")?);
    let mut under_way: VecDeque<Pending<Raw>> = VecDeque::new();
    let mut left = args.count;
    let begun = now();
    loop {
        while left > 0 && under_way.len() < window {
            let request = client.request(ASK, &args.payload).to(Hub);
            match request.attach(&null).send() {
                Ok(pending) => under_way.push_back(pending),
                Err(_) if !under_way.is_empty() => break,
                Err(error) => return Err(error.into()),
            }
            left -= 1;
        }
        let Some(first) = under_way.pop_front() else {
            break;
        };
        let _: Raw = first.wait()?;
    }
    report::begun(args.count, begun)?;
    client.serve();
    Ok(())
}
