//! Switchboard for programs that poll: a [`Board`] that lives inside your own event loop, and a
//! blocking handle, [`Peer`], for programs without one.
//!
//! # Inside your own loop
//!
//! A board is one descriptor, whatever happens inside. Register it, wait at most
//! [`Board::timeout`], [`drive`](Board::drive) it, and take what came:
//!
//! ```no_run
//! use mio::{Events, Interest, Poll, Token};
//! use switchboard_mio::{Board, Incoming};
//!
//! let mut board = Board::join("unix:/run/user/1000/demo.sock")?;
//! let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(64));
//! poll.registry().register(&mut board, Token(0), Interest::READABLE)?;
//! loop {
//!     poll.poll(&mut events, board.timeout())?;
//!     board.drive()?;
//!     while let Some(incoming) = board.poll_incoming() {
//!         match incoming {
//!             Incoming::Request(request) => request.reply(&mut board, Ok(&"done"))?,
//!             other => println!("{other:?}"),
//!         }
//!     }
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Without a loop
//!
//! [`Board::blocking`] makes a [`Peer`] of it: `Clone`, `Send`, `Sync`. Whoever waits drives the
//! board; there is no thread behind it unless [`Peer::spawn`] is called.
//!
//! ```no_run
//! use std::time::Duration;
//! use switchboard_mio::{Board, name::Call};
//!
//! const ADD: Call<(i32, i32), i32> = Call::new("math.add");
//!
//! let peer = Board::join("unix:/run/user/1000/demo.sock")?.blocking();
//! let sum: i32 = peer
//!     .request(ADD, &(2, 3))
//!     .deadline(Duration::from_millis(200))
//!     .wait()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Dropping a board or the last handle of a peer says goodbye as far as that needs no waiting, and
//! closes; who wants everything delivered drains before.
//!
//! # Where to go on
//!
//! - [`Board::request`], [`Board::emit`]: targets, deadlines, receipts, descriptors; what is refused
//!   comes back in a [`SendError`]. [`Incoming`]: all that a board has to say.
//! - [`Peer::on`]: handlers of the blocking handle; whoever waits runs them.
//! - [`Builder`]: a name, limits, names that are declared before the first message. [`Config`]: every
//!   limit with its unit and default.
//! - [`Board::drain`] and [`Board::close`]: the end.
//!
//! # The same words in `switchboard-smol`
//!
//! [`Peer`] has the verbs of the async one, and [`SendError`], [`RequestError`], [`ConnectionError`],
//! [`State`], [`Sub`], [`Stats`] and the events of [`Peer::events`] are the same types. What differs has
//! its reason in who waits:
//!
//! | here | there | why |
//! |---|---|---|
//! | `request(..).wait()`, `emit(..).wait()` | `.await` | a thread waits |
//! | `.send()`, then [`Pending`] | `.try_send()`, then `Reply` | without waiting for room, in both |
//! | [`Peer::connected`], [`Peer::announced`] take a time | no time | a future can be given up, a thread cannot |
//! | [`Peer::serve`], [`Peer::spawn`] | `Driver`, `Builder::split` | who runs the handlers |
//! | [`Peer::cork`] | none | a burst is gathered by the driver there |
//! | [`Events`], [`States`] are iterators | streams | |
//!
//! Child processes as peers come with `switchboard-stdio`, futures with `switchboard-smol`.

#![forbid(unsafe_code)]

mod board;
mod builder;
mod error;
mod incoming;
mod outgoing;
mod peer;
mod poller;

pub use board::Board;
pub use builder::Builder;
pub use error::{ReplyError, UnknownTicket};
pub use incoming::{Incoming, IncomingEvent, IncomingRequest, ReplyOutcome};
pub use outgoing::{Emit, Request};
pub use peer::{
    BlockingEmit, BlockingRequest, Cork, Cx, Events, Handler, Peer, Pending, Received, States,
};

pub use switchboard_os::app::{
    Answered, BadName, ConnectionError, FromReply, HandlerStats, JoinError, OfContext, OfMessage,
    Reason, RegisterError, RequestError, SendError, State, Stats, Sub,
};
pub use switchboard_os::engine::{Actor, Adopt, EngineFault, EngineStats, Side};
pub use switchboard_os::process::InheritError;
pub use switchboard_os::{
    Address, AddressError, Attachment, ConnectError, IntoAttachment, ListenError, SharedFd, Stream,
    ToAddress,
};
pub use switchboard_proto::codec::{self, Raw, Value};
pub use switchboard_proto::fault::{Fault, FaultError};
pub use switchboard_proto::name;
pub use switchboard_proto::outgoing::{Everyone, Hub, IntoTargets, Parent, TargetError, Targets};
pub use switchboard_proto::wire::{AttachRefusal, Refusal};
pub use switchboard_proto::{
    Config, Disconnect, Fate, Generation, InstanceId, LinkId, Message, MessageId, NamespaceId,
    PeerId, PeerName, Receipt, Reconnect, ReplyRefusal, RequestId, Roster, SendOptions,
    SendRefusal, Sender, Target, Ticket, UnknownCause,
};
