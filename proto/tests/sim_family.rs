//! What is promised to the children of members, and by them: they are peers like all others.
#![cfg(feature = "sim")]

mod sim_support;

use switchboard_proto::sim::plan::{Fault, Handler, Intake, Plan, Reach, Work};

use sim_support::{MILLI, SECOND, request, run, times};

/// The slots of [`family`].
const HUB: usize = 0;
const RELAY: usize = 1;
const SIBLING: usize = 2;
const CHILDREN: [usize; 2] = [3, 4];
const GRANDCHILD: usize = 5;

fn send(to: usize, attachments: usize, count: usize) -> Work {
    Work::Send {
        to,
        namespace: 0,
        bytes: 200,
        attachments,
        count,
        receipt: 1,
    }
}

fn large(to: usize, count: usize) -> Work {
    Work::Send {
        to,
        namespace: 1,
        bytes: 20_000,
        attachments: 0,
        count,
        receipt: 0,
    }
}

/// A hub with two members; one has two children, of which one has a child of its own.
fn family(seed: u64, reach: Reach) -> Plan {
    Plan::star(seed, 5, reach)
        .behind(CHILDREN[0], RELAY)
        .behind(CHILDREN[1], RELAY)
        .behind(GRANDCHILD, CHILDREN[0])
}

/// Everybody talks to everybody: so many events, and as many requests as a tenth of that.
fn gossip(mut plan: Plan, millis: u64, count: usize) -> Plan {
    for from in 0..=GRANDCHILD {
        for to in 0..=GRANDCHILD {
            plan = plan.work(millis, from, send(to, 0, count)).work(
                millis,
                from,
                request(to, Handler::Echo, 200, count.div_ceil(10)),
            );
        }
    }
    plan
}

const PAIRS: u64 = 36;

#[test]
fn children_of_members_are_peers_of_everybody_over_every_transport() {
    for reach in [Reach::Local, Reach::Pipe, Reach::Network] {
        let mut plan = gossip(family(1, reach), 200, 20);
        for from in 0..=GRANDCHILD {
            plan = plan.work(300, from, large(CHILDREN[1], 4));
            plan = plan.work(300, CHILDREN[1], large(from, 4));
        }
        let report = run(&plan);
        assert_eq!(report.delivered, PAIRS * 22 + 2 * 4 * 6, "{reach:?}");
        assert_eq!(times(&report, "outcome_reply"), PAIRS * 2, "{reach:?}");
    }
}

#[test]
fn attachments_pass_wherever_every_link_on_the_way_carries_them() {
    let mut plan = family(2, Reach::Local);
    for from in 0..=GRANDCHILD {
        for to in (0..=GRANDCHILD).filter(|to| *to != from) {
            plan = plan.work(200, from, send(to, 2, 3));
        }
    }
    let report = run(&plan);
    assert_eq!(report.delivered, 30 * 3);
    // The relay is reached over the network, its children over sockets of their own: these have
    // attachments among themselves and with it, and with nobody else.
    let mut plan = family(3, Reach::Local);
    plan.nodes[RELAY].reach = Reach::Network;
    let near = [RELAY, CHILDREN[0], CHILDREN[1], GRANDCHILD];
    for from in 0..=GRANDCHILD {
        for to in (0..=GRANDCHILD).filter(|to| *to != from) {
            plan = plan.work(200, from, send(to, 2, 3));
        }
    }
    let report = run(&plan);
    let far = 30 - 12 - 2;
    assert_eq!(near.len() * (near.len() - 1), 12);
    assert_eq!(report.delivered, 14 * 3, "{far} pairs are apart");
}

#[test]
fn a_child_that_does_not_read_delays_nobody_but_those_who_talk_to_it() {
    let stopped = CHILDREN[1];
    let mut plan = family(4, Reach::Local);
    plan.nodes[stopped].intake = Intake::Stopped;
    plan.nodes[stopped].limits.receive_budget = Some(32 * 1024);
    for from in 0..=GRANDCHILD {
        plan = plan.work(200, from, large(stopped, 50));
    }
    plan = plan.fault(250, Fault::Pause(stopped, 3 * SECOND));
    let others: Vec<usize> = (0..=GRANDCHILD).filter(|slot| *slot != stopped).collect();
    for &from in &others {
        for &to in &others {
            plan = plan.work(300, from, request(to, Handler::Echo, 200, 5));
        }
    }
    let report = run(&plan);
    assert_eq!(times(&report, "outcome_reply"), 25 * 5);
}

#[test]
fn every_message_survives_the_hub_exactly_once_also_between_children() {
    for gap in [0, 1, 40, 400, 1_500] {
        let mut plan = gossip(family(5, Reach::Local), 100, 50);
        let spare = plan.nodes.len();
        plan.nodes.push(plan.nodes[HUB].clone());
        plan.nodes[spare].runs = false;
        // What the hub itself has under way dies with it.
        plan.steps.retain(|step| {
            let text = format!("{:?}", step.action);
            !text.contains("node: 0,") && !text.contains("to: 0,")
        });
        let plan = plan
            .fault(100, Fault::KillAfter(HUB, 8, spare, gap * MILLI))
            .work(10_000, 1, Work::Cancel);
        let report = run(&plan);
        assert_eq!(times(&report, "died_within_a_turn"), 1, "gap {gap}");
        assert_eq!(report.delivered, 25 * 55, "gap {gap}");
        assert_eq!(times(&report, "outcome_reply"), 25 * 5, "gap {gap}");
    }
}

/// Events, requests and attachments between a child, its parent and others.
fn busy(seed: u64) -> Plan {
    let child = CHILDREN[0];
    family(seed, Reach::Local)
        .work(100, child, send(SIBLING, 1, 3))
        .work(100, SIBLING, request(child, Handler::Echo, 200, 2))
        .work(100, child, request(CHILDREN[1], Handler::AskBack, 200, 2))
        .work(100, RELAY, send(child, 1, 2))
        .work(100, HUB, send(GRANDCHILD, 1, 1))
        .work(101, GRANDCHILD, request(RELAY, Handler::Echo, 200, 2))
        .work(101, CHILDREN[1], send(GRANDCHILD, 0, 2))
}

/// As [`busy`], in a family whose children live only with their parents.
fn busy_heirs(seed: u64) -> Plan {
    busy(seed)
        .heir(CHILDREN[0], RELAY)
        .heir(CHILDREN[1], RELAY)
        .heir(GRANDCHILD, CHILDREN[0])
}

#[test]
fn children_that_end_with_a_killed_parent_are_back_under_their_names_as_soon_as_it_is() {
    for slot in [RELAY, CHILDREN[0]] {
        let outputs = run(&busy_heirs(9)).outputs[&slot];
        assert!(outputs > 20, "too little happens: {outputs}");
        for after in 0..outputs {
            let plan = busy_heirs(9)
                .fault(0, Fault::KillAfter(slot, after, slot, 100 * MILLI))
                .work(10_000, RELAY, Work::Cancel);
            let before = run(&plan);
            assert_eq!(times(&before, "died_within_a_turn"), 1, "after {after}");
            assert!(times(&before, "ended_with_its_parent") > 0, "after {after}");
            // Well before anybody who is waited for would be given up.
            let soon = [
                (SIBLING, CHILDREN[0]),
                (HUB, GRANDCHILD),
                (GRANDCHILD, SIBLING),
            ];
            let plan = soon.into_iter().fold(plan, |plan, (from, to)| {
                let asks = Work::Request {
                    to,
                    namespace: 1,
                    handler: Handler::Echo,
                    bytes: 200,
                    attachments: 0,
                    count: 2,
                    deadline: Some(SECOND),
                };
                plan.work(3_000, from, asks)
            });
            let replies = times(&run(&plan), "outcome_reply");
            assert_eq!(
                replies,
                times(&before, "outcome_reply") + 6,
                "after {after}"
            );
        }
    }
}

fn crash_at_every_step(slot: usize) {
    let outputs = run(&busy(6)).outputs[&slot];
    assert!(outputs > 20, "too little happens: {outputs}");
    let mut unknown = 0;
    for after in 0..outputs {
        let plan = busy(6)
            .fault(0, Fault::KillAfter(slot, after, slot, 100 * MILLI))
            .work(10_000, SIBLING, send(CHILDREN[0], 0, 2))
            .work(
                10_000,
                GRANDCHILD,
                request(CHILDREN[1], Handler::Echo, 200, 2),
            )
            .work(10_000, CHILDREN[1], request(HUB, Handler::Echo, 200, 2));
        let report = run(&plan);
        assert_eq!(times(&report, "died_within_a_turn"), 1, "after {after}");
        unknown += times(&report, "outcome_unknown") + times(&report, "fate_unconfirmed");
    }
    assert!(unknown > 0, "no crash ever left anything open");
}

#[test]
fn a_relay_may_crash_at_every_step_and_its_children_find_their_way_back() {
    crash_at_every_step(RELAY);
}

#[test]
fn a_child_may_crash_at_every_step_and_all_hear_of_it() {
    crash_at_every_step(CHILDREN[0]);
}

#[test]
fn a_relay_whose_network_comes_and_goes_loses_nothing_of_its_children() {
    let mut plan = family(7, Reach::Local);
    for slot in [RELAY, CHILDREN[0]] {
        plan.nodes[slot].reach = Reach::Network;
        plan.nodes[slot].shape.delay = 2_000_000;
        plan.nodes[slot].shape.pieces = 4;
    }
    for round in 0..30 {
        let cut = [RELAY, CHILDREN[0]][round as usize % 2];
        plan = plan
            .work(200 + round * 10, GRANDCHILD, send(SIBLING, 0, 5))
            .work(
                200 + round * 10,
                SIBLING,
                request(CHILDREN[1], Handler::Echo, 200, 2),
            )
            .work(200 + round * 10, CHILDREN[1], send(GRANDCHILD, 0, 5))
            .fault(203 + round * 10, Fault::Cut(cut));
    }
    let report = run(&plan);
    assert_eq!(report.delivered, 30 * 12);
    assert_eq!(times(&report, "outcome_reply"), 60);
    assert!(times(&report, "cut") == 30 && times(&report, "reset_read") > 5);
}

#[test]
fn a_relay_that_is_away_too_long_comes_back_as_a_new_instance_with_all_its_children() {
    let mut plan = family(8, Reach::Local);
    plan.nodes[RELAY].reach = Reach::Network;
    let plan = plan
        .work(200, SIBLING, send(GRANDCHILD, 0, 3))
        .fault(300, Fault::Unreachable(RELAY, 12 * SECOND))
        .fault(301, Fault::Cut(RELAY))
        .work(20_000, SIBLING, request(GRANDCHILD, Handler::Echo, 200, 3))
        .work(20_000, CHILDREN[1], request(HUB, Handler::Echo, 200, 3));
    let report = run(&plan);
    assert_eq!(times(&report, "outcome_reply"), 6, "{:?}", report.marks);
}
