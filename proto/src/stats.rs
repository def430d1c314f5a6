//! Counters: whatever is dropped has its reason here.

/// What a node has done since it began. Plain totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages and requests accepted from the application.
    pub accepted: u64,
    /// Messages and requests refused to the application.
    pub refused: u64,
    /// Messages and requests given to the application.
    pub delivered: u64,
    /// Requests that got their outcome.
    pub outcomes: u64,
    /// Frames that came, of every kind.
    pub frames: u64,
    /// Frames passed on as a hub.
    pub forwarded: u64,
    /// Plans committed to links.
    pub plans: u64,
    /// Replies that came when their request had its outcome already.
    pub late_replies: u64,
    /// Frames that came again over a later path.
    pub duplicates: u64,
    /// Frames that came before one that was lost with a path; they are sent again.
    pub gaps: u64,
    /// Frames of, or for, an instance that is gone.
    pub gone_dropped: u64,
    /// Messages of instances that had ended, dropped unread because more of them waited than the
    /// receive budget allows.
    pub departed_dropped: u64,
    /// Frames of an instance that broke a rule before, and receipts and refusals meant for one.
    pub broken_dropped: u64,
    /// Frames that passed more hubs than a frame may.
    pub hops_dropped: u64,
    /// Frames for an instance that is not attached now; its sender asks when it is again.
    pub detached_dropped: u64,
    /// Frames to be passed on that were more than their receiver allows.
    pub overrun_dropped: u64,
    /// Frames of a kind that this version does not know.
    pub unknown_kinds: u64,
    /// Links that were closed because their other end never said hello: it speaks something else.
    pub strangers: u64,
    /// Messages that this node's application does not handle.
    pub refused_arrivals: u64,
    /// Handles that came and were dropped: incomplete sets, frames that were not for the
    /// application, senders that ended.
    pub attachments_dropped: u64,
    /// Times the clock of the driver went backwards; time then stands still.
    pub clock_backwards: u64,
    /// Copies of events to many that this node did not accept; each is told as
    /// [`Fate::NotAccepted`](crate::Fate::NotAccepted).
    pub fanout_refused: u64,
}
