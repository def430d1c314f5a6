//! What a handler knows of the message that it was called for.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::mem;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use switchboard_proto::codec::{CodecError, Encode, Encoded};
use switchboard_proto::{Instant, Sender};

use crate::peer::Peer;
use crate::shared::{Shared, clock_now};

/// The circumstances of one message. Cheap to clone.
///
/// It keeps the peer alive: one that is held for good keeps the peer from ever being closed by the
/// drop of its handles.
#[derive(Clone)]
pub struct Cx(Arc<Inner>);

struct Inner {
    peer: Peer,
    from: Sender,
    name: Arc<str>,
    descriptors: Mutex<VecDeque<OwnedFd>>,
    lost: bool,
    until: Option<Instant>,
    cancel: Arc<Cancel>,
}

/// Whether the requester still waits.
#[derive(Debug, Default)]
pub(crate) struct Cancel {
    state: Mutex<(bool, Vec<Waker>)>,
}

/// Done when nobody waits for the answer any more; see [`Cx::cancelled`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Cancelled(Arc<Cancel>);

/// What of a delivery a [`Cx`] needs.
pub(crate) struct Circumstances {
    pub(crate) from: Sender,
    pub(crate) name: Arc<str>,
    pub(crate) descriptors: Vec<OwnedFd>,
    pub(crate) lost: bool,
    pub(crate) until: Option<Instant>,
    pub(crate) cancel: Arc<Cancel>,
}

impl Cx {
    /// Who sent the message. Also a target: `cx.peer().emit(..).to(cx.from())` goes to that very
    /// process and to none that takes its id later.
    pub fn from(&self) -> Sender {
        self.0.from
    }

    /// The namespace of the message; `_` is the default one.
    pub fn namespace(&self) -> &str {
        self.0.peer.namespace()
    }

    /// The name of the event or request.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The next descriptor that came with the message, in the order in which they were attached.
    /// It is close-on-exec. Those not taken are closed with the last clone of this `Cx`.
    pub fn take_fd(&self) -> Option<OwnedFd> {
        self.descriptors().pop_front()
    }

    /// Whether descriptors were attached that did not arrive, for want of room in this process.
    pub fn attachments_lost(&self) -> bool {
        self.0.lost
    }

    /// How long the requester still waits: zero if it does no more, `None` for an event and where
    /// there is no deadline.
    pub fn remaining(&self) -> Option<Duration> {
        self.0
            .until
            .map(|until| until.saturating_since(clock_now()))
    }

    /// Waits until the requester does not want the answer any more: it cancelled the request, or has
    /// ended. For an event this never happens.
    ///
    /// Cancel-safe: dropping it changes nothing.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled(Arc::clone(&self.0.cancel))
    }

    /// Whether the requester does not want the answer any more.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancel.lock().0
    }

    /// The peer that the message came to, in the message's namespace.
    pub fn peer(&self) -> &Peer {
        &self.0.peer
    }

    pub(crate) fn new(peer: Peer, of: Circumstances) -> Self {
        Self(Arc::new(Inner {
            peer,
            from: of.from,
            name: of.name,
            descriptors: Mutex::new(of.descriptors.into()),
            lost: of.lost,
            until: of.until,
            cancel: of.cancel,
        }))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.0.peer.shared()
    }

    /// A reply is encoded as any other message of its name.
    pub(crate) fn encode_reply<R: Encode>(&self, value: &R) -> Result<Encoded, CodecError> {
        let codecs = &self.shared().codecs;
        codecs.encode(self.namespace(), self.name(), None, value)
    }

    fn descriptors(&self) -> MutexGuard<'_, VecDeque<OwnedFd>> {
        // Only moves run under it.
        let descriptors = self.0.descriptors.lock();
        descriptors.unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx")
            .field("from", &self.0.from)
            .field("namespace", &self.namespace())
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}

impl Cancel {
    /// Says it; returns whom to wake, without a lock held.
    pub(crate) fn cancel(&self) -> Vec<Waker> {
        let mut state = self.lock();
        state.0 = true;
        mem::take(&mut state.1)
    }

    fn lock(&self) -> MutexGuard<'_, (bool, Vec<Waker>)> {
        // Only moves and clones of wakers run under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for Cancelled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.0 {
            return Poll::Ready(());
        }
        if !state.1.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.1.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
