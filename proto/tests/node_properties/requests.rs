//! Requests: one truthful outcome each, whatever happens on the way.

use std::time::Duration;

use switchboard_proto::*;

use crate::support::{Style, World, message, reply, to};

fn world() -> World {
    let mut world = World::new(2);
    world.serve_all(&["ask"], &["tell"]);
    world
}

fn ask(world: &mut World, from: usize, at: usize, deadline: Option<Duration>) -> RequestId {
    let options = RequestOptions {
        deadline,
        ..Default::default()
    };
    let now = world.now;
    let request = world.nodes[from].request(now, message(to(at), "ask", b"?"), options);
    request.expect("it is accepted")
}

fn outcomes(world: &World, at: usize) -> Vec<(RequestId, String)> {
    let events = world.events[at].iter();
    events
        .filter_map(|event| match event {
            Event::Outcome { request, outcome } => Some((
                *request,
                match outcome {
                    Outcome::Reply { .. } => "reply".into(),
                    Outcome::NotRun { reason, .. } => format!("not run: {reason}"),
                    other => format!("{other:?}"),
                },
            )),
            _ => None,
        })
        .collect()
}

fn fates(world: &World, at: usize) -> Vec<(MessageId, String)> {
    let events = world.events[at].iter();
    events
        .filter_map(|event| match event {
            Event::Fate { message, fate } => Some((*message, format!("{fate:?}"))),
            _ => None,
        })
        .collect()
}

fn ticket_of(delivery: &Delivery<crate::support::Handle>) -> Ticket {
    match delivery.kind {
        DeliveryKind::Request { ticket, .. } | DeliveryKind::Event(Some(ticket)) => ticket,
        DeliveryKind::Event(None) => panic!("{delivery:?}"),
    }
}

#[test]
fn hazard_k2_no_number_is_used_again() {
    // Id reuse: 64 bits for each instance, never reused; a ticket's place may be, the ticket not.
    let mut world = world();
    let (mut last, mut tickets) = (0, Vec::new());
    for round in 0..50 {
        let request = ask(&mut world, 1, 0, None);
        let now = world.now;
        let told = message(to(0), "tell", b"");
        let told = world.nodes[1]
            .send(now, told, SendOptions::default())
            .unwrap();
        assert!(request.0 > last && told.0 > request.0, "{round}");
        last = told.0;
        world.run();
        for delivery in world.take(0) {
            if delivery.kind == DeliveryKind::Event(None) {
                continue;
            }
            let ticket = ticket_of(&delivery);
            world.nodes[0].reply(now, ticket, reply(b"")).unwrap();
            assert!(!tickets.contains(&ticket));
            tickets.push(ticket);
        }
        world.run();
    }
    assert_eq!(outcomes(&world, 1).len(), 50);
}

#[test]
fn hazard_k4_nothing_is_acknowledged_before_it_is_done() {
    // Ack before the work: `Delivered` when the application has taken it, `Handled` when its
    // handler returned `Ok`; a hub never says either for somebody else.
    let mut world = world();
    let now = world.now;
    let mut sent = Vec::new();
    for receipt in [Receipt::Delivered, Receipt::Handled] {
        let options = SendOptions {
            receipt,
            ..Default::default()
        };
        let told = message(to(2), "tell", b"");
        sent.push(world.nodes[1].send(now, told, options).unwrap());
    }
    world.stopped.insert(2);
    world.pass(Duration::from_secs(1));
    assert_eq!(fates(&world, 1), [], "the hub has both, and says nothing");
    world.stopped.clear();
    world.pass(Duration::from_secs(1));
    assert_eq!(
        fates(&world, 1),
        [],
        "its node has both; its application has not looked"
    );
    let got = world.take(2);
    world.run();
    assert_eq!(fates(&world, 1), [(sent[0], "Delivered".into())]);
    let now = world.now;
    world.nodes[2]
        .reply(now, ticket_of(&got[1]), reply(b""))
        .unwrap();
    world.run();
    assert_eq!(fates(&world, 1)[1..], [(sent[1], "Handled".into())]);
}

#[test]
fn a_handler_that_fails_is_not_handled() {
    let mut world = world();
    let now = world.now;
    let options = SendOptions {
        receipt: Receipt::Handled,
        ..Default::default()
    };
    let told = world.nodes[1]
        .send(now, message(to(2), "tell", b""), options)
        .unwrap();
    world.run();
    let ticket = ticket_of(&world.take(2)[0]);
    let failure = Failure::default();
    world.nodes[2]
        .reply(now, ticket, Answer::Failed(failure))
        .unwrap();
    world.run();
    assert_eq!(fates(&world, 1), [(told, "HandlerFailed".into())]);
}

#[test]
fn hazard_k5_what_is_sent_again_after_a_reconnect_is_run_once() {
    // Dedupe memory: one number for each conversation. What is below it is dropped, not run again.
    let mut world = World::unconnected(1, Style::Perfect, trace::Recording::Off, |_, config| {
        // No mark goes by itself, so that everything is sent again.
        config.mark_delay = Duration::from_secs(3600);
    });
    let wire = world.connect_as(1, LinkOrigin::Inherited, Medium::Network);
    world.serve_all(&["ask"], &["tell"]);
    ask(&mut world, 1, 0, None);
    let now = world.now;
    let told = message(to(0), "tell", b"");
    world.nodes[1]
        .send(now, told, SendOptions::default())
        .unwrap();
    world.run();
    let got = world.take(0);
    assert_eq!(got.len(), 2);
    world.cut(wire);
    assert!(!world.nodes[1].is_connected());
    world.connect_as(1, LinkOrigin::Inherited, Medium::Network);
    world.run();
    assert!(world.nodes[1].is_connected());
    assert_eq!(world.take(0).len(), 0, "not run again");
    let now = world.now;
    let ticket = ticket_of(&got[0]);
    world.nodes[0].reply(now, ticket, reply(b"")).unwrap();
    world.run();
    assert_eq!(outcomes(&world, 1).len(), 1, "{:?}", world.events[1]);
}

#[test]
fn hazard_k6_the_hub_is_dialled_ever_more_slowly_and_never_at_the_same_moments() {
    // Retry storm: backoff with jitter. Nothing repeats a request by itself.
    let mut delays: Vec<Vec<Duration>> = Vec::new();
    for member in 1..=2u8 {
        let seeds = Seeds {
            behaviour: [member; 32],
        };
        let mut now = Instant::ZERO;
        let mut node: Node<u32> = Node::new(Config::default(), &seeds, now).unwrap();
        node.dial(now);
        let mut own = Vec::new();
        while own.len() < 12 {
            match node.poll() {
                Output::Dial(id) => node.dial_failed(now, id),
                Output::Event(Event::Reconnecting { after, .. }) => own.push(after),
                Output::Idle(Some(wake)) => {
                    now = wake.at;
                    node.handle_timeout(now);
                }
                output => panic!("{output:?}"),
            }
        }
        for (attempt, delay) in own.iter().enumerate() {
            let nominal = Duration::from_millis(50 << attempt).min(Duration::from_secs(5));
            let (least, most) = (nominal * 3 / 4, nominal * 5 / 4);
            assert!((least..=most).contains(delay), "{attempt}: {delay:?}");
        }
        delays.push(own);
    }
    let same = delays[0].iter().zip(&delays[1]).filter(|(a, b)| a == b);
    assert_eq!(same.count(), 0, "{delays:?}");
}

#[test]
fn a_dial_that_cannot_succeed_gives_up_unless_the_hub_was_there_before() {
    let now = Instant::ZERO;
    let seeds = Seeds { behaviour: [1; 32] };
    let mut node: Node<u32> = Node::new(Config::default(), &seeds, now).unwrap();
    node.dial(now);
    let Output::Dial(id) = node.poll() else {
        panic!("it dials at once")
    };
    node.dial_impossible(now, id);
    assert!(matches!(node.poll(), Output::Event(Event::GaveUp)));
    assert!(matches!(node.poll(), Output::Idle(None)), "for good");

    let mut world = World::new(1);
    world.run();
    world.cut(0);
    let now = world.now;
    world.nodes[1].dial(now);
    let Output::Dial(id) = world.nodes[1].poll() else {
        panic!("it dials at once")
    };
    world.nodes[1].dial_impossible(now, id);
    world.run();
    let last = world.events[1].last();
    assert!(matches!(last, Some(Event::Reconnecting { .. })), "{last:?}");
}

#[test]
fn hazard_k7_the_remaining_time_travels_and_expired_work_is_not_begun() {
    // Deadline mismatch over hops: what is left travels in the frame, the time in queues has passed.
    let mut world = world();
    let first = ask(&mut world, 1, 2, Some(Duration::from_millis(100)));
    world.stopped.insert(2);
    world.pass(Duration::from_millis(40));
    world.stopped.clear();
    world.run();
    world.pass(Duration::from_millis(20));
    let got = world.take(2);
    let DeliveryKind::Request {
        remaining: Some(remaining),
        ..
    } = got[0].kind
    else {
        panic!("{got:?}")
    };
    assert!(remaining <= Duration::from_millis(80), "{remaining:?}");
    let second = ask(&mut world, 1, 2, Some(Duration::from_millis(100)));
    world.run();
    // The receiver's application looks too late; the node sees that before it begins.
    world.now = world.now + Duration::from_millis(100);
    assert_eq!(world.take(2).len(), 0);
    world.run();
    let ended = outcomes(&world, 1);
    assert_eq!(
        ended,
        [(
            second,
            "not run: the message's time was over: give it more".into()
        )]
    );
    world.pass(Duration::from_millis(1));
    assert_eq!(
        outcomes(&world, 1)[1..],
        [(first, "Unknown(Deadline)".into())]
    );
}

#[test]
fn hazard_k8_the_end_of_a_peer_ends_all_that_it_was_asked_at_once() {
    // Peer gone: all its pending requests end at once, and say whether they may have run.
    let mut world = world();
    let mut asked: Vec<RequestId> = (0..5).map(|_| ask(&mut world, 1, 2, None)).collect();
    world.run();
    let other = ask(&mut world, 1, 0, None);
    world.cut(1);
    let mut ended = outcomes(&world, 1);
    ended.sort();
    asked.sort();
    let expected: Vec<_> = asked
        .into_iter()
        .map(|request| (request, "Unknown(PeerGone)".to_owned()))
        .collect();
    assert_eq!(ended, expected);
    assert_eq!(world.nodes[1].pending().collect::<Vec<_>>(), [other]);
    assert!(matches!(
        world.events[1]
            .iter()
            .find(|event| matches!(event, Event::PeerGone { .. })),
        Some(Event::PeerGone { id: PeerId(3), .. })
    ));
}

#[test]
fn hazard_k8_what_the_hub_never_passed_on_has_certainly_not_run() {
    let mut world = world();
    // A plan is already committed to the connection, so the request stays behind it at the hub.
    world.clogged.insert(1);
    let now = world.now;
    let told = message(to(2), "tell", b"");
    world.nodes[0]
        .send(now, told, SendOptions::default())
        .unwrap();
    world.run();
    let request = ask(&mut world, 1, 2, None);
    world.run();
    world.cut(1);
    let ended = outcomes(&world, 1);
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!(ended[0].0, request);
    assert!(ended[0].1.starts_with("not run"), "{ended:?}");
}

#[test]
fn hazard_k8_the_end_of_the_hub_ends_what_it_was_asked_and_names_what_is_unconfirmed() {
    let mut world = world();
    let request = ask(&mut world, 1, 0, None);
    let now = world.now;
    let told = message(to(0), "tell", b"");
    let told = world.nodes[1]
        .send(now, told, SendOptions::default())
        .unwrap();
    world.run();
    world.cut(0);
    assert_eq!(outcomes(&world, 1), [(request, "Unknown(PeerGone)".into())]);
    assert_eq!(fates(&world, 1), [(told, "Unconfirmed".into())]);
}
