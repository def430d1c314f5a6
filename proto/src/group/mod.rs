//! The members' side: what every node knows of who is there.

pub(crate) mod declarations;
pub(crate) mod fences;
pub(crate) mod known;
mod roster;

pub(crate) use roster::RosterChange;
pub use roster::{Peer, Presence, Roster};
