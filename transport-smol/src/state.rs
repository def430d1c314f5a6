//! What happens to a peer and around it, as a stream.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;
use switchboard_proto::wire::{AttachRefusal, Refusal};
use switchboard_proto::{
    Disconnect, Event, Fate, Generation, InstanceId, MessageId, PeerId, SendRefusal, Target,
};

use crate::queue::Queue;

/// News that a stream holds for its reader; then the oldest give way.
const MOST_NEWS: usize = 1024;

/// Something that happened to a peer or around it.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The hub does not take this peer.
    Refused(AttachRefusal),
    /// The roster names everybody who lives.
    RosterComplete,
    /// A peer is there, and its declarations are in.
    PeerUp(PeerId, Generation),
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
    PeerDetached(PeerId, Generation),
    /// A peer has ended.
    PeerGone(PeerId, Generation),
    /// An event that was accepted was not delivered, so far as this peer can know.
    Undelivered {
        /// The event, as its `emit` returned it.
        message: MessageId,
        /// Why; `None` where it was handed to a link and the receiver ended before it said that it
        /// took it.
        reason: Option<Refusal>,
    },
    /// One of the receivers of an event to many goes without: there was no room for its copy here.
    NotAccepted {
        /// The event, as its `emit` returned it.
        message: MessageId,
        /// Whose copy.
        to: Target,
        /// Why; it names the limit and its value.
        reason: SendRefusal,
    },
    /// Another peer broke the rules of its conversation; what it sends is dropped from now on.
    PeerFault {
        /// The peer's instance.
        instance: InstanceId,
        /// Which rule.
        rule: &'static str,
    },
    /// The process was stopped for this long, or the machine slept.
    Jumped(Duration),
    /// Something went wrong from which the peer goes on by itself, in words.
    Fault(String),
}

/// The stream of [`Peer::state`](crate::Peer::state). Ends when the peer is closed.
///
/// It holds 1,024 items for its reader; of more the oldest give way, and [`States::lost`] counts
/// them.
#[must_use = "a stream does nothing unless it is read"]
pub struct States {
    queue: Queue<State>,
    // Dropped after the queue says that nobody reads it.
    _peer: crate::Peer,
}

/// Those who listen for news.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    queues: Vec<Queue<State>>,
    ended: bool,
}

impl States {
    pub(crate) fn new(queue: Queue<State>, peer: crate::Peer) -> Self {
        Self { queue, _peer: peer }
    }

    /// How many items gave way because they were not read.
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }
}

impl Stream for States {
    type Item = State;

    /// Cancel-safe: an item that was not returned stays.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<State>> {
        self.queue.poll_next(cx, MOST_NEWS).0
    }
}

impl Drop for States {
    fn drop(&mut self) {
        let rest: VecDeque<State> = self.queue.drop_reader();
        drop(rest);
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").finish_non_exhaustive()
    }
}

impl Watchers {
    pub(crate) fn add(&mut self) -> Queue<State> {
        let queue = Queue::new();
        if self.ended {
            // Nobody waits for a queue that was just made.
            let _ = queue.end();
        }
        self.queues.push(queue.clone());
        queue
    }

    /// Tells everybody; returns whom to wake.
    pub(crate) fn tell(&mut self, state: &State) -> Vec<Waker> {
        self.queues.retain(|queue| !queue.is_dropped());
        let all = self.queues.iter();
        all.filter_map(|queue| queue.push_over(state.clone(), MOST_NEWS))
            .collect()
    }

    pub(crate) fn end(&mut self) -> Vec<Waker> {
        self.ended = true;
        self.queues.iter().filter_map(Queue::end).collect()
    }
}

impl State {
    pub(crate) fn of_event(event: &Event<OwnedFd>) -> Option<Self> {
        Some(match event {
            Event::Connected {
                id,
                generation,
                id_changed,
            } => Self::Connected {
                id: *id,
                generation: *generation,
                id_changed: *id_changed,
            },
            Event::Disconnected(cause) => Self::Disconnected(*cause),
            Event::HubChanged => Self::HubChanged,
            Event::Reconnecting { attempt, after } => Self::Reconnecting {
                attempt: *attempt,
                after: *after,
            },
            Event::GaveUp => Self::GaveUp,
            Event::Fenced => Self::Fenced,
            Event::AttachRefused(reason) => Self::Refused(*reason),
            Event::RosterComplete => Self::RosterComplete,
            Event::PeerUp { id, generation } => Self::PeerUp(*id, *generation),
            Event::PeerChanged {
                id,
                generation,
                was,
            } => Self::PeerChanged {
                id: *id,
                generation: *generation,
                was: *was,
            },
            Event::PeerDetached { id, generation } => Self::PeerDetached(*id, *generation),
            Event::PeerGone { id, generation } => Self::PeerGone(*id, *generation),
            Event::PeerFault { instance, rule } => Self::PeerFault {
                instance: *instance,
                rule,
            },
            Event::Jumped(by) => Self::Jumped(*by),
            Event::LinkClosed { code, by_peer, .. } => Self::Fault(match by_peer {
                true => format!("the other end closed a connection: {code}"),
                false => format!("a connection was closed: {code}"),
            }),
            _ => return None,
        })
    }

    /// What there is to say of an event that nobody waits for.
    pub(crate) fn of_fate(message: MessageId, fate: &Fate<OwnedFd>) -> Option<Self> {
        let reason = match fate {
            Fate::Refused { reason, .. } => Some(*reason),
            Fate::NotAccepted { to, reason } => {
                return Some(Self::NotAccepted {
                    message,
                    to: to.clone(),
                    reason: reason.clone(),
                });
            }
            Fate::Unconfirmed => None,
            Fate::Delivered | Fate::Handled | Fate::HandlerFailed => return None,
        };
        Some(Self::Undelivered { message, reason })
    }
}
