//! The words of the builders, which are the same in every driver. Each macro stands in an `impl` of a
//! type with a field `draft`: a [`Draft`](super::Draft).

/// The words of requests and events.
#[doc(hidden)]
#[macro_export]
macro_rules! message_words {
    () => {
        /// For whom it is: a peer's id, its name or `name#generation`, `Hub`, `Parent`, `Everyone`,
        /// the sender of a message, or a tuple or slice of those for their union. A request goes to
        /// exactly one; of an event each receiver gets one copy however often it is meant.
        pub fn to(mut self, targets: impl $crate::__proto::outgoing::IntoTargets) -> Self {
            self.draft.to(&targets);
            self
        }

        /// Moves a descriptor to the receiver, which must be one, on the same machine. It is closed
        /// here when the receiver's process has it, and comes back with a refusal. At most 16. A
        /// [`SharedFd`](crate::SharedFd) stays open here, to go with other messages too.
        pub fn attach(mut self, descriptor: impl $crate::IntoAttachment) -> Self {
            self.draft
                .attachments
                .push($crate::IntoAttachment::into_attachment(descriptor));
            self
        }

        /// Lets the descriptors wait for a peer that is not ready yet, however long that takes;
        /// without this they are refused.
        pub fn queue_attachments(mut self) -> Self {
            self.draft.queue_attachments();
            self
        }

        /// Encodes this one message with another codec than its name's.
        pub fn codec(mut self, codec: $crate::__proto::codec::CodecId) -> Self {
            self.draft.codec = Some(codec);
            self
        }
    };
}

/// The words of events.
#[doc(hidden)]
#[macro_export]
macro_rules! event_words {
    () => {
        /// Leaves peers out, whatever the targets say.
        pub fn except(mut self, peers: &[$crate::__proto::PeerId]) -> Self {
            self.draft.receivers.except(peers);
            self
        }

        /// Makes this peer one of everyone, and of those that listen.
        pub fn include_self(mut self) -> Self {
            self.draft.receivers.include_self();
            self
        }

        /// What to be told beyond acceptance: that the receiving application took it, or that its
        /// handlers returned `Ok`. Of an event to many, what is told first counts.
        pub fn receipt(mut self, receipt: $crate::__proto::Receipt) -> Self {
            self.draft.event.receipt = receipt;
            self
        }

        /// Gives the event up where it was not handed to a link by then. Default: never.
        pub fn expires(mut self, after: std::time::Duration) -> Self {
            self.draft.event.expires = Some(after);
            self
        }
    };
}

/// The words of requests.
#[doc(hidden)]
#[macro_export]
macro_rules! request_words {
    () => {
        /// How long to wait for the outcome, from the acceptance by this peer, queueing and boot
        /// included. The default is 10 s, or what `set_default_deadline` says; `Duration::MAX` means
        /// none, and zero is refused.
        pub fn deadline(mut self, deadline: std::time::Duration) -> Self {
            self.draft.request.deadline = Some(deadline);
            self
        }
    };
}

/// The words of what puts a peer together. They stand in an `impl` of a type with a field `setup`: a
/// [`Setup`](crate::app::Setup).
#[doc(hidden)]
#[macro_export]
macro_rules! setup_words {
    () => {
        /// The name under which the peer wants to be known, and found again after a restart: 1 to 64
        /// bytes without NUL and `#`.
        pub fn name(mut self, name: impl Into<String>) -> Self {
            self.setup.name = Some(name.into());
            self
        }

        /// Changes limits and intervals; each field of `Config` says its default and why. The role
        /// is the builder's to say.
        pub fn config(mut self, change: impl FnOnce(&mut $crate::__proto::Config)) -> Self {
            change(&mut self.setup.config);
            self
        }

        /// How many handlers run at the same time; at least 1. Default 64. What comes beyond waits
        /// in the receive budget, and its senders with it.
        pub fn handlers(mut self, most: usize) -> Self {
            self.setup.handlers = most.max(1);
            self
        }

        /// Adds a codec of the application's own, for reading what is written in it.
        ///
        /// # Errors
        ///
        /// Its id is reserved or taken; it comes back.
        pub fn codec(
            mut self,
            codec: std::sync::Arc<dyn $crate::__proto::codec::Codec>,
        ) -> Result<Self, $crate::__proto::codec::RegisterError> {
            self.setup.codecs.register(codec)?;
            Ok(self)
        }

        /// Says which codec is used for what; see `CodecTable`.
        pub fn codecs(
            mut self,
            change: impl FnOnce(&mut $crate::__proto::codec::CodecTable),
        ) -> Self {
            change(&mut self.setup.codecs);
            self
        }
    };
}

/// The `Debug` of errors that people meet: the same sentence as their `Display`, with what to do. What
/// `fn main() -> Result<(), E>` prints of an error, and `unwrap` too, is its `Debug`.
#[doc(hidden)]
#[macro_export]
macro_rules! debug_says {
    ($($error:ty),* $(,)?) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    )*};
}
