//! Events: to one peer, to many, or to whoever listens.

use std::borrow::Cow;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use switchboard_os::app::{Draft, SendError};
use switchboard_os::{event_words, message_words};
use switchboard_proto::MessageId;
use switchboard_proto::codec::Encode;
use switchboard_proto::outgoing::Receivers;

use crate::ops::{Ending, Progress, Submission, Submitted};
use crate::outbound::Pending;
use crate::peer::Peer;
use crate::shared::State;

/// An event that is put together; from [`Peer::emit`]. Awaiting it sends it.
///
/// Without a target it goes to every other peer that listens for its name. `Ok` means accepted into a
/// bounded buffer, or what [`Emit::receipt`] asks for. Where the buffer is full, the caller waits.
///
/// **Cancel-safe** in this sense: an event whose future is dropped while it waits for room is never
/// sent; one that waits for its receipt is on its way, and only the receipt is not told.
#[must_use = "an event is sent when it is awaited"]
pub struct Emit<'a, M: ?Sized> {
    peer: &'a Peer,
    draft: Draft<'a, M>,
}

/// The future of an [`Emit`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct Sending {
    stage: Stage,
    peer: Peer,
}

enum Stage {
    Unsent(Box<Result<Submission, SendError>>),
    Waits(Pending),
    Over,
}

impl<'a, M: Encode + ?Sized> Emit<'a, M> {
    pub(crate) fn new(peer: &'a Peer, name: Cow<'static, str>, data: &'a M) -> Self {
        Self {
            peer,
            draft: Draft::new(name, data),
        }
    }

    message_words!();
    event_words!();

    /// Sends at once, or not at all. A receipt that was asked for is not waited for: it is told by
    /// [`State::Fate`](crate::State::Fate).
    ///
    /// # Errors
    ///
    /// Why not, with the message and its descriptors; [`SendError::is_full`] where there is no room
    /// now.
    pub fn try_send(self) -> Result<MessageId, SendError> {
        let options = self.draft.event;
        let message = self.peer.make(self.draft, Receivers::into_event_target)?;
        let shared = self.peer.shared();
        Ok(shared.submit(|state| state.ops.send_now(&mut state.engine, message, options))?)
    }

    fn into_submission(self) -> Result<Submission, SendError> {
        let options = self.draft.event;
        let message = self.peer.make(self.draft, Receivers::into_event_target)?;
        Ok(Submission::Event(message, options))
    }
}

impl<M: Encode + ?Sized> IntoFuture for Emit<'_, M> {
    type Output = Result<MessageId, SendError>;
    type IntoFuture = Sending;

    fn into_future(self) -> Sending {
        let peer = self.peer.clone();
        Sending::new(peer, self.into_submission())
    }
}

impl Sending {
    pub(crate) fn new(peer: Peer, submission: Result<Submission, SendError>) -> Self {
        Self {
            stage: Stage::Unsent(Box::new(submission)),
            peer,
        }
    }
}

impl Future for Sending {
    type Output = Result<MessageId, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Stage::Unsent(_) = this.stage
            && let Stage::Unsent(unsent) = std::mem::replace(&mut this.stage, Stage::Over)
        {
            let waker = cx.waker();
            return match (*unsent).map(|submission| submit(&this.peer, submission, waker)) {
                Ok(Submitted::Done(id)) => Poll::Ready(Ok(id)),
                Ok(Submitted::Refused(error)) => Poll::Ready(Err(error.into())),
                Ok(Submitted::Waits(op)) => {
                    let mut pending = Pending::new(this.peer.shared().clone(), op);
                    let begun = pending.begin(cx);
                    this.stage = Stage::Waits(pending);
                    this.end(begun)
                }
                Err(not_sent) => Poll::Ready(Err(not_sent)),
            };
        }
        let Stage::Waits(pending) = &mut this.stage else {
            return Poll::Pending;
        };
        let polled = pending.poll(cx);
        this.end(polled)
    }
}

impl Sending {
    fn end(&mut self, polled: Poll<Progress>) -> Poll<Result<MessageId, SendError>> {
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(progress) => {
                self.stage = Stage::Over;
                Poll::Ready(end_of(progress))
            }
        }
    }
}

fn submit(peer: &Peer, submission: Submission, waits: &Waker) -> Submitted {
    peer.shared().submit(|state| {
        let State { ops, engine, .. } = state;
        ops.submit(engine, submission, Some(waits))
    })
}

fn end_of(progress: Progress) -> Result<MessageId, SendError> {
    let (id, fate) = match progress {
        Progress::Accepted(id) => return Ok(id),
        Progress::Refused(error) => return Err(error.into()),
        Progress::Ended(id, Ending::Fate(fate)) => (id, fate),
        // Outcomes are of requests.
        Progress::Ended(id, Ending::Outcome(_)) => return Ok(id),
    };
    SendError::of_fate(fate).map_or(Ok(id), Err)
}

impl<M: ?Sized> fmt::Debug for Emit<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emit")
            .field("draft", &self.draft)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}
