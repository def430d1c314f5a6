//! Switchboard for async programs: named events, requests with one truthful outcome, and file
//! descriptors, between the processes of one application.
//!
//! ```no_run
//! use switchboard_smol::{Call, join};
//!
//! const ADD: Call<(i32, i32), i32> = Call::new("math.add");
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let peer = join("unix:/run/user/1000/demo.sock").await?;
//! peer.on(ADD, async |(a, b): (i32, i32)| Ok(a + b)).forever();
//! let sum: i32 = peer.request(ADD, &(2, 3)).to("worker/1").await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`listen`] is the hub at an address, [`join`] a member that never becomes one. Both run their
//! [`Driver`] on smol's global executor (feature `smol`, on by default); [`Builder::split`] hands it to
//! the caller instead and spawns nothing. Futures of this crate work under any executor, tokio's
//! included, and under a bare `block_on`: what waits for sockets and time is async-io's reactor,
//! which has a thread of its own where nobody else turns it.
//!
//! An operation writes to its socket inline, in the caller's own task, and a future that waits for its
//! reply reads in it: no other task is on the way. Dropping never waits, never panics and needs no executor.
//!
//! # Where to go on
//!
//! - [`Peer::request`] and [`Peer::emit`]: targets, deadlines, receipts, descriptors, and what an
//!   error gives back. Each future says what dropping it means.
//! - [`Peer::on`]: handlers, what they may return, and [`Cx`] for those who want to know who asks.
//! - [`Peer::events`]: events as a stream, without a handler. [`Peer::state`]: who comes and goes, and
//!   what happens to the connection.
//! - [`builder`]: a name, limits, handlers that are there before the first message, and nodes without
//!   an address. [`Config`]: every limit with its unit and default.
//! - [`Peer::drain`] and [`Peer::close`]: the end.
//!
//! Child processes as peers come with `switchboard-stdio`, a poll loop and blocking calls with
//! `switchboard-mio`.

#![forbid(unsafe_code)]

mod builder;
mod cx;
mod dispatch;
mod driver;
mod emit;
mod events;
mod handler;
mod lead;
mod ops;
mod outbound;
mod peer;
mod pump;
mod queue;
mod request;
mod service;
mod shared;
mod sources;
mod state;
mod tasks;
mod wakeups;

pub use builder::{Builder, builder};
pub use cx::{Cancelled, Cx};

pub use driver::Driver;
pub use emit::{Emit, Sending};
pub use events::{Events, Received};
pub use handler::Handler;
pub use peer::Peer;
pub use request::{Reply, Request};
pub use state::States;

pub use switchboard_os::app::{
    Answered, BadName, ConnectionError, FromReply, HandlerStats, JoinError, OfContext, OfMessage,
    Reason, RegisterError, RequestError, SendError, State, Stats, Sub,
};
pub use switchboard_os::engine::{EngineFault, Side};
pub use switchboard_os::{Address, Attachment, IntoAttachment, SharedFd, ToAddress};
pub use switchboard_proto::codec::{Codec, CodecError, CodecId, CodecTable, Raw, Value};
pub use switchboard_proto::fault::Fault;
pub use switchboard_proto::name::{Call, CallName, Event, EventName, HandlerName};
pub use switchboard_proto::outgoing::{Everyone, Hub, IntoTargets, Parent, TargetError, Targets};
pub use switchboard_proto::wire::{AttachRefusal, Refusal};
pub use switchboard_proto::{
    Config, Disconnect, Fate, Generation, MessageId, Peer as PeerInfo, PeerId, Presence, Receipt,
    Reconnect, SendOptions, SendRefusal, Sender, Target, UnknownCause,
};

/// Becomes the hub at this address, with the driver on smol's global executor.
///
/// Cancel-safe: dropping the future leaves nothing behind.
///
/// # Errors
///
/// The address is none, or cannot be listened at.
#[cfg(feature = "smol")]
pub async fn listen(address: impl ToAddress) -> Result<Peer, JoinError> {
    builder(address).listen().await
}

/// Joins the hub at this address, with the driver on smol's global executor. A hub that is not there
/// yet is waited for.
///
/// Cancel-safe: dropping the future leaves nothing behind.
///
/// # Errors
///
/// The address is none, or the hub refuses this peer.
#[cfg(feature = "smol")]
pub async fn join(address: impl ToAddress) -> Result<Peer, JoinError> {
    builder(address).join().await
}

/// As [`join`], without waiting: the peer is not yet connected, and what is sent before is queued.
///
/// # Errors
///
/// The address is none.
#[cfg(feature = "smol")]
pub fn open(address: impl ToAddress) -> Result<Peer, JoinError> {
    builder(address).open()
}
