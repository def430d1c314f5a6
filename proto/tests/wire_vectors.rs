//! The vectors in `vectors/` are what an implementation of the protocol must agree with.

mod wire_support;

use std::collections::BTreeSet;

use serde_json::Value;
use switchboard_proto::wire::{Header, Kind, WireError, limits};
use wire_support::{Body, cut, describe, whole};

const FRAMES: &str = include_str!("../vectors/frames.json");
const TOLERATED: &str = include_str!("../vectors/tolerated.json");
const REFUSED: &str = include_str!("../vectors/refused.json");

struct Vector {
    name: String,
    bytes: Vec<u8>,
    fields: Value,
}

fn vectors(json: &str) -> Vec<Vector> {
    let all: Vec<Value> = serde_json::from_str(json).expect("the file is JSON");
    assert!(!all.is_empty());
    all.into_iter()
        .map(|fields| Vector {
            name: text(&fields, "name").to_owned(),
            bytes: unhex(text(&fields, "hex")),
            fields,
        })
        .collect()
}

fn text<'v>(fields: &'v Value, key: &str) -> &'v str {
    fields[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} is missing in {fields}"))
}

fn unhex(hex: &str) -> Vec<u8> {
    let digit = |c: u8| (c as char).to_digit(16).expect("a hexadecimal digit") as u8;
    hex.as_bytes()
        .chunks_exact(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

/// What the bytes are: cut out of their stream, then decoded, then encoded again.
fn again(bytes: &[u8], limit: usize) -> Result<Vec<u8>, WireError> {
    let (header, frame) = whole(bytes, limit)?;
    let body = Body::decode(&header, &frame[Header::LEN..])?;
    Ok(body.frame(&header))
}

#[test]
fn every_frame_decodes_to_its_fields_and_encodes_to_its_bytes() {
    for vector in vectors(FRAMES) {
        let (header, frame) = whole(&vector.bytes, limits::FRAME).expect(&vector.name);
        let body = Body::decode(&header, &frame[Header::LEN..]).expect(&vector.name);
        assert_eq!(
            describe::header(&header),
            vector.fields["header"],
            "{}",
            vector.name
        );
        assert_eq!(
            describe::body(&body),
            vector.fields["body"],
            "{}",
            vector.name
        );
        assert_eq!(body.frame(&header), vector.bytes, "{}", vector.name);
    }
}

#[test]
fn every_kind_has_a_vector() {
    let seen: BTreeSet<_> = vectors(FRAMES).iter().map(|v| v.bytes[4]).collect();
    let named: BTreeSet<_> = describe::KINDS.iter().map(|(kind, _)| kind.0).collect();
    for number in 0..=u8::MAX {
        let known = Kind(number).is_known();
        assert_eq!(known, named.contains(&number), "{number:#04x}");
        assert!(
            !known || seen.contains(&number),
            "{number:#04x} has no vector"
        );
    }
}

#[test]
fn keys_of_a_later_version_are_skipped() {
    for vector in vectors(TOLERATED) {
        let (header, frame) = whole(&vector.bytes, limits::FRAME).expect(&vector.name);
        let body = Body::decode(&header, &frame[Header::LEN..]).expect(&vector.name);
        assert_eq!(
            describe::body(&body),
            vector.fields["body"],
            "{}",
            vector.name
        );
        let expected = unhex(text(&vector.fields, "again"));
        assert_eq!(body.frame(&header), expected, "{}", vector.name);
    }
}

#[test]
fn every_refused_frame_is_refused_for_its_reason() {
    for vector in vectors(REFUSED) {
        let limit = vector.fields["limit"]
            .as_u64()
            .map_or(limits::FRAME, |l| l as usize);
        let error = again(&vector.bytes, limit).expect_err(&vector.name);
        let (name, detail) = describe::error(error);
        assert_eq!(name, text(&vector.fields, "error"), "{}", vector.name);
        assert_eq!(detail, vector.fields["detail"].as_str(), "{}", vector.name);
    }
}

#[test]
fn hazard_w10_frames_do_not_depend_on_how_their_bytes_are_split() {
    for vector in vectors(FRAMES).into_iter().chain(vectors(TOLERATED)) {
        let bytes = &vector.bytes[..];
        let expected = cut([bytes], limits::FRAME, limits::FRAME);
        let one_by_one = cut(bytes.chunks(1), limits::FRAME, limits::FRAME);
        assert_eq!(one_by_one, expected, "{}", vector.name);
        for at in 0..=bytes.len() {
            let (left, right) = bytes.split_at(at);
            let split = cut([left, right], limits::FRAME, limits::FRAME);
            assert_eq!(split, expected, "{} split at {at}", vector.name);
        }
    }
}

#[test]
fn refusals_do_not_depend_on_how_their_bytes_are_split() {
    for vector in vectors(REFUSED) {
        let limit = vector.fields["limit"]
            .as_u64()
            .map_or(limits::FRAME, |l| l as usize);
        let bytes = &vector.bytes[..];
        let expected = cut([bytes], limit, limit);
        assert_eq!(
            cut(bytes.chunks(1), limit, limit),
            expected,
            "{}",
            vector.name
        );
        for at in 0..=bytes.len() {
            let (left, right) = bytes.split_at(at);
            assert_eq!(
                cut([left, right], limit, limit),
                expected,
                "{} at {at}",
                vector.name
            );
        }
    }
}

#[test]
fn a_frame_that_ends_early_is_not_a_frame() {
    for vector in vectors(FRAMES) {
        for len in 0..vector.bytes.len() {
            let cut = cut([&vector.bytes[..len]], limits::FRAME, limits::FRAME);
            assert_eq!(
                (cut.frames.len(), cut.end),
                (0, Ok(len)),
                "{} at {len}",
                vector.name
            );
        }
    }
}

#[test]
fn a_body_that_ends_early_is_refused_or_has_a_shorter_payload() {
    for vector in vectors(FRAMES) {
        for len in Header::LEN..vector.bytes.len() {
            let mut bytes = vector.bytes[..len].to_vec();
            let length = (len - Header::LENGTH_FIELD) as u32;
            bytes[..Header::LENGTH_FIELD].copy_from_slice(&length.to_be_bytes());
            match again(&bytes, limits::FRAME) {
                Ok(again) => {
                    let control = vector.bytes[4] < 0x0e || vector.bytes[4] == 0x81;
                    assert!(!control, "{} at {len}", vector.name);
                    assert_eq!(again, bytes, "{} at {len}", vector.name);
                }
                Err(WireError::Truncated | WireError::BadControl(_) | WireError::BadField(_)) => {}
                Err(error) => panic!("{} at {len}: {error}", vector.name),
            }
        }
    }
}

#[test]
fn a_flipped_bit_gives_another_frame_or_an_error_and_never_a_panic() {
    for vector in vectors(FRAMES)
        .into_iter()
        .chain(vectors(TOLERATED))
        .chain(vectors(REFUSED))
    {
        for bit in 0..vector.bytes.len() * 8 {
            let mut bytes = vector.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let result = cut([&bytes[..]], limits::FRAME, limits::FRAME);
            let Some((header, frame)) = result.frames.first() else {
                continue;
            };
            let Ok(body) = Body::decode(header, &frame[Header::LEN..]) else {
                continue;
            };
            let again = body.frame(header);
            if again != *frame {
                assert!(body.is_control(header), "{} bit {bit}", vector.name);
                assert!(again.len() < frame.len(), "{} bit {bit}", vector.name);
                let twice = Body::decode(header, &again[Header::LEN..]);
                assert_eq!(twice.as_ref(), Ok(&body), "{} bit {bit}", vector.name);
            }
        }
    }
}
