//! A registration in the hands of who made it.

use std::fmt;

use super::RegisterError;

/// A registered handler. Dropping it takes the handler out; what is running finishes.
#[must_use = "the handler is taken out when this is dropped: keep it, or say `.forever()`"]
pub struct Sub {
    registration: Option<Box<dyn Registration>>,
    refused: Option<RegisterError>,
}

/// A registration, as its driver keeps it.
pub trait Registration: Send + Sync {
    /// Takes it out: no call begins after this.
    fn take_out(&self);

    /// Whether it is the one that answers requests of its name now.
    fn answers(&self) -> bool;
}

/// What a driver gives to who registers.
pub fn sub<R: Registration + 'static>(registered: Result<R, RegisterError>) -> Sub {
    match registered {
        Ok(registration) => Sub {
            registration: Some(Box::new(registration)),
            refused: None,
        },
        Err(error) => Sub {
            registration: None,
            refused: Some(error),
        },
    }
}

impl Sub {
    /// Keeps the handler for as long as the peer lives.
    pub fn forever(mut self) {
        self.registration = None;
    }

    /// Takes the handler out now: no call begins after this. What is running finishes.
    pub fn cancel(self) {}

    /// Whether this handler is the one that answers requests of its name now. Of several that are
    /// registered with `on` for one string, the first does; when it is taken out, the next one takes
    /// over. All of them hear the events.
    pub fn answers_requests(&self) -> bool {
        let registration = self.registration.as_ref();
        registration.is_some_and(|registration| registration.answers())
    }

    /// Why the handler was not registered at all: the name is a `Call` that has a handler already
    /// ([`RegisterError::HandlerExists`]), or cannot be a name.
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
        if let Some(registration) = self.registration.take() {
            registration.take_out();
        }
    }
}

impl fmt::Debug for Sub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sub")
            .field("registered", &self.registration.is_some())
            .field("refused", &self.refused)
            .finish()
    }
}
