//! Requests: one question, one outcome.

use std::borrow::Cow;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use switchboard_os::app::{Answered, Draft, FromReply, RequestError, SendError, read_outcome};
use switchboard_os::{message_words, request_words};
use switchboard_proto::codec::Encode;
use switchboard_proto::outgoing::Receivers;

use crate::ops::{Ending, Progress, Submission, Submitted};
use crate::outbound::Pending;
use crate::peer::Peer;

/// A request that is put together; from [`Peer::request`]. Awaiting it makes it.
///
/// Without a target it goes to one peer that handles its name: the one with the fewest requests of
/// this peer pending, of those the lowest id.
///
/// **Cancel-safe** in this sense: dropping the future cancels the request. The handler may have run
/// by then, and can see that nobody waits.
#[must_use = "a request is made when it is awaited"]
pub struct Request<'a, M: ?Sized, R> {
    peer: &'a Peer,
    draft: Draft<'a, M>,
    reply: PhantomData<fn() -> R>,
}

/// The future of a [`Request`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct Reply<R> {
    stage: Stage,
    peer: Peer,
    name: Cow<'static, str>,
    reply: PhantomData<fn() -> R>,
}

enum Stage {
    /// Not yet given to the node.
    Unsent(Box<Result<Submission, SendError>>),
    Waits(Pending),
    Over,
}

impl<'a, M: Encode + ?Sized, R> Request<'a, M, R> {
    pub(crate) fn new(peer: &'a Peer, name: Cow<'static, str>, data: &'a M) -> Self {
        Self {
            peer,
            draft: Draft::new(name, data),
            reply: PhantomData,
        }
    }

    message_words!();
    request_words!();

    /// Keeps the descriptors that come with the reply: the future gives an [`Answered`] value. Said
    /// last; without it they are closed.
    pub fn with_fds(self) -> Request<'a, M, Answered<R>> {
        Request {
            peer: self.peer,
            draft: self.draft,
            reply: PhantomData,
        }
    }
}

impl<M: Encode + ?Sized, R: FromReply> Request<'_, M, R> {
    /// Makes the request at once, without waiting for room. The future waits for the outcome.
    ///
    /// # Errors
    ///
    /// [`RequestError::NotRun`] with the message where it was not accepted, `Full` included; see
    /// [`SendError::is_full`].
    pub fn try_send(self) -> Result<Reply<R>, RequestError> {
        let mut reply = self.into_reply();
        match reply.submit(None) {
            Some(Err(error)) => Err(error),
            // A request that was accepted has no outcome yet.
            Some(Ok(_)) | None => Ok(reply),
        }
    }

    fn into_reply(self) -> Reply<R> {
        let options = self.draft.request;
        let name = self.draft.name.clone();
        let message = self.peer.make(self.draft, Receivers::into_request_target);
        let submission = message.map(|message| Submission::Request(message, options));
        Reply {
            stage: Stage::Unsent(Box::new(submission)),
            peer: self.peer.clone(),
            name,
            reply: PhantomData,
        }
    }
}

impl<M: Encode + ?Sized, R: FromReply> IntoFuture for Request<'_, M, R> {
    type Output = Result<R, RequestError>;
    type IntoFuture = Reply<R>;

    fn into_future(self) -> Reply<R> {
        self.into_reply()
    }
}

impl<R: FromReply> Reply<R> {
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
            Submitted::Refused(error) => Some(Err(SendError::from(error).into())),
            // A request always has an outcome to wait for.
            Submitted::Done(_) => None,
        }
    }

    fn outcome(&self, progress: Progress) -> Result<R, RequestError> {
        let outcome = match progress {
            Progress::Ended(_, Ending::Outcome(outcome)) => outcome,
            Progress::Refused(error) => return Err(SendError::from(error).into()),
            // Fates are of events, and acceptance alone is no end of a request.
            Progress::Ended(_, Ending::Fate(_)) | Progress::Accepted(_) => {
                return Err(RequestError::Unknown(
                    switchboard_proto::UnknownCause::Closed,
                ));
            }
        };
        read_outcome(&self.peer.shared().codecs, &self.name, outcome)
    }
}

impl<R: FromReply> Future for Reply<R> {
    type Output = Result<R, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if matches!(self.stage, Stage::Unsent(_)) {
            if let Some(end) = self.submit(Some(cx.waker())) {
                return Poll::Ready(end);
            }
            let Stage::Waits(pending) = &mut self.stage else {
                return Poll::Pending;
            };
            let begun = pending.begin(cx);
            return self.end(begun);
        }
        let Stage::Waits(pending) = &mut self.stage else {
            return Poll::Pending;
        };
        let polled = pending.poll(cx);
        self.end(polled)
    }
}

impl<R: FromReply> Reply<R> {
    fn end(&mut self, polled: Poll<Progress>) -> Poll<Result<R, RequestError>> {
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(progress) => {
                self.stage = Stage::Over;
                Poll::Ready(self.outcome(progress))
            }
        }
    }
}

impl<M: ?Sized, R> fmt::Debug for Request<'_, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("name", &self.draft.name)
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
