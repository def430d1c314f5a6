//! What applications see of each other while nothing dies: order, outcomes, backpressure.
#![cfg(feature = "sim")]

mod sim_support;

use std::time::Duration;

use switchboard_proto::sim::kernel::Shape;
use switchboard_proto::sim::plan::{Fault, Handler, Intake, Plan, Reach, Work};
use switchboard_proto::sim::rng::Rng;

use sim_support::{plain, request, run, times};

#[test]
fn events_and_requests_reach_every_peer_over_every_kind_of_link() {
    for reach in [Reach::Local, Reach::Network, Reach::Pipe] {
        let mut plan = Plan::star(1, 3, reach);
        for from in 0..4 {
            for to in 0..4 {
                plan = plan.work(100, from, plain(to, 50, 5));
                plan = plan.work(100, from, request(to, Handler::Echo, 50, 5));
            }
        }
        let report = run(&plan);
        assert_eq!(report.delivered, 160, "{reach:?}");
        assert_eq!(times(&report, "outcome_reply"), 80, "{reach:?}");
    }
}

#[test]
fn two_peers_that_request_each_other_at_full_windows_both_get_every_reply() {
    let mut plan = Plan::star(2, 2, Reach::Local);
    for node in &mut plan.nodes {
        node.limits.receive_budget = Some(16 * 1024);
        node.limits.first_window = Some(1024);
        node.limits.send_messages = Some(8);
    }
    let plan = plan.work(100, 1, request(2, Handler::Echo, 700, 400)).work(
        100,
        2,
        request(1, Handler::Echo, 700, 400),
    );
    let report = run(&plan);
    assert_eq!(times(&report, "outcome_reply"), 800);
    assert!(
        times(&report, "app_full") > 0,
        "the windows were never full"
    );
}

#[test]
fn handlers_that_ask_back_do_not_stand_in_each_others_way() {
    let plan = Plan::star(3, 2, Reach::Local)
        .work(100, 1, request(2, Handler::AskBack, 100, 200))
        .work(100, 2, request(1, Handler::AskBack, 100, 200));
    let report = run(&plan);
    assert_eq!(times(&report, "outcome_reply"), 800);
}

#[test]
fn replies_reach_a_requester_that_reads_none_of_its_events() {
    let mut plan = Plan::star(4, 2, Reach::Local);
    plan.nodes[1].intake = Intake::Stopped;
    plan.nodes[1].limits.receive_budget = Some(16 * 1024);
    let plan = plan
        .work(100, 2, plain(1, 900, 200))
        .work(500, 1, request(2, Handler::Echo, 900, 50))
        // The world heals only after its last step.
        .work(20_000, 1, Work::Cancel);
    let report = run(&plan);
    assert_eq!(times(&report, "outcome_reply"), 50, "{:?}", report.marks);
    assert_eq!(report.delivered, 250);
}

#[test]
fn messages_of_many_slices_arrive_whole_and_in_order_among_small_ones() {
    let mut plan = Plan::star(5, 2, Reach::Local);
    for node in &mut plan.nodes {
        node.limits.receive_budget = Some(16 * 1024);
    }
    for round in 0..4 {
        plan = plan.work(100 + round, 1, plain(2, 300_000, 1));
        plan = plan.work(100 + round, 1, plain(2, 20, 10));
        plan = plan.work(100 + round, 1, request(2, Handler::Echo, 100_000, 1));
    }
    let report = run(&plan);
    assert_eq!(report.delivered, 48);
    assert_eq!(times(&report, "outcome_reply"), 4);
}

#[test]
fn one_stopped_receiver_slows_nobody_but_its_own_senders() {
    let mut plan = Plan::star(6, 4, Reach::Local);
    plan.nodes[4].intake = Intake::Stopped;
    for node in &mut plan.nodes {
        node.limits.receive_budget = Some(32 * 1024);
    }
    for from in 0..4 {
        plan = plan.work(100, from, plain(4, 500, 300));
        let fast = Work::Request {
            to: (from + 1) % 4,
            namespace: 1,
            handler: Handler::Echo,
            bytes: 500,
            attachments: 0,
            count: 100,
            deadline: Some(1_000_000_000),
        };
        plan = plan.work(200, from, fast);
    }
    // The receiver stays stopped until long after the deadlines.
    let plan = plan.work(30_000, 0, Work::Cancel);
    let report = run(&plan);
    assert_eq!(times(&report, "outcome_reply"), 400, "{:?}", report.marks);
    assert_eq!(report.delivered, 1_600);
}

#[test]
fn attachments_reach_the_receiver_of_their_message_and_nobody_else() {
    let mut plan = Plan::star(7, 3, Reach::Local);
    for from in 0..4 {
        for to in 0..4 {
            let work = Work::Send {
                to,
                namespace: 0,
                bytes: 3_000,
                attachments: 3,
                count: 10,
                receipt: 1,
            };
            plan = plan.work(100, from, work);
        }
    }
    let report = run(&plan);
    assert_eq!(report.delivered, 160);
    assert_eq!(times(&report, "fate_delivered"), 160);
    assert_eq!(times(&report, "app_attachments_lost"), 0);
}

#[test]
fn hazard_f6_a_receiver_short_of_descriptors_gets_every_message_and_is_told_of_the_loss() {
    let attached = |to| Work::Send {
        to,
        namespace: 0,
        bytes: 100,
        attachments: 4,
        count: 5,
        receipt: 0,
    };
    for short in [0, 2] {
        let plan = Plan::star(8, 2, Reach::Local)
            .fault(90, Fault::Table(short, Some(2)))
            .work(100, 1, attached(2))
            .fault(5_000, Fault::Table(short, None))
            .work(5_001, 1, attached(2));
        let report = run(&plan);
        assert_eq!(report.delivered, 10);
        let lost = times(&report, "app_attachments_lost");
        assert!((1..=5).contains(&lost), "{lost} of slot {short}");
    }
}

#[test]
fn hazard_f9_too_many_descriptors_in_flight_delay_messages_and_lose_none() {
    let attached = Work::Send {
        to: 2,
        namespace: 0,
        bytes: 100,
        attachments: 4,
        count: 15,
        receipt: 0,
    };
    let plan = Plan::star(9, 2, Reach::Local)
        .fault(90, Fault::InFlight(Some(3)))
        .work(100, 1, attached)
        .work(20_000, 1, Work::Cancel);
    let report = run(&plan);
    assert_eq!(report.delivered, 15);
    assert!(times(&report, "too_many_references") > 0);
    assert_eq!(times(&report, "app_attachments_lost"), 0);
}

#[test]
fn any_way_of_cutting_reads_and_writes_gives_the_same_events() {
    let base = |seed| {
        Plan::star(seed, 2, Reach::Local)
            .work(100, 1, plain(2, 40, 20))
            .work(100, 2, request(1, Handler::Echo, 6_000, 5))
            .work(100, 1, request(2, Handler::Fail, 10, 3))
            .work(200, 1, plain(2, 90_000, 1))
    };
    let expected = run(&base(10)).transcripts;
    for seed in 0..40 {
        let mut plan = base(10);
        let mut rng = Rng::new(seed, "cuts");
        for node in &mut plan.nodes {
            node.shape = Shape {
                buffer: 0,
                ..Shape::draw(&mut rng)
            };
            node.shape.dribble = seed % 10 == 0;
        }
        let report = run(&plan);
        for (slot, transcript) in &report.transcripts {
            let sorted = |lines: &[String]| {
                let mut lines = lines.to_vec();
                lines.sort();
                lines
            };
            // Takes and outcomes are two streams whose interleaving is a matter of time.
            let own = expected.get(slot).map(|lines| sorted(lines));
            assert_eq!(own, Some(sorted(transcript)), "slot {slot} of {seed}");
        }
    }
}

#[test]
fn an_idle_world_of_local_links_comes_to_rest() {
    let mut plan = Plan::star(11, 3, Reach::Local);
    plan.settle = Duration::from_secs(3_600);
    let report = run(&plan);
    let last = Duration::from_nanos(report.end.as_nanos());
    assert!(
        last < Duration::from_secs(60),
        "somebody still wakes at {last:?}"
    );
}

#[test]
fn a_slow_network_carries_a_large_message_without_losing_its_link() {
    let mut plan = Plan::star(13, 2, Reach::Network);
    plan.nodes[2].shape.dribble = true;
    plan.nodes[2].shape.blocks = 300;
    let plan = plan.work(500, 1, plain(2, 160_000, 1));
    let report = run(&plan);
    assert_eq!(report.delivered, 1);
    assert_eq!(times(&report, "reset_read"), 0, "a link was lost");
}

#[test]
fn a_small_window_grows_until_a_sender_is_rarely_blocked() {
    let mut plan = Plan::star(14, 2, Reach::Network);
    for node in &mut plan.nodes {
        node.shape.delay = 15_000_000;
    }
    plan.nodes[2].limits.first_window = Some(1_200);
    plan.nodes[2].limits.receive_budget = Some(40_000);
    // 37 round trips with the credit that the budget allows, 145 with the first window.
    plan.settle = Duration::from_secs(5);
    let plan = plan.work(500, 1, plain(2, 170_000, 1));
    assert_eq!(run(&plan).delivered, 1);
}
