//! What was accepted and waits to be written together with more.

use std::time::Duration;

use switchboard_proto::Instant;

/// As much as one plan takes: to gather more saves no system call, and lets the other side wait.
const FULL: usize = 64 * 1024;

/// How long the first may wait for others. To write one costs about a microsecond, so that by then
/// a batch has saved most of what it can save; and it is less than another process needs to wake up.
const HELD: Duration = Duration::from_micros(50);

/// What each message has besides its payload, about.
const FRAME: usize = 64;

/// Messages since the last flush.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    bytes: usize,
    since: Option<Instant>,
}

impl Unwritten {
    pub(super) fn add(&mut self, now: Instant, payload: usize) {
        self.bytes += FRAME + payload;
        self.since.get_or_insert(now);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= FULL
    }

    pub(super) fn is_old(&self, now: Instant) -> bool {
        self.since
            .is_some_and(|since| now.saturating_since(since) >= HELD)
    }
}
