//! The sans-IO core of Switchboard: messages between the processes of one application, as a pure
//! state machine.
//!
//! A [`Node`] is what one process is to the others. It opens no socket, reads no clock, starts no
//! thread and draws no entropy: a *driver* tells it what the world did and does what it asks for.
//! Drivers for event loops and executors come with `switchboard-mio`, `switchboard-smol` and
//! `switchboard-stdio`; use this crate to write another one, or to put whole networks of nodes into
//! a test.
//!
//! # The contract
//!
//! | calls | who makes them | what they promise |
//! |---|---|---|
//! | [`handle_read`], [`handle_written`], [`handle_hangup`], [`handle_timeout`], [`add_link`], [`dial_failed`] | the driver, when something happened | Each takes the present [`Instant`]. A handle of something that has ended is an error, never a panic. Whatever bytes a peer sends, only its own link or conversation suffers. |
//! | [`send`], [`request`], [`reply`], [`cancel`], [`open`], [`declare`], ... | the application | `Ok` means accepted into a bounded buffer. A refusal gives the whole message back, with its attachments, and names the limit. |
//! | [`recv`] | the application | Takes the next message of a namespace; that gives its sender credit again. |
//! | [`poll`] | the driver, after every input, until it is [`Output::Idle`] | What must happen next. An output that is dropped is lost. |
//! | [`write_batch`] and all getters | anyone | Change nothing. |
//!
//! - **Time** is an integer that the driver fills from a monotonic clock. Only `handle_timeout` lets
//!   deadlines pass, so read every ready link before it: an answer that is already in the socket is
//!   seen before its deadline. After `handle_timeout(t)` the next wake is later than `t`. Time that
//!   runs backwards stands still, and is counted.
//! - **Writing**: [`Output::Write`] says once that a plan is committed; `write_batch` lends it, and
//!   it stays as it is until `handle_written` has accounted for all of it. Hand the slices and the
//!   attachments to one system call and report what that took: what to send again, and with which
//!   attachments, the node knows. One of [`Written::Blocked`] is tried again when the socket takes
//!   bytes.
//! - **Reading**: give every read as it came: its bytes, its attachments and whether the kernel cut
//!   attachments off, in one [`Read`]. Two reads must not be merged.
//! - **Attachments** are of any type `F`: `OwnedFd` on unix sockets, [`Infallible`] where there are
//!   none. They are moved in, lent to a write, kept until the receiver's node has its own, and moved
//!   out; they are never cloned here.
//! - **Replay**: the same seeds and the same calls give the same outputs, byte for byte; [`trace`]
//!   records a node and runs it again.
//!
//! # A driver
//!
//! As small as one can be: two nodes in one process, with a buffer for each direction in place of
//! the socket.
//!
//! ```
//! use std::convert::Infallible;
//! use switchboard_proto::*;
//!
//! type Peer = Node<Infallible>;
//!
//! /// Does what the node asks for. What it writes goes into `wire`.
//! fn drive(node: &mut Peer, now: Instant, wire: &mut Vec<u8>, events: &mut Vec<Event<Infallible>>) {
//!     loop {
//!         match node.poll() {
//!             Output::Write(link) => {
//!                 let batch = node.write_batch(link).expect("its plan is committed");
//!                 // One writev; there are no attachments here.
//!                 batch.slices().for_each(|slice| wire.extend_from_slice(slice));
//!                 let wrote = Written::Wrote(batch.len());
//!                 node.handle_written(now, link, wrote).expect("the link is there");
//!             }
//!             Output::Event(event) => events.push(event),
//!             Output::Dial(_) | Output::Close(_) => unreachable!("nobody dials, nobody closes"),
//!             // A real driver sleeps now, until a socket is ready or this wake has come, and calls
//!             // `handle_timeout` then.
//!             Output::Idle(_wake) => return,
//!         }
//!     }
//! }
//!
//! let now = Instant::ZERO; // nanoseconds of a monotonic clock
//! let mut config = Config::default();
//! let mut member = Peer::new(config.clone(), &Seeds { behaviour: [1; 32] }, now)?;
//! config.role = Role::Hub;
//! let mut hub = Peer::new(config, &Seeds { behaviour: [2; 32] }, now)?;
//! let link = |origin| LinkConfig { origin, medium: Medium::Local, attachments: false };
//! let at_hub = hub.add_link(now, link(LinkOrigin::Accepted));
//! let at_member = member.add_link(now, link(LinkOrigin::Inherited));
//!
//! // The hub answers requests named `add`; the member makes one before it is even attached.
//! let namespace = hub.open(now, "_")?;
//! let names = Names { handlers: ["add".into()].into(), ..Names::default() };
//! hub.declare(now, namespace, names)?;
//! let question = Message {
//!     target: Target::Hub,
//!     namespace: member.open(now, "_")?,
//!     event: "add".into(),
//!     codec: codec::CodecId::CBOR.0,
//!     payload: codec::encode(codec::CodecId::CBOR, &(2, 3))?.into(),
//!     attachments: Vec::new(),
//! };
//! let asked = member.request(now, question, RequestOptions::default()).map_err(|it| it.reason)?;
//!
//! let mut events = Vec::new();
//! let answer = loop {
//!     let (mut to_hub, mut to_member) = (Vec::new(), Vec::new());
//!     drive(&mut member, now, &mut to_hub, &mut events);
//!     drive(&mut hub, now, &mut to_member, &mut Vec::new());
//!     let read = |bytes: Vec<u8>| Read {
//!         bytes: bytes[..].into(),
//!         attachments: Vec::new(),
//!         truncated: false,
//!     };
//!     hub.handle_read(now, at_hub, read(to_hub))?;
//!     member.handle_read(now, at_member, read(to_member))?;
//!     while let Some(request) = hub.recv(now, namespace) {
//!         let (a, b): (i32, i32) = codec::decode(codec::CodecId(request.codec), &request.payload)?;
//!         let DeliveryKind::Request { ticket, .. } = request.kind else { continue };
//!         let codec = request.codec;
//!         let payload = codec::encode(codec::CodecId(codec), &(a + b))?.into();
//!         hub.reply(now, ticket, Answer::value(codec, payload))?;
//!     }
//!     let ended = events.drain(..).find_map(|event| match event {
//!         Event::Outcome { request, outcome } if request == asked => Some(outcome),
//!         _ => None,
//!     });
//!     if let Some(Outcome::Reply { codec, payload, .. }) = ended {
//!         break codec::decode::<i32>(codec::CodecId(codec), &payload)?;
//!     }
//! };
//! assert_eq!(answer, 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! - `std` (default): nothing in the node needs it; without it the crate is `no_std` with `alloc`.
//! - `json`: the JSON codec.
//! - `sim`: a deterministic world of many nodes, for tests.
//!
//! The bytes between two nodes are specified in `PROTOCOL.md`; [`wire`] encodes and decodes them.
//!
//! [`Infallible`]: core::convert::Infallible
//! [`add_link`]: Node::add_link
//! [`cancel`]: Node::cancel
//! [`declare`]: Node::declare
//! [`dial_failed`]: Node::dial_failed
//! [`handle_hangup`]: Node::handle_hangup
//! [`handle_read`]: Node::handle_read
//! [`handle_timeout`]: Node::handle_timeout
//! [`handle_written`]: Node::handle_written
//! [`open`]: Node::open
//! [`poll`]: Node::poll
//! [`recv`]: Node::recv
//! [`reply`]: Node::reply
//! [`request`]: Node::request
//! [`send`]: Node::send
//! [`write_batch`]: Node::write_batch
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
mod relay;
mod rising_map;
mod rng;
mod run_map;
mod short_queue;
#[cfg(feature = "sim")]
pub mod sim;
mod spool;
mod stats;
mod talk;
mod time;
mod timers;
pub mod trace;
pub mod wire;

pub use config::{Config, ConfigError, ConfigValue, Reconnect, Role};
pub use group::{Peer, Presence, Roster};
pub use id::*;
pub use inbox::{DeclareError, NameError, Names};
pub use link::{Medium, WriteBatch, WriteMisuse, Written};
pub use message::*;
pub use node::*;
pub use output::*;
pub use stats::Stats;
pub use time::Instant;
