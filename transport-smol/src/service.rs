//! What has come for this peer's application, and in whose turn it is taken.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::Waker;

use switchboard_os::app::{self, Arrived};
use switchboard_os::engine::Engine;
use switchboard_proto::NamespaceId;
use switchboard_proto::registry::SubId;

use crate::handler::AnyHandler;
use crate::queue::Queue;

/// Events that a stream holds for its reader; beyond that its namespace is not read on.
pub(crate) const STREAM_EVENTS: usize = 256;

pub(crate) type Callee = app::Callee<Run>;
pub(crate) type Job = app::Job<Run>;

/// Registrations, and what has come for them.
#[derive(Default)]
pub(crate) struct Service {
    registered: app::Service<Run>,
    /// Namespaces in which something waits to be taken.
    incoming: VecDeque<NamespaceId>,
    streams: Vec<(NamespaceId, Queue<Arc<Arrived>>)>,
    /// Whether the driver has no room for more at the moment.
    saturated: bool,
}

pub(crate) enum Run {
    Handler(Box<dyn AnyHandler>),
    Stream(Queue<Arc<Arrived>>),
}

impl Service {
    /// Adds a stream, which may hold its namespace back.
    pub(crate) fn add_stream(&mut self, namespace: NamespaceId, queue: Queue<Arc<Arrived>>) {
        self.streams.push((namespace, queue));
    }

    /// Takes one out; it comes back, to be dropped when no lock is held.
    pub(crate) fn remove(
        &mut self,
        engine: &mut Engine,
        namespace: NamespaceId,
        id: SubId,
        callee: &Callee,
    ) -> app::Former<Run> {
        let former = self.registered.remove(engine, namespace, id, callee);
        self.streams.retain(|(_, queue)| !queue.is_dropped());
        former
    }

    pub(crate) fn incoming(&mut self, namespace: NamespaceId) {
        if !self.incoming.contains(&namespace) {
            self.incoming.push_back(namespace);
        }
    }

    /// Whether the driver could take something.
    pub(crate) fn has_incoming(&self) -> bool {
        !self.saturated && !self.incoming.is_empty()
    }

    /// Takes at most `room` messages, in turns of the namespaces.
    pub(crate) fn take(&mut self, engine: &mut Engine, room: usize, jobs: &mut Vec<Job>) {
        let mut left = room;
        let mut held = VecDeque::new();
        self.saturated = false;
        while let Some(namespace) = self.incoming.pop_front() {
            if self.is_paused(namespace) {
                held.push_back(namespace);
                continue;
            }
            if left == 0 {
                self.saturated = true;
                self.incoming.push_front(namespace);
                break;
            }
            let delivery = engine.recv(namespace);
            if let Some(delivery) = delivery {
                left -= 1;
                // To its end: another namespace has its turn first.
                self.incoming.push_back(namespace);
                jobs.extend(self.registered.job(engine, delivery));
            }
        }
        // These wait for their readers, which wake the driver.
        self.saturated |= self.incoming.is_empty() && !held.is_empty();
        self.incoming.append(&mut held);
    }

    /// Nothing more will come. Returns whom to wake.
    pub(crate) fn end(&mut self) -> Vec<Waker> {
        self.incoming.clear();
        let mut wakers = self.registered.end();
        let streams = self.streams.drain(..);
        wakers.extend(streams.filter_map(|(_, queue)| queue.end()));
        wakers
    }

    /// Whether a reader there is so far behind that reading on would only fill memory: the senders
    /// to this namespace feel it instead.
    fn is_paused(&self, namespace: NamespaceId) -> bool {
        let mut there = self.streams.iter().filter(|(at, _)| *at == namespace);
        there.any(|(_, queue)| queue.is_full(STREAM_EVENTS))
    }
}

impl Deref for Service {
    type Target = app::Service<Run>;

    fn deref(&self) -> &app::Service<Run> {
        &self.registered
    }
}

impl DerefMut for Service {
    fn deref_mut(&mut self) -> &mut app::Service<Run> {
        &mut self.registered
    }
}
