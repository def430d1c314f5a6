//! Slices of large messages, and the void that stands for what was given up.

use alloc::vec::Vec;

use crate::wire::fields::Fields;
use crate::wire::{Kind, WireError};

/// Body of `SLICE`. With `FIRST`: `total: u64, inner kind: u8, inner flags: u8`, then the bytes;
/// else only the bytes. The bytes of all slices together are the body of the inner frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceBody<'a> {
    /// What a first slice says about the message.
    pub first: Option<SliceHead>,
    /// The next bytes of the inner body.
    pub bytes: &'a [u8],
}

impl<'a> SliceBody<'a> {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let Some(head) = self.first {
            out.extend_from_slice(&head.total.to_be_bytes());
            out.push(head.kind);
            out.push(head.flags);
        }
        out.extend_from_slice(self.bytes);
    }

    /// Reads the body of a frame; `first` says whether the frame has the flag
    /// [`FIRST`](crate::wire::flags::FIRST).
    ///
    /// # Errors
    ///
    /// If it ends too early, holds more than the total that it announces, or its inner kind is one
    /// that does not travel in slices.
    pub fn decode(bytes: &'a [u8], first: bool) -> Result<Self, WireError> {
        if !first {
            return Ok(Self { first: None, bytes });
        }
        let mut fields = Fields::new(bytes);
        let head = SliceHead {
            total: fields.u64()?,
            kind: fields.u8()?,
            flags: fields.u8()?,
        };
        let bytes = fields.rest();
        if !Kind(head.kind).is_sliceable() {
            return Err(WireError::BadField("inner kind"));
        }
        if head.total < bytes.len() as u64 {
            return Err(WireError::BadField("total"));
        }
        Ok(Self {
            first: Some(head),
            bytes,
        })
    }
}

/// What the first slice says about its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceHead {
    /// Bytes of the inner body.
    pub total: u64,
    /// Kind of the inner frame.
    pub kind: u8,
    /// Flags of the inner frame.
    pub flags: u8,
}

/// Body of `VOID`: `cost: u64`. Stands for a frame that was given up, or returns unused credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoidBody {
    /// What it costs its flow.
    pub cost: u64,
}

impl VoidBody {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.cost.to_be_bytes());
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it ends too early or too late.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        let cost = fields.u64()?;
        fields.finish()?;
        Ok(Self { cost })
    }
}
