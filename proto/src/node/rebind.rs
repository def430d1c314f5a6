//! A name that passes from one instance to the next takes along what still waits for it.

use alloc::vec::Vec;

use super::Node;
use super::outbox::Parked;
use crate::id::{InstanceId, MessageId};
use crate::message::Target;
use crate::talk::GivenUp;
use crate::wire::{Kind, flow};

impl<F> Node<F> {
    /// An instance is there under a name. What is meant for the name and waits, uncommitted, in a
    /// conversation with an earlier holder goes to the new one, before anything that is sent to the
    /// name from now on: else a message that was accepted later would come first.
    pub(super) fn rebind_name(&mut self, instance: InstanceId) {
        let peer = self.roster.by_instance(instance);
        let Some(name) = peer.and_then(|peer| peer.name.clone()) else {
            return;
        };
        if self.roster.by_name(&name).map(|peer| peer.instance) != Some(instance) {
            return;
        }
        let target = Target::Named(name);
        let mut waiting: Vec<(MessageId, InstanceId)> = Vec::new();
        for (holder, talk) in self.talks.iter() {
            if holder != instance {
                let ids = talk.out.waiting_for(&target);
                waiting.extend(ids.map(|id| (id, holder)));
            }
        }
        // Ids rise in the order of acceptance; the last of them is put back first.
        waiting.sort_unstable();
        for (id, holder) in waiting.into_iter().rev() {
            self.park_again(holder, id);
        }
    }

    fn park_again(&mut self, holder: InstanceId, id: MessageId) {
        let given_up = self.with_out(holder, |out, pool| out.give_up(id, pool));
        let Some(GivenUp::NeverCommitted(draft)) = given_up else {
            return;
        };
        if draft.kind() == Kind::REQUEST {
            self.close_reply(holder, flow::reply_flow(id.0));
            self.requests.bind(id, None);
            if let Some(talk) = self.talks.get_mut(holder) {
                talk.pending -= 1;
            }
        }
        if let Some((id, message, how)) = self.decode(*draft) {
            self.park(Parked { id, message, how }, true);
        }
        self.tell_sendable(holder);
        self.touch(holder);
    }
}
