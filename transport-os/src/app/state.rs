//! What happens to a peer and around it.

use std::sync::Arc;
use std::time::Duration;

use switchboard_proto::wire::{AttachRefusal, CloseCode};
use switchboard_proto::{Disconnect, Event, Fate, Generation, InstanceId, MessageId, PeerId};

use crate::Attachment;
use crate::engine::EngineFault;

/// How many states are held for somebody who does not read them; then the oldest give way.
pub const MOST_STATES: usize = 1024;

/// Something that happened to a peer or around it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum State {
    /// The peer is attached to a hub, or is one.
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
    /// The hub cannot be reached; the next attempt follows after the delay.
    Reconnecting {
        /// Number of the next attempt, from 1.
        attempt: u32,
        /// The delay before it.
        after: Duration,
    },
    /// No further attempt is made to reach the hub.
    GaveUp,
    /// The hub held this peer for gone; it has begun anew as another instance.
    Fenced,
    /// The hub was reached and does not take this peer; the reason says what helps. It is tried
    /// again by the rules of `Config::reconnect`.
    Refused(AttachRefusal),
    /// The roster names everybody who lives.
    RosterComplete,
    /// The hub knows all that this peer has said that it handles. What is sent from then on comes to
    /// nobody before the news of that.
    Announced,
    /// A peer is there, and its declarations are in.
    PeerUp {
        /// Its id.
        id: PeerId,
        /// Its generation.
        generation: Generation,
    },
    /// A peer goes by another id or generation from now on: what it went by turned out to have been
    /// another process's under an earlier hub. It is the same process.
    PeerChanged {
        /// Its id.
        id: PeerId,
        /// Its generation.
        generation: Generation,
        /// What it went by until now.
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
    /// Another peer broke the rules of its conversation; what it sends is dropped from now on.
    PeerFault {
        /// The peer's instance.
        instance: InstanceId,
        /// Which rule.
        rule: &'static str,
    },
    /// A connection has ended for a fault of the process at its other end, or of ours.
    LinkClosed {
        /// Why.
        code: CloseCode,
        /// Whether the other end closed it.
        by_peer: bool,
    },
    /// The process was stopped for this long, or the machine slept.
    Jumped(Duration),
    /// What became of an event that nobody waits for: it was refused, did not reach one of its
    /// receivers, is not known to have arrived, or has the receipt that it asked for.
    Fate {
        /// The event, as it was told when it was sent.
        message: MessageId,
        /// Its fate, with the message where it is still whole.
        fate: Arc<Fate<Attachment>>,
    },
    /// Something went wrong outside of the protocol, from which the peer goes on by itself.
    Fault(Arc<EngineFault>),
}

impl State {
    /// What an event of the node is to those who watch the peer. `None` where it concerns one message
    /// or one caller.
    pub fn of(event: &Event<Attachment>) -> Option<Self> {
        Some(match *event {
            Event::Connected {
                id,
                generation,
                id_changed,
            } => Self::Connected {
                id,
                generation,
                id_changed,
            },
            Event::Disconnected(cause) => Self::Disconnected(cause),
            Event::HubChanged => Self::HubChanged,
            Event::Reconnecting { attempt, after } => Self::Reconnecting { attempt, after },
            Event::GaveUp => Self::GaveUp,
            Event::Fenced => Self::Fenced,
            Event::AttachRefused(reason) => Self::Refused(reason),
            Event::RosterComplete => Self::RosterComplete,
            Event::Announced => Self::Announced,
            Event::PeerUp { id, generation } => Self::PeerUp { id, generation },
            Event::PeerChanged {
                id,
                generation,
                was,
            } => Self::PeerChanged {
                id,
                generation,
                was,
            },
            Event::PeerDetached { id, generation } => Self::PeerDetached { id, generation },
            Event::PeerGone { id, generation } => Self::PeerGone { id, generation },
            Event::PeerFault { instance, rule } => Self::PeerFault { instance, rule },
            Event::LinkClosed { code, by_peer, .. } => Self::LinkClosed { code, by_peer },
            Event::Jumped(by) => Self::Jumped(by),
            _ => return None,
        })
    }
}
