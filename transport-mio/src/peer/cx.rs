//! What a handler knows of the message that it was called for.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use switchboard_os::Clock;
use switchboard_proto::{Instant, Sender};

use super::Peer;

/// The circumstances of one message. Cheap to clone.
///
/// It keeps the peer alive: one that is held for good keeps it from being closed by the drop of its
/// handles.
#[derive(Clone)]
pub struct Cx(Arc<Inner>);

struct Inner {
    peer: Peer,
    from: Sender,
    name: Arc<str>,
    descriptors: Mutex<VecDeque<OwnedFd>>,
    lost: bool,
    until: Option<Instant>,
    cancelled: Arc<AtomicBool>,
}

/// What of a message a [`Cx`] needs.
#[derive(Debug)]
pub(super) struct Circumstances {
    pub(super) from: Sender,
    pub(super) name: Arc<str>,
    pub(super) descriptors: VecDeque<OwnedFd>,
    pub(super) lost: bool,
    pub(super) until: Option<Instant>,
    pub(super) cancelled: Arc<AtomicBool>,
}

impl Cx {
    /// Who sent the message. Also a target: `cx.peer().emit(..).to(cx.from())` goes to that very
    /// process and to none that takes its id later.
    pub fn from(&self) -> Sender {
        self.0.from
    }

    /// The namespace of the message; `_` is the default one.
    pub fn namespace(&self) -> &str {
        self.0.peer.shown()
    }

    /// The name of the event or request.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The next descriptor that came with the message, in the order in which they were attached.
    /// Those not taken are closed with the last clone of this `Cx`.
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
        let now = Instant::from_nanos(Clock.now());
        self.0.until.map(|until| until.saturating_since(now))
    }

    /// Whether the requester does not want the answer any more: it cancelled the request, or has
    /// ended. It is seen only while somebody drives the peer.
    pub fn cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// The peer that the message came to, in the message's namespace. A handler may wait with it.
    pub fn peer(&self) -> &Peer {
        &self.0.peer
    }

    pub(super) fn new(peer: Peer, of: Circumstances) -> Self {
        Self(Arc::new(Inner {
            peer,
            from: of.from,
            name: of.name,
            descriptors: Mutex::new(of.descriptors),
            lost: of.lost,
            until: of.until,
            cancelled: of.cancelled,
        }))
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
