//! Ends: of a remote instance, of this one, and of the node.

use alloc::vec::Vec;
use core::time::Duration;

use super::outbox::Parked;
use super::{Node, Timer};
use crate::group::Roster;
use crate::id::{InstanceId, LinkId, MessageId, PeerName, RequestId};
use crate::message::{Fate, Outcome, Target, UnknownCause};
use crate::output::Event;
use crate::talk::{Leftover, Talk};
use crate::time::Instant;
use crate::wire::{CloseCode, Refusal};

impl<F> Node<F> {
    /// A remote instance has ended: everything with it ends at once, with the cause.
    pub(super) fn instance_gone(&mut self, instance: InstanceId) {
        self.requester_gone(instance);
        self.forget_timers(instance);
        let Some(talk) = self.talks.remove(instance) else {
            return;
        };
        self.end_talk(instance, talk, UnknownCause::PeerGone);
        self.bound_departed(instance);
        self.credit_is_free();
        self.outbox.retry_soon();
    }

    /// What an ended instance sent stays for the application, within a budget's worth for all that
    /// have ended.
    pub(super) fn bound_departed(&mut self, instance: InstanceId) {
        for item in self.inbox.depart(instance, self.config.receive_budget) {
            self.stats.departed_dropped += 1;
            self.stats.attachments_dropped += item.attachments.len() as u64;
            self.taken(item.from, item.place);
        }
    }

    pub(super) fn end_talk(&mut self, instance: InstanceId, talk: Talk<F>, cause: UnknownCause) {
        let reason = match cause {
            UnknownCause::PeerFault => Refusal::PeerFault,
            _ => Refusal::PeerGone,
        };
        let before = talk.out.buffered();
        let refused = talk.refused;
        let (dropped, reserve) = talk.inb.end(&mut self.books);
        self.stats.attachments_dropped += dropped.len() as u64;
        self.requests.reserved -= reserve;
        let Leftover {
            uncommitted,
            unconfirmed,
        } = talk.out.end(&mut self.pool);
        self.outbox.released(before, (0, 0));
        // The last of them is put back first, so that they stand in their old order.
        for draft in uncommitted.into_iter().rev() {
            let attached = draft.attachment_count() as u64;
            let Some((id, message, how)) = self.decode(*draft) else {
                // A reply: whoever asked for it has ended.
                self.stats.attachments_dropped += attached;
                continue;
            };
            self.requests.bind(id, None);
            match message.target {
                Target::Named(_) | Target::Any | Target::Hub => {
                    self.park(Parked { id, message, how }, true);
                }
                _ => self.end_uncommitted(id, message, how, reason),
            }
        }
        for request in self.requests.to(instance) {
            self.finish(RequestId(request), Outcome::Unknown(cause));
        }
        for message in unconfirmed {
            self.unconfirmed(message);
        }
        for target in refused {
            self.emit(Event::Sendable(target));
        }
    }

    pub(super) fn forget_timers(&mut self, instance: InstanceId) {
        self.timers.set(Timer::Mark(instance), None);
        self.timers.set(Timer::Expiry(instance), None);
    }

    fn unconfirmed(&mut self, message: MessageId) {
        self.emit(Event::Fate {
            message,
            fate: Fate::Unconfirmed,
        });
    }

    /// The hub holds this instance for gone. What it had with others ends; the node goes on as a
    /// new instance, with its name.
    pub(super) fn begin_anew(&mut self) {
        self.emit(Event::Fenced);
        for instance in self.talks.keys().collect::<Vec<_>>() {
            self.requester_gone(instance);
            self.forget_timers(instance);
            if let Some(talk) = self.talks.remove(instance) {
                self.end_talk(instance, talk, UnknownCause::Closed);
            }
        }
        self.inbox.orphan_all();
        self.me.instance = InstanceId(self.rng.next_u64().max(1));
        self.me.identity = None;
        self.me.counter = 0;
        self.roster = Roster::new();
        self.trodden = None;
        self.uplink.begin_anew();
    }

    /// Says that nobody will come by this name: what waits for it in this node is refused as
    /// `PeerGone`, unless somebody has it who lives. What is sent to it later waits again.
    pub fn refuse_waiting(&mut self, now: Instant, name: &PeerName) {
        self.advance(now);
        if self.roster.by_name(name).is_some() {
            return;
        }
        let target = Target::Named(name.clone());
        while let Some(parked) = self.outbox.pop(&target) {
            let Parked { id, message, how } = parked;
            self.end_uncommitted(id, message, how, Refusal::PeerGone);
        }
        self.outbox.retry_soon();
    }

    /// Accepts nothing more, and reports `Event::Drained` when everything accepted was taken by its
    /// receivers, or when the time is over.
    pub fn drain(&mut self, now: Instant, within: Duration) {
        self.advance(now);
        self.draining = true;
        self.winding_down = true;
        self.timers.set(Timer::Drain, self.now.checked_add(within));
    }

    pub(super) fn drain_due(&mut self) {
        if core::mem::take(&mut self.draining) {
            self.emit(Event::Drained { clean: false });
        }
    }

    pub(super) fn check_drained(&mut self) {
        if !self.draining {
            return;
        }
        if self.is_settled() {
            self.draining = false;
            self.timers.set(Timer::Drain, None);
            self.emit(Event::Drained { clean: true });
        }
    }

    /// Whether nothing waits for a receiver, an acknowledgement or an outcome.
    pub fn is_settled(&self) -> bool {
        self.outbox.is_empty()
            && self.requests.is_empty()
            && self.talks.values().all(|talk| talk.out.is_settled())
    }

    /// Whether nothing of this node's is under way with one instance: no message that it has not
    /// taken, and no request without its outcome, in either direction.
    pub fn is_settled_with(&self, instance: InstanceId) -> bool {
        let talk = self.talks.get(instance);
        let ours = talk.is_none_or(|talk| talk.pending == 0 && talk.out.is_settled());
        ours && !self.serving.serves(instance)
    }

    /// The messages and requests that are not known to be taken.
    pub fn undelivered(&self) -> Vec<MessageId> {
        let talks = self.talks.values();
        let mut ids: Vec<MessageId> = talks
            .flat_map(|talk| talk.out.unsettled())
            .chain(self.outbox.ids())
            .chain(self.requests.ids().map(|request| MessageId(request.0)))
            .filter(|id| id.0 != 0)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Ends the node in good order: peers are told, requests end, nothing is accepted any more.
    /// Who wants everything delivered drains before.
    pub fn close(&mut self, now: Instant) {
        self.advance(now);
        if core::mem::replace(&mut self.closed, true) {
            return;
        }
        self.timers.set(Timer::Dial, None);
        while let Some(parked) = self.outbox.pop_any() {
            let Parked { id, message, how } = parked;
            self.end_uncommitted(id, message, how, Refusal::Closed);
        }
        let links: Vec<LinkId> = self.links.ids();
        for link in links {
            self.close_link(link, CloseCode::Normal, "closed");
        }
        for instance in self.talks.keys().collect::<Vec<_>>() {
            self.requester_gone(instance);
            if let Some(talk) = self.talks.remove(instance) {
                self.end_talk(instance, talk, UnknownCause::Closed);
            }
        }
        while let Some(parked) = self.outbox.pop_any() {
            let Parked { id, message, how } = parked;
            self.end_uncommitted(id, message, how, Refusal::Closed);
        }
    }
}
