//! How values become payloads and payloads values.
//!
//! Three codecs are built in: CBOR (the default), JSON (feature `json`) and raw bytes, which never
//! meet serde: send and receive [`Raw`]. A [`Codec`] of your own joins them in a [`CodecTable`], which
//! also says which codec is used where: for the node, a namespace, an event name or one message, the
//! later the stronger. The reader follows the id in the frame.
//!
//! What is sent is what arrives: integers, floats (bit for bit in CBOR), booleans, text, bytes and
//! everything nested of them. What a codec cannot carry is refused at the sender, with the place of
//! the value, and never rounded.

mod cbor;
mod error;
#[cfg(feature = "json")]
mod json;
mod payload;
mod table;
mod value;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::{CodecError, Refusal};
pub use payload::{Decode, Encode, Encoded, Raw};
pub use table::{CodecTable, RegisterError};
pub use value::Value;

/// How deep a value may nest, in arrays, maps and the variants of enums that carry something. Deeper
/// ones are refused by the sender and by the reader, so that no peer can exhaust the stack.
pub const MAX_DEPTH: usize = 100;

/// Which codec a payload is in; one byte in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CodecId(pub u8);

impl CodecId {
    /// Bytes as they are, for [`Raw`] alone.
    pub const RAW: Self = Self(0);
    /// CBOR (RFC 8949), the default.
    pub const CBOR: Self = Self(1);
    /// JSON (RFC 8259), with bytes as base64 text.
    pub const JSON: Self = Self(2);
    /// The first id that an own codec may have; the ones below are kept for the protocol.
    pub const FIRST_OWN: Self = Self(16);
}

impl fmt::Display for CodecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::RAW => f.write_str("raw"),
            Self::CBOR => f.write_str("CBOR"),
            Self::JSON => f.write_str("JSON"),
            Self(id) => write!(f, "codec {id}"),
        }
    }
}

/// What an own codec may fail with.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A codec of the application's own. Both ends must have it under the same id; at one that has not,
/// the message is refused.
///
/// It works on [`Value`]s, so one object serves every type. A typed value becomes a `Value` on the way
/// out and is made of one on the way in, each at the cost of writing and reading it in CBOR once; who
/// minds it sends [`Raw`] bytes and encodes them himself.
pub trait Codec: Send + Sync {
    /// Its id, from [`CodecId::FIRST_OWN`] up. Must always be the same.
    fn id(&self) -> CodecId;

    /// The payload of a value that is sent under this event's name.
    ///
    /// # Errors
    ///
    /// Whatever keeps the value from being sent; the caller gets it as [`CodecError::Own`].
    fn encode(&self, event: &str, value: &Value) -> Result<Vec<u8>, BoxError>;

    /// The value in a payload that came under this event's name. The bytes are a peer's: they may be
    /// anything, and must not cause a panic or memory without bound.
    ///
    /// # Errors
    ///
    /// Whatever keeps the bytes from being a value.
    fn decode(&self, event: &str, bytes: &[u8]) -> Result<Value, BoxError>;
}

/// What integers the readers of a JSON text keep exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Integers {
    /// From -2^63 to 2^64 - 1, as most languages do. Others are refused.
    #[default]
    Bits64,
    /// From -2^53 to 2^53, because the reader takes every number for a double (JavaScript). Others
    /// are refused.
    Bits53,
}

/// Writes a value with a built-in codec.
///
/// # Errors
///
/// [`CodecError::Refused`] where the codec cannot carry the value, [`CodecError::Serialize`] where its
/// `Serialize` fails, [`CodecError::Raw`] with [`CodecId::RAW`], and [`CodecError::Unknown`] with an id
/// that is not built in.
pub fn encode<T: Serialize + ?Sized>(codec: CodecId, value: &T) -> Result<Bytes, CodecError> {
    let mut payload = Vec::new();
    encode_into(codec, value, &mut payload)?;
    Ok(payload.into())
}

/// Writes a value with a built-in codec to the end of a buffer, which may be one that is used again
/// and again. After an error the buffer is as before.
///
/// # Errors
///
/// As [`encode`].
pub fn encode_into<T: Serialize + ?Sized>(
    codec: CodecId,
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    match codec {
        CodecId::CBOR => cbor::encode_into(value, out),
        #[cfg(feature = "json")]
        CodecId::JSON => json::encode_into(value, Integers::default(), out),
        CodecId::RAW => Err(CodecError::Raw),
        other => Err(CodecError::Unknown(other)),
    }
}

/// Writes a value in JSON for a reader that keeps only these integers.
///
/// # Errors
///
/// As [`encode`].
#[cfg(feature = "json")]
pub fn encode_json<T: Serialize + ?Sized>(
    value: &T,
    integers: Integers,
) -> Result<Bytes, CodecError> {
    let mut payload = Vec::new();
    json::encode_into(value, integers, &mut payload)?;
    Ok(payload.into())
}

/// Reads a value that a peer wrote with a built-in codec. Memory is taken only for what is really
/// there, whatever lengths the bytes announce.
///
/// # Errors
///
/// [`CodecError::Malformed`] where the bytes are not in this codec, [`CodecError::Mismatch`] where they
/// are of another type, [`CodecError::Raw`] with [`CodecId::RAW`], and [`CodecError::Unknown`] with an
/// id that is not built in.
pub fn decode<T: DeserializeOwned>(codec: CodecId, bytes: &[u8]) -> Result<T, CodecError> {
    match codec {
        CodecId::CBOR => cbor::decode(bytes),
        #[cfg(feature = "json")]
        CodecId::JSON => json::decode(bytes),
        CodecId::RAW => Err(CodecError::Raw),
        other => Err(CodecError::Unknown(other)),
    }
}
