//! The board behind all handles, and who drives it.
//!
//! Leader and followers: the thread that waits and finds the poller in its place takes it out and
//! sleeps in it without the lock; the others sleep on a condition. Who has what it waited for puts
//! the poller back and wakes one of the others, which takes over.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use switchboard_os::app::{Cancel, RegisterError};
use switchboard_os::engine::EngineFault;
use switchboard_proto::codec::CodecTable;
use switchboard_proto::registry::{Registry, SubId};
use switchboard_proto::{DeclareError, Event, MessageId, NamespaceId, RequestId, Ticket};

use super::Peer;
use super::handler::Callee;
use super::subs::{Queue, State, Watchers};
use super::task::Task;
use crate::board::Board;
use crate::incoming::ReplyOutcome;

thread_local! {
    /// The peers whose handlers this thread is in the middle of, by address.
    static INSIDE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
    pub(super) codecs: Arc<CodecTable>,
    /// How many handlers run at once, or lie on one thread's stack because each waits for the next.
    handlers: usize,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) board: Board,
    pub(super) registry: Registry<Callee>,
    /// What was declared last.
    revision: u64,
    /// Requests that somebody waits for.
    pub(super) outcomes: BTreeMap<RequestId, Option<ReplyOutcome>>,
    /// Events whose fate somebody waits for.
    pub(super) fates: BTreeMap<MessageId, Option<switchboard_proto::Fate<std::os::fd::OwnedFd>>>,
    /// Requests that are being handled, to be told that nobody waits any more.
    pub(super) cancels: BTreeMap<Ticket, Arc<Cancel>>,
    pub(super) watchers: Watchers,
    /// Those who take events one by one.
    pub(super) queues: Vec<Weak<Queue>>,
    /// Whom to wake when the lock is free.
    wakes: Vec<Waker>,
    tasks: VecDeque<Task>,
    running: usize,
    /// Counts the news that buffers have room again.
    pub(super) sendable: u64,
    pub(super) drained: bool,
    closed: bool,
    /// The hub is lost for good.
    gave_up: bool,
    /// Something else than an event changed what others may wait for.
    pub(super) stirred: bool,
    /// A thread sleeps in the poller, until then at the latest.
    sleeping: Option<Option<switchboard_proto::Instant>>,
    /// Threads that sleep on the condition.
    followers: usize,
    /// How many [`Cork`](super::Cork)s there are.
    pub(super) corks: usize,
}

/// For what something is registered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Roles {
    pub(super) events: bool,
    pub(super) requests: bool,
    /// In the place of who answers requests now.
    pub(super) replace: bool,
}

/// Whether this thread is in the middle of a handler of the peer, and may run one more on top.
pub(super) fn is_inside(shared: &Arc<Shared>) -> bool {
    let address = Arc::as_ptr(shared) as usize;
    INSIDE.with_borrow(|all| {
        let here = all.iter().filter(|one| **one == address).count();
        here > 0 && here < shared.handlers
    })
}

/// Who serves: gives the handle that its handlers see. `None` when there is none any more.
pub(super) type Serve<'a> = &'a dyn Fn() -> Option<Peer>;

impl Shared {
    pub(super) fn new(board: Board) -> Self {
        let codecs = Arc::clone(&board.codecs);
        let handlers = board.handlers;
        Self {
            handlers,
            inner: Mutex::new(Inner {
                board,
                registry: Registry::new(),
                revision: 0,
                outcomes: BTreeMap::new(),
                fates: BTreeMap::new(),
                cancels: BTreeMap::new(),
                watchers: Watchers::default(),
                queues: Vec::new(),
                wakes: Vec::new(),
                tasks: VecDeque::new(),
                running: 0,
                sendable: 0,
                drained: false,
                closed: false,
                gave_up: false,
                stirred: false,
                sleeping: None,
                followers: 0,
                corks: 0,
            }),
            changed: Condvar::new(),
            codecs,
        }
    }

    /// Only looks.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Inner) -> T) -> T {
        look(&self.lock())
    }

    /// Does something with the board, in this thread and at once, and tells those whom it concerns.
    pub(super) fn operate<T>(&self, operation: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let result = operation(&mut inner);
        inner.write();
        self.settle(&mut inner);
        unlock(inner);
        result
    }

    pub(super) fn wait_for<T>(
        &self,
        serve: Option<Serve<'_>>,
        until: Option<Instant>,
        mut look: impl FnMut(&mut Inner) -> Option<T>,
    ) -> Option<T> {
        let mut inner = self.lock();
        loop {
            self.settle(&mut inner);
            if !inner.wakes.is_empty() {
                unlock(inner);
                inner = self.lock();
                continue;
            }
            if let Some(found) = look(&mut inner) {
                // To look may have been to send, also to a handler of this very peer, and the
                // leader that would run it sleeps.
                inner.write();
                self.settle(&mut inner);
                self.hand_over(&inner);
                unlock(inner);
                return Some(found);
            }
            if let Some(serve) = serve {
                let task = inner.next_task();
                self.settle(&mut inner);
                if let Some(task) = task {
                    inner = self.run(inner, task, serve);
                    continue;
                }
            }
            // The batch is over. To write it can bring what is waited for.
            if inner.board.flush_pending() {
                continue;
            }
            let left = until.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                self.hand_over(&inner);
                return None;
            }
            inner = match inner.board.poller.is_some() {
                true => self.lead(inner, left),
                false => self.follow(inner, left),
            };
        }
    }

    /// Sleeps in the poller, without the lock, and does what came.
    fn lead<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner>,
        left: Option<Duration>,
    ) -> MutexGuard<'a, Inner> {
        let timeout = [inner.board.engine.timeout(), left];
        let timeout = timeout.into_iter().flatten().min();
        let Some(mut poller) = inner.board.poller.take() else {
            return inner;
        };
        if timeout == Some(Duration::ZERO) {
            // It does not sleep, so nobody needs the lock meanwhile.
            let _ = poller.wait(timeout);
        } else {
            inner.sleeping = Some(inner.board.engine.deadline());
            drop(inner);
            // A poller that cannot wait cannot do anything; the turn is then made of deadlines.
            let _ = poller.wait(timeout);
            inner = self.lock();
            inner.sleeping = None;
        }
        let _ = poller.report(&mut inner.board.engine);
        inner.board.poller = Some(poller);
        inner.board.turn();
        inner
    }

    /// Sleeps until the leader, or whoever does something, has news.
    fn follow<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner>,
        left: Option<Duration>,
    ) -> MutexGuard<'a, Inner> {
        inner.followers += 1;
        let mut inner = match left {
            None => self
                .changed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner),
            Some(left) => {
                let waited = self.changed.wait_timeout(inner, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        inner.followers -= 1;
        inner
    }

    /// Runs a handler, without the lock.
    fn run<'a>(
        &'a self,
        inner: MutexGuard<'a, Inner>,
        task: Task,
        serve: Serve<'_>,
    ) -> MutexGuard<'a, Inner> {
        if inner.tasks.is_empty() {
            self.hand_over(&inner);
        } else if inner.followers > 0 {
            // Which of them serve is not known here.
            self.changed.notify_all();
        }
        drop(inner);
        let ticket = task.ticket();
        let answer = serve().map(|peer| {
            let address = Arc::as_ptr(peer.shared()) as usize;
            INSIDE.with_borrow_mut(|all| all.push(address));
            let answer = task.run(&peer);
            INSIDE.with_borrow_mut(Vec::pop);
            answer
        });
        let mut inner = self.lock();
        inner.running -= 1;
        if let (Some(ticket), Some(answer)) = (ticket, answer) {
            inner.cancels.remove(&ticket);
            // Who asked may have ended meanwhile; the node counts that. It is written with the
            // answers of the handlers that are called next.
            let _ = inner.board.answer(ticket, answer);
        }
        inner
    }

    /// Takes in what happened, and wakes whom it concerns.
    fn settle(&self, inner: &mut Inner) {
        let news = inner.take_events();
        if news && inner.followers > 0 {
            self.changed.notify_all();
        }
        if let Some(until) = inner.sleeping {
            let engine = &inner.board.engine;
            let earlier = match (engine.deadline(), until) {
                (Some(now), Some(then)) => now < then,
                (Some(_), None) => true,
                (None, _) => false,
            };
            if news || earlier || engine.has_more() {
                inner.board.handle.wake();
            }
        }
    }

    /// Wakes a follower, to become the leader if nobody is.
    fn hand_over(&self, inner: &Inner) {
        if inner.followers > 0 {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| {
            // No code of the application runs under it, so a panic under it is a defect of ours. It
            // was reported where it happened, and what it left behind is not used any further.
            self.inner.clear_poison();
            let mut inner = poisoned.into_inner();
            inner
                .board
                .engine
                .give_up("a panic under the lock of a peer");
            inner
        })
    }
}

/// Gives the lock back, and wakes then who is to be woken: what that runs is not ours.
fn unlock(mut inner: MutexGuard<'_, Inner>) {
    let wakes = std::mem::take(&mut inner.wakes);
    drop(inner);
    wakes.into_iter().for_each(Waker::wake);
}

impl Inner {
    /// Declares the names of a namespace as the registry has them, with one more of each kind.
    pub(super) fn declare(
        &mut self,
        namespace: NamespaceId,
        request: Option<&str>,
        event: Option<&str>,
    ) -> Result<(), DeclareError> {
        let shown = Arc::clone(self.board.shown_namespace(namespace));
        let declaration = self.registry.declaration(&shown);
        let all = declaration.all_events;
        let handlers: Vec<_> = declaration.handlers.into_iter().chain(request).collect();
        let listeners: Vec<_> = declaration.listeners.into_iter().chain(event).collect();
        self.board.declare(namespace, |names| {
            names.handlers = handlers.iter().map(|name| (*name).into()).collect();
            names.listeners = listeners.iter().map(|name| (*name).into()).collect();
            names.all_events = all;
        })
    }

    pub(super) fn declare_all_events(
        &mut self,
        namespace: NamespaceId,
    ) -> Result<(), DeclareError> {
        self.board
            .declare(namespace, |names| names.all_events = true)
    }

    /// Registers a callee and declares its name. The ids, whether it answers requests, and who did
    /// so before: to be dropped when the lock is free.
    pub(super) fn register(
        &mut self,
        namespace: NamespaceId,
        shown: &str,
        name: &str,
        callee: Callee,
        roles: Roles,
    ) -> Result<(Vec<SubId>, bool, Option<Callee>), RegisterError> {
        let taken = self.registry.handler(shown, name).is_some();
        let answers = roles.requests && (roles.replace || !taken);
        if roles.requests && !answers && !roles.events {
            let name = name.to_owned();
            return Err(RegisterError::HandlerExists { name });
        }
        let (request, event) = (answers.then_some(name), roles.events.then_some(name));
        self.declare(namespace, request, event)?;
        let (mut ids, mut former) = (Vec::new(), None);
        if answers {
            let (id, old) = self.registry.replace(shown, name, callee.clone());
            ids.push(id);
            former = old;
        }
        if roles.events {
            ids.push(self.registry.listen(shown, name, callee));
        }
        self.revision = self.registry.revision();
        Ok((ids, answers, former))
    }

    pub(super) fn insert_all(&mut self, shown: &str, callee: Callee) -> Vec<SubId> {
        let id = self.registry.listen_all(shown, callee);
        self.revision = self.registry.revision();
        vec![id]
    }

    /// Takes registrations out, for the caller to drop when it has given the lock back.
    pub(super) fn remove(&mut self, namespace: NamespaceId, ids: &[SubId]) -> Vec<Callee> {
        let removed = ids.iter().filter_map(|id| self.registry.remove(*id));
        let removed = removed.collect();
        self.declare_changes(namespace);
        removed
    }

    pub(super) fn declare_changes(&mut self, namespace: NamespaceId) {
        if std::mem::replace(&mut self.revision, self.registry.revision())
            != self.registry.revision()
        {
            // Fewer names than before always fit.
            let _ = self.declare(namespace, None, None);
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.stirred = true;
        // Who waits for room finds out that there will be none.
        self.sendable += 1;
        self.board.close();
    }

    /// Writes what an operation caused, unless more is to come.
    pub(super) fn write(&mut self) {
        if self.corks == 0 {
            self.board.flush_pending();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether nobody will ever ask anything of this peer again.
    pub(super) fn has_ended(&self) -> bool {
        self.closed || self.gave_up
    }

    /// Puts what happened where those who wait look for it. Whether there was anything.
    fn take_events(&mut self) -> bool {
        let waiting = self.board.waiting_namespaces();
        let mut news = std::mem::take(&mut self.stirred);
        while let Some(event) = self.board.next_event() {
            news = true;
            self.take_event(event);
        }
        while let Some(fault) = self.board.next_fault() {
            news = true;
            let is_defect = matches!(fault, EngineFault::Defect { .. });
            self.watchers.push(&State::Fault(Arc::new(fault)));
            if is_defect {
                self.close();
            }
        }
        // What waits unserved is no news, or those who wait for something else would never sleep.
        news | (self.board.waiting_namespaces() > waiting)
    }

    fn take_event(&mut self, event: Event<std::os::fd::OwnedFd>) {
        match event {
            Event::Outcome { request, outcome } => {
                let outcome = self.board.reply_outcome(request, outcome);
                // Without a slot, nobody waits any more: its handle was dropped.
                if let Some(slot) = self.outcomes.get_mut(&request) {
                    *slot = Some(outcome);
                }
            }
            Event::Fate { message, fate } => match self.fates.get_mut(&message) {
                Some(slot) => *slot = Some(fate),
                None => self.watchers.push(&State::Fate {
                    message,
                    fate: Arc::new(fate),
                }),
            },
            Event::Cancelled(ticket) => {
                if let Some(flag) = self.cancels.get(&ticket) {
                    self.wakes.extend(flag.cancel());
                }
            }
            Event::Sendable(_) => self.sendable += 1,
            Event::Drained { .. } => self.drained = true,
            other => {
                match &other {
                    Event::GaveUp => self.gave_up = true,
                    Event::Connected { .. } => self.gave_up = false,
                    _ => {}
                }
                if let Some(state) = State::of(&other) {
                    self.watchers.push(&state);
                }
            }
        }
    }

    /// Takes messages out of the node, as long as there is somebody to take them.
    pub(super) fn pull(&mut self) {
        while self.tasks.len() < self.board.handlers && !self.is_held_back() {
            let Some(delivery) = self.board.next_delivery() else {
                break;
            };
            let namespace = delivery.namespace;
            let now = self.board.engine.now();
            let shown = Arc::clone(self.board.shown_namespace(namespace));
            let task = Task::new(delivery, now, shown, &mut self.registry);
            self.stirred |= task.was_queued();
            if let Some((ticket, flag)) = task.cancel_flag() {
                self.cancels.insert(ticket, flag);
            }
            if task.has_calls() {
                self.tasks.push_back(task);
            }
            // A `once` leaves the table when it is given out.
            self.declare_changes(namespace);
        }
    }

    /// Whether a queue of events is so long that nothing more is taken for anybody.
    fn is_held_back(&self) -> bool {
        self.queues
            .iter()
            .filter_map(Weak::upgrade)
            .any(|queue| queue.is_full())
    }

    fn next_task(&mut self) -> Option<Task> {
        if self.running >= self.board.handlers {
            return None;
        }
        if self.tasks.is_empty() {
            self.pull();
        }
        let task = self.tasks.pop_front()?;
        self.running += 1;
        // An answer waits for those of other handlers to be written with them, but never for one
        // that may take long.
        let engine = &self.board.engine;
        if engine.has_unwritten() && (!task.is_quick() || engine.must_flush(engine.now())) {
            self.board.flush();
        }
        Some(task)
    }
}
