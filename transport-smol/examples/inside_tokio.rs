//! The same inside a tokio program, whose runtime runs the drivers and the handlers.

use std::error::Error;
use std::time::Duration;

use switchboard_smol::{Call, Hub, builder};

const WAIT: Call<u64, u64> = Call::new("wait");

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let address = format!("unix:{}/hello.sock", directory.path().display());
    let waiting = async |millis: u64| {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        Ok(millis)
    };
    let (hub, driver) = builder(&address).on(WAIT, waiting).hub().split().await?;
    let hub_driver = tokio::spawn(driver);
    let (member, driver) = builder(&address).split().await?;
    let member_driver = tokio::spawn(driver);

    let request = member.request(WAIT, &20).to(Hub);
    let waited = request.deadline(Duration::from_secs(2)).await?;
    println!("waited {waited} ms");

    // A driver is done when the last handle of its peer is dropped.
    drop((member, hub));
    member_driver.await?;
    hub_driver.await?;
    Ok(())
}
