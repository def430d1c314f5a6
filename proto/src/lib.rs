//! The sans-IO core of Switchboard.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub mod codec;
mod config;
pub mod fault;
pub mod group;
mod hub;
mod id;
mod inbox;
mod link;
mod message;
pub mod name;
mod node;
pub mod outgoing;
mod output;
pub mod registry;
mod rng;
#[cfg(feature = "sim")]
pub mod sim;
mod stats;
mod talk;
mod time;
mod timers;
pub mod trace;
pub mod wire;

pub use config::{Config, ConfigError, FirstContact, Reconnect, Role};
pub use group::{Peer, Presence, Roster};
pub use id::*;
pub use inbox::{DeclareError, NameError, Names};
pub use link::{Medium, WriteBatch, WriteMisuse, Written};
pub use message::*;
pub use node::*;
pub use output::*;
pub use stats::Stats;
pub use time::Instant;
