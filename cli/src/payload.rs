//! DATA of the command line as a payload, and payloads as text.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt;

use anyhow::Result;
use serde_json::Value as Json;
use switchboard_mio::codec::{self, CodecError, CodecId, Encode};
use switchboard_mio::{IncomingEvent, Raw, ReplyOutcome, RequestError, Value};

use crate::end::{End, Failure};
use crate::print;

/// What is sent or received: a value, or bytes as they are.
#[derive(Debug)]
pub enum Data {
    /// A value, in the codec of the application.
    Value(Value),
    /// Bytes as they are.
    Raw(Raw),
}

impl Data {
    /// Reads DATA: JSON text, or bytes; `-` reads them from stdin.
    ///
    /// # Errors
    ///
    /// [`End::Usage`] for what is no JSON.
    pub fn read(text: Option<&OsStr>, raw: bool) -> Result<Self> {
        let bytes = match text {
            None if raw => Vec::new(),
            None => b"null".to_vec(),
            Some(text) if text == "-" => {
                let mut bytes = Vec::new();
                io::stdin().lock().read_to_end(&mut bytes)?;
                bytes
            }
            Some(text) => text.as_bytes().to_vec(),
        };
        if raw {
            return Ok(Self::Raw(bytes.into()));
        }
        codec::decode(CodecId::JSON, &bytes)
            .map(Self::Value)
            .map_err(|error| {
                let message = format!(
                    "DATA is no JSON ({error}): quote strings twice, as in '\"text\"', or use --raw"
                );
                Failure::new(End::Usage, message).into()
            })
    }

    /// To be sent.
    pub fn as_encode(&self) -> &dyn Encode {
        match self {
            Self::Value(value) => value,
            Self::Raw(raw) => raw,
        }
    }

    /// What a reply holds.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn of_reply(outcome: ReplyOutcome) -> Result<Self, RequestError> {
        match outcome.codec() {
            Some(CodecId::RAW) => outcome.decode().map(Self::Raw),
            _ => outcome.decode().map(Self::Value),
        }
    }

    /// What an event holds.
    ///
    /// # Errors
    ///
    /// It is in a codec that is not there, or broken.
    pub fn of_event(event: &IncomingEvent) -> Result<Self, CodecError> {
        match event.decode() {
            Err(CodecError::Raw) => event.decode().map(Self::Raw),
            value => value.map(Self::Value),
        }
    }

    /// Prints it on a line of its own: a value as JSON, bytes as they are.
    ///
    /// # Errors
    ///
    /// As [`print::line`].
    pub fn print(&self) -> Result<()> {
        match self {
            Self::Value(value) => print::object(&as_json(value)),
            Self::Raw(Raw(bytes)) => print::raw_line(bytes),
        }
    }

    /// As a part of an object: what is no JSON as text with replacements.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Value(value) => as_json(value),
            Self::Raw(Raw(bytes)) => as_json(&Value::Bytes(bytes[..].to_vec())),
        }
    }
}

/// A value as JSON, bytes as base64. What JSON has no words for is described in a string: people
/// read this, and a program that must have it exactly is a peer itself.
fn as_json(value: &Value) -> Json {
    let written = codec::encode(CodecId::JSON, value);
    let parsed = written
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    parsed.unwrap_or_else(|| Json::String(format!("{value:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Data::read(Some(OsStr::new(text)), false)
            .unwrap()
            .to_json()
            .to_string()
    }

    #[test]
    fn json_comes_out_as_it_went_in() {
        for text in [
            "5",
            "[2,3]",
            "{\"a\":1.5}",
            "\"x\"",
            "null",
            "-9007199254740993",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn what_json_cannot_say_is_described() {
        let odd = Value::Map(vec![(Value::Int(1), Value::Float(f64::NAN))]);
        assert!(as_json(&odd).as_str().unwrap().contains("NaN"));
        assert_eq!(as_json(&Value::Bytes(vec![1, 2, 3])), "AQID");
    }
}
