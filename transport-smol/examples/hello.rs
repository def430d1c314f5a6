//! A hub and a member in one program, on smol. Usually they are two processes.

use std::error::Error;

use switchboard_smol::{Call, Cx, Event, Hub, Receipt, builder, join};

const ADD: Call<(i32, i32), i32> = Call::new("math.add");
const HELLO: Event<str> = Event::new("hello");

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let address = format!("unix:{}/hello.sock", directory.path().display());
    smol::block_on(async {
        let hub = builder(&address)
            .on(ADD, async |(a, b): (i32, i32)| Ok(a + b))
            .on("hello", async |cx: Cx, text: String| {
                println!("{} says {text}", cx.from());
                Ok(())
            })
            .listen()
            .await?;
        let member = join(&address).await?;
        let sum = member.request(ADD, &(2, 3)).to(Hub).await?;
        println!("2 + 3 = {sum}, says peer {}", hub.id().ok_or("no id")?);
        let hello = member.emit(HELLO, "hello").to(Hub);
        hello.receipt(Receipt::Handled).await?;
        Ok(())
    })
}
