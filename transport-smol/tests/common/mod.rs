//! What the tests share: addresses of their own, and an end for what would hang.
#![allow(dead_code, unreachable_pub)]

use std::future::Future;
use std::time::Duration;

use futures_lite::{FutureExt, StreamExt};
use switchboard_smol::{Config, Peer, State, States, builder};
use tempfile::TempDir;

/// A directory with the address of a socket in it.
pub struct Place {
    pub dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn address(&self) -> String {
        format!("unix:{}/hub.sock", self.dir.path().display())
    }
}

/// Runs a test under a bare `block_on`, and fails it where it would hang.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    futures_lite::future::block_on(within(test))
}

/// Fails after a time that nothing here needs.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    future
        .or(async {
            async_io::Timer::after(Duration::from_secs(30)).await;
            panic!("it hangs")
        })
        .await
}

/// A hub, and members with these names, all connected and known to each other.
pub async fn world(place: &Place, names: &[&str]) -> (Peer, Vec<Peer>) {
    let hub = builder(place.address())
        .config(|config| config.complete_grace = Duration::ZERO)
        .config(without_timers)
        .listen()
        .await
        .unwrap();
    let mut members = Vec::new();
    for name in names {
        let member = builder(place.address())
            .name(*name)
            .config(without_timers)
            .join()
            .await
            .unwrap();
        members.push(member);
    }
    for peer in members.iter().chain([&hub]) {
        all_there(peer, names.len() + 1).await;
    }
    (hub, members)
}

/// So that no timer wakes a driver that a test expects to be woken by something else.
pub fn without_timers(config: &mut Config) {
    config.ready_after = Duration::from_secs(3600);
    config.hello_deadline = Duration::from_secs(3600);
}

/// Waits until the peer sees as many, all of them up.
pub async fn all_there(peer: &Peer, count: usize) {
    let mut states = peer.state();
    loop {
        let up = peer.peers().iter().filter(|one| one.is_up).count();
        if up >= count {
            return;
        }
        states.next().await.unwrap();
    }
}

/// Waits for the news that match.
pub async fn until(states: &mut States, matches: impl Fn(&State) -> bool) -> State {
    loop {
        let state = states.next().await.expect("the peer is not closed");
        if matches(&state) {
            return state;
        }
    }
}
