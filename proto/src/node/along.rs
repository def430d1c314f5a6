//! The way that most messages go: they are small, want nothing special, and go where the one before
//! went.
//!
//! What the general path in `send.rs` decided for that one holds for the next, as long as nothing
//! that it looked at has changed. What is not as simple, or not as before, takes the general path.

use super::Node;
use super::encode::Stencil;
use super::outbox::How;
use crate::id::{InstanceId, MessageId};
use crate::link::tx::COPY_MAX;
use crate::message::{Message, Receipt, SendOptions, Target};
use crate::talk::Small;
use crate::wire::flow::{LEAST_COST, cost};

/// Where the last message went.
#[derive(Debug)]
pub(super) struct Trodden {
    target: Target,
    to: InstanceId,
    /// The largest message that is accepted there.
    message_cap: u64,
    /// The longest payload of a small message there.
    longest: usize,
    /// The version of the roster that all of this was read in.
    roster: u64,
}

/// How an event without wishes is sent.
const PLAIN: How = How {
    request: false,
    bits: 0,
    deadline: None,
    queue_attachments: false,
};

/// Whether the message may travel in a run, as far as it can say itself.
#[inline]
pub(super) fn is_small<F>(message: &Message<F>, how: &How) -> bool {
    let expires = how.deadline.is_some() && !how.request;
    !expires && how.bits == 0 && message.attachments.is_empty() && message.payload.len() <= COPY_MAX
}

impl<F> Node<F> {
    /// Sends an event right after the last one: nothing else has happened since, so all that has to
    /// be seen to is what each message uses up. `None` if it has to be looked at.
    #[inline]
    pub(super) fn send_next(
        &mut self,
        message: &Message<F>,
        options: &SendOptions,
    ) -> Option<MessageId> {
        let len = self.stencil.head().len() + message.payload.len();
        let left = self.left.checked_sub(cost(len))?;
        let way = self.trodden.as_ref()?;
        let plain = options.receipt == Receipt::None
            && options.expires.is_none()
            && message.attachments.is_empty()
            && message.payload.len() <= way.longest;
        if !plain || !way.target.is(&message.target) || !self.stencil.is_of(message) {
            return None;
        }
        let talk = self.talks.get_mut(way.to)?;
        let id = self.requests.coming_id();
        let small = small(message, id, &PLAIN, &self.stencil);
        let grown = talk.out.extend_run(self.now, &small, &mut self.pool)?;
        self.left = left;
        self.outbox.grew(grown);
        self.requests.next_id();
        self.stats.accepted += 1;
        Some(id)
    }

    /// How much may be sent right after an event of this flow without a look at the rules: each
    /// message uses up its cost, which is no less than its bytes, and no less than the least cost.
    #[inline]
    fn left_after(&self, to: InstanceId, flow: u32) -> u64 {
        let Some(talk) = self.talks.get(to) else {
            return 0;
        };
        let (bytes, messages) = talk.out.buffered();
        let config = &self.config;
        // The rules count a message for a little more than it has.
        let more = self.stencil.room() - self.stencil.head().len() as u64;
        let total = self.outbox.total();
        let most = config.send_messages.saturating_sub(messages);
        let rules = [
            talk.out.credit_left(flow),
            config.send_buffer.saturating_sub(bytes + more),
            config.send_buffer_total.saturating_sub(total + more),
            most.saturating_mul(LEAST_COST),
        ];
        rules.into_iter().min().unwrap_or_default()
    }

    /// Sends a message where the last one went. `None` if it is not certain that all rules let it.
    #[inline]
    pub(super) fn send_along(&mut self, message: &Message<F>, how: &How) -> Option<MessageId> {
        if !is_small(message, how) || self.closed || self.winding_down {
            return None;
        }
        let to = self.trodden_way(message)?;
        if !self.stencil.fits(self.me.instance, to, message, how) {
            return None;
        }
        let talk = self.talks.get_mut(to)?;
        let buffered = talk.out.buffered();
        let size = self.stencil.room() + message.payload.len() as u64;
        let fits = self.config.takes(buffered, self.outbox.total(), size);
        if talk.broken || !fits || how.request && !self.requests.has_room(talk, &self.config) {
            return None;
        }
        let id = self.requests.coming_id();
        let small = small(message, id, how, &self.stencil);
        let grown = talk.out.join_run(self.now, &small, &mut self.pool)?;
        self.outbox.grew(grown);
        self.requests.next_id();
        self.stats.accepted += 1;
        match how.request {
            true => {
                let credit = self.config.reply_credit;
                self.requests.make(id, how.deadline, to, talk, credit);
            }
            false => self.left = self.left_after(to, message.namespace.0 + 1),
        }
        self.touch_later(to);
        Some(id)
    }

    /// The instance that the message is for, if the last one was for the same.
    #[inline]
    fn trodden_way(&self, message: &Message<F>) -> Option<InstanceId> {
        let way = self.trodden.as_ref()?;
        let holds = way.target.is(&message.target)
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
            longest: peer.message_cap.min(COPY_MAX as u64) as usize,
            roster: version,
        });
    }

    /// Lets a small message join the run of its conversation. Its stencil is cut.
    pub(super) fn join_run(
        &mut self,
        to: InstanceId,
        id: MessageId,
        message: &Message<F>,
        how: &How,
    ) -> bool {
        let Some(talk) = self.talks.get_mut(to).filter(|talk| !talk.broken) else {
            return false;
        };
        let small = small(message, id, how, &self.stencil);
        let grown = talk.out.join_run(self.now, &small, &mut self.pool);
        self.outbox.grew(grown.unwrap_or_default());
        grown.is_some()
    }
}

#[inline]
fn small<'a, F>(
    message: &'a Message<F>,
    id: MessageId,
    how: &How,
    stencil: &'a Stencil,
) -> Small<'a> {
    Small {
        id,
        flow: message.namespace.0 + 1,
        target: &message.target,
        head: stencil.head(),
        payload: &message.payload,
        deadline: how.deadline,
        request: how.request,
    }
}
