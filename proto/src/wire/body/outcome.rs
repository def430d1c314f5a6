//! What becomes of a message other than a reply: failure, refusal, receipt, cancellation.

use alloc::vec::Vec;

use crate::wire::WireError;
use crate::wire::fields::{Fields, put_text};

/// Body of `FAILED`: `request: u64, code: i32, message: u32 length and UTF-8, detail: the same`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedBody<'a> {
    /// The requester's number of the request.
    pub request: u64,
    /// The handler's own code; 0 where it gave none.
    pub code: i32,
    /// What went wrong, for people.
    pub message: &'a str,
    /// A longer text, such as a stack; may be empty.
    pub detail: &'a str,
}

impl<'a> FailedBody<'a> {
    /// Appends the body to `out`.
    ///
    /// # Panics
    ///
    /// If a text has 4 GiB or more.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.request.to_be_bytes());
        out.extend_from_slice(&self.code.to_be_bytes());
        put_text(out, self.message);
        put_text(out, self.detail);
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it ends too early or too late, or a text is not UTF-8.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        let body = Self {
            request: fields.u64()?,
            code: fields.i32()?,
            message: fields.text("message")?,
            detail: fields.text("detail")?,
        };
        fields.finish()?;
        Ok(body)
    }
}

/// Body of `REFUSED`: `of: u64, reason: u8, detail: u32`. Says that the receiver's node did not
/// start what the frame with that sequence asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedBody {
    /// Sequence of the refused frame, in the opposite direction.
    pub of: u64,
    /// A code of `Refusal`.
    pub reason: u8,
    /// What belongs to the reason, such as a generation.
    pub detail: u32,
}

impl RefusedBody {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.of.to_be_bytes());
        out.push(self.reason);
        out.extend_from_slice(&self.detail.to_be_bytes());
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it ends too early or too late. A reason that this version does not know is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        let body = Self {
            of: fields.u64()?,
            reason: fields.u8()?,
            detail: fields.u32()?,
        };
        fields.finish()?;
        Ok(body)
    }
}

/// Body of `RECEIPT`: `of: u64, level: u8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptBody {
    /// Sequence of the message, in the opposite direction.
    pub of: u64,
    /// 1: the application took it. 2: its handler returned `Ok`. 3: its handler failed.
    pub level: u8,
}

impl ReceiptBody {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.of.to_be_bytes());
        out.push(self.level);
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it ends too early or too late, or the level is not 1, 2 or 3.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        let body = Self {
            of: fields.u64()?,
            level: fields.u8()?,
        };
        fields.finish()?;
        if !matches!(body.level, 1..=3) {
            return Err(WireError::BadField("level"));
        }
        Ok(body)
    }
}

/// Body of `CANCEL`: `request: u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CancelBody {
    /// The requester's number of the request.
    pub request: u64,
}

impl CancelBody {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.request.to_be_bytes());
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it ends too early or too late.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        let request = fields.u64()?;
        fields.finish()?;
        Ok(Self { request })
    }
}
