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

use switchboard_os::Attachment;
use switchboard_os::app::{Connection, ConnectionError, Order, Service, State};
use switchboard_os::engine::{Engine, EngineFault};
use switchboard_proto::codec::CodecTable;
use switchboard_proto::{Event, MessageId, RequestId};

use super::Peer;
use super::handler::Run;
use super::subs::{Queue, Watchers};
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
    pub(super) service: Service<Run>,
    /// Requests that somebody waits for.
    pub(super) outcomes: BTreeMap<RequestId, Option<ReplyOutcome>>,
    /// Events whose fate somebody waits for.
    pub(super) fates: BTreeMap<MessageId, Option<switchboard_proto::Fate<Attachment>>>,
    pub(super) watchers: Watchers,
    /// Those who take events one by one.
    pub(super) queues: Vec<Weak<Queue>>,
    /// Whom to wake when the lock is free.
    wakes: Vec<Waker>,
    tasks: VecDeque<Task>,
    running: usize,
    /// Of which orders one runs: the next waits for its end.
    orders: Vec<Order>,
    /// Counts the news that buffers have room again.
    pub(super) sendable: u64,
    pub(super) drained: bool,
    closed: bool,
    connection: Connection,
    /// Something else than an event changed what others may wait for.
    pub(super) stirred: bool,
    /// A thread sleeps in the poller, until then at the latest.
    sleeping: Option<Option<switchboard_proto::Instant>>,
    /// Threads that sleep on the condition.
    followers: usize,
    /// How many [`Cork`](super::Cork)s there are.
    pub(super) corks: usize,
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
        let service = board.service();
        Self {
            handlers,
            inner: Mutex::new(Inner {
                board,
                service,
                outcomes: BTreeMap::new(),
                fates: BTreeMap::new(),
                watchers: Watchers::default(),
                queues: Vec::new(),
                wakes: Vec::new(),
                tasks: VecDeque::new(),
                running: 0,
                orders: Vec::new(),
                sendable: 0,
                drained: false,
                closed: false,
                connection: Connection::default(),
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
        if !inner.has_tasks() {
            self.hand_over(&inner);
        } else if inner.followers > 0 {
            // Which of them serve is not known here.
            self.changed.notify_all();
        }
        drop(inner);
        let (ticket, order) = (task.ticket, task.order.clone());
        let answer = serve().map(|peer| {
            let address = Arc::as_ptr(peer.shared()) as usize;
            INSIDE.with_borrow_mut(|all| all.push(address));
            let answer = task.run(peer);
            INSIDE.with_borrow_mut(Vec::pop);
            answer
        });
        let mut inner = self.lock();
        inner.running -= 1;
        if let Some(order) = order {
            inner.orders.retain(|one| *one != order);
        }
        if let Some(answer) = answer {
            // It is written with the answers of the handlers that are called next.
            inner.registrations(|service, engine| service.answer(engine, ticket, answer));
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

    /// Wakes a follower, to become the leader if nobody is; or the leader, for what could not begin
    /// while this thread ran a handler.
    fn hand_over(&self, inner: &Inner) {
        if inner.followers > 0 {
            self.changed.notify_one();
        } else if inner.sleeping.is_some() && inner.has_tasks() {
            inner.board.handle.wake();
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
    /// Changes who is called, which others are told.
    pub(super) fn registrations<T>(
        &mut self,
        change: impl FnOnce(&mut Service<Run>, &mut Engine) -> T,
    ) -> T {
        let changed = change(&mut self.service, &mut self.board.engine);
        self.board.gather();
        changed
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

    /// Whether the connection stands, or why it will not. `None`: it is to be waited for.
    pub(super) fn verdict(&self) -> Option<Result<(), ConnectionError>> {
        match self.closed {
            true => Some(Err(ConnectionError::Closed)),
            false => self.connection.verdict(&self.board.engine),
        }
    }

    /// What is told when the time of who waits for the connection is over.
    pub(super) fn timed_out(&self) -> ConnectionError {
        self.connection.timed_out()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether nobody will ever ask anything of this peer again.
    pub(super) fn has_ended(&self) -> bool {
        self.closed || self.connection.has_given_up()
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
            self.connection.note_fault(&fault);
            let is_defect = matches!(fault, EngineFault::Defect { .. });
            self.watchers.push(&State::Fault(Arc::new(fault)));
            if is_defect {
                self.close();
            }
        }
        // What waits unserved is no news, or those who wait for something else would never sleep.
        news | (self.board.waiting_namespaces() > waiting)
    }

    fn take_event(&mut self, event: Event<Attachment>) {
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
            Event::Cancelled(ticket) => self.wakes.extend(self.service.cancelled(ticket)),
            Event::Sendable(_) => self.sendable += 1,
            Event::Drained { .. } => self.drained = true,
            other => {
                self.connection.note(&other);
                if let Some(state) = State::of(&other) {
                    self.watchers.push(&state);
                }
            }
        }
    }

    /// Takes the next message out of the node for which a handler is to be called.
    fn pull(&mut self) -> Option<Task> {
        while !self.is_held_back() {
            let delivery = self.board.next_delivery()?;
            let job = self.registrations(|service, engine| service.job(engine, delivery));
            match job.map(Task::new) {
                Some(Ok(task)) => return Some(task),
                Some(Err((ticket, answer))) => {
                    self.stirred = true;
                    self.registrations(|service, engine| service.answer(engine, ticket, answer));
                }
                None => {}
            }
        }
        None
    }

    /// Gives those theirs who only take events, as long as nobody runs handlers.
    pub(super) fn pull_all(&mut self) {
        while self.tasks.len() < self.board.handlers
            && let Some(task) = self.pull()
        {
            self.tasks.push_back(task);
        }
    }

    /// Whether a handler may be to be called.
    fn has_tasks(&self) -> bool {
        !self.tasks.is_empty() || self.board.has_incoming()
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
        let is_free = |orders: &[Order], task: &Task| {
            let order = task.order.as_ref();
            order.is_none_or(|order| !orders.contains(order))
        };
        let mut waiting = self.tasks.iter();
        let at = waiting.position(|task| is_free(&self.orders, task));
        let mut task = at.and_then(|at| self.tasks.remove(at));
        while task.is_none() && self.tasks.len() < self.board.handlers {
            let next = self.pull()?;
            match is_free(&self.orders, &next) {
                true => task = Some(next),
                false => self.tasks.push_back(next),
            }
        }
        let task = task?;
        self.orders.extend(task.order.clone());
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
