//! Events to many: one message for each receiver.

use alloc::vec::Vec;

use super::Node;
use super::outbox::{How, Parked};
use super::resolve::Way;
use crate::group::Peer;
use crate::id::{InstanceId, MessageId};
use crate::message::{Audience, Fate, Message, SendError, SendRefusal, Target};
use crate::output::Event;

impl<F> Node<F> {
    /// Whether the roster says who is there.
    pub(super) fn knows_peers(&self) -> bool {
        self.is_connected() && self.roster.peers().next().is_some()
    }

    /// One message for each receiver. Those whose buffer is full go without, which is told.
    pub(super) fn send_to_many(
        &mut self,
        message: Message<F>,
        how: How,
    ) -> Result<MessageId, SendError<F>> {
        if let Err(reason) = self.check(&message) {
            return self.refuse(reason, message);
        }
        if !message.attachments.is_empty() {
            return self.refuse(SendRefusal::AttachmentsToMany, message);
        }
        if self.outbox.must_retry() {
            self.retry_parked();
        }
        let waits = !self.knows_peers();
        if waits && let Err(reason) = self.check_parking(&message) {
            self.refused_for_now(None, &message, &reason);
            return self.refuse(reason, message);
        }
        let id = self.admit(how);
        match waits {
            true => self.park(Parked { id, message, how }, false),
            false => self.fan_out(id, &message, how),
        }
        Ok(id)
    }

    pub(super) fn fan_out(&mut self, id: MessageId, message: &Message<F>, how: How) {
        let single = Audience {
            targets: Vec::from([message.target.clone()]),
            ..Audience::default()
        };
        let audience = match &message.target {
            Target::Many(audience) => audience,
            _ => &single,
        };
        for instance in self.receivers(audience, message) {
            let peer = self.roster.by_instance(instance).map(|peer| peer.id);
            let target = peer.map_or_else(|| Target::Hub, Target::Peer);
            let copy = copy_of(message, target);
            match self.check_room(instance, &copy, how) {
                Ok(()) => self.bind(instance, id, copy, how),
                Err(reason) => self.refuse_copy(Some(instance), id, copy, reason),
            }
        }
        for target in &audience.targets {
            let alone = !matches!(target, Target::Everyone | Target::Listeners);
            if alone && !matches!(target, Target::Many(_) | Target::Any) {
                self.fan_out_absent(id, copy_of(message, target.clone()), how);
            }
        }
    }

    /// Everybody there whom an audience means, each once, in the order of ids.
    pub(super) fn receivers(&self, audience: &Audience, message: &Message<F>) -> Vec<InstanceId> {
        let namespace = self.inbox.name(message.namespace).unwrap_or_default();
        let own = self.me.instance;
        let hub = self.hub_instance();
        let meant = |target: &Target, peer: &Peer| {
            let other = audience.include_self || peer.instance != own;
            match target {
                Target::Everyone => other,
                Target::Listeners => other && peer.listens(namespace, &message.event),
                Target::Hub | Target::Parent => hub == Some(peer.instance),
                Target::Peer(id) => {
                    let latest = self.roster.by_id(*id);
                    latest.is_some_and(|latest| latest.instance == peer.instance)
                }
                Target::Exact(id, generation) => (peer.id, peer.generation) == (*id, *generation),
                Target::Named(name) => peer.name.as_ref() == Some(name),
                Target::NamedExact(name, generation) => {
                    peer.name.as_ref() == Some(name) && peer.generation == *generation
                }
                Target::Any | Target::Many(_) => false,
            }
        };
        self.roster
            .peers()
            .filter(|peer| !audience.except.contains(&peer.id))
            .filter(|peer| audience.targets.iter().any(|target| meant(target, peer)))
            .map(|peer| peer.instance)
            .collect()
    }

    /// The copy for a peer of an audience that is not there now: it waits, or it is refused.
    pub(super) fn fan_out_absent(&mut self, id: MessageId, copy: Message<F>, how: How) {
        match self.resolve(&copy, how) {
            Way::To(_) | Way::Later(_) => {}
            Way::Wait => match self.check_parking(&copy) {
                Ok(()) => {
                    let parked = Parked {
                        id,
                        message: copy,
                        how,
                    };
                    self.park(parked, false);
                }
                Err(reason) => self.refuse_copy(None, id, copy, reason),
            },
            Way::Refuse(reason) => {
                let parked = Parked {
                    id,
                    message: copy,
                    how,
                };
                self.refuse_parked(parked, reason);
            }
        }
    }

    /// One receiver goes without. The event is the others' all the same, so the refusal cannot be
    /// that of the event: it is a fate.
    fn refuse_copy(
        &mut self,
        instance: Option<InstanceId>,
        id: MessageId,
        copy: Message<F>,
        reason: SendRefusal,
    ) {
        self.stats.fanout_refused += 1;
        self.refused_for_now(instance, &copy, &reason);
        let to = copy.target;
        let fate = Fate::NotAccepted { to, reason };
        self.emit(Event::Fate { message: id, fate });
    }
}

pub(super) fn is_for_many(target: &Target) -> bool {
    matches!(
        target,
        Target::Everyone | Target::Listeners | Target::Many(_)
    )
}

/// The same message for another target. One for many has no attachments.
fn copy_of<F>(message: &Message<F>, target: Target) -> Message<F> {
    Message {
        target,
        namespace: message.namespace,
        event: message.event.clone(),
        codec: message.codec,
        payload: message.payload.clone(),
        attachments: Vec::new(),
    }
}
