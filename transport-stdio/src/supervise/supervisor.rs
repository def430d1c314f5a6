//! The state machine: one child, from its first start to its last end.

use std::collections::VecDeque;
use std::time::Duration;

use switchboard_os::process::Exit;
use switchboard_proto::Instant;

use super::restart::{Budget, History, Restart, Verdict};
use super::stop::{Climb, Rung, StopLadder};

/// The supervision of one child.
///
/// The driver calls [`start`](Self::start), tells what happens with the `handle_` methods, carries
/// out what [`poll_action`](Self::poll_action) gives until it gives nothing, and comes back with
/// [`handle_timeout`](Self::handle_timeout) at the [`deadline`](Self::deadline). After
/// [`Action::Ended`] there is nothing more to do.
#[derive(Debug)]
pub struct Supervisor {
    state: State,
    ladder: StopLadder,
    history: History,
    /// Whether the child shall end for good.
    stopping: bool,
    attempt: u32,
    last: Option<RunEnd>,
    actions: VecDeque<Action>,
    /// The latest time heard of; time never goes back.
    now: Instant,
}

/// What the driver is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Start the child, and answer with [`handle_spawned`](Supervisor::handle_spawned) or
    /// [`handle_spawn_failed`](Supervisor::handle_spawn_failed).
    Spawn {
        /// 1 for the first start, 2 for the first restart.
        attempt: u32,
    },
    /// Look whether what is under way with the child has ended, now and as it goes on, and answer
    /// with [`handle_finished`](Supervisor::handle_finished); until [`CloseLink`](Self::CloseLink)
    /// or a signal comes instead.
    Finish,
    /// Ask the child to end: say goodbye on the link, and close our direction of it. What the child
    /// still sends is still read.
    CloseLink,
    /// Signal the child's whole process group. A group that is gone is not an error.
    Signal(StopSignal),
    /// Let go of the link, if it is still there: what the child wrote has been read, or will not
    /// come.
    DropLink,
    /// Reap the child. It has ended, so this does not wait.
    Reap,
    /// For information: the child has ended and will be started again.
    Restarting {
        /// The number of the coming attempt.
        attempt: u32,
        /// In how long.
        after: Duration,
        /// How the child ended; `None` if it could not be started.
        end: Option<RunEnd>,
    },
    /// For information: the child will not be started again although the policy asks for it.
    /// [`Ended`](Self::Ended) follows.
    GaveUp(GaveUp),
    /// It is over: no other action follows.
    Ended(Ending),
}

/// A signal on the stop ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopSignal {
    /// `SIGTERM`.
    Terminate,
    /// `SIGKILL`.
    Kill,
}

/// How a run of the child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunEnd {
    /// How the process ended.
    pub exit: Exit,
    /// The last that it wrote to its stderr.
    pub stderr_tail: String,
    /// How long it ran.
    pub uptime: Duration,
}

/// Why a child is not started again although the policy asks for it. Its `Display` is a sentence
/// without a full stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GaveUp {
    /// It has been restarted as often as the budget allows.
    #[error("restarted {} times within {:?}", .0.restarts, .0.window)]
    BudgetExhausted(Budget),
    /// The very first attempt to start it failed. That is a wrong path or a missing right far more
    /// often than a fault that passes, and who configured it is still there to hear it.
    #[error("could not be started")]
    NeverStarted,
}

/// How the supervision ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ending {
    /// How the last run of the child ended; `None` if there was no run.
    pub last: Option<RunEnd>,
    /// Whether it was told to stop.
    pub stopped: bool,
    /// Why it was given up, if it was.
    pub gave_up: Option<GaveUp>,
    /// How many attempts to start it there were.
    pub attempts: u32,
}

/// The driver told of something that cannot have happened; the supervisor is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{input} makes no sense while the child {state}")]
pub struct Misuse {
    input: &'static str,
    state: &'static str,
}

#[derive(Debug)]
enum State {
    /// Not started.
    Idle,
    /// `Spawn` is out, and its result is not in.
    Spawning,
    Running(Run),
    /// The child has ended; its link may still hold something.
    Draining {
        until: Option<Instant>,
    },
    /// The next start waits. Without a time it never comes, but for a stop.
    BackingOff {
        until: Option<Instant>,
    },
    Ended,
}

#[derive(Debug)]
struct Run {
    since: Instant,
    link_open: bool,
    /// Set once the child is on its way to its end.
    climb: Option<Climb>,
}

impl Supervisor {
    /// A supervisor of a child that does not run. The seed is for the jitter of the delays and
    /// nothing else; give each child another.
    pub fn new(restart: Restart, ladder: StopLadder, seed: u64) -> Self {
        Self {
            state: State::Idle,
            ladder,
            history: History::new(restart, seed),
            stopping: false,
            attempt: 0,
            last: None,
            actions: VecDeque::new(),
            now: Instant::ZERO,
        }
    }

    /// Starts the child.
    ///
    /// # Errors
    ///
    /// [`Misuse`] if it has been started or stopped before.
    pub fn start(&mut self, now: Instant) -> Result<(), Misuse> {
        self.hear(now);
        if !matches!(self.state, State::Idle) {
            return Err(self.misuse("a start"));
        }
        self.spawn();
        Ok(())
    }

    /// Ends the child: climbs the [`StopLadder`] if it runs, and starts it no more. Told again, it
    /// changes nothing.
    pub fn stop(&mut self, now: Instant) {
        self.stop_from(Rung::Finishing, now);
    }

    fn stop_from(&mut self, first: Rung, now: Instant) {
        self.hear(now);
        self.stopping = true;
        match &self.state {
            State::Idle | State::BackingOff { .. } => self.end(None),
            State::Running(run) if run.link_open => self.climb_to(first),
            State::Running(_) => self.climb_to(Rung::Closing),
            // A start that is under way is stopped when it is through; a child that has ended only
            // needs to be put away; and what is over is over.
            State::Spawning | State::Draining { .. } | State::Ended => {}
        }
    }

    /// Ends the child at once: like [`stop`](Self::stop), but a running child's group is killed
    /// without any grace.
    pub fn kill(&mut self, now: Instant) {
        self.stop_from(Rung::Closing, now);
        if matches!(self.state, State::Running(_)) {
            self.climb_to(Rung::Killed);
        }
    }

    /// The child has been started.
    ///
    /// # Errors
    ///
    /// [`Misuse`] if no [`Action::Spawn`] was unanswered.
    pub fn handle_spawned(&mut self, now: Instant) -> Result<(), Misuse> {
        self.hear(now);
        if !matches!(self.state, State::Spawning) {
            return Err(self.misuse("a successful start"));
        }
        self.state = State::Running(Run {
            since: self.now,
            link_open: true,
            climb: None,
        });
        if self.stopping {
            self.climb_to(Rung::Closing);
        }
        Ok(())
    }

    /// The child could not be started. The first time ends the supervision; later it is a failure
    /// like others, after which the policy decides.
    ///
    /// # Errors
    ///
    /// [`Misuse`] if no [`Action::Spawn`] was unanswered.
    pub fn handle_spawn_failed(&mut self, now: Instant) -> Result<(), Misuse> {
        self.hear(now);
        if !matches!(self.state, State::Spawning) {
            return Err(self.misuse("a failed start"));
        }
        if self.attempt == 1 && !self.stopping {
            self.give_up(GaveUp::NeverStarted);
        } else {
            self.decide(None);
        }
        Ok(())
    }

    /// Nothing is under way with the child any more: the answer to [`Action::Finish`]. Told at
    /// another time, it changes nothing.
    pub fn handle_finished(&mut self, now: Instant) {
        self.hear(now);
        if let State::Running(Run {
            climb: Some(climb), ..
        }) = &self.state
            && climb.rung == Rung::Finishing
        {
            self.climb_to(Rung::Closing);
        }
    }

    /// The child has ended, and is not reaped. Its stderr has been read as far as it went; its link
    /// has not, or not certainly.
    ///
    /// # Errors
    ///
    /// [`Misuse`] if no child was running.
    pub fn handle_exited(
        &mut self,
        now: Instant,
        exit: Exit,
        stderr_tail: String,
    ) -> Result<(), Misuse> {
        self.hear(now);
        let State::Running(run) = &self.state else {
            return Err(self.misuse("an exit"));
        };
        let link_open = run.link_open;
        let uptime = self.now.saturating_since(run.since);
        self.history.ran_for(uptime);
        self.last = Some(RunEnd {
            exit,
            stderr_tail,
            uptime,
        });
        if link_open {
            self.state = State::Draining {
                until: self.now.checked_add(self.ladder.drain_grace),
            };
            self.settle();
        } else {
            self.put_away();
        }
        Ok(())
    }

    /// The link to the child has ended: end of stream, an error, a fault of its protocol. Told when
    /// there is no link, it changes nothing.
    ///
    /// A child that has ended is put away. One that runs is no use without its link, and is on its
    /// way to its end, most often by itself: it is given the ladder's graces, and what follows its
    /// end is for the restart policy.
    pub fn handle_link_closed(&mut self, now: Instant) {
        self.hear(now);
        match &mut self.state {
            State::Running(run) => {
                run.link_open = false;
                self.climb_to(Rung::Closing);
            }
            State::Draining { .. } => self.put_away(),
            State::Idle | State::Spawning | State::BackingOff { .. } | State::Ended => {}
        }
    }

    /// Time has passed. Does what is due; afterwards the [`deadline`](Self::deadline) is later than
    /// `now`. Early calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.hear(now);
        self.settle();
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next; `None` if nothing waits
    /// for time. Valid once [`poll_action`](Self::poll_action) has given everything.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Running(run) => run.climb.and_then(|climb| climb.next),
            State::Draining { until } | State::BackingOff { until } => *until,
            State::Idle | State::Spawning | State::Ended => None,
        }
    }

    /// The next thing to do, if there is one.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether the supervision is over. [`Action::Ended`] may still wait to be polled.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Whether the child has been told to stop for good.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    fn hear(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Does everything that is due. Each turn climbs a rung or leaves a state, so it ends.
    fn settle(&mut self) {
        while self.deadline().is_some_and(|deadline| deadline <= self.now) {
            match &self.state {
                State::Running(Run {
                    climb: Some(climb), ..
                }) => match climb.rung {
                    Rung::Finishing => self.reach(Rung::Closing),
                    Rung::Closing => self.reach(Rung::Terminating),
                    Rung::Terminating | Rung::Killed => self.reach(Rung::Killed),
                },
                State::Draining { .. } => self.put_away(),
                State::BackingOff { .. } => self.spawn(),
                State::Running(_) | State::Idle | State::Spawning | State::Ended => return,
            }
        }
    }

    fn spawn(&mut self) {
        self.attempt = self.attempt.saturating_add(1);
        if self.attempt > 1 {
            self.history.restarted(self.now);
        }
        self.state = State::Spawning;
        self.actions.push_back(Action::Spawn {
            attempt: self.attempt,
        });
    }

    /// Brings a running child to this rung at least.
    fn climb_to(&mut self, rung: Rung) {
        if let State::Running(Run { climb, .. }) = &self.state
            && climb.is_none_or(|climb| climb.rung < rung)
        {
            self.reach(rung);
            self.settle();
        }
    }

    /// Puts a running child on this rung, with what belongs to it.
    fn reach(&mut self, rung: Rung) {
        let State::Running(run) = &mut self.state else {
            return;
        };
        run.climb = Some(self.ladder.at(rung, self.now));
        match rung {
            Rung::Finishing => self.actions.push_back(Action::Finish),
            Rung::Closing if run.link_open => self.actions.push_back(Action::CloseLink),
            Rung::Closing => {}
            Rung::Terminating => self
                .actions
                .push_back(Action::Signal(StopSignal::Terminate)),
            Rung::Killed => self.actions.push_back(Action::Signal(StopSignal::Kill)),
        }
    }

    /// Leaves nothing of a child that has ended.
    fn put_away(&mut self) {
        self.actions.push_back(Action::DropLink);
        if self.ladder.sweep_group {
            // Before the reaping: the unreaped child keeps its group's id from being another's.
            self.actions.push_back(Action::Signal(StopSignal::Kill));
        }
        self.actions.push_back(Action::Reap);
        self.decide(self.last.clone());
    }

    /// Starts it again or ends, after a run or (without one) a failed start.
    fn decide(&mut self, end: Option<RunEnd>) {
        if self.stopping {
            return self.end(None);
        }
        match self
            .history
            .judge(self.now, end.as_ref().map(|end| end.exit))
        {
            Verdict::After(after) => {
                let attempt = self.attempt.saturating_add(1);
                self.actions.push_back(Action::Restarting {
                    attempt,
                    after,
                    end,
                });
                self.state = State::BackingOff {
                    until: self.now.checked_add(after),
                };
                self.settle();
            }
            Verdict::Done => self.end(None),
            Verdict::Exhausted => self.give_up(GaveUp::BudgetExhausted(self.history.budget())),
        }
    }

    fn give_up(&mut self, why: GaveUp) {
        self.actions.push_back(Action::GaveUp(why.clone()));
        self.end(Some(why));
    }

    fn end(&mut self, gave_up: Option<GaveUp>) {
        self.state = State::Ended;
        self.actions.push_back(Action::Ended(Ending {
            last: self.last.take(),
            stopped: self.stopping,
            gave_up,
            attempts: self.attempt,
        }));
    }

    fn misuse(&self, input: &'static str) -> Misuse {
        let state = match self.state {
            State::Idle => "has not been started",
            State::Spawning => "is being started",
            State::Running(_) => "runs",
            State::Draining { .. } => "has exited",
            State::BackingOff { .. } => "waits to be restarted",
            State::Ended => "is supervised no more",
        };
        Misuse { input, state }
    }
}
