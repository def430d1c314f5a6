//! The handlers that run now, in the driver's own future: nothing is spawned for them.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slab::Slab;
use switchboard_os::app::guard;

use crate::dispatch::{Dispatch, Done};
use crate::service::OrderKey;
use crate::wakeups::{Key, KeyWaker, Wakeups};

#[derive(Default)]
pub(crate) struct Tasks {
    running: Slab<Task>,
    /// Messages that wait for an earlier one of the same sender; an empty queue stands for one that
    /// runs.
    ordered: HashMap<OrderKey, VecDeque<Dispatch>>,
    waiting: usize,
}

struct Task {
    dispatch: Dispatch,
    key: Arc<KeyWaker>,
    waker: Waker,
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
        order: Option<OrderKey>,
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
        let task = self.running.get_mut(at)?;
        task.key.looked_at();
        let mut cx = Context::from_waker(&task.waker);
        match Pin::new(&mut task.dispatch).poll(&mut cx) {
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
    pub(crate) fn next_in(&mut self, order: OrderKey, wakeups: &Arc<Wakeups>) -> Option<Done> {
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

    fn start(&mut self, dispatch: Dispatch, wakeups: &Arc<Wakeups>) -> Option<Done> {
        let entry = self.running.vacant_entry();
        let at = entry.key();
        let key = KeyWaker::new(Key::Task(at), wakeups);
        let waker = Waker::from(Arc::clone(&key));
        entry.insert(Task {
            dispatch,
            key,
            waker,
        });
        self.run(at)
    }
}
