//! Time as a plain integer. The core never reads a clock: every input brings its `now`.

use core::ops::Add;
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// A point on the driver's monotonic clock, in nanoseconds from an origin of the driver's choice.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Instant(u64);

impl Instant {
    /// The origin of the clock.
    pub const ZERO: Self = Self(0);

    /// The end of the clock, which never comes.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// A point this many nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to here; zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This point later by `after`. `None` where the clock ends (after 584 years): such a deadline
    /// never comes, which is what `Duration::MAX` asks for.
    pub fn checked_add(self, after: Duration) -> Option<Self> {
        let nanos = u64::try_from(after.as_nanos()).ok()?;
        self.0.checked_add(nanos).map(Self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of the clock.
    fn add(self, after: Duration) -> Self {
        self.checked_add(after).unwrap_or(Self::NEVER)
    }
}
