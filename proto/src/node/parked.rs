//! Messages that wait for their target, when something has changed.

use super::Node;
use super::fan_out::is_for_many;
use super::outbox::Parked;
use super::resolve::Way;
use crate::message::SendRefusal;
use crate::output::Event;
use crate::wire::Refusal;

impl<F> Node<F> {
    /// Tries messages again whose target may have come.
    pub(super) fn retry_parked(&mut self) {
        self.outbox.retried();
        for target in self.outbox.targets() {
            while let Some(parked) = self.outbox.pop(&target) {
                if is_for_many(&target) {
                    if self.knows_peers() {
                        self.fan_out(parked.id, &parked.message, parked.how);
                        continue;
                    }
                    self.outbox.park_first(parked);
                    break;
                }
                match self.resolve(&parked.message, parked.how) {
                    Way::Wait => {
                        self.outbox.park_first(parked);
                        break;
                    }
                    Way::Refuse(reason) => self.refuse_parked(parked, reason),
                    Way::To(instance) => {
                        match self.check_room(instance, &parked.message, parked.how) {
                            Ok(()) => {
                                self.bind(instance, parked.id, parked.message, parked.how);
                            }
                            Err(SendRefusal::Full { .. }) => {
                                self.outbox.park_first(parked);
                                break;
                            }
                            Err(reason) => self.refuse_parked(parked, reason),
                        }
                    }
                }
            }
        }
        self.outbox.retried();
        for target in self.outbox.sendable(self.config.send_buffer / 2) {
            self.emit(Event::Sendable(target));
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
