//! What one can subscribe to: handlers, events one by one, and the state of the peer.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use switchboard_os::app::{self, Arrived, RegisterError, Sub, received};
use switchboard_os::engine::EngineFault;
use switchboard_proto::registry::Roles;
use switchboard_proto::wire::AttachRefusal;
use switchboard_proto::{Disconnect, Event, Fate, Generation, MessageId, PeerId};

use super::Peer;
use super::handler::{Callee, Run};
use super::shared::Inner;

/// How many states are kept for somebody who does not read them.
const STATES: usize = 256;
/// How many events are taken out of the node for somebody who does not read them.
const EVENTS: usize = 1024;

/// One event of [`Peer::events`], with a value of type `M`.
pub type Received<M> = switchboard_os::app::Received<Peer, M>;

/// Events with values of type `M`, one by one: an iterator that waits; from [`Peer::events`] and
/// [`Peer::events_of`]. It ends when the peer is closed. It keeps the peer alive.
///
/// It holds 1,024 events for its reader. Beyond that nothing more is taken for anybody of this peer,
/// so the senders wait and nothing is lost. Whoever stops reading drops it.
#[derive(Debug)]
pub struct Events<M> {
    peer: Peer,
    queue: Arc<Queue>,
    sub: Sub,
    types: PhantomData<fn() -> M>,
}

/// What waits for one [`Events`].
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<VecDeque<Arc<Arrived>>>);

impl Queue {
    pub(super) fn push(&self, event: Arc<Arrived>) {
        self.lock().push_back(event);
    }

    pub(super) fn is_full(&self) -> bool {
        self.lock().len() >= EVENTS
    }

    fn pop(&self) -> Option<Arc<Arrived>> {
        self.lock().pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Arrived>>> {
        // Only moves run under it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Events<M> {
    pub(super) fn new(peer: &Peer, name: Option<&str>) -> Self {
        let queue = Arc::new(Queue::default());
        let callee = Callee::new(Run::Queue(Arc::clone(&queue)), false);
        let sub = peer.enlist(callee, |inner, callee| {
            inner.queues.retain(|queue| queue.strong_count() > 0);
            inner.queues.push(Arc::downgrade(&queue));
            let (namespace, callee) = (peer.namespace, Arc::clone(callee));
            inner.registrations(|service, engine| match name {
                Some(name) => {
                    let place = app::Place {
                        namespace,
                        name,
                        roles: Roles::EVENTS,
                        replace: false,
                    };
                    service.register(engine, place, callee)
                }
                None => {
                    let id = service.listen_all(engine, namespace, callee);
                    id.map(|id| (id, None))
                }
            })
        });
        Self {
            peer: peer.clone(),
            queue,
            sub,
            types: PhantomData,
        }
    }

    /// Why nothing will ever come: the name cannot be one, or there are too many.
    pub fn refused(&self) -> Option<&RegisterError> {
        self.sub.refused()
    }

    /// The next event, at most after this long.
    pub fn next_within(&mut self, time: Duration) -> Option<Received<M>> {
        self.wait(Instant::now().checked_add(time))
    }

    fn wait(&self, until: Option<Instant>) -> Option<Received<M>> {
        if self.refused().is_some() {
            return None;
        }
        let queue = &self.queue;
        let next = |inner: &mut Inner| {
            if let Some(event) = queue.pop() {
                return Some(Some(event));
            }
            inner.pull_all();
            match queue.pop() {
                None => inner.is_closed().then_some(None),
                event => Some(event),
            }
        };
        let next = self.peer.wait(until, next).flatten();
        next.map(|event| received(self.peer.clone(), event))
    }
}

impl<M> Iterator for Events<M> {
    type Item = Received<M>;

    fn next(&mut self) -> Option<Received<M>> {
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
