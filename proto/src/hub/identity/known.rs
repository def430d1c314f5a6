//! What members know from earlier hubs, and what of it a hub believes.
//!
//! A hub leaves nothing behind: the next one learns from its members whom they hold for living and
//! for gone. Only what happened under an earlier hub can be news to this one. So it listens only to
//! members that have been attached elsewhere before, and lets them end only an instance of which
//! the same is true: whoever has never had another hub dies by nobody's word.

use alloc::collections::{BTreeMap, BTreeSet};

use super::outcome::{GoneCause, IdentityEffect, Refusal};
use super::{IdentityTable, MAX_DECLARED_GENERATION, MAX_ID};
use crate::id::{Generation, InstanceId, PeerId};
use crate::time::Instant;
use crate::wire::{Known, KnownPeer, RosterGone};

/// Instances that members hold for living and that have not come to this hub yet.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    instances: BTreeMap<InstanceId, (PeerId, Generation, Instant)>,
    /// By the end of the time that they have.
    order: BTreeSet<(Instant, InstanceId)>,
    ids: BTreeSet<(PeerId, InstanceId)>,
}

impl Awaited {
    pub(super) fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.order.first().map(|(until, _)| *until)
    }

    /// Whether an instance with this id may still come.
    pub(super) fn has_id(&self, id: PeerId) -> bool {
        let first = (id, InstanceId::NONE);
        let last = (id, InstanceId(u64::MAX));
        self.ids.range(first..=last).next().is_some()
    }

    /// The next one whose time is over.
    pub(super) fn expired(&mut self, now: Instant) -> Option<RosterGone> {
        let instance = self.order.first().filter(|(until, _)| *until <= now)?.1;
        self.remove(instance)
    }

    pub(super) fn remove(&mut self, instance: InstanceId) -> Option<RosterGone> {
        let (id, generation, until) = self.instances.remove(&instance)?;
        self.order.remove(&(until, instance));
        self.ids.remove(&(id, instance));
        Some(RosterGone {
            id,
            generation,
            instance,
        })
    }

    /// Nobody could come for a while: all have until then.
    pub(super) fn put_off(&mut self, until: Instant) {
        self.order.clear();
        for (instance, (_, _, at)) in &mut self.instances {
            *at = until.max(*at);
            self.order.insert((*at, *instance));
        }
    }

    /// Who is awaited already keeps its time, so that a word repeated for ever delays nothing.
    fn insert(&mut self, peer: &KnownPeer, until: Instant) {
        if self.instances.contains_key(&peer.instance) {
            return;
        }
        let KnownPeer {
            id,
            generation,
            instance,
            ..
        } = *peer;
        self.instances.insert(instance, (id, generation, until));
        self.order.insert((until, instance));
        self.ids.insert((id, instance));
    }
}

impl IdentityTable {
    /// An attached instance says more of what it knows; `more` if it has not said all yet.
    ///
    /// Who holds the hub itself for gone has closed all it had with it, and the hub cannot end for
    /// that: it is the sayer that is gone, and comes back as a new instance.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`] if no honest member can know this.
    pub(crate) fn known(
        &mut self,
        now: Instant,
        by: InstanceId,
        known: &Known,
        more: bool,
    ) -> Result<(), Refusal> {
        let Some(holder) = self.living.get(&by) else {
            return Ok(());
        };
        let elder = holder.elder;
        if !is_honest(known, by) {
            return Err(Refusal::Invalid);
        }
        if known.gone_instances.contains(&self.hub) {
            self.end(now, by, GoneCause::Declared);
            return Ok(());
        }
        if elder {
            self.learn(now, known);
        }
        if !more {
            self.speaking.remove(&by);
        }
        Ok(())
    }

    /// Believes a member of an earlier hub.
    pub(super) fn learn(&mut self, now: Instant, known: &Known) {
        for &instance in &known.gone_instances {
            self.declared_gone(now, instance);
        }
        let gone = known.gone.iter().map(|(id, g)| (*id, *g, None));
        let living = known.living.iter();
        let living = living.map(|peer| (peer.id, peer.generation, Some(peer.instance)));
        // All of it first, so that nobody moves to a generation of which the rest of this tells.
        for (id, generation, by) in gone.chain(living) {
            self.ids.entry(id).or_default().spend(generation, by);
        }
        for &(id, generation) in &known.gone {
            self.fences.learn(id, generation);
            self.lift(id);
        }
        for peer in &known.living {
            self.lift(peer.id);
            self.held_for_living(now, peer);
        }
    }

    fn declared_gone(&mut self, now: Instant, instance: InstanceId) {
        if let Some(peer) = self.awaited.remove(instance) {
            return self.never_came(peer, GoneCause::Declared);
        }
        match self.living.get(&instance) {
            Some(holder) if holder.elder => {
                self.end(now, instance, GoneCause::Declared);
            }
            // It has never had a hub but this one, which would know.
            Some(_) => {}
            None => {
                self.fences.insert(instance, None);
            }
        }
    }

    fn held_for_living(&mut self, now: Instant, peer: &KnownPeer) {
        let here = self.living.contains_key(&peer.instance);
        if here || peer.instance == self.hub || self.fences.contains(peer.instance) {
            return;
        }
        if self.living.len() + self.awaited.instances.len() < self.config.peers {
            self.awaited.insert(peer, now + self.config.return_grace);
        }
        if let Some(name) = &peer.name {
            self.bind(now, peer.id, name);
        }
    }

    /// Binds a name that an earlier hub gave to an id, so that it comes back to its id whether it is
    /// the awaited process that brings it or the next of that name. What is bound here stands.
    fn bind(&mut self, now: Instant, id: PeerId, name: &crate::id::PeerName) {
        let until = now + self.config.name_binding;
        let slot = self.ids.entry(id).or_default();
        if slot.holder.is_some() || slot.name.is_some() || self.names.contains_key(name) {
            return;
        }
        slot.name = Some(name.clone());
        slot.bound_until = Some(until);
        self.names.insert(name.clone(), id);
        self.bindings.insert((until, id));
        self.bound_bindings();
    }

    /// Whoever has the id goes by a generation that is above all that were ever given to others, so
    /// that no two processes answer to the same.
    pub(super) fn lift(&mut self, id: PeerId) {
        let slot = self.ids.entry(id).or_default();
        let Some(instance) = slot.holder else {
            return;
        };
        let Some(holder) = self.living.get_mut(&instance) else {
            return;
        };
        // An earlier hub may have lifted it already, which it did not hear.
        let generation = match slot.top_is == Some(instance) {
            true => Some(slot.top),
            false => slot.next_generation(),
        };
        let Some(generation) = generation.filter(|g| *g != holder.generation) else {
            return;
        };
        slot.spend(generation, Some(instance));
        holder.generation = generation;
        self.effects.push_back(IdentityEffect::Raised {
            instance,
            id,
            generation,
        });
    }

    /// An instance that was awaited is gone.
    pub(super) fn never_came(&mut self, peer: RosterGone, cause: GoneCause) {
        self.fences
            .insert(peer.instance, Some((peer.id, peer.generation)));
        self.effects.push_back(IdentityEffect::Gone { peer, cause });
    }
}

/// Whether an honest instance can know this.
pub(super) fn is_honest(known: &Known, by: InstanceId) -> bool {
    let living = known.living.iter();
    living
        .map(|peer| (peer.id, peer.generation))
        .chain(known.gone.iter().copied())
        .all(is_given)
        && !known.gone_instances.contains(&by)
}

/// Whether a hub gives out such an identity.
pub(super) fn is_given((id, generation): (PeerId, Generation)) -> bool {
    (PeerId(1)..=MAX_ID).contains(&id)
        && (Generation(1)..=MAX_DECLARED_GENERATION).contains(&generation)
}
