//! Events as a stream, beside those that handlers take.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use switchboard_os::app::{Host, RegisterError};
use switchboard_proto::Payload;
use switchboard_proto::codec::{CodecError, CodecId, Decode};

use crate::cx::Cx;
use crate::peer::Peer;
use crate::queue::Queue;
use crate::service::{Entry, STREAM_EVENTS};

/// Events with values of type `M`, in the order in which they came; from
/// [`Peer::events`] and [`Peer::events_of`].
///
/// It holds 256 events for its reader. Beyond that its namespace is not read on until half of them
/// are taken, so the senders wait and nothing is lost. Whoever stops reading drops the stream. Ends
/// when the peer is closed; keeps the peer alive.
#[must_use = "a stream does nothing unless it is read"]
pub struct Events<M> {
    queue: Queue<Arrived>,
    entry: Entry,
    peer: Peer,
    refused: Option<RegisterError>,
    types: PhantomData<fn() -> M>,
}

/// One event.
pub struct Received<M> {
    arrived: Arrived,
    types: PhantomData<fn() -> M>,
}

pub(crate) struct Arrived {
    pub(crate) cx: Cx,
    pub(crate) codec: CodecId,
    pub(crate) payload: Payload,
}

impl<M> Events<M> {
    pub(crate) fn new(
        queue: Queue<Arrived>,
        entry: Entry,
        peer: Peer,
        refused: Option<RegisterError>,
    ) -> Self {
        Self {
            queue,
            entry,
            peer,
            refused,
            types: PhantomData,
        }
    }

    /// Why nothing will ever come: the name cannot be one, or there are too many.
    pub fn refused(&self) -> Option<&RegisterError> {
        self.refused.as_ref()
    }
}

impl<M: Decode> Received<M> {
    /// The value.
    ///
    /// # Errors
    ///
    /// It is of another type, or in a codec that this peer does not have.
    pub fn decode(&self) -> Result<M, CodecError> {
        self.decode_as()
    }
}

impl<M> Received<M> {
    /// The value as another type than the stream's.
    ///
    /// # Errors
    ///
    /// As [`Received::decode`].
    pub fn decode_as<T: Decode>(&self) -> Result<T, CodecError> {
        let Arrived { cx, codec, payload } = &self.arrived;
        cx.peer().codecs().decode(*codec, cx.name(), payload)
    }

    /// The event's name.
    pub fn name(&self) -> &str {
        self.arrived.cx.name()
    }

    /// Who sent it, and what came with it.
    pub fn cx(&self) -> &Cx {
        &self.arrived.cx
    }
}

impl<M> Stream for Events<M> {
    type Item = Received<M>;

    /// Cancel-safe: an event that was not returned stays.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Received<M>>> {
        if self.refused.is_some() {
            return Poll::Ready(None);
        }
        let (next, room) = self.queue.poll_next(cx, STREAM_EVENTS);
        if room {
            self.peer.shared().wakeups.poke();
        }
        next.map(|next| {
            next.map(|arrived| Received {
                arrived,
                types: PhantomData,
            })
        })
    }
}

impl<M> Drop for Events<M> {
    fn drop(&mut self) {
        let unread = self.queue.drop_reader();
        let removed = self.peer.unregister(&self.entry);
        drop((unread, removed));
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

impl<M> fmt::Debug for Received<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("name", &self.name())
            .field("from", &self.arrived.cx.from())
            .field("bytes", &self.arrived.payload.len())
            .finish_non_exhaustive()
    }
}
