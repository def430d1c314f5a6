//! A registration in the hands of who made it.

use std::fmt;
use std::mem;

use switchboard_os::app::RegisterError;

use crate::peer::WeakPeer;
use crate::service::Entry;

/// A registered handler. Dropping it takes the handler out; what it has begun finishes.
#[must_use = "the handler is taken out when this is dropped: keep it, or say `.forever()`"]
pub struct Sub {
    peer: WeakPeer,
    entry: Option<Entry>,
    answers: bool,
    refused: Option<RegisterError>,
}

impl Sub {
    pub(crate) fn new(
        peer: WeakPeer,
        entry: Entry,
        registered: Result<bool, RegisterError>,
    ) -> Self {
        Self {
            peer,
            entry: Some(entry),
            answers: *registered.as_ref().unwrap_or(&false),
            refused: registered.err(),
        }
    }

    /// Keeps the handler for as long as the peer lives.
    pub fn forever(mut self) {
        self.entry = None;
    }

    /// Takes the handler out now. What it has begun finishes.
    pub fn cancel(self) {}

    /// Whether this handler answers requests of its name. Of several handlers registered with `on`
    /// for one string, only the first does; the others hear the events.
    pub fn answers_requests(&self) -> bool {
        self.answers
    }

    /// Why the handler was not registered at all: the name is a [`Call`](crate::Call) that has a
    /// handler already ([`RegisterError::HandlerExists`]), or cannot be a name.
    pub fn refused(&self) -> Option<&RegisterError> {
        self.refused.as_ref()
    }

    /// This registration, or why there is none.
    ///
    /// # Errors
    ///
    /// As [`Sub::refused`].
    pub fn checked(mut self) -> Result<Self, RegisterError> {
        match self.refused.take() {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }
}

impl Drop for Sub {
    fn drop(&mut self) {
        if let Some(entry) = mem::take(&mut self.entry) {
            let removed = self.peer.unregister(&entry);
            drop((removed, entry));
        }
    }
}

impl fmt::Debug for Sub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sub")
            .field("answers_requests", &self.answers)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}
