//! Requests of this node, and how each message and request comes to its one end.

use alloc::vec::Vec;

use super::Node;
use super::outbox::{How, Parked};
use crate::config::Config;
use crate::id::{InstanceId, MessageId, RequestId};
use crate::message::{Fate, Message, Outcome, UnknownCause};
use crate::output::Event;
use crate::rising_map::RisingMap;
use crate::talk::{GivenUp, Talk};
use crate::time::Instant;
use crate::wire::{CancelBody, CloseCode, Header, Kind, Refusal, flow};

/// Requests of this node without an outcome, and ids.
#[derive(Debug)]
pub(super) struct Requests {
    pending: RisingMap<u64, Pending>,
    /// When those with a deadline are over.
    deadlines: RisingMap<(Instant, u64), ()>,
    next: u64,
    /// Credit for replies, set aside.
    pub(super) reserved: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// The instance that it is bound for, once it is in a conversation.
    pub(super) to: Option<InstanceId>,
    deadline: Option<Instant>,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            pending: RisingMap::new(),
            deadlines: RisingMap::new(),
            next: 1,
            reserved: 0,
        }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = RequestId> + '_ {
        self.pending.keys().map(RequestId)
    }

    pub(super) fn next_id(&mut self) -> MessageId {
        let id = self.next;
        self.next += 1;
        MessageId(id)
    }

    /// What [`Requests::next_id`] will give.
    #[inline]
    pub(super) fn coming_id(&self) -> MessageId {
        MessageId(self.next)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// A request is accepted, and bound to nobody yet.
    pub(super) fn begin(&mut self, id: MessageId, deadline: Option<Instant>) {
        if let Some(at) = deadline {
            self.deadlines.insert((at, id.0), ());
        }
        let pending = Pending { to: None, deadline };
        self.pending.insert(id.0, pending);
    }

    /// Whether the reserve and the pair have room for one more request.
    #[inline]
    pub(super) fn has_room<F>(&self, talk: &Talk<F>, config: &Config) -> bool {
        let reserved = self.reserved + u64::from(config.reply_credit);
        reserved <= config.reply_reserve && talk.pending < config.pending_requests
    }

    /// A request is accepted, and is in the conversation with an instance.
    pub(super) fn make<F>(
        &mut self,
        id: MessageId,
        deadline: Option<Instant>,
        to: InstanceId,
        talk: &mut Talk<F>,
        credit: u32,
    ) {
        if let Some(at) = deadline {
            self.deadlines.insert((at, id.0), ());
        }
        let to = Some(to);
        self.pending.insert(id.0, Pending { to, deadline });
        self.reserved += u64::from(credit);
        talk.begin_request(id, credit);
    }

    /// The request is in the conversation with an instance, or in none again.
    pub(super) fn bind(&mut self, id: MessageId, to: Option<InstanceId>) {
        if let Some(pending) = self.pending.get_mut(&id.0) {
            pending.to = to;
        }
    }

    fn get(&self, id: RequestId) -> Option<Pending> {
        self.pending.get(&id.0).copied()
    }

    fn end(&mut self, id: RequestId) -> Option<Pending> {
        let pending = self.pending.remove(&id.0)?;
        if let Some(at) = pending.deadline {
            self.deadlines.remove(&(at, id.0));
        }
        Some(pending)
    }

    /// The deadline that comes next.
    pub(super) fn earliest(&self) -> Option<(Instant, RequestId)> {
        let (at, id) = self.deadlines.first_key()?;
        Some((at, RequestId(id)))
    }

    /// A request has no deadline any more.
    pub(super) fn disarm(&mut self, id: RequestId) {
        if let Some(pending) = self.pending.get_mut(&id.0)
            && let Some(at) = pending.deadline.take()
        {
            self.deadlines.remove(&(at, id.0));
        }
    }

    pub(super) fn to(&self, instance: InstanceId) -> Vec<u64> {
        let all = self.pending.iter();
        all.filter(|(_, pending)| pending.to == Some(instance))
            .map(|(id, _)| id)
            .collect()
    }
}

impl<F> Node<F> {
    /// A message that no byte of ever left comes back whole.
    pub(super) fn end_uncommitted(
        &mut self,
        id: MessageId,
        message: Message<F>,
        how: How,
        reason: Refusal,
    ) {
        let message = Some(message);
        if how.request {
            self.finish(RequestId(id.0), Outcome::NotRun { reason, message });
        } else {
            let fate = Fate::Refused { reason, message };
            self.emit(Event::Fate { message: id, fate });
        }
    }

    /// Gives a request its one outcome. A second one is dropped and counted.
    pub(super) fn finish(&mut self, request: RequestId, outcome: Outcome<F>) {
        let Some(pending) = self.requests.end(request) else {
            self.stats.late_replies += 1;
            return self.drop_outcome(outcome);
        };
        if let Some(talk) = pending.to.and_then(|to| self.talks.get_mut(to)) {
            talk.pending -= 1;
        }
        self.stats.outcomes += 1;
        self.emit(Event::Outcome { request, outcome });
        if let Some(to) = pending.to {
            self.tell_sendable(to);
        }
    }

    /// Nobody waits for this, or nobody may believe it.
    pub(super) fn drop_outcome(&mut self, outcome: Outcome<F>) {
        if let Outcome::Reply { attachments, .. } = outcome {
            self.stats.attachments_dropped += attachments.len() as u64;
        }
    }

    /// As [`Node::finish`], of an answer: it counts only from the instance that was asked.
    pub(super) fn finish_reply(
        &mut self,
        from: InstanceId,
        request: RequestId,
        outcome: Outcome<F>,
    ) {
        let asked = self.requests.get(request);
        match asked.is_none_or(|pending| pending.to == Some(from)) {
            true => self.finish(request, outcome),
            false => {
                self.drop_outcome(outcome);
                let rule = "it answered a request that was made of another";
                self.breach(from, CloseCode::ProtocolViolation, rule);
            }
        }
    }

    /// The last frame of a reply has come: what was set aside for it is free.
    pub(super) fn close_reply(&mut self, from: InstanceId, flow: u32) {
        let Self { talks, books, .. } = self;
        if let Some(talk) = talks.get_mut(from) {
            self.requests.reserved -= talk.inb.close_reply_flow(flow, books);
            self.outbox.retry_soon();
        }
    }

    /// Cancels a request: it ends now, with [`Outcome::NotRun`] if no byte of it ever left. What
    /// was begun, the handler can see to be unwanted. A request that has its outcome is left alone.
    pub fn cancel(&mut self, now: Instant, request: RequestId) {
        self.advance(now);
        self.end_request(request, Refusal::Cancelled, UnknownCause::Cancelled);
    }

    /// Takes back an event of which no byte has left, for every receiver that it still waits for.
    /// `false` if there is none: a link has it, or it was never accepted.
    pub fn recall(&mut self, now: Instant, message: MessageId) -> bool {
        self.advance(now);
        let mut any = false;
        while let Some(Parked { id, message, how }) = self.outbox.remove(message) {
            self.end_uncommitted(id, message, how, Refusal::Cancelled);
            any = true;
        }
        let talks = self.talks.iter();
        let holders = talks.filter(|(_, talk)| talk.out.holds(message));
        let holders: Vec<InstanceId> = holders.map(|(instance, _)| instance).collect();
        for instance in holders {
            any |= self.withdraw_from(instance, message, Refusal::Cancelled);
            self.tell_sendable(instance);
            self.touch(instance);
        }
        any
    }

    /// The time of a request is over.
    pub(super) fn request_due(&mut self, request: RequestId) {
        self.end_request(request, Refusal::Expired, UnknownCause::Deadline);
    }

    pub(super) fn end_request(&mut self, request: RequestId, reason: Refusal, cause: UnknownCause) {
        let id = MessageId(request.0);
        let Some(pending) = self.requests.get(request) else {
            return;
        };
        let Some(instance) = pending.to else {
            if let Some(Parked { message, how, .. }) = self.outbox.remove(id) {
                self.end_uncommitted(id, message, how, reason);
            }
            return;
        };
        let given_up = self.with_out(instance, |out, pool| out.give_up(id, pool));
        match given_up {
            Some(GivenUp::NeverCommitted(draft)) => {
                self.close_reply(instance, flow::reply_flow(id.0));
                if let Some((id, message, how)) = self.decode(*draft) {
                    self.end_uncommitted(id, message, how, reason);
                }
            }
            _ => {
                let header = Header::new(Kind::CANCEL, self.me.instance, instance);
                let body = CancelBody { request: id.0 };
                self.push_urgent(header, |head| body.encode(head));
                self.finish(request, Outcome::Unknown(cause));
            }
        }
        self.tell_sendable(instance);
        self.touch(instance);
    }

    /// Takes an event out of a conversation if no byte of it has left.
    pub(super) fn withdraw_from(
        &mut self,
        instance: InstanceId,
        id: MessageId,
        reason: Refusal,
    ) -> bool {
        let draft = self.with_out(instance, |out, pool| out.withdraw(id, pool));
        let Some((id, message, how)) = draft.flatten().and_then(|draft| self.decode(*draft)) else {
            return false;
        };
        self.end_uncommitted(id, message, how, reason);
        true
    }
}
