//! A bounded queue from the driver to one stream of the application.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

#[derive(Debug)]
pub(crate) struct Queue<T>(Arc<Mutex<Inner<T>>>);

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    waker: Option<Waker>,
    /// Nobody reads any more.
    dropped: bool,
    /// Nothing more will come.
    ended: bool,
    /// The writer waits for room.
    was_full: bool,
    /// Items that gave way to later ones.
    lost: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Inner {
            items: VecDeque::new(),
            waker: None,
            dropped: false,
            ended: false,
            was_full: false,
            lost: 0,
        })))
    }

    /// Adds an item; the reader to wake comes back, for when no lock is held.
    pub(crate) fn push(&self, item: T) -> Option<Waker> {
        let mut inner = self.lock();
        if inner.dropped {
            return None;
        }
        inner.items.push_back(item);
        inner.waker.take()
    }

    /// As [`Queue::push`], where the oldest gives way beyond `most`.
    pub(crate) fn push_over(&self, item: T, most: usize) -> Option<Waker> {
        let mut inner = self.lock();
        if inner.dropped {
            return None;
        }
        if inner.items.len() >= most {
            inner.items.pop_front();
            inner.lost += 1;
        }
        inner.items.push_back(item);
        inner.waker.take()
    }

    /// Whether it holds as much as it may. Then the reader tells the writer when half is read.
    pub(crate) fn is_full(&self, most: usize) -> bool {
        let mut inner = self.lock();
        let full = !inner.dropped && inner.items.len() >= most;
        inner.was_full |= full;
        full
    }

    pub(crate) fn end(&self) -> Option<Waker> {
        let mut inner = self.lock();
        inner.ended = true;
        inner.waker.take()
    }

    /// The next item, and whether the writer waits for the room that there is now.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>, most: usize) -> (Poll<Option<T>>, bool) {
        let mut inner = self.lock();
        let Some(item) = inner.items.pop_front() else {
            if inner.ended {
                return (Poll::Ready(None), false);
            }
            let replaced = inner.waker.replace(cx.waker().clone());
            drop(inner);
            drop(replaced);
            return (Poll::Pending, false);
        };
        let room = inner.was_full && inner.items.len() <= most / 2;
        inner.was_full &= !room;
        (Poll::Ready(Some(item)), room)
    }

    /// Says that nobody reads any more; what is left comes back, to be dropped without a lock.
    pub(crate) fn drop_reader(&self) -> VecDeque<T> {
        let mut inner = self.lock();
        inner.dropped = true;
        std::mem::take(&mut inner.items)
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.lock().dropped
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lock().lost
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // Only moves run under it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
