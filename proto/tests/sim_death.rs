//! What is promised when processes die, stop or lose the network.
#![cfg(feature = "sim")]

mod sim_support;

use std::time::Duration;

use switchboard_proto::sim::plan::{Fault, Handler, Intake, Plan, Reach, Work};

use sim_support::{MILLI, SECOND, plain, request, run, times};

fn send(to: usize, count: usize) -> Work {
    Work::Send {
        to,
        namespace: 0,
        bytes: 200,
        attachments: 1,
        count,
        receipt: 1,
    }
}

/// Events, requests and attachments in every direction between two members and the hub.
fn busy(seed: u64) -> Plan {
    Plan::star(seed, 2, Reach::Local)
        .work(50, 1, send(2, 3))
        .work(50, 2, request(1, Handler::Echo, 200, 2))
        .work(50, 0, send(1, 1))
        .work(51, 1, request(2, Handler::AskBack, 200, 1))
        .work(51, 2, send(0, 2))
}

/// Kills the slot after each of its outputs in turn, and starts a process there again.
fn crash_at_every_step(slot: usize) {
    let outputs = run(&busy(1)).outputs[&slot];
    assert!(outputs > 20, "too little happens: {outputs}");
    let mut unknown = 0;
    for after in 0..outputs {
        let plan = busy(1)
            .fault(0, Fault::KillAfter(slot, after, slot, 100 * MILLI))
            .work(10_000, 1, send(2, 2))
            .work(10_000, 2, request(1, Handler::Echo, 200, 2))
            .work(10_000, 0, plain(slot, 200, 1));
        let report = run(&plan);
        assert_eq!(times(&report, "died_within_a_turn"), 1, "after {after}");
        unknown += times(&report, "outcome_unknown") + times(&report, "fate_unconfirmed");
    }
    assert!(unknown > 0, "no crash ever left anything open");
}

#[test]
fn a_member_may_crash_at_every_step_and_nothing_is_lost_doubled_or_lied_about() {
    crash_at_every_step(2);
}

#[test]
fn the_hub_may_crash_at_every_step_and_nothing_is_lost_doubled_or_lied_about() {
    crash_at_every_step(0);
}

#[test]
fn every_message_between_living_members_survives_the_hub_exactly_once() {
    for gap in [0, 1, 40, 400, 1_500] {
        let mut plan = Plan::star(2, 3, Reach::Local);
        let spare = plan.nodes.len();
        plan.nodes.push(plan.nodes[0].clone());
        plan.nodes[spare].runs = false;
        for from in 1..4 {
            for to in 1..4 {
                plan = plan.work(100, from, plain(to, 200, 200));
                plan = plan.work(100, from, request(to, Handler::Late, 200, 20));
            }
        }
        let plan = plan
            .fault(100, Fault::KillAfter(0, 4, spare, gap * MILLI))
            // The faults of a plan end with its last step.
            .work(10_000, 1, Work::Cancel);
        let report = run(&plan);
        assert_eq!(times(&report, "died_within_a_turn"), 1, "gap {gap}");
        assert_eq!(report.delivered, 9 * 220, "gap {gap}");
        assert_eq!(times(&report, "outcome_reply"), 9 * 20, "gap {gap}");
    }
}

#[test]
fn a_restarted_receiver_gets_only_what_was_never_handed_to_its_predecessor() {
    let plan = Plan::star(3, 2, Reach::Local)
        .work(100, 1, plain(2, 200, 500))
        .fault(100, Fault::KillAfter(2, 6, 2, SECOND))
        .work(1_500, 1, plain(2, 200, 5));
    let report = run(&plan);
    assert!(report.delivered >= 5);
    assert_eq!(times(&report, "killed"), 1);
}

#[test]
fn a_cut_network_link_comes_back_and_delivers_everything_once() {
    let mut plan = Plan::star(4, 2, Reach::Network);
    for node in &mut plan.nodes {
        node.shape.delay = 2_000_000;
        node.shape.pieces = 4;
    }
    for round in 0..40 {
        plan = plan
            .work(100 + round * 10, 1, plain(2, 200, 10))
            .work(100 + round * 10, 2, request(1, Handler::Echo, 200, 2))
            .fault(103 + round * 10, Fault::Cut(1 + (round % 2) as usize));
    }
    let report = run(&plan);
    assert_eq!(report.delivered, 40 * 12);
    assert_eq!(times(&report, "outcome_reply"), 80, "{:?}", report.marks);
    assert!(times(&report, "reset_read") > 10, "{:?}", report.marks);
}

#[test]
fn a_network_peer_that_comes_back_within_the_grace_is_not_declared_dead() {
    let plan = Plan::star(5, 2, Reach::Network)
        .fault(100, Fault::Unreachable(1, 2 * SECOND))
        .fault(100, Fault::Cut(1))
        .work(200, 2, plain(1, 200, 10))
        .work(300, 1, plain(2, 200, 10));
    let report = run(&plan);
    assert_eq!(report.delivered, 20);
    assert_eq!(times(&report, "fate_unconfirmed"), 0);
}

#[test]
fn a_network_peer_that_stays_away_is_declared_dead_and_its_senders_are_told() {
    let plan = Plan::star(6, 2, Reach::Network)
        .work(100, 2, request(1, Handler::Mute, 200, 1))
        .fault(200, Fault::Unreachable(1, 30 * SECOND))
        .fault(200, Fault::Cut(1))
        .work(60_000, 2, Work::Cancel);
    let report = run(&plan);
    assert_eq!(times(&report, "outcome_unknown"), 1);
}

#[test]
fn a_stopped_local_process_is_never_declared_dead() {
    for slot in [0, 1] {
        let plan = Plan::star(7, 2, Reach::Local)
            .fault(100, Fault::Pause(slot, 3_600 * SECOND))
            .work(200, 2, plain(1, 200, 50))
            .work(3_700_000, 1, plain(2, 200, 50));
        let report = run(&plan);
        assert_eq!(report.delivered, 100);
        assert_eq!(times(&report, "fate_unconfirmed"), 0);
    }
}

#[test]
fn the_requests_of_a_dead_peer_end_at_once_and_not_at_their_deadlines() {
    let mut plan = Plan::star(8, 2, Reach::Local)
        .work(100, 1, request(2, Handler::Mute, 200, 10))
        .fault(200, Fault::Kill(2));
    plan.settle = Duration::from_secs(1);
    let report = run(&plan);
    assert_eq!(times(&report, "outcome_unknown"), 10);
}

#[test]
fn strangers_that_write_garbage_disturb_nobody() {
    let mut plan = busy(9);
    for round in 0..30u8 {
        let says = (0..round).map(|at| at.wrapping_mul(37) ^ round).collect();
        plan = plan.fault(40 + u64::from(round), Fault::Stranger(says));
    }
    let report = run(&plan);
    assert_eq!(times(&report, "stranger"), 30);
    assert_eq!(times(&report, "fate_delivered"), 6);
}

#[test]
fn attachments_accepted_while_the_hub_is_away_never_meet_a_link_that_cannot_carry_them() {
    let mut plan = Plan::star(10, 2, Reach::Local);
    plan.nodes[1].reach = Reach::Network;
    let attached = Work::Request {
        to: 2,
        namespace: 0,
        handler: Handler::Echo,
        bytes: 50,
        attachments: 3,
        count: 1,
        deadline: None,
    };
    let plan = plan
        .fault(600, Fault::Kill(0))
        .work(650, 1, attached)
        .fault(700, Fault::Start(0));
    let report = run(&plan);
    assert_eq!(times(&report, "outcome_not_run"), 1, "{:?}", report.marks);
}

#[test]
fn what_waits_for_a_name_goes_to_its_next_holder_in_the_old_order() {
    let mut plan = Plan::star(11, 3, Reach::Local);
    plan.nodes[1].reach = Reach::Network;
    plan.nodes[1].shape.delay = 7 * MILLI;
    let large = Work::Send {
        to: 1,
        namespace: 1,
        bytes: 600_000,
        attachments: 0,
        count: 1,
        receipt: 0,
    };
    let small = Work::Send {
        to: 1,
        namespace: 1,
        bytes: 40,
        attachments: 0,
        count: 1,
        receipt: 0,
    };
    // The large message still waits for room when its receiver and then the hub die; the old holder
    // of the name is declared gone only after the new one has attached.
    let plan = plan
        .work(500, 3, large)
        .fault(505, Fault::Kill(1))
        .fault(540, Fault::Start(1))
        .fault(700, Fault::Kill(0))
        .fault(720, Fault::Start(0))
        .work(1_500, 3, small);
    let report = run(&plan);
    assert_eq!(report.delivered, 2);
}

#[test]
fn a_request_in_slices_has_one_outcome_when_its_receiver_dies() {
    let mut plan = Plan::star(12, 2, Reach::Local);
    plan.nodes[2].reach = Reach::Network;
    plan.nodes[2].shape.delay = 5 * MILLI;
    plan.nodes[2].limits.receive_budget = Some(16 * 1024);
    let large = Work::Request {
        to: 2,
        namespace: 1,
        handler: Handler::Late,
        bytes: 100_000,
        attachments: 0,
        count: 2,
        deadline: Some(20 * SECOND),
    };
    let plan = plan.work(500, 1, large).fault(700, Fault::Kill(2));
    let report = run(&plan);
    assert_eq!(times(&report, "outcome_unknown"), 1, "{:?}", report.marks);
}

#[test]
fn a_large_request_that_expires_unread_gives_its_room_back_once() {
    let mut plan = Plan::star(13, 2, Reach::Local);
    plan.nodes[1].reach = Reach::Network;
    plan.nodes[2].intake = Intake::Stopped;
    plan.nodes[2].limits.receive_budget = Some(16 * 1024);
    let large = Work::Request {
        to: 2,
        namespace: 1,
        handler: Handler::Echo,
        bytes: 3_500,
        attachments: 0,
        count: 1,
        deadline: Some(SECOND),
    };
    // Nobody cancels it: its requester is dead, but may come back for all that the others know.
    let plan = plan
        .work(500, 1, large.clone())
        .fault(600, Fault::Kill(1))
        .work(2_000, 2, Work::Take(Intake::Eager))
        .work(3_000, 0, large);
    let report = run(&plan);
    assert_eq!(report.delivered, 1);
    assert_eq!(times(&report, "outcome_reply"), 1);
}

#[test]
fn who_loses_the_network_for_less_than_three_seconds_is_given_up_by_nobody() {
    // The rule by which it dials is slow by then: it is dialled more often for as long as it counts.
    for seed in 0..30 {
        let plan = Plan::star(seed, 2, Reach::Network)
            .fault(200, Fault::Unreachable(1, 2_950 * MILLI))
            .fault(200, Fault::Cut(1))
            .work(1_000, 2, plain(1, 20, 3))
            // A world heals with its last step.
            .work(9_000, 1, plain(2, 20, 3));
        let report = run(&plan);
        assert_eq!(report.delivered, 6, "seed {seed}");
    }
}
