//! The future that reads, keeps time and calls handlers.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::cx::Cx;
use crate::dispatch::{Dispatch, Done};
use crate::lead::ROUNDS;
use crate::pump::Said;
use crate::service::Job;
use crate::shared::{Shared, State};
use crate::tasks::Tasks;
use crate::wakeups::Key;

/// Drives one peer: reads its connections, keeps its deadlines and runs its handlers. It is done
/// when the peer is closed, or when the last handle of it was dropped.
///
/// Whoever got it from [`Builder::split`](crate::Builder::split) polls it, on any executor or under a
/// bare `block_on`. While it is not polled no handler runs, and nothing is received but by the first
/// request or receipt that is waited for: its future reads for the whole peer until it ends. Those
/// that wait in other tasks meanwhile, and their deadlines, are the driver's from then on, so a
/// handler that blocks its thread delays them too. Operations still write what their sockets take, but
/// for messages that follow another one within 50 us, which are written together by whoever reads.
/// Dropping it closes the peer: what waits ends with its reason.
#[must_use = "without its driver a peer calls no handlers"]
pub struct Driver {
    shared: Arc<Shared>,
    tasks: Tasks,
    limit: usize,
    round: Round,
}

/// Lists of one round, kept for their memory.
#[derive(Default)]
struct Round {
    ready: Vec<Key>,
    jobs: Vec<Job>,
    done: Vec<Done>,
    /// Of messages that are answered: they may be the last to hold the peer, so they are dropped
    /// when the lock is free.
    spent: Vec<Cx>,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, limit: usize) -> Self {
        Self {
            shared,
            tasks: Tasks::default(),
            limit,
            round: Round::default(),
        }
    }

    /// Looks at what woke the driver.
    fn look(&mut self) {
        let mut ready = mem::take(&mut self.round.ready);
        self.shared.wakeups.take_own(&mut ready);
        for key in ready.drain(..) {
            match key {
                Key::Task(at) => {
                    if let Some(done) = self.tasks.run(at) {
                        self.finished(done);
                    }
                }
                Key::Watch => self.shared.pump().watch_is_over(),
                // These are queued for whoever leads.
                Key::Source(_) | Key::Deadline => {}
            }
        }
        self.round.ready = ready;
    }

    /// A message has ended: its answer goes with the next lock, and who waited for it begins.
    fn finished(&mut self, mut done: Done) {
        loop {
            let order = done.order.take();
            self.round.done.push(done);
            let next = order.and_then(|order| self.tasks.next_in(order, &self.shared.wakeups));
            match next {
                Some(next) => done = next,
                None => return,
            }
        }
    }

    /// The locked part: what was answered goes in, what is to be called comes out. Where nobody else
    /// does, reads and writes in between.
    fn turn(&mut self) -> Said {
        let room = self.limit.saturating_sub(self.tasks.len());
        let Round {
            jobs, done, spent, ..
        } = &mut self.round;
        let mut answer = |state: &mut State| answer_all(state, done, spent);
        let mut take = |state: &mut State| {
            let State {
                service, engine, ..
            } = state;
            service.take(engine, room, jobs);
            // What was taken gave credit back, which is to be written.
            state.settle();
            state.service.has_incoming()
        };
        match self.shared.try_pump() {
            Some(pump) => {
                let (said, incoming) = self.shared.round(pump, answer, take);
                Said {
                    more: said.more || incoming || self.shared.wakeups.has_io(),
                    ..said
                }
            }
            None => self.shared.with(|state| {
                answer(state);
                state.settle();
                Said {
                    more: take(state),
                    for_driver: false,
                    closed: state.closed,
                }
            }),
        }
    }

    /// The rest of a round, without the lock. `true` if there is something for the next one.
    fn act(&mut self) -> bool {
        self.round.spent.clear();
        let wakeups = Arc::clone(&self.shared.wakeups);
        let mut jobs = mem::take(&mut self.round.jobs);
        // Without a peer left, it is closed in this moment, and nobody is to be called.
        let handle = if jobs.is_empty() {
            None
        } else {
            self.shared.handle()
        };
        for job in jobs.drain(..) {
            let Some(handle) = &handle else {
                continue;
            };
            let order = job.order.clone();
            let dispatch = Dispatch::new(handle, job);
            if let Some(done) = self.tasks.begin(dispatch, order, &wakeups) {
                self.finished(done);
            }
        }
        self.round.jobs = jobs;
        !self.round.done.is_empty()
    }
}

fn answer_all(state: &mut State, done: &mut Vec<Done>, spent: &mut Vec<Cx>) {
    for Done {
        ticket, answer, cx, ..
    } in done.drain(..)
    {
        spent.extend(cx);
        state.service.answer(&mut state.engine, ticket, answer);
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.shared.wakeups.register(cx.waker());
        for _ in 0..ROUNDS {
            this.look();
            let said = this.turn();
            let more = this.act() || said.more;
            if said.closed {
                return Poll::Ready(());
            }
            if !more && !this.shared.wakeups.has_own() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.with(State::close);
        // Somebody who makes a round meanwhile finds the peer closed, and does the same.
        if let Some(mut pump) = self.shared.try_pump() {
            pump.end();
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("handlers", &self.tasks.len())
            .finish_non_exhaustive()
    }
}
