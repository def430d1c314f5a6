//! CBOR, through ciborium, after one cheap pass over a peer's bytes.

mod check;

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CodecError, CodecId, MAX_DEPTH, Refusal};

const CODEC: CodecId = CodecId::CBOR;

pub(super) fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let start = out.len();
    let result = write(value, out).and_then(|()| depth(&out[start..]));
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Reads one value, which must fill the bytes.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    // Before anything is allocated: ciborium hands announced lengths on to whoever asks for them,
    // and reads on past the end of the value without complaint.
    let checked = check::check(bytes).map_err(|fault| CodecError::Malformed {
        codec: CODEC,
        message: fault.to_string(),
    })?;
    // Text is read through this scratch space, and text longer than it is refused to types that ask
    // for a `str`. Ciborium's own 4 KiB are too few for those, and for small messages cost more to
    // clear than the rest.
    match checked.longest {
        0..=64 => read(bytes, &mut [0; 64]),
        65..=1024 => read(bytes, &mut [0; 1024]),
        longest => read(bytes, &mut vec![0; longest]),
    }
}

fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    use ciborium::ser::Error;
    ciborium::into_writer(value, out).map_err(|error| CodecError::Serialize {
        codec: CODEC,
        path: "$".into(),
        message: match error {
            Error::Value(message) => message,
            // A vector takes every write.
            Error::Io(_) => "out of memory".into(),
        },
    })
}

/// Refuses what the reader would refuse. Nesting needs a byte a level, so small payloads are not
/// looked at.
fn depth(written: &[u8]) -> Result<(), CodecError> {
    if written.len() <= MAX_DEPTH {
        return Ok(());
    }
    match check::check(written) {
        Ok(_) => Ok(()),
        Err(fault) if fault.what == check::TOO_DEEP => Err(CodecError::Refused {
            codec: CODEC,
            path: "$".into(),
            reason: Refusal::TooDeep,
        }),
        // A `Serialize` that announced one number of items and wrote another.
        Err(fault) => Err(CodecError::Serialize {
            codec: CODEC,
            path: "$".into(),
            message: fault.to_string(),
        }),
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8], scratch: &mut [u8]) -> Result<T, CodecError> {
    use ciborium::de::Error;
    ciborium::de::from_reader_with_buffer(bytes, scratch).map_err(|error| {
        let malformed = |message: String| CodecError::Malformed {
            codec: CODEC,
            message,
        };
        match error {
            Error::Semantic(_, message) => CodecError::Mismatch {
                codec: CODEC,
                message,
            },
            Error::Syntax(offset) => malformed(alloc::format!("not valid at byte {offset}")),
            // The check has seen a whole value: the type asked for more items than there are.
            Error::Io(_) => CodecError::Mismatch {
                codec: CODEC,
                message: "it has fewer items than asked for".into(),
            },
            Error::RecursionLimitExceeded => malformed(Refusal::TooDeep.to_string()),
        }
    })
}
