//! Messages that wait for their target, when something has changed.

use super::Node;
use super::fan_out::is_for_many;
use super::outbox::Parked;
use super::resolve::Way;
use super::room::{is_passing, is_total};
use crate::id::InstanceId;
use crate::message::{SendRefusal, Target};
use crate::output::Event;
use crate::wire::Refusal;

impl<F> Node<F> {
    /// Tries messages again whose target may have come, in the order in which they were accepted:
    /// two targets may mean the same peer.
    pub(super) fn retry_parked(&mut self) {
        self.outbox.retrying();
        let mut fronts = self.outbox.fronts();
        while let Some((_, target)) = fronts.pop_first() {
            if self.retry_front(&target)
                && let Some(next) = self.outbox.front(&target)
            {
                fronts.insert((next, target));
            }
        }
        self.outbox.retried();
        for target in self.outbox.sendable(self.config.send_buffer / 2) {
            self.emit(Event::Sendable(target));
        }
    }

    /// Tries the message that waits longest for a target. `false` if it goes on waiting.
    fn retry_front(&mut self, target: &Target) -> bool {
        let Some(parked) = self.outbox.pop(target) else {
            return false;
        };
        if is_for_many(target) {
            if self.knows_peers() {
                self.fan_out(parked.id, &parked.message, parked.how);
                return true;
            }
            self.park(parked, true);
            return false;
        }
        match self.resolve(&parked.message, parked.how) {
            Way::To(instance) if !self.outbox.holds_back(instance) => {
                self.retry_at(instance, parked)
            }
            Way::To(instance) | Way::Later(instance) => {
                self.outbox.hold_back(instance, false);
                self.park(parked, true);
                false
            }
            Way::Wait => {
                self.park(parked, true);
                false
            }
            Way::Refuse(reason) => {
                self.refuse_parked(parked, reason);
                true
            }
        }
    }

    fn retry_at(&mut self, instance: InstanceId, parked: Parked<F>) -> bool {
        match self.check_room(instance, &parked.message, parked.how) {
            Ok(()) => {
                self.bind(instance, parked.id, parked.message, parked.how);
                true
            }
            Err(reason) if is_passing(&reason, parked.message.attachments.len()) => {
                self.outbox.hold_back(instance, is_total(&reason));
                self.park(parked, true);
                false
            }
            Err(reason) => {
                self.refuse_parked(parked, reason);
                true
            }
        }
    }

    pub(super) fn refuse_parked(&mut self, parked: Parked<F>, reason: SendRefusal) {
        let reason = match reason {
            SendRefusal::NoHandler => Refusal::NoHandler,
            SendRefusal::AttachmentsUnsupported => Refusal::AttachmentsUnsupported,
            SendRefusal::AttachmentsNotReady => Refusal::NotReady,
            SendRefusal::NoSuchPeer => Refusal::NoSuchPeer,
            SendRefusal::PeerFault => Refusal::PeerFault,
            _ => Refusal::Full,
        };
        self.end_uncommitted(parked.id, parked.message, parked.how, reason);
    }
}
