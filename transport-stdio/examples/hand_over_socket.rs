//! A listening socket is handed to a worker, which answers on it: the parent may restart without
//! that a connection is refused.
//!
//! `cargo run -p switchboard-stdio --example hand_over_socket`

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use switchboard_mio::{Cx, Fault};
use switchboard_stdio::{Spawn, parent};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().nth(1).as_deref() == Some("worker") {
        return worker();
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let worker = Spawn::new(std::env::current_exe()?).arg("worker").spawn()?;
    // This thread will wait for the client's bytes, so another one drives.
    worker.peer().spawn()?;
    let serve = worker.request::<_, ()>("serve", "hello");
    let served = serve.attach(listener).queue_attachments().send()?;
    let mut text = String::new();
    TcpStream::connect(address)?.read_to_string(&mut text)?;
    println!("{address} says {text}");
    Ok(served.wait()?)
}

fn worker() -> Result<(), Box<dyn std::error::Error>> {
    let serve = |cx: Cx, text: String| {
        let socket = cx.take_fd().ok_or_else(|| Fault::new("no socket"))?;
        let (mut client, _) = TcpListener::from(socket).accept()?;
        Ok(client.write_all(text.as_bytes())?)
    };
    let parent = parent()?;
    parent.on("serve", serve).forever();
    parent.serve();
    Ok(())
}
