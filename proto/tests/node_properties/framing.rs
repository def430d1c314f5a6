//! Bytes that are no frames, or frames that claim too much: the link ends, the node does not.

use std::time::Duration;

use proptest::prelude::*;
use switchboard_proto::wire::{CloseCode, Kind, flags};
use switchboard_proto::*;

use crate::support::raw::{Raw, event_body};
use crate::support::{Dice, World, message, to};

pub(super) fn world() -> World {
    let mut world = World::new(1);
    world.serve_all(&["ask"], &["tell"]);
    world
}

#[track_caller]
pub(super) fn member_goes_on(world: &mut World) {
    for (from, at) in [(1, 0), (0, 1)] {
        world.take(at);
        let now = world.now;
        let told = message(to(at), "tell", b"still here");
        world.nodes[from]
            .send(now, told, SendOptions::default())
            .unwrap();
        world.run();
        assert_eq!(world.take(at).len(), 1, "from {from} to {at}");
    }
}

pub(super) fn fault(world: &World) -> Option<&'static str> {
    world.events[0].iter().find_map(|event| match event {
        Event::PeerFault { rule, .. } => Some(*rule),
        _ => None,
    })
}

#[test]
fn hazard_w1_a_length_bomb_costs_nothing() {
    // The length is checked against what the link's state allows before anything is allocated: four
    // bytes that claim 4 GiB allocate less than 4 KiB.
    let mut world = world();
    let stranger = Raw::stranger(&mut world, 77, Medium::Local);
    let member = Raw::member(&mut world, 78);
    let codes = [CloseCode::HelloExpected, CloseCode::FrameTooLarge];
    for (raw, code) in [&stranger, &member].into_iter().zip(codes) {
        let now = world.now;
        for length in [0xffff_ffffu32, 0x7fff_ffff, 2 << 20] {
            let read = Read {
                bytes: length.to_be_bytes()[..].into(),
                attachments: Vec::new(),
                truncated: false,
            };
            let hub = &mut world.nodes[0];
            let cost = allocation_counter::measure(|| {
                // Later ones come after the end of the link.
                let _ = hub.handle_read(now, raw.link, read);
            });
            assert!(
                cost.bytes_max < 4096,
                "{length:#x}: {} bytes",
                cost.bytes_max
            );
        }
        world.run();
        assert_eq!(raw.closed_with(&mut world), Some(code));
    }
    assert_eq!(world.nodes[0].stats().strangers, 1);
    member_goes_on(&mut world);
}

#[test]
fn hazard_w1_what_a_link_may_bring_depends_on_its_state() {
    // 256 bytes before the hello, 4 KiB before the attachment, 1 MiB after it.
    let mut world = world();
    let hello = Raw::stranger(&mut world, 77, Medium::Local);
    hello.says(&mut world, &253u32.to_be_bytes());
    assert_eq!(
        hello.closed_with(&mut world),
        Some(CloseCode::HelloExpected)
    );
    let greeted = Raw::stranger(&mut world, 78, Medium::Local);
    let bytes = [greeted.hello(), 4093u32.to_be_bytes().to_vec()].concat();
    greeted.says(&mut world, &bytes);
    assert_eq!(
        greeted.closed_with(&mut world),
        Some(CloseCode::FrameTooLarge)
    );
    let mut member = Raw::member(&mut world, 79);
    let hub = world.nodes[0].instance();
    let large = member.event(hub, "tell", &[7; 15_000]);
    member.says(&mut world, &large);
    assert_eq!(world.take(0).len(), 1);
    assert_eq!(member.closed_with(&mut world), None);
    member_goes_on(&mut world);
}

#[test]
fn hazard_w2_bytes_that_trickle_do_not_hold_a_link_open() {
    // Slow loris: a deadline for each frame once begun and for the hello, however bytes trickle.
    let mut world = world();
    let stranger = Raw::stranger(&mut world, 77, Medium::Local);
    let member = Raw::member_over(&mut world, 78, Medium::Network);
    let hello = stranger.hello();
    let ping = member.control(Kind::PING, |body| wire::Ping { nonce: 1 }.encode(body));
    let (mut hello, mut ping) = (hello.into_iter(), ping.into_iter());
    let (mut stranger_ended, mut member_ended) = (None, None);
    for tenth in 0..60 {
        for (raw, bytes, ended) in [
            (&stranger, &mut hello, &mut stranger_ended),
            (&member, &mut ping, &mut member_ended),
        ] {
            if world.is_closed(raw.wire) {
                if ended.is_none() {
                    *ended = Some((tenth, raw.closed_with(&mut world)));
                }
            } else if tenth % 2 == 0
                && let Some(byte) = bytes.next()
            {
                raw.says(&mut world, &[byte]);
            }
        }
        world.pass(Duration::from_millis(100));
    }
    assert_eq!(stranger_ended, Some((20, Some(CloseCode::HelloTimeout))));
    assert_eq!(member_ended, Some((50, Some(CloseCode::WriteStalled))));
    member_goes_on(&mut world);
}

/// Control bodies that are CBOR which no control body may be.
fn bad_cbor() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("hazard_w3: 60 KB of nested arrays", vec![0x81; 60_000]),
        ("hazard_w3: deep maps", [0xa1, 0x01].repeat(40)),
        (
            "hazard_w3: indefinite lengths",
            [vec![0x82], vec![0x9f; 1000]].concat(),
        ),
        (
            "hazard_w4: a map of 2^32 entries",
            vec![0xba, 0xff, 0xff, 0xff, 0xff],
        ),
        (
            "hazard_w4: an array of 2^62",
            vec![0xa1, 0x05, 0x9b, 0x40, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            "hazard_w4: a text of 4 GiB",
            vec![0xa1, 0x01, 0x7a, 0xff, 0xff, 0xff, 0xff],
        ),
        ("hazard_w5: a key twice", vec![0xa2, 0x01, 0x01, 0x01, 0x02]),
        (
            "hazard_w5: falling keys",
            vec![0xa2, 0x02, 0x01, 0x01, 0x02],
        ),
        (
            "hazard_w5: a longer head than needed",
            vec![0xa1, 0x18, 0x01, 0x01],
        ),
        ("a tag", vec![0xc0, 0xa0]),
        ("no map", vec![0x01]),
        ("nothing", vec![]),
    ]
}

#[test]
fn hazards_w3_w4_w5_bodies_that_are_deep_huge_or_ambiguous_close_the_link() {
    // Deep CBOR kills recursive decoders, a count of 2^32 those that reserve, and two meanings of
    // one body those that compare: one pass refuses all three before anything is made of them.
    let mut world = world();
    let kinds = [
        Kind::DECLARE,
        Kind::DETACH,
        Kind::KNOWN,
        Kind::CLOSE,
        Kind::PING,
    ];
    let mut number = 100;
    for (what, body) in bad_cbor() {
        for kind in kinds {
            number += 1;
            let raw = Raw::member(&mut world, number);
            let frame = raw.control(kind, |out| out.extend_from_slice(&body));
            let hub = &mut world.nodes[0];
            let read = Read {
                bytes: frame[..].into(),
                attachments: Vec::new(),
                truncated: false,
            };
            let (now, len) = (world.now, frame.len() as u64);
            let cost = allocation_counter::measure(|| {
                hub.handle_read(now, raw.link, read).unwrap();
            });
            assert!(
                cost.bytes_max < 3 * len + 8192,
                "{what}: {}",
                cost.bytes_max
            );
            world.run();
            let code = raw.closed_with(&mut world);
            assert_eq!(
                code,
                Some(CloseCode::ProtocolViolation),
                "{what} as {kind:?}"
            );
        }
    }
    member_goes_on(&mut world);
}

#[test]
fn hazard_w6_lengths_that_do_not_add_up_close_the_link() {
    // Integer overflow in length plus header: checked arithmetic.
    let mut world = world();
    for (number, length) in (77..).zip([0u32, 1, 31, u32::MAX, u32::MAX - 35]) {
        let raw = Raw::member(&mut world, number);
        let bytes = [length.to_be_bytes().to_vec(), vec![0; 60]].concat();
        raw.says(&mut world, &bytes);
        assert!(raw.closed_with(&mut world).is_some(), "{length}");
    }
    member_goes_on(&mut world);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hazard_w8_garbage_on_a_fresh_link_ends_it_and_costs_little(
        greets: bool,
        attaches: bool,
        garbage in prop::collection::vec(any::<u8>(), 40..3000),
        cuts in prop::collection::vec(1usize..200, 1..20),
    ) {
        // An endless loop on input: the world runs every node until it is idle, within a bound of
        // steps.
        let mut world = world();
        let raw = Raw::stranger(&mut world, 77, Medium::Local);
        let mut bytes = Vec::new();
        if greets {
            bytes.extend(raw.hello());
            if attaches {
                bytes.extend(raw.attach(1));
            }
        }
        bytes.extend(&garbage);
        let mut rest = &bytes[..];
        let cost = allocation_counter::measure(|| {
            for cut in cuts.iter().cycle() {
                if rest.is_empty() || world.is_closed(raw.wire) {
                    break;
                }
                let (now, later) = rest.split_at(rest.len().min(*cut));
                raw.says(&mut world, now);
                rest = later;
            }
        });
        prop_assert!(cost.bytes_max < 64 * 1024, "{} bytes", cost.bytes_max);
        member_goes_on(&mut world);
        world.pass(Duration::from_secs(2));
        prop_assert!(world.is_closed(raw.wire) || greets);
    }

    #[test]
    fn well_formed_frames_with_any_fields_never_panic(seed: u64) {
        frames_with_any_fields(seed);
    }
}

#[test]
fn well_formed_frames_that_once_ended_an_honest_member_do_no_more() {
    frames_with_any_fields(2_818_679_973_121_947_360);
}

fn frames_with_any_fields(seed: u64) {
    let mut world = world();
    let mut dice = Dice::new(seed);
    let mut raw = Raw::member(&mut world, 77);
    for _ in 0..60 {
        let frame = any_frame(&mut world, &mut dice, &mut raw);
        let handles = world.handles(0..u32::from(frame[6]).min(3));
        raw.says_with(&mut world, &frame, handles);
        if dice.percent(20) {
            world.take(0);
            world.run();
        }
        if world.is_closed(raw.wire) {
            raw = Raw::member(&mut world, dice.next() | 1 << 60);
        }
    }
    world.pass(Duration::from_secs(3));
    for at in 0..2 {
        world.take(at);
        world.events[at].clear();
    }
    raw.heard(&mut world);
    assert_eq!(world.census.open(), 0);
    member_goes_on(&mut world);
}

/// A number that somebody may have forgotten.
fn number(dice: &mut Dice) -> u64 {
    let near = dice.below(5) as u64;
    [
        near,
        u64::MAX - near,
        1 << 31,
        (1 << 32) - near,
        70_000,
        600,
    ][dice.below(6)]
}

fn any_frame(world: &mut World, dice: &mut Dice, raw: &mut Raw) -> Vec<u8> {
    let (hub, member) = (world.nodes[0].instance(), world.nodes[1].instance());
    let kinds = [
        Kind::EVENT,
        Kind::REQUEST,
        Kind::REPLY,
        Kind::FAILED,
        Kind::REFUSED,
        Kind::RECEIPT,
        Kind::CANCEL,
        Kind::SLICE,
        Kind::VOID,
        Kind::MARK,
        Kind::BLOCKED,
        Kind::ASK,
        Kind::RECLAIM,
        Kind::SWITCH,
        Kind::ROOM_EVENT,
        Kind::GAP,
        Kind::STREAM_OPEN,
        Kind::RETURNED,
        Kind::ROSTER,
        Kind::DECLARED,
    ];
    let kind = kinds[dice.below(kinds.len())];
    let to = [hub, hub, hub, member, InstanceId(5)][dice.below(5)];
    let to = if kind.is_link_local() {
        InstanceId::NONE
    } else {
        to
    };
    let mut body = Vec::new();
    match kind {
        Kind::EVENT => event_body("tell", &[1; 50])(&mut body),
        _ => {
            for _ in 0..dice.below(8) {
                match dice.below(3) {
                    0 => body.extend(number(dice).to_be_bytes()),
                    1 => body.extend((number(dice) as u32).to_be_bytes()),
                    _ => body.push(number(dice) as u8),
                }
            }
        }
    }
    let flow = [1, 1, 1, number(dice) as u32, 0x8000_0001][dice.below(5)];
    let bits = [
        0,
        flags::FIRST_CONTACT,
        flags::FIRST,
        flags::LAST,
        dice.next() as u8,
    ];
    let bits = bits[dice.below(5)];
    let attachments = if dice.percent(10) { 2 } else { 0 };
    let odd = dice.percent(10).then(|| number(dice));
    raw.frame(
        kind,
        to,
        |header| {
            header.flow = flow;
            header.flags = bits;
            header.attachments = attachments;
            header.sequence = odd.unwrap_or(header.sequence);
        },
        |out| out.extend_from_slice(&body),
    )
}
