//! The life of a link after its hello: is it alive, why does it end, what did it not take.

use alloc::string::String;
use alloc::vec::Vec;

use crate::id::InstanceId;
use crate::wire::WireError;
use crate::wire::cbor::{self, MapReader, MapWriter, Record};

/// `PING` and `PONG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Returned unchanged.
    pub nonce: u64,
}

impl Ping {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        cbor::encode(self, out);
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it is not a map as this one, or a field is missing or has no meaning.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        cbor::decode(bytes)
    }
}

impl Record for Ping {
    fn write(&self, map: &mut MapWriter<'_>) {
        map.field(1, &self.nonce);
    }

    fn read(map: &mut MapReader<'_, '_>) -> Result<Self, WireError> {
        Ok(Self {
            nonce: map.field(1)?,
        })
    }
}

/// The last frame of a link that ends in good order or for a fault of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// A code of `CloseCode`.
    pub code: u16,
    /// For people.
    pub text: String,
}

impl Close {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        cbor::encode(self, out);
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it is not a map as this one, or a field is missing or has no meaning.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        cbor::decode(bytes)
    }
}

impl Record for Close {
    fn write(&self, map: &mut MapWriter<'_>) {
        map.field(1, &self.code);
        map.field(2, &self.text);
    }

    fn read(map: &mut MapReader<'_, '_>) -> Result<Self, WireError> {
        Ok(Self {
            code: map.field(1)?,
            text: map.field(2)?,
        })
    }
}

/// The hub could not deliver a frame, and no byte of it went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// Who sent the frame.
    pub source: InstanceId,
    /// For whom it was.
    pub destination: InstanceId,
    /// Its sequence.
    pub sequence: u64,
}

impl Returned {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        cbor::encode(self, out);
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it is not a map as this one, or a field is missing or has no meaning.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        cbor::decode(bytes)
    }
}

impl Record for Returned {
    fn write(&self, map: &mut MapWriter<'_>) {
        map.field(1, &self.source);
        map.field(2, &self.destination);
        map.field(3, &self.sequence);
    }

    fn read(map: &mut MapReader<'_, '_>) -> Result<Self, WireError> {
        Ok(Self {
            source: map.field(1)?,
            destination: map.field(2)?,
            sequence: map.field(3)?,
        })
    }
}
