//! How much is written together.

mod common;

use common::{Place, run, world};
use futures_lite::future::zip;
use switchboard_smol::{Hub, Peer};

async fn ask(peer: &Peer, depth: u32) -> u32 {
    if depth == 0 {
        return peer.request("echo", &1_u32).to(Hub).await.unwrap();
    }
    let (a, b) = Box::pin(zip(ask(peer, depth - 1), ask(peer, depth - 1))).await;
    a + b
}

#[test]
fn requests_that_begin_together_and_their_answers_share_writes() {
    run(async {
        let place = Place::new();
        let (hub, members) = world(&place, &["one"]).await;
        hub.on("echo", async |n: u32| Ok(n)).forever();
        assert_eq!(ask(&members[0], 0).await, 1);
        let before = (hub.stats().io.writes, members[0].stats().io.writes);
        assert_eq!(ask(&members[0], 8).await, 256);
        let after = (hub.stats().io.writes, members[0].stats().io.writes);
        // A few, if the threads are not kept from their work for long in between.
        assert!(after.0 - before.0 <= 128, "{before:?} {after:?}");
        assert!(after.1 - before.1 <= 128, "{before:?} {after:?}");
    });
}

/// The first message leaves in the thread that sends it: nobody polls the driver here.
#[test]
fn a_lone_message_needs_no_driver_to_leave() {
    run(async {
        let place = Place::new();
        let (hub, _members) = world(&place, &[]).await;
        let mut events = hub.events_of::<u32>("news");
        let builder = switchboard_smol::builder(place.address()).name("idle");
        let (peer, mut driver) = builder.split().await.unwrap();
        futures_lite::future::or(async { peer.connected().await.unwrap() }, &mut driver).await;
        peer.emit("news", &7_u32).to(Hub).await.unwrap();
        let event = futures_lite::StreamExt::next(&mut events).await.unwrap();
        assert_eq!(event.decode().unwrap(), 7);
    });
}
