//! The future that reads, keeps time and calls handlers.

use std::fmt;
use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_io::Timer;
use switchboard_os::engine::SourceId;
use switchboard_proto::{Answer, Instant};

use crate::cx::Cx;
use crate::dispatch::{Dispatch, Done};
use crate::service::Job;
use crate::shared::{Shared, State, clock_now};
use crate::sources::{Change, Report, Sources, collect};
use crate::tasks::Tasks;
use crate::wakeups::Key;

/// Rounds in one poll; after them the executor has its turn.
const ROUNDS: usize = 16;

/// Drives one peer: reads its connections, keeps its deadlines and runs its handlers. It is done
/// when the peer is closed, or when the last handle of it was dropped.
///
/// Whoever got it from [`Builder::split`](crate::Builder::split) polls it, on any executor or under a
/// bare `block_on`. While it is not polled nothing is received; operations of the peer still write
/// what their sockets take, but for messages that follow another one within 50 us, which it writes
/// together. Dropping it closes the peer: what waits ends with its reason.
#[must_use = "without its driver a peer receives nothing"]
pub struct Driver {
    shared: Arc<Shared>,
    sources: Sources,
    tasks: Tasks,
    limit: usize,
    timer: Timer,
    armed: Option<Instant>,
    round: Round,
}

/// Lists of one round, kept for their memory.
#[derive(Default)]
struct Round {
    ready: Vec<Key>,
    reports: Vec<Report>,
    refused: Vec<(SourceId, io::Error)>,
    changes: Vec<Change>,
    jobs: Vec<Job>,
    done: Vec<Done>,
    /// Of messages that are answered: they may be the last to hold the peer, so they are dropped
    /// when the lock is free.
    spent: Vec<Cx>,
}

/// What the locked part of a round says.
struct Said {
    more: bool,
    deadline: Option<Instant>,
    closed: bool,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, limit: usize) -> Self {
        Self {
            shared,
            sources: Sources::default(),
            tasks: Tasks::default(),
            limit,
            timer: Timer::never(),
            armed: None,
            round: Round::default(),
        }
    }

    /// Looks at what woke the driver.
    fn look(&mut self) {
        let mut ready = mem::take(&mut self.round.ready);
        self.shared.wakeups.take(&mut ready);
        for key in ready.drain(..) {
            match key {
                Key::Source(source) => self.round.reports.extend(self.sources.report(source)),
                Key::Task(at) => {
                    if let Some(done) = self.tasks.run(at) {
                        self.finished(done);
                    }
                }
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

    /// The locked part: what was read and answered goes in, what is to be called comes out.
    fn turn(&mut self) -> Said {
        let room = self.limit.saturating_sub(self.tasks.len());
        let round = &mut self.round;
        self.shared.drive(|state| {
            for (source, error) in round.refused.drain(..) {
                state.engine.refused(source, error);
            }
            for report in &round.reports {
                let Report {
                    source,
                    readable,
                    writable,
                } = *report;
                state.engine.ready(source, readable, writable);
            }
            answer_all(state, &mut round.done, &mut round.spent);
            let _ = state.engine.turn();
            state.settle();
            let State {
                service, engine, ..
            } = state;
            service.take(engine, room, &mut round.jobs);
            // What was taken gave credit back, which is to be written.
            state.settle();
            collect(&mut state.engine, &mut round.changes);
            Said {
                more: state.engine.has_more() || state.service.has_incoming(),
                deadline: state.arm(),
                closed: state.closed,
            }
        })
    }

    /// The rest of a round, without the lock. `true` if there is something for the next one.
    fn act(&mut self) -> bool {
        self.round.spent.clear();
        let wakeups = Arc::clone(&self.shared.wakeups);
        let Round {
            changes,
            reports,
            refused,
            jobs,
            ..
        } = &mut self.round;
        for change in changes.drain(..) {
            refused.extend(self.sources.apply(change, &wakeups).err());
        }
        for report in reports.drain(..) {
            if let Err(error) = self.sources.arm(report.source) {
                refused.push((report.source, error));
            }
        }
        let jobs = mem::take(jobs);
        for job in jobs {
            // Without a peer left, it is closed in this moment, and nobody is to be called.
            let Some(handle) = self.shared.handle() else {
                continue;
            };
            let order = job.order.clone();
            let dispatch = Dispatch::new(&handle, job);
            drop(handle);
            if let Some(done) = self.tasks.begin(dispatch, order, &wakeups) {
                self.finished(done);
            }
        }
        !self.round.done.is_empty() || !self.round.refused.is_empty()
    }

    /// Sleeps until the deadline. `true` if it is over already.
    fn sleep(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> bool {
        // A timer that fires too early costs one look; to move it with every message would cost a
        // lock and often a wake of the reactor.
        if let Some(at) = deadline
            && self.armed.is_none_or(|armed| at < armed)
        {
            self.armed = deadline;
            // This clock stands still while the machine sleeps: then the timer fires late by as much
            // as was left of it.
            self.timer.set_after(at.saturating_since(clock_now()));
        }
        let over = Pin::new(&mut self.timer).poll(cx).is_ready();
        if over {
            self.armed = None;
        }
        over
    }
}

fn answer_all(state: &mut State, done: &mut Vec<Done>, spent: &mut Vec<Cx>) {
    for Done {
        ticket, answer, cx, ..
    } in done.drain(..)
    {
        spent.push(cx);
        state.stats.handled += 1;
        state.stats.failed += u64::from(matches!(answer, Answer::Failed(_)));
        let State {
            service, engine, ..
        } = state;
        if let Some(ticket) = ticket
            && !service.answer(engine, ticket, answer)
        {
            state.stats.stale_answers += 1;
        }
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
            let over = this.sleep(said.deadline, cx);
            if !more && !over && this.shared.wakeups.is_empty() {
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
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("handlers", &self.tasks.len())
            .finish_non_exhaustive()
    }
}
