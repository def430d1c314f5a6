//! Why a value is not sent, or a payload not read.

use alloc::string::String;
use core::fmt;

use super::{BoxError, CodecId, MAX_DEPTH};

/// Why a value did not become a payload, or a payload not a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// No codec with this id here. The receiver answers it with `NotRun(Codec)`.
    #[error("{0} is not available here")]
    Unknown(CodecId),
    /// Raw bytes were met where a typed value was asked for, or the other way round. Raw bytes are
    /// sent and received as [`Raw`](super::Raw).
    #[error("raw bytes are no typed value, and a typed value no raw bytes")]
    Raw,
    /// The codec cannot carry the value. Nothing was sent.
    #[error("{codec} cannot carry the value at {path}: {reason}")]
    Refused {
        /// The codec.
        codec: CodecId,
        /// Where the value stands in what was to be sent: `$.a[3].b`.
        path: String,
        /// Why it cannot be carried.
        reason: Refusal,
    },
    /// The value's own `Serialize` failed. Nothing was sent.
    #[error("cannot write the value at {path} in {codec}: {message}")]
    Serialize {
        /// The codec.
        codec: CodecId,
        /// Where the value stands: `$.a[3].b`; `$` where the codec does not say.
        path: String,
        /// What it said.
        message: String,
    },
    /// The payload is not in the codec that its frame names.
    #[error("the payload is not valid {codec}: {message}")]
    Malformed {
        /// The codec.
        codec: CodecId,
        /// What is wrong, and where.
        message: String,
    },
    /// The payload is valid but of another type than the reader asked for.
    #[error("the {codec} payload is not of the type asked for: {message}")]
    Mismatch {
        /// The codec.
        codec: CodecId,
        /// What was found, and what expected.
        message: String,
    },
    /// An own codec failed.
    #[error("{codec} failed: {error}")]
    Own {
        /// The codec.
        codec: CodecId,
        /// What it said.
        #[source]
        error: BoxError,
    },
}

/// What a codec cannot carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// NaN or an infinity, in JSON.
    NotFinite,
    /// A map key that is no text, in JSON.
    KeyNotText,
    /// An integer that the reader would round, in JSON; see [`Integers`](super::Integers).
    IntegerTooLarge,
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite => f.write_str("a number that is not finite"),
            Self::KeyNotText => f.write_str("a map key that is not text"),
            Self::IntegerTooLarge => f.write_str("an integer that the reader would round"),
            Self::TooDeep => write!(f, "nested deeper than {MAX_DEPTH} levels"),
        }
    }
}
