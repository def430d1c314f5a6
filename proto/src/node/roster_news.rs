//! What the hub says of who is there, and what follows from it for conversations.

use super::Node;
use crate::group::RosterChange;
use crate::id::{Generation, InstanceId, PeerId};
use crate::output::Event;
use crate::wire::RosterUpdate;

impl<F> Node<F> {
    pub(super) fn apply_roster(&mut self, update: &RosterUpdate) {
        let changes = self.roster.apply(update);
        let changed = !changes.is_empty();
        for change in changes {
            self.on_roster_change(change);
        }
        if changed && self.relay.roster().is_some() {
            // Who is new may send to those behind this node, and they to him.
            self.rebound();
        }
        self.retell_completeness();
        self.outbox.retry_soon();
    }

    pub(super) fn on_roster_change(&mut self, change: RosterChange) {
        self.books.ledger.set_peers(self.roster.len());
        if self.hub.is_none() {
            self.retell(&change);
        }
        match change {
            RosterChange::Attached { instance, .. } => {
                self.limits_known(instance);
                self.rebind_name(instance);
                self.path_begins(instance);
            }
            RosterChange::Detached { instance } => {
                self.limits_known(instance);
                self.path_ends(instance);
                if let Some(peer) = self.roster.by_instance(instance) {
                    let (id, generation) = (peer.id, peer.generation);
                    self.emit(Event::PeerDetached { id, generation });
                }
            }
            RosterChange::Up { instance } => {
                if let Some(peer) = self.roster.by_instance(instance) {
                    let (id, generation) = (peer.id, peer.generation);
                    self.emit(Event::PeerUp { id, generation });
                }
            }
            RosterChange::Identified {
                instance,
                was,
                announced,
            } => self.on_identified(instance, was, announced),
            RosterChange::Changed { instance } => self.limits_known(instance),
            RosterChange::Gone { peer, known } => {
                self.uplink.forget_hub(peer.instance);
                if self.hub.is_none() {
                    self.child_gone(peer.instance);
                }
                self.instance_gone(peer.instance);
                if known {
                    self.emit(Event::PeerGone {
                        id: peer.id,
                        generation: peer.generation,
                    });
                }
            }
            RosterChange::Resurrected { instance } => self.say_gone(instance),
            RosterChange::Completed => self.emit(Event::RosterComplete),
        }
    }

    /// A new hub has raised the generation of an instance above one spent before, or given it
    /// another id.
    fn on_identified(&mut self, instance: InstanceId, was: (PeerId, Generation), announced: bool) {
        let Some(peer) = self.roster.by_instance(instance) else {
            return;
        };
        let (id, generation) = (peer.id, peer.generation);
        if instance != self.me.instance {
            if announced {
                self.emit(Event::PeerChanged {
                    id,
                    generation,
                    was,
                });
            }
        } else if self.me.identity.replace((id, generation)) != Some((id, generation)) {
            self.emit(Event::Connected {
                id,
                generation,
                id_changed: id != was.0,
            });
        }
    }
}
