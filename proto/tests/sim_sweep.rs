//! Drawn worlds: every promise is checked in each, and all together must have met what is rare.
//!
//! `SWITCHBOARD_SIM_SEEDS` is the number of seeds, or one range `from..to`. A failing plan is shrunk
//! and printed as one line; put that line into `tests/regressions/sim.txt`.
#![cfg(feature = "sim")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test may be configured from outside"
)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use switchboard_proto::sim::plan::shrink;
use switchboard_proto::sim::{Plan, World, draw};

/// Paths that a sweep must have taken, or it has proved nothing of them.
const MARKS: [&str; 20] = [
    "app_attachments_lost",
    "app_cancelled",
    "app_full",
    "app_reply_attachments",
    "attachment_segment_split",
    "attachments_truncated",
    "closed_with_unread_input",
    "cut",
    "died_within_a_turn",
    "ended_with_its_parent",
    "fate_delivered",
    "fate_unconfirmed",
    "killed",
    "orphaned",
    "outcome_not_run",
    "outcome_reply",
    "outcome_unknown",
    "partial_write_with_attachments",
    "stranger",
    "too_many_references",
];

fn seeds() -> Range<u64> {
    let text = std::env::var("SWITCHBOARD_SIM_SEEDS").unwrap_or_default();
    match text.split_once("..") {
        Some((from, to)) => from.parse().unwrap_or(0)..to.parse().unwrap_or(0),
        None => 0..text.parse().unwrap_or(60),
    }
}

/// What a run has shown; a panic is a broken promise too.
fn run(plan: &Plan) -> (Vec<String>, BTreeMap<&'static str, u64>) {
    let world = || World::new(plan.clone()).run();
    match catch_unwind(AssertUnwindSafe(world)) {
        Ok(report) => (report.violations, report.marks),
        Err(_) => (vec!["a node panicked".to_owned()], BTreeMap::new()),
    }
}

#[test]
fn every_drawn_world_keeps_its_promises_and_the_rare_paths_are_met() {
    let seeds = seeds();
    let enough = seeds.end - seeds.start >= 60;
    let mut marks: BTreeMap<&str, u64> = BTreeMap::new();
    let mut failed = Vec::new();
    for seed in seeds {
        let plan = draw::plan(seed);
        let (broken, met) = run(&plan);
        for (mark, times) in met {
            *marks.entry(mark).or_default() += times;
        }
        if !broken.is_empty() {
            let small = shrink(&plan, 100, |plan| !run(plan).0.is_empty());
            println!("seed {seed}: {broken:#?}\nshrunk: {:#?}", run(&small).0);
            println!("plan {}", small.encode());
            failed.push(seed);
            if failed.len() >= 5 {
                break;
            }
        }
    }
    println!("marks: {marks:#?}");
    assert!(failed.is_empty(), "seeds {failed:?} broke promises");
    if enough {
        let missed = MARKS.into_iter().filter(|mark| !marks.contains_key(mark));
        let missed: Vec<&str> = missed.collect();
        assert!(missed.is_empty(), "never met: {missed:?}");
    }
}

#[test]
fn every_plan_that_once_failed_keeps_its_promises() {
    for line in include_str!("regressions/sim.txt").lines() {
        let text = line.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        let plan = Plan::decode(text).unwrap_or_else(|| panic!("no plan: {line}"));
        World::new(plan.clone()).run().assert_kept(&plan);
    }
}
