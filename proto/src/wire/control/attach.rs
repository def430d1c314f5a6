//! Binding instances to a link.

use alloc::vec::Vec;
use core::fmt;

use super::Known;
use crate::id::{Generation, InstanceId, PeerId, PeerName};
use crate::wire::cbor::{self, MapReader, MapWriter, Record, Value, ValueReader, ValueWriter};
use crate::wire::{CloseCode, WireError};

/// Binds an instance to the link over which it comes. A member sends one for itself and one for
/// each peer that it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// The instance.
    pub instance: InstanceId,
    /// Counts what this instance has asked, of whichever hub; a lower one never replaces a higher one.
    pub counter: u64,
    /// The name that it has or wants.
    pub name: Option<PeerName>,
    /// The id and generation that an earlier hub gave it.
    pub identity: Option<(PeerId, Generation)>,
    /// Whether the name may be taken over by a newcomer that asks for it too.
    pub handover: bool,
    /// Its receive budget in bytes.
    pub budget: u64,
    /// What may be under way to it as replies beside its budget, in bytes.
    pub reserve: u64,
    /// The largest message that it accepts, in bytes.
    pub message_cap: u64,
    /// How many attachments of one message can reach it over this link; 0 for none.
    pub attachments: u8,
    /// What it knows of others from the hubs before, as far as it has room here.
    pub known: Known,
    /// Whether more of that follows in [`KnownMore`](super::KnownMore) frames.
    pub more: bool,
    /// Whether it lives behind the process at the other end of the link, which speaks for it: the
    /// end of the link says nothing of its own end.
    pub relayed: bool,
    /// Whether it has no other way to a hub, now or later, than over the process at the other end of
    /// the link: it ends with that process.
    pub tied: bool,
    /// Whether it has asked another hub before this one, which may have attached it and told others
    /// of it.
    pub elder: bool,
}

impl Attach {
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

impl Record for Attach {
    fn write(&self, map: &mut MapWriter<'_>) {
        map.field(1, &self.instance);
        map.field(2, &self.counter);
        map.optional(3, &self.name);
        map.optional(4, &self.identity);
        map.field(5, &self.handover);
        map.field(6, &self.budget);
        map.field(7, &self.reserve);
        map.field(8, &self.message_cap);
        map.field(9, &self.attachments);
        map.field(10, &self.known);
        map.field(11, &self.more);
        map.optional(12, &self.relayed.then_some(true));
        map.optional(13, &self.tied.then_some(true));
        map.optional(14, &self.elder.then_some(true));
    }

    fn read(map: &mut MapReader<'_, '_>) -> Result<Self, WireError> {
        Ok(Self {
            instance: map.field(1)?,
            counter: map.field(2)?,
            name: map.optional(3)?,
            identity: map.optional(4)?,
            handover: map.field(5)?,
            budget: map.field(6)?,
            reserve: map.field(7)?,
            message_cap: map.field(8)?,
            attachments: map.field(9)?,
            known: map.field(10)?,
            more: map.field(11)?,
            relayed: map.optional(12)?.unwrap_or(false),
            tied: map.optional(13)?.unwrap_or(false),
            elder: map.optional(14)?.unwrap_or(false),
        })
    }
}

/// The hub's answer to [`Attach`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The instance that was attached.
    pub instance: InstanceId,
    /// The attachment that is answered.
    pub counter: u64,
    /// The id it has from now on.
    pub id: PeerId,
    /// The generation it has from now on.
    pub generation: Generation,
    /// The hub's own instance.
    pub hub: InstanceId,
    /// The hub's epoch.
    pub epoch: u64,
    /// Whether the id differs from the one the instance declared.
    pub id_changed: bool,
}

impl Attached {
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

impl Record for Attached {
    fn write(&self, map: &mut MapWriter<'_>) {
        map.field(1, &self.instance);
        map.field(2, &self.counter);
        map.field(3, &self.id);
        map.field(4, &self.generation);
        map.field(5, &self.hub);
        map.field(6, &self.epoch);
        map.field(7, &self.id_changed);
    }

    fn read(map: &mut MapReader<'_, '_>) -> Result<Self, WireError> {
        Ok(Self {
            instance: map.field(1)?,
            counter: map.field(2)?,
            id: map.field(3)?,
            generation: map.field(4)?,
            hub: map.field(5)?,
            epoch: map.field(6)?,
            id_changed: map.field(7)?,
        })
    }
}

/// The hub's refusal of [`Attach`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachRefused {
    /// The instance that was not attached.
    pub instance: InstanceId,
    /// The attachment that is answered.
    pub counter: u64,
    /// Why not.
    pub reason: AttachRefusal,
    /// The generation that fenced the instance, or that holds the name.
    pub generation: Generation,
}

impl AttachRefused {
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

impl Record for AttachRefused {
    fn write(&self, map: &mut MapWriter<'_>) {
        map.field(1, &self.instance);
        map.field(2, &self.counter);
        map.field(3, &self.reason);
        map.field(4, &self.generation);
    }

    fn read(map: &mut MapReader<'_, '_>) -> Result<Self, WireError> {
        Ok(Self {
            instance: map.field(1)?,
            counter: map.field(2)?,
            reason: map.field(3)?,
            generation: map.field(4)?,
        })
    }
}

/// Why a hub does not attach an instance. The numbers are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AttachRefusal {
    /// The instance was declared gone; it must come back as a new one.
    Fenced = 1,
    /// A living peer has the name.
    NameTaken = 2,
    /// The hub has as many peers as it may.
    TooManyPeers = 3,
    /// The declaration contradicts itself.
    Invalid = 4,
    /// A later attachment of the instance is in use.
    Outdated = 5,
}

impl AttachRefusal {
    /// Whether who asks again later may be attached: somebody else has to end first.
    pub const fn may_pass(self) -> bool {
        matches!(self, Self::NameTaken | Self::TooManyPeers)
    }

    /// The reason with this number on the wire.
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Fenced,
            2 => Self::NameTaken,
            3 => Self::TooManyPeers,
            4 => Self::Invalid,
            5 => Self::Outdated,
            _ => return None,
        })
    }
}

/// What happened, and what helps. Where a link can be closed for the same reason, in the same words.
impl fmt::Display for AttachRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced => CloseCode::Fenced.fmt(f),
            Self::NameTaken => CloseCode::NameTaken.fmt(f),
            Self::TooManyPeers => CloseCode::TooManyPeers.fmt(f),
            Self::Invalid => f.write_str(
                "what it says of itself contradicts itself: a defect of one of the two programs, \
                 report it",
            ),
            Self::Outdated => {
                f.write_str("a later attachment of this instance is in use: nothing is to be done")
            }
        }
    }
}

impl Value for AttachRefusal {
    fn write(&self, out: &mut ValueWriter<'_>) {
        out.uint(*self as u64);
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self, WireError> {
        let number = u8::read(input)?;
        Self::from_u8(number).ok_or(WireError::BadField("reason"))
    }
}

/// Unbinds an instance from the link. Downwards it says that the hub is lost, until it is found
/// again, who is known to be gone, or who came over another link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detach {
    /// The instance.
    pub instance: InstanceId,
    /// Whether the instance has ended; else it will come back.
    pub gone: bool,
    /// Downwards, the attachment by which the instance came over another link.
    pub moved: Option<u64>,
}

impl Detach {
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

impl Record for Detach {
    fn write(&self, map: &mut MapWriter<'_>) {
        map.field(1, &self.instance);
        map.field(2, &self.gone);
        map.optional(3, &self.moved);
    }

    fn read(map: &mut MapReader<'_, '_>) -> Result<Self, WireError> {
        Ok(Self {
            instance: map.field(1)?,
            gone: map.field(2)?,
            moved: map.optional(3)?,
        })
    }
}
