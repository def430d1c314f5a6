//! What clusterphone's readme shows, in Switchboard's words, as `docs/coming-from.md` shows it.
//!
//! The pieces between `// [name]` and `// [end]` are the page's code, compiled and run here. The
//! worker is this program again, started by `Spawn`.

#![allow(
    clippy::disallowed_methods,
    reason = "a worker that exits is what is shown"
)]

#[path = "page/mod.rs"]
mod page;

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use futures_lite::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use switchboard_smol::{Cx, Fault, Parent, Peer, Receipt, RequestError, UnknownCause, listen};
use switchboard_stdio::Spawn;
use switchboard_tests::run_before_main;

run_before_main!(enter);

type Done = Result<(), Box<dyn Error>>;

/// The namespaces of the pieces, so that each can have its own `foo` and `hello`.
const SECTIONS: [&str; 9] = [
    "quickstart",
    "receiving",
    "sockets",
    "replies",
    "forgets",
    "within",
    "everywhere",
    "dies",
    "myapp",
];

// [types]
#[derive(Serialize, Deserialize)]
struct Foo {
    key: String,
}

#[derive(Serialize, Deserialize)]
struct Hello {
    hello: String,
}
// [end]

fn foo() -> Foo {
    Foo {
        key: "value".into(),
    }
}

/// A child started by `Spawn` finds the channel to its parent in its environment.
fn enter() {
    if std::env::var_os("SWITCHBOARD_FD").is_some() {
        smol::block_on(worker()).unwrap();
        std::process::exit(0);
    }
}

async fn worker() -> Done {
    // [worker]
    let clusterphone = Peer::parent().await?;
    // [end]
    let at = |section: &str| clusterphone.ns(section);
    {
        let clusterphone = at("quickstart")?;
        // [handle]
        clusterphone
            .on("foo", async |payload: Foo| {
                println!("{}", payload.key); // --> "value"
                Ok(())
            })
            .forever();
        // [end]
    }
    {
        let clusterphone = at("receiving")?;
        // [receive in a worker]
        clusterphone
            .on("foo", async |cx: Cx, data: Foo| {
                let descriptor = cx.take_fd();
                println!("{} {}", data.key, descriptor.is_some());
                Ok(())
            })
            .forever();
        // [end]
        // [to the master]
        let data = Foo {
            key: "value".into(),
        };
        clusterphone.emit("foo", &data).to(Parent).await?;
        // [end]
    }
    {
        let clusterphone = at("sockets")?;
        clusterphone
            .on("socket", async |cx: Cx, (): ()| {
                let socket = cx.take_fd().ok_or_else(|| Fault::new("no descriptor"))?;
                TcpStream::from(socket).write_all(b"hello")?;
                Ok(())
            })
            .forever();
        clusterphone
            .on("address", async |cx: Cx, address: std::net::SocketAddr| {
                let clusterphone = cx.peer();
                // [descriptor from a worker]
                let connection = TcpStream::connect(address)?;
                clusterphone
                    .emit("socket", &())
                    .to(Parent)
                    .attach(connection)
                    .await?;
                // [end]
                Ok(())
            })
            .forever();
    }
    {
        let clusterphone = at("replies")?;
        // [acknowledge]
        clusterphone
            .on("hello", async |(): ()| {
                Ok(Hello {
                    hello: "world".into(),
                })
            })
            .forever();
        // [end]
    }
    for section in ["forgets", "within", "everywhere"] {
        let clusterphone = at(section)?;
        // [never acknowledge]
        clusterphone
            .on("hello", async |(): ()| -> Result<(), Fault> {
                // Deliberately not acknowledging the message here.
                std::future::pending().await
            })
            .forever();
        // [end]
    }
    {
        let clusterphone = at("dies")?;
        // [exit]
        clusterphone
            .on("hello", async |(): ()| -> Result<(), Fault> {
                std::process::exit(1)
            })
            .forever();
        // [end]
    }
    {
        let clusterphone = at("myapp")?;
        clusterphone
            .on("where", async |cx: Cx, (): ()| {
                Ok(cx.namespace().to_owned())
            })
            .forever();
    }
    // [online in a worker]
    clusterphone.ready();
    clusterphone.emit("online", &()).to(Parent).await?;
    // [end]
    for section in SECTIONS {
        let here = at(section)?;
        here.ready();
        here.emit("online", &()).to(Parent).await?;
    }
    std::future::pending().await
}

/// A master at an address of its own, and this program.
fn run(play: impl AsyncFnOnce(Peer, std::path::PathBuf) -> Done) {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("hub").display());
    let program = std::env::current_exe().unwrap();
    let all = async {
        // [master]
        let clusterphone = listen(&address).await?;
        // [end]
        play(clusterphone, program).await
    };
    let within = all.or(async {
        smol::Timer::after(switchboard_tests::PATIENCE).await;
        panic!("it hangs")
    });
    smol::block_on(within).unwrap();
}

#[test]
fn a_master_sends_to_a_worker_that_it_has_just_started() {
    run(async |clusterphone, program| {
        let clusterphone = clusterphone.ns("quickstart")?;
        // [send]
        let worker = Spawn::new(program).spawn_on(&clusterphone)?;
        let payload = Foo {
            key: "value".into(),
        };
        clusterphone.emit("foo", &payload).to(&worker).await?;
        // [end]
        // Behind it, and answered by the same handler.
        let _: () = clusterphone.request("foo", &foo()).to(&worker).await?;
        Ok(())
    });
}

#[test]
fn a_worker_sends_to_the_master_which_sees_from_whom_it_comes() {
    run(async |clusterphone, program| {
        let clusterphone = clusterphone.ns("receiving")?;
        let (heard, hears) = smol::channel::unbounded();
        // [receive in the master]
        let handler = move |cx: Cx, data: Foo| {
            let (worker, descriptor) = (cx.from(), cx.take_fd());
            let heard = heard.clone();
            async move {
                heard.send((worker, data.key, descriptor)).await?;
                Ok(())
            }
        };
        clusterphone.on("foo", handler).forever();
        // [end]
        let worker = Spawn::new(program).name("one").spawn_on(&clusterphone)?;
        let (from, key, descriptor) = hears.recv().await?;
        assert_eq!((key.as_str(), descriptor.is_none()), ("value", true));
        let id = clusterphone.peers().into_iter().find_map(|peer| {
            let name = peer.name.as_ref()?.as_str();
            (name == "one").then_some((peer.id, peer.generation))
        });
        assert_eq!(from.peer, id);
        let _: () = clusterphone.request("foo", &foo()).to(&worker).await?;
        Ok(())
    });
}

/// What comes out of the other end of the connection.
fn written(listener: &TcpListener) -> std::io::Result<String> {
    let mut text = String::new();
    let mut socket = listener.accept()?.0;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn a_descriptor_goes_either_way() {
    run(async |clusterphone, program| {
        let clusterphone = clusterphone.ns("sockets")?;
        let (listener, address) = listener()?;
        // Before the worker is there, so that the first roster which it gets shows a ready master.
        let (heard, hears) = smol::channel::unbounded();
        let keep = move |cx: Cx, (): ()| {
            let heard = heard.clone();
            async move {
                heard.send(cx.take_fd()).await?;
                Ok(())
            }
        };
        clusterphone.on("socket", keep).forever();
        clusterphone.ready();
        // [descriptor from the master]
        let mut online = clusterphone.events_of::<()>("online");
        let worker = Spawn::new(program).spawn_on(&clusterphone)?;
        let connection = TcpStream::connect(address)?;
        online.next().await; // the roster may show its `ready()` a moment later
        clusterphone
            .emit("socket", &())
            .to(&worker)
            .attach(connection)
            .queue_attachments()
            .await?;
        // [end]
        assert_eq!(written(&listener)?, "hello");

        let _: () = clusterphone
            .request("address", &address)
            .to(&worker)
            .await?;
        let socket = hears.recv().await?.ok_or("no descriptor came")?;
        TcpStream::from(socket).write_all(b"back")?;
        assert_eq!(written(&listener)?, "back");
        Ok(())
    });
}

#[test]
fn a_descriptor_to_a_worker_that_still_starts_is_refused_or_queued() {
    run(async |clusterphone, program| {
        let clusterphone = clusterphone.ns("sockets")?;
        let (listener, address) = listener()?;
        // [queue a descriptor]
        let worker = Spawn::new(program).spawn_on(&clusterphone)?;
        let connection = TcpStream::connect(address)?;
        let socket = || clusterphone.emit("socket", &()).to(&worker);
        let sent = socket().attach(connection).receipt(Receipt::Handled);
        let refused = sent.await.unwrap_err(); // the worker is not ready yet
        let connection = refused.into_attachments().remove(0); // nothing is lost
        socket().attach(connection).queue_attachments().await?; // force it
        // [end]
        assert_eq!(written(&listener)?, "hello");
        Ok(())
    });
}

fn listener() -> std::io::Result<(TcpListener, std::net::SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

#[test]
fn an_acknowledgement_carries_a_reply() {
    run(async |clusterphone, program| {
        let clusterphone = clusterphone.ns("replies")?;
        let worker = Spawn::new(program).spawn_on(&clusterphone)?;
        // [ask]
        let reply: Hello = clusterphone.request("hello", &()).to(&worker).await?;
        println!("{}", reply.hello); // --> "world"
        // [end]
        assert_eq!(reply.hello, "world");
        Ok(())
    });
}

#[test]
fn a_message_that_is_never_acknowledged_times_out() {
    run(async |clusterphone, program| {
        let worker = Spawn::new(program).spawn_on(&clusterphone)?;
        let (master, here) = (clusterphone.clone(), clusterphone.ns("within")?);
        // The start of the worker is not to count.
        let myapp = clusterphone.ns("myapp")?;
        let _: String = myapp.request("where", &()).to(&worker).await?;
        let clusterphone = here;
        // [within]
        let late = clusterphone
            .request::<_, ()>("hello", &())
            .to(&worker)
            .deadline(Duration::from_millis(500))
            .await;
        assert!(matches!(
            late,
            Err(RequestError::Unknown(UnknownCause::Deadline))
        ));
        // [end]
        let clusterphone = master;
        // [everywhere]
        clusterphone.set_default_deadline(Duration::from_millis(123));
        // [end]
        let here = clusterphone.ns("everywhere")?;
        let begun = std::time::Instant::now();
        let late = here.request::<_, ()>("hello", &()).to(&worker).await;
        assert!(late.is_err());
        assert!(
            begun.elapsed() < Duration::from_secs(9),
            "10 s is the default"
        );
        Ok(())
    });
}

#[test]
fn a_worker_that_dies_is_told_as_the_reason() {
    run(async |clusterphone, program| {
        let clusterphone = clusterphone.ns("dies")?;
        let worker = Spawn::new(program).spawn_on(&clusterphone)?;
        // [worker died]
        let died = clusterphone
            .request::<_, ()>("hello", &())
            .to(&worker)
            .await;
        assert!(matches!(
            died,
            Err(RequestError::Unknown(UnknownCause::PeerGone))
        ));
        // [end]
        Ok(())
    });
}

#[test]
fn a_namespace_is_opened_by_its_name() {
    run(async |clusterphone, program| {
        let worker = Spawn::new(program).spawn_on(&clusterphone)?;
        // [namespace]
        let clusterphone = clusterphone.ns("myapp")?;
        // [end]
        let name: String = clusterphone.request("where", &()).to(&worker).await?;
        assert_eq!(name, "myapp");
        Ok(())
    });
}

#[test]
fn the_page_shows_what_is_compiled_here() {
    page::check("clusterphone", include_str!("readme_clusterphone.rs"));
}
