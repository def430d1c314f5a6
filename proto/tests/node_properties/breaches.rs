//! A peer that breaks the rules of a conversation: nobody waits for what it will never say.

use switchboard_proto::wire::{self, CloseCode, Header, Kind, Refusal, flags, flow};
use switchboard_proto::*;

use crate::support::raw::{Raw, event_body};
use crate::support::{World, message, reply, to};

/// The offender's id: the hub and two members came before.
const OFFENDER: Target = Target::Peer(PeerId(4));

fn world() -> World {
    let mut world = World::new(2);
    world.serve_all(&["ask"], &["tell"]);
    world
}

/// Sends on credit that nobody gave.
fn overrun(world: &mut World, raw: &mut Raw, at: usize) {
    let to = world.nodes[at].instance();
    let on_credit = |header: &mut Header| header.flow = 9;
    let event = raw.frame(Kind::EVENT, to, on_credit, event_body("tell", b"x"));
    raw.says(world, &event);
}

fn tell(world: &mut World, from: usize) -> Result<MessageId, SendRefusal> {
    let now = world.now;
    let told = message(OFFENDER, "tell", b"x");
    let sent = world.nodes[from].send(now, told, SendOptions::default());
    sent.map_err(|error| error.reason)
}

fn fates(world: &World, at: usize) -> Vec<(MessageId, String)> {
    let events = world.events[at].iter();
    events
        .filter_map(|event| match event {
            Event::Fate { message, fate } => Some((
                *message,
                match fate {
                    Fate::Unconfirmed => "unconfirmed".into(),
                    Fate::Refused {
                        reason,
                        message: Some(_),
                    } => format!("came back: {reason:?}"),
                    other => format!("{other:?}"),
                },
            )),
            _ => None,
        })
        .collect()
}

#[test]
fn nothing_waits_for_a_peer_that_broke_its_conversation() {
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    world.run();
    let now = world.now;
    let ask = message(OFFENDER, "ask", b"?");
    let options = RequestOptions {
        deadline: Some(std::time::Duration::MAX),
        ..RequestOptions::default()
    };
    let asked = world.nodes[1].request(now, ask, options).unwrap();
    // Fifteen use first contact, and the rest waits for credit.
    let told: Vec<MessageId> = (0..20).map(|_| tell(&mut world, 1).unwrap()).collect();
    world.run();
    overrun(&mut world, &mut raw, 1);

    let outcomes: Vec<_> = world.events[1]
        .iter()
        .filter_map(|event| match event {
            Event::Outcome { request, outcome } => Some((*request, format!("{outcome:?}"))),
            _ => None,
        })
        .collect();
    assert_eq!(outcomes, [(asked, "Unknown(PeerFault)".into())]);
    let expected = |at: usize| match at < 15 {
        true => "unconfirmed",
        false => "came back: PeerFault",
    };
    let mut said = fates(&world, 1);
    said.sort();
    let all: Vec<_> = told.iter().copied().zip((0..20).map(expected)).collect();
    assert_eq!(said.len(), all.len(), "{said:?}");
    for (said, expected) in said.iter().zip(all) {
        assert_eq!((said.0, said.1.as_str()), expected);
    }
    assert_eq!(world.nodes[1].buffered(), 0);
    assert!(world.nodes[1].is_settled());
}

/// What the peer that broke a rule is told, each time that it is.
fn accusations(raw: &Raw, world: &mut World, by: usize) -> usize {
    let by = world.nodes[by].instance();
    let heard = raw.heard(world);
    let accuses = |(header, _): &&(Header, _)| {
        header.kind == Kind::MARK && header.source == by && header.flags & flags::BROKEN != 0
    };
    heard.iter().filter(accuses).count()
}

#[test]
fn who_broke_a_conversation_is_told_once_and_again_when_it_asks() {
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    overrun(&mut world, &mut raw, 1);
    assert_eq!(accusations(&raw, &mut world, 1), 1);
    let victim = world.nodes[1].instance();
    let event = raw.event(victim, "tell", b"x");
    raw.says(&mut world, &event);
    assert_eq!(accusations(&raw, &mut world, 1), 0);
    let ask = raw.frame(
        Kind::ASK,
        victim,
        |_| (),
        |body| wire::AskBody { path: 2 }.encode(body),
    );
    raw.says(&mut world, &[&ask[..], &ask[..]].concat());
    assert_eq!(accusations(&raw, &mut world, 1), 1);
}

#[test]
fn who_is_said_to_have_broken_a_conversation_waits_for_nothing_in_it_and_says_nothing_back() {
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    world.run();
    let now = world.now;
    let ask = message(OFFENDER, "ask", b"?");
    let asked = world.nodes[1].request(now, ask, RequestOptions::default());
    let told = tell(&mut world, 1).unwrap();
    world.run();
    raw.heard(&mut world);
    let accused = world.nodes[1].instance();
    let broken = |header: &mut Header| header.flags = flags::BROKEN;
    let nothing = wire::MarkBody {
        received: 0,
        path: 0,
        credits: Vec::new(),
    };
    let mark = raw.frame(Kind::MARK, accused, broken, |body| nothing.encode(body));
    raw.says(&mut world, &[&mark[..], &mark[..]].concat());
    let events = std::mem::take(&mut world.events[1]);
    let outcome = events.iter().find_map(|event| match event {
        Event::Outcome { request, outcome } => Some((*request, format!("{outcome:?}"))),
        _ => None,
    });
    assert_eq!(outcome, Some((asked.unwrap(), "Unknown(PeerFault)".into())));
    let faults = |event: &&Event<_>| matches!(event, Event::PeerFault { .. });
    assert_eq!(events.iter().filter(faults).count(), 1, "{events:?}");
    world.events[1] = events;
    assert_eq!(fates(&world, 1), [(told, "unconfirmed".into())]);
    assert_eq!(tell(&mut world, 1), Err(SendRefusal::PeerFault));
    assert!(raw.heard(&mut world).is_empty());
    assert_eq!(raw.closed_with(&mut world), None);
}

#[test]
fn what_is_sent_to_a_peer_that_broke_its_conversation_is_refused_and_what_it_sends_is_counted() {
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    let victim = world.nodes[1].instance();
    let before = raw.event(victim, "tell", b"in good order");
    raw.says(&mut world, &before);
    overrun(&mut world, &mut raw, 1);
    assert_eq!(tell(&mut world, 1), Err(SendRefusal::PeerFault));
    let now = world.now;
    let ask = message(OFFENDER, "ask", b"?");
    let refused = world.nodes[1].request(now, ask, RequestOptions::default());
    assert_eq!(refused.unwrap_err().reason, SendRefusal::PeerFault);

    let dropped = world.nodes[1].stats().broken_dropped;
    let later = raw.event(victim, "tell", b"later");
    raw.says(&mut world, &later);
    assert_eq!(world.nodes[1].stats().broken_dropped, dropped + 1);
    let got = world.take(1);
    assert_eq!(got.len(), 1, "what came before stays for the application");
    assert_eq!(&*got[0].payload, b"in good order");

    // It was no concern of the hub, nor of anybody else.
    assert_eq!(raw.closed_with(&mut world), None);
    assert!(tell(&mut world, 2).is_ok());
    let told = message(to(2), "tell", b"others go on");
    world.nodes[1]
        .send(now, told, SendOptions::default())
        .unwrap();
    world.run();
    assert_eq!(world.take(2).len(), 1);
}

#[test]
fn handlers_that_work_for_a_peer_that_broke_its_conversation_see_that_nobody_waits() {
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    let victim = world.nodes[1].instance();
    let to_ask = |header: &mut Header| {
        header.flow = 1;
        header.flags = flags::FIRST_CONTACT;
    };
    let body = |body: &mut Vec<u8>| {
        wire::RequestBody {
            request: 5,
            remaining: 0,
            reply_credit: 1024,
            namespace: "",
            event: "ask",
            codec: 0,
            payload: b"?",
        }
        .encode(body);
    };
    let ask = raw.frame(Kind::REQUEST, victim, to_ask, body);
    raw.says(&mut world, &ask);
    let got = world.take(1);
    let DeliveryKind::Request { ticket, .. } = got[0].kind else {
        panic!("{got:?}");
    };
    overrun(&mut world, &mut raw, 1);
    let cancelled = |event: &Event<_>| matches!(event, Event::Cancelled(it) if *it == ticket);
    assert!(world.events[1].iter().any(cancelled));
    let now = world.now;
    let late = world.nodes[1].reply(now, ticket, reply(b"!"));
    assert_eq!(late.unwrap_err().reason, ReplyRefusal::Stale);
    assert!(flow::reply_flow(5) > flow::MAX_FLOW);
}

#[test]
fn a_hub_closes_the_link_of_a_peer_that_broke_its_conversation_with_it_and_all_see_its_end() {
    for medium in [Medium::Local, Medium::Network] {
        let mut world = world();
        let mut raw = Raw::member_over(&mut world, 77, medium);
        overrun(&mut world, &mut raw, 0);
        assert_eq!(
            raw.closed_with(&mut world),
            Some(CloseCode::CreditOverrun),
            "{medium:?}"
        );
        for at in 0..3 {
            let gone = |event: &Event<_>| matches!(event, Event::PeerGone { id: PeerId(4), .. });
            assert!(world.events[at].iter().any(gone), "{medium:?} {at}");
        }
        assert_eq!(tell(&mut world, 1), Err(SendRefusal::NoSuchPeer));
    }
}

#[test]
fn a_request_to_anybody_goes_to_somebody_else_than_a_peer_that_broke_its_conversation() {
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    let declare = wire::Declare {
        instance: raw.instance,
        version: 1,
        slice: 0,
        last: true,
        namespaces: vec![wire::NamespaceDeclaration {
            ready: true,
            handlers: vec!["rare".into()],
            ..wire::NamespaceDeclaration::default()
        }],
    };
    let declare = raw.control(Kind::DECLARE, |body| declare.encode(body));
    raw.says(&mut world, &declare);
    overrun(&mut world, &mut raw, 1);
    // It alone had the handler; then another one has it too.
    let now = world.now;
    let options = RequestOptions::default();
    let rare = || message(Target::Any, "rare", b"?");
    world.nodes[1].request(now, rare(), options).unwrap();
    world.run();
    assert!(world.take(2).is_empty());
    world.serve(2, &["ask", "rare"], &["tell"]);
    let got = world.take(2);
    assert_eq!(got.len(), 1);
    assert_eq!(Refusal::from_u8(13), Some(Refusal::PeerFault));
}
