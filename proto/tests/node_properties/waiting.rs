//! What waits at its sender: in which order it goes, how long it may wait, what it costs, and who is
//! told when there is room again.

use std::sync::Arc;
use std::time::Duration;

use switchboard_proto::wire::{Header, Kind, MarkBody, Refusal, flags};
use switchboard_proto::*;

use crate::support::raw::{Raw, event_body};
use crate::support::{Style, World, message, reply, to};

const HOUR: Duration = Duration::from_secs(3600);

fn world(tune: impl Fn(&mut Config)) -> World {
    let mut world = World::tuned(2, Style::Perfect, |_, config| tune(config));
    world.serve_all(&["ask"], &["tell"]);
    world
}

fn named(name: &str) -> Target {
    Target::Named(PeerName::new(name).unwrap())
}

fn tell(
    world: &mut World,
    target: Target,
    size: usize,
    options: SendOptions,
) -> Result<MessageId, SendRefusal> {
    let now = world.now;
    let told = message(target, "tell", &vec![0; size]);
    let sent = world.nodes[1].send(now, told, options);
    sent.map_err(|error| error.reason)
}

fn ask(world: &mut World, target: Target) -> Result<RequestId, SendRefusal> {
    let now = world.now;
    let asked = message(target, "ask", b"?");
    let sent = world.nodes[1].request(now, asked, RequestOptions::default());
    sent.map_err(|error| error.reason)
}

fn expired(world: &World) -> usize {
    let events = world.events[1].iter();
    let expired = |event: &&Event<_>| {
        matches!(
            event,
            Event::Fate {
                fate: Fate::Refused {
                    reason: Refusal::Expired,
                    message: Some(_),
                },
                ..
            }
        )
    };
    events.filter(expired).count()
}

fn sendable(world: &World, of: &Target) -> usize {
    let events = world.events[1].iter();
    let told = |event: &&Event<_>| matches!(event, Event::Sendable(target) if target == of);
    events.filter(told).count()
}

/// Answers every request that node 2 has.
fn answer_all(world: &mut World) -> Vec<Arc<str>> {
    let mut names = Vec::new();
    for delivery in world.take(2) {
        names.push(delivery.event.clone());
        if let DeliveryKind::Request { ticket, .. } = delivery.kind {
            let now = world.now;
            world.nodes[2].reply(now, ticket, reply(b"!")).unwrap();
        }
    }
    world.pass(Duration::from_millis(60));
    names
}

#[test]
fn of_an_event_with_a_time_nothing_is_left_when_it_was_taken() {
    let mut world = world(|_| ());
    let options = SendOptions {
        expires: Some(HOUR),
        ..SendOptions::default()
    };
    let round = |world: &mut World| {
        for _ in 0..100 {
            for _ in 0..50 {
                tell(world, to(2), 10, options).unwrap();
            }
            world.pass(Duration::from_millis(30));
            assert_eq!(world.take(2).len(), 50);
        }
        world.pass(Duration::from_millis(60));
    };
    round(&mut world);
    let cost = allocation_counter::measure(|| round(&mut world));
    assert!(
        cost.bytes_current < 5000 * 8,
        "{} bytes are left of 5,000 events",
        cost.bytes_current
    );
    world.pass(HOUR);
    assert_eq!(expired(&world), 0);
}

#[test]
fn an_event_is_over_wherever_it_waits_and_never_when_it_is_on_its_way() {
    let mut world = world(|config| config.receive_budget = 64 * 1024);
    let options = SendOptions {
        expires: Some(Duration::from_secs(1)),
        ..SendOptions::default()
    };
    for _ in 0..200 {
        tell(&mut world, to(2), 1000, options).unwrap();
        tell(&mut world, named("nobody"), 1000, options).unwrap();
    }
    world.pass(Duration::from_millis(999));
    assert_eq!(expired(&world), 0);
    world.pass(Duration::from_millis(1));
    let over = expired(&world);
    let held = world.nodes[2].unread();
    assert!(held > 0 && held < 200, "some found no credit: {held}");
    assert_eq!(over, 200 + (200 - held));
    world.pass(HOUR);
    assert_eq!(expired(&world), over);
    // And of what was given up nothing stands in the way.
    let got = world.take(2).len();
    assert_eq!(got, held);
    tell(&mut world, to(2), 1000, options).unwrap();
    world.pass(Duration::from_millis(60));
    assert_eq!(world.take(2).len(), 1);
}

#[test]
fn a_message_to_many_that_is_taken_back_is_taken_back_for_everybody() {
    let mut world = world(|_| ());
    let audience = Audience {
        targets: vec![named("nobody"), named("no one")],
        ..Audience::default()
    };
    let sent = tell(
        &mut world,
        Target::Many(Arc::new(audience)),
        10,
        SendOptions::default(),
    );
    let now = world.now;
    assert!(world.nodes[1].recall(now, sent.unwrap()));
    assert_eq!(world.nodes[1].buffered(), 0);
    assert!(world.nodes[1].is_settled());
}

#[test]
fn what_waits_because_all_buffers_are_full_goes_when_there_is_room() {
    let mut world = world(|config| {
        config.send_buffer_total = 100_000;
        config.receive_budget = 64 * 1024;
    });
    // Accepted for a name that comes later, while the rest is used up by somebody who does not read.
    // The name of the namespace counts only when they have a receiver.
    let now = world.now;
    let long = world.nodes[1].open(now, &"n".repeat(255)).unwrap();
    for _ in 0..20 {
        let mut told = message(named("late"), "tell", b"x");
        told.namespace = long;
        world.nodes[1]
            .send(now, told, SendOptions::default())
            .unwrap();
    }
    for _ in 0..20 {
        while tell(&mut world, to(2), 1000, SendOptions::default()).is_ok() {}
        world.pass(Duration::from_millis(60));
    }
    let late = Raw::stranger(&mut world, 77, Medium::Local);
    let hello = late.hello();
    let attach = late.attach_as(1, "late");
    late.says(&mut world, &[hello, attach].concat());
    world.pass(Duration::from_millis(60));
    for _ in 0..100 {
        world.take(2);
        world.pass(Duration::from_millis(60));
    }
    let came = late.heard(&mut world);
    let came = came.iter().filter(|(header, _)| header.kind == Kind::EVENT);
    assert_eq!(came.count(), 16, "what first contact allows");
}

#[test]
fn what_waits_for_a_peer_under_one_target_is_not_overtaken_under_another() {
    let mut world = world(|config| config.reply_reserve = 2 * u64::from(config.reply_credit));
    let id = world.nodes[2].identity().unwrap().0;
    for _ in 0..3 {
        // The third one waits for the reserve.
        ask(&mut world, to(2)).unwrap();
    }
    tell(&mut world, Target::Peer(id), 10, SendOptions::default()).unwrap();
    world.run();
    let first = answer_all(&mut world);
    assert_eq!(first.iter().map(|it| &**it).collect::<Vec<_>>(), ["ask"; 2]);
    let then = answer_all(&mut world);
    assert_eq!(
        then.iter().map(|it| &**it).collect::<Vec<_>>(),
        ["ask", "tell"]
    );
}

#[test]
fn who_had_too_many_requests_pending_is_told_when_half_of_them_have_their_outcome() {
    let mut world = world(|config| config.pending_requests = 4);
    for _ in 0..4 {
        ask(&mut world, to(2)).unwrap();
    }
    world.pass(Duration::from_millis(60));
    let full = SendRefusal::Full {
        limit: "pending_requests",
        value: 4,
    };
    assert_eq!(ask(&mut world, to(2)), Err(full));
    assert_eq!(sendable(&world, &to(2)), 0);
    // All marks and credit are told before the first reply comes.
    let asked = world.take(2);
    world.pass(Duration::from_millis(60));
    for (at, delivery) in asked.iter().enumerate() {
        assert_eq!(sendable(&world, &to(2)), usize::from(at >= 2), "{at}");
        let DeliveryKind::Request { ticket, .. } = delivery.kind else {
            panic!("{delivery:?}");
        };
        let now = world.now;
        world.nodes[2].reply(now, ticket, reply(b"!")).unwrap();
        world.run();
    }
}

#[test]
fn who_had_too_many_attachments_under_way_is_told_when_half_of_them_have_arrived() {
    let mut world = world(|config| config.attachments_pair = 8);
    world.stopped.insert(0);
    let attach = |world: &mut World| {
        let mut told = message(to(2), "tell", b"x");
        told.attachments = world.handles(0..4);
        let now = world.now;
        let sent = world.nodes[1].send(now, told, SendOptions::default());
        sent.map_err(|error| error.reason)
    };
    for _ in 0..2 {
        attach(&mut world).unwrap();
    }
    let refused = attach(&mut world).unwrap_err();
    assert!(
        matches!(
            refused,
            SendRefusal::TooManyAttachments {
                limit: "attachments_pair",
                ..
            }
        ),
        "{refused:?}"
    );
    world.run();
    assert_eq!(sendable(&world, &to(2)), 0);
    world.stopped.clear();
    world.pass(Duration::from_millis(60));
    assert_eq!(sendable(&world, &to(2)), 1);
    attach(&mut world).unwrap();
}

#[test]
fn a_drain_waits_for_the_receipt_that_was_asked_for() {
    let mut world = world(|_| ());
    let options = SendOptions {
        receipt: Receipt::Handled,
        ..SendOptions::default()
    };
    let sent = tell(&mut world, to(2), 10, options).unwrap();
    world.run();
    let got = world.take(2);
    world.pass(Duration::from_millis(60));
    assert_eq!(world.nodes[1].undelivered(), [sent]);
    let now = world.now;
    world.nodes[1].drain(now, HOUR);
    world.pass(Duration::from_millis(60));
    let drained = |event: &Event<_>| matches!(event, Event::Drained { .. });
    assert!(!world.events[1].iter().any(drained), "its handler works");
    let DeliveryKind::Event(Some(ticket)) = got[0].kind else {
        panic!("{got:?}");
    };
    let now = world.now;
    world.nodes[2].reply(now, ticket, reply(b"")).unwrap();
    world.pass(Duration::from_millis(60));
    let clean = |event: &Event<_>| matches!(event, Event::Drained { clean: true });
    assert!(world.events[1].iter().any(clean));
}

/// The limit of the raw peer's flow 1, if the hub has said a new one.
fn limit_told(world: &mut World, raw: &Raw) -> Option<u64> {
    let marks = raw.heard(world).into_iter();
    let marks = marks.filter(|(header, _)| header.kind == Kind::MARK);
    let credits = marks.flat_map(|(_, body)| MarkBody::decode(&body).unwrap().credits);
    credits
        .filter(|credit| credit.flow == 1)
        .map(|credit| credit.limit)
        .max()
}

#[test]
fn hazard_q1_a_peer_that_acknowledges_nothing_of_what_it_is_sent_fills_nobody_s_memory() {
    // It wants a receipt of everything and never says that it has one: it gets no more credit.
    let mut world = world(|config| config.send_messages = 500);
    let mut raw = Raw::member(&mut world, 77);
    let hub = world.nodes[0].instance();
    let (mut used, mut limit, mut sent) = (0, 0, 0);
    let mut flood = |world: &mut World, raw: &mut Raw| {
        for _ in 0..300 {
            for _ in 0..20 {
                let first_contact = sent < 16;
                if !first_contact && used + 128 > limit {
                    break;
                }
                used += if first_contact { 0 } else { 128 };
                sent += 1;
                let header = |header: &mut Header| {
                    header.flow = 1;
                    header.flags = flags::WANT_DELIVERED;
                    header.flags |= if first_contact {
                        flags::FIRST_CONTACT
                    } else {
                        0
                    };
                };
                let event = raw.frame(Kind::EVENT, hub, header, event_body("tell", b"x"));
                raw.says(world, &event);
            }
            world.take(0);
            world.pass(Duration::from_millis(30));
            limit = limit_told(world, raw).unwrap_or(limit);
        }
        sent
    };
    let first = flood(&mut world, &mut raw);
    let window = Config::default().first_window / 128;
    assert!(first >= 500 && first <= 500 + 2 * window, "{first}");
    assert_eq!(world.nodes[0].buffered(), 0, "receipts are no messages");
    // Once it says that it has them, it may go on.
    let mark = raw.mark(hub, first, Vec::new());
    raw.says(&mut world, &mark);
    let more = flood(&mut world, &mut raw);
    assert!(more >= first + 500, "{more}");
}

#[test]
fn hazard_q1_a_peer_that_reads_no_receipts_does_not_make_the_hub_close_the_link_of_who_sends_them()
{
    // It guesses the credit that it is given, and reads nothing: what it is sent waits at the hub, but
    // never so much that the sender of it would be to blame.
    let mut world = world(|_| ());
    let mut raw = Raw::member(&mut world, 77);
    let victim = world.nodes[1].instance();
    world.clogged.insert(raw.wire);
    let mut batch = |count: usize, bits: u8| {
        let header = |header: &mut Header| {
            header.flow = 1;
            header.flags = bits | flags::WANT_DELIVERED;
        };
        let event = |_| raw.frame(Kind::EVENT, victim, header, event_body("tell", b"x"));
        let bytes: Vec<u8> = (0..count).flat_map(event).collect();
        raw.says(&mut world, &bytes);
        let now = world.now;
        while world.nodes[1].recv(now, NamespaceId(0)).is_some() {}
        world.run();
    };
    batch(16, flags::FIRST_CONTACT);
    for _ in 0..340 {
        batch(200, 0);
    }
    let closed = |event: &Event<_>| matches!(event, Event::LinkClosed { .. });
    let faults = |event: &Event<_>| matches!(event, Event::PeerFault { .. });
    for at in 0..3 {
        assert!(!world.events[at].iter().any(closed), "{at}");
    }
    // It gets no credit any more, and to send without is its own fault, which the victim sees.
    assert!(world.nodes[1].stats().delivered > 65_536);
    assert!(world.events[1].iter().any(faults));
}

#[test]
fn what_came_is_marked_in_time_also_where_only_its_refusal_was_written() {
    let mut world = world(|_| ());
    let hub = world.nodes[0].instance();
    let mut raw = Raw::member(&mut world, 77);
    // The first event of a flow is marked with the flow's first credit.
    let first = raw.event(hub, "tell", b"x");
    raw.says(&mut world, &first);
    assert_eq!(world.take(0).len(), 1);
    world.pass(Duration::from_secs(1));
    raw.heard(&mut world);

    let bits = flags::FIRST_CONTACT | flags::WANT_HANDLED;
    let change = move |header: &mut Header| (header.flow, header.flags) = (1, bits);
    let body = event_body("nobody-listens", b"x");
    let second = raw.frame(Kind::EVENT, hub, change, body);
    raw.says(&mut world, &second);
    let kinds = |world: &mut World| -> Vec<Kind> {
        let heard = raw.heard(world);
        heard.iter().map(|(header, _)| header.kind).collect()
    };
    assert_eq!(kinds(&mut world), [Kind::REFUSED]);
    world.pass(Config::default().mark_delay);
    assert_eq!(kinds(&mut world), [Kind::MARK]);
}
