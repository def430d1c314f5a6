//! Why something did not happen, and what comes back with it.

use std::fmt;
use std::os::fd::OwnedFd;

use switchboard_os::app::{BadName, NotMade, RegisterError, Wrong};
use switchboard_os::engine::EngineError;
use switchboard_os::process::InheritError;
use switchboard_os::{AddressError, ConnectError, ListenError};
use switchboard_proto::codec::CodecError;
use switchboard_proto::fault::Fault;
use switchboard_proto::outgoing::TargetError;
use switchboard_proto::wire::{AttachRefusal, Refusal};
use switchboard_proto::{Message, NameError, SendRefusal, UnknownCause};

/// Why there is no peer.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The address cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The hub cannot be reached there, and waiting would not change that.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The address cannot be listened at.
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
    /// This process has no channel to a parent.
    #[error(transparent)]
    Parent(#[from] InheritError),
    /// There is no connection, and there will be none.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

/// Why a connection is not to be waited for.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The hub was reached and does not take this peer. It is tried again by the rules of
    /// `Config::reconnect`; a name can become free. A child, which cannot choose its name, waits for
    /// that, and is told this only when the rules allow no further attempt.
    #[error("the hub refused this peer: {0}")]
    Refused(AttachRefusal),
    /// The rules of `Config::reconnect` allow no further attempt, or the last one failed with what
    /// does not pass by itself.
    #[error("no further attempt is made to reach the hub; the last one: {last}")]
    GaveUp {
        /// What the last attempt failed with; may be empty.
        last: String,
    },
    /// The peer was closed.
    #[error("this peer is closed")]
    Closed,
}

/// What went wrong with a request. At most 64 bytes.
#[non_exhaustive]
pub enum RequestError {
    /// The handler failed or panicked.
    Failed(Fault),
    /// The handler has certainly never started.
    NotRun(NotSent),
    /// The handler may have run: the peer ended, or the deadline passed after the request was handed
    /// to a link.
    Unknown(UnknownCause),
    /// The handler returned, and its reply is not of the type asked for.
    Unreadable(Box<CodecError>),
}

/// What was not sent, or certainly not started, and why. Also the error of an event. One pointer.
pub struct NotSent(Box<Inner>);

struct Inner {
    reason: Reason,
    message: Option<Message<OwnedFd>>,
    attachments: Vec<OwnedFd>,
}

/// Why a message was not sent or not started.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// This node did not accept it.
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

impl NotSent {
    /// Why.
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// The message, where it is still whole in this process. It can be sent again with
    /// [`Peer::resend`](crate::Peer::resend).
    pub fn into_message(self) -> Option<Message<OwnedFd>> {
        self.0.message
    }

    /// The descriptors that were attached, where they did not leave.
    pub fn into_attachments(self) -> Vec<OwnedFd> {
        match self.0.message {
            Some(message) => message.attachments,
            None => self.0.attachments,
        }
    }

    /// Whether a buffer was full: the message can be sent later.
    pub fn is_full(&self) -> bool {
        matches!(
            self.0.reason,
            Reason::NotAccepted(SendRefusal::Full { .. }) | Reason::Refused(Refusal::Full)
        )
    }

    pub(crate) fn new(reason: Reason, message: Option<Message<OwnedFd>>) -> Self {
        Self(Box::new(Inner {
            reason,
            message,
            attachments: Vec::new(),
        }))
    }

    /// Of a message that was never put together.
    pub(crate) fn unmade(reason: Reason, attachments: Vec<OwnedFd>) -> Self {
        Self(Box::new(Inner {
            reason,
            message: None,
            attachments,
        }))
    }
}

impl From<NotMade> for NotSent {
    fn from(not_made: NotMade) -> Self {
        let reason = match not_made.why {
            Wrong::Target(error) => Reason::Target(error),
            Wrong::Codec(error) => Reason::Codec(error),
        };
        Self::unmade(reason, not_made.attachments)
    }
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.reason, f)
    }
}

impl std::error::Error for NotSent {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0.reason)
    }
}

impl RequestError {
    /// Whether the handler has certainly not run, so that the request can be made again without
    /// harm.
    pub fn is_not_run(&self) -> bool {
        matches!(self, Self::NotRun(_))
    }
}

impl From<NotSent> for RequestError {
    fn from(not_sent: NotSent) -> Self {
        Self::NotRun(not_sent)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(fault) => write!(f, "the handler failed: {fault}"),
            Self::NotRun(not_sent) => write!(f, "not run: {not_sent}"),
            Self::Unknown(cause) => f.write_str(match cause {
                UnknownCause::PeerGone => "it may have run: the peer has ended",
                UnknownCause::Deadline => "it may have run: no answer before the deadline",
                UnknownCause::Cancelled => "it may have run: it was cancelled",
                UnknownCause::PeerFault => "it may have run: the peer broke the protocol",
                UnknownCause::Closed => "it may have run: this peer was closed",
            }),
            Self::Unreadable(error) => write!(f, "the reply cannot be read: {error}"),
        }
    }
}

impl std::error::Error for RequestError {}

switchboard_os::debug_says!(JoinError, ConnectionError, RequestError, NotSent, Reason);
