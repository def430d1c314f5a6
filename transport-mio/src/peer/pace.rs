//! How long a handler takes, as far as the past tells.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Another answer may wait for one that takes no longer, to be written with its answer.
const QUICK: Duration = Duration::from_micros(50);

/// What is known of one handler. Of one that was never called nothing is, and it counts as slow.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicBool);

impl Pace {
    /// A call took so many nanoseconds.
    pub(super) fn took(&self, nanos: u64) {
        let quick = u128::from(nanos) <= QUICK.as_nanos();
        // It is read far more often than it changes.
        if self.0.load(Ordering::Relaxed) != quick {
            self.0.store(quick, Ordering::Relaxed);
        }
    }

    /// Whether the last call was quick.
    pub(super) fn is_quick(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
