//! Credit, room for large messages and their slices, as nobody honest says them: the conversation or
//! the link ends, and what was reserved is free again.

use std::time::Duration;

use switchboard_proto::wire::{
    BlockedBody, Credit, Header, Kind, ReclaimBody, SliceBody, SliceHead, VoidBody, flags,
};
use switchboard_proto::*;

use super::framing::{fault, member_goes_on, world};
use crate::support::raw::{Raw, event_body};
use crate::support::{World, message};

#[test]
fn hazard_w6_the_largest_numbers_in_every_field_of_credit_overflow_nothing() {
    let mut world = world();
    let hub = world.nodes[0].instance();
    let flow = |flow| move |header: &mut Header| header.flow = flow;
    for (number, which) in (77..).zip(0..6) {
        let mut raw = Raw::member(&mut world, number);
        // So that the hub has a conversation with it, with a flow of its own.
        let peer = world.nodes[0]
            .roster()
            .by_instance(raw.instance)
            .unwrap()
            .id;
        let now = world.now;
        let told = message(Target::Peer(peer), "tell", b"x");
        let _ = world.nodes[0].send(now, told, SendOptions::default());
        let event = raw.event(hub, "tell", b"x");
        raw.says(&mut world, &event);
        let blocked = |room| BlockedBody {
            limit: u64::MAX,
            need: u64::MAX,
            room,
            size: u64::MAX,
        };
        let largest = Credit {
            flow: 1,
            taken: u64::MAX,
            limit: u64::MAX,
            rooms: u32::MAX,
        };
        let bytes = match which {
            0 => {
                // With something on credit already, so that a sum could overflow.
                with_room(&mut world, &mut raw, 5000);
                let event = raw.frame(Kind::EVENT, hub, flow(1), event_body("tell", b"x"));
                raw.says(&mut world, &event);
                assert_eq!(fault(&world), None);
                let body = VoidBody { cost: u64::MAX };
                raw.frame(Kind::VOID, hub, flow(1), |out| body.encode(out))
            }
            1 => raw.frame(Kind::BLOCKED, hub, flow(1), |out| blocked(0).encode(out)),
            2 => raw.frame(Kind::BLOCKED, hub, flow(1), |out| {
                blocked(u32::MAX).encode(out)
            }),
            3 => raw.mark(hub, 0, vec![largest]),
            4 => {
                let reclaim = ReclaimBody { limit: u64::MAX };
                let mark = raw.mark(hub, 0, vec![largest]);
                let reclaim = raw.frame(Kind::RECLAIM, hub, flow(1), |out| reclaim.encode(out));
                [mark, reclaim.clone(), reclaim].concat()
            }
            _ => slice_of(&mut raw, hub, u64::MAX, b"x"),
        };
        raw.says(&mut world, &bytes);
        let _ = world.nodes[0].send(
            world.now,
            message(Target::Peer(peer), "tell", b"x"),
            SendOptions::default(),
        );
        world.run();
        world.pass(Duration::from_secs(1));
    }
    member_goes_on(&mut world);
}

fn slice_of(raw: &mut Raw, to: InstanceId, total: u64, bytes: &[u8]) -> Vec<u8> {
    let header = |header: &mut Header| {
        header.flow = 1;
        header.flags = flags::FIRST;
    };
    let slice = SliceBody {
        first: Some(SliceHead {
            total,
            kind: Kind::EVENT.0,
            flags: 0,
        }),
        bytes,
    };
    raw.frame(Kind::SLICE, to, header, |out| slice.encode(out))
}

/// Has the hub give room for a large message, and credit for its slices.
fn with_room(world: &mut World, raw: &mut Raw, size: u64) {
    let hub = world.nodes[0].instance();
    let event = raw.event(hub, "tell", b"x");
    let blocked = BlockedBody {
        limit: 0,
        need: 0,
        room: 1,
        size,
    };
    let ask = raw.frame(
        Kind::BLOCKED,
        hub,
        |header| header.flow = 1,
        |out| blocked.encode(out),
    );
    let bytes = [event, ask].concat();
    raw.says(world, &bytes);
    world.take(0);
    world.run();
    let heard = raw.heard(world);
    let granted = heard.iter().any(|(header, body)| {
        header.kind == Kind::MARK
            && wire::MarkBody::decode(body).is_ok_and(|mark| {
                mark.credits
                    .iter()
                    .any(|credit| credit.rooms == 1 && credit.limit > 4096)
            })
    });
    assert!(granted, "{heard:?}");
}

#[test]
fn hazard_w7_slices_that_do_not_make_up_their_message_break_the_conversation() {
    // Reassembly gaps: links are ordered, so a slice that does not continue its message is a
    // violation and nothing is ever kept for later.
    let last = |header: &mut Header| {
        header.flow = 1;
        header.flags = flags::LAST;
    };
    let middle = |header: &mut Header| header.flow = 1;
    type Break = fn(&mut Raw, InstanceId) -> Vec<u8>;
    let breaks: [(&str, Break); 5] = [
        ("larger than the room", |raw, hub| {
            slice_of(raw, hub, 5001, b"x")
        }),
        ("begun twice", |raw, hub| {
            let first = slice_of(raw, hub, 5000, b"x");
            [first, slice_of(raw, hub, 5000, b"x")].concat()
        }),
        ("more bytes than announced", |raw, hub| {
            slice_of(raw, hub, 3, b"more")
        }),
        ("an empty whole", |raw, hub| slice_of(raw, hub, 0, b"")),
        ("whole, but not said to be", |raw, hub| {
            slice_of(raw, hub, 3, b"all")
        }),
    ];
    for (what, bytes) in breaks {
        let mut world = world();
        let mut raw = Raw::member(&mut world, 77);
        with_room(&mut world, &mut raw, 5000);
        let hub = world.nodes[0].instance();
        let bytes = bytes(&mut raw, hub);
        raw.says(&mut world, &bytes);
        assert!(fault(&world).is_some(), "{what}");
        member_goes_on(&mut world);
    }
    for ends in [true, false] {
        let mut world = world();
        let mut raw = Raw::member(&mut world, 77);
        with_room(&mut world, &mut raw, 5000);
        let hub = world.nodes[0].instance();
        let slice = SliceBody {
            first: None,
            bytes: b"from nowhere",
        };
        let bytes = match ends {
            true => raw.frame(Kind::SLICE, hub, last, |out| slice.encode(out)),
            false => raw.frame(Kind::SLICE, hub, middle, |out| slice.encode(out)),
        };
        raw.says(&mut world, &bytes);
        assert!(fault(&world).is_some(), "a slice of nothing");
        member_goes_on(&mut world);
    }
}

#[test]
fn a_large_message_that_makes_no_sense_gives_its_room_back() {
    let mut world = World::tuned(1, crate::support::Style::Perfect, |_, config| {
        config.message_cap = 100_000;
        config.reassembly_cap = 400_000;
    });
    world.serve_all(&[], &["tell"]);
    let hub = world.nodes[0].instance();
    // Each holds a share of the cap; after four nothing would be left.
    for number in 77..85 {
        let mut raw = Raw::member(&mut world, number);
        with_room(&mut world, &mut raw, 100_000);
        let header = |header: &mut Header| {
            header.flow = 1;
            header.flags = flags::FIRST | flags::LAST;
            header.attachments = 1;
        };
        let slice = SliceBody {
            first: Some(SliceHead {
                total: 3,
                kind: Kind::EVENT.0,
                flags: 0,
            }),
            bytes: b"\xff\xff\xff",
        };
        let nonsense = raw.frame(Kind::SLICE, hub, header, |out| slice.encode(out));
        let handle = world.handles([1]);
        let dropped = world.nodes[0].stats().attachments_dropped;
        raw.says_with(&mut world, &nonsense, handle);
        assert!(fault(&world).is_some());
        assert_eq!(world.census.open(), 0);
        assert_eq!(world.nodes[0].stats().attachments_dropped, dropped + 1);
        world.cut(raw.wire);
    }
    let now = world.now;
    let told = message(Target::Hub, "tell", &[1; 90_000]);
    world.nodes[1]
        .send(now, told, SendOptions::default())
        .unwrap();
    world.run();
    assert_eq!(world.take(0).len(), 1);
}

#[test]
fn a_peer_cannot_open_flows_without_end() {
    let mut world = world();
    let mut raw = Raw::member(&mut world, 77);
    let hub = world.nodes[0].instance();
    let blocked = BlockedBody {
        limit: 0,
        need: 1,
        room: 0,
        size: 0,
    };
    let bytes: Vec<u8> = (1..=70_000)
        .flat_map(|flow| {
            raw.frame(
                Kind::BLOCKED,
                hub,
                |header| header.flow = flow,
                |out| blocked.encode(out),
            )
        })
        .collect();
    let now = world.now;
    let node = &mut world.nodes[0];
    let cost = allocation_counter::measure(|| {
        for part in bytes.chunks(60_000) {
            let read = Read {
                bytes: part.into(),
                attachments: Vec::new(),
                truncated: false,
            };
            node.handle_read(now, raw.link, read).unwrap();
        }
    });
    assert!(cost.bytes_current < 1 << 20, "{} bytes", cost.bytes_current);
    let ask = raw.frame(
        Kind::ASK,
        hub,
        |_| (),
        |out| wire::AskBody { path: 1 }.encode(out),
    );
    raw.says(&mut world, &ask);
    member_goes_on(&mut world);
}
