//! Events that are over before a link has them.

use super::outbox::Parked;
use super::{Node, Timer};
use crate::id::InstanceId;
use crate::wire::Refusal;

impl<F> Node<F> {
    /// Lets a message wait for its target; `first` before those that were accepted later.
    pub(super) fn park(&mut self, parked: Parked<F>, first: bool) {
        let expires = parked.expiry().is_some();
        self.outbox.park(parked, first);
        if expires {
            self.timers.set(Timer::Parked, self.outbox.first_expiry());
        }
    }

    /// Sees to it that an event in a conversation is given up in time. One timer for each
    /// conversation: nothing is left of an event that has gone.
    pub(super) fn arm_expiry(&mut self, instance: InstanceId) {
        let talk = self.talks.get(instance);
        let first = talk.and_then(|talk| talk.out.first_expiry());
        self.timers.set(Timer::Expiry(instance), first);
    }

    /// Some events in a conversation may be over. One that was committed is on its way, or was
    /// taken: that is not for its time to say.
    pub(super) fn expiry_due(&mut self, instance: InstanceId) {
        let now = self.now;
        while let Some(id) = self.with_out(instance, |out, _| out.expired(now)).flatten() {
            self.withdraw_from(instance, id, Refusal::Expired);
        }
        self.arm_expiry(instance);
        self.tell_sendable(instance);
        self.touch(instance);
    }

    /// Some events that wait for their target may be over.
    pub(super) fn parked_due(&mut self) {
        while let Some(Parked { id, message, how }) = self.outbox.take_expired(self.now) {
            self.end_uncommitted(id, message, how, Refusal::Expired);
        }
        self.timers.set(Timer::Parked, self.outbox.first_expiry());
    }
}
