//! A hub and a member in one mio loop. `cargo run -p switchboard-mio --example hello_poll`

use std::error::Error;

use mio::{Events, Interest, Poll, Token};
use switchboard_mio::{Board, Incoming, name::Call};

const GREET: Call<str, String> = Call::new("greet");

fn main() -> Result<(), Box<dyn Error>> {
    let mut hub = Board::builder().handle(GREET).listen("tcp://127.0.0.1:0")?;
    let address = hub.address().expect("a hub listens").to_string();
    let mut member = Board::builder().name("member").join(address)?;

    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(16));
    for (board, token) in [(&mut hub, Token(0)), (&mut member, Token(1))] {
        poll.registry().register(board, token, Interest::READABLE)?;
    }
    member.request(GREET, "world").send()?; // queued until the connection is up
    loop {
        let timeouts = [hub.timeout(), member.timeout()];
        poll.poll(&mut events, timeouts.into_iter().flatten().min())?;
        hub.drive()?;
        member.drive()?;
        while let Some(incoming) = hub.poll_incoming() {
            if let Incoming::Request(request) = incoming {
                let name: String = request.decode()?;
                request.reply(&mut hub, Ok(&format!("Hello, {name}!")))?;
            }
        }
        while let Some(incoming) = member.poll_incoming() {
            if let Incoming::Reply { outcome, .. } = incoming {
                println!("{}", outcome.decode::<String>()?);
                return Ok(());
            }
        }
    }
}
