//! Why something was not made, sent or answered.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use switchboard_os::app::{BadName, NotMade, Wrong};
use switchboard_os::engine::EngineError;
use switchboard_os::process::InheritError;
use switchboard_os::{AddressError, Advised, ConnectError, ListenError};
use switchboard_proto::codec::CodecError;
use switchboard_proto::fault::Fault;
use switchboard_proto::outgoing::TargetError;
use switchboard_proto::wire::Refusal;
use switchboard_proto::{
    ConfigError, DeclareError, Fate, Message, NameError, ReplyRefusal, SendError as NodeRefusal,
    SendRefusal, UnknownCause,
};

use crate::incoming::IncomingRequest;

/// Why there is no board, or why it does not take a name.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum BoardError {
    /// The address cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The hub cannot be reached there, and waiting would not change that.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Nobody can listen at the address now.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// There is no parent process, or its channel cannot be taken.
    #[error(transparent)]
    Parent(#[from] InheritError),
    /// A value of the configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The name cannot be a peer's.
    #[error(transparent)]
    Name(#[from] BadName),
    /// The name cannot be a namespace's.
    #[error(transparent)]
    Namespace(#[from] NameError),
    /// The handler or listener names cannot be declared.
    #[error(transparent)]
    Declare(#[from] DeclareError),
    /// The system gave no descriptor or no randomness.
    #[error("{}", Advised(.0))]
    Io(#[from] io::Error),
}

impl From<EngineError> for BoardError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Config(error) => Self::Config(error),
            other => Self::Io(io::Error::other(other)),
        }
    }
}

/// Why a message was not accepted. What was to be sent comes back with it.
#[non_exhaustive]
pub enum SendError {
    /// The node refused it.
    Refused {
        /// Why.
        reason: SendRefusal,
        /// The message, with its payload and attachments.
        message: Box<Message<OwnedFd>>,
    },
    /// The codec cannot carry the value.
    Encode {
        /// Why, with the place of the value.
        error: Box<CodecError>,
        /// What was attached.
        attachments: Vec<OwnedFd>,
    },
    /// It was accepted, and did not arrive, or its handler failed. Only where a receipt was waited
    /// for.
    NotDelivered {
        /// What became of it, with the message where it came back.
        fate: Box<Fate<OwnedFd>>,
    },
    /// A string names no peer.
    Target {
        /// Which.
        error: TargetError,
        /// What was attached.
        attachments: Vec<OwnedFd>,
    },
}

impl SendError {
    /// Whether a buffer is full: [`Incoming::Sendable`](crate::Incoming::Sendable) says when to try
    /// again.
    pub fn is_full(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                reason: SendRefusal::Full { .. },
                ..
            }
        )
    }

    /// The message, where it was put together; [`Board::resend`](crate::Board::resend) takes it.
    pub fn into_message(self) -> Option<Message<OwnedFd>> {
        match self {
            Self::Refused { message, .. } => Some(*message),
            Self::NotDelivered { fate } => match *fate {
                Fate::Refused { message, .. } => message,
                _ => None,
            },
            _ => None,
        }
    }

    /// The descriptors that were attached.
    pub fn into_attachments(self) -> Vec<OwnedFd> {
        match self {
            Self::Encode { attachments, .. } | Self::Target { attachments, .. } => attachments,
            other => other
                .into_message()
                .map_or_else(Vec::new, |message| message.attachments),
        }
    }
}

impl From<NotMade> for SendError {
    fn from(not_made: NotMade) -> Self {
        let attachments = not_made.attachments;
        match not_made.why {
            Wrong::Target(error) => Self::Target { error, attachments },
            Wrong::Codec(error) => Self::Encode {
                error: Box::new(error),
                attachments,
            },
        }
    }
}

impl From<NodeRefusal<OwnedFd>> for SendError {
    fn from(refused: NodeRefusal<OwnedFd>) -> Self {
        Self::Refused {
            reason: refused.reason,
            message: Box::new(refused.message),
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { reason, .. } => reason.fmt(f),
            Self::Encode { error, .. } => error.fmt(f),
            Self::Target { error, .. } => error.fmt(f),
            Self::NotDelivered { fate } => match &**fate {
                Fate::Refused { reason, .. } => write!(f, "the event was refused: {reason}"),
                Fate::NotAccepted { reason, .. } => {
                    write!(f, "one of the receivers goes without: {reason}")
                }
                Fate::HandlerFailed => f.write_str("the handler of the event failed"),
                _ => f.write_str("the event is not known to have arrived"),
            },
        }
    }
}

impl std::error::Error for SendError {}

/// An answer that was not taken.
#[derive(thiserror::Error)]
#[error("{reason}")]
pub struct ReplyError {
    /// Why.
    pub reason: ReplyRefusal,
    /// What was attached to it.
    pub descriptors: Vec<OwnedFd>,
    /// The request, where it still waits for an answer.
    pub request: Option<Box<IncomingRequest>>,
}

/// Why a request has no reply.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The handler failed or panicked.
    #[error("the handler failed: {0}")]
    Failed(Fault),
    /// It certainly never ran.
    #[error("the request was not run: {0}")]
    NotRun(NotRun),
    /// It may have run.
    #[error("nobody knows whether the request has run: {}", cause(*.0))]
    Unknown(UnknownCause),
    /// It ran and was answered, with something else than the type asked for.
    #[error("the reply cannot be read: {0}")]
    Unreadable(Box<CodecError>),
}

/// Why a request was certainly never run.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum NotRun {
    /// It was not accepted here.
    #[error(transparent)]
    Refused(SendError),
    /// It was accepted, and refused later or by the receiver.
    #[error("{reason}")]
    Returned {
        /// Why.
        reason: Refusal,
        /// The request, where it was still whole in this node.
        message: Option<Box<Message<OwnedFd>>>,
    },
}

impl From<SendError> for RequestError {
    fn from(error: SendError) -> Self {
        Self::NotRun(NotRun::Refused(error))
    }
}

impl RequestError {
    /// The reason with which the request was refused after it was accepted.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::NotRun(NotRun::Returned { reason, .. }) => Some(*reason),
            _ => None,
        }
    }
}

fn cause(cause: UnknownCause) -> &'static str {
    match cause {
        UnknownCause::PeerGone => "the peer has ended",
        UnknownCause::Deadline => "its deadline has passed",
        UnknownCause::Cancelled => "it was cancelled on its way",
        UnknownCause::PeerFault => "the peer broke the protocol",
        UnknownCause::Closed => "this node was closed",
    }
}

switchboard_os::debug_says!(BoardError, SendError, RequestError, NotRun, ReplyError);
