//! The same peer under tokio, and under a bare `block_on` with nothing spawned.

mod common;

use std::process::Command;
use std::time::Duration;

use common::{Place, run};
use futures_lite::FutureExt;
use switchboard_smol::{Cx, Fault, Hub, builder, join, listen};

#[test]
fn peers_live_inside_a_tokio_program() {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let test = async {
            let (hub, driver) = builder(place.address())
                .on("sleep", async |millis: u64| {
                    // A handler may use the runtime on which its driver is.
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    Ok(millis)
                })
                .on("twice", async |cx: Cx, n: u64| {
                    let once: u64 = cx.peer().request("sleep", &n).to(Hub).await?;
                    Ok::<_, Fault>(2 * once)
                })
                .hub()
                .split()
                .await
                .unwrap();
            let driver = tokio::spawn(driver);
            let member = join(place.address()).await.unwrap();
            let peer = member.clone();
            let asked = tokio::spawn(async move { peer.request("twice", &3u64).to(Hub).await });
            let doubled: u64 = asked.await.unwrap().unwrap();
            assert_eq!(doubled, 6);
            drop(hub);
            // With the last handle the driver is done, on tokio as anywhere.
            driver.await.unwrap();
        };
        tokio::time::timeout(Duration::from_secs(30), test)
            .await
            .expect("it hangs");
    });
}

#[test]
fn a_bare_block_on_drives_both_ends_and_nothing_is_spawned() {
    let place = Place::new();
    run(async {
        let (hub, first) = builder(place.address())
            .on("add", async |(a, b): (i32, i32)| Ok(a + b))
            .hub()
            .split()
            .await
            .unwrap();
        let (member, second) = builder(place.address()).split().await.unwrap();
        let talk = async {
            for n in 0..1000 {
                let sum: i32 = member.request("add", &(n, 1)).to(Hub).await.unwrap();
                assert_eq!(sum, n + 1);
            }
            drop((hub, member));
        };
        let (_, ((), ())) =
            futures_lite::future::zip(talk, futures_lite::future::zip(first, second)).await;
    });
}

#[test]
fn a_request_moved_between_executors_still_has_its_outcome() {
    let place = Place::new();
    run(async {
        let hub = listen(place.address()).await.unwrap();
        hub.on("get", async |(): ()| Ok(1u32)).forever();
        let member = join(place.address()).await.unwrap();
        let mut reply = member
            .request::<_, u32>("get", &())
            .to(Hub)
            .try_send()
            .unwrap();
        // Polled here, awaited on another thread under another waker.
        if let Some(early) = futures_lite::future::poll_once(&mut reply).await {
            assert_eq!(early.unwrap(), 1);
            return;
        }
        let there = std::thread::spawn(move || futures_lite::future::block_on(reply));
        assert_eq!(smol::unblock(|| there.join().unwrap()).await.unwrap(), 1);
    });
}

#[test]
fn a_losing_branch_of_a_race_leaves_the_peer_as_it_was() {
    let place = Place::new();
    run(async {
        let hub = listen(place.address()).await.unwrap();
        hub.on("get", async |n: u32| Ok(n)).forever();
        let member = join(place.address()).await.unwrap();
        for n in 0..500u32 {
            let asked = async { member.request::<_, u32>("get", &n).to(Hub).await.ok() };
            let other = async {
                futures_lite::future::yield_now().await;
                None
            };
            let _ = asked.or(other).await;
        }
        let last: u32 = member.request("get", &7u32).to(Hub).await.unwrap();
        assert_eq!(last, 7);
    });
}

#[test]
fn no_tokio_is_in_the_library_s_tree() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| String::from("cargo"));
    let tree = |features: &[&str]| {
        let mut command = Command::new(&cargo);
        command
            .args(["tree", "--offline", "--package", "switchboard-smol"])
            .args(["--edges", "normal,build", "--prefix", "none"])
            .args(features)
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("async-io"), "{text}");
        text
    };
    for features in [&["--all-features"][..], &["--no-default-features"]] {
        let text = tree(features);
        assert!(!text.contains("tokio"), "{text}");
    }
    let without = tree(&["--no-default-features"]);
    assert!(
        !without.lines().any(|line| line.starts_with("smol ")),
        "{without}"
    );
}
