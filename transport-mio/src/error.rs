//! Why a request was not answered.

use switchboard_proto::ReplyRefusal;

use crate::incoming::IncomingRequest;

/// An answer that was not taken.
#[derive(thiserror::Error)]
#[error("{reason}")]
pub struct ReplyError {
    /// Why.
    pub reason: ReplyRefusal,
    /// What was attached to it.
    pub descriptors: Vec<switchboard_os::Attachment>,
    /// The request, where it still waits for an answer.
    pub request: Option<Box<IncomingRequest>>,
}

/// Nobody waits for this answer: it was given before, or the requester has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody waits for this answer any more: it was given before, or the requester has ended")]
pub struct UnknownTicket;

switchboard_os::debug_says!(ReplyError);
