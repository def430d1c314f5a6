//! The same inputs give the same outputs.
#![cfg(feature = "sim")]

use switchboard_proto::sim::{World, draw};
use switchboard_proto::trace::replay;

#[test]
fn the_same_plan_gives_the_same_run() {
    for seed in 0..6 {
        let first = World::new(draw::plan(seed)).run();
        let second = World::new(draw::plan(seed)).run();
        assert_eq!(first.digest, second.digest, "seed {seed}");
        assert_eq!(first.transcripts, second.transcripts, "seed {seed}");
    }
    let other = World::new(draw::plan(7)).run();
    assert_ne!(World::new(draw::plan(6)).run().digest, other.digest);
}

#[test]
fn a_recorded_node_fed_its_own_inputs_gives_the_same_outputs() {
    for seed in 0..6 {
        let report = World::new(draw::plan(seed)).run();
        assert!(!report.logs.is_empty());
        for log in &report.logs {
            let replayed = replay(log).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(replayed.steps, log.steps.len());
        }
    }
}
