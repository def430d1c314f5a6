//! Who reads for a peer: a future that waits, and the driver when there is none.

mod common;

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use common::{Place, run, within, without_timers};
use futures_lite::FutureExt;
use futures_lite::future::{block_on, poll_fn, poll_once};
use switchboard_smol::{Driver, Fault, Hub, Peer, builder};

/// A hub whose driver has a thread of its own, until the hub is closed.
fn hub(place: &Place) -> Peer {
    let hub = builder(place.address())
        .config(without_timers)
        .on("get", async |n: u32| Ok(n))
        .on("never", async |(): ()| pending::<Result<(), Fault>>().await)
        .hub();
    let (hub, driver) = block_on(hub.split()).unwrap();
    thread::spawn(|| block_on(driver));
    hub
}

async fn member(place: &Place) -> (Peer, Driver) {
    let member = builder(place.address()).config(without_timers);
    member
        .on("echo", async |n: u32| Ok(n))
        .split()
        .await
        .unwrap()
}

/// Polls the driver until its peer is connected, and no further.
async fn connect(peer: &Peer, driver: &mut Driver) {
    let drive = async {
        driver.await;
        unreachable!("the peer is not closed")
    };
    peer.connected().or(drive).await.unwrap();
}

#[test]
fn a_reply_that_is_waited_for_wakes_no_other_task() {
    let place = Place::new();
    let hub = hub(&place);
    let (peer, mut driver) = block_on(member(&place));
    block_on(connect(&peer, &mut driver));
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    let driver = thread::spawn(move || {
        let mut driver = pin!(driver);
        block_on(poll_fn(|cx| {
            counted.fetch_add(1, Ordering::Relaxed);
            driver.as_mut().poll(cx)
        }));
    });
    run(async {
        for n in 0..2000 {
            let got: u32 = peer.request("get", &n).to(Hub).await.unwrap();
            assert_eq!(got, n);
        }
    });
    let polls = polls.load(Ordering::Relaxed);
    assert!(polls < 1000, "the driver was polled {polls} times");
    drop((peer, hub));
    driver.join().unwrap();
}

#[test]
fn a_request_reads_its_own_reply_while_nobody_polls_the_driver() {
    let place = Place::new();
    let hub = hub(&place);
    run(async {
        let (peer, mut driver) = member(&place).await;
        connect(&peer, &mut driver).await;
        for n in 0..100 {
            let got: u32 = peer.request("get", &n).to(Hub).await.unwrap();
            assert_eq!(got, n);
        }
        // Deadlines too.
        let never = peer.request::<_, ()>("never", &()).to(Hub);
        assert!(never.deadline(Duration::from_millis(20)).await.is_err());
    });
    drop(hub);
}

#[test]
fn a_request_that_is_held_and_not_polled_stops_nobody() {
    let place = Place::new();
    let hub = hub(&place);
    run(async {
        let (peer, driver) = member(&place).await;
        let id = async {
            peer.connected().await.unwrap();
            peer.id().unwrap()
        };
        let test = async {
            let id = id.await;
            let mut held = peer
                .request::<_, ()>("never", &())
                .to(Hub)
                .try_send()
                .unwrap();
            assert!(poll_once(&mut held).await.is_none());
            for n in 0..100u32 {
                let got: u32 = hub.request("echo", &n).to(id).await.unwrap();
                assert_eq!(got, n);
            }
            drop(held);
        };
        test.or(async {
            driver.await;
            panic!("the peer is not closed");
        })
        .await;
    });
    drop(hub);
}

#[test]
fn many_that_wait_in_many_threads_all_have_their_replies() {
    let place = Place::new();
    let hub = hub(&place);
    let (peer, mut driver) = block_on(member(&place));
    block_on(connect(&peer, &mut driver));
    let driver = thread::spawn(|| block_on(driver));
    let ask = |first: u32| {
        let peer = peer.clone();
        move || {
            for n in first..first + 2000 {
                let mut asked =
                    pin!(async { peer.request::<_, u32>("get", &n).to(Hub).await.unwrap() });
                // Every third is given up after its first poll: the lead goes on to another.
                let first_poll = block_on(poll_once(asked.as_mut()));
                if n % 3 != 0 && first_poll.is_none() {
                    assert_eq!(block_on(within(asked)), n);
                }
            }
        }
    };
    let threads: Vec<_> = (0..4).map(|at| thread::spawn(ask(at * 10_000))).collect();
    for thread in threads {
        thread.join().unwrap();
    }
    drop((peer, hub));
    driver.join().unwrap();
}

#[test]
fn a_waiting_request_ends_when_the_driver_is_dropped() {
    let place = Place::new();
    let hub = hub(&place);
    run(async {
        let (peer, mut driver) = member(&place).await;
        connect(&peer, &mut driver).await;
        let mut asked = pin!(async { peer.request::<_, ()>("never", &()).to(Hub).await });
        assert!(poll_once(asked.as_mut()).await.is_none());
        let mut driver = Some(driver);
        let end = poll_fn(|cx| {
            driver.take();
            match asked.as_mut().poll(cx) {
                Poll::Ready(ended) => Poll::Ready(ended),
                Poll::Pending => Poll::Pending,
            }
        });
        assert!(end.await.is_err());
    });
    drop(hub);
}
