//! Requests: one question, one outcome.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use switchboard_proto::codec::{CodecId, Decode};
use switchboard_proto::outgoing::{IntoTargets, Receivers};
use switchboard_proto::{Outcome, RequestOptions};

use crate::error::{NotSent, Reason, RequestError};
use crate::ops::{Ending, Progress, Submission, Submitted};
use crate::outbound::{Draft, Pending};
use crate::peer::Peer;

/// A request that is put together; from [`Peer::request`]. Awaiting it makes it.
///
/// Without a target it goes to one peer that handles its name: the one with the fewest requests of
/// this peer pending, of those the lowest id.
///
/// **Cancel-safe** in this sense: dropping the future cancels the request. The handler may have run
/// by then, and can see that nobody waits.
#[must_use = "a request is made when it is awaited"]
pub struct Request<'a, R> {
    peer: &'a Peer,
    name: String,
    draft: Draft,
    options: RequestOptions,
    reply: PhantomData<fn() -> R>,
}

/// The future of a [`Request`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct Reply<R> {
    stage: Stage,
    peer: Peer,
    name: String,
    reply: PhantomData<fn() -> R>,
}

enum Stage {
    /// Not yet given to the node.
    Unsent(Box<Result<Submission, NotSent>>),
    Waits(Pending),
    Over,
}

impl<'a, R> Request<'a, R> {
    pub(crate) fn new(peer: &'a Peer, name: String, draft: Draft) -> Self {
        Self {
            peer,
            name,
            draft,
            options: RequestOptions::default(),
            reply: PhantomData,
        }
    }

    /// Whom to ask: a peer's id, its name or `name#generation`, [`Hub`](crate::Hub),
    /// [`Parent`](crate::Parent), or the sender of a message. Exactly one.
    pub fn to(mut self, target: impl IntoTargets) -> Self {
        self.draft.to(target);
        self
    }

    /// How long to wait for the outcome, from the acceptance by this peer, queueing and boot
    /// included. The default is 10 s, or what [`Peer::set_default_deadline`] says; `Duration::MAX`
    /// means none, and zero is refused.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// Moves a descriptor to the handler, on the same machine. It is closed here when the receiver's
    /// process has it, and comes back with a refusal. At most 16.
    pub fn attach(mut self, descriptor: impl Into<OwnedFd>) -> Self {
        self.draft.attach(descriptor.into());
        self
    }

    /// Lets the descriptors wait for a peer that is not ready yet, however long that takes; without
    /// this they are refused.
    pub fn queue_attachments(mut self) -> Self {
        self.options.queue_attachments = true;
        self
    }
}

impl<R: Decode> Request<'_, R> {
    /// Makes the request at once, without waiting for room. The future waits for the outcome.
    ///
    /// # Errors
    ///
    /// [`RequestError::NotRun`] with the message where it was not accepted, `Full` included; see
    /// [`NotSent::is_full`].
    pub fn try_send(self) -> Result<Reply<R>, RequestError> {
        let mut reply = self.into_reply();
        match reply.submit(None) {
            Some(Err(error)) => Err(error),
            // A request that was accepted has no outcome yet.
            Some(Ok(_)) | None => Ok(reply),
        }
    }

    fn into_reply(self) -> Reply<R> {
        let options = self.options;
        let message = self.draft.finish(Receivers::into_request_target);
        let submission = message.map(|message| Submission::Request(message, options));
        Reply {
            stage: Stage::Unsent(Box::new(submission)),
            peer: self.peer.clone(),
            name: self.name,
            reply: PhantomData,
        }
    }
}

impl<R: Decode> IntoFuture for Request<'_, R> {
    type Output = Result<R, RequestError>;
    type IntoFuture = Reply<R>;

    fn into_future(self) -> Reply<R> {
        self.into_reply()
    }
}

impl<R: Decode> Reply<R> {
    /// Gives the request to the node. `None` while an outcome is to come.
    fn submit(&mut self, waits: Option<&Waker>) -> Option<Result<R, RequestError>> {
        let Stage::Unsent(unsent) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return None;
        };
        let submission = match *unsent {
            Ok(submission) => submission,
            Err(not_sent) => return Some(Err(not_sent.into())),
        };
        let shared = self.peer.shared();
        let submitted = shared.submit(|state| {
            let crate::shared::State { ops, engine, .. } = state;
            ops.submit(engine, submission, waits)
        });
        match submitted {
            Submitted::Waits(op) => {
                self.stage = Stage::Waits(Pending::new(shared.clone(), op));
                None
            }
            Submitted::Refused(error) => {
                let reason = Reason::NotAccepted(error.reason);
                Some(Err(NotSent::new(reason, Some(error.message)).into()))
            }
            // A request always has an outcome to wait for.
            Submitted::Done(_) => None,
        }
    }

    fn outcome(&self, progress: Progress) -> Result<R, RequestError> {
        let outcome = match progress {
            Progress::Ended(_, Ending::Outcome(outcome)) => outcome,
            Progress::Refused(error) => {
                let reason = Reason::NotAccepted(error.reason);
                return Err(NotSent::new(reason, Some(error.message)).into());
            }
            // Fates are of events, and acceptance alone is no end of a request.
            Progress::Ended(_, Ending::Fate(_)) | Progress::Accepted(_) => {
                return Err(RequestError::Unknown(
                    switchboard_proto::UnknownCause::Closed,
                ));
            }
        };
        match outcome {
            Outcome::Reply { codec, payload, .. } => {
                let codecs = &self.peer.shared().codecs;
                let value = codecs.decode(CodecId(codec), &self.name, &payload.to_bytes());
                value.map_err(|error| RequestError::Unreadable(Box::new(error)))
            }
            Outcome::Failed(failure) => Err(RequestError::of_failure(failure)),
            Outcome::NotRun { reason, message } => {
                Err(NotSent::new(Reason::Refused(reason), message).into())
            }
            Outcome::Unknown(cause) => Err(RequestError::Unknown(cause)),
        }
    }
}

impl<R: Decode> Future for Reply<R> {
    type Output = Result<R, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if matches!(self.stage, Stage::Unsent(_)) {
            return match self.submit(Some(cx.waker())) {
                Some(end) => Poll::Ready(end),
                None => Poll::Pending,
            };
        }
        let Stage::Waits(pending) = &mut self.stage else {
            return Poll::Pending;
        };
        match pending.poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(progress) => {
                self.stage = Stage::Over;
                Poll::Ready(self.outcome(progress))
            }
        }
    }
}

impl<R> fmt::Debug for Request<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
