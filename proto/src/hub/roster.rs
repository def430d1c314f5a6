//! Who is there, and how it is told to everybody who attaches over a link of this node: by a hub,
//! whose truth it is, and by a relay, which repeats to its children what its hub tells it.
//!
//! There is one log of what has changed, with one entry for each peer, one for its declarations and
//! one for each of the last deaths; a member is a position in it. So what a member has not been
//! told yet collapses to the present state by itself, a slow member costs nothing, and a change
//! costs the same whatever the number of members. Who fell so far behind that deaths are missing
//! from the log is told everything from the beginning.

#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::declarations::{DeclareFault, DeclareLimits, Declared, Parts};
use super::identity::Assignment;
use crate::group::declarations::cost;
use crate::id::{Generation, InstanceId, PeerId};
use crate::wire;
use crate::wire::{Attach, Declare, NamespaceDeclaration, RosterGone, RosterPeer, RosterUpdate};

/// How many bytes of a control body an update takes at most. Small enough that the queue of control
/// frames of a link holds one without delaying the others.
const UPDATE: usize = 24 * 1024;
/// How many bytes of one peer's declarations go into one update: what is left beside the peer.
const PART: usize = UPDATE - 512;
/// What a peer costs in an update without its name and its declarations, at most.
const PEER_COST: usize = 80;
/// What a death costs in an update, at most.
const GONE_COST: usize = 24;
/// How many deaths stay in the log.
const DEATHS: usize = 1024;

/// The roster as it is told.
#[derive(Debug)]
pub(crate) struct HubRoster {
    limits: DeclareLimits,
    peers: BTreeMap<InstanceId, Entry>,
    members: BTreeMap<InstanceId, Member>,
    /// What changed last, by the version that the change made.
    log: BTreeMap<u64, Change>,
    /// The versions of the deaths in the log, the oldest first.
    deaths: VecDeque<u64>,
    /// The last death that is no longer in the log.
    forgotten: u64,
    /// Counts the changes.
    version: u64,
    complete: bool,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    /// The peer; its declarations are as they were.
    Peer(InstanceId),
    /// The peer with its declarations.
    Declared(InstanceId),
    /// A death.
    Gone(RosterGone),
}

#[derive(Debug)]
struct Entry {
    /// As it goes into an update, without its declarations.
    peer: RosterPeer,
    declared: Declared,
    /// The version of the last change.
    changed_at: u64,
    /// The version of the last change of its declarations; 0 before the first.
    declared_at: u64,
}

/// What a member has been told.
#[derive(Debug)]
struct Member {
    /// The version up to which it knows everything.
    told: u64,
    snapshot: Snapshot,
    /// The version at which its snapshot began. Deaths before it need not be told.
    since: u64,
    /// Declarations of which it has been told a part.
    rest: Option<Rest>,
    told_complete: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Snapshot {
    Due,
    Running,
    Done,
}

#[derive(Debug)]
struct Rest {
    instance: InstanceId,
    parts: Parts,
    next: usize,
}

impl HubRoster {
    /// An empty roster. `complete` where no members of an earlier hub can be missing.
    pub(crate) fn new(limits: DeclareLimits, complete: bool) -> Self {
        Self {
            limits,
            peers: BTreeMap::new(),
            members: BTreeMap::new(),
            log: BTreeMap::new(),
            deaths: VecDeque::new(),
            forgotten: 0,
            version: 0,
            complete,
        }
    }

    /// An instance has attached, for the first time or again.
    pub(crate) fn attached(&mut self, attach: &Attach, given: &Assignment) {
        let instance = attach.instance;
        let before = self.peers.get(&instance);
        // The count of the instance itself rises over all hubs; where it does not, paths must still
        // begin anew.
        let attachment = before.map_or(attach.counter, |entry| {
            attach.counter.max(entry.peer.attachment + 1)
        });
        let peer = RosterPeer {
            id: given.id,
            generation: given.generation,
            instance,
            name: given.name.clone(),
            attachment,
            attached: true,
            up: before.is_some_and(|entry| entry.peer.up),
            attachments: attach.attachments,
            budget: attach.budget,
            message_cap: attach.message_cap,
            namespaces: None,
            reserve: attach.reserve,
        };
        match self.peers.get_mut(&instance) {
            Some(entry) => entry.peer = peer,
            None => {
                self.peers.insert(instance, Entry::new(peer));
            }
        }
        self.changed(instance);
    }

    /// Takes a peer as this node has been told of it, with what it has declared if it is up.
    pub(crate) fn put(&mut self, peer: RosterPeer, declared: Option<Vec<NamespaceDeclaration>>) {
        let instance = peer.instance;
        match self.peers.get_mut(&instance) {
            Some(entry) => entry.peer = peer,
            None => {
                self.peers.insert(instance, Entry::new(peer));
            }
        }
        let entry = self.peers.get_mut(&instance);
        let news = declared.zip(entry);
        match news.is_some_and(|(declared, entry)| entry.declared.replace(declared, PART)) {
            true => self.declared(instance),
            false => self.changed(instance),
        }
    }

    /// An instance has lost its link and may come back.
    pub(crate) fn detached(&mut self, instance: InstanceId) {
        self.members.remove(&instance);
        if let Some(entry) = self.peers.get_mut(&instance)
            && entry.peer.attached
        {
            entry.peer.attached = false;
            self.changed(instance);
        }
    }

    /// An instance has another id or generation.
    pub(crate) fn identified(&mut self, instance: InstanceId, id: PeerId, generation: Generation) {
        if let Some(entry) = self.peers.get_mut(&instance) {
            entry.peer.id = id;
            entry.peer.generation = generation;
            self.changed(instance);
        }
    }

    /// An instance is gone.
    pub(crate) fn gone(&mut self, peer: RosterGone) {
        self.members.remove(&peer.instance);
        if let Some(entry) = self.peers.remove(&peer.instance) {
            self.log.remove(&entry.changed_at);
            self.log.remove(&entry.declared_at);
        }
        self.version += 1;
        self.log.insert(self.version, Change::Gone(peer));
        self.deaths.push_back(self.version);
        if self.deaths.len() > DEATHS
            && let Some(oldest) = self.deaths.pop_front()
        {
            self.log.remove(&oldest);
            self.forgotten = oldest;
        }
    }

    /// Takes a slice of what an attached instance declares; its answer says that it is in.
    ///
    /// # Errors
    ///
    /// The fault of the peer that sent it. What it had declared before stands.
    pub(crate) fn declare(&mut self, declare: &Declare) -> Result<wire::Declared, DeclareFault> {
        let entry = self.peers.get_mut(&declare.instance);
        let entry = entry
            .filter(|entry| entry.peer.attached)
            .ok_or(DeclareFault::NotAttached)?;
        if entry.declared.accept(declare, &self.limits, PART)? {
            entry.peer.up = true;
            self.declared(declare.instance);
        }
        Ok(wire::Declared {
            instance: declare.instance,
            version: declare.version,
            slice: declare.slice,
        })
    }

    /// Whether everybody who lives has attached or had the time to.
    pub(crate) fn set_complete(&mut self, complete: bool) {
        self.complete = complete;
    }

    /// Begins to tell a member, from the beginning.
    pub(crate) fn subscribe(&mut self, member: InstanceId) {
        let state = Member {
            told: 0,
            snapshot: Snapshot::Due,
            since: 0,
            rest: None,
            told_complete: false,
        };
        self.members.insert(member, state);
    }

    /// Tells a member nothing more.
    pub(crate) fn unsubscribe(&mut self, member: InstanceId) {
        self.members.remove(&member);
    }

    /// Whether [`Self::next_update`] has something for the member.
    pub(crate) fn has_update(&self, member: InstanceId) -> bool {
        self.members.get(&member).is_some_and(|state| {
            state.snapshot != Snapshot::Done
                || state.told < self.version
                || state.rest.is_some()
                || state.told_complete != self.complete
        })
    }

    /// The members for which there is an update.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = InstanceId> + '_ {
        let members = self.members.keys().copied();
        members.filter(|member| self.has_update(*member))
    }

    /// What the member is to be told next: at most 24 KiB of control body. To be asked for when the
    /// link can take it, so that nothing piles up before it.
    pub(crate) fn next_update(&mut self, member: InstanceId) -> Option<RosterUpdate> {
        if !self.has_update(member) {
            return None;
        }
        let state = self.members.get_mut(&member)?;
        if self.forgotten > state.told.max(state.since) {
            state.snapshot = Snapshot::Due;
        }
        let mut update = RosterUpdate {
            snapshot: state.snapshot == Snapshot::Due,
            ..RosterUpdate::default()
        };
        if update.snapshot {
            state.told = 0;
            state.since = self.version;
            state.rest = None;
            state.snapshot = Snapshot::Running;
        }
        let spent = state.go_on(&self.peers, &mut update);
        if state.rest.is_none() {
            state.catch_up(&self.peers, &self.log, spent, &mut update);
        }
        let whole = state.rest.is_none() && state.told == self.version;
        if whole {
            state.snapshot = Snapshot::Done;
        }
        update.version = state.told;
        update.more = state.snapshot == Snapshot::Running;
        // Said only where it is true of what the member has been told by now.
        update.complete = self.complete && !update.more;
        state.told_complete = update.complete;
        Some(update)
    }

    /// Writes the peer into the log anew, with its declarations.
    fn declared(&mut self, instance: InstanceId) {
        let Some(entry) = self.peers.get_mut(&instance) else {
            return;
        };
        self.log.remove(&entry.changed_at);
        self.log.remove(&entry.declared_at);
        self.version += 1;
        entry.changed_at = self.version;
        entry.declared_at = self.version;
        self.log.insert(self.version, Change::Declared(instance));
    }

    /// Writes the peer into the log anew; what is there of its declarations stays where it is.
    fn changed(&mut self, instance: InstanceId) {
        let Some(entry) = self.peers.get_mut(&instance) else {
            return;
        };
        if entry.changed_at != entry.declared_at {
            self.log.remove(&entry.changed_at);
        }
        self.version += 1;
        entry.changed_at = self.version;
        self.log.insert(self.version, Change::Peer(instance));
    }
}

impl Member {
    /// Goes on with the declarations of which the member knows a part. Says what that costs.
    fn go_on(&mut self, peers: &BTreeMap<InstanceId, Entry>, update: &mut RosterUpdate) -> usize {
        let Some(mut rest) = self.rest.take() else {
            return 0;
        };
        // Of a peer that is gone by now only its death is left to tell.
        let Some(entry) = peers.get(&rest.instance) else {
            return 0;
        };
        let Some(part) = rest.parts.get(rest.next) else {
            return 0;
        };
        rest.next += 1;
        let last = rest.next == rest.parts.len();
        let peer = entry.with(part.clone(), last);
        if !last {
            self.rest = Some(rest);
        }
        let spent = peer_cost(&peer);
        update.peers.push(peer);
        spent
    }

    /// Tells what the log holds beyond what the member knows, as far as there is room.
    fn catch_up(
        &mut self,
        peers: &BTreeMap<InstanceId, Entry>,
        log: &BTreeMap<u64, Change>,
        mut spent: usize,
        update: &mut RosterUpdate,
    ) {
        for (&version, change) in log.range(self.told + 1..) {
            let (instance, declared) = match change {
                Change::Gone(gone) => {
                    if spent + GONE_COST > UPDATE {
                        return;
                    }
                    spent += GONE_COST;
                    update.gone.push(*gone);
                    self.told = version;
                    continue;
                }
                Change::Peer(instance) => (instance, false),
                Change::Declared(instance) => (instance, true),
            };
            let Some(entry) = peers.get(instance) else {
                continue;
            };
            let parts = entry.declared.parts().filter(|_| declared);
            let first = parts.and_then(|parts| parts.first());
            let size = peer_cost(&entry.peer) + first.map_or(0, |part| cost(part));
            if spent > 0 && spent + size > UPDATE {
                return;
            }
            spent += size;
            self.told = version;
            match (parts, first) {
                (Some(parts), Some(first)) => {
                    let last = parts.len() == 1;
                    update.peers.push(entry.with(first.clone(), last));
                    if !last {
                        self.rest = Some(Rest {
                            instance: *instance,
                            parts: Arc::clone(parts),
                            next: 1,
                        });
                        return;
                    }
                }
                _ => update.peers.push(entry.peer.clone()),
            }
        }
    }
}

impl Entry {
    const fn new(peer: RosterPeer) -> Self {
        Self {
            peer,
            declared: Declared::new(),
            changed_at: 0,
            declared_at: 0,
        }
    }

    /// The peer with a part of its declarations. It counts as up for the member with the last one.
    fn with(&self, part: Vec<NamespaceDeclaration>, last: bool) -> RosterPeer {
        RosterPeer {
            up: self.peer.up && last,
            namespaces: Some(part),
            ..self.peer.clone()
        }
    }
}

/// What the peer takes in an update, in bytes, at most.
fn peer_cost(peer: &RosterPeer) -> usize {
    let name = peer.name.as_ref().map_or(0, |name| name.as_str().len());
    let namespaces = peer.namespaces.as_deref().map_or(0, cost);
    PEER_COST + name + namespaces
}
