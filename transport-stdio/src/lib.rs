//! Child processes as peers of a Switchboard application: started with a channel, supervised,
//! reached by name.
//!
//! ```no_run
//! use switchboard_stdio::{Restart, Spawn};
//!
//! # #[cfg(feature = "blocking")] {
//! let child = Spawn::new("worker").restart(Restart::on_failure(5)).spawn()?;
//! let area: f64 = child.request("area", &(3.0, 4.0)).wait()?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Spawn::spawn`] gives the child a node of its own, which the waiting caller drives.
//! [`Spawn::spawn_on`] makes it one more peer of a node that the application drives already:
//! `spawn_on(&mut board)`, `spawn_on(&peer)`, of either driver, be the node the hub or a member.
//!
//! What happens to the child is told by its handle, the [`Child`], as [`ChildEvent`]s: its start, its
//! attachment, its end with code or signal and its last words, its restart, and why there is none.
//! The decisions (when to restart, how to stop) are a state machine of its own in [`supervise`].
//!
//! # The child
//!
//! A Rust child takes its channel with `switchboard_stdio::parent()`, `Board::parent()` or
//! `Peer::parent()`. Call it first thing in `main`: from then on whatever prints cannot harm a frame.
//! When the parent ends or lets it go, `serve()` returns.
//!
//! # What is kept to
//!
//! - An exit is known in milliseconds, also where a grandchild holds the channel open, and all that
//!   the child wrote before it is read first. Each request has one outcome.
//! - No zombie and no orphan: a child is reaped by the time its end is told, and neither outlives
//!   its handle ([`OnDrop`]), nor the parent ([`ParentDeath`]).
//! - A child that floods its stderr, says nothing, or says something else than the protocol holds up
//!   nobody, and is reported with what it said.
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
pub use switchboard_os::engine::Adopt;
pub use switchboard_os::process::{Channel, Exit, OnDrop, ParentDeath, SpawnError, Stderr};
