//! Who is who: which instance has which id, generation and name.
//!
//! The rules, in one place. An id is given to one living instance, a pair of id and generation
//! once, and a generation is above every one of that id ever heard of. A name has one binding and
//! outlives its holder by [`IdentityConfig::name_binding`]. Living means attached or detached: only
//! a death frees what an instance has. Gone is final.

mod outcome;
#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::time::Duration;

use crate::group::fences::{Fences, REMEMBERED};
use crate::id::{Generation, InstanceId, PeerId, PeerName};
use crate::time::Instant;
use crate::wire::{Attach, RosterGone};

pub(crate) use self::outcome::{Assignment, GoneCause, IdentityEffect, Loss, Refusal};

/// The highest id that a hub gives out or believes. Ids are given lowest first, so an honest one
/// stays near the number of peers; what lies above would only fill the memory of fences.
const MAX_ID: PeerId = PeerId(65_535);
/// The highest generation that a hub believes. So many restarts lie above it that counting on from
/// there cannot overflow.
const MAX_DECLARED_GENERATION: Generation = Generation(u32::MAX / 2);

/// The numbers by which identities are given. Plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdentityConfig {
    /// How long a name stays bound to its id after its holder's death; 10 min. Long enough for a
    /// supervisor that backs off, short enough that abandoned names do not hold ids for ever.
    pub(crate) name_binding: Duration,
    /// How many names of the dead stay bound; 4,096. Above it the one nearest to its end is freed,
    /// so that processes with ever new names do not use up the ids.
    pub(crate) bindings: usize,
    /// How long a new hub waits for members of an earlier one before it says that the roster is
    /// complete; 2 s. Zero where there can be none: a parent with the links of its own children.
    pub(crate) completion_grace: Duration,
    /// How many instances may be attached or detached at once, the hub included; 4,096.
    pub(crate) peers: usize,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            name_binding: Duration::from_secs(600),
            bindings: 4096,
            completion_grace: Duration::from_secs(2),
            peers: 4096,
        }
    }
}

/// What is known of an id, for ever.
#[derive(Debug, Default)]
struct Slot {
    /// The highest generation ever given or heard of.
    top: Generation,
    /// The instance that has it, while it lives.
    holder: Option<InstanceId>,
    /// The name that is bound to it.
    name: Option<PeerName>,
    /// When the name is freed, once its holder is gone.
    bound_until: Option<Instant>,
}

/// An instance that lives.
#[derive(Debug)]
struct Holder {
    id: PeerId,
    generation: Generation,
    counter: u64,
    local: bool,
    handover: bool,
    /// Detached, and gone at this time; `None` while attached.
    detached_until: Option<Instant>,
}

/// The hub's table of identities.
#[derive(Debug)]
pub(crate) struct IdentityTable {
    config: IdentityConfig,
    hub: InstanceId,
    ids: BTreeMap<PeerId, Slot>,
    names: BTreeMap<PeerName, PeerId>,
    living: BTreeMap<InstanceId, Holder>,
    fences: Fences,
    /// Detached instances, by the end of their grace.
    graces: BTreeSet<(Instant, InstanceId)>,
    /// Ids whose name outlives its holder, by the end of that.
    bindings: BTreeSet<(Instant, PeerId)>,
    /// When the roster is complete; `None` from then on.
    complete_at: Option<Instant>,
    effects: VecDeque<IdentityEffect>,
}

impl IdentityTable {
    /// A table founded by the hub itself, which takes id 1.
    pub(crate) fn found(
        now: Instant,
        config: IdentityConfig,
        hub: InstanceId,
        name: Option<PeerName>,
    ) -> Self {
        let waits = !config.completion_grace.is_zero();
        let mut table = Self {
            config,
            hub,
            ids: BTreeMap::new(),
            names: BTreeMap::new(),
            living: BTreeMap::new(),
            fences: Fences::new(REMEMBERED),
            graces: BTreeSet::new(),
            bindings: BTreeSet::new(),
            complete_at: waits.then(|| now + config.completion_grace),
            effects: VecDeque::new(),
        };
        let holder = Holder {
            id: PeerId(1),
            generation: Generation(1),
            counter: 0,
            local: true,
            handover: false,
            detached_until: None,
        };
        table.hold(hub, name, holder);
        table
    }

    /// Attaches an instance over a `local` link (unix, socketpair, pipe) or over the network.
    ///
    /// # Errors
    ///
    /// The reason for which it is not attached. Nothing has changed then but what others are owed
    /// ([`Self::poll`]).
    pub(crate) fn attach(
        &mut self,
        now: Instant,
        attach: &Attach,
        local: bool,
    ) -> Result<Assignment, Refusal> {
        self.admit(now, attach)?;
        self.declare_gone(now, attach.instance, &attach.gone_instances);
        self.learn_gone(attach);
        let replaced = self.contest_name(attach)?;
        let resumed = self
            .living
            .get(&attach.instance)
            .map(|h| (h.id, h.generation));
        let others = self.living.len() - usize::from(replaced.is_some());
        if resumed.is_none() && others >= self.config.peers {
            return Err(Refusal::TooManyPeers);
        }
        if let Some(former) = replaced {
            self.end(now, former, GoneCause::Replaced);
        }
        let (id, generation) = resumed
            .or_else(|| self.choose(attach))
            .ok_or(Refusal::TooManyPeers)?;
        let holder = Holder {
            id,
            generation,
            counter: attach.counter,
            local,
            handover: attach.handover,
            detached_until: None,
        };
        self.hold(attach.instance, attach.name.clone(), holder);
        if let Some((claimed, generation)) = attach.identity {
            // What a living process has answered to never names another.
            let slot = self.ids.entry(claimed).or_default();
            slot.top = slot.top.max(generation);
            let holder = slot.holder.filter(|holder| *holder != attach.instance);
            if holder.and_then(|holder| self.identity(holder)) == Some((claimed, generation)) {
                self.raise_above(claimed, generation);
            }
        }
        Ok(Assignment {
            id,
            generation,
            name: self.ids.get(&id).and_then(|slot| slot.name.clone()),
            id_changed: attach.identity.is_some_and(|(claimed, _)| claimed != id),
            resumed: resumed.is_some(),
            replaced,
        })
    }

    /// The link of an instance ended without a word of its own. `grace` is how long it may take to
    /// come back over the network; over a local link the end is its death.
    pub(crate) fn detached(&mut self, now: Instant, instance: InstanceId, grace: Duration) -> Loss {
        let hub = self.hub;
        let Some(holder) = self.living.get_mut(&instance).filter(|_| instance != hub) else {
            return Loss::Unknown;
        };
        if holder.local || grace.is_zero() {
            self.end(now, instance, GoneCause::Ended);
            return Loss::Gone;
        }
        // A link that is reported lost twice does not prolong the grace.
        let until = *holder.detached_until.get_or_insert(now + grace);
        self.graces.insert((until, instance));
        Loss::Detached
    }

    /// The instance has ended. Says whether it was living here; the hub itself does not end so.
    pub(crate) fn gone(&mut self, now: Instant, instance: InstanceId) -> bool {
        self.end(now, instance, GoneCause::Ended)
    }

    /// The attached instance `by` holds these for gone: they are, for all.
    ///
    /// Who holds the hub itself for gone has closed all it had with it, and the hub cannot end for
    /// that: it is `by` that is gone, and comes back as a new instance.
    pub(crate) fn declare_gone(&mut self, now: Instant, by: InstanceId, instances: &[InstanceId]) {
        if instances.contains(&self.hub) {
            self.end(now, by, GoneCause::Declared);
            return;
        }
        for &instance in instances {
            if !self.end(now, instance, GoneCause::Declared) {
                self.fences.insert(instance, None);
            }
        }
    }

    /// Ends the graces and name bindings whose time is over.
    pub(crate) fn timeout(&mut self, now: Instant) {
        while let Some(&(until, instance)) = self.graces.first()
            && until <= now
        {
            self.graces.pop_first();
            self.end(now, instance, GoneCause::Expired);
        }
        while let Some(&(until, id)) = self.bindings.first()
            && until <= now
        {
            self.bindings.pop_first();
            self.unbind(id);
        }
        if self.complete_at.is_some_and(|at| at <= now) {
            self.complete_at = None;
            self.effects.push_back(IdentityEffect::Completed);
        }
    }

    /// When [`Self::timeout`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let grace = self.graces.first().map(|(until, _)| *until);
        let binding = self.bindings.first().map(|(until, _)| *until);
        // Only over those that exist: `None` is less than every time and means "never".
        [grace, binding, self.complete_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// What follows for others, in the order in which it happened.
    pub(crate) fn poll(&mut self) -> Option<IdentityEffect> {
        self.effects.pop_front()
    }

    /// Whether everybody who lives has had the time to attach.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete_at.is_none()
    }

    /// The id and generation of an instance that lives.
    pub(crate) fn identity(&self, instance: InstanceId) -> Option<(PeerId, Generation)> {
        let holder = self.living.get(&instance)?;
        Some((holder.id, holder.generation))
    }
}

/// Decisions.
impl IdentityTable {
    /// Whether the instance may attach at all, whatever it asks for.
    fn admit(&mut self, now: Instant, attach: &Attach) -> Result<(), Refusal> {
        if !is_valid(attach) || attach.instance == self.hub {
            return Err(Refusal::Invalid);
        }
        if let Some(generation) = self.fences.refuses(attach.instance, attach.identity) {
            // An instance that lives here is known not to be the one that is forgotten.
            if !self.living.contains_key(&attach.instance) {
                return Err(Refusal::Fenced { generation });
            }
        }
        if let Some(holder) = self.living.get(&attach.instance)
            && attach.counter < holder.counter
        {
            return Err(Refusal::Outdated);
        }
        if attach.gone_instances.contains(&self.hub) {
            self.end(now, attach.instance, GoneCause::Declared);
            self.fences.insert(attach.instance, attach.identity);
            let fence = attach.identity.and_then(|(id, _)| self.fences.of_id(id));
            let generation = fence.unwrap_or_default();
            return Err(Refusal::Fenced { generation });
        }
        Ok(())
    }

    /// Believes which generations are gone. A holder whose own is among them got it from a hub that
    /// did not know: it moves above, so that a generation that somebody holds for gone never names
    /// a living instance.
    fn learn_gone(&mut self, attach: &Attach) {
        for &(id, generation) in &attach.gone {
            self.fences.learn(id, generation);
            self.raise_above(id, generation);
        }
    }

    /// Whoever has the id moves above this generation.
    fn raise_above(&mut self, id: PeerId, generation: Generation) {
        let slot = self.ids.entry(id).or_default();
        slot.top = slot.top.max(generation);
        let Some(instance) = slot.holder else {
            return;
        };
        let Some(holder) = self.living.get_mut(&instance) else {
            return;
        };
        if holder.generation > generation {
            return;
        }
        if let Some(next) = next_generation(slot) {
            slot.top = next;
            holder.generation = next;
            self.effects.push_back(IdentityEffect::Raised {
                instance,
                id,
                generation: next,
            });
        }
    }

    /// Whether the name can be had: free, its own, or (`Some`) to be handed over by its holder.
    fn contest_name(&self, attach: &Attach) -> Result<Option<InstanceId>, Refusal> {
        let bound = attach.name.as_ref().and_then(|name| self.names.get(name));
        let holder = bound
            .and_then(|id| self.ids.get(id)?.holder)
            .filter(|holder| *holder != attach.instance);
        let Some(instance) = holder else {
            return Ok(None);
        };
        match self.living.get(&instance) {
            Some(holder) if holder.handover && attach.handover => Ok(Some(instance)),
            Some(holder) => Err(Refusal::NameTaken {
                generation: holder.generation,
                until: holder.detached_until,
            }),
            None => Ok(None),
        }
    }

    /// The id and generation for an instance that does not live here yet; `None` if there is none.
    fn choose(&self, attach: &Attach) -> Option<(PeerId, Generation)> {
        if let Some((id, generation)) = attach.identity {
            let slot = self.ids.get(&id);
            // What it was given earlier, unless somebody living has the id, or the generation has
            // been seen elsewhere since. It goes before a binding of the dead.
            if slot.is_none_or(|s| s.holder.is_none() && generation > s.top) {
                return Some((id, generation));
            }
        }
        let bound = attach.name.as_ref().and_then(|name| self.names.get(name));
        let claimed = attach
            .identity
            .map(|(id, _)| id)
            .filter(|id| self.ids.get(id).is_none_or(is_free));
        let preferred = bound.copied().into_iter().chain(claimed);
        preferred
            .filter_map(|id| Some((id, self.next_generation(id)?)))
            .next()
            .or_else(|| self.lowest_free())
    }

    fn lowest_free(&self) -> Option<(PeerId, Generation)> {
        let mut gap = 1;
        for (id, slot) in &self.ids {
            if id.0 > gap {
                break;
            }
            if is_free(slot)
                && let Some(generation) = next_generation(slot)
            {
                return Some((*id, generation));
            }
            gap = id.0 + 1;
        }
        (gap <= MAX_ID.0).then_some((PeerId(gap), Generation(1)))
    }

    fn next_generation(&self, id: PeerId) -> Option<Generation> {
        self.ids
            .get(&id)
            .map_or(Some(Generation(1)), next_generation)
    }
}

/// Changes.
impl IdentityTable {
    /// Makes the instance the holder of an id that no other living one has, and of the name.
    fn hold(&mut self, instance: InstanceId, name: Option<PeerName>, holder: Holder) {
        let id = holder.id;
        let slot = self.ids.entry(id).or_default();
        slot.top = slot.top.max(holder.generation);
        let resumed = slot.holder.replace(instance) == Some(instance);
        if let Some(until) = slot.bound_until.take() {
            self.bindings.remove(&(until, id));
        }
        // Without a name in its declaration an instance keeps the one it has, but does not inherit
        // that of a dead one whose id it had before.
        if slot.name != name && (name.is_some() || !resumed) {
            if let Some(former) = slot.name.take() {
                self.names.remove(&former);
            }
            slot.name = name.clone();
            // A name has one binding.
            if let Some(name) = name
                && let Some(former) = self.names.insert(name, id)
            {
                self.unbind_slot(former);
            }
        }
        if let Some(before) = self.living.insert(instance, holder)
            && let Some(until) = before.detached_until
        {
            self.graces.remove(&(until, instance));
        }
    }

    /// The one place where an instance dies. Says whether it was living here.
    fn end(&mut self, now: Instant, instance: InstanceId, cause: GoneCause) -> bool {
        if instance == self.hub {
            return false;
        }
        let Some(holder) = self.living.remove(&instance) else {
            return false;
        };
        let Holder { id, generation, .. } = holder;
        if let Some(until) = holder.detached_until {
            self.graces.remove(&(until, instance));
        }
        self.fences.insert(instance, Some((id, generation)));
        let slot = self.ids.entry(id).or_default();
        slot.holder = None;
        if slot.name.is_some() {
            let until = now + self.config.name_binding;
            slot.bound_until = Some(until);
            self.bindings.insert((until, id));
        }
        while self.bindings.len() > self.config.bindings
            && let Some((_, id)) = self.bindings.pop_first()
        {
            self.unbind(id);
        }
        let peer = RosterGone {
            id,
            generation,
            instance,
        };
        self.effects.push_back(IdentityEffect::Gone { peer, cause });
        true
    }

    /// Frees an id and its name.
    fn unbind(&mut self, id: PeerId) {
        if let Some(name) = self.unbind_slot(id) {
            self.names.remove(&name);
        }
    }

    /// Takes the name from an id; who has the name now is the caller's matter.
    fn unbind_slot(&mut self, id: PeerId) -> Option<PeerName> {
        let slot = self.ids.get_mut(&id)?;
        if let Some(until) = slot.bound_until.take() {
            self.bindings.remove(&(until, id));
        }
        slot.name.take()
    }
}

/// Whether the id can be given to anybody.
fn is_free(slot: &Slot) -> bool {
    slot.holder.is_none() && slot.name.is_none()
}

/// The generation above all that were ever known; `None` after four thousand million restarts.
fn next_generation(slot: &Slot) -> Option<Generation> {
    slot.top.0.checked_add(1).map(Generation)
}

/// Whether the declaration is one that an honest member can make.
fn is_valid(attach: &Attach) -> bool {
    let honest = |(id, generation): (PeerId, Generation)| {
        (PeerId(1)..=MAX_ID).contains(&id)
            && (Generation(1)..=MAX_DECLARED_GENERATION).contains(&generation)
    };
    !attach.instance.is_none()
        && attach.identity.is_none_or(honest)
        && attach.gone.iter().copied().all(honest)
        && !attach.gone_instances.contains(&attach.instance)
}
