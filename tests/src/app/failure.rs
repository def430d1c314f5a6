//! Why there is no reply, in words that all drivers share.

use std::os::fd::OwnedFd;

use switchboard_mio as mio;
use switchboard_proto::fault::Fault;
use switchboard_proto::wire::Refusal;
use switchboard_proto::{Fate, SendRefusal, UnknownCause};
use switchboard_smol as smol;

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
        attachments: Vec<OwnedFd>,
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
    pub fn into_attachments(self) -> Vec<OwnedFd> {
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

impl From<mio::SendError> for Failure {
    fn from(error: mio::SendError) -> Self {
        let why = match &error {
            mio::SendError::Refused { reason, .. } => reason.into(),
            mio::SendError::NotDelivered { fate } => match &**fate {
                Fate::Refused { reason, .. } => (*reason).into(),
                Fate::NotAccepted { reason, .. } => reason.into(),
                Fate::HandlerFailed => return Self::Failed(None),
                _ => return Self::Unconfirmed,
            },
            other => Why::Other(other.to_string()),
        };
        let attachments = error.into_attachments();
        Self::NotRun { why, attachments }
    }
}

impl From<mio::RequestError> for Failure {
    fn from(error: mio::RequestError) -> Self {
        match error {
            mio::RequestError::Failed(fault) => Self::Failed(Some(fault)),
            mio::RequestError::NotRun(mio::NotRun::Refused(error)) => error.into(),
            mio::RequestError::NotRun(mio::NotRun::Returned { reason, message }) => Self::NotRun {
                why: reason.into(),
                attachments: message.map_or_else(Vec::new, |message| message.attachments),
            },
            mio::RequestError::Unknown(cause) => Self::Unknown(cause),
            other => Self::Unreadable(other.to_string()),
        }
    }
}

impl From<smol::NotSent> for Failure {
    fn from(error: smol::NotSent) -> Self {
        let why = match error.reason() {
            smol::Reason::NotAccepted(reason) => reason.into(),
            smol::Reason::Refused(reason) => (*reason).into(),
            smol::Reason::HandlerFailed => return Self::Failed(None),
            smol::Reason::Unconfirmed => return Self::Unconfirmed,
            other => Why::Other(other.to_string()),
        };
        let attachments = error.into_attachments();
        Self::NotRun { why, attachments }
    }
}

impl From<smol::RequestError> for Failure {
    fn from(error: smol::RequestError) -> Self {
        match error {
            smol::RequestError::Failed(fault) => Self::Failed(Some(fault)),
            smol::RequestError::NotRun(not_sent) => not_sent.into(),
            smol::RequestError::Unknown(cause) => Self::Unknown(cause),
            other => Self::Unreadable(other.to_string()),
        }
    }
}
