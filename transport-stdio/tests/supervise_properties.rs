//! What holds for every order of events, in every configuration.

use std::time::Duration;

use proptest::prelude::*;
use switchboard_os::process::Exit;
use switchboard_proto::Instant;
use switchboard_stdio::supervise::{
    Action, Backoff, Budget, Restart, StopLadder, StopSignal, Supervisor,
};

#[derive(Clone, Debug)]
enum Input {
    Start,
    Spawned,
    SpawnFailed,
    Exited(i32),
    LinkClosed,
    Stop,
    Kill,
    Finished,
    /// Time passes, in milliseconds, and the driver looks.
    Pass(u64),
    /// Time passes and the driver is late: the next input comes before its timeout.
    Late(u64),
    /// The driver sleeps exactly to the deadline.
    ToDeadline,
    /// The driver's clock goes back.
    Back(u64),
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        1 => Just(Input::Start),
        6 => Just(Input::Spawned),
        1 => Just(Input::SpawnFailed),
        4 => (0..3).prop_map(Input::Exited),
        3 => Just(Input::LinkClosed),
        1 => Just(Input::Stop),
        1 => Just(Input::Kill),
        1 => Just(Input::Finished),
        3 => (0_u64..4000).prop_map(Input::Pass),
        1 => (0_u64..90_000).prop_map(Input::Late),
        8 => Just(Input::ToDeadline),
        1 => (0_u64..5000).prop_map(Input::Back),
    ]
}

fn grace() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        (1_u64..3000).prop_map(Duration::from_millis),
        Just(Duration::MAX)
    ]
}

prop_compose! {
    fn ladder()(finish in grace(), close in grace(), term in grace(), drain in grace(), sweep in any::<bool>())
        -> StopLadder
    {
        StopLadder {
            finish_grace: finish,
            close_grace: close,
            term_grace: term,
            drain_grace: drain,
            sweep_group: sweep,
        }
    }
}

prop_compose! {
    fn restart()(
        kind in 0..3,
        restarts in 0_u32..5,
        window in 0_u64..20_000,
        first in 0_u64..500,
        factor in 0.0..4.0_f64,
        jitter in 0.0..1.0_f64,
    ) -> Restart {
        let budget = Budget::new(restarts, Duration::from_millis(window));
        let first = Duration::from_millis(first);
        let backoff = Backoff { first, factor, jitter, ..Backoff::default() };
        match kind {
            0 => Restart::never(),
            1 => Restart::on_failure(budget),
            _ => Restart::always(budget),
        }
        .with_backoff(backoff)
    }
}

/// The child as the driver knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Process {
    None,
    /// `Spawn` is out.
    Asked,
    Running {
        link_closed: Option<Instant>,
        asked: Option<Instant>,
        termed: Option<Instant>,
        killed: bool,
    },
    Exited {
        at: Instant,
        link_closed: bool,
        dropped: bool,
        swept: bool,
    },
}

/// What is watched over.
struct Checker {
    ladder: StopLadder,
    restart: Restart,
    process: Process,
    restarts: Vec<Instant>,
    spawns: u32,
    stopped: bool,
    kill_asked: bool,
    ended: bool,
}

impl Checker {
    fn new(restart: Restart, ladder: StopLadder) -> Self {
        Self {
            ladder,
            restart,
            process: Process::None,
            restarts: Vec::new(),
            spawns: 0,
            stopped: false,
            kill_asked: false,
            ended: false,
        }
    }

    fn action(&mut self, now: Instant, action: &Action) {
        assert!(!self.ended, "{action:?} after the end");
        match action {
            Action::Spawn { attempt } => self.spawn(now, *attempt),
            // Whether it finishes is one of the inputs.
            Action::Finish => {}
            Action::CloseLink => self.close_link(now),
            Action::Signal(signal) => self.signal(now, *signal),
            Action::DropLink => self.drop_link(now),
            Action::Reap => {
                let Process::Exited {
                    dropped: true,
                    swept,
                    ..
                } = self.process
                else {
                    panic!("reaped in {:?}", self.process)
                };
                assert_eq!(swept, self.ladder.sweep_group);
                self.process = Process::None;
            }
            Action::Restarting { attempt, after, .. } => {
                assert_eq!(self.process, Process::None);
                assert_eq!(*attempt, self.spawns + 1);
                assert!(!self.stopped && *after <= self.restart.backoff.max);
            }
            Action::GaveUp(_) => assert!(!self.stopped),
            Action::Ended(ending) => {
                assert_eq!(self.process, Process::None, "a child was left behind");
                assert_eq!(ending.attempts, self.spawns);
                assert_eq!(ending.stopped, self.stopped);
                self.ended = true;
            }
            other => panic!("{other:?}"),
        }
    }

    fn spawn(&mut self, now: Instant, attempt: u32) {
        assert_eq!(self.process, Process::None, "started twice");
        assert!(!self.stopped, "started after a stop");
        self.spawns += 1;
        assert_eq!(attempt, self.spawns);
        self.process = Process::Asked;
        if attempt > 1 {
            self.restarts.push(now);
            let Budget {
                restarts, window, ..
            } = self.restart.budget;
            let recent = self
                .restarts
                .iter()
                .filter(|&&then| now.saturating_since(then) < window);
            // A window of no length holds the present moment and nothing else.
            assert!(
                recent.count() as u32 <= restarts,
                "more restarts than the budget"
            );
            assert!(restarts > 0);
        }
    }

    fn close_link(&mut self, now: Instant) {
        let Process::Running {
            link_closed: None,
            asked: asked @ None,
            termed: None,
            killed: false,
            ..
        } = &mut self.process
        else {
            panic!("link closed in {:?}", self.process)
        };
        assert!(self.stopped);
        *asked = Some(now);
    }

    fn signal(&mut self, now: Instant, signal: StopSignal) {
        let (close_grace, term_grace) = (self.ladder.close_grace, self.ladder.term_grace);
        match (&mut self.process, signal) {
            (
                Process::Running {
                    link_closed,
                    asked,
                    termed: termed @ None,
                    killed: false,
                    ..
                },
                StopSignal::Terminate,
            ) => {
                let begun = [*link_closed, *asked]
                    .into_iter()
                    .flatten()
                    .min()
                    .expect("asked first");
                assert!(
                    now.saturating_since(begun) >= close_grace,
                    "terminated too early"
                );
                *termed = Some(now);
            }
            (
                Process::Running {
                    termed,
                    killed: killed @ false,
                    ..
                },
                StopSignal::Kill,
            ) => {
                if !self.kill_asked {
                    let termed = termed.expect("terminated first");
                    assert!(
                        now.saturating_since(termed) >= term_grace,
                        "killed too early"
                    );
                }
                *killed = true;
            }
            (
                Process::Exited {
                    dropped: true,
                    swept: swept @ false,
                    ..
                },
                StopSignal::Kill,
            ) => {
                assert!(self.ladder.sweep_group);
                *swept = true;
            }
            (process, signal) => panic!("{signal:?} in {process:?}"),
        }
    }

    fn drop_link(&mut self, now: Instant) {
        let Process::Exited {
            at,
            link_closed,
            dropped: dropped @ false,
            ..
        } = &mut self.process
        else {
            panic!("link dropped in {:?}", self.process)
        };
        let drained = now.saturating_since(*at) >= self.ladder.drain_grace;
        assert!(
            *link_closed || drained,
            "the link was dropped before it was drained"
        );
        *dropped = true;
    }

    /// What an input does to the child, if it can have happened.
    fn input(&mut self, now: Instant, input: &Input) -> bool {
        match (input, self.process) {
            (Input::Spawned, Process::Asked) => {
                self.process = Process::Running {
                    link_closed: None,
                    asked: None,
                    termed: None,
                    killed: false,
                };
            }
            (Input::SpawnFailed, Process::Asked) => self.process = Process::None,
            (Input::Exited(_), Process::Running { link_closed, .. }) => {
                self.process = Process::Exited {
                    at: now,
                    link_closed: link_closed.is_some(),
                    dropped: false,
                    swept: false,
                };
            }
            (Input::Spawned | Input::SpawnFailed | Input::Exited(_), _) => return false,
            (Input::LinkClosed, _) => match &mut self.process {
                Process::Running { link_closed, .. } => *link_closed = link_closed.or(Some(now)),
                Process::Exited { link_closed, .. } => *link_closed = true,
                Process::None | Process::Asked => {}
            },
            (Input::Start, _) => return self.spawns == 0 && !self.ended,
            // What is over can be stopped, and stays what it was.
            (Input::Stop, _) => self.stopped |= !self.ended,
            (Input::Kill, _) => {
                self.stopped |= !self.ended;
                self.kill_asked = true;
            }
            // Closes the link earlier than its grace, which is the driver's to see.
            (Input::Finished, _) => {}
            (Input::Pass(_) | Input::Late(_) | Input::ToDeadline | Input::Back(_), _) => {}
        }
        true
    }
}

/// A driver, and what the supervisor has heard from it.
struct Driver {
    supervisor: Supervisor,
    checker: Checker,
    clock: Instant,
    heard: Instant,
}

impl Driver {
    fn new(restart: Restart, ladder: StopLadder, seed: u64) -> Self {
        let start = Instant::from_nanos(1_000_000_000);
        Self {
            supervisor: Supervisor::new(restart, ladder, seed),
            checker: Checker::new(restart, ladder),
            clock: start,
            heard: start,
        }
    }

    fn feed(&mut self, input: &Input) {
        if let Input::Late(millis) = input {
            self.clock = self.clock + Duration::from_millis(*millis);
            return;
        }
        if let Some(time) = self.time_of(input) {
            self.timeout(time);
        } else {
            self.heard = self.heard.max(self.clock);
            self.happen(input);
        }
        while let Some(action) = self.supervisor.poll_action() {
            self.checker.action(self.heard, &action);
        }
        assert_eq!(self.supervisor.is_ended(), self.checker.ended);
    }

    /// The time of an input that is nothing but time.
    fn time_of(&self, input: &Input) -> Option<Instant> {
        match input {
            Input::Pass(millis) => Some(self.clock + Duration::from_millis(*millis)),
            Input::ToDeadline => Some(self.supervisor.deadline().unwrap_or(self.clock)),
            Input::Back(millis) => {
                let nanos = self.clock.as_nanos().saturating_sub(millis * 1_000_000);
                Some(Instant::from_nanos(nanos))
            }
            _ => None,
        }
    }

    fn timeout(&mut self, now: Instant) {
        self.clock = self.clock.max(now);
        self.heard = self.heard.max(now);
        self.supervisor.handle_timeout(now);
        if let Some(deadline) = self.supervisor.deadline() {
            assert!(
                deadline > self.heard,
                "a deadline that has passed would be a busy loop"
            );
        }
    }

    fn happen(&mut self, input: &Input) {
        let possible = self.checker.input(self.heard, input);
        let (now, supervisor) = (self.clock, &mut self.supervisor);
        let result = match *input {
            Input::Start => supervisor.start(now),
            Input::Spawned => supervisor.handle_spawned(now),
            Input::SpawnFailed => supervisor.handle_spawn_failed(now),
            Input::Exited(code) => supervisor.handle_exited(now, Exit::Code(code), String::new()),
            Input::LinkClosed => {
                supervisor.handle_link_closed(now);
                Ok(())
            }
            Input::Stop => {
                supervisor.stop(now);
                Ok(())
            }
            Input::Kill => {
                supervisor.kill(now);
                Ok(())
            }
            Input::Finished => {
                supervisor.handle_finished(now);
                Ok(())
            }
            Input::Pass(_) | Input::Late(_) | Input::ToDeadline | Input::Back(_) => Ok(()),
        };
        assert_eq!(
            result.is_ok(),
            possible,
            "{input:?} in {:?}",
            self.checker.process
        );
        if !possible {
            assert_eq!(
                self.supervisor.poll_action(),
                None,
                "a refused input did something"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn every_child_is_kept_within_its_policy_and_put_away_once(
        restart in restart(),
        ladder in ladder(),
        seed in any::<u64>(),
        inputs in prop::collection::vec(input(), 0..80),
    ) {
        let mut driver = Driver::new(restart, ladder, seed);
        driver.feed(&Input::Start);
        for input in &inputs {
            driver.feed(input);
        }
        // Whatever happened, it can be brought to its end: by a kill, the child's exit, and the end
        // of its link.
        for input in [Input::Kill, Input::Spawned, Input::Exited(9), Input::LinkClosed] {
            if driver.supervisor.is_ended() {
                break;
            }
            driver.feed(&input);
        }
        prop_assert!(driver.supervisor.is_ended());
        prop_assert_eq!(driver.supervisor.deadline(), None);
    }

    #[test]
    fn the_same_inputs_and_seed_give_the_same_actions(
        restart in restart(),
        ladder in ladder(),
        seed in any::<u64>(),
        steps in prop::collection::vec(0_u64..3000, 0..30),
    ) {
        let run = || {
            let mut supervisor = Supervisor::new(restart, ladder, seed);
            let mut now = Instant::ZERO;
            let mut log = Vec::new();
            let _ = supervisor.start(now);
            for step in &steps {
                now = now + Duration::from_millis(*step);
                supervisor.handle_timeout(now);
                let _ = supervisor.handle_spawned(now);
                let _ = supervisor.handle_exited(now, Exit::Code(1), String::new());
                log.extend(std::iter::from_fn(|| supervisor.poll_action()));
            }
            log
        };
        prop_assert_eq!(run(), run());
    }
}
