//! What reads, writes and keeps time for a peer. It lies behind a lock beside that of the state, and
//! whoever leads takes it for one round after the other.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_io::Timer;
use switchboard_os::engine::SourceId;
use switchboard_proto::Instant;

use crate::shared::{Shared, State, Wakes, clock_now};
use crate::sources::{Change, Report, Sources, collect};
use crate::wakeups::{Key, KeyWaker, Wakeups};

/// How long a leader may go unpolled. Long enough that the driver wakes seldom while requests come
/// and go, and short beside every deadline of the protocol.
const WATCH: Duration = Duration::from_millis(10);

pub(crate) struct Pump {
    sources: Sources,
    deadline: Alarm,
    armed: Option<Instant>,
    watch: Alarm,
    /// The count of polls when the watch was set.
    watched: Option<u64>,
    wakeups: Arc<Wakeups>,
    ready: Vec<Key>,
    reports: Vec<Report>,
    refused: Vec<(SourceId, io::Error)>,
    changes: Vec<Change>,
}

/// A timer that wakes a key.
struct Alarm {
    timer: Timer,
    key: Arc<KeyWaker>,
    waker: Waker,
}

/// What the locked part of a round says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    /// There is something for the next round.
    pub(crate) more: bool,
    /// There is something that only the driver does.
    pub(crate) for_driver: bool,
    pub(crate) closed: bool,
}

impl Pump {
    pub(crate) fn new(wakeups: &Arc<Wakeups>) -> Self {
        Self {
            sources: Sources::default(),
            deadline: Alarm::new(Key::Deadline, wakeups),
            armed: None,
            watch: Alarm::new(Key::Watch, wakeups),
            watched: None,
            wakeups: Arc::clone(wakeups),
            ready: Vec::new(),
            reports: Vec::new(),
            refused: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Reads, writes and fires what is due, once. `before` and `after` use the same turn of the
    /// state's lock for what is the caller's own. Whom to wake comes back, for when this is free.
    pub(crate) fn round<R>(
        &mut self,
        shared: &Shared,
        before: impl FnOnce(&mut State),
        after: impl FnOnce(&mut State) -> R,
    ) -> (Said, R, Wakes) {
        self.look();
        let ((mut said, deadline, result), wakes) = shared.drive(|state| {
            for (source, error) in self.refused.drain(..) {
                state.engine.refused(source, error);
            }
            for report in &self.reports {
                let engine = &mut state.engine;
                engine.ready(report.source, report.readable, report.writable);
            }
            before(state);
            let _ = state.engine.turn();
            state.settle();
            let result = after(state);
            collect(&mut state.engine, &mut self.changes);
            let said = Said {
                more: state.engine.has_more(),
                for_driver: state.is_for_driver(),
                closed: state.closed,
            };
            (said, state.arm(), result)
        });
        said.more |= self.apply() | self.sleep(deadline);
        (said, result, wakes)
    }

    /// Sees to it that the driver looks after a leader.
    pub(crate) fn watch_leader(&mut self) {
        if self.watched.is_none() {
            self.set_watch(self.wakeups.polls());
        }
    }

    /// The time of the watch is over: a leader that was not polled since is relieved.
    pub(crate) fn watch_is_over(&mut self) {
        self.watch.key.looked_at();
        let watched = self.watched.take();
        if let Some(polls) = watched.and_then(|watched| self.wakeups.relieve(watched)) {
            self.set_watch(polls);
        }
    }

    /// Nothing more is waited for.
    pub(crate) fn end(&mut self) {
        self.sources = Sources::default();
        self.changes.clear();
        self.deadline.timer = Timer::never();
        self.watch.timer = Timer::never();
    }

    /// Looks at what is ready.
    fn look(&mut self) {
        self.wakeups.take_io(&mut self.ready);
        for key in self.ready.drain(..) {
            match key {
                Key::Source(source) => self.reports.extend(self.sources.report(source)),
                Key::Deadline => self.deadline.key.looked_at(),
                // These are queued for the driver alone.
                Key::Task(_) | Key::Watch => {}
            }
        }
    }

    /// Tells the reactor what to wait for. `true` if it does not take one of them.
    fn apply(&mut self) -> bool {
        for change in self.changes.drain(..) {
            let applied = self.sources.apply(change, &self.wakeups);
            self.refused.extend(applied.err());
        }
        for report in self.reports.drain(..) {
            if let Err(error) = self.sources.arm(report.source) {
                self.refused.push((report.source, error));
            }
        }
        !self.refused.is_empty()
    }

    /// Sets the timer to the deadline. `true` if it is over already.
    fn sleep(&mut self, deadline: Option<Instant>) -> bool {
        // A timer that fires too early costs one look; to move it with every message would cost a
        // lock and often a wake of the reactor.
        if let Some(at) = deadline
            && self.armed.is_none_or(|armed| at < armed)
        {
            self.armed = deadline;
            // This clock stands still while the machine sleeps: then the timer fires late by as much
            // as was left of it.
            let after = at.saturating_since(clock_now());
            self.deadline.timer.set_after(after);
        }
        let over = self.deadline.is_over();
        if over {
            self.armed = None;
        }
        over
    }

    fn set_watch(&mut self, polls: u64) {
        self.watched = Some(polls);
        self.watch.timer.set_after(WATCH);
        if self.watch.is_over() {
            self.watch.waker.wake_by_ref();
        }
    }
}

impl Alarm {
    fn new(key: Key, wakeups: &Arc<Wakeups>) -> Self {
        let key = KeyWaker::new(key, wakeups);
        Self {
            timer: Timer::never(),
            waker: Waker::from(Arc::clone(&key)),
            key,
        }
    }

    /// If not, its key is woken when it is.
    fn is_over(&mut self) -> bool {
        let mut cx = Context::from_waker(&self.waker);
        matches!(
            std::future::Future::poll(Pin::new(&mut self.timer), &mut cx),
            Poll::Ready(_)
        )
    }
}
