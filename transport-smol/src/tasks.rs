//! The handlers that run now, in the driver's own future: nothing is spawned for them.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slab::Slab;
use switchboard_os::app::{Order, guard};

use crate::dispatch::{Dispatch, Done};
use crate::wakeups::{Key, KeyWaker, Wakeups};

#[derive(Default)]
pub(crate) struct Tasks {
    running: Slab<Dispatch>,
    /// One for each place in `running`, used again by whoever stands there next: one that an earlier
    /// one has left behind wakes the next for nothing, which does no harm.
    keys: Vec<(Arc<KeyWaker>, Waker)>,
    /// Messages that wait for an earlier one of the same sender; an empty queue stands for one that
    /// runs.
    ordered: HashMap<Order, VecDeque<Dispatch>>,
    waiting: usize,
}

impl Tasks {
    /// Those that run and those that wait for their turn.
    pub(crate) fn len(&self) -> usize {
        self.running.len() + self.waiting
    }

    /// Begins a message, or lets it wait for its turn. What has ended at once comes back.
    pub(crate) fn begin(
        &mut self,
        dispatch: Dispatch,
        order: Option<Order>,
        wakeups: &Arc<Wakeups>,
    ) -> Option<Done> {
        if let Some(order) = order {
            if let Some(queue) = self.ordered.get_mut(&order) {
                queue.push_back(dispatch);
                self.waiting += 1;
                return None;
            }
            self.ordered.insert(order, VecDeque::new());
        }
        self.start(dispatch, wakeups)
    }

    /// Lets one that was woken go on.
    pub(crate) fn run(&mut self, at: usize) -> Option<Done> {
        let (key, waker) = self.keys.get(at)?;
        key.looked_at();
        let dispatch = self.running.get_mut(at)?;
        match Pin::new(dispatch).poll(&mut Context::from_waker(waker)) {
            Poll::Pending => None,
            Poll::Ready(done) => {
                let over = self.running.remove(at);
                // Its drop can drop what the application has left in the `Cx`.
                let _ = guard(|| drop(over));
                Some(done)
            }
        }
    }

    /// The turn of the next message after one with this order has ended.
    pub(crate) fn next_in(&mut self, order: Order, wakeups: &Arc<Wakeups>) -> Option<Done> {
        let queue = self.ordered.get_mut(&order)?;
        match queue.pop_front() {
            Some(dispatch) => {
                self.waiting -= 1;
                self.start(dispatch, wakeups)
            }
            None => {
                self.ordered.remove(&order);
                None
            }
        }
    }

    /// Polls it where it is: most never wait for anything, and need no place.
    fn start(&mut self, mut dispatch: Dispatch, wakeups: &Arc<Wakeups>) -> Option<Done> {
        let at = self.running.vacant_key();
        if at == self.keys.len() {
            let key = KeyWaker::new(Key::Task(at), wakeups);
            self.keys.push((Arc::clone(&key), Waker::from(key)));
        }
        let (key, waker) = &self.keys[at];
        key.looked_at();
        match Pin::new(&mut dispatch).poll(&mut Context::from_waker(waker)) {
            Poll::Pending => {
                self.running.insert(dispatch);
                None
            }
            Poll::Ready(done) => {
                let _ = guard(|| drop(dispatch));
                Some(done)
            }
        }
    }
}
