//! Whether the requester still waits.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::Arrived;

/// Whether the requester still waits, as its driver is told it.
#[derive(Debug, Default)]
pub(super) struct Cancel {
    state: Mutex<(bool, Vec<Waker>)>,
}

/// Done when nobody waits for the answer any more; from [`Cx::cancelled`](super::Cx::cancelled).
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Cancelled(pub(super) Arc<Arrived>);

impl Cancel {
    /// Says that nobody waits any more; returns whom to wake, when no lock is held.
    pub(super) fn cancel(&self) -> Vec<Waker> {
        let mut state = self.lock();
        state.0 = true;
        mem::take(&mut state.1)
    }

    /// Whether it was said.
    pub(super) fn is_cancelled(&self) -> bool {
        self.lock().0
    }

    fn lock(&self) -> MutexGuard<'_, (bool, Vec<Waker>)> {
        // Only moves and clones of wakers run under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for Cancelled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.cancel.lock();
        if state.0 {
            return Poll::Ready(());
        }
        if !state.1.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.1.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
