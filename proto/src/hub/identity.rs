//! Who is who: which instance has which id, generation and name.
//!
//! The rules, in one place. An id is given to one living instance, a pair of id and generation
//! once, and a generation is above every one of that id ever heard of. A name has one binding and
//! outlives its holder by [`IdentityConfig::name_binding`]. Living means attached or detached: only
//! a death frees what an instance has. Gone is final.

mod known;
mod outcome;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::time::Duration;

use crate::group::fences::{Fences, REMEMBERED};
use crate::id::{Generation, InstanceId, PeerId, PeerName};
use crate::time::Instant;
use crate::wire::{Attach, RosterGone};
use known::{Awaited, is_given, is_honest};

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
    /// How long a new hub waits to hear of members of an earlier one before it says that the roster
    /// is complete; 2 s. Zero where there can be none: a parent with the links of its own children.
    pub(crate) completion_grace: Duration,
    /// How long a member of an earlier hub may take to come after another has named it; 8 s, as
    /// members dial at least every 6.25 s.
    pub(crate) return_grace: Duration,
    /// How many instances may be attached or detached at once, the hub included; 4,096.
    pub(crate) peers: usize,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            name_binding: Duration::from_secs(600),
            bindings: 4096,
            completion_grace: Duration::from_secs(2),
            return_grace: Duration::from_secs(8),
            peers: 4096,
        }
    }
}

/// What is known of an id, for ever.
#[derive(Debug, Default)]
struct Slot {
    /// The highest generation ever given or heard of.
    top: Generation,
    /// Who goes or went by it, where only one is known to.
    top_is: Option<InstanceId>,
    /// The instance that has it, while it lives.
    holder: Option<InstanceId>,
    /// The name that is bound to it.
    name: Option<PeerName>,
    /// When the name is freed, once its holder is gone.
    bound_until: Option<Instant>,
}

impl Slot {
    /// The generation was given, to `by` if that is known.
    fn spend(&mut self, generation: Generation, by: Option<InstanceId>) {
        if generation > self.top {
            self.top = generation;
            self.top_is = by;
        } else if generation == self.top && self.top_is != by {
            self.top_is = None;
        }
    }

    /// Whether the instance may go by the generation that it says an earlier hub gave it.
    fn may_keep(&self, generation: Generation, instance: InstanceId) -> bool {
        let its_own = generation == self.top && self.top_is == Some(instance);
        self.holder.is_none() && (generation > self.top || its_own)
    }

    /// Whether nobody has the id, nor the name that is bound to it.
    fn is_free(&self) -> bool {
        self.holder.is_none() && self.name.is_none()
    }

    /// The generation above all that were ever known; `None` after four thousand million restarts.
    fn next_generation(&self) -> Option<Generation> {
        self.top.0.checked_add(1).map(Generation)
    }
}

/// An instance that lives.
#[derive(Debug)]
struct Holder {
    id: PeerId,
    generation: Generation,
    counter: u64,
    local: bool,
    /// Whether it ends with the process that speaks for it.
    tied: bool,
    handover: bool,
    /// Whether it has been attached to an earlier hub, as it says.
    elder: bool,
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
    awaited: Awaited,
    /// Members that have not said yet all that they know.
    speaking: BTreeSet<InstanceId>,
    /// When a hub that has heard of nobody thinks that there is nobody; `None` from then on.
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
            awaited: Awaited::default(),
            speaking: BTreeSet::new(),
            complete_at: waits.then(|| now + config.completion_grace),
            effects: VecDeque::new(),
        };
        let holder = Holder {
            id: PeerId(1),
            generation: Generation(1),
            counter: 0,
            local: true,
            tied: false,
            handover: false,
            elder: false,
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
        let elder = self.is_elder(attach);
        if let Some((claimed, generation)) = attach.identity {
            // What a living process has answered to never names another.
            let slot = self.ids.entry(claimed).or_default();
            slot.spend(generation, Some(attach.instance));
        }
        if elder {
            self.learn(now, &attach.known);
        }
        if let Some((claimed, _)) = attach.identity {
            self.lift(claimed);
        }
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
        self.awaited.remove(attach.instance);
        match attach.more && elder {
            true => self.speaking.insert(attach.instance),
            false => self.speaking.remove(&attach.instance),
        };
        let holder = Holder {
            id,
            generation,
            counter: attach.counter,
            local,
            tied: attach.tied,
            handover: attach.handover,
            elder,
            detached_until: None,
        };
        self.hold(attach.instance, attach.name.clone(), holder);
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
        let local = self.living.get(&instance).is_some_and(|h| h.local);
        self.away(now, instance, if local { Duration::ZERO } else { grace })
    }

    /// Who spoke for the instance has ended. One that had no other way ends with it: as this instance
    /// nobody will ever hear of it again, so nobody has to wait for it, and its name is free for who
    /// is started in its place. Another has the `grace` to come some other way.
    pub(crate) fn orphaned(&mut self, now: Instant, instance: InstanceId, grace: Duration) -> Loss {
        let tied = self.living.get(&instance).is_some_and(|h| h.tied);
        self.away(now, instance, if tied { Duration::ZERO } else { grace })
    }

    /// An instance has left its link and lives, as it says itself; or may live. It has the `grace` to
    /// come back.
    pub(crate) fn away(&mut self, now: Instant, instance: InstanceId, grace: Duration) -> Loss {
        let hub = self.hub;
        let Some(holder) = self.living.get_mut(&instance).filter(|_| instance != hub) else {
            return Loss::Unknown;
        };
        if grace.is_zero() {
            self.end(now, instance, GoneCause::Ended);
            return Loss::Gone;
        }
        self.speaking.remove(&instance);
        // A link that is reported lost twice does not prolong the grace.
        let until = *holder.detached_until.get_or_insert(now + grace);
        self.graces.insert((until, instance));
        Loss::Detached
    }

    /// The instance has ended. Says whether it was living here; the hub itself does not end so.
    pub(crate) fn gone(&mut self, now: Instant, instance: InstanceId) -> bool {
        self.end(now, instance, GoneCause::Ended)
    }

    /// Ends graces and name bindings whose time is over, at most so many, and says how many. What is
    /// left is due at once, after others were heard.
    pub(crate) fn timeout(&mut self, now: Instant, most: usize) -> usize {
        if self.complete_at.is_some_and(|at| at <= now) {
            self.complete_at = None;
        }
        let mut ended = 0;
        while ended < most && self.timeout_one(now) {
            ended += 1;
        }
        ended
    }

    fn timeout_one(&mut self, now: Instant) -> bool {
        if let Some(&(until, instance)) = self.graces.first()
            && until <= now
        {
            self.graces.pop_first();
            self.end(now, instance, GoneCause::Expired);
        } else if let Some(peer) = self.awaited.expired(now) {
            self.never_came(peer, GoneCause::Expired);
        } else if let Some(&(until, id)) = self.bindings.first()
            && until <= now
        {
            self.bindings.pop_first();
            self.unbind(id);
        } else {
            return false;
        }
        true
    }

    /// This process was stopped, and nobody could reach it: who is detached or awaited has the whole
    /// of its time again. `grace` is that of the detached.
    pub(crate) fn put_off(&mut self, now: Instant, grace: Duration) {
        self.graces.clear();
        let living = self.living.iter_mut();
        for (instance, until) in living.filter_map(|(i, h)| Some((i, h.detached_until.as_mut()?))) {
            *until = (now + grace).max(*until);
            self.graces.insert((*until, *instance));
        }
        self.awaited.put_off(now + self.config.return_grace);
        if let Some(at) = &mut self.complete_at {
            *at = (now + self.config.completion_grace).max(*at);
        }
    }

    /// When [`Self::timeout`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let grace = self.graces.first().map(|(until, _)| *until);
        let binding = self.bindings.first().map(|(until, _)| *until);
        // Only over those that exist: `None` is less than every time and means "never".
        [grace, binding, self.awaited.deadline(), self.complete_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// What follows for others, in the order in which it happened.
    pub(crate) fn poll(&mut self) -> Option<IdentityEffect> {
        self.effects.pop_front()
    }

    /// Whether everybody who lives, as far as anybody knows, has attached or had the time to.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete_at.is_none() && self.awaited.is_empty() && self.speaking.is_empty()
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
        if attach.known.gone_instances.contains(&self.hub) {
            self.end(now, attach.instance, GoneCause::Declared);
            self.fences.insert(attach.instance, attach.identity);
            let fence = attach.identity.and_then(|(id, _)| self.fences.of_id(id));
            let generation = fence.unwrap_or_default();
            return Err(Refusal::Fenced { generation });
        }
        Ok(())
    }

    /// Whether the instance has been attached to an earlier hub, as it says. What it says when it
    /// comes back to this one proves nothing: the first word counts.
    fn is_elder(&self, attach: &Attach) -> bool {
        match self.living.get(&attach.instance) {
            Some(holder) => holder.elder,
            None => attach.elder || attach.identity.is_some(),
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
            if slot.is_none_or(|slot| slot.may_keep(generation, attach.instance)) {
                return Some((id, generation));
            }
        }
        let bound = attach.name.as_ref().and_then(|name| self.names.get(name));
        let claimed = attach
            .identity
            .map(|(id, _)| id)
            .filter(|id| self.is_free(*id));
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
            if self.is_free(*id)
                && let Some(generation) = slot.next_generation()
            {
                return Some((*id, generation));
            }
            gap = id.0 + 1;
        }
        (gap <= MAX_ID.0).then_some((PeerId(gap), Generation(1)))
    }

    /// Whether the id can be given to anybody.
    fn is_free(&self, id: PeerId) -> bool {
        self.ids.get(&id).is_none_or(Slot::is_free) && !self.awaited.has_id(id)
    }

    fn next_generation(&self, id: PeerId) -> Option<Generation> {
        self.ids
            .get(&id)
            .map_or(Some(Generation(1)), Slot::next_generation)
    }
}

/// Changes.
impl IdentityTable {
    /// Makes the instance the holder of an id that no other living one has, and of the name.
    fn hold(&mut self, instance: InstanceId, name: Option<PeerName>, holder: Holder) {
        let id = holder.id;
        let slot = self.ids.entry(id).or_default();
        slot.spend(holder.generation, Some(instance));
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
        self.speaking.remove(&instance);
        self.fences.insert(instance, Some((id, generation)));
        let slot = self.ids.entry(id).or_default();
        slot.holder = None;
        if slot.name.is_some() {
            let until = now + self.config.name_binding;
            slot.bound_until = Some(until);
            self.bindings.insert((until, id));
        }
        self.bound_bindings();
        let peer = RosterGone {
            id,
            generation,
            instance,
        };
        self.effects.push_back(IdentityEffect::Gone { peer, cause });
        true
    }

    /// Processes with ever new names do not use up the ids.
    fn bound_bindings(&mut self) {
        while self.bindings.len() > self.config.bindings
            && let Some((_, id)) = self.bindings.pop_first()
        {
            self.unbind(id);
        }
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

/// Whether the declaration is one that an honest member can make.
fn is_valid(attach: &Attach) -> bool {
    !attach.instance.is_none()
        && attach.identity.is_none_or(is_given)
        && is_honest(&attach.known, attach.instance)
}
