//! The README's first program: a hub that answers.

use switchboard_smol::builder;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::var("SWITCHBOARD_ADDRESS")?;
    smol::block_on(async {
        let hub = builder(&address).on("math.add", async |(a, b): (i32, i32)| Ok(a + b));
        let _hub = hub.listen().await?;
        std::future::pending().await
    })
}
