//! Nothing stays open. One test alone in its process, since it counts the process's descriptors.

mod common;

use common::{Place, run};
use switchboard_os::open_descriptors;
use switchboard_smol::{Hub, builder};

#[test]
fn dropping_needs_no_executor_and_closes_every_descriptor() {
    let place = Place::new();
    // The reactor and the executor have descriptors of their own for the life of the process.
    use_links(&place);
    let before = open_descriptors();
    use_links(&place);
    assert_eq!(open_descriptors(), before);

    // Never polled, or dropped before its peers: neither holds anything open.
    let (hub, driver) = run(builder(place.address()).hub().split()).unwrap();
    let (member, driver_of_member) = run(builder(place.address()).split()).unwrap();
    let request = member.request::<_, ()>("x", &()).to(Hub);
    let request = request.try_send().unwrap();
    let sub = member.on("x", async |(): ()| Ok(()));
    let events = member.events();
    assert!(open_descriptors() > before);
    drop(driver);
    drop((hub, member, request, events, sub));
    drop(driver_of_member);
    assert_eq!(open_descriptors(), before);

    // A closed peer holds nothing open, though its handle stays.
    let (hub, mut driver) = run(builder(place.address()).hub().split()).unwrap();
    assert!(run(futures_lite::future::poll_once(&mut driver)).is_none());
    assert!(open_descriptors() > before);
    drop(driver);
    assert_eq!(open_descriptors(), before);
    drop(hub);
}

/// A hub and a member with a link between them, until both are done.
fn use_links(place: &Place) {
    run(async {
        let (hub, driver) = builder(place.address())
            .on("get", async |(): ()| Ok(1u32))
            .hub()
            .split()
            .await
            .unwrap();
        let driver = smol::spawn(driver);
        let (member, driver_of_member) = builder(place.address()).split().await.unwrap();
        let driver_of_member = smol::spawn(driver_of_member);
        let one: u32 = member.request("get", &()).to(Hub).await.unwrap();
        assert_eq!(one, 1);
        // One peer is closed and stays, the other is dropped.
        hub.close();
        drop(member);
        driver.await;
        driver_of_member.await;
        drop(hub);
    });
}
