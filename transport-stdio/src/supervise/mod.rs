//! Keeping a child running, and ending it: the decisions, without a process or a clock.
//!
//! A [`Supervisor`] is told what happened to a child (it was spawned, it exited, its link closed,
//! time passed) and says what to do about it (spawn, signal, reap, give up). It makes no system call
//! and reads no clock: the driver brings `now` with every input and carries out the [`Action`]s,
//! which makes every sequence of crashes and delays a test without a process.
//!
//! The life of a child under it:
//!
//! ```text
//!            +------------------ restart, after its delay -----------------+
//!            v                                                             |
//!  start -> Spawn -> runs -> exits -> drain the link -> sweep the group -> Reap -> Ended
//!                      |       ^
//!                      +-------+ stop: CloseLink, wait, TERM the group, wait, KILL the group
//! ```
#![forbid(unsafe_code)]

mod restart;
mod stop;
mod supervisor;

pub use restart::{Backoff, Budget, Restart, RestartWhen};
pub use stop::StopLadder;
pub use supervisor::{Action, Ending, GaveUp, Misuse, RunEnd, StopSignal, Supervisor};
