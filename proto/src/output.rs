//! What a node asks of its driver, and what it tells the application.

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{
    Generation, InstanceId, LinkId, MessageId, NamespaceId, PeerId, RequestId, Ticket,
};
use crate::message::{Fate, Outcome, Target};
use crate::time::Instant;
use crate::wire::CloseCode;

/// An attempt to reach the hub, which the driver makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DialId(pub u64);

/// What must happen next. Poll until [`Output::Idle`].
#[derive(Debug)]
#[must_use = "an output that is dropped is lost: a write or an event never happens"]
pub enum Output<F> {
    /// Something that the application may want to know.
    Event(Event<F>),
    /// Connect to the hub, then call `add_link` with this attempt, or `dial_failed`.
    Dial(DialId),
    /// A plan is committed: write `write_batch(link)` and account for it with `handle_written`.
    /// Said once for each plan.
    Write(LinkId),
    /// Close the connection of this link; the link is gone.
    Close(LinkId),
    /// Nothing to do until an input comes, or until this wake.
    Idle(Option<Wake>),
}

/// When `handle_timeout` wants to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake {
    /// The moment.
    pub at: Instant,
    /// What for; for people who wonder why a process wakes up.
    pub reason: &'static str,
}

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<F> {
    /// This node has an identity: it is attached to a hub. Said again, while it is attached, when it
    /// is given another: the former turned out to have been another process's under an earlier hub.
    Connected {
        /// Its id.
        id: PeerId,
        /// Its generation.
        generation: Generation,
        /// Whether the id differs from the one that it had before.
        id_changed: bool,
    },
    /// The link to the hub has ended.
    Disconnected(Disconnect),
    /// The hub is another one than before.
    HubChanged,
    /// The hub was dialled and cannot be reached; the next attempt follows after the delay.
    Reconnecting {
        /// Number of the next attempt, from 1.
        attempt: u32,
        /// The delay before it.
        after: Duration,
    },
    /// No further attempt is made to reach the hub.
    GaveUp,
    /// The hub holds this node for gone; it begins anew as another instance.
    Fenced,
    /// The hub refused this node. It is asked again by the rules of `Config::reconnect`, which
    /// [`Event::Reconnecting`] tells; over a link that was there from the beginning only where the
    /// reason [may pass](crate::wire::AttachRefusal::may_pass).
    AttachRefused(crate::wire::AttachRefusal),
    /// The roster names everybody who lives.
    RosterComplete,
    /// A peer is there, and its declarations are in.
    PeerUp {
        /// Its id.
        id: PeerId,
        /// Its generation.
        generation: Generation,
    },
    /// A peer goes by another id or generation from now on: what it went by turned out to have been
    /// another process's under an earlier hub. It is the same process, and nothing that was sent to
    /// it or received from it is affected.
    PeerChanged {
        /// Its id.
        id: PeerId,
        /// Its generation.
        generation: Generation,
        /// What it went by until now: the identity of its last event.
        was: (PeerId, Generation),
    },
    /// A peer's link is lost; it may come back.
    PeerDetached {
        /// Its id.
        id: PeerId,
        /// Its generation.
        generation: Generation,
    },
    /// A peer has ended.
    PeerGone {
        /// Its id.
        id: PeerId,
        /// Its generation.
        generation: Generation,
    },
    /// `recv` has something in this namespace. Said once until it is empty again.
    Incoming(NamespaceId),
    /// The one outcome of a request of this node.
    Outcome {
        /// The request.
        request: RequestId,
        /// Its outcome.
        outcome: Outcome<F>,
    },
    /// What became of an event that wanted a receipt, was refused, or whose receiver ended.
    Fate {
        /// The event.
        message: MessageId,
        /// Its fate.
        fate: Fate<F>,
    },
    /// The requester does not want the answer any more, or has ended.
    Cancelled(Ticket),
    /// A send to this target was refused as full; half of the buffer is free again.
    Sendable(Target),
    /// A link has ended for a fault of its peer, or of its peer's making.
    LinkClosed {
        /// The link.
        link: LinkId,
        /// Why.
        code: CloseCode,
        /// Whether the peer closed it.
        by_peer: bool,
    },
    /// The hub knows all that this node has said that it handles, see [`Node::is_announced`].
    ///
    /// [`Node::is_announced`]: crate::Node::is_announced
    Announced,
    /// A peer broke the rules of its conversation with this node, or says that this node did, and that
    /// has ended it: requests of it have their outcome, messages under way to it their fate, what is
    /// sent to it is refused as `SendRefusal::PeerFault`, and what it sends is dropped. A peer that
    /// breaks those of its conversation with the hub is gone for all.
    PeerFault {
        /// The peer's instance.
        instance: InstanceId,
        /// Which rule.
        rule: &'static str,
    },
    /// The clock was found to be this much beyond the announced wake: the process was stopped, or
    /// the machine slept. Peers are not judged before they could be heard.
    Jumped(Duration),
    /// What was left to drain is delivered, or the drain's time is over.
    Drained {
        /// Whether everything was taken.
        clean: bool,
    },
}

/// Why the link to the hub has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disconnect {
    /// The hub closed it and said why.
    Closed(CloseCode),
    /// The connection ended without a word. On a local link that is the death of the hub.
    Lost,
    /// The hub broke the protocol.
    Fault(CloseCode),
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(code) => write!(f, "the hub closed it: {code}"),
            Self::Lost => f.write_str("the hub has ended, or the connection to it broke"),
            Self::Fault(code) => write!(f, "the hub broke the protocol: {code}"),
        }
    }
}
