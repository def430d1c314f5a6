//! What a reply brings to who asked.

use std::os::fd::OwnedFd;

use switchboard_proto::codec::{CodecError, CodecId, CodecTable, Decode};
use switchboard_proto::{Outcome, Payload};

use super::{Reason, RequestError, SendError};
use crate::Attachment;

/// A reply with the descriptors that came with it; from the word `with_fds` of a request.
#[derive(Debug)]
pub struct Answered<R> {
    /// The value that the handler returned.
    pub value: R,
    /// What it attached, in that order. Each is close-on-exec.
    pub descriptors: Vec<OwnedFd>,
    /// Whether it attached some that did not arrive.
    pub attachments_lost: bool,
}

/// What a reply can be read as: a value, and then descriptors that came with it are closed; or an
/// [`Answered`] value, which has them.
pub trait FromReply: Sized {
    /// Reads it. `name` is that of the request.
    ///
    /// # Errors
    ///
    /// The value is of another type, or in a codec that is not there.
    fn from_reply(
        codecs: &CodecTable,
        name: &str,
        codec: CodecId,
        payload: &Payload,
        descriptors: Vec<OwnedFd>,
        attachments_lost: bool,
    ) -> Result<Self, CodecError>;
}

impl<R: Decode> FromReply for R {
    fn from_reply(
        codecs: &CodecTable,
        name: &str,
        codec: CodecId,
        payload: &Payload,
        _: Vec<OwnedFd>,
        _: bool,
    ) -> Result<Self, CodecError> {
        codecs.decode(codec, name, payload)
    }
}

/// What is to be known of a request that has ended, of this name.
///
/// # Errors
///
/// Why there is no reply.
pub fn read_outcome<R: FromReply>(
    codecs: &CodecTable,
    name: &str,
    outcome: Outcome<Attachment>,
) -> Result<R, RequestError> {
    match outcome {
        Outcome::Reply {
            codec,
            payload,
            attachments,
            attachments_lost: lost,
        } => {
            let (attachments, lost) = own(attachments, lost);
            let value = R::from_reply(codecs, name, CodecId(codec), &payload, attachments, lost);
            value.map_err(|error| RequestError::Unreadable(Box::new(error)))
        }
        Outcome::Failed(failure) => Err(RequestError::Failed(failure.into())),
        Outcome::NotRun { reason, message } => {
            Err(SendError::new(Reason::Refused(reason), message).into())
        }
        Outcome::Unknown(cause) => Err(RequestError::Unknown(cause)),
    }
}

/// What came, as descriptors, and whether some are missing. Only what this node sent to itself and
/// [stays](crate::SharedFd) needs a duplicate.
fn own(came: Vec<Attachment>, lost: bool) -> (Vec<OwnedFd>, bool) {
    let count = came.len();
    let owned = came.into_iter().map(Attachment::into_owned);
    let owned: Vec<OwnedFd> = owned.filter_map(Result::ok).collect();
    let lost = lost || owned.len() < count;
    (owned, lost)
}

// Beside the one above this can stand because `Answered` is ours and never becomes `Decode`.
impl<R: Decode> FromReply for Answered<R> {
    fn from_reply(
        codecs: &CodecTable,
        name: &str,
        codec: CodecId,
        payload: &Payload,
        descriptors: Vec<OwnedFd>,
        attachments_lost: bool,
    ) -> Result<Self, CodecError> {
        Ok(Self {
            value: codecs.decode(codec, name, payload)?,
            descriptors,
            attachments_lost,
        })
    }
}
