//! Whether there is room for a message, and who is told when there is again.

use super::Node;
use super::outbox::{How, size_of};
use crate::group::Presence;
use crate::id::InstanceId;
use crate::message::{Message, SendRefusal};
use crate::output::Event;
use crate::talk::{DraftPool, Outbound};

/// The limit that all receivers share.
const TOTAL: &str = "send_buffer_total";

impl<F> Node<F> {
    /// Whether the receiver's buffer and limits have room for the message.
    pub(super) fn check_room(
        &self,
        instance: InstanceId,
        message: &Message<F>,
        how: How,
    ) -> Result<(), SendRefusal> {
        let talk = self.talks.get(instance);
        if talk.is_some_and(|talk| talk.broken) {
            return Err(SendRefusal::PeerFault);
        }
        self.check_attachments(instance, message, how)?;
        let size = self.charge_of(message);
        if let Some(peer) = self.roster.by_instance(instance)
            && message.payload.len() as u64 > peer.message_cap
        {
            return Err(SendRefusal::TooLarge {
                size: message.payload.len() as u64,
                limit: peer.message_cap,
            });
        }
        let (bytes, messages) = talk.map_or((0, 0), |talk| talk.out.buffered());
        let full = self.fullness(bytes, messages, size).or_else(|| {
            let pending = talk.map_or(0, |talk| talk.pending);
            let most = self.config.pending_requests;
            (how.request && pending >= most).then_some(SendRefusal::Full {
                limit: "pending_requests",
                value: most as u64,
            })
        });
        full.map_or(Ok(()), Err)
    }

    /// Remembers that a message was refused for want of room that will come, so that its sender is
    /// told when it has: room in the conversation with an instance, or among what waits for the
    /// target.
    pub(super) fn refused_for_now(
        &mut self,
        instance: Option<InstanceId>,
        message: &Message<F>,
        reason: &SendRefusal,
    ) {
        let target = &message.target;
        if !is_passing(reason, message.attachments.len()) {
            return;
        }
        if is_total(reason) {
            return self.outbox.refuse_total(target);
        }
        match instance.map(|instance| self.talk(instance)) {
            None => self.outbox.refuse_full(target),
            Some(talk) if talk.refused.contains(target) => {}
            Some(talk) => talk.refused.push(target.clone()),
        }
    }

    /// What a message takes of the send buffer at most.
    pub(super) fn charge_of(&self, message: &Message<F>) -> u64 {
        let namespace = self.inbox.name(message.namespace).unwrap_or_default();
        size_of(message) + namespace.len() as u64
    }

    /// Whether the message may wait for its target.
    pub(super) fn check_parking(&self, message: &Message<F>) -> Result<(), SendRefusal> {
        let (bytes, messages) = self.outbox.waiting(&message.target);
        let full = self.fullness(bytes, messages, self.charge_of(message));
        full.map_or(Ok(()), Err)
    }

    #[inline]
    pub(super) fn fullness(&self, bytes: u64, messages: u64, size: u64) -> Option<SendRefusal> {
        let config = &self.config;
        if config.takes((bytes, messages), self.outbox.total(), size) {
            return None;
        }
        let total = self.outbox.total() + size;
        let rules = [
            (bytes + size, "send_buffer", config.send_buffer),
            (messages + 1, "send_messages", config.send_messages),
            (total, TOTAL, config.send_buffer_total),
        ];
        // One message is always let through, or a small buffer could never carry a large one.
        let alone = |limit: &str| bytes == 0 && limit == "send_buffer";
        let (_, limit, value) = rules
            .into_iter()
            .find(|(would, limit, most)| would > most && !alone(limit))?;
        Some(SendRefusal::Full { limit, value })
    }

    pub(super) fn check_attachments(
        &self,
        instance: InstanceId,
        message: &Message<F>,
        how: How,
    ) -> Result<(), SendRefusal> {
        if message.attachments.is_empty() || instance == self.me.instance {
            return Ok(());
        }
        self.check_carriage(instance, message.attachments.len())?;
        let peer = self.roster.by_instance(instance);
        let namespace = self.inbox.name(message.namespace).unwrap_or_default();
        let ready = peer
            .is_some_and(|peer| peer.presence == Presence::Attached && !peer.is_pending(namespace));
        if !ready && !how.queue_attachments {
            return Err(SendRefusal::AttachmentsNotReady);
        }
        let most = self.config.attachments_pair;
        let under_way = self
            .talks
            .get(instance)
            .map_or(0, |talk| talk.out.attachments());
        let count = under_way + message.attachments.len();
        match count > most {
            true => Err(SendRefusal::TooManyAttachments {
                count,
                limit: "attachments_pair",
                value: most,
            }),
            false => Ok(()),
        }
    }

    /// Whether so many attachments of one message can reach another instance at all.
    pub(super) fn check_carriage(
        &self,
        instance: InstanceId,
        count: usize,
    ) -> Result<(), SendRefusal> {
        let accepts = self.attachments_to(instance);
        if accepts == 0 {
            return Err(SendRefusal::AttachmentsUnsupported);
        }
        let limits = [
            ("attachments", self.config.attachments),
            ("attachments of the receiver or its hub", accepts),
        ];
        let exceeded = limits
            .into_iter()
            .find(|(_, most)| count > usize::from(*most));
        match exceeded {
            Some((limit, value)) => Err(SendRefusal::TooManyAttachments {
                count,
                limit,
                value: usize::from(value),
            }),
            None => Ok(()),
        }
    }

    /// Changes the sending half of a conversation, and counts what that does to its buffer.
    pub(super) fn with_out<T>(
        &mut self,
        instance: InstanceId,
        change: impl FnOnce(&mut Outbound<F>, &mut DraftPool<F>) -> T,
    ) -> Option<T> {
        let Self {
            talks,
            pool,
            outbox,
            ..
        } = self;
        let talk = talks.get_mut(instance)?;
        let before = talk.out.buffered();
        let result = change(&mut talk.out, pool);
        outbox.released(before, talk.out.buffered());
        Some(result)
    }

    /// Tells those that were refused for the sake of all when half of that is free.
    #[inline]
    pub(super) fn tell_relieved(&mut self) {
        if self.outbox.is_short() {
            self.tell_all_relieved();
        }
    }

    fn tell_all_relieved(&mut self) {
        let half = self.config.send_buffer_total / 2;
        for target in self.outbox.relieved(half).into_iter().flatten() {
            self.emit(Event::Sendable(target));
        }
    }

    /// Tells those that were refused when half of the buffer is free.
    pub(super) fn tell_sendable(&mut self, instance: InstanceId) {
        let half = (self.config.send_buffer / 2, self.config.send_messages / 2);
        let requests = self.config.pending_requests / 2;
        let handles = self.config.attachments_pair / 2;
        let Some(talk) = self.talks.get_mut(instance) else {
            return;
        };
        if talk.refused.is_empty() && !self.outbox.holds_back(instance) {
            return;
        }
        let (bytes, messages) = talk.out.buffered();
        if bytes > half.0 || messages > half.1 || talk.pending > requests {
            return;
        }
        if talk.out.attachments() > handles {
            return;
        }
        for target in core::mem::take(&mut talk.refused) {
            self.emit(Event::Sendable(target));
        }
        self.outbox.retry_soon();
    }
}

/// Whether a message with so many attachments was refused for something that will pass.
pub(super) fn is_passing(reason: &SendRefusal, attachments: usize) -> bool {
    match reason {
        SendRefusal::Full { .. } => true,
        SendRefusal::TooManyAttachments { limit, value, .. } => {
            *limit == "attachments_pair" && attachments <= *value
        }
        _ => false,
    }
}

/// Whether it was refused for the sake of all receivers together.
pub(super) fn is_total(full: &SendRefusal) -> bool {
    matches!(full, SendRefusal::Full { limit, .. } if *limit == TOTAL)
}
