//! Events as a stream, beside those that handlers take.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use switchboard_os::app::{Arrived, RegisterError, Sub, received};

use crate::peer::Peer;
use crate::queue::Queue;
use crate::service::STREAM_EVENTS;

/// One event of a stream, with values of type `M`.
pub type Received<M> = switchboard_os::app::Received<Peer, M>;

/// Events with values of type `M`, in the order in which they came; from
/// [`Peer::events`] and [`Peer::events_of`].
///
/// It holds 256 events for its reader. Beyond that its namespace is not read on until half of them
/// are taken, so the senders wait and nothing is lost. Whoever stops reading drops the stream. Ends
/// when the peer is closed; keeps the peer alive.
#[must_use = "a stream does nothing unless it is read"]
pub struct Events<M> {
    queue: Queue<Arc<Arrived>>,
    sub: Option<Sub>,
    peer: Peer,
    types: PhantomData<fn() -> M>,
}

impl<M> Events<M> {
    pub(crate) fn new(queue: Queue<Arc<Arrived>>, sub: Sub, peer: Peer) -> Self {
        Self {
            queue,
            sub: Some(sub),
            peer,
            types: PhantomData,
        }
    }

    /// Why nothing will ever come: the name cannot be one, or there are too many.
    pub fn refused(&self) -> Option<&RegisterError> {
        self.sub.as_ref()?.refused()
    }
}

impl<M> Stream for Events<M> {
    type Item = Received<M>;

    /// Cancel-safe: an event that was not returned stays.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Received<M>>> {
        if self.refused().is_some() {
            return Poll::Ready(None);
        }
        let (next, room) = self.queue.poll_next(cx, STREAM_EVENTS);
        if room {
            self.peer.shared().wakeups.poke();
        }
        next.map(|next| next.map(|arrived| received(self.peer.clone(), arrived)))
    }
}

impl<M> Drop for Events<M> {
    fn drop(&mut self) {
        let unread = self.queue.drop_reader();
        drop((unread, self.sub.take()));
        // The namespace may have waited for this reader.
        self.peer.shared().wakeups.poke();
    }
}

impl<M> fmt::Debug for Events<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("namespace", &self.peer.namespace())
            .finish_non_exhaustive()
    }
}
