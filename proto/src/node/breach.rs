//! A remote instance that breaks the rules of its conversation with this node.

use super::Node;
use super::hub_side::Parting;
use crate::id::InstanceId;
use crate::message::UnknownCause;
use crate::output::Event;
use crate::wire::CloseCode;

impl<F> Node<F> {
    /// The remote broke a rule. What it says of what it holds, took or ran cannot be believed any
    /// more, so the conversation ends here and now: nobody waits for an outcome that cannot come.
    /// What it has sent in good order before stays for the application.
    pub(super) fn breach(&mut self, instance: InstanceId, code: CloseCode, rule: &'static str) {
        if self.is_broken(instance) {
            return;
        }
        self.emit(Event::PeerFault { instance, rule });
        self.requester_gone(instance);
        self.forget_timers(instance);
        if let Some(talk) = self.talks.remove(instance) {
            self.end_talk(instance, talk, UnknownCause::PeerFault);
        }
        self.bound_departed(instance);
        self.talk(instance).broken = true;
        self.credit_is_free();
        self.outbox.retry_soon();
        self.expel(instance, code, rule);
    }

    /// Whether the instance has broken the rules of its conversation with this node.
    pub(super) fn is_broken(&self, instance: InstanceId) -> bool {
        self.talks.get(instance).is_some_and(|talk| talk.broken)
    }

    /// A hub has more than its own conversation to end: it tells the offender, and all others that
    /// this instance is gone, so that none of them waits for it. A link that others share stays.
    fn expel(&mut self, instance: InstanceId, code: CloseCode, rule: &'static str) {
        if self.hub.is_none() {
            return;
        }
        let link = self.routes.get(&instance).copied();
        let alone = link.filter(|id| {
            let link = self.links.get(*id);
            link.is_some_and(|link| link.instances.len() == 1)
        });
        if let Some(id) = alone {
            self.close_link(id, code, rule);
        }
        self.lose_member(instance, Parting::Ended);
        self.hub_changed();
    }
}
