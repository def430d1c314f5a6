//! JSON, through serde_json, with a check of what it cannot carry and with bytes as base64 text.
//!
//! Both wrap serde_json and see every value as it passes, so that what is checked is what is written.
//!
//! One case is lost in serde itself: bytes inside a type that is read through serde's buffer (an
//! untagged or internally tagged enum, or a flattened field) arrive there as their base64 text.

mod base64;
mod check;

use alloc::string::ToString;
use alloc::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CodecError, CodecId, Integers};

const CODEC: CodecId = CodecId::JSON;

pub(super) fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    integers: Integers,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let written = check::checked(integers, value, |value| serde_json::to_vec(value))?;
    if out.is_empty() {
        *out = written;
    } else {
        out.extend_from_slice(&written);
    }
    Ok(())
}

/// Reads one value, which must fill the text but for white space.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = T::deserialize(base64::Base64(&mut reader));
    let value = value.and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| {
        let message = error.to_string();
        if error.is_data() {
            CodecError::Mismatch {
                codec: CODEC,
                message,
            }
        } else {
            CodecError::Malformed {
                codec: CODEC,
                message,
            }
        }
    })
}
