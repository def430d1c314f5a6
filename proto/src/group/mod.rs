//! The members' side: what every node knows of who is there.

pub(crate) mod declarations;
pub(crate) mod fences;
mod roster;

pub(crate) use roster::RosterChange;
pub use roster::{Peer, Presence, Roster};
