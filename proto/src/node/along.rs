//! The way that most events go: they are small, want nothing special, and go where the one before
//! went.
//!
//! What the general path in `send.rs` decided for that one holds for the next, as long as nothing
//! that it looked at has changed. What is not as simple, or not as before, takes the general path.

use super::Node;
use super::outbox::How;
use crate::id::{InstanceId, MessageId};
use crate::link::tx::COPY_MAX;
use crate::message::{Message, Receipt, SendOptions, Target};
use crate::talk::Small;

/// Where the last message went.
#[derive(Debug)]
pub(super) struct Trodden {
    target: Target,
    to: InstanceId,
    /// The largest message that is accepted there.
    message_cap: u64,
    /// The version of the roster that all of this was read in.
    roster: u64,
}

/// How a message without wishes is sent.
const PLAIN: How = How {
    request: false,
    bits: 0,
    deadline: None,
    queue_attachments: false,
};

/// Whether the message may travel in a run, as far as it can say itself.
#[inline]
pub(super) fn is_plain<F>(message: &Message<F>, how: How) -> bool {
    let wishes = how.request || how.bits != 0 || how.deadline.is_some();
    !wishes && is_small(message)
}

#[inline]
fn is_small<F>(message: &Message<F>) -> bool {
    message.attachments.is_empty() && message.payload.len() <= COPY_MAX
}

impl<F> Node<F> {
    /// Sends an event where the last one went. `None` if it is not certain that all rules let it.
    #[inline]
    pub(super) fn send_along(
        &mut self,
        message: &Message<F>,
        options: &SendOptions,
    ) -> Option<MessageId> {
        let wishes = options.receipt != Receipt::None || options.expires.is_some();
        if wishes || !is_small(message) || self.closed || self.winding_down {
            return None;
        }
        let to = self.trodden_way(message)?;
        if !self.stencil.fits(self.me.instance, to, message, PLAIN) {
            return None;
        }
        let talk = self.talks.get(to).filter(|talk| !talk.broken)?;
        let (bytes, messages) = talk.out.buffered();
        let size = self.stencil.room() + message.payload.len() as u64;
        if self.fullness(bytes, messages, size).is_some() {
            return None;
        }
        let id = self.requests.coming_id();
        if !self.join_run(to, id, message) {
            return None;
        }
        self.requests.next_id();
        self.stats.accepted += 1;
        self.touch_later(to);
        Some(id)
    }

    /// The instance that the message is for, if the last one was for the same.
    #[inline]
    fn trodden_way(&self, message: &Message<F>) -> Option<InstanceId> {
        let way = self.trodden.as_ref()?;
        let holds = way.target == message.target
            && way.roster == self.roster.version()
            && message.payload.len() as u64 <= way.message_cap
            && self.outbox.is_idle();
        if !holds {
            return None;
        }
        match way.target {
            // Who that is, the roster does not say.
            Target::Hub if self.hub_instance() != Some(way.to) => None,
            _ => Some(way.to),
        }
    }

    /// The general path has sent a message from this target to this instance.
    pub(super) fn remember_way(&mut self, target: &Target, to: InstanceId) {
        let version = self.roster.version();
        let known = self.trodden.as_ref();
        if known.is_some_and(|way| (&way.target, way.to, way.roster) == (target, to, version)) {
            return;
        }
        let lasts = matches!(
            target,
            Target::Hub
                | Target::Peer(_)
                | Target::Exact(..)
                | Target::Named(_)
                | Target::NamedExact(..)
        );
        let peer = self.roster.by_instance(to).filter(|_| lasts);
        self.trodden = peer.map(|peer| Trodden {
            target: target.clone(),
            to,
            message_cap: peer.message_cap,
            roster: version,
        });
    }

    /// Lets a plain message join the run of its conversation. Its stencil is cut.
    #[inline]
    pub(super) fn join_run(&mut self, to: InstanceId, id: MessageId, message: &Message<F>) -> bool {
        let Some(talk) = self.talks.get_mut(to).filter(|talk| !talk.broken) else {
            return false;
        };
        let small = Small {
            id,
            flow: message.namespace.0 + 1,
            target: &message.target,
            head: self.stencil.head(),
            payload: &message.payload,
        };
        let grown = talk.out.join_run(&small, &mut self.pool);
        if let Some(bytes) = grown {
            self.outbox.grew(bytes);
        }
        grown.is_some()
    }
}
