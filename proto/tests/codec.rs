//! What is sent is what arrives, and what cannot be carried is refused at the sender.

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
        let received: Raw = table.decode(sent.codec, "blob", &sent.payload).unwrap();
        assert_eq!(received.0.as_ptr(), data.0.as_ptr());
    }
    // A typed value is not sent as raw bytes, nor read from them.
    let error = table
        .encode("", "blob", Some(CodecId::RAW), &1)
        .unwrap_err();
    assert!(matches!(error, CodecError::Raw), "{error:?}");
    let error = table
        .decode::<u8>(CodecId::RAW, "blob", &data.0)
        .unwrap_err();
    assert!(matches!(error, CodecError::Raw), "{error:?}");
    let typed = encode(CodecId::CBOR, &1).unwrap();
    let error = table
        .decode::<Raw>(CodecId::CBOR, "blob", &typed)
        .unwrap_err();
    assert!(matches!(error, CodecError::Raw), "{error:?}");
}

/// Writes the event's name and the value's text, separated by a colon.
struct Named(CodecId);

impl Codec for Named {
    fn id(&self) -> CodecId {
        self.0
    }

    fn encode(&self, event: &str, value: &Value) -> Result<Vec<u8>, BoxError> {
        let text = value.as_str().ok_or("only text")?;
        Ok(format!("{event}:{text}").into_bytes())
    }

    fn decode(&self, event: &str, bytes: &[u8]) -> Result<Value, BoxError> {
        let text = std::str::from_utf8(bytes)?;
        let text = text
            .strip_prefix(event)
            .and_then(|rest| rest.strip_prefix(':'));
        Ok(text.ok_or("another event's")?.into())
    }
}

const OWN: CodecId = CodecId(16);

#[test]
fn an_own_codec_is_given_the_event_s_name_both_ways() {
    let mut table = CodecTable::new();
    table.register(Arc::new(Named(OWN))).unwrap();
    let sent = table.encode("", "foo", Some(OWN), "bar").unwrap();
    assert_eq!((sent.codec, &sent.payload[..]), (OWN, &b"foo:bar"[..]));
    let received: String = table.decode(OWN, "foo", &sent.payload).unwrap();
    assert_eq!(received, "bar");

    let error = table
        .decode::<String>(OWN, "baz", &sent.payload)
        .unwrap_err();
    assert_eq!(error.to_string(), "codec 16 failed: another event's");
    let error = table.encode("", "foo", Some(OWN), &7).unwrap_err();
    assert_eq!(error.to_string(), "codec 16 failed: only text");
    let error = table.decode::<i32>(OWN, "foo", &sent.payload).unwrap_err();
    assert!(matches!(error, CodecError::Mismatch { .. }), "{error:?}");
}

#[test]
fn an_own_codec_takes_no_id_that_is_not_free() {
    let mut table = CodecTable::new();
    let refused = table.register(Arc::new(Named(CodecId(15)))).unwrap_err();
    assert!(matches!(refused, RegisterError::Reserved(_)), "{refused}");
    table.register(Arc::new(Named(OWN))).unwrap();
    let refused = table.register(Arc::new(Named(OWN))).unwrap_err();
    assert!(matches!(refused, RegisterError::Taken(_)), "{refused}");
    assert_eq!(refused.into_codec().id(), OWN);
}

#[test]
fn the_choice_rises_from_node_to_namespace_to_event_to_message() {
    let mut table = CodecTable::new();
    let ids = [16, 17, 18, 19].map(CodecId);
    for id in ids {
        table.register(Arc::new(Named(id))).unwrap();
    }
    let [node, namespace, event, message] = ids;
    assert_eq!(table.choose("n", "e", None), CodecId::CBOR);
    table.set_event("n", "e", event).unwrap();
    assert_eq!(table.choose("n", "e", None), event);
    table.set_node(node).unwrap();
    table.set_namespace("n", namespace).unwrap();
    assert_eq!(table.choose("n", "e", None), event);
    assert_eq!(table.choose("n", "other", None), namespace);
    assert_eq!(table.choose("other", "e", None), node);
    assert_eq!(table.choose("n", "e", Some(message)), message);
}

#[test]
fn a_codec_that_is_not_there_is_refused_and_named() {
    let mut table = CodecTable::new();
    for result in [
        table.set_node(OWN),
        table.set_namespace("n", OWN),
        table.set_event("n", "e", OWN),
        table.encode("n", "e", Some(OWN), &1).map(|_| ()),
        table.decode::<i32>(OWN, "e", &Bytes::new()).map(|_| ()),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, CodecError::Unknown(OWN)), "{error:?}");
        assert_eq!(error.to_string(), "codec 16 is not available here");
    }
    assert_eq!(table.choose("n", "e", None), CodecId::CBOR);
}

#[cfg(feature = "json")]
mod json {
    use serde_json::json;
    use switchboard_proto::codec::{Integers, encode_json};

    use super::*;

    fn text<T: Serialize + ?Sized>(data: &T) -> String {
        String::from_utf8(encode(CodecId::JSON, data).unwrap().to_vec()).unwrap()
    }

    fn refused<T: Serialize + ?Sized>(data: &T, integers: Integers) -> (String, Refusal) {
        match encode_json(data, integers).unwrap_err() {
            CodecError::Refused { path, reason, .. } => (path, reason),
            other => panic!("{other}"),
        }
    }

    proptest! {
        #[test]
        fn any_value_without_bytes_arrives_or_is_refused(
            data in value(any::<String>().prop_map(Value::from))
        ) {
            if let Ok(payload) = encode(CodecId::JSON, &data)
                && !has_bytes(&data)
            {
                let received: Value = decode(CodecId::JSON, &payload).unwrap();
                prop_assert_eq!(received, data);
            }
        }

        #[test]
        fn finite_floats_arrive_bit_for_bit(double in finite(), single in finite_single()) {
            prop_assert_eq!(same(CodecId::JSON, &double).to_bits(), double.to_bits());
            prop_assert_eq!(same(CodecId::JSON, &single).to_bits(), single.to_bits());
            // Also where the reader takes every number for a double.
            let read: f64 = decode(CodecId::JSON, &encode(CodecId::JSON, &single).unwrap()).unwrap();
            prop_assert_eq!(read.to_bits(), f64::from(single).to_bits());
        }

        #[test]
        fn a_value_goes_through_cbor_into_the_same_json(data in everything()) {
            let table = CodecTable::new();
            let cbor = encode(CodecId::CBOR, &data).unwrap();
            let json = table
                .transcode(CodecId::CBOR, CodecId::JSON, "e", &cbor, Integers::Bits64)
                .unwrap();
            prop_assert_eq!(json, encode(CodecId::JSON, &data).unwrap());
        }
    }

    fn has_bytes(value: &Value) -> bool {
        match value {
            Value::Bytes(_) => true,
            Value::Array(items) => items.iter().any(has_bytes),
            Value::Map(entries) => entries.iter().any(|(_, value)| has_bytes(value)),
            _ => false,
        }
    }

    #[test]
    fn bytes_are_base64_text() {
        let data = ByteBuf::from(*b"\x00\xff\x10 bytes");
        assert_eq!(text(&data), r#""AP8QIGJ5dGVz""#);
        assert_eq!(text(&Value::Bytes(b"a".to_vec())), r#""YQ==""#);
        let read = |json: &str| decode::<ByteBuf>(CodecId::JSON, json.as_bytes());
        assert_eq!(read(r#""YQ==""#).unwrap(), b"a");
        assert_eq!(
            read(r#""YQ""#).unwrap(),
            b"a",
            "writers leave the padding out"
        );
        assert_eq!(read("[0, 255]").unwrap(), b"\x00\xff");
        for not_bytes in [r#""not base64!""#, "7", "{}", "null"] {
            let error = read(not_bytes).unwrap_err();
            assert!(error.to_string().contains("base64"), "{error}");
        }
    }

    #[test]
    fn what_json_cannot_carry_is_refused_with_its_place() {
        #[derive(Serialize)]
        struct Outer<T> {
            a: Vec<Inner<T>>,
        }
        #[derive(Serialize)]
        struct Inner<T> {
            b: T,
        }
        let at_third = |bad: f64| Outer {
            a: [0.0, 1.0, 2.0, bad].map(|b| Inner { b }).into(),
        };
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let expected = ("$.a[3].b".into(), Refusal::NotFinite);
            assert_eq!(refused(&at_third(bad), Integers::Bits64), expected);
        }
        assert_eq!(
            encode(CodecId::JSON, &at_third(f64::NAN))
                .unwrap_err()
                .to_string(),
            "JSON cannot carry the value at $.a[3].b: a number that is not finite"
        );
        let path = |data: Value| refused(&data, Integers::Bits64).0;
        let bad = || Value::Float(f64::NAN);
        let map = |key: &str| Value::Map(vec![("x".into(), 1.into()), (key.into(), bad())]);
        assert_eq!(path(bad()), "$");
        assert_eq!(path(map("größe_2")), "$.größe_2");
        assert_eq!(path(map("two words")), r#"$["two words"]"#);
        assert_eq!(path(map("")), r#"$[""]"#);
        assert_eq!(path(map("7")), r#"$["7"]"#);
        assert_eq!(path(Value::Array(vec![map("a"), bad()])), "$[0].a");
        assert_eq!(
            refused(&[Some(f32::NAN)], Integers::Bits64),
            ("$[0]".into(), Refusal::NotFinite)
        );
    }

    #[test]
    fn the_place_in_an_enum_names_the_variant() {
        #[derive(Serialize)]
        enum Deep {
            One(f64),
            Two((), f64),
            Named { field: f64 },
        }
        let path = |data: Deep| refused(&[data], Integers::Bits64).0;
        assert_eq!(path(Deep::One(f64::NAN)), "$[0].One");
        assert_eq!(path(Deep::Two((), f64::NAN)), "$[0].Two[1]");
        assert_eq!(path(Deep::Named { field: f64::NAN }), "$[0].Named.field");
    }

    #[test]
    fn keys_that_are_no_text_are_refused_and_not_made_text() {
        let by_number = BTreeMap::from([(1, "one")]);
        let expected = ("$[0]".into(), Refusal::KeyNotText);
        assert_eq!(refused(&by_number, Integers::Bits64), expected);
        let entry = |key: Value| Value::Map(vec![("x".into(), 1.into()), (key, 2.into())]);
        for key in [
            Value::Bool(true),
            Value::Null,
            Value::Float(1.5),
            Value::Bytes(vec![1]),
            Value::Array(vec![]),
            Value::Map(vec![]),
        ] {
            let expected = ("$[1]".into(), Refusal::KeyNotText);
            assert_eq!(refused(&entry(key), Integers::Bits64), expected);
        }
        #[derive(PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
        enum Colour {
            Red,
        }
        let by_name = BTreeMap::from([(Colour::Red, 'r')]);
        assert_eq!(text(&by_name), r#"{"Red":"r"}"#);
        assert_eq!(same(CodecId::JSON, &by_name), by_name);
        assert_eq!(text(&BTreeMap::from([('c', 1)])), r#"{"c":1}"#);
    }

    #[test]
    fn integers_that_the_reader_would_round_are_refused() {
        let wide = |value: i128| encode_json(&[value], Integers::Bits64);
        for fits in [0, i128::from(i64::MIN), i128::from(u64::MAX)] {
            assert_eq!(wide(fits).unwrap(), format!("[{fits}]").as_bytes());
        }
        let expected = ("$[0]".into(), Refusal::IntegerTooLarge);
        for beyond in [i128::from(i64::MIN) - 1, i128::from(u64::MAX) + 1] {
            assert_eq!(refused(&[beyond], Integers::Bits64), expected);
        }
        assert_eq!(refused(&[u128::MAX], Integers::Bits64), expected);

        let limit = 1_i64 << 53;
        for fits in [limit, -limit, 0] {
            encode_json(&fits, Integers::Bits53).unwrap();
        }
        for beyond in [limit + 1, -limit - 1, i64::MAX, i64::MIN] {
            assert_eq!(refused(&[beyond], Integers::Bits53), expected);
            encode_json(&[beyond], Integers::Bits64).unwrap();
        }
        assert_eq!(refused(&[u64::MAX], Integers::Bits53), expected);
    }

    #[test]
    fn a_serialize_that_fails_says_where() {
        struct Fails;
        impl Serialize for Fails {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("poisoned"))
            }
        }
        let error = encode(CodecId::JSON, &BTreeMap::from([("k", [Fails])])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot write the value at $.k[0] in JSON: poisoned"
        );
    }

    #[test]
    fn depth_is_that_of_the_deepest_value_and_not_of_all() {
        let wide = Value::Array(vec![nested(MAX_DEPTH - 1); 5]);
        assert_eq!(same(CodecId::JSON, &wide), wide);
        let shapes = [
            Shape::Circle(1.5),
            Shape::Line(1, ByteBuf::new()),
            Shape::Box {
                width: 1,
                inner: None,
            },
        ];
        for shape in shapes {
            let many = vec![shape; 2 * MAX_DEPTH];
            assert_eq!(same(CodecId::JSON, &many), many);
        }
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        enum Chain {
            End,
            Next(Box<Chain>),
            Pair((), Box<Chain>),
        }
        let chain = |levels, link: fn(Box<Chain>) -> Chain| {
            (0..levels).fold(Chain::End, |inner, _| link(inner.into()))
        };
        for (per_level, link) in [
            (1, Chain::Next as fn(_) -> _),
            (2, |inner| Chain::Pair((), inner)),
        ] {
            let deepest = chain(MAX_DEPTH / per_level, link);
            assert_eq!(same(CodecId::JSON, &deepest), deepest);
            assert_eq!(same(CodecId::CBOR, &deepest), deepest);
            let deeper = chain(MAX_DEPTH / per_level + 1, link);
            assert_eq!(refused(&deeper, Integers::Bits64).1, Refusal::TooDeep);
            encode(CodecId::CBOR, &deeper).unwrap_err();
        }
    }

    #[test]
    fn json_of_others_is_read() {
        let payload = json!({"name": "x", "list": [1, -2, 3.5, null, true]}).to_string();
        let value: Value = decode(CodecId::JSON, payload.as_bytes()).unwrap();
        assert_eq!(value.get("name").and_then(Value::as_str), Some("x"));
        let list = value.get("list").unwrap();
        assert_eq!(list.at(1).and_then(Value::as_i64), Some(-2));
        assert_eq!(list.at(2).and_then(Value::as_f64), Some(3.5));
        // An integer where the reader wants a float, as JavaScript writes 12.0.
        assert_eq!(decode::<f64>(CodecId::JSON, b"12").unwrap(), 12.0);
        for malformed in [&b"{"[..], b"1 2", b"", b"\xff", b"nul"] {
            let error = decode::<Value>(CodecId::JSON, malformed).unwrap_err();
            assert!(matches!(error, CodecError::Malformed { .. }), "{error:?}");
        }
        let error = decode::<bool>(CodecId::JSON, b"7").unwrap_err();
        assert!(matches!(error, CodecError::Mismatch { .. }), "{error:?}");
    }

    #[test]
    fn a_parent_writes_anew_for_a_json_child() {
        let table = CodecTable::new();
        let to_json = |from, payload: &Bytes, integers| {
            table.transcode(from, CodecId::JSON, "e", payload, integers)
        };
        let raw = Bytes::from_static(b"a");
        let json = to_json(CodecId::RAW, &raw, Integers::Bits64).unwrap();
        assert_eq!(&json[..], br#""YQ==""#);

        let large = encode(CodecId::CBOR, &[u64::MAX]).unwrap();
        to_json(CodecId::CBOR, &large, Integers::Bits64).unwrap();
        let json = encode(CodecId::JSON, &[u64::MAX]).unwrap();
        for (codec, payload) in [(CodecId::CBOR, &large), (CodecId::JSON, &json)] {
            let error = to_json(codec, payload, Integers::Bits53).unwrap_err();
            assert_eq!(
                error.to_string(),
                "JSON cannot carry the value at $[0]: an integer that the reader would round"
            );
        }
        let keyed = encode(CodecId::CBOR, &BTreeMap::from([(1, 2)])).unwrap();
        to_json(CodecId::CBOR, &keyed, Integers::Bits64).unwrap_err();

        let back = table
            .transcode(CodecId::JSON, CodecId::CBOR, "e", &json, Integers::Bits64)
            .unwrap();
        assert_eq!(back, large);
    }
}
