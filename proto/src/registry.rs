//! Who listens to what: the table of event listeners and request handlers that every driver keeps.
//!
//! The table only answers who is to be called; the calls are the driver's. It takes what it needs out
//! of the table (with [`Registry::dispatch`] or [`Registry::handle`]) and calls afterwards, so a
//! handler may add and remove while it runs, and what is removed while it runs finishes.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use smallvec::SmallVec;

/// One registration. Never used again for another, so a stale one removes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubId(u64);

/// What is registered for a name; see [`Registry::register`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// It hears events.
    pub events: bool,
    /// It answers requests.
    pub requests: bool,
    /// It is given out once, for an event or for a request, and is gone with that.
    pub once: bool,
}

/// Listeners and handlers by namespace and name; `H` is what the driver calls.
///
/// No name is special, and the order of everything that comes out is fixed: listeners in the order of
/// their registration, names sorted.
#[derive(Clone, Debug)]
pub struct Registry<H> {
    namespaces: BTreeMap<Box<str>, Namespace>,
    places: BTreeMap<SubId, Place<H>>,
    next: u64,
    revision: u64,
}

/// What is to be called for one event: in this order.
pub type Calls<H> = SmallVec<[(SubId, H); 2]>;

/// What one namespace listens to and handles, each list sorted and without duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declaration<'a> {
    /// Whether something listens to every event.
    pub all_events: bool,
    /// Names with a request handler.
    pub handlers: Vec<&'a str>,
    /// Names with an event listener of their own.
    pub listeners: Vec<&'a str>,
}

/// The name has a request handler already; the refused one comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HandlerExists<H> {
    /// The handler that was refused.
    pub handler: H,
    /// The one that stays.
    pub existing: SubId,
}

impl Roles {
    /// Events alone.
    pub const EVENTS: Self = Self::new(true, false);
    /// Requests alone.
    pub const REQUESTS: Self = Self::new(false, true);
    /// Events and requests.
    pub const BOTH: Self = Self::new(true, true);

    /// Events, requests, or both.
    pub const fn new(events: bool, requests: bool) -> Self {
        Self {
            events,
            requests,
            once: false,
        }
    }

    /// The same, for one message.
    pub const fn once(mut self) -> Self {
        self.once = true;
        self
    }
}

impl<H> Registry<H> {
    /// An empty table.
    pub const fn new() -> Self {
        Self {
            namespaces: BTreeMap::new(),
            places: BTreeMap::new(),
            next: 0,
            revision: 0,
        }
    }

    /// Adds one that is called for messages of a name, after those that are there.
    ///
    /// Of those that answer requests the first does. The others wait: when it is taken out, the next
    /// one answers from then on. So one for requests alone, which would only wait, is refused; one
    /// for events too has its events meanwhile.
    ///
    /// # Errors
    ///
    /// [`HandlerExists`] with the handler, where it is for requests alone and the name has one; see
    /// [`Registry::replace`].
    pub fn register(
        &mut self,
        namespace: &str,
        name: &str,
        roles: Roles,
        handler: H,
    ) -> Result<SubId, HandlerExists<H>> {
        match self.first(namespace, name) {
            Some(existing) if !roles.events => Err(HandlerExists { handler, existing }),
            _ => Ok(self.insert(namespace, name, roles, handler, false)),
        }
    }

    /// Adds one in the place of that which answers requests of the name now. The former one is taken
    /// out, from the events too, and comes back.
    pub fn replace(
        &mut self,
        namespace: &str,
        name: &str,
        roles: Roles,
        handler: H,
    ) -> (SubId, Option<H>) {
        let (revision, declared) = (self.revision, self.declared(namespace, name));
        let former = self.first(namespace, name).and_then(|id| self.remove(id));
        let id = self.insert(namespace, name, roles, handler, true);
        if declared == self.declared(namespace, name) {
            // Taken out and put back under the same name.
            self.revision = revision;
        }
        (id, former)
    }

    /// Adds a listener for every event of the namespace.
    pub fn listen_all(&mut self, namespace: &str, listener: H) -> SubId {
        let id = self.place(namespace, None, false, listener);
        let all = &mut self.namespace(namespace).all_events;
        all.push(id);
        self.revision += u64::from(all.len() == 1);
        id
    }

    /// Takes a registration out. `None` where it is gone already: removed, replaced, or a `once` that
    /// was given out.
    pub fn remove(&mut self, id: SubId) -> Option<H> {
        let place = self.places.remove(&id)?;
        let space = self.namespaces.get_mut(&place.namespace)?;
        let undeclared = match &place.name {
            None => {
                space.all_events.retain(|one| *one != id);
                u64::from(space.all_events.is_empty())
            }
            Some(name) => {
                u64::from(take(&mut space.listeners, name, id))
                    + u64::from(take(&mut space.handlers, name, id))
            }
        };
        if space.is_empty() {
            self.namespaces.remove(&place.namespace);
        }
        self.revision += undeclared;
        Some(place.handler)
    }

    /// Whether the registration is still there. A driver asks before each call of one dispatch, so
    /// that a listener removed by an earlier one is not called. (A `once` is gone when it is given
    /// out: that it was given out is the leave to call it.)
    pub fn contains(&self, id: SubId) -> bool {
        self.places.contains_key(&id)
    }

    /// Whether the registration is the one that answers requests of its name now.
    pub fn answers(&self, id: SubId) -> bool {
        self.places.get(&id).is_some_and(|place| {
            let name = place.name.as_deref();
            name.and_then(|name| self.first(&place.namespace, name)) == Some(id)
        })
    }

    /// Who listens to an event, in the order of registration, those for all events among them.
    pub fn listeners<'a>(
        &'a self,
        namespace: &str,
        name: &str,
    ) -> impl Iterator<Item = (SubId, &'a H)> {
        let places = self.ids(namespace, name);
        places.filter_map(|id| Some((id, &self.places.get(&id)?.handler)))
    }

    /// Whether an event has a listener.
    pub fn listens(&self, namespace: &str, name: &str) -> bool {
        self.ids(namespace, name).next().is_some()
    }

    /// The request handler of a name.
    pub fn handler(&self, namespace: &str, name: &str) -> Option<(SubId, &H)> {
        let id = self.first(namespace, name)?;
        Some((id, &self.places.get(&id)?.handler))
    }

    /// Counts the changes of what the table declares; unchanged, no [`Registry::declaration`] differs
    /// from before.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The namespaces in which something is registered, sorted.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.keys().map(|name| &**name)
    }

    /// What a namespace listens to and handles; empty where nothing is registered.
    pub fn declaration(&self, namespace: &str) -> Declaration<'_> {
        let Some(space) = self.namespaces.get(namespace) else {
            return Declaration::default();
        };
        Declaration {
            all_events: !space.all_events.is_empty(),
            handlers: space.handlers.keys().map(|name| &**name).collect(),
            listeners: space.listeners.keys().map(|name| &**name).collect(),
        }
    }

    /// Who answers requests of a name.
    fn first(&self, namespace: &str, name: &str) -> Option<SubId> {
        let handlers = self.namespaces.get(namespace)?.handlers.get(name)?;
        handlers.first().copied()
    }

    /// Who listens to an event.
    fn ids<'a>(&'a self, namespace: &str, name: &str) -> Merged<'a> {
        let space = self.namespaces.get(namespace);
        let named = space.and_then(|space| space.listeners.get(name));
        Merged {
            named: named.map_or(&[], Vec::as_slice),
            all: space.map_or(&[], |space| space.all_events.as_slice()),
        }
    }

    /// Whether a name has a listener of its own, and a handler.
    fn declared(&self, namespace: &str, name: &str) -> (bool, bool) {
        self.namespaces
            .get(namespace)
            .map_or((false, false), |space| {
                let handlers = space.handlers.contains_key(name);
                (space.listeners.contains_key(name), handlers)
            })
    }

    /// `foremost`: before others that answer requests.
    fn insert(
        &mut self,
        namespace: &str,
        name: &str,
        roles: Roles,
        handler: H,
        foremost: bool,
    ) -> SubId {
        let id = self.place(namespace, Some(name), roles.once, handler);
        let space = self.namespace(namespace);
        let mut declared = 0;
        if roles.events {
            let list = space.listeners.entry(name.into()).or_default();
            list.push(id);
            declared += u64::from(list.len() == 1);
        }
        if roles.requests {
            let list = space.handlers.entry(name.into()).or_default();
            list.insert(if foremost { 0 } else { list.len() }, id);
            declared += u64::from(list.len() == 1);
        }
        self.revision += declared;
        id
    }

    fn namespace(&mut self, name: &str) -> &mut Namespace {
        self.namespaces.entry(name.into()).or_default()
    }

    fn place(&mut self, namespace: &str, name: Option<&str>, once: bool, handler: H) -> SubId {
        let id = SubId(self.next);
        self.next += 1;
        let place = Place {
            namespace: namespace.into(),
            name: name.map(Box::from),
            once,
            handler,
        };
        self.places.insert(id, place);
        id
    }
}

/// What is given out is cloned, which must be cheap: an `Arc`.
impl<H: Clone> Registry<H> {
    /// What to call for an event that has arrived, in the order of registration. Each `once` among
    /// them leaves the table with this call.
    pub fn dispatch(&mut self, namespace: &str, name: &str) -> Calls<H> {
        let mut once: SmallVec<[SubId; 4]> = SmallVec::new();
        let mut calls = Calls::new();
        for id in self.ids(namespace, name) {
            if let Some(place) = self.places.get(&id) {
                calls.push((id, place.handler.clone()));
                once.extend(place.once.then_some(id));
            }
        }
        for id in once {
            self.remove(id);
        }
        calls
    }

    /// What to call for a request that has arrived. A `once` leaves the table with this call.
    pub fn handle(&mut self, namespace: &str, name: &str) -> Option<(SubId, H)> {
        let id = self.first(namespace, name)?;
        let place = self.places.get(&id)?;
        let (once, handler) = (place.once, place.handler.clone());
        if once {
            self.remove(id);
        }
        Some((id, handler))
    }
}

impl<H> Default for Registry<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H> fmt::Debug for HandlerExists<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerExists")
            .field("existing", &self.existing)
            .finish_non_exhaustive()
    }
}

impl<H> fmt::Display for HandlerExists<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name has a request handler already; use replace to swap it")
    }
}

impl<H> Error for HandlerExists<H> {}

#[derive(Clone, Debug, Default)]
struct Namespace {
    all_events: Vec<SubId>,
    /// Each in the order of registration.
    listeners: BTreeMap<Box<str>, Vec<SubId>>,
    /// The first answers; none is empty.
    handlers: BTreeMap<Box<str>, Vec<SubId>>,
}

impl Namespace {
    fn is_empty(&self) -> bool {
        self.all_events.is_empty() && self.listeners.is_empty() && self.handlers.is_empty()
    }
}

/// One registration, and where it stands, so that its id alone finds it.
#[derive(Clone, Debug)]
struct Place<H> {
    namespace: Box<str>,
    /// `None`: all events.
    name: Option<Box<str>>,
    once: bool,
    handler: H,
}

/// Two lists that are each in the order of registration, as one that is.
struct Merged<'a> {
    named: &'a [SubId],
    all: &'a [SubId],
}

impl Iterator for Merged<'_> {
    type Item = SubId;

    fn next(&mut self) -> Option<SubId> {
        let list = match (self.named.first(), self.all.first()) {
            (Some(named), Some(all)) if all < named => &mut self.all,
            (Some(_), _) => &mut self.named,
            (None, _) => &mut self.all,
        };
        let (first, rest) = list.split_first()?;
        *list = rest;
        Some(*first)
    }
}

/// Takes one out of the list of a name. Whether the name has none left, which it had before.
fn take(lists: &mut BTreeMap<Box<str>, Vec<SubId>>, name: &str, id: SubId) -> bool {
    let Some(list) = lists.get_mut(name) else {
        return false;
    };
    list.retain(|one| *one != id);
    let last = list.is_empty();
    if last {
        lists.remove(name);
    }
    last
}

#[cfg(test)]
mod tests;
