//! What can be sent and received: whatever serde knows, and raw bytes.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::table::{Reading, Writing};
use super::{CodecError, CodecId};

/// A payload with the codec it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The codec that the frame names.
    pub codec: CodecId,
    /// The bytes.
    pub payload: Bytes,
}

/// Bytes that are sent as they are, whichever codec is chosen: no serde, no copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Raw(pub Bytes);

/// What can be sent: every `Serialize`, and [`Raw`].
pub trait Encode {
    /// Writes the payload; called by [`CodecTable::encode`](super::CodecTable::encode).
    ///
    /// # Errors
    ///
    /// As [`encode`](super::encode), or [`CodecError::Own`].
    fn encode(&self, writing: &Writing<'_>) -> Result<Encoded, CodecError>;
}

/// What can be received: every `DeserializeOwned`, and [`Raw`].
pub trait Decode: Sized {
    /// Reads the payload; called by [`CodecTable::decode`](super::CodecTable::decode).
    ///
    /// # Errors
    ///
    /// As [`decode`](super::decode), or [`CodecError::Own`].
    fn decode(reading: &Reading<'_>) -> Result<Self, CodecError>;
}

// Both implementations of each trait can stand because `Raw` is ours and implements neither of
// serde's traits. That it never will is what keeps raw bytes away from serde.

impl<T: Serialize + ?Sized> Encode for T {
    fn encode(&self, writing: &Writing<'_>) -> Result<Encoded, CodecError> {
        writing.typed(self)
    }
}

impl Encode for Raw {
    fn encode(&self, _: &Writing<'_>) -> Result<Encoded, CodecError> {
        Ok(Encoded {
            codec: CodecId::RAW,
            payload: self.0.clone(),
        })
    }
}

impl<T: DeserializeOwned> Decode for T {
    fn decode(reading: &Reading<'_>) -> Result<Self, CodecError> {
        reading.typed()
    }
}

impl Decode for Raw {
    fn decode(reading: &Reading<'_>) -> Result<Self, CodecError> {
        reading.raw().map(Self)
    }
}

impl From<Bytes> for Raw {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<alloc::vec::Vec<u8>> for Raw {
    fn from(bytes: alloc::vec::Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<&'static [u8]> for Raw {
    fn from(bytes: &'static [u8]) -> Self {
        Self(Bytes::from_static(bytes))
    }
}

impl AsRef<[u8]> for Raw {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
