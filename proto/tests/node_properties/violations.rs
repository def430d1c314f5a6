//! A peer that breaks a rule loses its own link or its own conversation, and nobody else's.

use std::time::Duration;

use bytes::Bytes;
use switchboard_proto::wire::{
    CancelBody, CloseCode, Header, Kind, ReceiptBody, RefusedBody, ReplyBody, RequestBody, flags,
    flow,
};
use switchboard_proto::*;

use crate::support::raw::{Raw, event_body};
use crate::support::{World, message, reply, to};

/// A hub with two members that work, whatever a third one does.
fn world() -> World {
    let mut world = World::new(2);
    world.serve_all(&["ask"], &["tell", "error", "__proto__"]);
    world
}

fn hub_of(world: &World) -> InstanceId {
    world.nodes[0].instance()
}

/// The two members still talk to each other and to the hub.
#[track_caller]
fn others_go_on(world: &mut World) {
    for (from, at) in [(1, 2), (2, 0), (0, 1)] {
        world.take(at);
        let now = world.now;
        let told = message(to(at), "tell", b"still here");
        world.nodes[from]
            .send(now, told, SendOptions::default())
            .unwrap();
        world.run();
        let got = world.take(at);
        assert_eq!(got.len(), 1, "from {from} to {at}");
    }
}

fn faults(world: &World, at: usize) -> Vec<InstanceId> {
    let events = world.events[at].iter();
    events
        .filter_map(|event| match event {
            Event::PeerFault { instance, .. } => Some(*instance),
            _ => None,
        })
        .collect()
}

#[test]
fn a_frame_before_the_hello_closes_the_link() {
    let mut world = world();
    let raw = Raw::stranger(&mut world, 77, Medium::Local);
    let attach = raw.attach(1);
    raw.says(&mut world, &attach);
    assert_eq!(raw.closed_with(&mut world), Some(CloseCode::HelloExpected));
    others_go_on(&mut world);
}

#[test]
fn a_second_hello_closes_the_link() {
    let mut world = world();
    let raw = Raw::member(&mut world, 77);
    let hello = raw.hello();
    raw.says(&mut world, &hello);
    assert_eq!(
        raw.closed_with(&mut world),
        Some(CloseCode::ProtocolViolation)
    );
    others_go_on(&mut world);
}

#[test]
fn another_version_closes_the_link_and_says_so() {
    let mut world = world();
    for version in [0, 2, u16::MAX] {
        let raw = Raw::stranger(&mut world, 77, Medium::Local);
        let hello = raw.hello_with(|hello| hello.version = version);
        raw.says(&mut world, &hello);
        assert_eq!(
            raw.closed_with(&mut world),
            Some(CloseCode::VersionMismatch)
        );
    }
    others_go_on(&mut world);
}

#[test]
fn a_hello_of_nobody_or_of_the_hub_itself_closes_the_link() {
    let mut world = world();
    for instance in [0, hub_of(&world).0] {
        let raw = Raw::stranger(&mut world, instance, Medium::Local);
        let hello = raw.hello();
        raw.says(&mut world, &hello);
        assert_eq!(
            raw.closed_with(&mut world),
            Some(CloseCode::ProtocolViolation)
        );
    }
    others_go_on(&mut world);
}

#[test]
fn a_hello_that_never_comes_closes_the_link_after_two_seconds() {
    let mut world = world();
    let raw = Raw::stranger(&mut world, 77, Medium::Local);
    world.pass(Duration::from_millis(1999));
    assert_eq!(raw.closed_with(&mut world), None);
    world.pass(Duration::from_millis(1));
    assert_eq!(raw.closed_with(&mut world), Some(CloseCode::HelloTimeout));
    others_go_on(&mut world);
}

#[test]
fn a_source_that_is_not_attached_over_the_link_closes_it() {
    let mut world = world();
    let victim = world.nodes[1].instance();
    for (number, source) in (77..).zip([victim, InstanceId(99), InstanceId::NONE]) {
        let mut raw = Raw::member(&mut world, number);
        let to = hub_of(&world);
        let header = |header: &mut Header| {
            header.source = source;
            header.flags = flags::FIRST_CONTACT;
            header.flow = 1;
        };
        let forged = raw.frame(Kind::EVENT, to, header, event_body("tell", b"forged"));
        raw.says(&mut world, &forged);
        assert_eq!(raw.closed_with(&mut world), Some(CloseCode::ForgedSource));
        assert!(world.take(0).is_empty(), "what was forged is not delivered");
    }
    others_go_on(&mut world);
}

#[test]
fn hazard_w9_an_unknown_kind_is_skipped_with_its_attachments_and_a_critical_one_closes_the_link() {
    // Skip exactly its bytes and its descriptors, and count it; critical bit: disconnect.
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    let hub = hub_of(&world);
    let before = world.nodes[0].stats().unknown_kinds;
    for kind in [Kind(0x1f), Kind(0x4f)] {
        let two = |header: &mut Header| header.attachments = 2;
        let destination = if kind.is_link_local() {
            InstanceId::NONE
        } else {
            hub
        };
        let unknown = raw.frame(kind, destination, two, |body| body.extend([9; 100]));
        let handles = world.handles([1, 2]);
        raw.says_with(&mut world, &unknown, handles);
        assert_eq!(world.census.open(), 0, "nobody keeps what came with it");
    }
    assert_eq!(world.nodes[0].stats().unknown_kinds, before + 2);
    let event = raw.event(hub, "tell", b"after");
    raw.says(&mut world, &event);
    assert_eq!(
        world.take(0).len(),
        1,
        "the next frame is found where it begins"
    );
    let critical = raw.frame(Kind(0xc1), hub, |_| (), |_| ());
    raw.says(&mut world, &critical);
    assert_eq!(
        raw.closed_with(&mut world),
        Some(CloseCode::ProtocolViolation)
    );
    others_go_on(&mut world);
}

#[test]
fn more_attachments_than_one_write_can_carry_close_the_link() {
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    let many = |header: &mut Header| header.attachments = 254;
    let hub = hub_of(&world);
    let event = raw.frame(Kind::EVENT, hub, many, event_body("tell", b""));
    let handles = world.handles(0..17);
    raw.says_with(&mut world, &event, handles);
    assert_eq!(
        raw.closed_with(&mut world),
        Some(CloseCode::ProtocolViolation)
    );
    assert_eq!(world.census.open(), 0);
    others_go_on(&mut world);
}

#[test]
fn attachments_that_no_frame_announces_close_the_link() {
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    let event = raw.event(hub_of(&world), "tell", b"");
    let handles = world.handles([1]);
    raw.says_with(&mut world, &event, handles);
    assert_eq!(
        raw.closed_with(&mut world),
        Some(CloseCode::AttachmentsUnclear)
    );
    assert_eq!(world.census.open(), 0);
    assert_eq!(world.nodes[0].stats().attachments_dropped, 1);
    others_go_on(&mut world);
}

#[test]
fn attachments_that_are_announced_and_do_not_come_close_the_link() {
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    let two = |header: &mut Header| {
        header.attachments = 2;
        header.flow = 1;
        header.flags = flags::FIRST_CONTACT;
    };
    let event = raw.frame(Kind::EVENT, hub_of(&world), two, event_body("tell", b""));
    let handles = world.handles([1]);
    raw.says_with(&mut world, &event, handles);
    assert_eq!(
        raw.closed_with(&mut world),
        Some(CloseCode::AttachmentsUnclear)
    );
    assert_eq!(world.census.open(), 0);
    others_go_on(&mut world);
}

#[test]
fn attachments_on_frames_that_have_none_end_no_link_but_that_of_their_sender() {
    let mut world = world();
    let member = world.nodes[1].instance();
    let kinds = [
        Kind::MARK,
        Kind::BLOCKED,
        Kind::ASK,
        Kind::RECLAIM,
        Kind::CANCEL,
        Kind::VOID,
        Kind(0x4f),
    ];
    for (number, kind) in (77..).zip(kinds) {
        let mut raw = Raw::member(&mut world, number);
        for path in 1..3u32 {
            let two = |header: &mut Header| header.attachments = 2;
            let body = [0, 0, 0, path as u8].repeat(9);
            let frame = raw.frame(kind, member, two, |out| match kind {
                Kind::ASK => out.extend(path.to_be_bytes()),
                Kind::MARK => out.extend(&body[..14]),
                Kind::BLOCKED => out.extend(&body[..28]),
                _ => out.extend(&body[..8]),
            });
            let handles = world.handles([1, 2]);
            raw.says_with(&mut world, &frame, handles);
        }
        assert!(world.nodes[1].is_connected(), "{kind:?}");
        assert_eq!(world.census.open(), 0, "{kind:?}");
    }
    others_go_on(&mut world);
}

#[test]
fn more_than_the_credit_breaks_the_conversation_with_the_receiver() {
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    let hub = hub_of(&world);
    // Without credit and beyond first contact.
    let on_credit = |header: &mut Header| header.flow = 1;
    let event = raw.frame(Kind::EVENT, hub, on_credit, event_body("tell", b"x"));
    raw.says(&mut world, &event);
    assert_eq!(faults(&world, 0), [raw.instance]);
    assert!(world.take(0).is_empty());
    let event = raw.event(hub, "tell", b"later");
    raw.says(&mut world, &event);
    assert!(world.take(0).is_empty(), "it is not listened to any more");
    assert_eq!(raw.closed_with(&mut world), Some(CloseCode::CreditOverrun));
    others_go_on(&mut world);
}

#[test]
fn first_contact_is_sixteen_messages() {
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    let hub = hub_of(&world);
    let events: Vec<u8> = (0..16).flat_map(|_| raw.event(hub, "tell", b"x")).collect();
    raw.says(&mut world, &events);
    assert_eq!((world.take(0).len(), faults(&world, 0).len()), (16, 0));
    let event = raw.event(hub, "tell", b"x");
    raw.says(&mut world, &event);
    assert_eq!(faults(&world, 0), [raw.instance]);
    others_go_on(&mut world);
}

#[test]
fn more_than_a_member_can_have_given_credit_for_closes_the_link_at_the_hub() {
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    let victim = world.nodes[1].instance();
    world.stopped.insert(1);
    let on_credit = |header: &mut Header| header.flow = 1;
    let mut closed = None;
    for _ in 0..200 {
        let event = raw.frame(Kind::EVENT, victim, on_credit, |body| {
            body.resize(500_000, 0)
        });
        raw.says(&mut world, &event);
        closed = raw.closed_with(&mut world);
        if closed.is_some() {
            break;
        }
    }
    assert_eq!(closed, Some(CloseCode::CreditOverrun));
    world.stopped.clear();
    world.run();
    others_go_on(&mut world);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_breaks_the_conversation() {
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    let hub = hub_of(&world);
    let event = raw.event(hub, "tell", b"x");
    raw.says(&mut world, &event);
    world.take(0);
    for received in [1, u64::MAX] {
        let mark = raw.mark(hub, received, Vec::new());
        raw.says(&mut world, &mark);
    }
    assert_eq!(faults(&world, 0), [raw.instance]);
    others_go_on(&mut world);
}

#[test]
fn events_named_error_or_proto_are_events_like_any_other() {
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    for name in ["error", "__proto__"] {
        let event = raw.event(hub_of(&world), name, b"x");
        raw.says(&mut world, &event);
        let got = world.take(0);
        assert_eq!(got.len(), 1);
        assert_eq!(&*got[0].event, name);
    }
    assert_eq!(raw.closed_with(&mut world), None);
    others_go_on(&mut world);
}

#[test]
fn a_frame_that_is_cut_off_by_the_end_of_the_link_never_happened() {
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    let event = raw.event(hub_of(&world), "tell", &[1; 1000]);
    let whole = raw.event(hub_of(&world), "tell", b"");
    assert!(event.len() > whole.len());
    raw.says(&mut world, &event[..event.len() - 1]);
    world.cut(raw.wire);
    assert!(world.take(0).is_empty());
    assert_eq!(faults(&world, 0), []);
    others_go_on(&mut world);
}

#[test]
fn half_a_frame_and_then_a_reconnect_leaves_nothing_of_the_half() {
    let mut world = world();
    let mut raw = Raw::member_over(&mut world, 77, Medium::Network);
    let hub = hub_of(&world);
    let event = raw.event(hub, "tell", b"the whole of it");
    raw.says(&mut world, &event[..40]);
    world.cut(raw.wire);
    // The same instance comes again, and sends the frame again.
    let (wire, link) = world.stranger(Medium::Network);
    (raw.wire, raw.link) = (wire, link);
    let again = [raw.hello(), raw.attach(2), event.clone(), event].concat();
    raw.says(&mut world, &again);
    let got = world.take(0);
    assert_eq!(got.len(), 1, "once, and whole");
    assert_eq!(&got[0].payload[..], b"the whole of it");
    assert_eq!(world.nodes[0].stats().duplicates, 1);
    others_go_on(&mut world);
}

#[test]
fn a_later_link_of_the_same_instance_takes_the_place_of_the_first() {
    let mut world = world();
    let first = Raw::member(&mut world, 77);
    let second = Raw::stranger(&mut world, 77, Medium::Local);
    let bytes = [second.hello(), second.attach(2)].concat();
    second.says(&mut world, &bytes);
    assert_eq!(first.closed_with(&mut world), Some(CloseCode::Replaced));
    assert_eq!(second.closed_with(&mut world), None);
    let peers = world.nodes[0].roster().peers();
    assert_eq!(
        peers.filter(|peer| peer.instance == first.instance).count(),
        1
    );
    others_go_on(&mut world);
}

/// A request of the hub that a raw peer has received, by its number.
fn asked_of(world: &mut World, raw: &Raw) -> (RequestId, u64) {
    let now = world.now;
    let peer = world.nodes[0].roster().by_instance(raw.instance);
    let target = Target::Peer(peer.expect("it is attached").id);
    let request = world.nodes[0].request(now, message(target, "ask", b""), Default::default());
    world.run();
    let heard = raw.heard(world);
    let body: Option<Bytes> = heard
        .into_iter()
        .find_map(|(header, body)| (header.kind == Kind::REQUEST).then_some(body));
    let body = body.expect("the request came");
    let number = RequestBody::decode(&body).unwrap().request;
    (request.unwrap(), number)
}

fn reply_of(raw: &mut Raw, to: InstanceId, request: u64, payload: &[u8]) -> Vec<u8> {
    let header = |header: &mut Header| {
        header.flow = flow::reply_flow(request);
        header.flags = flags::LAST;
    };
    let body = ReplyBody {
        request,
        codec: 0,
        payload,
    };
    raw.frame(Kind::REPLY, to, header, |out| body.encode(out))
}

fn outcomes(world: &World, at: usize) -> Vec<(RequestId, String)> {
    let events = world.events[at].iter();
    events
        .filter_map(|event| match event {
            Event::Outcome { request, outcome } => Some((
                *request,
                match outcome {
                    Outcome::Reply { payload, .. } => String::from_utf8_lossy(payload).into(),
                    other => format!("{other:?}"),
                },
            )),
            _ => None,
        })
        .collect()
}

#[test]
fn a_second_reply_is_no_second_outcome() {
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    let (request, number) = asked_of(&mut world, &raw);
    let hub = hub_of(&world);
    let bytes = [
        reply_of(&mut raw, hub, number, b"first"),
        reply_of(&mut raw, hub, number, b"second"),
    ]
    .concat();
    raw.says(&mut world, &bytes);
    assert_eq!(outcomes(&world, 0), [(request, "first".into())]);
    others_go_on(&mut world);
}

#[test]
fn hazard_k1_a_reply_after_the_deadline_is_dropped_and_counted() {
    // Reply after timeout: dropped, counted.
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    let (request, number) = asked_of(&mut world, &raw);
    world.pass(Duration::from_secs(11));
    let cancelled = raw.heard(&mut world).into_iter().any(|(header, body)| {
        header.kind == Kind::CANCEL && CancelBody::decode(&body).unwrap().request == number
    });
    assert!(cancelled, "the handler can see that nobody waits");
    let hub = hub_of(&world);
    let late = reply_of(&mut raw, hub, number, b"late");
    raw.says(&mut world, &late);
    assert_eq!(outcomes(&world, 0), [(request, "Unknown(Deadline)".into())]);
    assert_eq!(world.nodes[0].stats().late_replies, 1);
    assert_eq!(faults(&world, 0), [], "it is no fault to be late");
    others_go_on(&mut world);
}

#[test]
fn hazard_k3_a_reply_of_somebody_else_is_dropped_and_the_right_one_counts() {
    // Reply from the wrong incarnation: mismatch dropped.
    let mut world = world();
    let mut asked = Raw::member(&mut world, 77);
    let mut thief = Raw::member(&mut world, 78);
    let (request, number) = asked_of(&mut world, &asked);
    let hub = hub_of(&world);
    // With the credit of a request of its own, so that the frame itself is within the rules.
    let (own, own_number) = asked_of(&mut world, &thief);
    let header = |header: &mut Header| {
        header.flow = flow::reply_flow(own_number);
        header.flags = flags::LAST;
    };
    let body = ReplyBody {
        request: number,
        codec: 0,
        payload: b"stolen",
    };
    let stolen = thief.frame(Kind::REPLY, hub, header, |out| body.encode(out));
    thief.says(&mut world, &stolen);
    assert_eq!(outcomes(&world, 0), [(own, "Unknown(PeerFault)".into())]);
    assert_eq!(faults(&world, 0), [thief.instance]);
    let right = reply_of(&mut asked, hub, number, b"right");
    asked.says(&mut world, &right);
    assert_eq!(outcomes(&world, 0)[1..], [(request, "right".into())]);
    assert_eq!(world.nodes[0].pending().count(), 0);
    others_go_on(&mut world);
}

#[test]
fn verdicts_on_what_was_never_sent_are_no_events() {
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    let hub = hub_of(&world);
    let before = world.events[0].len();
    let refused = RefusedBody {
        of: 5,
        reason: 2,
        detail: 0,
    };
    let receipt = ReceiptBody { of: 9, level: 1 };
    let bytes = [
        raw.frame(Kind::REFUSED, hub, |_| (), |out| refused.encode(out)),
        raw.frame(Kind::RECEIPT, hub, |_| (), |out| receipt.encode(out)),
        raw.frame(
            Kind::CANCEL,
            hub,
            |_| (),
            |out| {
                CancelBody { request: 3 }.encode(out);
            },
        ),
    ]
    .concat();
    raw.says(&mut world, &bytes);
    assert_eq!(
        world.events[0].len(),
        before,
        "{:?}",
        &world.events[0][before..]
    );
    others_go_on(&mut world);
}

#[test]
fn the_answer_of_a_handler_whose_requester_died_is_stale() {
    let mut world = world();
    let now = world.now;
    let asked = message(Target::Hub, "ask", b"");
    world.nodes[1]
        .request(now, asked, RequestOptions::default())
        .unwrap();
    world.run();
    let delivery = world.take(0).pop().unwrap();
    let DeliveryKind::Request { ticket, .. } = delivery.kind else {
        panic!("{delivery:?}")
    };
    world.cut(0);
    let cancelled = |event: &Event<_>| matches!(event, Event::Cancelled(of) if *of == ticket);
    assert!(
        world.events[0].iter().any(cancelled),
        "the handler can see it"
    );
    let late = world.nodes[0].reply(now, ticket, reply(b""));
    assert_eq!(late.unwrap_err().reason, ReplyRefusal::Stale);
    world.run();
}
