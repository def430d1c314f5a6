//! What the table answers, and what follows for others.

use crate::id::{Generation, InstanceId, PeerId, PeerName};
use crate::time::Instant;
use crate::wire::{Attach, AttachRefusal, AttachRefused, RosterGone};

/// What an attachment was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// The id of the instance.
    pub(crate) id: PeerId,
    /// Its generation.
    pub(crate) generation: Generation,
    /// Its name: the one it asked for or has had from before.
    pub(crate) name: Option<PeerName>,
    /// Whether it declared another id.
    pub(crate) id_changed: bool,
    /// Whether it was living here before: the attachment replaces an older one of its own.
    pub(crate) resumed: bool,
    /// The former holder of the name, which handed it over and is gone.
    pub(crate) replaced: Option<InstanceId>,
}

/// Why an instance is not attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A later attachment of the instance is in use.
    Outdated,
    /// The instance is gone.
    Fenced {
        /// The highest generation of its id that is gone; 0 where the id is not known.
        generation: Generation,
    },
    /// A living instance has the name.
    NameTaken {
        /// The generation of the holder.
        generation: Generation,
        /// Where the holder is detached: when it will be gone if it does not come back.
        until: Option<Instant>,
    },
    /// As many peers as there may be.
    TooManyPeers,
    /// The declaration contradicts itself or names what no hub gives out.
    Invalid,
}

impl Refusal {
    /// The frame that tells the member.
    pub(crate) fn answer(&self, attach: &Attach) -> AttachRefused {
        let (reason, generation) = match *self {
            Self::Outdated => (AttachRefusal::Outdated, Generation::default()),
            Self::Fenced { generation } => (AttachRefusal::Fenced, generation),
            Self::NameTaken { generation, .. } => (AttachRefusal::NameTaken, generation),
            Self::TooManyPeers => (AttachRefusal::TooManyPeers, Generation::default()),
            Self::Invalid => (AttachRefusal::Invalid, Generation::default()),
        };
        AttachRefused {
            instance: attach.instance,
            counter: attach.counter,
            reason,
            generation,
        }
    }
}

/// What became of an instance whose link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It may come back within its grace.
    Detached,
    /// It is gone: its link was local, where the end of the link is its death.
    Gone,
    /// It was not living here.
    Unknown,
}

/// Why an instance is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GoneCause {
    /// It ended or its local link did.
    Ended,
    /// It did not come back within its grace.
    Expired,
    /// A member holds it for gone.
    Declared,
    /// It handed its name over to a newcomer.
    Replaced,
}

/// What follows for others. To be taken with [`IdentityTable::poll`](super::IdentityTable::poll) after every call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdentityEffect {
    /// The instance is gone, for all and for good.
    Gone {
        /// Who.
        peer: RosterGone,
        /// Why.
        cause: GoneCause,
    },
    /// The instance has another generation: its former one turned out to be spent by an earlier
    /// life of the application.
    Raised {
        /// Who.
        instance: InstanceId,
        /// Its id, as before.
        id: PeerId,
        /// Its generation from now on.
        generation: Generation,
    },
}
