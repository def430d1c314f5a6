//! Which instance a message is for, as far as this node can know.

use super::Node;
use super::outbox::How;
use crate::id::InstanceId;
use crate::message::{Message, SendRefusal, Target};

/// Where a message can go now.
pub(super) enum Way {
    To(InstanceId),
    /// It is for this one, and has to wait for earlier outcomes or behind earlier messages.
    Later(InstanceId),
    Wait,
    Refuse(SendRefusal),
}

impl<F> Node<F> {
    pub(super) fn resolve(&self, message: &Message<F>, how: How) -> Way {
        match self.resolve_target(message, how) {
            // Whether the next link to the hub carries attachments is not known before it is there.
            Way::To(instance)
                if !message.attachments.is_empty()
                    && instance != self.me.instance
                    && !self.is_connected() =>
            {
                Way::Wait
            }
            way => way,
        }
    }

    pub(super) fn resolve_target(&self, message: &Message<F>, how: How) -> Way {
        let known = match &message.target {
            Target::Any => return self.resolve_any(message, how),
            Target::Hub | Target::Parent => {
                let instance = match message.target {
                    Target::Hub => self.hub_instance(),
                    _ => self.parent_instance(),
                };
                return instance.map_or(Way::Wait, |instance| self.reserve_way(instance, how));
            }
            Target::Peer(id) => self.roster.by_id(*id),
            Target::Exact(id, generation) => {
                let peer = self.roster.by_id(*id);
                peer.filter(|peer| peer.generation == *generation)
            }
            Target::Named(name) => match self.roster.by_name(name) {
                Some(peer) => Some(peer),
                None => return Way::Wait,
            },
            Target::NamedExact(name, generation) => {
                let peer = self.roster.by_name(name);
                peer.filter(|peer| peer.generation == *generation)
            }
            Target::Everyone | Target::Listeners | Target::Many(_) => None,
        };
        match known {
            Some(peer) => self.reserve_way(peer.instance, how),
            None if self.roster.is_complete() => Way::Refuse(SendRefusal::NoSuchPeer),
            None => Way::Wait,
        }
    }

    pub(super) fn resolve_any(&self, message: &Message<F>, how: How) -> Way {
        let namespace = self.inbox.name(message.namespace).unwrap_or_default();
        let best = self
            .roster
            .with_handler(namespace, &message.event)
            .filter(|peer| !self.is_broken(peer.instance))
            .map(|peer| {
                let pending = self.talks.get(peer.instance).map_or(0, |talk| talk.pending);
                (pending, peer.id, peer.instance)
            })
            .min();
        if let Some((_, _, instance)) = best {
            return self.reserve_way(instance, how);
        }
        match self.roster.is_without_handler(namespace, &message.event) {
            true => Way::Refuse(SendRefusal::NoHandler),
            false => Way::Wait,
        }
    }

    /// A request beyond the reserve for replies waits for earlier outcomes.
    pub(super) fn reserve_way(&self, instance: InstanceId, how: How) -> Way {
        let credit = u64::from(self.config.reply_credit);
        let full = self.requests.reserved + credit > self.config.reply_reserve;
        match how.request && full {
            true => Way::Later(instance),
            false => Way::To(instance),
        }
    }
}
