//! A conversation in which one of both has broken the rules.

use super::Node;
use super::hub_side::Parting;
use crate::id::InstanceId;
use crate::link::bonds::Bond;
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
        self.break_off(instance, rule);
        self.talk(instance).accuses = true;
        self.touch_later(instance);
        self.expel(instance, code, rule);
    }

    /// The remote says that this node broke a rule, and has ended the conversation: it answers
    /// nothing any more.
    pub(super) fn accused(&mut self, instance: InstanceId) {
        self.break_off(
            instance,
            "none that this node knows of: it says that this node broke one",
        );
    }

    fn break_off(&mut self, instance: InstanceId, rule: &'static str) {
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
    }

    /// Whether the conversation with the instance has ended for a broken rule.
    pub(super) fn is_broken(&self, instance: InstanceId) -> bool {
        self.talks.get(instance).is_some_and(|talk| talk.broken)
    }

    /// Whoever attaches through this node is thrown out of the application: the offender is told,
    /// and all others that its instance is gone, so that none of them waits for it. A link that
    /// others share stays. Of others only this node's own conversation ends.
    pub(super) fn expel(&mut self, instance: InstanceId, code: CloseCode, rule: &'static str) {
        let Some(link) = self.routes.get(&instance).copied() else {
            return;
        };
        let bond = self.bond(link, instance);
        // First, as the end of a network link alone would leave it to come back.
        if self.hub.is_some() {
            self.lose_member(instance, Parting::Ended);
            self.hub_changed();
        } else {
            self.lose_child(instance, true);
        }
        if bond == Some(Bond::Own) {
            self.close_link(link, code, rule);
        }
    }
}
