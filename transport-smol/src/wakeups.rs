//! What woke the driver: each source and each handler has a waker of its own, so that a wake costs
//! the driver one look at what is ready, however much it waits for.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use switchboard_os::engine::SourceId;

/// What is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Source(SourceId),
    /// A running handler, by its number in the driver's table.
    Task(usize),
}

#[derive(Debug, Default)]
pub(crate) struct Wakeups {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    ready: Vec<Key>,
    driver: Option<Waker>,
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

    /// Moves what is ready into an empty list.
    pub(crate) fn take(&self, list: &mut Vec<Key>) {
        mem::swap(&mut self.lock().ready, list);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().ready.is_empty()
    }

    /// Wakes the driver, for what is no key's. Costs nothing while it is awake already.
    pub(crate) fn poke(&self) {
        let driver = self.lock().driver.take();
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    fn push(&self, key: Key) {
        let driver = {
            let mut inner = self.lock();
            inner.ready.push(key);
            inner.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that can panic runs under it, so there is no half-made change to fear.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The waker of one key. Queues its key once until the driver has looked at it.
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

    /// The driver looks at the key now: later wakes queue it again.
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
