//! Requests and events of a blocking handle while they are put together, and the wait for them.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use switchboard_os::Attachment;
use switchboard_os::app::{Answered, Draft, FromReply, RequestError, SendError};
use switchboard_os::{event_words, message_words, request_words};
use switchboard_proto::codec::Encode;
use switchboard_proto::outgoing::Receivers;
use switchboard_proto::{Fate, Message, MessageId, Receipt, RequestId};

use super::Peer;
use super::shared::Inner;
use crate::incoming::ReplyOutcome;

/// A request that is not made yet.
#[must_use = "a request does nothing until `wait` or `send`"]
pub struct BlockingRequest<'m, M: ?Sized, R> {
    peer: Peer,
    draft: Draft<'m, M>,
    reply: PhantomData<fn() -> R>,
}

/// A request that was made and has no outcome yet. Dropping it cancels the request.
#[must_use = "dropping it cancels the request"]
pub struct Pending<R> {
    peer: Peer,
    id: RequestId,
    /// Its outcome was taken.
    over: bool,
    reply: PhantomData<fn() -> R>,
}

impl<'m, M: Encode + ?Sized, R> BlockingRequest<'m, M, R> {
    pub(super) fn new(peer: &Peer, name: Cow<'static, str>, value: &'m M) -> Self {
        Self {
            peer: peer.clone(),
            draft: Draft::new(name, value),
            reply: PhantomData,
        }
    }

    message_words!();
    request_words!();

    /// Keeps the descriptors that come with the reply: what is waited for is an [`Answered`] value.
    /// Without it they are closed.
    pub fn with_fds(self) -> BlockingRequest<'m, M, Answered<R>> {
        BlockingRequest {
            peer: self.peer,
            draft: self.draft,
            reply: PhantomData,
        }
    }
}

impl<M: Encode + ?Sized, R: FromReply> BlockingRequest<'_, M, R> {
    /// Makes the request and waits for its one outcome. While buffers are full it waits for room.
    ///
    /// # Errors
    ///
    /// Why there is no reply.
    pub fn wait(self) -> Result<R, RequestError> {
        let (peer, options) = (self.peer, self.draft.request);
        let codecs = &peer.shared().codecs;
        let target = Receivers::into_request_target;
        let message = self
            .draft
            .into_message(codecs, peer.namespace, peer.namespace(), target)
            .map_err(SendError::from)?;
        let id = until_room(&peer, message, |inner, message| {
            let id = inner.board.request_message(message, options)?;
            inner.outcomes.insert(id, None);
            Ok(id)
        })?;
        Pending::new(peer, id).wait()
    }

    /// Makes the request and returns at once, also where a buffer is full.
    ///
    /// # Errors
    ///
    /// Why it was not accepted, with the message.
    pub fn send(self) -> Result<Pending<R>, SendError> {
        let (peer, options) = (self.peer, self.draft.request);
        let codecs = &peer.shared().codecs;
        let target = Receivers::into_request_target;
        let message = self
            .draft
            .into_message(codecs, peer.namespace, peer.namespace(), target)?;
        let id = peer.shared().operate(|inner| {
            let id = inner.board.request_message(message, options)?;
            inner.outcomes.insert(id, None);
            Ok::<_, SendError>(id)
        })?;
        Ok(Pending::new(peer, id))
    }
}

impl<R> Pending<R> {
    fn new(peer: Peer, id: RequestId) -> Self {
        Self {
            peer,
            id,
            over: false,
            reply: PhantomData,
        }
    }

    /// Its id.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Whether its outcome is there, so that [`Pending::wait`] returns at once.
    pub fn is_done(&self) -> bool {
        let slot = |inner: &Inner| inner.outcomes.get(&self.id).is_some_and(Option::is_some);
        self.peer.shared().look(slot)
    }
}

impl<R: FromReply> Pending<R> {
    /// Waits for the outcome.
    ///
    /// # Errors
    ///
    /// Why there is no reply.
    pub fn wait(mut self) -> Result<R, RequestError> {
        match self.outcome(None) {
            Some(outcome) => outcome.decode(),
            // A wait without end ends only with what it waits for.
            None => unreachable!("the wait has no end"),
        }
    }

    /// Waits for the outcome, at most this long.
    ///
    /// # Errors
    ///
    /// `Err(self)` where the time is over first; the request goes on.
    pub fn wait_within(mut self, time: Duration) -> Result<Result<R, RequestError>, Self> {
        match self.outcome(Instant::now().checked_add(time)) {
            Some(outcome) => Ok(outcome.decode()),
            None => Err(self),
        }
    }

    fn outcome(&mut self, until: Option<Instant>) -> Option<ReplyOutcome> {
        let id = self.id;
        let outcome = self.peer.wait(until, |inner| {
            let is_there = inner.outcomes.get(&id).is_some_and(Option::is_some);
            is_there.then(|| inner.outcomes.remove(&id))??
        });
        self.over = outcome.is_some();
        outcome
    }
}

impl<R> Drop for Pending<R> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.peer.shared().operate(|inner| {
            inner.outcomes.remove(&self.id);
            // Of a request that has its outcome, the node knows nothing any more.
            inner.board.cancel(self.id);
        });
    }
}

/// An event that is not sent yet.
#[must_use = "an event does nothing until `wait` or `send`"]
pub struct BlockingEmit<'m, M: ?Sized> {
    peer: Peer,
    draft: Draft<'m, M>,
}

impl<'m, M: Encode + ?Sized> BlockingEmit<'m, M> {
    pub(super) fn new(peer: &Peer, name: Cow<'static, str>, value: &'m M) -> Self {
        Self {
            peer: peer.clone(),
            draft: Draft::new(name, value),
        }
    }

    message_words!();
    event_words!();

    /// Sends the event, and waits for room where the receiver's buffer is full. With a
    /// [receipt](Self::receipt), waits for that too.
    ///
    /// # Errors
    ///
    /// Why it was not accepted, with the message; or, with a receipt, what became of it instead.
    pub fn wait(self) -> Result<MessageId, SendError> {
        let (peer, options) = (self.peer, self.draft.event);
        let codecs = &peer.shared().codecs;
        let target = Receivers::into_event_target;
        let message = self
            .draft
            .into_message(codecs, peer.namespace, peer.namespace(), target)?;
        let wants = options.receipt != Receipt::None;
        let id = until_room(&peer, message, |inner, message| {
            let id = inner.board.resend(message, options)?;
            if wants {
                inner.fates.insert(id, None);
            }
            Ok(id)
        })?;
        if !wants {
            return Ok(id);
        }
        let fate = peer.wait(None, |inner| {
            let fate = inner.fates.get_mut(&id)?.take();
            // After the close nobody says what became of it.
            fate.or_else(|| inner.is_closed().then_some(Fate::Unconfirmed))
        });
        peer.shared().operate(|inner| inner.fates.remove(&id));
        fate.and_then(SendError::of_fate).map_or(Ok(id), Err)
    }

    /// Sends the event and returns at once. What becomes of it is told by
    /// [`State::Fate`](crate::State::Fate).
    ///
    /// # Errors
    ///
    /// Why it was not accepted, with the message: also that a buffer is full.
    pub fn send(self) -> Result<MessageId, SendError> {
        let (peer, options) = (self.peer, self.draft.event);
        let codecs = &peer.shared().codecs;
        let target = Receivers::into_event_target;
        let message = self
            .draft
            .into_message(codecs, peer.namespace, peer.namespace(), target)?;
        peer.resend(message, options)
    }
}

/// Tries until it is not refused as full.
fn until_room<T>(
    peer: &Peer,
    message: Message<Attachment>,
    attempt: impl Fn(&mut Inner, Message<Attachment>) -> Result<T, SendError>,
) -> Result<T, SendError> {
    let mut waiting = Some(message);
    let mut seen = None;
    let result = peer.wait(None, |inner| {
        // Only news of room make another attempt worthwhile.
        if seen == Some(inner.sendable) {
            return None;
        }
        seen = Some(inner.sendable);
        match attempt(inner, waiting.take()?) {
            Err(error) if error.is_full() => {
                waiting = error.into_message();
                None
            }
            result => Some(result),
        }
    });
    match result {
        Some(result) => result,
        // A wait without end ends only with what it waits for.
        None => unreachable!("the wait has no end"),
    }
}

impl<M: ?Sized, R> fmt::Debug for BlockingRequest<'_, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingRequest")
            .field("name", &self.draft.name)
            .finish_non_exhaustive()
    }
}

impl<M: ?Sized> fmt::Debug for BlockingEmit<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingEmit")
            .field("name", &self.draft.name)
            .finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for Pending<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pending").field(&self.id).finish()
    }
}
