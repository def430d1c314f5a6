//! Who is there.

use alloc::vec::Vec;

use super::NamespaceDeclaration;
use crate::id::{Generation, InstanceId, PeerId, PeerName};
use crate::wire::WireError;
use crate::wire::cbor::{self, MapReader, MapWriter, Record};

/// What the hub tells its members of who is there. `version` is the hub's count of changes, so that
/// a later update has a higher one. A snapshot replaces everything before it: `snapshot` stands in
/// its first part only, `more` in all but the last, and `complete` is meaningful in the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RosterUpdate {
    /// Counts the hub's changes.
    pub version: u64,
    /// Whether this update begins anew: who is not in it is not there.
    pub snapshot: bool,
    /// Whether more updates of the same snapshot follow.
    pub more: bool,
    /// Whether everybody who lives is named: who is in no list is gone.
    pub complete: bool,
    /// Peers that are new or have changed.
    pub peers: Vec<RosterPeer>,
    /// Instances that have ended.
    pub gone: Vec<RosterGone>,
}

impl RosterUpdate {
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

impl Record for RosterUpdate {
    fn write(&self, map: &mut MapWriter<'_>) {
        map.field(1, &self.version);
        map.field(2, &self.snapshot);
        map.field(3, &self.more);
        map.field(4, &self.complete);
        map.field(5, &self.peers);
        map.field(6, &self.gone);
    }

    fn read(map: &mut MapReader<'_, '_>) -> Result<Self, WireError> {
        Ok(Self {
            version: map.field(1)?,
            snapshot: map.field(2)?,
            more: map.field(3)?,
            complete: map.field(4)?,
            peers: map.field(5)?,
            gone: map.field(6)?,
        })
    }
}

/// One peer in a [`RosterUpdate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterPeer {
    /// Its id.
    pub id: PeerId,
    /// Its generation.
    pub generation: Generation,
    /// Its instance.
    pub instance: InstanceId,
    /// Its name.
    pub name: Option<PeerName>,
    /// Counts its attachments: when it rises, paths to it begin anew.
    pub attachment: u64,
    /// Whether it is attached; else it is detached and may come back.
    pub attached: bool,
    /// Whether its declarations are all in, so that it counts as up.
    pub up: bool,
    /// How many attachments of one message can reach it; 0 for none.
    pub attachments: u8,
    /// Its receive budget in bytes.
    pub budget: u64,
    /// The largest message that it accepts, in bytes.
    pub message_cap: u64,
    /// What it has declared; `None` where that has not changed.
    pub namespaces: Option<Vec<NamespaceDeclaration>>,
    /// What may be under way to it as replies beside its budget, in bytes.
    pub reserve: u64,
}

impl Record for RosterPeer {
    fn write(&self, map: &mut MapWriter<'_>) {
        map.field(1, &self.id);
        map.field(2, &self.generation);
        map.field(3, &self.instance);
        map.optional(4, &self.name);
        map.field(5, &self.attachment);
        map.field(6, &self.attached);
        map.field(7, &self.up);
        map.field(8, &self.attachments);
        map.field(9, &self.budget);
        map.field(10, &self.message_cap);
        map.optional(11, &self.namespaces);
        map.optional(12, &Some(self.reserve).filter(|reserve| *reserve > 0));
    }

    fn read(map: &mut MapReader<'_, '_>) -> Result<Self, WireError> {
        Ok(Self {
            id: map.field(1)?,
            generation: map.field(2)?,
            instance: map.field(3)?,
            name: map.optional(4)?,
            attachment: map.field(5)?,
            attached: map.field(6)?,
            up: map.field(7)?,
            attachments: map.field(8)?,
            budget: map.field(9)?,
            message_cap: map.field(10)?,
            namespaces: map.optional(11)?,
            reserve: map.optional(12)?.unwrap_or(0),
        })
    }
}

/// An instance that has ended, in a [`RosterUpdate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RosterGone {
    /// Its id.
    pub id: PeerId,
    /// Its generation.
    pub generation: Generation,
    /// Its instance.
    pub instance: InstanceId,
}

impl Record for RosterGone {
    fn write(&self, map: &mut MapWriter<'_>) {
        map.field(1, &self.id);
        map.field(2, &self.generation);
        map.field(3, &self.instance);
    }

    fn read(map: &mut MapReader<'_, '_>) -> Result<Self, WireError> {
        Ok(Self {
            id: map.field(1)?,
            generation: map.field(2)?,
            instance: map.field(3)?,
        })
    }
}
