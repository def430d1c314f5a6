//! A hub and a member with blocking handles. `cargo run -p switchboard-mio --example hello_blocking`

use std::error::Error;

use switchboard_mio::{Board, Cx, name::Call};

const ADD: Call<(i32, i32), i32> = Call::new("math.add");

fn main() -> Result<(), Box<dyn Error>> {
    let hub = Board::listen("tcp://127.0.0.1:0")?.blocking();
    hub.on(ADD, |(a, b): (i32, i32)| Ok(a + b)).forever();
    hub.on("hello", |cx: Cx, text: String| {
        println!("{} says {text}", cx.from());
        Ok(())
    })
    .forever();
    hub.ready();
    hub.spawn()?; // a thread that drives and serves the hub

    let address = hub.address().expect("a hub listens");
    let member = Board::builder().name("member").join(address)?.blocking();
    let sum: i32 = member.request(ADD, &(2, 3)).wait()?; // this thread drives the member
    println!("2 + 3 = {sum}");
    member.emit("hello", "Hello!").wait()?;
    member.drain(std::time::Duration::from_secs(1));
    Ok(())
}
