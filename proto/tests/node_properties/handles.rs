//! A handle of something that has ended is an error, never a panic and never somebody else.

use std::time::Duration;

use bytes::BytesMut;
use proptest::prelude::*;
use switchboard_proto::*;

use crate::support::{Dice, Handle, Style, World, message, names, reply, to};

fn read(bytes: &[u8], attachments: Vec<Handle>) -> Read<Handle> {
    Read {
        bytes: BytesMut::from(bytes),
        attachments,
        truncated: false,
    }
}

fn link_of_hub(world: &mut World) -> LinkId {
    let config = LinkConfig {
        origin: LinkOrigin::Accepted,
        medium: Medium::Local,
        attachments: true,
    };
    let now = world.now;
    world.nodes[0].add_link(now, config)
}

#[test]
fn an_ended_link_is_an_error_and_not_the_next_link_in_its_place() {
    let mut world = World::new(0);
    let old = link_of_hub(&mut world);
    let now = world.now;
    let hub = &mut world.nodes[0];
    hub.handle_hangup(now, old, Hangup::End).unwrap();
    while !matches!(hub.poll(), Output::Idle(_)) {}
    let new = link_of_hub(&mut world);
    assert_eq!(old.index(), new.index(), "the place is used again");
    assert_ne!(old, new);
    let with = world.handles([1, 2]);
    let hub = &mut world.nodes[0];
    let before = hub.stats().attachments_dropped;
    assert_eq!(
        hub.handle_read(now, old, read(b"x", with)),
        Err(UnknownLink)
    );
    assert_eq!(hub.stats().attachments_dropped, before + 2);
    assert_eq!(world.census.open(), 0, "what came with it is closed");
    let hub = &mut world.nodes[0];
    assert_eq!(
        hub.handle_written(now, old, Written::Wrote(1)),
        Err(WriteError::UnknownLink(UnknownLink))
    );
    assert_eq!(hub.handle_hangup(now, old, Hangup::Reset), Err(UnknownLink));
    assert_eq!(hub.disconnect(now, old), Err(UnknownLink));
    assert!(hub.write_batch(old).is_none());
    assert_eq!(hub.handle_hangup(now, new, Hangup::End), Ok(()));
}

#[test]
fn a_write_that_was_not_lent_is_misuse_and_changes_nothing() {
    let mut world = World::new(0);
    let link = link_of_hub(&mut world);
    let now = world.now;
    let hub = &mut world.nodes[0];
    let misuse = hub.handle_written(now, link, Written::Wrote(1));
    assert_eq!(misuse, Err(WriteError::Misuse(WriteMisuse::NotCommitted)));
    while !matches!(hub.poll(), Output::Write(_)) {}
    let lent = hub.write_batch(link).unwrap().len();
    for (wrote, misuse) in [
        (0, WriteMisuse::Nothing),
        (
            lent + 1,
            WriteMisuse::TooMuch {
                wrote: lent + 1,
                lent,
            },
        ),
        (
            usize::MAX,
            WriteMisuse::TooMuch {
                wrote: usize::MAX,
                lent,
            },
        ),
    ] {
        let result = hub.handle_written(now, link, Written::Wrote(wrote));
        assert_eq!(result, Err(WriteError::Misuse(misuse)));
        assert_eq!(hub.write_batch(link).unwrap().len(), lent);
    }
    assert_eq!(hub.handle_written(now, link, Written::Wrote(lent)), Ok(()));
    assert!(hub.write_batch(link).is_none());
}

#[test]
fn a_ticket_is_good_for_one_answer() {
    let mut world = World::new(1);
    world.serve_all(&["ask"], &[]);
    let now = world.now;
    let mut tickets = Vec::new();
    for _ in 0..2 {
        let asked = message(Target::Hub, "ask", b"");
        world.nodes[1]
            .request(now, asked, RequestOptions::default())
            .unwrap();
        world.run();
        let delivery = world.take(0).pop().expect("it came");
        let DeliveryKind::Request { ticket, .. } = delivery.kind else {
            panic!("{delivery:?}")
        };
        world.nodes[0].reply(now, ticket, reply(b"")).unwrap();
        tickets.push(ticket);
    }
    assert_ne!(tickets[0], tickets[1], "a ticket is never given twice");
    // A third one is open, in the place of the first two.
    let asked = message(Target::Hub, "ask", b"");
    world.nodes[1]
        .request(now, asked, RequestOptions::default())
        .unwrap();
    world.run();
    assert_eq!(world.take(0).len(), 1);
    tickets.extend([Ticket(0), Ticket(u64::MAX), Ticket(1 << 32)]);
    for ticket in tickets {
        let late = world.nodes[0].reply(now, ticket, reply(b""));
        assert_eq!(late.unwrap_err().reason, ReplyRefusal::Stale);
    }
}

#[test]
fn cancelling_what_has_its_outcome_or_never_was_does_nothing() {
    let mut world = World::new(1);
    world.serve_all(&[], &[]);
    let now = world.now;
    let asked = message(Target::Hub, "nobody", b"");
    let request = world.nodes[1]
        .request(now, asked, RequestOptions::default())
        .unwrap();
    world.run();
    assert_eq!(world.nodes[1].stats().outcomes, 1, "{:?}", world.events[1]);
    let before = world.events[1].len();
    for id in [request, RequestId(0), RequestId(u64::MAX)] {
        world.nodes[1].cancel(now, id);
    }
    for id in [MessageId(request.0), MessageId(0), MessageId(u64::MAX)] {
        assert!(!world.nodes[1].recall(now, id));
    }
    world.run();
    assert_eq!(
        world.events[1].len(),
        before,
        "{:?}",
        &world.events[1][before..]
    );
    assert_eq!(world.nodes[1].stats().outcomes, 1);
}

#[test]
fn a_namespace_that_was_never_opened_is_refused_with_the_message() {
    let mut world = World::new(1);
    world.run();
    let now = world.now;
    let nowhere = NamespaceId(77);
    let mut lost = message(Target::Hub, "x", b"payload");
    lost.namespace = nowhere;
    lost.attachments = world.handles([5]);
    let node = &mut world.nodes[1];
    let error = node.send(now, lost, SendOptions::default()).unwrap_err();
    assert_eq!(error.reason, SendRefusal::UnknownNamespace);
    assert_eq!(&error.message.payload[..], b"payload");
    assert_eq!(error.message.attachments[0].number, 5);
    let error = node
        .request(now, error.message, RequestOptions::default())
        .unwrap_err();
    assert_eq!(error.reason, SendRefusal::UnknownNamespace);
    assert!(node.recv(now, nowhere).is_none());
    assert_eq!(
        node.declare(now, nowhere, names(&["a"], &[])),
        Err(DeclareError::UnknownNamespace)
    );
    node.ready(now, nowhere);
    node.set_default_deadline(Some(nowhere), Duration::from_secs(1));
    node.dial_failed(now, DialId(9));
    world.run();
}

#[test]
fn hazard_d4_closing_twice_does_what_closing_once_does() {
    // Double close, and everything after it: idempotent, and nothing blocks.
    let mut world = World::new(1);
    world.serve_all(&["ask"], &[]);
    let now = world.now;
    let asked = message(Target::Hub, "ask", b"");
    world.nodes[1]
        .request(now, asked, RequestOptions::default())
        .unwrap();
    for _ in 0..2 {
        world.nodes[1].close(now);
        world.run();
    }
    let outcomes = world.events[1].iter();
    let outcomes = outcomes.filter(|event| matches!(event, Event::Outcome { .. }));
    assert_eq!(outcomes.count(), 1);
    let late = message(Target::Hub, "ask", b"");
    let error = world.nodes[1]
        .send(now, late, SendOptions::default())
        .unwrap_err();
    assert_eq!(error.reason, SendRefusal::Closed);
    world.nodes[1].drain(now, Duration::from_secs(1));
    world.nodes[1].dial(now);
    let link = world.connect(1);
    world.run();
    assert!(!world.nodes[1].is_connected());
    world.pass(Duration::from_secs(20));
    world.cut(link);
    assert_eq!(
        world.nodes[0].roster().peers().count(),
        1,
        "the hub is alone"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn calls_with_any_handles_in_any_order_never_panic(seed: u64) {
        let mut dice = Dice::new(seed);
        let style = Style::Chopped(Dice::new(seed ^ 9));
        let mut world = World::tuned(2, style, |_, config| {
            config.send_buffer = 50_000;
            config.reconnect.first = Duration::from_millis(1);
        });
        world.serve_all(&["ask"], &["tell"]);
        let mut links = vec![link_of_hub(&mut world)];
        world.forget_dangling(links[0]);
        for _ in 0..120 {
            any_call(&mut world, &mut dice, &mut links);
            if dice.percent(30) {
                world.run();
            }
        }
        world.pass(Duration::from_secs(30));
        for at in 0..3 {
            world.take(at);
            world.events[at].clear();
        }
    }
}

fn any_call(world: &mut World, dice: &mut Dice, links: &mut Vec<LinkId>) {
    let at = dice.below(3);
    let now = Instant::from_nanos(world.now.as_nanos().saturating_sub(dice.below(3) as u64));
    let small = dice.below(6) as u64;
    let link = links[dice.below(links.len())];
    let handles = world.handles([1]);
    let node = &mut world.nodes[at];
    match dice.below(16) {
        0 => {
            let _ = node.handle_read(now, link, read(&[0; 50], handles));
        }
        1 => {
            let _ = node.handle_written(now, link, Written::Wrote(small as usize));
        }
        2 => {
            let _ = node.handle_hangup(now, link, Hangup::Reset);
        }
        3 => {
            let _ = node.reply(now, Ticket((small << 32) | (dice.next() % 3)), reply(b"r"));
        }
        4 => node.cancel(now, RequestId(small)),
        5 => {
            node.recall(now, MessageId(small));
        }
        6 => {
            let _ = node.declare(now, NamespaceId(small as u32), names(&["ask"], &["tell"]));
        }
        7 => node.ready(now, NamespaceId(small as u32)),
        8 => node.dial_failed(now, DialId(small)),
        9 => {
            node.recv(now, NamespaceId(small as u32));
        }
        10 | 11 => {
            let mut told = message(to(small as usize % 3), "tell", &[0; 100]);
            told.namespace = NamespaceId(dice.below(2) as u32);
            told.attachments = handles;
            let _ = node.send(now, told, SendOptions::default());
        }
        12 => {
            let _ = node.request(now, message(Target::Any, "ask", b""), Default::default());
        }
        13 => {
            let _ = node.open(now, ["a", "b", "", "$c"][dice.below(4)]);
        }
        14 => world.pass(Duration::from_millis(small * 40)),
        _ => {
            let fresh = link_of_hub(world);
            world.forget_dangling(fresh);
            links.push(fresh);
        }
    }
}

#[test]
fn too_many_attachments_come_back_with_the_limit() {
    let mut world = World::new(1);
    world.serve_all(&["ask"], &["tell"]);
    let now = world.now;
    let mut told = message(Target::Hub, "tell", b"x");
    told.attachments = world.handles(0..17);
    let refused = world.nodes[1].send(now, told, SendOptions::default());
    let refused = refused.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "17 attachments are more than `attachments` allows (16): send fewer, or raise it"
    );
    let numbers = refused.message.attachments.iter();
    assert!(numbers.map(|handle| handle.number).eq(0..17), "all of them");
    // What is refused is not remembered: the next message goes.
    let mut fewer = refused.message;
    fewer.attachments.truncate(16);
    world.nodes[1]
        .send(now, fewer, SendOptions::default())
        .unwrap();
    world.run();
    assert_eq!(world.take(0)[0].attachments.len(), 16);
}
