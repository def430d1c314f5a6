//! The time that drivers bring to the core.

use rustix::time::{ClockId, clock_gettime};

/// The monotonic clock that goes on while the machine sleeps, unlike [`std::time::Instant`] on
/// Linux: a peer that slept for an hour must see that its deadlines are over.
///
/// The value holds no state; it exists so that a driver can take another clock in a test.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Nanoseconds since boot; never less than an earlier answer on this machine.
    pub fn now(&self) -> u64 {
        let time = clock_gettime(ID);
        // Seconds since boot are positive, and 584 years of nanoseconds fit.
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "openbsd"))]
const ID: ClockId = ClockId::Boottime;
// On Apple systems this one counts sleep; elsewhere it is the best there is.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "openbsd")))]
const ID: ClockId = ClockId::Monotonic;
