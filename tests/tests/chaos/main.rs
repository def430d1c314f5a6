//! Real processes that are killed and stopped at random, and the books kept of what they said to each
//! other.
//!
//! A hub and six workers under all drivers. The workers send to each other without end, and write
//! down what they got and what was acknowledged to them: one `write` for each line, so that a process
//! killed by SIGKILL has written what it did. At the end, whatever was acknowledged must stand in the
//! receiver's book, nothing twice, and nothing out of order.
//!
//! `SWITCHBOARD_CHAOS_SEED` repeats the choices of a run, and `SWITCHBOARD_CHAOS_SECONDS` makes it
//! longer.

#![allow(
    clippy::disallowed_methods,
    reason = "the processes of the test end with codes of their own"
)]

mod books;
mod dice;
mod processes;
mod worker;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use switchboard_tests::run_before_main;

use dice::Dice;
use processes::{HUB, Troupe};

run_before_main!(worker::enter);

/// What may lie in the folder when everybody has ended.
const LEFT_BEHIND: [&str; 5] = ["books", "hub", "hub.lock", "stop", "hub.table"];

#[test]
fn what_was_acknowledged_is_never_lost_doubled_or_reordered_whoever_dies() {
    let seed = variable("SWITCHBOARD_CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let seconds = variable("SWITCHBOARD_CHAOS_SECONDS").unwrap_or(5);
    println!("SWITCHBOARD_CHAOS_SEED={seed}");
    let before = descriptors(std::process::id());
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice::new(seed);
    let mut troupe = Troupe::start(folder.path(), seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        let victim = match dice.below(2) {
            0 => HUB,
            _ => 1 + dice.below(troupe.workers()),
        };
        match dice.below(3) {
            0 => troupe.kill(victim),
            _ => troupe.stop_for(victim, Duration::from_millis(20 + dice.below(200) as u64)),
        }
        // Between two blows, not for anything to happen.
        std::thread::sleep(Duration::from_millis(20 + dice.below(100) as u64));
    }
    assert!(troupe.deaths(HUB) > 0, "the hub was never killed: {seed}");
    troupe.finish();
    for (pid, open) in troupe.pids().map(|pid| (pid, descriptors(pid))) {
        // Stdio, a poller or two, a waker or two, a timer, the books, and its links: six at the hub.
        assert!(open < 40, "process {pid} holds {open} descriptors");
    }
    drop(troupe);
    let books = books::read(&folder.path().join("books"));
    println!("{books}");
    books.check();
    census(folder.path(), before);
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How many descriptors a process has open.
fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Nothing stays: no process, no descriptor, no file that nobody expects.
fn census(folder: &Path, before: usize) {
    let names: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let strange: Vec<_> = names
        .iter()
        .filter(|name| !LEFT_BEHIND.contains(&&***name))
        .collect();
    assert!(strange.is_empty(), "left behind: {strange:?}");
    let give_up = Instant::now() + switchboard_tests::PATIENCE;
    loop {
        let children = children();
        // The thread that starts children keeps a wake-up and its socket.
        let open = descriptors(std::process::id());
        if children.is_empty() && open <= before + 4 {
            return;
        }
        assert!(
            Instant::now() < give_up,
            "children {children:?}, descriptors {before} before and {open} after"
        );
        // Between two looks: what the kernel takes back last announces itself by nothing.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The children of this process, zombies too.
fn children() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let lists =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .map(String::from)
                .collect::<Vec<_>>()
        })
        .collect()
}
