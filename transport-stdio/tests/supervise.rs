//! Keeping a child running and ending it, told as stories with a clock that the test holds.

use std::time::Duration;

use switchboard_os::process::Exit;
use switchboard_proto::Instant;
use switchboard_stdio::supervise::{
    Action, Backoff, Budget, Ending, GaveUp, Restart, RunEnd, StopLadder, StopSignal, Supervisor,
};

const TERM: Action = Action::Signal(StopSignal::Terminate);
const KILL: Action = Action::Signal(StopSignal::Kill);

/// A supervisor with a clock in milliseconds.
struct Story {
    supervisor: Supervisor,
    now: Instant,
}

impl Story {
    fn new(restart: Restart) -> Self {
        let backoff = Backoff {
            jitter: 0.0,
            ..Backoff::default()
        };
        let ladder = StopLadder::default();
        let supervisor = Supervisor::new(restart.with_backoff(backoff), ladder, 1);
        Self {
            supervisor,
            now: Instant::from_nanos(5_000_000_000),
        }
    }

    /// One whose child runs.
    fn running(restart: Restart) -> Self {
        let mut story = Self::new(restart);
        story.supervisor.start(story.now).unwrap();
        assert_eq!(story.actions(), [Action::Spawn { attempt: 1 }]);
        story.supervisor.handle_spawned(story.now).unwrap();
        assert_eq!(story.actions(), []);
        story
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.supervisor.poll_action()).collect()
    }

    /// Lets time pass, timeouts included, and returns what is to be done at its end.
    fn after(&mut self, millis: u64) -> Vec<Action> {
        self.now = self.now + Duration::from_millis(millis);
        self.supervisor.handle_timeout(self.now);
        self.actions()
    }

    /// Stops a child with which nothing is under way.
    fn stop(&mut self) -> Vec<Action> {
        self.supervisor.stop(self.now);
        self.supervisor.handle_finished(self.now);
        self.actions()
    }

    fn exit(&mut self, code: i32) -> Vec<Action> {
        let tail = format!("last words of {code}");
        self.supervisor
            .handle_exited(self.now, Exit::Code(code), tail)
            .unwrap();
        self.actions()
    }

    fn link_closed(&mut self) -> Vec<Action> {
        self.supervisor.handle_link_closed(self.now);
        self.actions()
    }

    fn spawned(&mut self) {
        self.supervisor.handle_spawned(self.now).unwrap();
        assert_eq!(self.actions(), []);
    }

    fn millis_to_deadline(&self) -> Option<u128> {
        let deadline = self.supervisor.deadline()?;
        Some(deadline.saturating_since(self.now).as_millis())
    }

    /// Ends the child and its link, and returns what the supervisor makes of that.
    fn crash(&mut self) -> Vec<Action> {
        assert_eq!(self.exit(1), []);
        let mut actions = self.link_closed();
        assert_eq!(
            actions.drain(..3).collect::<Vec<_>>(),
            [Action::DropLink, KILL, Action::Reap]
        );
        actions
    }
}

#[track_caller]
fn ending(actions: &[Action]) -> &Ending {
    match actions.last() {
        Some(Action::Ended(ending)) => ending,
        other => panic!("not ended: {other:?}"),
    }
}

fn restart_delay(actions: &[Action]) -> u128 {
    match actions {
        [Action::Restarting { after, .. }] => after.as_millis(),
        other => panic!("no restart: {other:?}"),
    }
}

#[test]
fn a_child_that_ends_when_its_link_does_is_never_signalled() {
    let mut story = Story::running(Restart::never());
    assert_eq!(story.stop(), [Action::Finish, Action::CloseLink]);
    assert_eq!(story.millis_to_deadline(), Some(2000));
    assert_eq!(story.after(1999), []);
    assert_eq!(story.exit(0), []);
    let actions = story.link_closed();
    // The last signal is for what the child left in its group, and itself is gone.
    assert_eq!(actions[..3], [Action::DropLink, KILL, Action::Reap]);
    let ending = ending(&actions);
    assert!(ending.stopped);
    assert_eq!(ending.gave_up, None);
    assert_eq!(ending.last.as_ref().unwrap().exit, Exit::Code(0));
    assert!(story.supervisor.is_ended());
    assert_eq!(story.millis_to_deadline(), None);
}

#[test]
fn a_child_that_will_not_end_is_asked_then_told_then_killed() {
    let mut story = Story::running(Restart::always(5));
    assert_eq!(story.stop(), [Action::Finish, Action::CloseLink]);
    assert_eq!(story.after(2000), [TERM]);
    assert_eq!(story.after(1999), []);
    assert_eq!(story.after(1), [KILL]);
    assert_eq!(
        story.millis_to_deadline(),
        None,
        "now only the kernel can be waited for"
    );
    assert_eq!(story.after(1_000_000), []);
    assert_eq!(story.exit(0), []);
    assert!(ending(&story.after(200)).stopped);
}

#[test]
fn what_is_under_way_may_finish_before_the_link_is_closed_but_not_for_ever() {
    let mut story = Story::running(Restart::never());
    story.supervisor.stop(story.now);
    assert_eq!(story.actions(), [Action::Finish]);
    assert_eq!(story.after(1999), []);
    assert_eq!(story.after(1), [Action::CloseLink]);
    story.supervisor.handle_finished(story.now);
    assert_eq!(story.actions(), [], "it comes too late to mean anything");
    assert_eq!(story.after(2000), [TERM]);

    let mut story = Story::running(Restart::never());
    story.supervisor.stop(story.now);
    assert_eq!(story.after(500), [Action::Finish]);
    assert_eq!(story.link_closed(), [], "there is nothing to close");
    assert_eq!(story.after(2000), [TERM]);
}

#[test]
fn a_driver_that_slept_through_both_graces_does_not_skip_the_second() {
    let mut story = Story::running(Restart::never());
    assert_eq!(story.stop(), [Action::Finish, Action::CloseLink]);
    assert_eq!(story.after(60_000), [TERM]);
    assert_eq!(story.millis_to_deadline(), Some(2000));
}

#[test]
fn stopping_twice_does_not_start_the_ladder_again() {
    let mut story = Story::running(Restart::never());
    assert_eq!(story.stop(), [Action::Finish, Action::CloseLink]);
    assert_eq!(story.after(1500), []);
    assert_eq!(story.stop(), []);
    assert_eq!(story.millis_to_deadline(), Some(500));
}

#[test]
fn killing_skips_the_graces_and_works_from_any_rung() {
    let mut story = Story::running(Restart::always(5));
    story.supervisor.kill(story.now);
    assert_eq!(story.actions(), [Action::CloseLink, KILL]);
    story.supervisor.kill(story.now);
    assert_eq!(story.actions(), []);

    let mut story = Story::running(Restart::always(5));
    story.stop();
    assert_eq!(story.after(2000), [TERM]);
    story.supervisor.kill(story.now);
    assert_eq!(story.actions(), [KILL]);
}

#[test]
fn hazard_s6_a_grandchild_that_holds_the_link_delays_the_end_by_the_grace_only() {
    let mut story = Story::running(Restart::never());
    assert_eq!(story.exit(7), []);
    assert_eq!(story.millis_to_deadline(), Some(200));
    assert_eq!(story.after(199), []);
    let actions = story.after(1);
    assert_eq!(actions[..3], [Action::DropLink, KILL, Action::Reap]);
    let ending = ending(&actions);
    assert!(!ending.stopped);
    let last = ending.last.as_ref().unwrap();
    assert_eq!(
        (last.exit, last.stderr_tail.as_str()),
        (Exit::Code(7), "last words of 7")
    );
}

#[test]
fn hazard_s7_the_link_outlives_the_child_until_its_end_has_been_read() {
    let mut story = Story::running(Restart::never());
    assert_eq!(story.exit(0), [], "the last frames are still in the pipe");
    assert_eq!(story.after(20), []);
    assert_eq!(story.link_closed()[0], Action::DropLink);
}

#[test]
fn a_child_that_closed_its_link_is_put_away_as_soon_as_it_ends() {
    let mut story = Story::running(Restart::never());
    assert_eq!(story.link_closed(), []);
    let actions = story.exit(0);
    assert_eq!(actions[..3], [Action::DropLink, KILL, Action::Reap]);
    assert!(!ending(&actions).stopped);
}

#[test]
fn a_child_that_lives_on_without_its_link_is_ended_and_restarted() {
    let mut story = Story::running(Restart::on_failure(5));
    assert_eq!(story.link_closed(), []);
    assert_eq!(story.after(2000), [TERM]);
    assert_eq!(story.after(2000), [KILL]);
    let killed = Exit::Signal {
        number: 9,
        core_dumped: false,
    };
    story
        .supervisor
        .handle_exited(story.now, killed, String::new())
        .unwrap();
    assert_eq!(restart_delay(&story.actions()[3..]), 100);
}

#[test]
fn the_group_is_left_alone_where_that_is_asked_for() {
    let ladder = StopLadder {
        sweep_group: false,
        ..StopLadder::default()
    };
    let mut supervisor = Supervisor::new(Restart::never(), ladder, 1);
    let now = Instant::ZERO;
    supervisor.start(now).unwrap();
    supervisor.handle_spawned(now).unwrap();
    supervisor.handle_link_closed(now);
    supervisor
        .handle_exited(now, Exit::Code(0), String::new())
        .unwrap();
    let actions: Vec<_> = std::iter::from_fn(|| supervisor.poll_action()).collect();
    assert_eq!(
        actions[..3],
        [Action::Spawn { attempt: 1 }, Action::DropLink, Action::Reap]
    );
}

#[test]
fn failures_are_restarted_after_growing_delays_until_the_budget_is_used_up() {
    let mut story = Story::running(Restart::on_failure(5));
    for (attempt, delay) in [(2, 100), (3, 200), (4, 400), (5, 800), (6, 1600)] {
        let actions = story.crash();
        assert_eq!(restart_delay(&actions), u128::from(delay));
        assert_eq!(story.after(delay - 1), []);
        assert_eq!(story.after(1), [Action::Spawn { attempt }]);
        story.spawned();
    }
    let actions = story.crash();
    let budget = Budget::new(5, Duration::from_secs(60));
    assert_eq!(actions[0], Action::GaveUp(GaveUp::BudgetExhausted(budget)));
    let ending = ending(&actions);
    assert_eq!(ending.attempts, 6);
    assert_eq!(ending.last.as_ref().unwrap().stderr_tail, "last words of 1");
    assert_eq!(
        ending.gave_up.as_ref().unwrap().to_string(),
        "restarted 5 times within 60s"
    );
}

#[test]
fn restarts_of_long_ago_do_not_count() {
    let mut story = Story::running(Restart::on_failure(Budget::new(1, Duration::from_secs(60))));
    for _ in 0..10 {
        let delay = restart_delay(&story.crash());
        let _spawn = story.after(delay as u64);
        story.spawned();
        assert_eq!(story.after(60_000), []);
    }
}

#[test]
fn a_quiet_minute_makes_the_next_delay_short_again() {
    let mut story = Story::running(Restart::on_failure(100));
    for expected in [100, 200, 400] {
        let delay = restart_delay(&story.crash());
        assert_eq!(delay, expected);
        let _spawn = story.after(delay as u64);
        story.spawned();
    }
    assert_eq!(story.after(59_999), []);
    assert_eq!(restart_delay(&story.crash()), 800);
    let _spawn = story.after(800);
    story.spawned();
    assert_eq!(story.after(60_000), []);
    assert_eq!(restart_delay(&story.crash()), 100);
}

#[test]
fn success_is_restarted_only_where_the_policy_says_always() {
    let mut story = Story::running(Restart::on_failure(5));
    assert_eq!(story.exit(0), []);
    assert_eq!(ending(&story.link_closed()).gave_up, None);

    let mut story = Story::running(Restart::always(5));
    assert_eq!(story.exit(0), []);
    assert_eq!(restart_delay(&story.link_closed()[3..]), 100);
}

#[test]
fn an_exit_that_nobody_knows_counts_as_a_failure() {
    let mut story = Story::running(Restart::on_failure(5));
    story
        .supervisor
        .handle_exited(story.now, Exit::Lost, String::new())
        .unwrap();
    assert_eq!(restart_delay(&story.link_closed()[3..]), 100);
}

#[test]
fn a_stop_while_waiting_to_restart_ends_at_once() {
    let mut story = Story::running(Restart::on_failure(5));
    assert_eq!(restart_delay(&story.crash()), 100);
    let actions = story.stop();
    assert_eq!(actions.len(), 1);
    let ending = ending(&actions);
    assert!(ending.stopped);
    assert_eq!(ending.last.as_ref().unwrap().exit, Exit::Code(1));
    assert_eq!(story.after(100), []);
}

#[test]
fn a_stop_while_the_child_is_being_started_stops_it_when_it_is() {
    let mut story = Story::new(Restart::always(5));
    story.supervisor.start(story.now).unwrap();
    assert_eq!(story.actions(), [Action::Spawn { attempt: 1 }]);
    assert_eq!(story.stop(), []);
    story.supervisor.handle_spawned(story.now).unwrap();
    assert_eq!(story.actions(), [Action::CloseLink]);
}

#[test]
fn a_stop_while_the_link_is_drained_prevents_the_restart() {
    let mut story = Story::running(Restart::always(5));
    assert_eq!(story.exit(1), []);
    assert_eq!(story.stop(), []);
    assert!(ending(&story.after(200)).stopped);
}

#[test]
fn a_stop_before_the_start_ends_without_a_child() {
    let mut story = Story::new(Restart::always(5));
    let actions = story.stop();
    assert_eq!(ending(&actions), ending(&actions[..1]));
    assert_eq!(
        (ending(&actions).attempts, &ending(&actions).last),
        (0, &None)
    );
    assert!(story.supervisor.start(story.now).is_err());
}

#[test]
fn a_first_start_that_fails_is_told_at_once_whatever_the_policy() {
    let mut story = Story::new(Restart::always(5));
    story.supervisor.start(story.now).unwrap();
    story.supervisor.handle_spawn_failed(story.now).unwrap();
    let actions = story.actions();
    assert_eq!(actions[1], Action::GaveUp(GaveUp::NeverStarted));
    assert_eq!(ending(&actions).attempts, 1);
}

#[test]
fn a_later_start_that_fails_is_a_failure_like_others() {
    let mut story = Story::running(Restart::on_failure(2));
    assert_eq!(restart_delay(&story.crash()), 100);
    assert_eq!(story.after(100), [Action::Spawn { attempt: 2 }]);
    story.supervisor.handle_spawn_failed(story.now).unwrap();
    let actions = story.actions();
    assert!(matches!(
        actions[..],
        [Action::Restarting {
            attempt: 3,
            end: None,
            ..
        }]
    ));
    assert_eq!(story.after(200), [Action::Spawn { attempt: 3 }]);
    story.supervisor.handle_spawn_failed(story.now).unwrap();
    assert!(matches!(
        story.actions()[0],
        Action::GaveUp(GaveUp::BudgetExhausted(_))
    ));
}

#[test]
fn the_report_of_a_restart_says_how_the_child_ended() {
    let mut story = Story::running(Restart::on_failure(5));
    assert_eq!(story.after(1234), []);
    let actions = story.crash();
    let [
        Action::Restarting {
            attempt: 2,
            end: Some(end),
            ..
        },
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    let RunEnd {
        exit,
        stderr_tail,
        uptime,
        ..
    } = end;
    assert_eq!(*exit, Exit::Code(1));
    assert_eq!(stderr_tail, "last words of 1");
    assert_eq!(*uptime, Duration::from_millis(1234));
}

#[test]
fn what_cannot_have_happened_is_refused_with_a_reason() {
    let mut story = Story::running(Restart::never());
    let misuse = story.supervisor.handle_spawned(story.now).unwrap_err();
    assert_eq!(
        misuse.to_string(),
        "a successful start makes no sense while the child runs"
    );
    assert!(story.supervisor.start(story.now).is_err());
    assert!(story.supervisor.handle_spawn_failed(story.now).is_err());
    assert_eq!(story.actions(), []);
    let _ended = story.exit(0);
    assert!(
        story
            .supervisor
            .handle_exited(story.now, Exit::Code(0), String::new())
            .is_err()
    );
}
