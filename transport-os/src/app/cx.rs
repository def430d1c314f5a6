//! What a handler knows of the message that it was called for.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use switchboard_proto::{Instant, Sender};

use super::{Arrived, Cancelled, Host};
use crate::{Clock, IntoAttachment};

/// The circumstances of one message. Cheap to clone.
///
/// It keeps the peer alive: one that is held for good keeps the peer from ever being closed by the
/// drop of its handles. It keeps the message too, of which it is a part.
#[derive(Clone)]
pub struct Cx<P> {
    peer: P,
    pub(super) message: Arc<Arrived>,
}

/// The circumstances of one message that came to this peer.
pub fn cx<P>(peer: P, message: Arc<Arrived>) -> Cx<P> {
    Cx { peer, message }
}

impl<P> Cx<P> {
    /// Who sent the message. Also a target: `cx.peer().emit(..).to(cx.from())` goes to that very
    /// process and to none that takes its id later.
    pub fn from(&self) -> Sender {
        self.message.from
    }

    /// The name of the event or request.
    pub fn name(&self) -> &str {
        &self.message.name
    }

    /// The peer that the message came to, in the message's namespace.
    pub fn peer(&self) -> &P {
        &self.peer
    }

    /// The next descriptor that came with the message, in the order in which they were attached.
    /// It is close-on-exec. Those not taken are closed with the last clone of this `Cx`.
    pub fn take_fd(&self) -> Option<OwnedFd> {
        self.message.take_fd()
    }

    /// Whether descriptors were attached that did not arrive: for want of room in this process, or
    /// because a connection on the way carries fewer or none.
    pub fn attachments_lost(&self) -> bool {
        self.message.lost
    }

    /// Moves a descriptor to the requester, with the reply: it is closed here when the requester's
    /// process has it, unless it is a [`SharedFd`](crate::SharedFd). At most 16. Where it cannot go (a
    /// pipe or TCP on the way, more than the requester takes) the requester gets a failure that says so
    /// in place of the reply. It is closed where the handler fails, and where it is called for an event.
    pub fn attach(&self, descriptor: impl IntoAttachment) {
        self.message.attach(descriptor.into_attachment());
    }

    /// How long the requester still waits: zero if it does no more, `None` for an event and where
    /// there is no deadline.
    pub fn remaining(&self) -> Option<Duration> {
        let now = Instant::from_nanos(Clock.now());
        self.message.until.map(|until| until.saturating_since(now))
    }

    /// Whether the requester does not want the answer any more: it cancelled the request, or has
    /// ended. It is seen only while something drives the peer.
    pub fn is_cancelled(&self) -> bool {
        self.message.cancel.is_cancelled()
    }

    /// Waits, in an async handler, until the requester does not want the answer any more. For an
    /// event this never happens.
    ///
    /// Cancel-safe: dropping it changes nothing.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled(Arc::clone(&self.message))
    }
}

impl<P: Host> Cx<P> {
    /// The namespace of the message; `_` is the default one.
    pub fn namespace(&self) -> &str {
        self.peer.namespace()
    }
}

impl<P> fmt::Debug for Cx<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx")
            .field("from", &self.message.from)
            .field("name", &self.message.name)
            .finish_non_exhaustive()
    }
}
