//! Attachments of answers, and how many a peer takes.

use std::time::Duration;

use switchboard_proto::trace::Recording;
use switchboard_proto::*;

use crate::support::{Dice, Handle, Style, World, message, reply, to};

fn ask(world: &mut World, from: usize, at: usize) -> RequestId {
    let asked = message(to(at), "ask", b"?");
    let now = world.now;
    let request = world.nodes[from].request(now, asked, RequestOptions::default());
    request.expect("it is accepted")
}

fn tickets(world: &mut World, at: usize) -> Vec<Ticket> {
    let taken = world.take(at).into_iter();
    taken
        .map(|delivery| match delivery.kind {
            DeliveryKind::Request { ticket, .. } => ticket,
            DeliveryKind::Event(_) => panic!("{delivery:?}"),
        })
        .collect()
}

fn answer(
    world: &mut World,
    at: usize,
    ticket: Ticket,
    handles: Vec<Handle>,
) -> Result<(), ReplyError<Handle>> {
    let answer = Answer::Reply {
        codec: 0,
        payload: b"here".as_slice().into(),
        attachments: handles,
    };
    let now = world.now;
    world.nodes[at].reply(now, ticket, answer)
}

/// The numbers of the handles that came with each reply, and whether some were lost. They are
/// closed with that.
fn replies(world: &mut World, at: usize) -> Vec<(Vec<u32>, bool)> {
    let events = std::mem::take(&mut world.events[at]).into_iter();
    events
        .filter_map(|event| match event {
            Event::Outcome {
                outcome:
                    Outcome::Reply {
                        attachments,
                        attachments_lost,
                        ..
                    },
                ..
            } => {
                let numbers = attachments.iter().map(|handle| handle.number).collect();
                Some((numbers, attachments_lost))
            }
            _ => None,
        })
        .collect()
}

fn is_open(world: &World) -> bool {
    let closed = |event: &Event<Handle>| matches!(event, Event::LinkClosed { .. });
    !world.events.iter().flatten().any(closed)
}

#[test]
fn a_reply_brings_its_attachments_to_the_requester_and_closes_those_of_the_answerer() {
    for style in [Style::Perfect, Style::Chopped(Dice::new(7))] {
        let mut world = World::tuned(2, style, |_, _| ());
        world.serve_all(&["ask"], &[]);
        // From a member to a member, to the hub, from the hub, and to itself.
        for (from, at) in [(1, 2), (0, 1), (2, 0), (1, 1)] {
            ask(&mut world, from, at);
            world.run();
            let ticket = tickets(&mut world, at)[0];
            let handles = world.handles([3, 1, 2]);
            answer(&mut world, at, ticket, handles).unwrap();
            world.pass(Duration::from_secs(1));
            let open = world.census.open();
            assert_eq!(replies(&mut world, from), [(vec![3, 1, 2], false)]);
            assert_eq!(open, 3, "only the requester's are open");
            assert_eq!(world.census.open(), 0);
        }
    }
}

#[test]
fn a_large_reply_brings_them_too() {
    let mut world = World::tuned(2, Style::Chopped(Dice::new(3)), |_, _| ());
    world.serve_all(&["ask"], &[]);
    ask(&mut world, 1, 2);
    world.run();
    let ticket = tickets(&mut world, 2)[0];
    let large = Answer::Reply {
        codec: 0,
        payload: vec![7; 3_000_000].into(),
        attachments: world.handles([9]),
    };
    let now = world.now;
    world.nodes[2].reply(now, ticket, large).unwrap();
    world.pass(Duration::from_secs(1));
    assert_eq!(replies(&mut world, 1), [(vec![9], false)]);
    assert_eq!(world.census.open(), 0);
}

#[test]
fn hazard_f13_a_reply_over_a_link_without_attachments_is_refused_and_can_be_given_without() {
    let mut world = World::unconnected(2, Style::Perfect, Recording::Off, |_, _| ());
    world.connect(1);
    world.connect_as(2, LinkOrigin::Inherited, Medium::Network);
    world.serve_all(&["ask"], &[]);
    // The requester's link carries none, then the answerer's.
    for (from, at) in [(2, 1), (1, 2), (2, 0), (0, 2)] {
        ask(&mut world, from, at);
        world.run();
        let ticket = tickets(&mut world, at)[0];
        let handles = world.handles([1, 2]);
        let refused = answer(&mut world, at, ticket, handles).unwrap_err();
        let unsupported = SendRefusal::AttachmentsUnsupported;
        assert_eq!(refused.reason, ReplyRefusal::Attachments(unsupported));
        assert_eq!(refused.answer.attachments().len(), 2, "they come back");
        drop(refused);
        answer(&mut world, at, ticket, Vec::new()).unwrap();
        world.run();
        assert_eq!(replies(&mut world, from), [(vec![], false)]);
    }
}

#[test]
fn a_requester_that_is_not_ready_gets_the_attachments_of_its_reply() {
    let mut world = World::tuned(2, Style::Perfect, |_, config| {
        config.ready_after = Duration::from_secs(3600);
    });
    world.run();
    world.serve(2, &["ask"], &[]);
    let now = world.now;
    world.nodes[1].open(now, "_").unwrap();
    ask(&mut world, 1, 2);
    world.run();
    let mut told = message(to(1), "tell", b"");
    told.attachments = world.handles([1]);
    let refused = world.nodes[2].send(now, told, SendOptions::default());
    let reason = refused.unwrap_err().reason;
    assert_eq!(reason, SendRefusal::AttachmentsNotReady, "it is not ready");
    let ticket = tickets(&mut world, 2)[0];
    let handles = world.handles([5]);
    answer(&mut world, 2, ticket, handles).unwrap();
    world.run();
    assert_eq!(replies(&mut world, 1), [(vec![5], false)]);
}

#[test]
fn hazard_f14_replies_to_a_stopped_requester_keep_their_handles_with_the_answerer() {
    let mut world = World::new(2);
    world.serve_all(&["ask"], &[]);
    for _ in 0..100 {
        ask(&mut world, 1, 2);
    }
    world.run();
    world.stopped.insert(1);
    world.clogged.insert(0);
    for (at, ticket) in tickets(&mut world, 2).into_iter().enumerate() {
        let handles = world.handles([at as u32, at as u32]);
        answer(&mut world, 2, ticket, handles).unwrap();
    }
    world.pass(Duration::from_secs(1));
    assert!(is_open(&world), "the hub holds no more than it may");
    world.stopped.clear();
    world.clogged.clear();
    world.pass(Duration::from_secs(1));
    assert!(is_open(&world));
    let mut came = replies(&mut world, 1);
    came.sort();
    let all: Vec<_> = (0..100).map(|at| (vec![at, at], false)).collect();
    assert_eq!(came, all);
    assert_eq!(world.census.open(), 0);
}

#[test]
fn handles_of_a_reply_that_nobody_waits_for_are_closed_and_counted() {
    let mut world = World::new(2);
    world.serve_all(&["ask"], &[]);
    let request = ask(&mut world, 1, 2);
    world.run();
    let ticket = tickets(&mut world, 2)[0];
    let now = world.now;
    world.nodes[1].cancel(now, request);
    let handles = world.handles([1]);
    answer(&mut world, 2, ticket, handles).unwrap();
    world.pass(Duration::from_secs(1));
    assert_eq!(world.nodes[1].stats().attachments_dropped, 1);
    // And of one that waits for a requester that ends.
    ask(&mut world, 1, 2);
    world.run();
    let ticket = tickets(&mut world, 2)[0];
    world.clogged.extend([0, 1]);
    for _ in 0..2 {
        let handles = world.handles([1]);
        let _ = answer(&mut world, 2, ticket, handles);
    }
    let now = world.now;
    world.nodes[1].close(now);
    world.pass(Duration::from_secs(10));
    world.clogged.clear();
    world.pass(Duration::from_secs(10));
    world.events[1].clear();
    assert_eq!(world.census.open(), 0);
}

#[test]
fn an_answer_to_an_event_brings_no_handles_anywhere() {
    let mut world = World::new(1);
    world.serve_all(&[], &["tell"]);
    let now = world.now;
    let options = SendOptions {
        receipt: Receipt::Handled,
        ..Default::default()
    };
    let told = message(to(0), "tell", b"");
    world.nodes[1].send(now, told, options).unwrap();
    world.run();
    let DeliveryKind::Event(Some(ticket)) = world.take(0)[0].kind else {
        panic!("it wants a receipt")
    };
    let handles = world.handles([1]);
    answer(&mut world, 0, ticket, handles).unwrap();
    assert_eq!(world.census.open(), 0);
    assert_eq!(world.nodes[0].stats().attachments_dropped, 1);
}

#[test]
fn what_a_peer_or_the_hub_takes_at_most_is_refused_beyond_at_the_sender_and_closes_no_link() {
    let mut world = World::tuned(3, Style::Perfect, |at, config| {
        config.attachments = [12, 16, 4, 32][at];
    });
    world.serve_all(&["ask"], &["tell"]);
    for (from, at, most, limit) in [
        (1, 2, 4, "attachments of the receiver or its hub"),
        (0, 2, 4, "attachments of the receiver or its hub"),
        (1, 3, 12, "attachments of the receiver or its hub"),
        (3, 0, 12, "attachments of the receiver or its hub"),
        (2, 3, 4, "attachments"),
    ] {
        let now = world.now;
        let mut told = message(to(at), "tell", b"");
        told.attachments = world.handles(0..=most);
        let sent = world.nodes[from].send(now, told, SendOptions::default());
        let refused = sent.unwrap_err();
        let value = most as usize;
        let count = value + 1;
        let too_many = SendRefusal::TooManyAttachments {
            count,
            limit,
            value,
        };
        assert_eq!(refused.reason, too_many, "{from} to {at}");
        let mut told = refused.message;
        told.attachments.pop();
        let sent = world.nodes[from].send(now, told, SendOptions::default());
        sent.unwrap();
        world.pass(Duration::from_secs(1));
        let taken = world.take(at);
        assert_eq!(taken[0].attachments.len(), value);
        assert!(!taken[0].attachments_lost);
    }
    // A reply by the same rule.
    ask(&mut world, 2, 1);
    world.run();
    let ticket = tickets(&mut world, 1)[0];
    let handles = world.handles(0..5);
    let refused = answer(&mut world, 1, ticket, handles).unwrap_err();
    assert!(matches!(refused.reason, ReplyRefusal::Attachments(_)));
    assert!(is_open(&world));
    let now = world.now;
    world.nodes[1].reply(now, ticket, reply(b"")).unwrap();
}
