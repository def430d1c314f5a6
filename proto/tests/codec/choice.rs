//! Which codec a message gets, and codecs of one's own.

use super::*;

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
    let received: String = table
        .decode(OWN, "foo", &sent.payload.clone().into())
        .unwrap();
    assert_eq!(received, "bar");

    let error = table
        .decode::<String>(OWN, "baz", &sent.payload.clone().into())
        .unwrap_err();
    assert_eq!(error.to_string(), "codec 16 failed: another event's");
    let error = table.encode("", "foo", Some(OWN), &7).unwrap_err();
    assert_eq!(error.to_string(), "codec 16 failed: only text");
    let error = table
        .decode::<i32>(OWN, "foo", &sent.payload.clone().into())
        .unwrap_err();
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
        table
            .decode::<i32>(OWN, "e", &Bytes::new().into())
            .map(|_| ()),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, CodecError::Unknown(OWN)), "{error:?}");
        assert_eq!(error.to_string(), "codec 16 is not available here");
    }
    assert_eq!(table.choose("n", "e", None), CodecId::CBOR);
}
