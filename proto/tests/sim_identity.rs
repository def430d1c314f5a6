//! Identities and lives over several hubs, in simulated worlds.
#![cfg(feature = "sim")]

mod sim_support;

use switchboard_proto::sim::Plan;
use switchboard_proto::sim::plan::{Fault, Handler, Reach};

use sim_support::{SECOND, plain, request, run, times};

/// A star with a second slot for a hub, which does not run yet.
fn with_spare(seed: u64, members: usize, reach: Reach) -> (Plan, usize) {
    let mut plan = Plan::star(seed, members, reach);
    let spare = plan.nodes.len();
    plan.nodes.push(plan.nodes[0].clone());
    plan.nodes[spare].runs = false;
    (plan, spare)
}

#[test]
fn nobody_who_lives_is_gone_after_an_outage_of_any_length() {
    for reach in [Reach::Local, Reach::Network] {
        for outage in [1, 3, 7, 19, 40, 61] {
            let (mut plan, spare) = with_spare(outage, 4, reach);
            plan = plan
                .fault(100, Fault::Kill(0))
                .fault(100 + outage * 1_000, Fault::Start(spare));
            for from in 1..5 {
                for to in 1..5 {
                    plan = plan.work(90_000, from, plain(to, 200, 2));
                }
            }
            let report = run(&plan);
            assert_eq!(times(&report, "late_for_the_hub"), 0);
            assert_eq!(report.delivered, 32, "outage {outage} s");
        }
    }
}

#[test]
fn no_identity_that_a_member_has_seen_is_given_again_by_the_next_hub() {
    for gap in [0, 30, 400, 2_500, 9_000] {
        for seed in 0..6 {
            let (mut plan, spare) = with_spare(seed, 4, Reach::Local);
            // 2 has been replaced under the first hub, dies before it finds the second, and starts
            // again while the others still look for it.
            plan = plan
                .fault(300, Fault::Kill(2))
                .fault(400, Fault::Start(2))
                .fault(900, Fault::Kill(0))
                .fault(900, Fault::Kill(2))
                .fault(900 + gap, Fault::Start(spare))
                .fault(901 + gap, Fault::Start(2))
                .fault(2_000 + gap, Fault::Kill(3))
                .fault(2_100 + gap, Fault::Start(3))
                .work(30_000, 1, request(2, Handler::Echo, 200, 1));
            let report = run(&plan);
            assert_eq!(times(&report, "outcome_reply"), 1);
        }
    }
}

#[test]
fn whoever_lies_about_others_harms_nobody() {
    let mut plan = Plan::star(3, 3, Reach::Local);
    for round in 0..5 {
        plan = plan.fault(100 + round * 40, Fault::Liar);
    }
    for from in 1..4 {
        for to in 1..4 {
            plan = plan.work(500, from, plain(to, 200, 5));
        }
    }
    let report = run(&plan);
    assert_eq!(times(&report, "liar"), 5);
    assert_eq!(report.delivered, 45);
    assert_eq!(times(&report, "fate_unconfirmed"), 0);
}

#[test]
fn a_member_that_is_stopped_while_its_hub_is_replaced_meets_the_others_again() {
    let (plan, spare) = with_spare(4, 3, Reach::Local);
    let plan = plan
        .fault(100, Fault::Pause(2, 60 * SECOND))
        .fault(200, Fault::Kill(0))
        .fault(300, Fault::Start(spare))
        .work(90_000, 1, plain(2, 200, 3))
        .work(90_000, 2, plain(1, 200, 3));
    let report = run(&plan);
    assert_eq!(report.delivered, 6);
    assert!(times(&report, "late_for_the_hub") > 0);
}
