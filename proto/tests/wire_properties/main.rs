//! What holds for all bodies, all bytes and all ways to split them.

mod bodies;
#[path = "../wire_support/mod.rs"]
mod wire_support;

use bodies::{control, hello, parts, payload};
use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use switchboard_proto::InstanceId;
use switchboard_proto::wire::*;
use wire_support::{Body, Cut, cut};

fn header(kind: Kind, flags: u8) -> Header {
    Header {
        flags,
        ..Header::new(kind, InstanceId(1), InstanceId(2))
    }
}

/// Any bytes, and bytes that look like frames: garbage alone never gets past the length.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![9 => 0..=0x7fu8, 9 => Just(0x20u8), 1 => any::<u8>()];
    let frame = (kind, any::<u8>(), 0..=17u8, payload()).prop_map(|(kind, flags, count, body)| {
        let header = Header {
            attachments: count,
            ..header(Kind(kind), flags)
        };
        let mut out = Vec::new();
        header.encode_with(|out| out.extend_from_slice(&body), &mut out);
        out
    });
    let piece = prop_oneof![9 => frame, 1 => vec(any::<u8>(), 0..50)];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// Splits `bytes` into pieces of these lengths, again and again.
fn pieces<'b>(mut bytes: &'b [u8], lengths: &[usize]) -> Vec<&'b [u8]> {
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at((*length).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

proptest! {
    #[test]
    fn control_bodies_come_back_as_they_were((kind, body) in control()) {
        let bytes = body.frame(&header(kind, 0));
        let back = Body::decode(&header(kind, 0), &bytes[Header::LEN..]);
        prop_assert_eq!(back.as_ref(), Ok(&body));
    }

    /// A body that has two forms could be compared, signed or counted as two.
    #[test]
    fn hazard_w5_a_control_body_that_is_accepted_has_no_other_form(
        (kind, body) in control(),
        at in any::<prop::sample::Index>(),
        change in any::<u8>(),
        how in 0..4,
    ) {
        let header = header(kind, 0);
        let mut bytes = body.frame(&header).split_off(Header::LEN);
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] ^= change,
            1 => bytes.insert(at, change),
            2 => drop(bytes.remove(at)),
            // The same number in a longer head, if it is one.
            _ => {
                let (major, small) = (bytes[at] & 0xe0, bytes[at] & 0x1f);
                bytes[at] = major | 24;
                bytes.insert(at + 1, small);
            }
        }
        if let Ok(read) = Body::decode(&header, &bytes) {
            let again = read.frame(&header).split_off(Header::LEN);
            let back = Body::decode(&header, &again);
            prop_assert_eq!(back.as_ref(), Ok(&read));
            // Other bytes for the same can only be keys of a later version, which are skipped.
            prop_assert!(again == bytes || again.len() < bytes.len(), "{:02x?}", bytes);
            prop_assert!(how < 3 || read != body, "a longer form: {:02x?}", bytes);
        }
    }

    #[test]
    fn a_hello_keeps_within_its_limit(hello in hello()) {
        let mut out = Vec::new();
        frame(Kind::HELLO, hello.instance, InstanceId::NONE, |out| hello.encode(out), &mut out);
        prop_assert!(out.len() <= limits::HELLO);
    }

    #[test]
    fn bodies_come_back_as_they_were(parts in parts()) {
        for (kind, flags, body) in parts.bodies() {
            let header = header(kind, flags);
            let bytes = body.frame(&header);
            let back = Body::decode(&header, &bytes[Header::LEN..]);
            prop_assert_eq!(back.as_ref(), Ok(&body));
        }
    }

    #[test]
    fn encoded_lengths_are_exact(parts in parts()) {
        let (mut event, mut request, mut reply) = (Vec::new(), Vec::new(), Vec::new());
        parts.event().encode(&mut event);
        parts.request().encode(&mut request);
        parts.reply().encode(&mut reply);
        prop_assert_eq!(event.len(), parts.event().encoded_len());
        prop_assert_eq!(request.len(), parts.request().encoded_len());
        prop_assert_eq!(reply.len(), parts.reply().encoded_len());
    }

    #[test]
    fn a_header_comes_back_as_it_was(
        bytes in any::<[u8; Header::LEN]>(),
        body_len in 0..1usize << 24,
    ) {
        let mut bytes = bytes;
        bytes[..4].copy_from_slice(&((body_len + 32) as u32).to_be_bytes());
        let (header, len) = Header::decode(&bytes).unwrap();
        let mut again = Vec::new();
        header.encode(len, &mut again);
        prop_assert_eq!(len, body_len);
        prop_assert_eq!(&again[..], &bytes[..]);
    }

    #[test]
    fn any_bytes_as_any_body_are_no_panic_and_have_one_meaning(
        kind in any::<u8>(),
        flags in any::<u8>(),
        bytes in vec(any::<u8>(), 0..200),
    ) {
        let header = header(Kind(kind), flags);
        if let Ok(body) = Body::decode(&header, &bytes) {
            let again = body.frame(&header);
            if !body.is_control(&header) {
                prop_assert_eq!(&again[Header::LEN..], &bytes[..]);
            }
        }
    }

    #[test]
    fn hazard_w10_frames_do_not_depend_on_how_their_bytes_are_split(
        bytes in stream(),
        lengths in vec(1usize..6000, 1..20),
        short in vec(1usize..50, 1..20),
        first in prop_oneof![Just(limits::HELLO), Just(limits::FRAME)],
        later in prop_oneof![Just(limits::UNAUTHENTICATED), Just(limits::FRAME)],
    ) {
        let expected = cut([&bytes[..]], first, later);
        prop_assert_eq!(&cut(bytes.chunks(1), first, later), &expected);
        prop_assert_eq!(&cut(pieces(&bytes, &lengths), first, later), &expected);
        prop_assert_eq!(&cut(pieces(&bytes, &short), first, later), &expected);
    }

    #[test]
    fn frames_do_not_depend_on_when_they_are_asked_for(
        bytes in stream(),
        lengths in vec(1usize..6000, 1..20),
        asks in vec(0usize..4, 1..20),
    ) {
        let expected = cut([&bytes[..]], limits::FRAME, limits::FRAME);
        let mut deframer = Deframer::new();
        deframer.set_limit(limits::FRAME);
        let mut frames = Vec::new();
        let mut asks = asks.iter().cycle();
        for piece in pieces(&bytes, &lengths) {
            deframer.push(BytesMut::from(piece));
            for _ in 0..*asks.next().unwrap() {
                let Ok(Some(frame)) = deframer.next() else { break };
                frames.push((frame.header, frame.whole().to_vec()));
            }
        }
        let end = loop {
            match deframer.next() {
                Ok(Some(frame)) => frames.push((frame.header, frame.whole().to_vec())),
                Ok(None) => break Ok(deframer.buffered()),
                Err(error) => break Err(error),
            }
        };
        prop_assert_eq!(Cut { frames, end }, expected);
    }

    #[test]
    fn what_is_kept_of_a_frame_is_its_body(
        bytes in stream(),
        lengths in vec(1usize..6000, 1..20),
        offset in 0usize..5000,
    ) {
        let mut deframer = Deframer::new();
        deframer.set_limit(limits::FRAME);
        let mut kept: Vec<(Vec<u8>, Bytes)> = Vec::new();
        for piece in pieces(&bytes, &lengths) {
            deframer.push(BytesMut::from(piece));
            while let Ok(Some(frame)) = deframer.next() {
                let from = offset.min(frame.body().len());
                let expected = frame.body()[from..].to_vec();
                kept.push((expected, frame.share_body_from(offset)));
            }
        }
        for (expected, bytes) in kept {
            prop_assert_eq!(&expected[..], &bytes[..]);
        }
    }
}
