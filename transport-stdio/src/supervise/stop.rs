//! The way from asking a child to end to making it end.

use std::time::Duration;

use switchboard_proto::Instant;

/// How long a child is given at each rung on the way to its end.
///
/// A child is stopped by waiting until what is under way between it and this process has ended, its
/// requests and ours; by closing its link, which a well-written one takes as the end of its work;
/// then by `SIGTERM` to its process group; then by `SIGKILL` to it, after which there is nothing to
/// wait for but the kernel. A grace of zero skips the wait and not the rung; `Duration::MAX` waits
/// for as long as it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopLadder {
    /// How long what is under way may take, until the link is closed. Default 2 s: most requests end
    /// within it, and what does not has an outcome then (`Unknown`). What other peers have under way
    /// with the child is not known here and not waited for.
    pub finish_grace: Duration,
    /// From closing the link to `SIGTERM`. Default 2 s: enough to finish what is at hand and flush
    /// it, short enough for a person at a prompt.
    pub close_grace: Duration,
    /// From `SIGTERM` to `SIGKILL`. Default 2 s: a child that did not hear the end of its link may
    /// be stuck in something that its handler can undo.
    pub term_grace: Duration,
    /// From the child's exit to letting go of its link. Default 200 ms: what it wrote last is still
    /// to be read, and the end of the stream may never come where a grandchild holds it open.
    pub drain_grace: Duration,
    /// Whether what is left of the child's process group is killed when the child has ended.
    /// Default true: whatever a child starts shall not outlive it unnoticed. A helper that shall
    /// leaves the group, as daemons do.
    pub sweep_group: bool,
}

impl Default for StopLadder {
    fn default() -> Self {
        Self {
            finish_grace: Duration::from_secs(2),
            close_grace: Duration::from_secs(2),
            term_grace: Duration::from_secs(2),
            drain_grace: Duration::from_millis(200),
            sweep_group: true,
        }
    }
}

/// How far up a child is. The order is the order of climbing, and there is no way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rung {
    Finishing,
    Closing,
    Terminating,
    Killed,
}

/// A child on the ladder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Climb {
    pub(super) rung: Rung,
    /// When the next rung is due; none after the last, or where the grace never ends.
    pub(super) next: Option<Instant>,
}

impl StopLadder {
    /// The climb that has just reached this rung. Each wait starts when its rung is reached, so a
    /// driver that slept through several does not take them all at once.
    pub(super) fn at(&self, rung: Rung, now: Instant) -> Climb {
        let next = match rung {
            Rung::Finishing => now.checked_add(self.finish_grace),
            Rung::Closing => now.checked_add(self.close_grace),
            Rung::Terminating => now.checked_add(self.term_grace),
            Rung::Killed => None,
        };
        Climb { rung, next }
    }
}
