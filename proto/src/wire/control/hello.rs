//! The first frame of a link.

use alloc::vec::Vec;

use crate::id::{InstanceId, PeerName};
use crate::wire::WireError;
use crate::wire::cbor::{self, MapReader, MapWriter, Record};

/// The first frame in each direction of a link; at most 256 bytes with its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Wire version; this is version 1.
    pub version: u16,
    /// Bits of features that the sender can use.
    pub features: u64,
    /// The sender's instance.
    pub instance: InstanceId,
    /// The highest epoch of a hub that the sender has seen; 0 for none.
    pub epoch: u64,
    /// The name that the sender has or wants.
    pub name: Option<PeerName>,
    /// The sender's receive budget in bytes.
    pub budget: u64,
    /// The largest message that the sender accepts, in bytes.
    pub message_cap: u64,
    /// Whether the sender is the hub of the application.
    pub hub: bool,
}

impl Hello {
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

impl Record for Hello {
    fn write(&self, map: &mut MapWriter<'_>) {
        map.field(1, &self.version);
        map.field(2, &self.features);
        map.field(3, &self.instance);
        map.field(4, &self.epoch);
        map.optional(5, &self.name);
        map.field(6, &self.budget);
        map.field(7, &self.message_cap);
        map.field(8, &self.hub);
    }

    fn read(map: &mut MapReader<'_, '_>) -> Result<Self, WireError> {
        Ok(Self {
            version: map.field(1)?,
            features: map.field(2)?,
            instance: map.field(3)?,
            epoch: map.field(4)?,
            name: map.optional(5)?,
            budget: map.field(6)?,
            message_cap: map.field(7)?,
            hub: map.field(8)?,
        })
    }
}
