//! What one can subscribe to: handlers, events one by one, and the state of the peer.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use switchboard_os::app::{self, Arrived, MOST_STATES, RegisterError, State, Sub, received};
use switchboard_proto::registry::Roles;

use super::Peer;
use super::handler::{Callee, Run};
use super::shared::Inner;

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

/// The states of a peer, one by one: an iterator that waits; from [`Peer::state`]. It ends when the
/// peer is closed. It keeps the peer alive.
///
/// It holds 1,024 items for its reader; of more the oldest give way, and [`States::lost`] counts
/// them.
#[derive(Debug)]
pub struct States {
    peer: Peer,
    number: u64,
}

/// All who read states.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    next: u64,
    all: Vec<Watcher>,
}

/// One of them.
#[derive(Debug)]
struct Watcher {
    number: u64,
    states: VecDeque<State>,
    /// States that gave way to later ones.
    lost: u64,
}

impl Watchers {
    pub(super) fn push(&mut self, state: &State) {
        for Watcher { states, lost, .. } in &mut self.all {
            if states.len() == MOST_STATES {
                states.pop_front();
                *lost += 1;
            }
            states.push_back(state.clone());
        }
    }

    fn add(&mut self) -> u64 {
        self.next += 1;
        self.all.push(Watcher {
            number: self.next,
            states: VecDeque::new(),
            lost: 0,
        });
        self.next
    }

    fn pop(&mut self, number: u64) -> Option<State> {
        let mut all = self.all.iter_mut();
        all.find(|one| one.number == number)?.states.pop_front()
    }

    fn lost(&self, number: u64) -> u64 {
        let mut all = self.all.iter();
        all.find(|one| one.number == number)
            .map_or(0, |one| one.lost)
    }

    fn remove(&mut self, number: u64) {
        self.all.retain(|one| one.number != number);
    }
}

impl States {
    pub(super) fn new(peer: &Peer) -> Self {
        Self {
            peer: peer.clone(),
            number: peer.shared().operate(|inner| inner.watchers.add()),
        }
    }

    /// How many items gave way because they were not read.
    pub fn lost(&self) -> u64 {
        let shared = self.peer.shared();
        shared.look(|inner| inner.watchers.lost(self.number))
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
