//! Who and what: the identifiers of peers, links, messages and flows.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use serde::{Deserialize, Serialize};

/// The random 64-bit identity of one life of one node. Frames are addressed by it, so a retained
/// frame is valid on any later link, whoever the hub is.
///
/// [`InstanceId::NONE`] (zero) stands on the wire for "this link" and for rooms; no node has it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct InstanceId(pub u64);

impl InstanceId {
    /// The address of link-local frames and of rooms.
    pub const NONE: Self = Self(0);

    /// Whether this is [`InstanceId::NONE`].
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The small number by which people know a peer, from 1. It comes back to a restarted process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PeerId(pub u32);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How often an id has been given out; it rises with each restart. `3#7` reads "peer 3,
/// generation 7".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A peer's name (`worker/3`): 1 to 64 bytes of UTF-8 without NUL, cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerName(Arc<str>);

impl PeerName {
    /// The longest name, in bytes.
    pub const MAX: usize = 64;

    /// Checks the name. `None` when it is empty, too long, or contains NUL or `#` (which separates
    /// a name from a generation).
    pub fn new(name: &str) -> Option<Self> {
        let fits = !name.is_empty() && name.len() <= Self::MAX;
        let clean = !name.bytes().any(|b| b == 0 || b == b'#');
        (fits && clean).then(|| Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<PeerName> for String {
    fn from(name: PeerName) -> Self {
        Self::from(&*name.0)
    }
}

impl TryFrom<String> for PeerName {
    type Error = PeerNameError;

    fn try_from(name: String) -> Result<Self, PeerNameError> {
        Self::new(&name).ok_or(PeerNameError)
    }
}

/// A text that cannot be a [`PeerName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a peer's name has 1 to 64 bytes of UTF-8 without NUL and `#`")]
pub struct PeerNameError;

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A link of this node. Generational: an id is never used for another link, so a stale one is an
/// error and never somebody else's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl LinkId {
    /// A small number for tables of the driver; reused after the link's end, unlike the id.
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// A message accepted by this node. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub u64);

/// A request made by this node. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// A request that somebody made of this node and that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ticket(pub u64);

/// One namespace of this node, in the order in which they were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NamespaceId(pub u32);
