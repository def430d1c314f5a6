//! Who is called for what has come: the part of a handle that is the same in every driver.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use switchboard_proto::registry::{Calls, HandlerExists, Registry, Roles, SubId};
use switchboard_proto::{Answer, DeclareError, Delivery, InstanceId, Names, NamespaceId, Ticket};

use super::{Arrived, HandlerStats, NOBODY, RegisterError};
use crate::Attachment;
use crate::engine::Engine;

/// The registrations of one peer, what of them is declared to the others, and the requests that are
/// being handled. `R` is what the driver calls.
#[derive(Debug)]
pub struct Service<R> {
    registry: Registry<Arc<Callee<R>>>,
    spaces: BTreeMap<NamespaceId, Space>,
    /// Of the registry, when it was last declared.
    revision: u64,
    /// Requests that are being handled, to be told that nobody waits any more.
    handled: HashMap<Ticket, Arc<Arrived>>,
    /// What the handlers have done.
    pub stats: HandlerStats,
}

/// One who is called.
#[derive(Debug)]
pub struct Callee<R> {
    /// How.
    pub run: R,
    /// Messages of one sender one after the other.
    pub ordered: bool,
    removed: AtomicBool,
}

/// Where one is registered.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The namespace.
    pub namespace: NamespaceId,
    /// The name.
    pub name: &'a str,
    /// For what.
    pub roles: Roles,
    /// In the place of who answers requests of the name now.
    pub replace: bool,
}

/// One who was taken out: to be dropped when no lock is held, as what a handler has captured may do
/// anything when it is dropped.
pub type Former<R> = Option<Arc<Callee<R>>>;

/// One message, and whom to call for it, in this order.
#[derive(Debug)]
pub struct Job<R> {
    /// Its namespace.
    pub namespace: NamespaceId,
    /// The namespace as people write it.
    pub shown: Arc<str>,
    /// The message.
    pub message: Arc<Arrived>,
    /// Whom to call.
    pub calls: Calls<Arc<Callee<R>>>,
    /// What the answer is for, where one is wanted.
    pub ticket: Option<Ticket>,
    /// In which queue it stands, where one of those that are called wants an order.
    pub order: Option<Order>,
}

/// Messages of one sender and name, in one namespace.
// Shared, as few messages have one and each is moved several times.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Order(Arc<(InstanceId, NamespaceId, Arc<str>)>);

#[derive(Debug)]
struct Space {
    shown: Arc<str>,
    /// Names that are declared whether somebody is registered for them or not.
    fixed: Names,
}

/// What is declared before somebody is registered for it: that there is no room for one more name is
/// known then while nothing has changed.
#[derive(Clone, Copy, Default)]
struct Wanted<'a> {
    request: Option<&'a str>,
    event: Option<&'a str>,
    all_events: bool,
}

impl<R> Callee<R> {
    /// One that is not registered yet.
    pub fn new(run: R, ordered: bool) -> Arc<Self> {
        Arc::new(Self {
            run,
            ordered,
            removed: AtomicBool::new(false),
        })
    }

    /// Whether it was taken out, so that no call may begin. (A `once` that was given out was not.)
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }
}

impl<R> Service<R> {
    /// A namespace was opened. `fixed` names stay declared in it.
    pub fn opened(&mut self, namespace: NamespaceId, shown: &Arc<str>, fixed: Names) {
        self.spaces.entry(namespace).or_insert_with(|| Space {
            shown: Arc::clone(shown),
            fixed,
        });
    }

    /// Registers one for messages of a name, and declares the name to the others. Who gives way to it
    /// comes back; what was given out to that one already it still answers.
    ///
    /// # Errors
    ///
    /// There is a handler already, or the name cannot be declared. Nothing has changed then.
    pub fn register(
        &mut self,
        engine: &mut Engine,
        place: Place<'_>,
        callee: Arc<Callee<R>>,
    ) -> Result<(SubId, Former<R>), RegisterError> {
        let Place {
            namespace,
            name,
            roles,
            replace,
        } = place;
        let exists = || RegisterError::HandlerExists {
            name: name.to_owned(),
        };
        let shown = self.shown(namespace)?;
        if !replace && !roles.events && self.registry.handler(&shown, name).is_some() {
            return Err(exists());
        }
        let wanted = Wanted {
            request: roles.requests.then_some(name),
            event: roles.events.then_some(name),
            all_events: false,
        };
        self.declare(engine, namespace, wanted)?;
        let (id, former) = match replace {
            true => self.registry.replace(&shown, name, roles, callee),
            false => {
                let registered = self.registry.register(&shown, name, roles, callee);
                (registered.map_err(|HandlerExists { .. }| exists())?, None)
            }
        };
        if former.is_some() {
            // It may have been for more than the new one is.
            self.declare_rest(engine, namespace);
        }
        self.revision = self.registry.revision();
        Ok((id, former))
    }

    /// Registers one for every event of a namespace, and declares that.
    ///
    /// # Errors
    ///
    /// The namespace is not open.
    pub fn listen_all(
        &mut self,
        engine: &mut Engine,
        namespace: NamespaceId,
        callee: Arc<Callee<R>>,
    ) -> Result<SubId, RegisterError> {
        let shown = self.shown(namespace)?;
        let wanted = Wanted {
            all_events: true,
            ..Wanted::default()
        };
        self.declare(engine, namespace, wanted)?;
        let id = self.registry.listen_all(&shown, callee);
        self.revision = self.registry.revision();
        Ok(id)
    }

    /// Takes one out, so that no further call of it begins. It comes back.
    pub fn remove(
        &mut self,
        engine: &mut Engine,
        namespace: NamespaceId,
        id: SubId,
        callee: &Callee<R>,
    ) -> Former<R> {
        // Also of a `once` that was given out and is not called yet.
        callee.removed.store(true, Ordering::Release);
        let former = self.registry.remove(id);
        self.declare_changes(engine, namespace);
        former
    }

    /// Whether a registration is the one that answers requests of its name now.
    pub fn answers(&self, id: SubId) -> bool {
        self.registry.answers(id)
    }

    /// Whom to call for a message. `None` where nobody is; who wants an answer has it then.
    pub fn job(&mut self, engine: &mut Engine, delivery: Delivery<Attachment>) -> Option<Job<R>> {
        let namespace = delivery.namespace;
        let shown = Arc::clone(&self.spaces.get(&namespace)?.shown);
        let (message, wants) = Arrived::new(delivery, engine.node_ref().now());
        let calls = match wants.request {
            true => {
                let handler = self.registry.handle(&shown, &message.name);
                handler.into_iter().collect()
            }
            false => self.registry.dispatch(&shown, &message.name),
        };
        // Each `once` has left with it.
        self.declare_changes(engine, namespace);
        if calls.is_empty() {
            if let Some(ticket) = wants.ticket {
                engine.reply_or_fail(ticket, NOBODY);
            }
            return None;
        }
        if let (true, Some(ticket)) = (wants.request, wants.ticket) {
            self.handled.insert(ticket, Arc::clone(&message));
        }
        let ordered = calls.iter().any(|(_, callee)| callee.ordered);
        let name = &message.name;
        let order = || {
            Order(Arc::new((
                message.from.instance,
                namespace,
                Arc::clone(name),
            )))
        };
        Some(Job {
            namespace,
            order: ordered.then(order),
            shown,
            message,
            calls,
            ticket: wants.ticket,
        })
    }

    /// The handlers of a message have returned: answers who wants to know.
    pub fn answer(
        &mut self,
        engine: &mut Engine,
        ticket: Option<Ticket>,
        answer: Answer<Attachment>,
    ) {
        self.stats.handled += 1;
        self.stats.failed += u64::from(matches!(answer, Answer::Failed(_)));
        if let Some(ticket) = ticket {
            self.handled.remove(&ticket);
            let waited = engine.reply_or_fail(ticket, answer);
            self.stats.stale_answers += u64::from(!waited);
        }
    }

    /// The requester of a running handler has no use for it any more. Returns whom to wake.
    pub fn cancelled(&mut self, ticket: Ticket) -> Vec<Waker> {
        let message = self.handled.remove(&ticket);
        message
            .map(|message| message.cancel.cancel())
            .unwrap_or_default()
    }

    /// No requester waits any more. Returns whom to wake.
    pub fn end(&mut self) -> Vec<Waker> {
        let handled = self.handled.drain();
        handled
            .flat_map(|(_, message)| message.cancel.cancel())
            .collect()
    }

    fn shown(&self, namespace: NamespaceId) -> Result<Arc<str>, DeclareError> {
        let space = self.spaces.get(&namespace);
        let space = space.ok_or(DeclareError::UnknownNamespace)?;
        Ok(Arc::clone(&space.shown))
    }

    fn declare_changes(&mut self, engine: &mut Engine, namespace: NamespaceId) {
        if self.revision != self.registry.revision() {
            self.declare_rest(engine, namespace);
            self.revision = self.registry.revision();
        }
    }

    /// What is left after something was taken out.
    fn declare_rest(&self, engine: &mut Engine, namespace: NamespaceId) {
        // Fewer names than before are never too many.
        let _ = self.declare(engine, namespace, Wanted::default());
    }

    /// Declares the names of a namespace as the registry has them, and what is wanted beside.
    fn declare(
        &self,
        engine: &mut Engine,
        namespace: NamespaceId,
        wanted: Wanted<'_>,
    ) -> Result<(), DeclareError> {
        let space = self.spaces.get(&namespace);
        let space = space.ok_or(DeclareError::UnknownNamespace)?;
        let declared = self.registry.declaration(&space.shown);
        let mut names = space.fixed.clone();
        let handlers = declared.handlers.into_iter().chain(wanted.request);
        names.handlers.extend(handlers.map(Arc::from));
        let listeners = declared.listeners.into_iter().chain(wanted.event);
        names.listeners.extend(listeners.map(Arc::from));
        names.all_events |= declared.all_events || wanted.all_events;
        let now = engine.now();
        engine.node().declare(now, namespace, names)
    }
}

impl<R> Default for Service<R> {
    fn default() -> Self {
        Self {
            registry: Registry::new(),
            spaces: BTreeMap::new(),
            revision: 0,
            handled: HashMap::new(),
            stats: HandlerStats::default(),
        }
    }
}
