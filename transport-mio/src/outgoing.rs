//! Requests and events while they are put together.

use std::borrow::Cow;
use std::os::fd::OwnedFd;

use switchboard_proto::codec::{CodecId, CodecTable, Encode, Encoded};
use switchboard_proto::outgoing::{IntoTargets, Receivers, TargetError};
use switchboard_proto::{
    Message, MessageId, NamespaceId, RequestId, RequestOptions, SendOptions, Target,
};

use crate::board::Board;
use crate::error::SendError;

/// The parts that every message has. The value is encoded at the end, when its codec is known.
pub(crate) struct Draft<'a, M: ?Sized> {
    pub(crate) name: Cow<'static, str>,
    pub(crate) value: &'a M,
    pub(crate) codec: Option<CodecId>,
    pub(crate) receivers: Receivers,
    pub(crate) wrong: Option<TargetError>,
    pub(crate) attachments: Vec<OwnedFd>,
    pub(crate) request: RequestOptions,
    pub(crate) event: SendOptions,
}

impl<'a, M: Encode + ?Sized> Draft<'a, M> {
    pub(crate) fn new(name: &str, value: &'a M) -> Self {
        Self {
            name: Cow::Owned(name.to_owned()),
            value,
            codec: None,
            receivers: Receivers::new(),
            wrong: None,
            attachments: Vec::new(),
            request: RequestOptions::default(),
            event: SendOptions::default(),
        }
    }

    pub(crate) fn to(&mut self, targets: &impl IntoTargets) {
        if let Err(error) = self.receivers.add(targets) {
            // The first one is told when the message is sent.
            self.wrong.get_or_insert(error);
        }
    }

    pub(crate) fn queue_attachments(&mut self) {
        self.request.queue_attachments = true;
        self.event.queue_attachments = true;
    }

    /// The message, whole. `shown` is the namespace as people write it.
    pub(crate) fn into_message(
        self,
        codecs: &CodecTable,
        namespace: NamespaceId,
        shown: &str,
        target: impl FnOnce(Receivers) -> Target,
    ) -> Result<Message<OwnedFd>, SendError> {
        let attachments = self.attachments;
        if let Some(error) = self.wrong {
            return Err(SendError::Target { error, attachments });
        }
        match codecs.encode(shown, &self.name, self.codec, self.value) {
            Ok(Encoded { codec, payload }) => Ok(Message {
                target: target(self.receivers),
                namespace,
                event: self.name,
                codec: codec.0,
                payload,
                attachments,
            }),
            Err(error) => Err(SendError::Encode {
                error: Box::new(error),
                attachments,
            }),
        }
    }
}

/// The words that all builders share.
macro_rules! common_words {
    () => {
        /// For whom it is: a peer's id, a name or `name#generation`, `Hub`, `Parent`, `Everyone`,
        /// the sender of a message, or a tuple or slice of those.
        pub fn to(mut self, targets: impl switchboard_proto::outgoing::IntoTargets) -> Self {
            self.draft.to(&targets);
            self
        }

        /// Moves a descriptor to the receiver. This process's copy is closed when the receiver's
        /// node has it; a refusal gives it back.
        pub fn attach(mut self, descriptor: impl Into<std::os::fd::OwnedFd>) -> Self {
            self.draft.attachments.push(descriptor.into());
            self
        }

        /// Lets the attachments wait for a receiver that is not ready. Without it, that is refused.
        pub fn queue_attachments(mut self) -> Self {
            self.draft.queue_attachments();
            self
        }

        /// Encodes this one message with another codec than its name's.
        pub fn codec(mut self, codec: switchboard_proto::codec::CodecId) -> Self {
            self.draft.codec = Some(codec);
            self
        }
    };
}

macro_rules! event_words {
    () => {
        /// Leaves peers out, whatever the targets say.
        pub fn except(mut self, peers: &[switchboard_proto::PeerId]) -> Self {
            self.draft.receivers.except(peers);
            self
        }

        /// Makes this peer one of the receivers of what goes to many.
        pub fn include_self(mut self) -> Self {
            self.draft.receivers.include_self();
            self
        }

        /// Asks what becomes of it.
        pub fn receipt(mut self, receipt: switchboard_proto::Receipt) -> Self {
            self.draft.event.receipt = receipt;
            self
        }

        /// Gives it up after this time, if it has not left by then.
        pub fn expires(mut self, after: std::time::Duration) -> Self {
            self.draft.event.expires = Some(after);
            self
        }
    };
}

macro_rules! request_words {
    () => {
        /// How long it may take, from its acceptance by this node, queueing included. Zero is
        /// refused, `Duration::MAX` means no limit; 10 s where nothing is said.
        pub fn deadline(mut self, deadline: std::time::Duration) -> Self {
            self.draft.request.deadline = Some(deadline);
            self
        }
    };
}

pub(crate) use {common_words, event_words, request_words};

/// A request of a [`Board`] that is not sent yet.
#[must_use = "a request does nothing until `send`"]
pub struct Request<'b, 'm, M: ?Sized> {
    board: &'b mut Board,
    namespace: NamespaceId,
    draft: Draft<'m, M>,
}

impl<'b, 'm, M: Encode + ?Sized> Request<'b, 'm, M> {
    pub(crate) fn new(board: &'b mut Board, name: &str, value: &'m M) -> Self {
        Self {
            board,
            namespace: crate::board::MAIN,
            draft: Draft::new(name, value),
        }
    }

    common_words!();
    request_words!();

    /// In another namespace than the default one; from [`Board::ns`].
    pub fn ns(mut self, namespace: NamespaceId) -> Self {
        self.namespace = namespace;
        self
    }

    /// Makes the request. [`Incoming::Reply`](crate::Incoming::Reply) with this id follows, exactly
    /// once. Without a target it goes to one peer that handles the name.
    ///
    /// # Errors
    ///
    /// Why it was not accepted, with the message. There is no reply then.
    pub fn send(self) -> Result<RequestId, SendError> {
        let options = self.draft.request;
        let target = Receivers::into_request_target;
        let message = self.board.encode(self.draft, self.namespace, target)?;
        self.board.request_message(message, options)
    }
}

/// An event of a [`Board`] that is not sent yet.
#[must_use = "an event does nothing until `send`"]
pub struct Emit<'b, 'm, M: ?Sized> {
    board: &'b mut Board,
    namespace: NamespaceId,
    draft: Draft<'m, M>,
}

impl<'b, 'm, M: Encode + ?Sized> Emit<'b, 'm, M> {
    pub(crate) fn new(board: &'b mut Board, name: &str, value: &'m M) -> Self {
        Self {
            board,
            namespace: crate::board::MAIN,
            draft: Draft::new(name, value),
        }
    }

    common_words!();
    event_words!();

    /// In another namespace than the default one; from [`Board::ns`].
    pub fn ns(mut self, namespace: NamespaceId) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sends the event: accepted into a bounded buffer. Without a target it goes to every other
    /// peer that listens for the name.
    ///
    /// # Errors
    ///
    /// Why it was not accepted, with the message.
    pub fn send(self) -> Result<MessageId, SendError> {
        let options = self.draft.event;
        let target = Receivers::into_event_target;
        let message = self.board.encode(self.draft, self.namespace, target)?;
        self.board.resend(message, options)
    }
}

macro_rules! debug_builder {
    ($($type:ident),*) => {$(
        impl<M: ?Sized> std::fmt::Debug for $type<'_, '_, M> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type))
                    .field("name", &self.draft.name)
                    .finish_non_exhaustive()
            }
        }
    )*};
}

debug_builder!(Request, Emit);
