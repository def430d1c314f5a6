//! What a board brings.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use switchboard_os::app::{FromReply, RequestError, State, read_outcome};
use switchboard_os::{Attachment, IntoAttachment};
use switchboard_proto::codec::{CodecError, CodecId, CodecTable, Decode, Encode};
use switchboard_proto::fault::Fault;
use switchboard_proto::{
    Answer, Delivery, DeliveryKind, Fate, MessageId, NamespaceId, Outcome, ReplyRefusal, RequestId,
    Sender, Target, Ticket,
};

use crate::board::Board;
use crate::error::{ReplyError, UnknownTicket};

/// Something that came, or happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Incoming {
    /// Somebody asks. Reply to it; dropped, it is answered by nobody until its deadline.
    Request(IncomingRequest),
    /// Somebody tells.
    Event(IncomingEvent),
    /// The one outcome of a request of this board.
    Reply {
        /// The request.
        id: RequestId,
        /// Its outcome.
        outcome: ReplyOutcome,
    },
    /// What became of an event that wanted a receipt, was refused, or whose receiver ended.
    Fate {
        /// The event.
        id: MessageId,
        /// Its fate.
        fate: Fate<Attachment>,
    },
    /// Nobody waits for the answer to this request any more.
    Cancelled(Ticket),
    /// A send to this target was refused as full; half of the buffer is free again.
    Sendable(Target),
    /// What happened to this board and around it.
    State(State),
    /// What was to be drained is delivered, or the time is over.
    Drained {
        /// Whether everything was taken.
        clean: bool,
    },
}

/// A message with what is needed to read it.
pub(crate) struct Content {
    pub(crate) from: Sender,
    pub(crate) namespace: NamespaceId,
    pub(crate) name: Arc<str>,
    pub(crate) codec: CodecId,
    pub(crate) payload: switchboard_proto::Payload,
    pub(crate) descriptors: VecDeque<Attachment>,
    pub(crate) lost: bool,
    pub(crate) codecs: Arc<CodecTable>,
}

impl Content {
    pub(crate) fn of(
        delivery: Delivery<Attachment>,
        codecs: Arc<CodecTable>,
    ) -> (Self, DeliveryKind) {
        let content = Self {
            from: delivery.from,
            namespace: delivery.namespace,
            name: delivery.event,
            codec: CodecId(delivery.codec),
            payload: delivery.payload,
            descriptors: delivery.attachments.into(),
            lost: delivery.attachments_lost,
            codecs,
        };
        (content, delivery.kind)
    }

    pub(crate) fn decode<M: Decode>(&self) -> Result<M, CodecError> {
        self.codecs.decode(self.codec, &self.name, &self.payload)
    }
}

macro_rules! content {
    ($type:ident) => {
        impl $type {
            /// Who sent it. Also a target: it stands for that very process and for none that takes
            /// its id later.
            pub fn from(&self) -> Sender {
                self.content.from
            }

            /// Its namespace.
            pub fn namespace(&self) -> NamespaceId {
                self.content.namespace
            }

            /// Its name.
            pub fn name(&self) -> &str {
                &self.content.name
            }

            /// Its value.
            ///
            /// # Errors
            ///
            /// It is of another type, or in a codec that is not there.
            pub fn decode<M: Decode>(&self) -> Result<M, CodecError> {
                self.content.decode()
            }

            /// The next descriptor that came with it, in the order in which they were attached.
            pub fn take_fd(&mut self) -> Option<OwnedFd> {
                let came = self.content.descriptors.pop_front()?;
                came.into_owned().ok()
            }

            /// Whether descriptors were attached that did not arrive.
            pub fn attachments_lost(&self) -> bool {
                self.content.lost
            }
        }
    };
}

/// A request that waits for its reply.
pub struct IncomingRequest {
    pub(crate) content: Content,
    pub(crate) ticket: Ticket,
    pub(crate) remaining: Option<Duration>,
    /// What goes with the reply.
    pub(crate) attached: Vec<Attachment>,
}

content!(IncomingRequest);

impl IncomingRequest {
    /// What [`Incoming::Cancelled`] will call it.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// How long its sender still waited when it was taken; `None` for as long as it takes.
    pub fn remaining(&self) -> Option<Duration> {
        self.remaining
    }

    /// Moves a descriptor to the requester, with the reply that follows: it is closed here when the
    /// requester's process has it, unless it is a [`SharedFd`](crate::SharedFd). At most 16.
    pub fn attach(mut self, descriptor: impl IntoAttachment) -> Self {
        self.attached.push(descriptor.into_attachment());
        self
    }

    /// Answers with a value, or with a fault, and then what was attached is closed. A value that the
    /// codec cannot carry becomes a fault too.
    ///
    /// # Errors
    ///
    /// Its sender has ended meanwhile: nobody waits. Or what was attached cannot go to it, and then
    /// the request comes back with the error, to be answered otherwise.
    pub fn reply<R: Encode + ?Sized>(
        mut self,
        board: &mut Board,
        result: Result<&R, Fault>,
    ) -> Result<(), ReplyError> {
        let attachments = std::mem::take(&mut self.attached);
        let answer = self.answer(board.shown_namespace(self.namespace()), result, attachments);
        let refused = match board.reply(self.ticket, answer) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        let descriptors = match refused.answer {
            Answer::Reply { attachments, .. } => attachments,
            _ => Vec::new(),
        };
        let waits = refused.reason != ReplyRefusal::Stale;
        Err(ReplyError {
            reason: refused.reason,
            descriptors,
            request: waits.then(|| Box::new(self)),
        })
    }

    /// A reply is encoded as any other message of its name.
    fn answer<R: Encode + ?Sized>(
        &self,
        namespace: &str,
        result: Result<&R, Fault>,
        attachments: Vec<Attachment>,
    ) -> Answer<Attachment> {
        let value = match result {
            Ok(value) => value,
            Err(fault) => return Answer::from(&fault),
        };
        let content = &self.content;
        match content.codecs.encode(namespace, &content.name, None, value) {
            Ok(encoded) => Answer::Reply {
                codec: encoded.codec.0,
                payload: encoded.payload,
                attachments,
            },
            Err(error) => Answer::from(&Fault::from_error(&error)),
        }
    }

    /// Says that the request will not be run.
    ///
    /// # Errors
    ///
    /// Its sender has ended meanwhile: nobody waits.
    pub fn refuse(
        self,
        board: &mut Board,
        reason: switchboard_proto::wire::Refusal,
    ) -> Result<(), UnknownTicket> {
        board.answer(self.ticket, Answer::NotRun(reason))
    }
}

/// An event.
pub struct IncomingEvent {
    pub(crate) content: Content,
    pub(crate) ticket: Option<Ticket>,
}

content!(IncomingEvent);

impl IncomingEvent {
    /// Whether its sender wants to know how it was handled: [`IncomingEvent::handled`].
    pub fn wants_receipt(&self) -> bool {
        self.ticket.is_some()
    }

    /// Says how it was handled, where the sender wants to know.
    ///
    /// # Errors
    ///
    /// Its sender has ended meanwhile.
    pub fn handled(
        self,
        board: &mut Board,
        result: Result<(), Fault>,
    ) -> Result<(), UnknownTicket> {
        let Some(ticket) = self.ticket else {
            return Ok(());
        };
        let answer = match result {
            Ok(()) => Answer::nothing(),
            Err(fault) => Answer::from(&fault),
        };
        board.answer(ticket, answer)
    }
}

impl fmt::Debug for IncomingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingRequest")
            .field("from", &self.from())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for IncomingEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingEvent")
            .field("from", &self.from())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// The outcome of a request.
pub struct ReplyOutcome {
    pub(crate) outcome: Outcome<Attachment>,
    /// Of the request, for codecs that look at it.
    pub(crate) name: std::borrow::Cow<'static, str>,
    pub(crate) codecs: Arc<CodecTable>,
}

impl ReplyOutcome {
    /// The codec of the reply, if there is one.
    pub fn codec(&self) -> Option<CodecId> {
        match &self.outcome {
            Outcome::Reply { codec, .. } => Some(CodecId(*codec)),
            _ => None,
        }
    }

    /// The reply's value; or an [`Answered`](switchboard_os::app::Answered) one, with the
    /// descriptors that came with it, which are closed otherwise.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn decode<R: FromReply>(self) -> Result<R, RequestError> {
        read_outcome(&self.codecs, &self.name, self.outcome)
    }
}

impl fmt::Debug for ReplyOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.outcome.fmt(f)
    }
}
