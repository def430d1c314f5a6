//! What wix-cluster-exchange's readme shows, in Switchboard's words, as `docs/coming-from.md` shows
//! it.
//!
//! The pieces between `// [name]` and `// [end]` are the page's code, compiled and run here. The
//! worker is this program again, started by `Spawn`.

#![allow(
    clippy::disallowed_methods,
    reason = "a worker ends where its story does"
)]

#[path = "page/mod.rs"]
mod page;

use std::error::Error;
use std::sync::mpsc;

use switchboard_mio::{Board, Everyone, Fault, Hub, Parent};
use switchboard_stdio::Spawn;
use switchboard_tests::{PATIENCE, run_before_main};

run_before_main!(enter);

type Done = Result<(), Box<dyn Error>>;

/// A child started by `Spawn` finds the channel to its parent in its environment.
fn enter() {
    if std::env::var_os("SWITCHBOARD_FD").is_some() {
        worker().unwrap();
        std::process::exit(0);
    }
}

fn worker() -> Done {
    // [worker]
    let topic = "unique-topic";
    let client = Board::parent()?.blocking().ns(topic)?;
    client.emit("message", "I'm alive").to(Parent).wait()?;
    // [end]
    let news = client.clone();
    client
        .on("broadcast", move |data: String| {
            news.emit("message", &format!("heard {data}"))
                .to(Parent)
                .send()?;
            Ok(())
        })
        .forever();
    client.ready();
    // [worker goes on]
    client.serve(); // start a server, or whatever the worker is for
    // [end]
    Ok(())
}

#[test]
fn a_worker_says_that_it_is_alive_and_hears_what_is_broadcast() -> Done {
    let (said, says) = mpsc::channel();
    let program = std::env::current_exe()?;
    // [master]
    let topic = "unique-topic";
    let exchange = Board::builder().alone()?.blocking();
    let server = exchange.ns(topic)?;
    let on_message = move |message: String| {
        said.send(message)?; // will say "I'm alive"
        Ok(())
    };
    server.on("message", on_message).forever();
    exchange.spawn()?; // a thread that runs the handlers

    let worker = Spawn::new(program).spawn_on(&exchange)?;
    // [end]
    assert_eq!(says.recv_timeout(PATIENCE)?, "I'm alive");
    server
        .request::<_, ()>("broadcast", "ready?")
        .to(&worker)
        .wait()?;
    assert_eq!(says.recv_timeout(PATIENCE)?, "heard ready?");

    let (heard, hears) = mpsc::channel();
    let client = server.clone();
    // [on message]
    let on_broadcast = move |data: String| {
        heard.send(data)?;
        Ok(())
    };
    client.on("broadcast", on_broadcast).forever();
    // [end]
    // [broadcast]
    server
        .emit("broadcast", "everybody")
        .to(Everyone)
        .include_self() // the master's own clients too
        .wait()?;
    // [end]
    assert_eq!(hears.recv_timeout(PATIENCE)?, "everybody");
    assert_eq!(says.recv_timeout(PATIENCE)?, "heard everybody");
    Ok(())
}

#[test]
fn a_client_in_the_master_gets_from_the_server_in_the_master() -> Done {
    // [get]
    let exchange = Board::builder().alone()?.blocking();
    let server = exchange.ns("unique-topic")?;
    let client = exchange.ns("unique-topic")?;

    server.on("get", |(): ()| Ok("Hi my child")).forever();
    exchange.spawn()?;

    let data: String = client.request("get", &()).to(Hub).wait()?;
    println!("{data}"); // will say "Hi my child"
    // [end]
    assert_eq!(data, "Hi my child");

    // [get fails]
    server
        .on("get nothing", |(): ()| -> Result<(), Fault> {
            Err(Fault::new("nothing to give"))
        })
        .forever();
    let error = client.request::<_, ()>("get nothing", &()).to(Hub).wait();
    // [end]
    assert!(error.unwrap_err().to_string().contains("nothing to give"));
    Ok(())
}

#[test]
fn the_page_shows_what_is_compiled_here() {
    let program = include_str!("readme_wix_cluster_exchange.rs");
    page::check("wix-cluster-exchange", program);
}
