//! The README's second program: it asks.

use switchboard_smol::join;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::var("SWITCHBOARD_ADDRESS")?;
    smol::block_on(async {
        let peer = join(&address).await?;
        let sum: i32 = peer.request("math.add", &(2, 3)).await?;
        println!("2 + 3 = {sum}");
        Ok(())
    })
}
