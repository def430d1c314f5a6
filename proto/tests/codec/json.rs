//! What JSON carries, and what is refused where it begins.

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
