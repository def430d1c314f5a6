//! How a stream ends. `STREAM_OPEN` has the body of an event, its payload being the opening value;
//! `STREAM_DATA` has nothing but the bytes of the stream.

use alloc::vec::Vec;

use crate::wire::WireError;
use crate::wire::fields::Fields;

/// Body of `STREAM_ABORT`: `code: u32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamAbortBody {
    /// The application's code.
    pub code: u32,
}

impl StreamAbortBody {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.code.to_be_bytes());
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it ends too early or too late.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        let code = fields.u32()?;
        fields.finish()?;
        Ok(Self { code })
    }
}

/// Body of `STREAM_END`: `codec: u8, payload`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamEndBody<'a> {
    /// The codec of the closing value.
    pub codec: u8,
    /// The closing value.
    pub payload: &'a [u8],
}

impl<'a> StreamEndBody<'a> {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.codec);
        out.extend_from_slice(self.payload);
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it ends too early.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        Ok(Self {
            codec: fields.u8()?,
            payload: fields.rest(),
        })
    }
}
