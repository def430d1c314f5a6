//! Small messages that follow each other to the same peer, which go the short way: it must not be
//! seen by anything but its speed.

use std::time::Duration;

use switchboard_proto::wire::{Credit, Header, Kind, ReclaimBody, Refusal, flow};
use switchboard_proto::*;

use crate::support::raw::Raw;
use crate::support::{Handle, Style, World, message, reply, to};

/// Two members, of which the first has credit for what it sends to another node.
fn world_to(other: usize) -> World {
    tuned(other, |_| ())
}

fn tuned(other: usize, tune: impl Fn(&mut Config)) -> World {
    let mut world = World::tuned(2, Style::Perfect, |_, config| {
        config.first_window = 512 * 1024;
        tune(config);
    });
    world.serve_all(&["ask"], &["tell"]);
    for n in 0..20 {
        tell(&mut world, other, n);
        world.pass(Duration::from_millis(30));
    }
    assert_eq!(world.take(other).len(), 20);
    world.pass(Duration::from_millis(30));
    world
}

fn tell(world: &mut World, other: usize, n: u8) -> MessageId {
    let now = world.now;
    let told = message(to(other), "tell", &[n]);
    let sent = world.nodes[1].send(now, told, SendOptions::default());
    sent.unwrap()
}

fn ask(world: &mut World, n: u8) -> RequestId {
    let now = world.now;
    let asked = message(to(2), "ask", &[n]);
    let options = RequestOptions {
        deadline: Some(Duration::from_secs(10)),
        ..RequestOptions::default()
    };
    world.nodes[1].request(now, asked, options).unwrap()
}

fn taken(world: &mut World) -> Vec<u8> {
    let all = world.take(2).into_iter();
    all.map(|delivery| delivery.payload[0]).collect()
}

/// The messages that came back whole, with the reason.
fn back(world: &World, other: usize) -> Vec<(MessageId, Refusal, u8)> {
    let events = world.events[1].iter();
    let back = events.filter_map(|event| match event {
        Event::Fate {
            message: id,
            fate:
                Fate::Refused {
                    reason,
                    message: Some(message),
                },
        } => Some((*id, *reason, message)),
        Event::Outcome {
            request,
            outcome:
                Outcome::NotRun {
                    reason,
                    message: Some(message),
                },
        } => Some((MessageId(request.0), *reason, message)),
        _ => None,
    });
    back.map(|(id, reason, message)| {
        assert_eq!(message.target, to(other));
        (id, reason, message.payload[0])
    })
    .collect()
}

#[test]
fn what_is_taken_back_out_of_the_middle_comes_back_whole_and_the_rest_goes_in_order() {
    let mut world = world_to(2);
    let sent: Vec<MessageId> = (0..10).map(|n| tell(&mut world, 2, n)).collect();
    let asked = ask(&mut world, 10);
    let held = world.nodes[1].buffered();
    let now = world.now;
    assert!(world.nodes[1].recall(now, sent[4]));
    world.nodes[1].cancel(now, asked);
    assert!(world.nodes[1].buffered() < held);
    tell(&mut world, 2, 11);
    world.run();
    let asked = MessageId(asked.0);
    let cancelled = Refusal::Cancelled;
    assert_eq!(
        back(&world, 2),
        [(sent[4], cancelled, 4), (asked, cancelled, 10)]
    );
    assert_eq!(taken(&mut world), [0, 1, 2, 3, 5, 6, 7, 8, 9, 11]);
    world.pass(Duration::from_millis(60));
    assert_eq!(world.nodes[1].buffered(), 0);
    assert!(world.nodes[1].is_settled());
    assert!(!world.nodes[1].recall(now, sent[5]));
}

#[test]
fn what_no_link_has_when_the_hub_ends_waits_for_the_next_hub() {
    let mut world = world_to(0);
    let now = world.now;
    tell(&mut world, 0, 0);
    let link = match world.nodes[1].poll() {
        Output::Write(link) => link,
        other => panic!("{other:?}"),
    };
    let len = world.nodes[1].write_batch(link).unwrap().len();
    let written = Written::Wrote(len);
    world.nodes[1].handle_written(now, link, written).unwrap();
    let late: Vec<MessageId> = (1..6).map(|n| tell(&mut world, 0, n)).collect();
    world.nodes[1]
        .handle_hangup(now, link, Hangup::End)
        .unwrap();
    for id in &late {
        assert!(world.nodes[1].recall(now, *id));
    }
    world.run();
    let whole = late.iter().zip(1..);
    let whole: Vec<_> = whole.map(|(id, n)| (*id, Refusal::Cancelled, n)).collect();
    assert_eq!(back(&world, 0), whole);
    assert_eq!(world.nodes[1].buffered(), 0);
}

#[test]
fn a_receipt_that_goes_before_a_run_takes_no_number_from_it() {
    let mut world = world_to(2);
    let now = world.now;
    let options = SendOptions {
        receipt: Receipt::Handled,
        ..SendOptions::default()
    };
    let told = message(to(1), "tell", b"handled?");
    let asked = world.nodes[2].send(now, told, options).unwrap();
    world.run();
    let got = world.take(1);
    let DeliveryKind::Event(Some(ticket)) = got[0].kind else {
        panic!("{got:?}")
    };
    for n in 0..5 {
        tell(&mut world, 2, n);
    }
    world.nodes[1].reply(now, ticket, reply(b"")).unwrap();
    for n in 5..10 {
        tell(&mut world, 2, n);
    }
    world.run();
    assert_eq!(taken(&mut world), (0..10).collect::<Vec<u8>>());
    let handled = |event: &Event<Handle>| matches!(event, Event::Fate { message, fate: Fate::Handled } if *message == asked);
    assert!(world.events[2].iter().any(handled));
}

#[test]
fn a_request_that_waited_for_its_link_says_what_is_left_of_its_time() {
    let mut world = world_to(2);
    ask(&mut world, 0);
    world.run();
    ask(&mut world, 1);
    // The process was held up before its driver could write.
    world.now = world.now + Duration::from_millis(300);
    let now = world.now;
    world.nodes[1].handle_timeout(now);
    world.run();
    let remaining = |delivery: &Delivery<Handle>| match delivery.kind {
        DeliveryKind::Request { remaining, .. } => remaining,
        DeliveryKind::Event(_) => None,
    };
    let got: Vec<_> = world.take(2).iter().map(remaining).collect();
    let left = Duration::from_millis(9700);
    assert_eq!(got, [Some(left), Some(left)]);
}

#[test]
fn more_than_a_plan_takes_goes_in_the_next_in_order() {
    let mut world = world_to(2);
    let now = world.now;
    let mut sent = 0;
    for n in 0..100u8 {
        let told = message(to(2), "tell", &vec![n; 40 * usize::from(n)]);
        let told = world.nodes[1].send(now, told, SendOptions::default());
        sent += u8::from(told.is_ok());
    }
    assert_eq!(sent, 100);
    let (mut plans, mut numbers) = (0, Vec::new());
    while let Output::Write(link) = world.nodes[1].poll() {
        let batch = world.nodes[1].write_batch(link).unwrap();
        let bytes = batch.slices().collect::<Vec<_>>().concat();
        assert!(bytes.len() < 64 * 1024 + 4200, "{}", bytes.len());
        plans += 1;
        let mut rest = &bytes[..];
        while let Some(head) = rest.first_chunk() {
            let (header, body) = Header::decode(head).unwrap();
            numbers.push(header.sequence);
            rest = &rest[Header::LEN + body..];
        }
        let written = Written::Wrote(bytes.len());
        world.nodes[1].handle_written(now, link, written).unwrap();
    }
    assert!(plans > 2, "{plans}");
    let first = numbers[0];
    assert_eq!(numbers, (first..first + 100).collect::<Vec<u64>>());
}

#[test]
fn what_goes_the_long_way_does_not_overtake_what_a_full_plan_left_of_a_run() {
    let mut world = world_to(2);
    let now = world.now;
    for n in 0..100u8 {
        let told = message(to(2), "tell", &vec![n; 3000 - usize::from(n)]);
        let options = SendOptions::default();
        world.nodes[1].send(now, told, options).unwrap();
    }
    let options = SendOptions {
        receipt: Receipt::Delivered,
        ..SendOptions::default()
    };
    let last = message(to(2), "tell", &[100]);
    world.nodes[1].send(now, last, options).unwrap();
    world.run();
    assert_eq!(taken(&mut world), (0..=100).collect::<Vec<u8>>());
}

#[test]
fn an_answer_that_waits_for_its_link_is_not_overtaken_by_the_refusal_of_a_cancelled_request() {
    let mut world = world_to(2);
    let asked = ask(&mut world, 0);
    world.run();
    let got = world.take(2);
    let DeliveryKind::Request { ticket, .. } = got[0].kind else {
        panic!("{got:?}")
    };
    // A mark is on its way to the link, so the answer waits for the next plan.
    world.now = world.now + Duration::from_millis(60);
    let now = world.now;
    world.nodes[2].handle_timeout(now);
    let link = loop {
        match world.nodes[2].poll() {
            Output::Write(link) => break link,
            Output::Idle(_) => panic!("no mark"),
            _ => {}
        }
    };
    world.nodes[2].reply(now, ticket, reply(b"!")).unwrap();
    world.nodes[1].cancel(now, asked);
    world.run();
    let len = world.nodes[2].write_batch(link).unwrap().len();
    let written = Written::Wrote(len);
    world.nodes[2].handle_written(now, link, written).unwrap();
    world.run();
    tell(&mut world, 2, 7);
    world.run();
    assert_eq!(taken(&mut world), [7]);
    let outcomes = world.events[1]
        .iter()
        .filter(|event| matches!(event, Event::Outcome { .. }));
    assert_eq!(outcomes.count(), 1);
}

/// How many events of a size are accepted while no link takes any, and why no more; all of them
/// arrive. Between them the node hears of something else, or not.
fn accepted(tune: impl Fn(&mut Config), size: usize, between: bool) -> (usize, String) {
    let mut world = tuned(2, tune);
    let now = world.now;
    let mut count = 0;
    let why = loop {
        let told = message(to(2), "tell", &vec![0; size]);
        let sent = world.nodes[1].send(now, told, SendOptions::default());
        if let Err(error) = sent {
            break error.reason.to_string();
        }
        count += 1;
        if between {
            world.nodes[1].handle_timeout(now);
        }
    };
    let mut got = 0;
    for _ in 0..1000 {
        world.pass(Duration::from_millis(30));
        got += world.take(2).len();
        if got == count {
            return (count, why);
        }
    }
    panic!("{got} of {count} came");
}

#[test]
fn the_limits_hold_for_events_in_a_row_as_for_events_one_by_one() {
    type Tune = fn(&mut Config);
    let limits: [(Tune, &str); 4] = [
        (|config| config.send_messages = 100, "send_messages"),
        (|config| config.send_buffer = 20_000, "send_buffer"),
        (|config| config.send_buffer_total = 30_000, "_total"),
        (
            // The credit is over long before.
            |config| (config.first_window, config.send_messages) = (8 * 1024, 500),
            "send_messages",
        ),
    ];
    for (tune, limit) in limits {
        for size in [1, 100, 3000] {
            let (alone, why) = accepted(tune, size, true);
            assert!(why.contains(limit), "{limit}: {why}");
            assert_eq!(accepted(tune, size, false), (alone, why));
        }
    }
}

#[test]
fn what_comes_at_once_is_told_apart_by_name_and_size_here_beyond_a_hub_and_at_home() {
    let mut world = World::tuned(2, Style::Perfect, |_, config| {
        config.first_window = 512 * 1024;
    });
    world.serve_all(&[], &["tell", "tell.by.a.longer.name"]);
    let mut sent: [Vec<(&str, Vec<u8>)>; 3] = Default::default();
    for n in 0..40u8 {
        let now = world.now;
        for (other, sent) in sent.iter_mut().enumerate() {
            for at in 0..20u8 {
                let event = ["tell", "tell.by.a.longer.name"][usize::from((n + at / 7) % 2)];
                let len = [0, 1, 63, 64, 65, 300, 4_200][usize::from(at) * usize::from(n) % 7];
                let payload = vec![n ^ at; len];
                let told = message(to(other), event, &payload);
                let told = world.nodes[1].send(now, told, SendOptions::default());
                told.unwrap();
                sent.push((event, payload));
            }
        }
        world.pass(Duration::from_millis(30));
        if n % 3 == 0 {
            for (other, sent) in sent.iter_mut().enumerate() {
                let got = world.take(other).into_iter();
                let got = got.map(|one| (one.event.to_string(), one.payload.to_vec()));
                let sent = sent.drain(..);
                let sent = sent.map(|(event, payload)| (event.to_string(), payload));
                assert_eq!(
                    got.collect::<Vec<_>>(),
                    sent.collect::<Vec<_>>(),
                    "to {other}"
                );
            }
        }
    }
    world.pass(Duration::from_millis(60));
    assert_eq!(world.nodes[1].buffered(), 0);
}

#[test]
fn what_an_ended_sender_left_of_a_run_is_still_taken_and_counts_once() {
    let mut world = world_to(2);
    for n in 0..30 {
        tell(&mut world, 2, n);
    }
    world.run();
    let now = world.now;
    let first = world.nodes[2].recv(now, NamespaceId(0)).unwrap();
    assert_eq!(first.payload[0], 0);
    assert_eq!(world.nodes[2].unread(), 29);
    world.nodes[1].close(now);
    world.pass(Duration::from_millis(60));
    assert_eq!(taken(&mut world), (1..30).collect::<Vec<u8>>());
    assert_eq!(world.nodes[2].unread(), 0);
}

#[test]
fn credit_is_not_given_back_while_what_uses_it_waits_for_its_link() {
    let mut world = World::new(1);
    world.serve_all(&[], &["tell"]);
    let mut raw = Raw::member(&mut world, 77);
    let hub = world.nodes[0].instance();
    let tell = |world: &mut World, n: u8| {
        let now = world.now;
        let told = message(Target::Peer(PeerId(3)), "tell", &[n]);
        let sent = world.nodes[0].send(now, told, SendOptions::default());
        sent.unwrap()
    };
    tell(&mut world, 0);
    world.run();
    raw.heard(&mut world);
    let limit = 100_000;
    let credit = |taken| Credit {
        flow: 1,
        taken,
        limit,
        rooms: 0,
    };
    let mark = raw.mark(hub, 1, vec![credit(flow::LEAST_COST)]);
    raw.says(&mut world, &mark);
    assert!(world.nodes[0].is_settled());
    // The link is busy, so what comes next waits for the next plan.
    tell(&mut world, 1);
    let now = world.now;
    let link = loop {
        match world.nodes[0].poll() {
            Output::Write(link) => break link,
            Output::Idle(_) => panic!("nothing to write"),
            _ => {}
        }
    };
    for n in 2..5 {
        tell(&mut world, n);
    }
    let reclaim = ReclaimBody { limit };
    let asks = |header: &mut Header| header.flow = 1;
    let reclaim = raw.frame(Kind::RECLAIM, hub, asks, |out| reclaim.encode(out));
    raw.says(&mut world, &reclaim);
    let len = world.nodes[0].write_batch(link).unwrap().len();
    let written = Written::Wrote(len);
    world.nodes[0].handle_written(now, link, written).unwrap();
    world.run();
    let heard = raw.heard(&mut world).into_iter();
    let heard: Vec<Kind> = heard
        .map(|(header, _)| header.kind)
        .filter(|kind| kind.is_sequenced())
        .collect();
    assert_eq!(heard, [Kind::EVENT; 3], "and no void before them");
    // A receiver that has taken as much as a void would cost has not taken them.
    let mark = raw.mark(hub, 5, vec![credit(2 * flow::LEAST_COST)]);
    raw.says(&mut world, &mark);
    assert!(!world.nodes[0].is_settled());
    let mark = raw.mark(hub, 5, vec![credit(5 * flow::LEAST_COST)]);
    raw.says(&mut world, &mark);
    assert!(world.nodes[0].is_settled());
}
