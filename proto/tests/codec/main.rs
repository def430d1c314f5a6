//! What is sent is what arrives, and what cannot be carried is refused at the sender.

mod choice;
#[cfg(feature = "json")]
mod json;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use switchboard_proto::codec::{
    BoxError, Codec, CodecError, CodecId, CodecTable, MAX_DEPTH, Raw, Refusal, RegisterError,
    Value, decode, encode, encode_into,
};

/// A bit of everything that serde tells apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    small: (u8, i8, u16, i16, u32, i32),
    large: (u64, i64),
    float: f64,
    single: f32,
    yes: bool,
    letter: char,
    text: String,
    bytes: ByteBuf,
    wrapped: Wrapped,
    maybe: Option<i64>,
    list: Vec<Shape>,
    map: BTreeMap<String, Vec<u16>>,
    unit: (),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped(Vec<Option<ByteBuf>>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f64),
    Line(i64, ByteBuf),
    Box {
        width: u32,
        inner: Option<Box<Shape>>,
    },
}

fn finite() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    NORMAL | SUBNORMAL | ZERO | POSITIVE | NEGATIVE
}

fn finite_single() -> impl Strategy<Value = f32> {
    use proptest::num::f32::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    NORMAL | SUBNORMAL | ZERO | POSITIVE | NEGATIVE
}

fn bytes() -> impl Strategy<Value = ByteBuf> {
    prop::collection::vec(any::<u8>(), 0..80).prop_map(ByteBuf::from)
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Point),
        finite().prop_map(Shape::Circle),
        (any::<i64>(), bytes()).prop_map(|(number, bytes)| Shape::Line(number, bytes)),
    ];
    leaf.prop_recursive(4, 16, 1, |inner| {
        (any::<u32>(), prop::option::of(inner)).prop_map(|(width, inner)| Shape::Box {
            width,
            inner: inner.map(Box::new),
        })
    })
}

fn everything() -> impl Strategy<Value = Everything> {
    let numbers = (any::<(u8, i8, u16, i16, u32, i32)>(), any::<(u64, i64)>());
    let floats = (finite(), finite_single(), any::<bool>(), any::<char>());
    let rest = (
        any::<String>(),
        bytes(),
        prop::collection::vec(prop::option::of(bytes()), 0..3).prop_map(Wrapped),
        any::<Option<i64>>(),
        prop::collection::vec(shape(), 0..4),
        prop::collection::btree_map(any::<String>(), any::<Vec<u16>>(), 0..4),
    );
    (numbers, floats, rest).prop_map(
        |(
            (small, large),
            (float, single, yes, letter),
            (text, bytes, wrapped, maybe, list, map),
        )| {
            Everything {
                small,
                large,
                float,
                single,
                yes,
                letter,
                text,
                bytes,
                wrapped,
                maybe,
                list,
                map,
                unit: (),
            }
        },
    )
}

/// Any value that is its own equal: NaN is tested by its bits elsewhere.
fn value(key: impl Strategy<Value = Value> + Clone + 'static) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i128>().prop_map(Value::Int),
        any::<i64>().prop_map(Value::from),
        finite().prop_map(Value::Float),
        any::<String>().prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..80).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(Value::Map),
        ]
    })
}

fn same<T: Serialize + DeserializeOwned>(codec: CodecId, data: &T) -> T {
    decode(codec, &encode(codec, data).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn typed_data_arrives_as_it_was_sent(data in everything()) {
        prop_assert_eq!(&same(CodecId::CBOR, &data), &data);
        #[cfg(feature = "json")]
        prop_assert_eq!(&same(CodecId::JSON, &data), &data);
    }

    #[test]
    fn any_value_arrives_in_cbor_as_it_was_sent(data in value(any::<i32>().prop_map(Value::from))) {
        prop_assert_eq!(&same(CodecId::CBOR, &data), &data);
    }

    #[test]
    fn floats_arrive_in_cbor_bit_for_bit(bits: u64, single: u32) {
        let float = f64::from_bits(bits);
        prop_assert_eq!(same(CodecId::CBOR, &float).to_bits(), bits);
        let single = f32::from_bits(single);
        if !single.is_nan() {
            prop_assert_eq!(same(CodecId::CBOR, &single).to_bits(), single.to_bits());
        }
    }

    #[test]
    fn integers_of_128_bits_arrive_in_cbor(signed: i128, unsigned: u128) {
        prop_assert_eq!(same(CodecId::CBOR, &signed), signed);
        prop_assert_eq!(same(CodecId::CBOR, &unsigned), unsigned);
    }

    #[test]
    fn bytes_of_a_stranger_never_panic(bytes: Vec<u8>) {
        for codec in [CodecId::CBOR, CodecId::JSON] {
            let _ = decode::<Everything>(codec, &bytes);
            if let Ok(data) = decode::<Value>(codec, &bytes) {
                // What was read can be written again and reads as the same.
                if let Ok(again) = encode(codec, &data) {
                    let again: Value = decode(codec, &again).unwrap();
                    prop_assert_eq!(encode(codec, &again).unwrap(), encode(codec, &data).unwrap());
                }
            }
        }
    }

    #[test]
    fn a_payload_that_was_damaged_never_panics(
        data in everything(),
        at: prop::sample::Index,
        byte: u8,
        cut: prop::sample::Index,
    ) {
        let payload = encode(CodecId::CBOR, &data).unwrap();
        let mut damaged = payload.to_vec();
        let index = at.index(damaged.len());
        damaged[index] = byte;
        let _ = decode::<Everything>(CodecId::CBOR, &damaged);
        let _ = decode::<Value>(CodecId::CBOR, &damaged);
        let cut = cut.index(payload.len());
        let error = decode::<Everything>(CodecId::CBOR, &payload[..cut]).unwrap_err();
        let is_malformed = matches!(error, CodecError::Malformed { .. });
        prop_assert!(is_malformed, "{}", error);
    }
}

/// Asks for a `str`, as types do that parse themselves from text.
#[derive(Debug, PartialEq)]
struct Parsed(String);

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl serde::de::Visitor<'_> for Visit {
            type Value = Parsed;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text")
            }
            fn visit_str<E>(self, text: &str) -> Result<Parsed, E> {
                Ok(Parsed(text.into()))
            }
        }
        deserializer.deserialize_str(Visit)
    }
}

#[test]
fn text_of_every_length_reads_into_every_kind_of_type() {
    for length in [0, 1, 63, 64, 65, 1023, 1024, 1025, 4096, 4097, 100_000] {
        let text: String = "aä漢🦀".chars().cycle().take(length).collect();
        let payload = encode(CodecId::CBOR, &text).unwrap();
        assert_eq!(decode::<String>(CodecId::CBOR, &payload).unwrap(), text);
        assert_eq!(decode::<Parsed>(CodecId::CBOR, &payload).unwrap().0, text);
        assert_eq!(
            decode::<Value>(CodecId::CBOR, &payload).unwrap(),
            Value::Text(text)
        );
    }
}

#[test]
fn a_payload_with_something_after_its_value_is_refused() {
    let mut payload = encode(CodecId::CBOR, &(1, 2)).unwrap().to_vec();
    payload.push(0);
    let error = decode::<(i32, i32)>(CodecId::CBOR, &payload).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the payload is not valid CBOR: bytes after the value at byte 3"
    );
}

#[test]
fn a_payload_of_another_type_says_what_was_expected() {
    let payload = encode(CodecId::CBOR, "three").unwrap();
    let error = decode::<i32>(CodecId::CBOR, &payload).unwrap_err();
    assert!(matches!(error, CodecError::Mismatch { .. }), "{error:?}");
    assert!(error.to_string().contains("expected integer"), "{error}");
    let payload = encode(CodecId::CBOR, &(1, 2)).unwrap();
    let error = decode::<(i32, i32, i32)>(CodecId::CBOR, &payload).unwrap_err();
    assert!(matches!(error, CodecError::Mismatch { .. }), "{error:?}");
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(Value::Null, |inner, _| Value::Array(vec![inner]))
}

#[test]
fn what_the_reader_would_refuse_as_too_deep_is_not_sent() {
    for codec in [CodecId::CBOR, CodecId::JSON] {
        if !CodecTable::new().knows(codec) {
            continue;
        }
        assert_eq!(same(codec, &nested(MAX_DEPTH)), nested(MAX_DEPTH));
        let error = encode(codec, &nested(MAX_DEPTH + 1)).unwrap_err();
        let CodecError::Refused { reason, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(reason, Refusal::TooDeep);
    }
}

#[test]
fn a_refused_value_leaves_the_buffer_as_it_was() {
    let mut buffer = b"before".to_vec();
    encode_into(CodecId::CBOR, &nested(MAX_DEPTH + 1), &mut buffer).unwrap_err();
    assert_eq!(buffer, b"before");
    encode_into(CodecId::CBOR, &1u8, &mut buffer).unwrap();
    assert_eq!(buffer, b"before\x01");
}

#[test]
fn tags_are_read_over_and_their_values_kept() {
    // Tag 0 (a date as text) around "x", in an array.
    let payload = [0x81, 0xc0, 0x61, b'x'];
    let value: Value = decode(CodecId::CBOR, &payload).unwrap();
    assert_eq!(value, Value::Array(vec!["x".into()]));
    let typed: Vec<String> = decode(CodecId::CBOR, &payload).unwrap();
    assert_eq!(typed, ["x"]);
    // An integer of 17 bytes is no number here, and must not turn into bytes.
    let mut large = vec![0xc2, 0x51, 0x01];
    large.extend([0; 16]);
    decode::<Value>(CodecId::CBOR, &large).unwrap_err();
}

#[test]
fn raw_bytes_never_meet_serde() {
    let table = CodecTable::new();
    let data = Raw::from(&b"\xff\x00 not CBOR"[..]);
    // Whatever is chosen, raw bytes stay raw, and are not copied.
    for message in [None, Some(CodecId::CBOR), Some(CodecId(77))] {
        let sent = table.encode("", "blob", message, &data).unwrap();
        assert_eq!(sent.codec, CodecId::RAW);
        assert_eq!(sent.payload.as_ptr(), data.0.as_ptr());
        let received: Raw = table
            .decode(sent.codec, "blob", &sent.payload.into())
            .unwrap();
        assert_eq!(received, data);
    }
    // A typed value is not sent as raw bytes, nor read from them.
    let error = table
        .encode("", "blob", Some(CodecId::RAW), &1)
        .unwrap_err();
    assert!(matches!(error, CodecError::Raw), "{error:?}");
    let error = table
        .decode::<u8>(CodecId::RAW, "blob", &data.0.into())
        .unwrap_err();
    assert!(matches!(error, CodecError::Raw), "{error:?}");
    let typed = encode(CodecId::CBOR, &1).unwrap();
    let error = table
        .decode::<Raw>(CodecId::CBOR, "blob", &typed.into())
        .unwrap_err();
    assert!(matches!(error, CodecError::Raw), "{error:?}");
}
