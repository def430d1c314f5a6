//! Counters of one peer.

use crate::engine::EngineStats;

/// What a peer has done since it began. Plain totals.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// Of the protocol: messages, requests, and whatever was dropped, by its reason.
    pub core: switchboard_proto::Stats,
    /// Of the connections.
    pub io: EngineStats,
    /// Of the handlers.
    pub handlers: HandlerStats,
}

/// What the handlers of a peer have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerStats {
    /// Messages for which every handler has returned.
    pub handled: u64,
    /// Of those, messages of which a handler failed, panicked, or could not be given the type that
    /// it takes. A requester is told; of an event that wants no receipt this is the only trace.
    pub failed: u64,
    /// Answers for which nobody waited any more.
    pub stale_answers: u64,
}
