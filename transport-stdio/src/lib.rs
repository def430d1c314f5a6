//! Child processes as peers of a Switchboard application: started with a channel, supervised,
//! reached by name.
//!
//! [`Spawn`] describes a child. [`Spawn::spawn_on`] starts it as one more peer of a node that the
//! application drives already (`&mut Board`, `&Peer`).
//!
//! What happens to the child is told by its handle, the [`Child`], as [`ChildEvent`]s. The decisions
//! (when to restart, how to stop) are a state machine of its own in [`supervise`].
//!
//! # The child
//!
//! A Rust child takes its channel with `Board::parent()` or `Peer::parent()`. Call it first thing in
//! `main`: from then on whatever prints cannot harm a frame.
#![forbid(unsafe_code)]
#![allow(
    clippy::result_large_err,
    reason = "errors that carry what was refused are made once, at the start of a child"
)]

#[cfg(feature = "blocking")]
mod blocking;
mod child;
mod event;
mod shared;
mod spawn;
mod stderr;
pub mod supervise;
mod supervision;

#[cfg(feature = "blocking")]
pub use blocking::{ChildPeer, parent};
pub use child::Child;
pub use event::{ChildEvent, Disconnected, Exited, LinkFault};
pub use spawn::{Spawn, StartError};
pub use stderr::StderrLine;
pub use supervise::{Backoff, Budget, Restart, StopLadder};
pub use supervision::Supervision;
pub use switchboard_os::engine::{Adopt, NotTheHub};
pub use switchboard_os::process::{Channel, Exit, OnDrop, ParentDeath, SpawnError, Stderr};
