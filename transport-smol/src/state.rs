//! What happens to a peer and around it, as a stream.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use switchboard_os::app::{MOST_STATES, State};

use crate::queue::Queue;

/// The stream of [`Peer::state`](crate::Peer::state). Ends when the peer is closed.
///
/// It holds 1,024 items for its reader; of more the oldest give way, and [`States::lost`] counts
/// them.
#[must_use = "a stream does nothing unless it is read"]
pub struct States {
    queue: Queue<State>,
    // Dropped after the queue says that nobody reads it.
    _peer: crate::Peer,
}

/// Those who listen for news.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    queues: Vec<Queue<State>>,
    ended: bool,
}

impl States {
    pub(crate) fn new(queue: Queue<State>, peer: crate::Peer) -> Self {
        Self { queue, _peer: peer }
    }

    /// How many items gave way because they were not read.
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }
}

impl Stream for States {
    type Item = State;

    /// Cancel-safe: an item that was not returned stays.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<State>> {
        self.queue.poll_next(cx, MOST_STATES).0
    }
}

impl Drop for States {
    fn drop(&mut self) {
        let rest: VecDeque<State> = self.queue.drop_reader();
        drop(rest);
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").finish_non_exhaustive()
    }
}

impl Watchers {
    pub(crate) fn add(&mut self) -> Queue<State> {
        let queue = Queue::new();
        if self.ended {
            // Nobody waits for a queue that was just made.
            let _ = queue.end();
        }
        self.queues.push(queue.clone());
        queue
    }

    /// Tells everybody; returns whom to wake.
    pub(crate) fn tell(&mut self, state: &State) -> Vec<Waker> {
        self.queues.retain(|queue| !queue.is_dropped());
        let all = self.queues.iter();
        all.filter_map(|queue| queue.push_over(state.clone(), MOST_STATES))
            .collect()
    }

    pub(crate) fn end(&mut self) -> Vec<Waker> {
        self.ended = true;
        self.queues.iter().filter_map(Queue::end).collect()
    }
}
