//! Whether there is a connection to the hub, and why there will be none.

use switchboard_proto::Event;
use switchboard_proto::wire::AttachRefusal;

use crate::Attachment;
use crate::engine::{Engine, EngineFault};

/// Why a connection is not to be waited for.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The hub was reached and does not take this peer. It is tried again by the rules of
    /// `Config::reconnect`; a name can become free.
    #[error("the hub refused this peer: {0}")]
    Refused(AttachRefusal),
    /// The rules of `Config::reconnect` allow no further attempt, or the last one failed with what
    /// does not pass by itself.
    #[error("no further attempt is made to reach the hub; the last one: {last}")]
    GaveUp {
        /// What the last attempt failed with; may be empty.
        last: String,
    },
    /// The time is over; the hub is tried further. Only where a time was given.
    #[error("the hub cannot be reached yet; the last attempt: {last}")]
    TimedOut {
        /// What the last attempt failed with; may be empty.
        last: String,
    },
    /// The peer was closed.
    #[error("this peer is closed")]
    Closed,
}

/// What is known of a peer's connection to its hub.
#[derive(Debug, Default)]
pub struct Connection {
    refused: Option<AttachRefusal>,
    gave_up: bool,
    /// What the last attempt failed with, in words.
    last: String,
}

impl Connection {
    /// Takes in what happened. Whether those who wait for the connection have to look again.
    pub fn note(&mut self, event: &Event<Attachment>) -> bool {
        match event {
            Event::Connected { .. } => *self = Self::default(),
            Event::AttachRefused(reason) => self.refused = Some(*reason),
            Event::GaveUp => self.gave_up = true,
            Event::Disconnected(_) | Event::Fenced | Event::HubChanged | Event::Announced => {}
            _ => return false,
        }
        true
    }

    /// Takes in what went wrong.
    pub fn note_fault(&mut self, fault: &EngineFault) {
        self.last = fault.to_string();
    }

    /// Whether the hub is lost for good.
    pub fn has_given_up(&self) -> bool {
        self.gave_up
    }

    /// Whether the connection stands, or why it will not. `None`: it is to be waited for.
    pub fn verdict(&self, engine: &Engine) -> Option<Result<(), ConnectionError>> {
        if engine.node_ref().is_connected() {
            return Some(Ok(()));
        }
        // A child has its name from its parent and cannot choose another: it waits until it is free.
        if let Some(reason) = self.refused
            && (self.gave_up || engine.dials())
        {
            return Some(Err(ConnectionError::Refused(reason)));
        }
        let last = || self.last.clone();
        self.gave_up
            .then(|| Err(ConnectionError::GaveUp { last: last() }))
    }

    /// Why there is none when the time of who waits for it is over.
    pub fn timed_out(&self) -> ConnectionError {
        ConnectionError::TimedOut {
            last: self.last.clone(),
        }
    }
}

crate::debug_says!(ConnectionError);
