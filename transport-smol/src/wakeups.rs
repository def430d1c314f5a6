//! What woke whom: each source, each timer and each handler has a waker of its own, so that a wake
//! costs one look at what is ready, however much is waited for.
//!
//! What sockets and time say is for whoever leads, see [`crate::lead`]: for a future that waits if
//! there is one, else for the driver. Handlers are the driver's alone.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use switchboard_os::engine::SourceId;

/// What is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Source(SourceId),
    /// The engine's deadline.
    Deadline,
    /// A running handler, by its number in the driver's table.
    Task(usize),
    /// It is time to look whether the leader still does its work.
    Watch,
}

#[derive(Debug, Default)]
pub(crate) struct Wakeups {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// For whoever leads.
    io: Vec<Key>,
    /// There is something for whoever leads that is no key's.
    poked: bool,
    /// For the driver.
    own: Vec<Key>,
    driver: Option<Waker>,
    leader: Option<Leader>,
    /// Counts how often somebody took the lead or was polled with it.
    polls: u64,
}

#[derive(Debug)]
struct Leader {
    token: u64,
    waker: Waker,
    /// It was woken and has not been polled since.
    woken: bool,
}

impl Wakeups {
    /// Whom to wake from now on. Registered before the driver looks at anything, so that what
    /// changes meanwhile wakes it again.
    pub(crate) fn register(&self, waker: &Waker) {
        let replaced = {
            let mut inner = self.lock();
            match &mut inner.driver {
                Some(old) if old.will_wake(waker) => None,
                slot => slot.replace(waker.clone()),
            }
        };
        drop(replaced);
    }

    /// Gives the lead to a future that waits, where no other has it; registered as the driver is.
    /// `None` where another one leads, else its token and whether there is something to do.
    pub(crate) fn lead(&self, token: Option<u64>, waker: &Waker) -> Option<(u64, bool)> {
        let (led, replaced) = {
            let mut inner = self.lock();
            let polls = inner.polls + 1;
            let work = inner.has_io();
            match (&mut inner.leader, token) {
                (Some(leader), Some(token)) if leader.token == token => {
                    leader.woken = false;
                    let replaced = match leader.waker.will_wake(waker) {
                        true => None,
                        false => Some(mem::replace(&mut leader.waker, waker.clone())),
                    };
                    inner.polls = polls;
                    (Some((token, work)), replaced)
                }
                // One that had it was relieved, and does not take it back.
                (slot @ None, None) => {
                    *slot = Some(Leader {
                        token: polls,
                        waker: waker.clone(),
                        woken: false,
                    });
                    inner.polls = polls;
                    (Some((polls, work)), None)
                }
                _ => (None, None),
            }
        };
        drop(replaced);
        led
    }

    /// Gives the lead back to the driver, which is woken if there is something to do.
    pub(crate) fn leave(&self, token: u64, more: bool) {
        let (leader, driver) = {
            let mut inner = self.lock();
            let leader = inner.leader.take_if(|leader| leader.token == token);
            match more || inner.has_io() {
                true => (leader, inner.driver.take()),
                false => (leader, None),
            }
        };
        drop(leader);
        wake(driver);
    }

    /// Relieves a leader that was not polled since the count was this: its future may be held by
    /// somebody who does not poll it. The count as it is now, where somebody still leads.
    pub(crate) fn relieve(&self, polls: u64) -> Option<u64> {
        let relieved = {
            let mut inner = self.lock();
            let current = inner.polls;
            if inner.leader.is_some() && current != polls {
                return Some(current);
            }
            inner.leader.take()
        };
        drop(relieved);
        None
    }

    /// See [`Wakeups::relieve`].
    pub(crate) fn polls(&self) -> u64 {
        self.lock().polls
    }

    /// Moves what is ready for the leader into an empty list.
    pub(crate) fn take_io(&self, list: &mut Vec<Key>) {
        let mut inner = self.lock();
        inner.poked = false;
        mem::swap(&mut inner.io, list);
    }

    /// Moves what is ready for the driver into an empty list.
    pub(crate) fn take_own(&self, list: &mut Vec<Key>) {
        mem::swap(&mut self.lock().own, list);
    }

    pub(crate) fn has_io(&self) -> bool {
        self.lock().has_io()
    }

    pub(crate) fn has_own(&self) -> bool {
        !self.lock().own.is_empty()
    }

    /// Wakes the driver, for what is no key's. Costs nothing while it is awake already.
    pub(crate) fn poke(&self) {
        let driver = self.lock().driver.take();
        wake(driver);
    }

    /// Wakes whoever leads, for what is no key's. Kept until a round begins after it: the one that
    /// is under way may have passed what it is about.
    pub(crate) fn poke_leader(&self) {
        let waker = {
            let mut inner = self.lock();
            inner.poked = true;
            inner.leading()
        };
        wake(waker);
    }

    fn push(&self, key: Key) {
        let waker = {
            let mut inner = self.lock();
            match key {
                Key::Source(_) | Key::Deadline => {
                    inner.io.push(key);
                    inner.leading()
                }
                Key::Task(_) | Key::Watch => {
                    inner.own.push(key);
                    inner.driver.take()
                }
            }
        };
        wake(waker);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that can panic runs under it, so there is no half-made change to fear.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn has_io(&self) -> bool {
        self.poked || !self.io.is_empty()
    }

    /// Who is to be woken of those that lead.
    fn leading(&mut self) -> Option<Waker> {
        match &mut self.leader {
            Some(leader) => {
                let first = !mem::replace(&mut leader.woken, true);
                first.then(|| leader.waker.clone())
            }
            None => self.driver.take(),
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The waker of one key. Queues its key once until it was looked at.
#[derive(Debug)]
pub(crate) struct KeyWaker {
    key: Key,
    queued: AtomicBool,
    wakeups: Arc<Wakeups>,
}

impl KeyWaker {
    pub(crate) fn new(key: Key, wakeups: &Arc<Wakeups>) -> Arc<Self> {
        Arc::new(Self {
            key,
            queued: AtomicBool::new(false),
            wakeups: Arc::clone(wakeups),
        })
    }

    /// The key is looked at now: later wakes queue it again.
    pub(crate) fn looked_at(&self) {
        self.queued.store(false, Ordering::Release);
    }
}

impl Wake for KeyWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.wakeups.push(self.key);
        }
    }
}
