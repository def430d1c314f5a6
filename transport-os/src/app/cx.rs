//! What a handler knows of the message that it was called for.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use switchboard_proto::{Instant, Sender};

use super::{Cancel, Cancelled, Host};
use crate::Clock;

/// The circumstances of one message. Cheap to clone.
///
/// It keeps the peer alive: one that is held for good keeps the peer from ever being closed by the
/// drop of its handles.
#[derive(Clone)]
pub struct Cx<P>(Arc<Inner<P>>);

struct Inner<P> {
    peer: P,
    from: Sender,
    name: Arc<str>,
    descriptors: Mutex<Descriptors>,
    lost: bool,
    until: Option<Instant>,
    cancel: Arc<Cancel>,
}

#[derive(Default)]
struct Descriptors {
    /// Those that came and are not taken.
    came: VecDeque<OwnedFd>,
    /// Those that go with the reply.
    reply: Vec<OwnedFd>,
}

/// What of a delivery a [`Cx`] needs.
#[derive(Debug)]
pub struct Circumstances {
    /// Who sent it.
    pub from: Sender,
    /// The name of the event or request.
    pub name: Arc<str>,
    /// The descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
    /// Whether some did not arrive.
    pub lost: bool,
    /// How long the requester waits.
    pub until: Option<Instant>,
    /// Whether it still does.
    pub cancel: Arc<Cancel>,
}

/// The circumstances of one message that came to this peer.
pub fn cx<P>(peer: P, of: Circumstances) -> Cx<P> {
    Cx(Arc::new(Inner {
        peer,
        from: of.from,
        name: of.name,
        descriptors: Mutex::new(Descriptors {
            came: of.descriptors.into(),
            reply: Vec::new(),
        }),
        lost: of.lost,
        until: of.until,
        cancel: of.cancel,
    }))
}

impl<P> Cx<P> {
    /// Who sent the message. Also a target: `cx.peer().emit(..).to(cx.from())` goes to that very
    /// process and to none that takes its id later.
    pub fn from(&self) -> Sender {
        self.0.from
    }

    /// The name of the event or request.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The peer that the message came to, in the message's namespace.
    pub fn peer(&self) -> &P {
        &self.0.peer
    }

    /// The next descriptor that came with the message, in the order in which they were attached.
    /// It is close-on-exec. Those not taken are closed with the last clone of this `Cx`.
    pub fn take_fd(&self) -> Option<OwnedFd> {
        self.descriptors().came.pop_front()
    }

    /// Whether descriptors were attached that did not arrive: for want of room in this process, or
    /// because a connection on the way carries fewer or none.
    pub fn attachments_lost(&self) -> bool {
        self.0.lost
    }

    /// Moves a descriptor to the requester, with the reply: it is closed here when the requester's
    /// process has it. At most 16. Where it cannot go (a pipe or TCP on the way, more than the
    /// requester takes) the requester gets a failure that says so in place of the reply. It is closed
    /// where the handler fails, and where it is called for an event.
    pub fn attach(&self, descriptor: impl Into<OwnedFd>) {
        self.descriptors().reply.push(descriptor.into());
    }

    /// How long the requester still waits: zero if it does no more, `None` for an event and where
    /// there is no deadline.
    pub fn remaining(&self) -> Option<Duration> {
        let now = Instant::from_nanos(Clock.now());
        self.0.until.map(|until| until.saturating_since(now))
    }

    /// Whether the requester does not want the answer any more: it cancelled the request, or has
    /// ended. It is seen only while something drives the peer.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancel.is_cancelled()
    }

    /// Waits, in an async handler, until the requester does not want the answer any more. For an
    /// event this never happens.
    ///
    /// Cancel-safe: dropping it changes nothing.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled(Arc::clone(&self.0.cancel))
    }

    pub(super) fn take_reply(&self) -> Vec<OwnedFd> {
        mem::take(&mut self.descriptors().reply)
    }

    fn descriptors(&self) -> MutexGuard<'_, Descriptors> {
        // Only moves run under it.
        let descriptors = self.0.descriptors.lock();
        descriptors.unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Host> Cx<P> {
    /// The namespace of the message; `_` is the default one.
    pub fn namespace(&self) -> &str {
        self.0.peer.namespace()
    }
}

impl<P> fmt::Debug for Cx<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx")
            .field("from", &self.0.from)
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}
