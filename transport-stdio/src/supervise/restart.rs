//! Whether a child that has ended is started again, and when.

use std::collections::VecDeque;
use std::time::Duration;

use switchboard_os::process::Exit;
use switchboard_proto::Instant;

/// What is done when a child has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Restart {
    /// After which ends it is started again.
    pub when: RestartWhen,
    /// How often at most.
    pub budget: Budget,
    /// After what delay.
    pub backoff: Backoff,
}

/// After which ends a child is started again. One that was told to stop never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RestartWhen {
    /// After none.
    #[default]
    Never,
    /// After every end but an exit with code 0.
    OnFailure,
    /// After every end.
    Always,
}

/// How many restarts are allowed in how much time. One more, and the supervisor gives up: a child
/// that keeps failing is a fault to be told, and not to be hidden by a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Restarts in any stretch of time as long as the window. Default 5: with the default delays,
    /// that is three seconds of a fault that may pass.
    pub restarts: u32,
    /// Default 60 s.
    pub window: Duration,
}

/// The delay before a restart: `first`, and `factor` times more with each, until `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Default 100 ms: a single crash is hardly noticed.
    pub first: Duration,
    /// Default 2. Below 1, and if it is no number, it counts as 1.
    pub factor: f64,
    /// Default 5 s.
    pub max: Duration,
    /// The part of each delay that is left to chance, from 0 to 1: it is shortened by up to this
    /// much of it, so that children felled by the same fault do not come back in the same moment.
    /// Default 0.25.
    pub jitter: f64,
}

impl Restart {
    /// No restart.
    pub fn never() -> Self {
        Self::new(RestartWhen::Never, Budget::default())
    }

    /// A restart after each failure, within a budget: `on_failure(5)` means five in 60 s.
    pub fn on_failure(budget: impl Into<Budget>) -> Self {
        Self::new(RestartWhen::OnFailure, budget.into())
    }

    /// A restart whenever the child ends, within a budget: `always(5)` means five in 60 s.
    pub fn always(budget: impl Into<Budget>) -> Self {
        Self::new(RestartWhen::Always, budget.into())
    }

    /// The same policy with other delays.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    fn new(when: RestartWhen, budget: Budget) -> Self {
        Self {
            when,
            budget,
            backoff: Backoff::default(),
        }
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self::never()
    }
}

impl Budget {
    /// That many restarts in any stretch of time of that length.
    pub const fn new(restarts: u32, window: Duration) -> Self {
        Self { restarts, window }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(5, Duration::from_secs(60))
    }
}

impl From<u32> for Budget {
    /// That many restarts in the default window.
    fn from(restarts: u32) -> Self {
        Self {
            restarts,
            ..Self::default()
        }
    }
}

impl Backoff {
    /// Always the same delay, without jitter.
    pub const fn fixed(delay: Duration) -> Self {
        Self {
            first: delay,
            factor: 1.0,
            max: delay,
            jitter: 0.0,
        }
    }

    /// The delay before the restart that follows `previous` others, for a `chance` from 0 to 1.
    fn delay(&self, previous: u32, chance: f64) -> Duration {
        let max = self.max.as_secs_f64();
        let growth = self.factor.max(1.0).powf(f64::from(previous));
        let full = (self.first.as_secs_f64() * growth).min(max);
        let jitter = if self.jitter.is_nan() {
            0.0
        } else {
            self.jitter.clamp(0.0, 1.0)
        };
        // `first` is finite and `max` bounds the rest, but the type's own limit is rounded up on
        // its way through a float.
        Duration::try_from_secs_f64(full * (1.0 - jitter * chance)).unwrap_or(self.max)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            factor: 2.0,
            max: Duration::from_secs(5),
            jitter: 0.25,
        }
    }
}

/// A policy at work: what it has granted so far.
#[derive(Clone, Debug)]
pub(super) struct History {
    policy: Restart,
    /// When each restart of the last window took place.
    restarts: VecDeque<Instant>,
    /// Restarts since the last quiet window, by which the delay grows.
    streak: u32,
    chance: Chance,
}

/// What a policy says of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Start it again after this.
    After(Duration),
    /// It is not to be started again after such an end.
    Done,
    /// It would be, but the budget is used up.
    Exhausted,
}

impl History {
    pub(super) fn new(policy: Restart, seed: u64) -> Self {
        Self {
            policy,
            restarts: VecDeque::new(),
            streak: 0,
            chance: Chance(seed),
        }
    }

    pub(super) fn budget(&self) -> Budget {
        self.policy.budget
    }

    /// Decides about an end, or a failed attempt to start (`exit` is then `None`).
    pub(super) fn judge(&mut self, now: Instant, exit: Option<Exit>) -> Verdict {
        let wanted = match self.policy.when {
            RestartWhen::Never => false,
            RestartWhen::OnFailure => !exit.is_some_and(Exit::success),
            RestartWhen::Always => true,
        };
        if !wanted {
            return Verdict::Done;
        }
        self.forget_before(now);
        if self.restarts.len() as u64 >= u64::from(self.policy.budget.restarts) {
            return Verdict::Exhausted;
        }
        let delay = self.policy.backoff.delay(self.streak, self.chance.next());
        self.streak = self.streak.saturating_add(1);
        Verdict::After(delay)
    }

    /// Counts a restart that takes place now.
    pub(super) fn restarted(&mut self, now: Instant) {
        self.restarts.push_back(now);
    }

    /// Hears that a child has ended that ran for so long. As long as the window without an end is
    /// a quiet one, and what comes after it is a new fault.
    pub(super) fn ran_for(&mut self, uptime: Duration) {
        if uptime >= self.policy.budget.window {
            self.streak = 0;
        }
    }

    fn forget_before(&mut self, now: Instant) {
        let window = self.policy.budget.window;
        while self
            .restarts
            .front()
            .is_some_and(|&then| now.saturating_since(then) >= window)
        {
            self.restarts.pop_front();
        }
    }
}

/// SplitMix64: the seed comes from the caller, so the same run gives the same delays.
#[derive(Clone, Debug)]
struct Chance(u64);

impl Chance {
    /// A number from 0 to 1, 1 excluded.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        // The 53 bits that a double holds exactly.
        (word >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_from_a_tenth_of_a_second_to_five_seconds() {
        let backoff = Backoff {
            jitter: 0.0,
            ..Backoff::default()
        };
        let delays: Vec<_> = (0..8).map(|n| backoff.delay(n, 0.5).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.delay(u32::MAX, 0.5), Duration::from_secs(5));
    }

    #[test]
    fn jitter_shortens_a_delay_by_at_most_its_part() {
        let backoff = Backoff::default();
        assert_eq!(backoff.delay(0, 0.0), Duration::from_millis(100));
        assert_eq!(backoff.delay(0, 1.0), Duration::from_millis(75));
    }

    #[test]
    fn nonsense_in_the_numbers_does_no_harm() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
            let backoff = Backoff {
                factor: bad,
                jitter: bad,
                ..Backoff::default()
            };
            for previous in [0, 1, 100] {
                assert!(backoff.delay(previous, 0.5) <= backoff.max);
            }
        }
        let endless = Backoff {
            max: Duration::MAX,
            ..Backoff::default()
        };
        assert_eq!(endless.delay(u32::MAX, 0.0), Duration::MAX);
        let none = Backoff {
            first: Duration::ZERO,
            factor: f64::INFINITY,
            ..Backoff::default()
        };
        assert!(none.delay(3, 0.0) <= none.max);
    }

    #[test]
    fn the_same_seed_gives_the_same_delays_and_another_gives_others() {
        let delays = |seed| {
            let mut history = History::new(Restart::always(1000), seed);
            (0..50)
                .map(|_| history.judge(Instant::ZERO, None))
                .collect::<Vec<_>>()
        };
        assert_eq!(delays(7), delays(7));
        assert_ne!(delays(7), delays(8));
    }
}
