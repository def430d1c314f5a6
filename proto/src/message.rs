//! What the application sends and receives.

use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;
use core::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{Generation, InstanceId, MessageId, NamespaceId, PeerId, PeerName, Ticket};
use crate::wire::Refusal;

/// For whom a message is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// The peer that has this id now. Refused at once where nobody has it.
    Peer(PeerId),
    /// The peer with this id in this generation only.
    Exact(PeerId, Generation),
    /// The peer that has this name, or the next one that will have it.
    Named(PeerName),
    /// The peer with this name in this generation only.
    NamedExact(PeerName, Generation),
    /// The hub of the application.
    Hub,
    /// The process that started this one.
    Parent,
    /// For a request: one peer that has a handler for the name, the one with the fewest requests
    /// of this node pending, of those the lowest id. Not for messages: use [`Target::Listeners`].
    Any,
    /// Every other peer that listens for the name.
    Listeners,
    /// Every other peer.
    Everyone,
    /// A union of targets, of which each receiver gets one copy. Not for requests.
    #[serde(with = "crate::trace::shared")]
    Many(Arc<Audience>),
}

impl Target {
    /// Whether both are the same, quick where they are the ones that come most.
    #[inline]
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Hub, Self::Hub) => true,
            (Self::Peer(id), Self::Peer(other)) => id == other,
            _ => self == other,
        }
    }
}

/// The receivers of one event, where a single [`Target`] cannot say it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audience {
    /// Whoever one of these means. No [`Target::Many`] and no [`Target::Any`] among them.
    pub targets: Vec<Target>,
    /// Who gets none, whatever the targets say.
    pub except: Vec<PeerId>,
    /// Whether this node is one of [`Target::Everyone`] and [`Target::Listeners`].
    pub include_self: bool,
}

/// A message of the application. A refused one comes back whole.
#[derive(Debug)]
pub struct Message<F> {
    /// For whom it is.
    pub target: Target,
    /// The namespace, from `Node::open`.
    pub namespace: NamespaceId,
    /// The event's name, 1 to 255 bytes without NUL.
    pub event: Cow<'static, str>,
    /// The codec of the payload.
    pub codec: u8,
    /// The payload, as encoded by that codec.
    pub payload: Bytes,
    /// Handles to move to the receiver, on one machine.
    pub attachments: Vec<F>,
}

/// What the sender wants to know of an event's fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Receipt {
    /// Nothing, unless it is refused or the receiver ends.
    #[default]
    None,
    /// The receiving application took it.
    Delivered,
    /// Its handler returned `Ok`.
    Handled,
}

/// How an event is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SendOptions {
    /// What to report of its fate.
    pub receipt: Receipt,
    /// After how long it is given up. Default: never.
    pub expires: Option<Duration>,
    /// Whether attachments may wait for a peer that is not ready; refused otherwise.
    pub queue_attachments: bool,
    /// Whether an event to everyone comes to this node too.
    pub include_self: bool,
}

/// How a request is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestOptions {
    /// From the acceptance by this node, queueing included. `None`: the default of the namespace
    /// or of the node. `Duration::MAX`: no deadline. Zero is refused.
    pub deadline: Option<Duration>,
    /// Whether attachments may wait for a peer that is not ready; refused otherwise.
    pub queue_attachments: bool,
}

/// Why a message was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SendRefusal {
    /// The buffer for this receiver, or that of the node, is full. `Event::Sendable` says when to
    /// try again.
    #[error("the send buffer is full: wait for `Sendable`, or raise `{limit}` (now {value})")]
    Full {
        /// The limit that was reached.
        limit: &'static str,
        /// Its value.
        value: u64,
    },
    /// Larger than the receiver accepts.
    #[error(
        "message of {size} bytes is larger than the receiver's limit of {limit}: raise its \
         `message_cap`, or send parts"
    )]
    TooLarge {
        /// Bytes of the message.
        size: u64,
        /// What the receiver accepts.
        limit: u64,
    },
    /// The event's name is empty, longer than 255 bytes, or contains NUL.
    #[error("this cannot be an event name: it has 1 to 255 bytes and no NUL")]
    BadName,
    /// The namespace was never opened on this node.
    #[error("the namespace was not opened on this node: open it first")]
    UnknownNamespace,
    /// No peer has this id, or this name in this generation.
    #[error("no such peer: look at the roster, or send to a name, which waits for it")]
    NoSuchPeer,
    /// No peer has a handler for the name, and none will declare one unasked.
    #[error("no peer handles this name: look at what the peers have declared")]
    NoHandler,
    /// The deadline is zero.
    #[error("a deadline of zero leaves no time to run: use `Duration::MAX` for none")]
    ZeroDeadline,
    /// Attachments travel to one receiver only.
    #[error("attachments travel to one receiver, not to many: send to each, with duplicates")]
    AttachmentsToMany,
    /// More attachments than a message may have, or than may be on their way to one receiver.
    #[error(
        "{count} attachments are more than `{limit}` allows ({value}): send fewer, or raise it"
    )]
    TooManyAttachments {
        /// Attachments of the message.
        count: usize,
        /// The limit that was reached.
        limit: &'static str,
        /// Its value.
        value: usize,
    },
    /// A link on the way cannot carry attachments.
    #[error(
        "attachments cannot reach this peer, a link on the way is no unix socket: send without \
         them, or join by a unix socket"
    )]
    AttachmentsUnsupported,
    /// The peer is not ready, so it is unknown when the attachments would leave this process.
    #[error("the peer is not ready: queue the attachments only if that may take long")]
    AttachmentsNotReady,
    /// An attachment is one of this node's own connections; told by the driver, which alone can see
    /// that. In its own queue, a socket would keep itself alive.
    #[error(
        "an attachment is a connection of this node itself, which can never be sent: send another \
         descriptor"
    )]
    OwnDescriptor,
    /// The peer broke the rules of its conversation with this node, so that nothing it says of what
    /// it received can be believed; or it says so of this node. It can be reached again when one of
    /// both has joined as a new instance.
    #[error(
        "the peer or this node broke the rules of their conversation: one of both has to start again"
    )]
    PeerFault,
    /// This target cannot be asked: a request goes to one peer.
    #[error("a request goes to one peer: name one, or ask each")]
    NotOnePeer,
    /// This node was closed.
    #[error("this node is closed: make another one")]
    Closed,
}

/// A message that was not accepted, whole, and why.
#[derive(Debug)]
pub struct SendError<F> {
    /// Why.
    pub reason: SendRefusal,
    /// The message with its attachments.
    pub message: Message<F>,
}

impl<F> fmt::Display for SendError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

/// The bytes of a received payload. Up to 64 bytes lie in it; larger ones are shared.
#[derive(Clone)]
pub struct Payload(Repr);

#[derive(Clone)]
enum Repr {
    Inline(u8, [u8; Payload::INLINE]),
    Shared(Bytes),
}

impl Payload {
    /// The largest payload that needs no memory of its own.
    pub const INLINE: usize = 64;

    /// A payload with a copy of these bytes.
    pub fn copy_from(bytes: &[u8]) -> Self {
        if bytes.len() <= Self::INLINE {
            let mut inline = [0; Self::INLINE];
            inline[..bytes.len()].copy_from_slice(bytes);
            Self(Repr::Inline(bytes.len() as u8, inline))
        } else {
            Self(Repr::Shared(Bytes::copy_from_slice(bytes)))
        }
    }

    /// A payload with a copy of `bytes[start..end]`, or of as much of it as there is.
    #[inline]
    pub(crate) fn copy_within(bytes: &[u8], start: usize, end: usize) -> Self {
        let rest = bytes.get(start..).unwrap_or_default();
        let len = end.saturating_sub(start).min(rest.len());
        match rest.first_chunk() {
            // A copy of a fixed length costs less than one of the right length; what lies behind is
            // never shown.
            Some(inline) if len <= Self::INLINE => Self(Repr::Inline(len as u8, *inline)),
            _ => Self::copy_from(&rest[..len]),
        }
    }

    /// The bytes, shared where they are large.
    pub fn to_bytes(&self) -> Bytes {
        match &self.0 {
            Repr::Inline(len, bytes) => Bytes::copy_from_slice(&bytes[..usize::from(*len)]),
            Repr::Shared(bytes) => bytes.clone(),
        }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        match bytes.len() <= Self::INLINE {
            true => Self::copy_from(&bytes),
            false => Self(Repr::Shared(bytes)),
        }
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline(len, bytes) => &bytes[..usize::from(*len)],
            Repr::Shared(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sender {
    /// The sender's instance.
    pub instance: InstanceId,
    /// Its id and generation, where this node has seen it in the roster.
    pub peer: Option<(PeerId, Generation)>,
}

/// `3#7`, or the instance where this node has not seen the sender in the roster.
impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer {
            Some((id, generation)) => write!(f, "{id}#{generation}"),
            None => write!(f, "instance {}", self.instance),
        }
    }
}

/// What the application receives.
#[derive(Debug)]
pub struct Delivery<F> {
    /// Who sent it.
    pub from: Sender,
    /// The namespace.
    pub namespace: NamespaceId,
    /// The event's name.
    pub event: Arc<str>,
    /// The codec of the payload.
    pub codec: u8,
    /// The payload.
    pub payload: Payload,
    /// Handles that came with it. They are the receiver's now.
    pub attachments: Vec<F>,
    /// Whether handles were sent with it that did not arrive.
    pub attachments_lost: bool,
    /// Whether it wants an answer.
    pub kind: DeliveryKind,
}

/// Whether a delivery wants an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryKind {
    /// An event. With a ticket, its sender wants to know whether the handler returned `Ok`.
    Event(Option<Ticket>),
    /// A request, to be answered with `Node::reply`.
    Request {
        /// What the reply is for.
        ticket: Ticket,
        /// How long the requester will still wait; `None` for as long as it takes.
        remaining: Option<Duration>,
    },
}

/// The answer to a request, or to an event that wants to be known as handled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer<F> {
    /// The handler returned `Ok` with this value.
    Reply {
        /// The codec of the payload.
        codec: u8,
        /// The encoded value.
        #[serde(with = "crate::trace::byte_string")]
        payload: Bytes,
        /// Handles that go with it: moved, and closed here when the requester's node has them.
        attachments: Vec<F>,
    },
    /// The handler failed or panicked.
    Failed(Failure),
    /// The handler certainly never started.
    NotRun(Refusal),
}

impl<F> Answer<F> {
    /// A value without attachments.
    pub fn value(codec: u8, payload: Bytes) -> Self {
        Self::Reply {
            codec,
            payload,
            attachments: Vec::new(),
        }
    }

    /// Nothing but that the handler returned `Ok`: the answer to an event.
    pub fn nothing() -> Self {
        Self::value(crate::codec::CodecId::RAW.0, Bytes::new())
    }

    /// The handles that go with it.
    pub fn attachments(&self) -> &[F] {
        match self {
            Self::Reply { attachments, .. } => attachments,
            Self::Failed(_) | Self::NotRun(_) => &[],
        }
    }
}

/// An answer that was not taken; it comes back whole.
#[derive(Debug)]
pub struct ReplyError<F> {
    /// Why.
    pub reason: ReplyRefusal,
    /// The answer.
    pub answer: Answer<F>,
}

impl<F> fmt::Display for ReplyError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl<F: fmt::Debug> core::error::Error for ReplyError<F> {}

/// Why an answer was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ReplyRefusal {
    /// The ticket was answered before, or its requester has ended.
    #[error(
        "nobody waits for this answer any more: it was given before, or its requester has ended"
    )]
    Stale,
    /// The attachments cannot go to the requester. Its ticket still waits for an answer.
    #[error(transparent)]
    Attachments(SendRefusal),
}

/// How a handler failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Failure {
    /// The handler's own code; 0 where it gave none.
    pub code: i32,
    /// What went wrong, for people.
    pub message: alloc::string::String,
    /// A longer text, such as a stack; may be empty.
    pub detail: alloc::string::String,
}

/// The one outcome of a request.
#[derive(Debug)]
pub enum Outcome<F> {
    /// The handler returned this.
    Reply {
        /// The codec of the payload.
        codec: u8,
        /// The encoded value.
        payload: Payload,
        /// Handles that came with it.
        attachments: Vec<F>,
        /// Whether handles were sent with it that did not arrive.
        attachments_lost: bool,
    },
    /// The handler failed or panicked.
    Failed(Failure),
    /// The request was certainly never started.
    NotRun {
        /// Why.
        reason: Refusal,
        /// The request, where it was still whole in this node.
        message: Option<Message<F>>,
    },
    /// The request may have run.
    Unknown(UnknownCause),
}

/// Why nobody knows whether a request has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownCause {
    /// The peer ended.
    PeerGone,
    /// The deadline passed after it was handed to a link.
    Deadline,
    /// The requester cancelled it after it was handed to a link.
    Cancelled,
    /// The peer broke the rules of its conversation with this node, or says that this node did.
    PeerFault,
    /// This node was closed, or fenced.
    Closed,
}

impl fmt::Display for UnknownCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PeerGone => "the peer has ended",
            Self::Deadline => "no answer before the deadline",
            Self::Cancelled => "it was cancelled on its way",
            Self::PeerFault => "the peer or this node broke the rules of their conversation",
            Self::Closed => "this peer was closed",
        })
    }
}

/// What became of an event that was accepted.
#[derive(Debug)]
pub enum Fate<F> {
    /// The receiving application took it.
    Delivered,
    /// Its handler returned `Ok`.
    Handled,
    /// Its handler failed.
    HandlerFailed,
    /// The receiver's node refused it, or it never left this one.
    Refused {
        /// Why.
        reason: Refusal,
        /// The message, where it was still whole in this node.
        message: Option<Message<F>>,
    },
    /// Of an event to many: this node did not accept the copy for one of the receivers. The others
    /// have theirs. Where room is wanting, `Event::Sendable` follows for `to`.
    NotAccepted {
        /// Whose copy.
        to: Target,
        /// Why; it names the limit and its value.
        reason: SendRefusal,
    },
    /// It was handed to a link, and the receiver ended, or broke the rules of the conversation,
    /// before it said that it took it.
    Unconfirmed,
}

/// A message that is known to this node.
pub type Accepted = MessageId;
