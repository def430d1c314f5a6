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

/// Listeners and handlers by namespace and name; `H` is what the driver calls, and cloning it must be
/// cheap (an `Arc`).
///
/// No name is special, and the order of everything that comes out is fixed: listeners in the order of
/// their registration, names sorted.
#[derive(Clone, Debug)]
pub struct Registry<H> {
    namespaces: BTreeMap<Box<str>, Namespace<H>>,
    places: BTreeMap<SubId, Place>,
    next: u64,
    revision: u64,
}

/// What is to be called for one event: in this order.
pub type Calls<H> = SmallVec<[(SubId, H); 4]>;

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

    /// Adds a listener for an event, after those that are there.
    pub fn listen(&mut self, namespace: &str, name: &str, listener: H) -> SubId {
        self.add_listener(namespace, name, listener, false)
    }

    /// Adds a listener that is given to one call of [`Registry::dispatch`] and is gone with it: it
    /// runs at most once, also when two events arrive together.
    pub fn listen_once(&mut self, namespace: &str, name: &str, listener: H) -> SubId {
        self.add_listener(namespace, name, listener, true)
    }

    /// Adds a listener for every event of the namespace.
    pub fn listen_all(&mut self, namespace: &str, listener: H) -> SubId {
        let id = self.place(namespace, Role::AllEvents);
        let all = &mut self.namespace(namespace).all_events;
        all.push(Entry {
            id,
            once: false,
            target: listener,
        });
        self.revision += u64::from(all.len() == 1);
        id
    }

    /// Sets the request handler of a name.
    ///
    /// # Errors
    ///
    /// [`HandlerExists`] with the handler where the name has one; see [`Registry::replace`].
    pub fn set_handler(
        &mut self,
        namespace: &str,
        name: &str,
        handler: H,
    ) -> Result<SubId, HandlerExists<H>> {
        self.add_handler(namespace, name, handler, false)
    }

    /// Sets a request handler that is given to one call of [`Registry::handle`] and is gone with it.
    ///
    /// # Errors
    ///
    /// As [`Registry::set_handler`].
    pub fn set_handler_once(
        &mut self,
        namespace: &str,
        name: &str,
        handler: H,
    ) -> Result<SubId, HandlerExists<H>> {
        self.add_handler(namespace, name, handler, true)
    }

    /// Sets the request handler of a name and returns the former one, whose id is stale from now on.
    pub fn replace(&mut self, namespace: &str, name: &str, handler: H) -> (SubId, Option<H>) {
        let revision = self.revision;
        let former = self
            .handler(namespace, name)
            .map(|(id, _)| id)
            .and_then(|id| self.remove(id));
        let id = self.insert_handler(namespace, name, handler, false);
        if former.is_some() {
            // Taken out and put back under the same name: what is declared has not changed.
            self.revision = revision;
        }
        (id, former)
    }

    /// Takes a registration out. `None` where it is gone already: removed, replaced, or a `once` that
    /// was given out.
    pub fn remove(&mut self, id: SubId) -> Option<H> {
        let Place { namespace, role } = self.places.remove(&id)?;
        let space = self.namespaces.get_mut(&namespace)?;
        let (target, undeclared) = match role {
            Role::AllEvents => {
                let target = take(&mut space.all_events, id)?;
                (target, space.all_events.is_empty())
            }
            Role::Listener(name) => {
                let list = space.listeners.get_mut(&name)?;
                let target = take(list, id)?;
                let last = list.is_empty();
                if last {
                    space.listeners.remove(&name);
                }
                (target, last)
            }
            Role::Handler(name) => (space.handlers.remove(&name)?.target, true),
        };
        if space.is_empty() {
            self.namespaces.remove(&namespace);
        }
        self.revision += u64::from(undeclared);
        Some(target)
    }

    /// Whether the registration is still there. A driver asks before each call of one dispatch, so
    /// that a listener removed by an earlier one is not called. (A `once` is gone when it is given
    /// out: that it was given out is the leave to call it.)
    pub fn contains(&self, id: SubId) -> bool {
        self.places.contains_key(&id)
    }

    /// Who listens to an event, in the order of registration, those for all events among them.
    pub fn listeners<'a>(
        &'a self,
        namespace: &str,
        name: &str,
    ) -> impl Iterator<Item = (SubId, &'a H)> {
        self.entries(namespace, name)
            .map(|entry| (entry.id, &entry.target))
    }

    /// Whether an event has a listener.
    pub fn listens(&self, namespace: &str, name: &str) -> bool {
        self.entries(namespace, name).next().is_some()
    }

    /// The request handler of a name.
    pub fn handler(&self, namespace: &str, name: &str) -> Option<(SubId, &H)> {
        let entry = self.namespaces.get(namespace)?.handlers.get(name)?;
        Some((entry.id, &entry.target))
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

    fn entries<'a>(&'a self, namespace: &str, name: &str) -> Merged<'a, H> {
        let space = self.namespaces.get(namespace);
        let named = space.and_then(|space| space.listeners.get(name));
        Merged {
            named: named.map_or(&[], Vec::as_slice),
            all: space.map_or(&[], |space| space.all_events.as_slice()),
        }
    }

    fn add_listener(&mut self, namespace: &str, name: &str, target: H, once: bool) -> SubId {
        let id = self.place(namespace, Role::Listener(name.into()));
        let list = self
            .namespace(namespace)
            .listeners
            .entry(name.into())
            .or_default();
        list.push(Entry { id, once, target });
        self.revision += u64::from(list.len() == 1);
        id
    }

    fn add_handler(
        &mut self,
        namespace: &str,
        name: &str,
        handler: H,
        once: bool,
    ) -> Result<SubId, HandlerExists<H>> {
        if let Some((existing, _)) = self.handler(namespace, name) {
            return Err(HandlerExists { handler, existing });
        }
        Ok(self.insert_handler(namespace, name, handler, once))
    }

    fn insert_handler(&mut self, namespace: &str, name: &str, target: H, once: bool) -> SubId {
        let id = self.place(namespace, Role::Handler(name.into()));
        self.namespace(namespace)
            .handlers
            .insert(name.into(), Entry { id, once, target });
        self.revision += 1;
        id
    }

    fn namespace(&mut self, name: &str) -> &mut Namespace<H> {
        self.namespaces.entry(name.into()).or_default()
    }

    fn place(&mut self, namespace: &str, role: Role) -> SubId {
        let id = SubId(self.next);
        self.next += 1;
        self.places.insert(
            id,
            Place {
                namespace: namespace.into(),
                role,
            },
        );
        id
    }
}

impl<H: Clone> Registry<H> {
    /// What to call for an event that has arrived, in the order of registration. Each `once` among
    /// them leaves the table with this call.
    pub fn dispatch(&mut self, namespace: &str, name: &str) -> Calls<H> {
        let mut once: SmallVec<[SubId; 4]> = SmallVec::new();
        let mut calls = Calls::new();
        for entry in self.entries(namespace, name) {
            if entry.once {
                once.push(entry.id);
            }
            calls.push((entry.id, entry.target.clone()));
        }
        for id in once {
            self.remove(id);
        }
        calls
    }

    /// What to call for a request that has arrived. A `once` leaves the table with this call.
    pub fn handle(&mut self, namespace: &str, name: &str) -> Option<(SubId, H)> {
        let entry = self.namespaces.get(namespace)?.handlers.get(name)?;
        let (id, once, handler) = (entry.id, entry.once, entry.target.clone());
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

#[derive(Clone, Debug)]
struct Namespace<H> {
    all_events: Vec<Entry<H>>,
    listeners: BTreeMap<Box<str>, Vec<Entry<H>>>,
    handlers: BTreeMap<Box<str>, Entry<H>>,
}

impl<H> Namespace<H> {
    fn is_empty(&self) -> bool {
        self.all_events.is_empty() && self.listeners.is_empty() && self.handlers.is_empty()
    }
}

impl<H> Default for Namespace<H> {
    fn default() -> Self {
        Self {
            all_events: Vec::new(),
            listeners: BTreeMap::new(),
            handlers: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Debug)]
struct Entry<H> {
    id: SubId,
    once: bool,
    target: H,
}

/// Where a registration stands, so that its id alone finds it.
#[derive(Clone, Debug)]
struct Place {
    namespace: Box<str>,
    role: Role,
}

#[derive(Clone, Debug)]
enum Role {
    AllEvents,
    Listener(Box<str>),
    Handler(Box<str>),
}

/// Two lists that are each in the order of registration, as one that is.
struct Merged<'a, H> {
    named: &'a [Entry<H>],
    all: &'a [Entry<H>],
}

impl<'a, H> Iterator for Merged<'a, H> {
    type Item = &'a Entry<H>;

    fn next(&mut self) -> Option<Self::Item> {
        let list = match (self.named.first(), self.all.first()) {
            (Some(named), Some(all)) if all.id < named.id => &mut self.all,
            (Some(_), _) => &mut self.named,
            (None, _) => &mut self.all,
        };
        let (first, rest) = list.split_first()?;
        *list = rest;
        Some(first)
    }
}

fn take<H>(list: &mut Vec<Entry<H>>, id: SubId) -> Option<H> {
    // Ids rise, and each is added at the end.
    let index = list.binary_search_by_key(&id, |entry| entry.id).ok()?;
    Some(list.remove(index).target)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    fn names(
        registry: &mut Registry<&'static str>,
        namespace: &str,
        name: &str,
    ) -> Vec<&'static str> {
        registry
            .dispatch(namespace, name)
            .into_iter()
            .map(|(_, target)| target)
            .collect()
    }

    #[test]
    fn listeners_are_called_in_the_order_of_registration() {
        let mut registry = Registry::new();
        registry.listen("", "foo", "a");
        registry.listen_all("", "b");
        registry.listen("", "foo", "c");
        registry.listen_all("", "d");
        registry.listen("", "foo", "a");
        registry.listen("other", "foo", "x");
        registry.listen("", "bar", "y");
        assert_eq!(names(&mut registry, "", "foo"), ["a", "b", "c", "d", "a"]);
        assert_eq!(names(&mut registry, "", "baz"), ["b", "d"]);
        assert_eq!(names(&mut registry, "other", "foo"), ["x"]);
        assert!(names(&mut registry, "other", "bar").is_empty());
    }

    #[test]
    fn a_once_listener_gets_one_of_two_events_that_arrive_together() {
        let mut registry = Registry::new();
        registry.listen("", "foo", "always");
        let once = registry.listen_once("", "foo", "once");
        // Both events are dispatched before either listener has run.
        let first = names(&mut registry, "", "foo");
        let second = names(&mut registry, "", "foo");
        assert_eq!(first, ["always", "once"]);
        assert_eq!(second, ["always"]);
        assert!(!registry.contains(once));
        assert_eq!(registry.remove(once), None);
    }

    #[test]
    fn a_cancelled_once_listener_never_runs() {
        let mut registry = Registry::new();
        let once = registry.listen_once("", "foo", "once");
        assert_eq!(registry.remove(once), Some("once"));
        assert!(names(&mut registry, "", "foo").is_empty());
    }

    #[test]
    fn a_second_request_handler_is_refused_and_comes_back() {
        let mut registry = Registry::new();
        let first = registry.set_handler("", "add", "first").unwrap();
        let refused = registry.set_handler("", "add", "second").unwrap_err();
        assert_eq!((refused.handler, refused.existing), ("second", first));
        assert!(refused.to_string().contains("already"));
        let refused = registry.set_handler_once("", "add", "third").unwrap_err();
        assert_eq!(refused.handler, "third");
        assert_eq!(registry.handle("", "add"), Some((first, "first")));
        assert!(registry.set_handler("math", "add", "elsewhere").is_ok());
        assert!(registry.set_handler("", "sub", "elsewhere").is_ok());
    }

    #[test]
    fn replace_swaps_the_handler_and_the_former_token_removes_nothing() {
        let mut registry = Registry::new();
        let (first, former) = registry.replace("", "add", "first");
        assert_eq!(former, None);
        let (second, former) = registry.replace("", "add", "second");
        assert_eq!(former, Some("first"));
        assert_ne!(first, second);
        // The owner of the former subscription drops it now.
        assert_eq!(registry.remove(first), None);
        assert_eq!(registry.handler("", "add"), Some((second, &"second")));
    }

    #[test]
    fn a_once_handler_answers_one_request() {
        let mut registry = Registry::new();
        let id = registry.set_handler_once("", "baz", "h").unwrap();
        assert_eq!(registry.handle("", "baz"), Some((id, "h")));
        assert_eq!(registry.handle("", "baz"), None);
        assert!(registry.set_handler("", "baz", "next").is_ok());
    }

    #[test]
    fn tokens_are_never_reused() {
        let mut registry = Registry::new();
        let mut seen = vec![registry.listen("", "foo", 0)];
        for round in 1..4 {
            registry.remove(*seen.last().unwrap());
            let id = registry.listen("", "foo", round);
            assert!(!seen.contains(&id));
            assert_eq!(registry.remove(seen[0]), None);
            assert!(registry.contains(id));
            seen.push(id);
        }
        assert_eq!(
            registry
                .listeners("", "foo")
                .map(|(_, h)| *h)
                .collect::<Vec<_>>(),
            [3]
        );
    }

    #[test]
    fn no_event_name_is_special() {
        let mut registry = Registry::new();
        let special = [
            "error",
            "connect",
            "close",
            "__proto__",
            "toString",
            "message",
            "",
            "_",
        ];
        for name in special {
            registry.listen("", name, name);
            registry.set_handler("", name, name).unwrap();
        }
        for name in special {
            assert_eq!(names(&mut registry, "", name), [name]);
            assert_eq!(registry.handle("", name).unwrap().1, name);
        }
        assert!(!registry.listens("", "hasOwnProperty"));
        assert!(registry.handle("", "hasOwnProperty").is_none());
    }

    #[test]
    fn declarations_are_sorted_and_their_revision_rises_with_them_alone() {
        let mut registry = Registry::new();
        assert_eq!(registry.declaration(""), Declaration::default());
        let zeta = registry.listen("", "zeta", 0);
        registry.listen("", "alpha", 0);
        registry.set_handler("", "mul", 0).unwrap();
        registry.set_handler("", "add", 0).unwrap();
        registry.listen("b", "x", 0);
        assert_eq!(registry.namespaces().collect::<Vec<_>>(), ["", "b"]);
        let declared = |registry: &Registry<i32>| {
            let declaration = registry.declaration("");
            let join = |names: Vec<&str>| names.join(",");
            (
                declaration.all_events,
                join(declaration.handlers),
                join(declaration.listeners),
            )
        };
        assert_eq!(
            declared(&registry),
            (false, "add,mul".into(), "alpha,zeta".into())
        );

        let revision = registry.revision();
        let second = registry.listen("", "zeta", 1);
        registry.replace("", "add", 1);
        registry.remove(second);
        assert!(registry.set_handler("", "add", 2).is_err());
        assert_eq!(registry.revision(), revision, "the same names are declared");

        registry.remove(zeta);
        assert_eq!(registry.revision(), revision + 1);
        assert_eq!(declared(&registry).2, "alpha");
        let all = registry.listen_all("", 0);
        assert_eq!(registry.revision(), revision + 2);
        assert!(declared(&registry).0);
        registry.remove(all);
        assert_eq!(registry.revision(), revision + 3);
        registry.listen_once("", "tick", 0);
        assert_eq!(registry.revision(), revision + 4);
        registry.dispatch("", "tick");
        assert_eq!(registry.revision(), revision + 5);
    }

    #[test]
    fn nothing_is_left_of_what_was_removed() {
        let mut registry = Registry::new();
        let ids = [
            registry.listen("ns", "a", 0),
            registry.listen_all("ns", 0),
            registry.set_handler("ns", "a", 0).unwrap(),
        ];
        for id in ids {
            assert_eq!(registry.remove(id), Some(0));
        }
        registry.listen_once("ns", "a", 0);
        registry.dispatch("ns", "a");
        assert_eq!(registry.namespaces().count(), 0);
        assert!(registry.places.is_empty());
    }

    #[test]
    fn a_listener_may_remove_one_that_would_be_called_after_it() {
        let mut registry = Registry::new();
        registry.listen("", "foo", "a");
        let later = registry.listen("", "foo", "b");
        let calls = registry.dispatch("", "foo");
        registry.remove(later);
        let called: Vec<_> = calls
            .iter()
            .filter(|(id, _)| registry.contains(*id))
            .collect();
        assert_eq!(called.len(), 1);
    }
}
