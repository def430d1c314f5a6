//! Paths of a conversation: the move to the next one, and the question that begins one.

use alloc::vec::Vec;

use crate::wire::WireError;
use crate::wire::fields::Fields;

/// Body of `SWITCH`: `path: u32`, the number of the path that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchBody {
    /// The path that follows this frame.
    pub path: u32,
}

impl SwitchBody {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.path.to_be_bytes());
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it ends too early or too late.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        let path = fields.u32()?;
        fields.finish()?;
        Ok(Self { path })
    }
}

/// Body of `ASK`: `path: u32`, the number that the sender gives to this path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskBody {
    /// The path over which the question goes.
    pub path: u32,
}

impl AskBody {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.path.to_be_bytes());
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it ends too early or too late.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        let path = fields.u32()?;
        fields.finish()?;
        Ok(Self { path })
    }
}
