//! The wire: what the bytes between two nodes mean. Pure encoders and decoders, no state but the
//! deframer's buffer. `PROTOCOL.md` is the specification; the vectors in `vectors/` are its proof.

mod body;
mod cbor;
mod cbor_check;
mod codes;
mod control;
mod deframer;
mod fields;
pub mod flow;
mod header;
pub mod limits;
mod run;

pub use body::*;
pub use codes::{CloseCode, Refusal};
pub use control::*;
pub use deframer::{Deframer, Frame};
pub(crate) use fields::is_name;
pub use header::{Header, Kind, flags, frame};
pub(crate) use run::{Most, Run};

/// Why bytes of a peer are not what the protocol allows. A fault of the peer, never of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The frame says it is shorter than its own header or fields.
    #[error("frame is truncated: its fields need more bytes than its length allows")]
    Truncated,
    /// The body goes on after its last field.
    #[error("frame goes on after its last field")]
    TrailingBytes,
    /// The frame is longer than this link allows in its present state.
    #[error("frame of {length} bytes exceeds the limit of {limit}")]
    Oversized {
        /// Bytes that the frame announced.
        length: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A frame kind with the critical bit that this version does not know.
    #[error("unknown critical frame kind {0:#04x}")]
    UnknownCritical(u8),
    /// More attachments than a message may carry.
    #[error("{0} attachments exceed the limit")]
    TooManyAttachments(u8),
    /// A name that is not UTF-8, is empty where it must not be, too long, or contains NUL.
    #[error("a name in the frame is not valid")]
    BadName,
    /// A control body that is not the CBOR map it must be.
    #[error("control body is not what it must be: {0}")]
    BadControl(&'static str),
    /// A field whose value has no meaning.
    #[error("field {0} has a value without meaning")]
    BadField(&'static str),
}
