//! Requests and events while they are put together.

use std::borrow::Cow;

use switchboard_os::app::{Draft, SendError};
use switchboard_os::{event_words, message_words, request_words};
use switchboard_proto::codec::Encode;
use switchboard_proto::outgoing::Receivers;
use switchboard_proto::{MessageId, NamespaceId, RequestId};

use crate::board::Board;

/// A request of a [`Board`] that is not sent yet.
#[must_use = "a request does nothing until `send`"]
pub struct Request<'b, 'm, M: ?Sized> {
    board: &'b mut Board,
    namespace: NamespaceId,
    draft: Draft<'m, M>,
}

impl<'b, 'm, M: Encode + ?Sized> Request<'b, 'm, M> {
    pub(crate) fn new(board: &'b mut Board, name: Cow<'static, str>, value: &'m M) -> Self {
        Self {
            board,
            namespace: crate::board::MAIN,
            draft: Draft::new(name, value),
        }
    }

    message_words!();
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
    pub(crate) fn new(board: &'b mut Board, name: Cow<'static, str>, value: &'m M) -> Self {
        Self {
            board,
            namespace: crate::board::MAIN,
            draft: Draft::new(name, value),
        }
    }

    message_words!();
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
