//! What one can subscribe to: handlers, events one by one, and the state of the peer.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use switchboard_os::app::RegisterError;
use switchboard_os::engine::EngineFault;
use switchboard_proto::codec::{CodecError, CodecId, Decode};
use switchboard_proto::registry::SubId;
use switchboard_proto::wire::AttachRefusal;
use switchboard_proto::{
    Disconnect, Event, Fate, Generation, MessageId, NamespaceId, Payload, PeerId, Sender,
};

use super::Peer;
use super::handler::Callee;
use super::shared::{Inner, Roles, Shared};

/// How many states are kept for somebody who does not read them.
const STATES: usize = 256;
/// How many events are taken out of the node for somebody who does not read them.
const EVENTS: usize = 1024;

/// A registered handler. Dropping it takes the handler out; what is running finishes.
#[must_use = "the handler is taken out when this is dropped: keep it, or say `.forever()`"]
pub struct Sub {
    shared: Weak<Shared>,
    namespace: NamespaceId,
    ids: Vec<SubId>,
    answers: bool,
    refused: Option<RegisterError>,
}

impl Sub {
    /// `answers`: whether it is the one that answers requests.
    pub(super) fn new(
        shared: &Arc<Shared>,
        namespace: NamespaceId,
        registered: Result<(Vec<SubId>, bool), RegisterError>,
    ) -> Self {
        let (registered, refused) = match registered {
            Ok(registered) => (registered, None),
            Err(error) => ((Vec::new(), false), Some(error)),
        };
        Self {
            shared: Arc::downgrade(shared),
            namespace,
            ids: registered.0,
            answers: registered.1,
            refused,
        }
    }

    /// Keeps the handler for as long as the peer lives.
    pub fn forever(mut self) {
        self.ids.clear();
    }

    /// Takes the handler out now: no call begins after this. What is running finishes.
    pub fn cancel(self) {}

    /// Whether this handler answers requests of its name. Of several handlers registered with `on`
    /// for one string, only the first does; the others hear the events.
    pub fn answers_requests(&self) -> bool {
        self.answers
    }

    /// Why the handler was not registered at all: the name is a `Call` that has a handler already
    /// ([`RegisterError::HandlerExists`]), or cannot be a name.
    pub fn refused(&self) -> Option<&RegisterError> {
        self.refused.as_ref()
    }

    /// This registration, or why there is none.
    ///
    /// # Errors
    ///
    /// As [`Sub::refused`].
    pub fn checked(mut self) -> Result<Self, RegisterError> {
        match self.refused.take() {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }
}

impl Drop for Sub {
    fn drop(&mut self) {
        if self.ids.is_empty() {
            return;
        }
        if let Some(shared) = self.shared.upgrade() {
            let removed = shared.operate(|inner| inner.remove(self.namespace, &self.ids));
            // Not under the lock: what a handler captured may do anything when it is dropped.
            drop(removed);
        }
    }
}

impl fmt::Debug for Sub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sub")
            .field("answers_requests", &self.answers)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

/// An event that was taken one by one.
#[derive(Clone, Debug)]
pub struct Received {
    pub(super) from: Sender,
    pub(super) name: Arc<str>,
    pub(super) codec: CodecId,
    pub(super) payload: Payload,
}

/// Events one by one: an iterator that waits. It ends when the peer is closed. It keeps the peer
/// alive.
#[derive(Debug)]
pub struct Events {
    peer: Peer,
    queue: Arc<Queue>,
    _sub: Sub,
}

/// What waits for one [`Events`].
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<VecDeque<Received>>);

impl Queue {
    pub(super) fn push(&self, event: Received) {
        self.lock().push_back(event);
    }

    pub(super) fn is_full(&self) -> bool {
        self.lock().len() >= EVENTS
    }

    fn pop(&self) -> Option<Received> {
        self.lock().pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Received>> {
        // Only moves run under it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Received {
    /// Who sent it.
    pub fn from(&self) -> Sender {
        self.from
    }

    /// The event's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value.
    ///
    /// # Errors
    ///
    /// It is of another type, or in a codec that is not there.
    pub fn decode<M: Decode>(&self, peer: &Peer) -> Result<M, CodecError> {
        let codecs = &peer.shared().codecs;
        codecs.decode(self.codec, &self.name, &self.payload)
    }
}

impl Events {
    pub(super) fn new(peer: &Peer, name: Option<&str>) -> Result<Self, RegisterError> {
        let queue = Arc::new(Queue::default());
        let callee = Callee::Queue(Arc::clone(&queue));
        let namespace = peer.namespace();
        let ids = peer.shared().operate(|inner| {
            inner.queues.retain(|queue| queue.strong_count() > 0);
            inner.queues.push(Arc::downgrade(&queue));
            match name {
                Some(name) => {
                    let roles = Roles {
                        events: true,
                        requests: false,
                        replace: false,
                    };
                    let registered = inner.register(namespace, peer.shown(), name, callee, roles);
                    registered.map(|(ids, ..)| ids)
                }
                None => {
                    inner.declare_all_events(namespace)?;
                    Ok(inner.insert_all(peer.shown(), callee))
                }
            }
        })?;
        Ok(Self {
            peer: peer.clone(),
            queue,
            _sub: Sub::new(peer.shared(), namespace, Ok((ids, false))),
        })
    }

    /// The next event, at most after this long.
    pub fn next_within(&mut self, time: Duration) -> Option<Received> {
        self.wait(Instant::now().checked_add(time))
    }

    fn wait(&self, until: Option<Instant>) -> Option<Received> {
        let queue = &self.queue;
        let next = |inner: &mut Inner| {
            if let Some(event) = queue.pop() {
                return Some(Some(event));
            }
            inner.pull();
            match queue.pop() {
                None => inner.is_closed().then_some(None),
                event => Some(event),
            }
        };
        self.peer.wait(until, next).flatten()
    }
}

impl Iterator for Events {
    type Item = Received;

    fn next(&mut self) -> Option<Received> {
        self.wait(None)
    }
}

/// What happens to a peer's connection, and to others.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum State {
    /// It is attached to a hub.
    Connected {
        /// Its id.
        id: PeerId,
        /// Its generation.
        generation: Generation,
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
    /// The hub was reached and does not take this peer; the reason says what helps. It is tried
    /// again by the rules of `Config::reconnect`.
    Refused(AttachRefusal),
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
    /// A peer has ended.
    PeerDown {
        /// Its id.
        id: PeerId,
        /// Its generation.
        generation: Generation,
    },
    /// What became of an event that nobody waits for: it was refused, or is not known to have
    /// arrived.
    Fate {
        /// The event.
        message: MessageId,
        /// Its fate, with the message where it came back.
        fate: Arc<Fate<OwnedFd>>,
    },
    /// Something went wrong outside of the protocol; the peer goes on by itself.
    Fault(Arc<EngineFault>),
}

impl State {
    pub(super) fn of(event: &Event<OwnedFd>) -> Option<Self> {
        Some(match *event {
            Event::Connected { id, generation, .. } => Self::Connected { id, generation },
            Event::Disconnected(cause) => Self::Disconnected(cause),
            Event::HubChanged => Self::HubChanged,
            Event::AttachRefused(reason) => Self::Refused(reason),
            Event::Reconnecting { attempt, after } => Self::Reconnecting { attempt, after },
            Event::GaveUp => Self::GaveUp,
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
            Event::PeerGone { id, generation } => Self::PeerDown { id, generation },
            _ => return None,
        })
    }
}

/// The states of a peer, one by one: an iterator that waits. It ends when the peer is closed. It
/// keeps the peer alive.
#[derive(Debug)]
pub struct States {
    peer: Peer,
    number: u64,
}

/// All who read states.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    next: u64,
    all: Vec<(u64, VecDeque<State>)>,
}

impl Watchers {
    pub(super) fn push(&mut self, state: &State) {
        for (_, states) in &mut self.all {
            if states.len() == STATES {
                states.pop_front();
            }
            states.push_back(state.clone());
        }
    }

    fn add(&mut self) -> u64 {
        self.next += 1;
        self.all.push((self.next, VecDeque::new()));
        self.next
    }

    fn pop(&mut self, number: u64) -> Option<State> {
        let (_, states) = self.all.iter_mut().find(|(at, _)| *at == number)?;
        states.pop_front()
    }

    fn remove(&mut self, number: u64) {
        self.all.retain(|(at, _)| *at != number);
    }
}

impl States {
    pub(super) fn new(peer: &Peer) -> Self {
        Self {
            peer: peer.clone(),
            number: peer.shared().operate(|inner| inner.watchers.add()),
        }
    }

    /// The next state, at most after this long.
    pub fn next_within(&mut self, time: Duration) -> Option<State> {
        self.wait(Instant::now().checked_add(time))
    }

    fn wait(&self, until: Option<Instant>) -> Option<State> {
        let next = |inner: &mut Inner| match inner.watchers.pop(self.number) {
            None => inner.is_closed().then_some(None),
            state => Some(state),
        };
        self.peer.wait(until, next).flatten()
    }
}

impl Iterator for States {
    type Item = State;

    fn next(&mut self) -> Option<State> {
        self.wait(None)
    }
}

impl Drop for States {
    fn drop(&mut self) {
        let shared = self.peer.shared();
        shared.operate(|inner| inner.watchers.remove(self.number));
    }
}
