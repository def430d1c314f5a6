//! Why there is no reply, in words that all applications of the suite share.

use switchboard_os::Attachment;
use switchboard_proto::fault::Fault;
use switchboard_proto::wire::Refusal;
use switchboard_proto::{SendRefusal, UnknownCause};
use switchboard_smol::{Reason, RequestError, SendError};

/// What became of a request or an event instead of what was wanted.
#[derive(Debug)]
pub enum Failure {
    /// The handler failed or panicked. Of an event nobody tells with what.
    Failed(Option<Fault>),
    /// It certainly never ran.
    NotRun {
        /// Why.
        why: Why,
        /// The descriptors that came back.
        attachments: Vec<Attachment>,
    },
    /// It may have run.
    Unknown(UnknownCause),
    /// An event's receiver has ended before it said that it took it.
    Unconfirmed,
    /// The reply is of another type.
    Unreadable(String),
}

/// Why something certainly never ran: the same reason has the same name here, whether the sender's
/// own node or the receiver's has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nobody has the id or the generation.
    NoSuchPeer,
    /// Nobody handles the name.
    NoHandler,
    /// The receiver has not opened the namespace.
    NoNamespace,
    /// A buffer is full.
    Full,
    /// Its time was over.
    Expired,
    /// The name cannot be an event's.
    BadName,
    /// A deadline of zero.
    ZeroDeadline,
    /// The way carries no descriptors.
    AttachmentsUnsupported,
    /// The receiver is not ready for descriptors.
    AttachmentsNotReady,
    /// The receiver has ended.
    PeerGone,
    /// Anything else.
    Other(String),
}

impl Failure {
    /// Why it never ran.
    ///
    /// # Panics
    ///
    /// It may have run.
    #[track_caller]
    pub fn why(&self) -> &Why {
        match self {
            Self::NotRun { why, .. } => why,
            other => panic!("it may have run: {other:?}"),
        }
    }

    /// Whether the receiver's end is told as the reason.
    pub fn is_death(&self) -> bool {
        matches!(
            self,
            Self::Unknown(UnknownCause::PeerGone)
                | Self::Unconfirmed
                | Self::NotRun {
                    why: Why::PeerGone,
                    ..
                }
        )
    }

    /// Whether the time was over, whether or not it may have run.
    pub fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::Unknown(UnknownCause::Deadline)
                | Self::NotRun {
                    why: Why::Expired,
                    ..
                }
        )
    }

    /// The handler's words.
    ///
    /// # Panics
    ///
    /// No handler failed.
    #[track_caller]
    pub fn fault(self) -> Fault {
        match self {
            Self::Failed(Some(fault)) => fault,
            other => panic!("no handler has failed: {other:?}"),
        }
    }

    /// The descriptors that came back.
    pub fn into_attachments(self) -> Vec<Attachment> {
        match self {
            Self::NotRun { attachments, .. } => attachments,
            _ => Vec::new(),
        }
    }
}

impl From<&SendRefusal> for Why {
    fn from(refusal: &SendRefusal) -> Self {
        match refusal {
            SendRefusal::Full { .. } => Self::Full,
            SendRefusal::BadName => Self::BadName,
            SendRefusal::NoSuchPeer => Self::NoSuchPeer,
            SendRefusal::NoHandler => Self::NoHandler,
            SendRefusal::ZeroDeadline => Self::ZeroDeadline,
            SendRefusal::AttachmentsUnsupported => Self::AttachmentsUnsupported,
            SendRefusal::AttachmentsNotReady => Self::AttachmentsNotReady,
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<Refusal> for Why {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchPeer => Self::NoSuchPeer,
            Refusal::NoHandler => Self::NoHandler,
            Refusal::NoNamespace => Self::NoNamespace,
            Refusal::Full => Self::Full,
            Refusal::Expired => Self::Expired,
            Refusal::AttachmentsUnsupported => Self::AttachmentsUnsupported,
            Refusal::NotReady => Self::AttachmentsNotReady,
            Refusal::PeerGone => Self::PeerGone,
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        let why = match error.reason() {
            Reason::NotAccepted(reason) => reason.into(),
            Reason::Refused(reason) => (*reason).into(),
            Reason::HandlerFailed => return Self::Failed(None),
            Reason::Unconfirmed => return Self::Unconfirmed,
            other => Why::Other(other.to_string()),
        };
        let attachments = error.into_attachments();
        Self::NotRun { why, attachments }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Failed(fault) => Self::Failed(Some(fault)),
            RequestError::NotRun(error) => error.into(),
            RequestError::Unknown(cause) => Self::Unknown(cause),
            other => Self::Unreadable(other.to_string()),
        }
    }
}
