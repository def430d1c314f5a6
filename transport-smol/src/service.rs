//! What this peer's application is called for: who listens to what, and what has come.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use smallvec::SmallVec;
use switchboard_os::app::{Cancel, Circumstances, RegisterError};
use switchboard_os::engine::Engine;
use switchboard_proto::codec::CodecId;
use switchboard_proto::registry::{Registry, SubId};
use switchboard_proto::wire::Refusal;
use switchboard_proto::{
    Answer, Delivery, DeliveryKind, InstanceId, Names, NamespaceId, Payload, Ticket,
};

use crate::events::Arrived;
use crate::handler::AnyHandler;
use crate::queue::Queue;

/// Events that a stream holds for its reader; beyond that its namespace is not read on.
pub(crate) const STREAM_EVENTS: usize = 256;

/// Registrations, and what has come for them.
#[derive(Default)]
pub(crate) struct Service {
    registry: Registry<Entry>,
    /// Opened namespaces, by the name in the registry.
    names: HashMap<NamespaceId, Arc<str>>,
    /// Namespaces in which something waits to be taken.
    incoming: VecDeque<NamespaceId>,
    streams: Vec<(NamespaceId, Queue<Arrived>)>,
    cancels: HashMap<Ticket, Arc<Cancel>>,
    /// Whether the driver has no room for more at the moment.
    saturated: bool,
}

/// One registration: what is called, and in which order.
#[derive(Clone)]
pub(crate) struct Entry(pub(crate) Arc<Registered>);

pub(crate) struct Registered {
    pub(crate) run: Run,
    pub(crate) once: bool,
    /// Messages of one sender one after the other.
    pub(crate) ordered: bool,
    /// Its places in the registry: as a listener, and as the handler of requests.
    ids: OnceLock<SmallVec<[SubId; 2]>>,
    /// It was cancelled; what has begun finishes.
    pub(crate) removed: AtomicBool,
}

pub(crate) enum Run {
    Handler(Box<dyn AnyHandler>),
    Stream(Queue<Arrived>),
}

/// For what an entry is registered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roles {
    pub(crate) events: bool,
    pub(crate) requests: Requests,
}

/// What to do where requests of the name have a handler already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requests {
    /// Not asked for.
    None,
    /// Leave them to it, if there is another role; refuse otherwise.
    IfFree,
    /// Put the new one in its place.
    Replace,
}

/// One message, and whom to call for it.
pub(crate) struct Job {
    pub(crate) namespace: NamespaceId,
    pub(crate) namespace_name: Arc<str>,
    pub(crate) of: Circumstances,
    pub(crate) codec: CodecId,
    pub(crate) payload: Payload,
    pub(crate) calls: SmallVec<[Entry; 2]>,
    pub(crate) ticket: Option<Ticket>,
    /// Which queue it stands in, where an order is asked for.
    pub(crate) order: Option<OrderKey>,
}

pub(crate) type OrderKey = (InstanceId, NamespaceId, Arc<str>);

impl Entry {
    pub(crate) fn new(run: Run, once: bool, ordered: bool) -> Self {
        Self(Arc::new(Registered {
            run,
            once,
            ordered,
            ids: OnceLock::new(),
            removed: AtomicBool::new(false),
        }))
    }
}

impl Service {
    pub(crate) fn opened(&mut self, namespace: NamespaceId, name: &Arc<str>) {
        let known = self.names.entry(namespace);
        known.or_insert_with(|| Arc::clone(name));
    }

    /// Registers an entry and declares its name. What gives way comes back, to be dropped when no
    /// lock is held.
    pub(crate) fn register(
        &mut self,
        engine: &mut Engine,
        namespace: NamespaceId,
        name: &str,
        entry: &Entry,
        roles: Roles,
    ) -> (Result<bool, RegisterError>, Vec<Entry>) {
        let Some(space) = self.names.get(&namespace).cloned() else {
            let unknown = switchboard_proto::DeclareError::UnknownNamespace;
            return (Err(unknown.into()), Vec::new());
        };
        let mut ids = SmallVec::new();
        let mut former = Vec::new();
        let taken = self.registry.handler(&space, name).is_some();
        let answers = match roles.requests {
            Requests::None => false,
            Requests::IfFree if taken && !roles.events => {
                let name = name.to_owned();
                return (Err(RegisterError::HandlerExists { name }), former);
            }
            Requests::IfFree => !taken,
            Requests::Replace => true,
        };
        if answers {
            let (id, old) = self.registry.replace(&space, name, entry.clone());
            ids.push(id);
            if let Some(old) = old {
                former.extend(self.remove(&old));
                former.push(old);
            }
        }
        if roles.events {
            ids.push(self.registry.listen(&space, name, entry.clone()));
        }
        let declared = self.declare(engine, namespace, &space);
        // The entry is new, so nobody has set its places.
        let _ = entry.0.ids.set(ids);
        if let Err(error) = declared {
            former.extend(self.remove(entry));
            return (Err(error.into()), former);
        }
        (Ok(answers), former)
    }

    /// Registers a stream of one event, or of all of the namespace.
    pub(crate) fn register_stream(
        &mut self,
        engine: &mut Engine,
        namespace: NamespaceId,
        name: Option<&str>,
        entry: &Entry,
    ) -> Result<(), RegisterError> {
        let unknown = switchboard_proto::DeclareError::UnknownNamespace;
        let space = self.names.get(&namespace).cloned().ok_or(unknown)?;
        let id = match name {
            Some(name) => self.registry.listen(&space, name, entry.clone()),
            None => self.registry.listen_all(&space, entry.clone()),
        };
        let _ = entry.0.ids.set(SmallVec::from_slice(&[id]));
        if let Err(error) = self.declare(engine, namespace, &space) {
            self.remove(entry);
            return Err(error.into());
        }
        if let Run::Stream(queue) = &entry.0.run {
            self.streams.push((namespace, queue.clone()));
        }
        Ok(())
    }

    /// Takes an entry out of the registry; its copies there come back.
    pub(crate) fn remove(&mut self, entry: &Entry) -> Vec<Entry> {
        let ids = entry.0.ids.get().into_iter().flatten();
        ids.filter_map(|id| self.registry.remove(*id)).collect()
    }

    /// As [`Service::remove`], and says so to the others.
    pub(crate) fn unregister(
        &mut self,
        engine: &mut Engine,
        namespace: NamespaceId,
        entry: &Entry,
    ) -> Vec<Entry> {
        entry.0.removed.store(true, Ordering::Release);
        let removed = self.remove(entry);
        self.streams.retain(|(_, queue)| !queue.is_dropped());
        if let Some(space) = self.names.get(&namespace).cloned() {
            // Fewer names than before are never too many.
            let _ = self.declare(engine, namespace, &space);
        }
        removed
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
        let now = engine.now();
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
            let delivery = engine.node().recv(now, namespace);
            if let Some(delivery) = delivery {
                left -= 1;
                // To its end: another namespace has its turn first.
                self.incoming.push_back(namespace);
                if let Some(job) = self.job(engine, delivery) {
                    jobs.push(job);
                }
            }
        }
        // These wait for their readers, which wake the driver.
        self.saturated |= self.incoming.is_empty() && !held.is_empty();
        self.incoming.append(&mut held);
    }

    /// The requester of a running handler has no use for it any more. Returns whom to wake.
    pub(crate) fn cancelled(&mut self, ticket: Ticket) -> Vec<Waker> {
        let cancel = self.cancels.remove(&ticket);
        cancel.map(|cancel| cancel.cancel()).unwrap_or_default()
    }

    /// Answers what a handler was called for. `false` if nobody waits for it any more.
    pub(crate) fn answer(
        &mut self,
        engine: &mut Engine,
        ticket: Ticket,
        answer: Answer<OwnedFd>,
    ) -> bool {
        self.cancels.remove(&ticket);
        engine.reply_or_fail(ticket, answer)
    }

    /// Nothing more will come. Returns whom to wake.
    pub(crate) fn end(&mut self) -> Vec<Waker> {
        self.incoming.clear();
        let streams = self.streams.drain(..);
        let mut wakers: Vec<Waker> = streams.filter_map(|(_, queue)| queue.end()).collect();
        for (_, cancel) in self.cancels.drain() {
            wakers.extend(cancel.cancel());
        }
        wakers
    }

    /// Whether a reader there is so far behind that reading on would only fill memory: the senders
    /// to this namespace feel it instead.
    fn is_paused(&self, namespace: NamespaceId) -> bool {
        let mut there = self.streams.iter().filter(|(at, _)| *at == namespace);
        there.any(|(_, queue)| queue.is_full(STREAM_EVENTS))
    }

    /// Whom to call for a message. `None` where it was answered here: nobody is left to be called.
    fn job(&mut self, engine: &mut Engine, delivery: Delivery<OwnedFd>) -> Option<Job> {
        let now = engine.now();
        let space = self.names.get(&delivery.namespace).cloned()?;
        let (ticket, remaining) = match delivery.kind {
            DeliveryKind::Event(ticket) => (ticket, None),
            DeliveryKind::Request { ticket, remaining } => (Some(ticket), remaining),
        };
        let is_request = matches!(delivery.kind, DeliveryKind::Request { .. });
        let calls = self.calls(engine, &delivery, &space, is_request);
        if calls.is_empty() {
            if let Some(ticket) = ticket {
                self.answer(engine, ticket, Answer::NotRun(Refusal::NoHandler));
            }
            return None;
        }
        let cancel = Arc::new(Cancel::default());
        if let (true, Some(ticket)) = (is_request, ticket) {
            self.cancels.insert(ticket, Arc::clone(&cancel));
        }
        let ordered = calls.iter().any(|entry| entry.0.ordered);
        let order = (delivery.from.instance, delivery.namespace, &delivery.event);
        Some(Job {
            namespace: delivery.namespace,
            namespace_name: space,
            order: ordered.then(|| (order.0, order.1, Arc::clone(order.2))),
            of: Circumstances {
                from: delivery.from,
                name: delivery.event,
                descriptors: delivery.attachments,
                lost: delivery.attachments_lost,
                until: remaining.and_then(|remaining| now.checked_add(remaining)),
                cancel,
            },
            codec: CodecId(delivery.codec),
            payload: delivery.payload,
            calls,
            ticket,
        })
    }

    /// The entries to call, in the order of registration. Each `once` among them leaves with it.
    fn calls(
        &mut self,
        engine: &mut Engine,
        delivery: &Delivery<OwnedFd>,
        space: &Arc<str>,
        is_request: bool,
    ) -> SmallVec<[Entry; 2]> {
        let calls: SmallVec<[Entry; 2]> = match is_request {
            true => {
                let handler = self.registry.handler(space, &delivery.event);
                handler
                    .map(|(_, entry)| entry.clone())
                    .into_iter()
                    .collect()
            }
            false => {
                let all = self.registry.listeners(space, &delivery.event);
                all.map(|(_, entry)| entry.clone()).collect()
            }
        };
        let mut once = false;
        for entry in calls.iter().filter(|entry| entry.0.once) {
            // The copies of the registry are not the last: one stands in the list.
            once |= !self.remove(entry).is_empty();
        }
        if once {
            // Fewer names than before are never too many.
            let _ = self.declare(engine, delivery.namespace, space);
        }
        calls
    }

    fn declare(
        &self,
        engine: &mut Engine,
        namespace: NamespaceId,
        space: &str,
    ) -> Result<(), switchboard_proto::DeclareError> {
        let declaration = self.registry.declaration(space);
        let set = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        let names = Names {
            handlers: set(&declaration.handlers),
            listeners: set(&declaration.listeners),
            all_events: declaration.all_events,
        };
        let now = engine.now();
        engine.node().declare(now, namespace, names)
    }
}
