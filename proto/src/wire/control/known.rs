//! What a member knows of others from the hubs before: what a new hub has to be told, because no
//! hub leaves anything behind.

use alloc::vec::Vec;

use crate::id::{Generation, InstanceId, PeerId, PeerName};
use crate::wire::WireError;
use crate::wire::cbor::{self, MapReader, MapWriter, Record};

/// A part of what a member knows of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Peers that it holds for living.
    pub living: Vec<KnownPeer>,
    /// Per id, the highest generation that it knows to be gone.
    pub gone: Vec<(PeerId, Generation)>,
    /// Instances that it holds for gone.
    pub gone_instances: Vec<InstanceId>,
}

impl Record for Known {
    fn write(&self, map: &mut MapWriter<'_>) {
        map.field(1, &self.living);
        map.field(2, &self.gone);
        map.field(3, &self.gone_instances);
    }

    fn read(map: &mut MapReader<'_, '_>) -> Result<Self, WireError> {
        Ok(Self {
            living: map.field(1)?,
            gone: map.field(2)?,
            gone_instances: map.field(3)?,
        })
    }
}

/// A peer that a member holds for living.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPeer {
    /// Its id.
    pub id: PeerId,
    /// Its generation.
    pub generation: Generation,
    /// Its instance.
    pub instance: InstanceId,
    /// Its name.
    pub name: Option<PeerName>,
}

impl Record for KnownPeer {
    fn write(&self, map: &mut MapWriter<'_>) {
        map.field(1, &self.id);
        map.field(2, &self.generation);
        map.field(3, &self.instance);
        map.optional(4, &self.name);
    }

    fn read(map: &mut MapReader<'_, '_>) -> Result<Self, WireError> {
        Ok(Self {
            id: map.field(1)?,
            generation: map.field(2)?,
            instance: map.field(3)?,
            name: map.optional(4)?,
        })
    }
}

/// What a member knows beyond what its [`Attach`](super::Attach) had room for, or has learned to
/// contradict what the hub says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownMore {
    /// The member that says so.
    pub instance: InstanceId,
    /// Whether further parts follow.
    pub more: bool,
    /// This part.
    pub known: Known,
}

impl KnownMore {
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

impl Record for KnownMore {
    fn write(&self, map: &mut MapWriter<'_>) {
        map.field(1, &self.instance);
        map.field(2, &self.more);
        map.field(3, &self.known);
    }

    fn read(map: &mut MapReader<'_, '_>) -> Result<Self, WireError> {
        Ok(Self {
            instance: map.field(1)?,
            more: map.field(2)?,
            known: map.field(3)?,
        })
    }
}
