//! Why something did not happen, and what comes back with it.

use std::fmt;
use std::io;

use switchboard_proto::codec::CodecError;
use switchboard_proto::fault::Fault;
use switchboard_proto::outgoing::TargetError;
use switchboard_proto::wire::Refusal;
use switchboard_proto::{
    DeclareError, Fate, Message, NameError, SendError as NodeRefusal, SendRefusal, UnknownCause,
};

use super::{BadName, ConnectionError, NotMade, RegisterError, Wrong};
use crate::Attachment;
use crate::engine::EngineError;
use crate::process::InheritError;
use crate::{AddressError, Advised, ConnectError, ListenError};

/// Why there is no peer: neither a member nor a hub.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The address cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The hub cannot be reached there, and waiting would not change that.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Nobody can listen at the address now.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A value of the configuration cannot work, or the system gives no randomness.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Two handlers for one name were given to the builder, or a name that cannot be one.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// A namespace given to the builder cannot be opened.
    #[error(transparent)]
    Namespace(#[from] NameError),
    /// The name is longer than 64 bytes, empty, or contains NUL or `#`.
    #[error(transparent)]
    Name(#[from] BadName),
    /// There is no parent process, or its channel cannot be taken.
    #[error(transparent)]
    Parent(#[from] InheritError),
    /// There is no connection, and there will be none.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The system gave no descriptor for the poller.
    #[error("{}", Advised(.0))]
    Io(#[from] io::Error),
}

impl From<DeclareError> for JoinError {
    fn from(error: DeclareError) -> Self {
        Self::Register(error.into())
    }
}

/// Why a request has no reply. At most 64 bytes.
#[non_exhaustive]
pub enum RequestError {
    /// The handler failed or panicked.
    Failed(Fault),
    /// The handler has certainly never started.
    NotRun(SendError),
    /// The handler may have run: the peer ended, or the deadline passed after the request was handed
    /// to a link.
    Unknown(UnknownCause),
    /// The handler returned, and its reply is not of the type asked for.
    Unreadable(Box<CodecError>),
}

/// What was not sent, not delivered, or certainly not started, and why. One pointer.
pub struct SendError(Box<Inner>);

struct Inner {
    reason: Reason,
    message: Option<Message<Attachment>>,
    /// Of a message that was never put together.
    attachments: Vec<Attachment>,
}

/// Why a message was not sent, not delivered or not started.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// This node did not accept it; or, of an event to many, the copy for one of the receivers.
    #[error(transparent)]
    NotAccepted(SendRefusal),
    /// It was accepted, and refused by the receiver or given up before it left.
    #[error("{0}")]
    Refused(Refusal),
    /// An event's receiver has ended before it said that it took the event.
    #[error("the receiver ended before it said that it took the event")]
    Unconfirmed,
    /// The handler of an event failed.
    #[error("the receiver's handler failed")]
    HandlerFailed,
    /// The value cannot be carried by the codec.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A target can be nobody.
    #[error(transparent)]
    Target(#[from] TargetError),
}

impl RequestError {
    /// Whether the handler has certainly not run, so that the request can be made again without
    /// harm.
    pub fn is_not_run(&self) -> bool {
        matches!(self, Self::NotRun(_))
    }

    /// The reason with which the request was refused after this node had accepted it.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::NotRun(error) => error.refusal(),
            _ => None,
        }
    }
}

impl SendError {
    /// Of a message that is still whole, or of one that is not.
    pub fn new(reason: Reason, message: Option<Message<Attachment>>) -> Self {
        Self(Box::new(Inner {
            reason,
            message,
            attachments: Vec::new(),
        }))
    }

    /// Of an event that was accepted, where its fate is not the one that was hoped for.
    pub fn of_fate(fate: Fate<Attachment>) -> Option<Self> {
        let (reason, message) = match fate {
            Fate::Delivered | Fate::Handled => return None,
            Fate::HandlerFailed => (Reason::HandlerFailed, None),
            Fate::Refused { reason, message } => (Reason::Refused(reason), message),
            Fate::NotAccepted { reason, .. } => (Reason::NotAccepted(reason), None),
            Fate::Unconfirmed => (Reason::Unconfirmed, None),
        };
        Some(Self::new(reason, message))
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// Whether a buffer was full: the message can be sent later.
    pub fn is_full(&self) -> bool {
        matches!(
            self.0.reason,
            Reason::NotAccepted(SendRefusal::Full { .. }) | Reason::Refused(Refusal::Full)
        )
    }

    /// The reason with which it was refused after this node had accepted it.
    pub fn refusal(&self) -> Option<Refusal> {
        match self.0.reason {
            Reason::Refused(reason) => Some(reason),
            _ => None,
        }
    }

    /// The message, where it is still whole in this process. It can be sent again with `resend`.
    pub fn into_message(self) -> Option<Message<Attachment>> {
        self.0.message
    }

    /// The descriptors that were attached, where they did not leave.
    pub fn into_attachments(self) -> Vec<Attachment> {
        match self.0.message {
            Some(message) => message.attachments,
            None => self.0.attachments,
        }
    }
}

impl From<NotMade> for SendError {
    fn from(not_made: NotMade) -> Self {
        let reason = match not_made.why {
            Wrong::Target(error) => Reason::Target(error),
            Wrong::Codec(error) => Reason::Codec(error),
        };
        Self(Box::new(Inner {
            reason,
            message: None,
            attachments: not_made.attachments,
        }))
    }
}

impl From<NodeRefusal<Attachment>> for SendError {
    fn from(refused: NodeRefusal<Attachment>) -> Self {
        Self::new(Reason::NotAccepted(refused.reason), Some(refused.message))
    }
}

impl From<SendError> for RequestError {
    fn from(error: SendError) -> Self {
        Self::NotRun(error)
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.reason, f)
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0.reason)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(fault) => write!(f, "the handler failed: {fault}"),
            Self::NotRun(error) => write!(f, "not run: {error}"),
            Self::Unknown(cause) => write!(f, "it may have run: {cause}"),
            Self::Unreadable(error) => write!(f, "the reply cannot be read: {error}"),
        }
    }
}

impl std::error::Error for RequestError {}

crate::debug_says!(JoinError, SendError, RequestError, Reason);
