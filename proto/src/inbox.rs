//! What has come for the application: one queue for each namespace, and whether it is ready.
//!
//! While a namespace is pending, what has a listener is delivered at once and the rest is held, in
//! order. Once it is ready, an unknown name is refused at once.

mod departed;
mod queue;

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

pub(crate) use self::queue::{Events, RunInFront};

use self::departed::Departed;
use self::queue::Queue;
use crate::config::Config;
use crate::id::{InstanceId, NamespaceId};
use crate::message::{Payload, Receipt};
use crate::spool::Pool;
use crate::talk::Place;
use crate::time::Instant;
use crate::wire::flow::NO_FLOW;
use crate::wire::{NamespaceDeclaration, RawNames, Refusal, Run, WireError, is_name};

/// The names that an application handles in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Names with a request handler.
    pub handlers: BTreeSet<Arc<str>>,
    /// Names with an event listener.
    pub listeners: BTreeSet<Arc<str>>,
    /// Whether every event of the namespace has a listener.
    pub all_events: bool,
}

#[derive(Debug)]
pub(crate) struct Inbox<F> {
    limits: Limits,
    /// How many namespaces the application has opened.
    opened: usize,
    namespaces: Vec<Namespace<F>>,
    by_name: BTreeMap<String, usize>,
    /// What the last message was for that is handled here: messages come in runs.
    recent: Option<Recent>,
    /// For the queues of all namespaces.
    pool: Pool,
    /// Whether an unknown namespace is refused.
    ready: bool,
    departed: Departed,
}

#[derive(Debug)]
pub(crate) struct Namespace<F> {
    name: String,
    /// Whether the application has opened it; else something came for it while all was pending.
    opened: bool,
    ready: bool,
    names: Names,
    deliverable: Queue<F>,
    held: VecDeque<Item<F>>,
    /// Whether the application has been told that something is there.
    announced: bool,
    /// The deadline of requests made in this namespace, if it has one of its own.
    pub(crate) deadline: Option<Duration>,
}

/// The names of a message as they stand on the wire, and what they mean here.
#[derive(Debug)]
struct Recent {
    names: Vec<u8>,
    request: bool,
    namespace: usize,
    event: Arc<str>,
}

/// Where a message goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination {
    /// `None` where the namespace is not known and will not be.
    namespace: Option<usize>,
    /// Whether the application handles it.
    handled: bool,
}

/// One message held for the application.
#[derive(Debug)]
pub(crate) struct Item<F> {
    pub(crate) from: InstanceId,
    pub(crate) sequence: u64,
    pub(crate) place: Place,
    pub(crate) event: Arc<str>,
    pub(crate) codec: u8,
    pub(crate) payload: Payload,
    pub(crate) attachments: Vec<F>,
    pub(crate) lost: bool,
    pub(crate) kind: ItemKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    Event(Receipt),
    Request {
        request: u64,
        deadline: Option<Instant>,
        reply_credit: u32,
    },
}

/// What is to be removed of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    All,
    Requests,
    /// The one with this number.
    Request(u64),
}

/// A namespace that cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name cannot be one of a namespace.
    #[error(
        "a namespace name has 1 to 255 bytes of UTF-8 without NUL and does not start with `$`; `_` is the default one"
    )]
    Invalid,
    /// There are as many namespaces as [`Config::namespaces`](crate::Config::namespaces) allows.
    #[error(
        "{value} namespaces are open already, as many as `namespaces` allows; it can be up to 1,024"
    )]
    TooMany {
        /// The limit.
        value: usize,
    },
}

/// How many namespaces and names there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// That the application opens.
    pub(crate) namespaces: usize,
    /// That others named while all was pending, and the application has not opened.
    pub(crate) unopened: usize,
    /// Handlers in all namespaces, and likewise listeners.
    pub(crate) names: usize,
}

impl Limits {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            namespaces: config.namespaces,
            unopened: config.unopened_namespaces,
            names: config.names,
        }
    }
}

/// Names that cannot be declared. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeclareError {
    /// A name is empty, longer than 255 bytes, or contains NUL.
    #[error("an event name has 1 to 255 bytes and no NUL")]
    BadName,
    /// The namespace was never opened on this node.
    #[error("the namespace was not opened on this node")]
    UnknownNamespace,
    /// More names than a peer may declare.
    #[error(
        "{count} handler or listener names are more than `names` allows ({value}, at most 1,024); who needs more listens to all events"
    )]
    TooMany {
        /// Names of the kind of which there are most.
        count: usize,
        /// The limit, [`Config::names`](crate::Config::names).
        value: usize,
    },
}

impl<F> Inbox<F> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            opened: 0,
            namespaces: Vec::new(),
            by_name: BTreeMap::new(),
            recent: None,
            pool: Pool::default(),
            ready: false,
            departed: Departed::default(),
        }
    }

    /// Opens a namespace, or finds it again. `true` if it was not open.
    pub(crate) fn open(&mut self, shown: &str) -> Result<(NamespaceId, bool), NameError> {
        if !is_name(shown) || shown.starts_with('$') {
            return Err(NameError::Invalid);
        }
        let name = match shown {
            "_" => "",
            other => other,
        };
        let known = self.by_name.get(name).copied();
        let is_open = known.is_some_and(|at| self.namespaces[at].opened);
        let value = self.limits.namespaces;
        if !is_open && self.opened >= value {
            return Err(NameError::TooMany { value });
        }
        let at = self.at(name);
        let namespace = &mut self.namespaces[at];
        let new = !namespace.opened;
        namespace.opened = true;
        self.opened += usize::from(new);
        Ok((NamespaceId(at as u32), new))
    }

    fn at(&mut self, name: &str) -> usize {
        if let Some(at) = self.by_name.get(name) {
            return *at;
        }
        let at = self.namespaces.len();
        self.by_name.insert(name.to_owned(), at);
        self.namespaces.push(Namespace {
            name: name.to_owned(),
            opened: false,
            ready: false,
            names: Names::default(),
            deliverable: Queue::new(),
            held: VecDeque::new(),
            announced: false,
            deadline: None,
        });
        at
    }

    pub(crate) fn get_mut(&mut self, id: NamespaceId) -> Option<&mut Namespace<F>> {
        self.namespaces
            .get_mut(id.0 as usize)
            .filter(|namespace| namespace.opened)
    }

    /// The name as it stands on the wire.
    pub(crate) fn name(&self, id: NamespaceId) -> Option<&str> {
        let namespace = self.namespaces.get(id.0 as usize)?;
        namespace.opened.then_some(namespace.name.as_str())
    }

    pub(crate) fn id_of(&self, name: &str) -> Option<NamespaceId> {
        self.by_name.get(name).map(|at| NamespaceId(*at as u32))
    }

    /// Whether the names are within what a peer may declare.
    pub(crate) fn check(&self, id: NamespaceId, names: &Names) -> Result<(), DeclareError> {
        let all = names.handlers.iter().chain(&names.listeners);
        for name in all {
            if !is_name(name) {
                return Err(DeclareError::BadName);
            }
        }
        if self.name(id).is_none() {
            return Err(DeclareError::UnknownNamespace);
        }
        let others = self.namespaces.iter().enumerate();
        let others = others.filter(|(at, _)| *at != id.0 as usize);
        let (mut handlers, mut listeners) = (names.handlers.len(), names.listeners.len());
        for (_, namespace) in others {
            handlers += namespace.names.handlers.len();
            listeners += namespace.names.listeners.len();
        }
        let value = self.limits.names;
        match handlers.max(listeners) {
            count if count > value => Err(DeclareError::TooMany { count, value }),
            _ => Ok(()),
        }
    }

    /// Replaces the names that the application handles. What was held for a new one is delivered
    /// now, in order. `true` if the application has to be told that something is there.
    pub(crate) fn declare(&mut self, id: NamespaceId, names: Names) -> bool {
        self.recent = None;
        let Some(namespace) = self.get_mut(id) else {
            return false;
        };
        namespace.names = names;
        let held = core::mem::take(&mut namespace.held);
        for item in held {
            match namespace.known(&item.event, item.kind).is_some() {
                true => namespace.deliverable.push(item),
                false => namespace.held.push_back(item),
            }
        }
        namespace.announce()
    }

    /// Ends the pending time of one namespace. What is held for a name that nobody has is refused.
    pub(crate) fn ready(&mut self, id: NamespaceId) -> Vec<(Item<F>, Refusal)> {
        let Some(namespace) = self.get_mut(id) else {
            return Vec::new();
        };
        namespace.ready = true;
        let held = core::mem::take(&mut namespace.held);
        self.refused(held, Refusal::NoHandler)
    }

    fn refused(&mut self, held: VecDeque<Item<F>>, reason: Refusal) -> Vec<(Item<F>, Refusal)> {
        for item in &held {
            self.departed.took(item.from, item.place.cost);
        }
        held.into_iter().map(|item| (item, reason)).collect()
    }

    /// Ends the pending time of the node: an unknown namespace is refused from now on.
    pub(crate) fn all_ready(&mut self) -> Vec<(Item<F>, Refusal)> {
        self.ready = true;
        let mut refused = Vec::new();
        for at in 0..self.namespaces.len() {
            if self.namespaces[at].opened {
                refused.extend(self.ready(NamespaceId(at as u32)));
            } else {
                let held = core::mem::take(&mut self.namespaces[at].held);
                refused.extend(self.refused(held, Refusal::NoNamespace));
            }
        }
        refused
    }

    /// Whether no more namespaces may begin that only others have named. They take nothing from what
    /// the application may open.
    fn has_no_room(&self) -> bool {
        self.namespaces.len() - self.opened >= self.limits.unopened
    }

    /// Where a message with these names goes, and its name as the application knows it.
    #[inline]
    pub(crate) fn find(
        &mut self,
        names: RawNames<'_>,
        request: bool,
    ) -> Result<(Destination, Arc<str>), WireError> {
        match &self.recent {
            Some(recent) if recent.request == request && recent.names == names.as_bytes() => {
                let to = Destination {
                    namespace: Some(recent.namespace),
                    handled: true,
                };
                Ok((to, recent.event.clone()))
            }
            _ => self.search(names, request),
        }
    }

    #[cold]
    fn search(
        &mut self,
        raw: RawNames<'_>,
        request: bool,
    ) -> Result<(Destination, Arc<str>), WireError> {
        let (namespace, event) = raw.check()?;
        let at = match self.by_name.get(namespace) {
            Some(at) => Some(*at),
            None if self.ready || self.has_no_room() => None,
            None => Some(self.at(namespace)),
        };
        let name = at.and_then(|at| self.namespaces[at].known_name(event, request));
        if let (Some(namespace), Some(event)) = (at, &name) {
            let mut names = self.recent.take().map_or_else(Vec::new, |old| old.names);
            names.clear();
            names.extend_from_slice(raw.as_bytes());
            self.recent = Some(Recent {
                names,
                request,
                namespace,
                event: event.clone(),
            });
        }
        let to = Destination {
            namespace: at,
            handled: name.is_some(),
        };
        Ok((to, name.unwrap_or_else(|| event.into())))
    }

    /// Takes a message in. Returns the namespace to announce, or the message
    /// with the reason for which it is refused.
    #[inline]
    pub(crate) fn arrive(
        &mut self,
        to: Destination,
        item: Item<F>,
    ) -> Result<Option<NamespaceId>, (Item<F>, Refusal)> {
        let Some(at) = to.namespace else {
            let reason = match self.ready {
                true => Refusal::NoNamespace,
                // It may be opened yet, but too many wait for that.
                false => Refusal::Full,
            };
            return Err((item, reason));
        };
        let refuses_unknown = self.ready;
        let namespace = &mut self.namespaces[at];
        if to.handled {
            namespace.deliverable.push(item);
            return Ok(namespace.announce().then_some(NamespaceId(at as u32)));
        }
        if namespace.ready {
            return Err((item, Refusal::NoHandler));
        }
        if refuses_unknown && !namespace.opened {
            return Err((item, Refusal::NoNamespace));
        }
        namespace.held.push_back(item);
        Ok(None)
    }

    /// Whether the next message of a namespace is a request.
    pub(crate) fn next_is_request(&self, id: NamespaceId) -> bool {
        let namespace = self.namespaces.get(id.0 as usize);
        namespace.is_some_and(|namespace| namespace.deliverable.next_is_request())
    }

    /// How many bytes of a run are taken at once for this destination; none where no run may go.
    pub(crate) fn room_for_run(&self, to: Destination) -> usize {
        let namespace = to.namespace.filter(|_| to.handled);
        namespace.map_or(0, |at| self.namespaces[at].deliverable.room_for_run())
    }

    /// Takes a run in that follows a message which has just been taken in for the same destination.
    /// Who is to be told of that has been told.
    pub(crate) fn arrive_run(&mut self, to: Destination, events: Events, run: &Run<'_>) {
        if let Some(at) = to.namespace {
            let queue = &mut self.namespaces[at].deliverable;
            queue.push_run(events, run.bytes, &mut self.pool);
        }
    }

    /// The name of the message that was taken in last and is handled here.
    pub(crate) fn recent_event(&self) -> Option<&Arc<str>> {
        self.recent.as_ref().map(|recent| &recent.event)
    }

    /// The run whose events are next in a namespace.
    #[inline]
    pub(crate) fn run_in_front(&mut self, id: NamespaceId) -> Option<RunInFront<'_>> {
        // Only what the application has opened has runs.
        let namespace = self.namespaces.get_mut(id.0 as usize)?;
        namespace.deliverable.run_in_front(&mut self.pool)
    }

    /// So much of what an instance sent has been taken out of a run.
    #[inline]
    pub(crate) fn took(&mut self, from: InstanceId, cost: u64) {
        if !self.departed.is_empty() {
            self.departed.took(from, cost);
        }
    }

    /// The next message of a namespace, where it is none of a run.
    pub(crate) fn next(&mut self, id: NamespaceId) -> Option<Item<F>> {
        let namespace = self.get_mut(id)?;
        let item = namespace.deliverable.pop();
        namespace.announced = item.is_some();
        if let Some(item) = &item {
            self.took(item.from, item.place.cost);
        }
        item
    }

    /// Removes what an instance has sent, wherever it waits.
    pub(crate) fn remove(&mut self, from: InstanceId, what: Removal) -> Vec<Item<F>> {
        let mut removed = Vec::new();
        for namespace in &mut self.namespaces {
            removed.extend(namespace.deliverable.remove(from, what, &mut self.pool));
            for item in core::mem::take(&mut namespace.held) {
                match item.from == from && what.means(&item) {
                    true => removed.push(item),
                    false => namespace.held.push_back(item),
                }
            }
        }
        for item in &removed {
            self.departed.took(item.from, item.place.cost);
        }
        removed
    }

    /// What this node declares to the hub.
    pub(crate) fn declarations(&self) -> Vec<NamespaceDeclaration> {
        let opened = self.namespaces.iter().filter(|namespace| namespace.opened);
        opened
            .map(|namespace| NamespaceDeclaration {
                name: namespace.name.clone(),
                ready: namespace.ready,
                all_events: namespace.names.all_events,
                handlers: strings(&namespace.names.handlers),
                listeners: strings(&namespace.names.listeners),
            })
            .collect()
    }

    /// Whether some opened namespace is still pending.
    pub(crate) fn is_pending(&self) -> bool {
        !self.ready || self.namespaces.iter().any(|one| one.opened && !one.ready)
    }

    /// This node begins anew as another instance: what it holds belongs to conversations that are
    /// over, so nobody is told that it was taken.
    pub(crate) fn orphan_all(&mut self) {
        for namespace in &mut self.namespaces {
            namespace.deliverable.orphan();
            for item in &mut namespace.held {
                item.orphan();
            }
        }
    }

    /// An instance has ended. What it sent stays for the application: processes that end and start
    /// again while nobody reads must not fill the memory, so beyond `most` for all of them the
    /// oldest goes, and is returned.
    pub(crate) fn depart(&mut self, instance: InstanceId, most: u64) -> Vec<Item<F>> {
        let left = self.namespaces.iter().map(|namespace| {
            let held = namespace.held.iter();
            let held = held.filter(|item| item.from == instance);
            let held: u64 = held.map(|item| item.place.cost).sum();
            held + namespace.deliverable.cost_of(instance)
        });
        self.departed.add(instance, left.sum());
        let mut dropped = Vec::new();
        while let Some(oldest) = self.departed.first_beyond(most) {
            dropped.extend(self.remove(oldest, Removal::All));
        }
        dropped
    }

    /// How many messages are held for the application.
    pub(crate) fn len(&self) -> usize {
        let queues = self.namespaces.iter();
        queues
            .map(|namespace| namespace.deliverable.len() + namespace.held.len())
            .sum()
    }
}

impl<F> Item<F> {
    /// It belongs to a conversation that is over: nobody is told that it was taken.
    fn orphan(&mut self) {
        if let ItemKind::Event(receipt) = &mut self.kind {
            *receipt = Receipt::None;
        }
        // No flow has this number, so no credit is given back to a later conversation.
        self.place.flow = NO_FLOW;
    }
}

impl Removal {
    fn means<F>(self, item: &Item<F>) -> bool {
        match (self, item.kind) {
            (Self::All, _) | (Self::Requests, ItemKind::Request { .. }) => true,
            (Self::Request(number), ItemKind::Request { request, .. }) => request == number,
            (Self::Requests | Self::Request(_), ItemKind::Event(_)) => false,
        }
    }
}

impl<F> Namespace<F> {
    fn known(&self, event: &str, kind: ItemKind) -> Option<Arc<str>> {
        self.known_name(event, matches!(kind, ItemKind::Request { .. }))
    }

    /// The name of an event as the application knows it, if it handles it.
    fn known_name(&self, event: &str, request: bool) -> Option<Arc<str>> {
        let names = match request {
            true => &self.names.handlers,
            false => &self.names.listeners,
        };
        match names.get(event) {
            Some(name) => Some(name.clone()),
            None if !request && self.names.all_events => Some(event.into()),
            None => None,
        }
    }

    fn announce(&mut self) -> bool {
        let news = !self.announced && !self.deliverable.is_empty();
        self.announced |= news;
        news
    }
}

fn strings(names: &BTreeSet<Arc<str>>) -> Vec<String> {
    names.iter().map(|name| String::from(&**name)).collect()
}
