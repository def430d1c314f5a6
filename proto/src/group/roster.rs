//! Who is there, as this node knows it: a replica of the hub's roster.

#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::mem;

use super::declarations::Declarations;
use super::fences::{Fences, REMEMBERED};
use crate::id::{Generation, InstanceId, PeerId, PeerName};
use crate::wire::{NamespaceDeclaration, RosterGone, RosterPeer, RosterUpdate};

/// Whether a peer can be reached at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Presence {
    /// The hub is gone and the next one has not said yet what became of the peer. What is sent to
    /// it waits.
    Unknown,
    /// The peer has lost its connection and may come back. What is sent to it waits.
    Detached,
    /// The peer is connected.
    Attached,
}

/// A peer as this node knows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Peer {
    /// Its id.
    pub id: PeerId,
    /// How often the id has been given out, this time included.
    pub generation: Generation,
    /// This life of it.
    pub instance: InstanceId,
    /// Its name, if it has one.
    pub name: Option<PeerName>,
    /// Whether it can be reached.
    pub presence: Presence,
    /// Whether all that it has declared is known here.
    pub is_up: bool,
    /// How many attachments of one message can reach it: what it accepts and its hub passes on; 0
    /// for none.
    pub attachments: u8,
    /// Its receive budget in bytes.
    pub budget: u64,
    /// The largest message that it accepts, in bytes.
    pub message_cap: u64,
    /// What may be under way to it as replies beside its budget, in bytes.
    pub(crate) reserve: u64,
    /// Counts its attachments.
    pub(crate) attachment: u64,
    declarations: Declarations,
    /// The first parts of a declaration whose last part is not in yet.
    coming: Vec<NamespaceDeclaration>,
    /// The last snapshot that named it.
    named_in: u64,
    /// Whether it has been up for this node before.
    announced: bool,
}

impl Peer {
    /// What it has declared of its namespaces, sorted by name.
    pub fn namespaces(&self) -> &[NamespaceDeclaration] {
        self.declarations.namespaces()
    }

    /// Whether it has declared a request handler for the name.
    pub fn handles(&self, namespace: &str, name: &str) -> bool {
        self.declarations.handles(namespace, name)
    }

    /// Whether it has declared a listener for the event.
    pub fn listens(&self, namespace: &str, event: &str) -> bool {
        self.declarations.listens(namespace, event)
    }

    /// Whether its list of names in the namespace may still grow by itself: it is connected, and it
    /// has not declared anything yet or not said that the namespace is ready. A namespace that it
    /// has not declared at all is not pending.
    pub fn is_pending(&self, namespace: &str) -> bool {
        let ready = |declared: &NamespaceDeclaration| declared.ready;
        let known = self.declarations.namespace(namespace);
        self.presence == Presence::Attached && !(self.is_up && known.is_none_or(ready))
    }
}

/// A change that an update has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RosterChange {
    /// The peer is connected. `again` if it is known from before: every path to it begins anew.
    Attached { instance: InstanceId, again: bool },
    /// The peer has lost its connection and may come back.
    Detached { instance: InstanceId },
    /// All that the peer has declared is known, for the first time. Once for each instance.
    Up { instance: InstanceId },
    /// The peer goes by another id or generation than the one that it `was`.
    Identified {
        instance: InstanceId,
        was: (PeerId, Generation),
        /// Whether it has been up for this node.
        announced: bool,
    },
    /// Something else of the peer is different: name, declarations, limits.
    Changed { instance: InstanceId },
    /// The instance is gone, for good. `known` if it was in the roster; else only what was received
    /// from it has to end.
    Gone { peer: RosterGone, known: bool },
    /// The hub names an instance as living that is gone for this node: the hub has to be told.
    Resurrected { instance: InstanceId },
    /// From now on, who is not in the roster is not there.
    Completed,
}

/// Who is there, as this node knows it.
#[derive(Debug)]
pub struct Roster {
    peers: BTreeMap<InstanceId, Peer>,
    /// By id. While the hub is lost an id can stand for two: one whose fate is not known and one
    /// that got its id from the next hub.
    ids: BTreeSet<(PeerId, InstanceId)>,
    /// The latest holder of each name.
    names: BTreeMap<PeerName, InstanceId>,
    fences: Fences,
    /// Counts what becomes of peers: while it stays, so does everything that is said of them.
    edition: u64,
    /// Counts the snapshots.
    snapshot: u64,
    /// Whether the present hub has begun to say who is there. Before that nothing it says proves
    /// an absence.
    begun: bool,
    /// Whether the absent are still to be looked for since the last snapshot began.
    unchecked: bool,
    complete: bool,
    /// Counts the changes, for who remembers what was read.
    version: u64,
}

/// What is asked of it.
impl Roster {
    /// A roster that knows nobody and holds nobody for gone, as a new instance must begin.
    pub(crate) fn new() -> Self {
        Self {
            peers: BTreeMap::new(),
            ids: BTreeSet::new(),
            names: BTreeMap::new(),
            fences: Fences::new(REMEMBERED),
            edition: 0,
            snapshot: 0,
            begun: false,
            unchecked: false,
            complete: false,
            version: 0,
        }
    }

    /// Rises with every change.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Everybody, this node and the hub included, by rising id.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.ids
            .iter()
            .filter_map(|(_, instance)| self.peers.get(instance))
    }

    /// How many they are.
    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    /// A number for the present state of all peers.
    pub(crate) const fn edition(&self) -> u64 {
        self.edition
    }

    /// Whether who is not in the roster is not there. `false` from the loss of the hub until the
    /// next one has heard from everybody who lives.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The peer with this id.
    pub fn by_id(&self, id: PeerId) -> Option<&Peer> {
        let first = (id, InstanceId(0));
        let last = (id, InstanceId(u64::MAX));
        self.ids
            .range(first..=last)
            .filter_map(|(_, instance)| self.peers.get(instance))
            .max_by_key(|peer| (peer.presence, peer.generation))
    }

    /// The peer with this name.
    pub fn by_name(&self, name: &PeerName) -> Option<&Peer> {
        self.peers.get(self.names.get(name)?)
    }

    /// The peer that is this instance.
    pub fn by_instance(&self, instance: InstanceId) -> Option<&Peer> {
        self.peers.get(&instance)
    }

    /// The connected peers that have declared a request handler for the name, by rising id.
    pub fn with_handler<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Peer> {
        self.peers()
            .filter(move |p| p.presence == Presence::Attached && p.handles(namespace, name))
    }

    /// The peers that listen for the event, by rising id; also those that are not connected, for
    /// which it waits.
    pub fn listening<'a>(
        &'a self,
        namespace: &'a str,
        event: &'a str,
    ) -> impl Iterator<Item = &'a Peer> {
        self.peers().filter(move |p| p.listens(namespace, event))
    }

    /// The connected peers whose list of names in the namespace may still grow by itself.
    pub fn pending<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Peer> {
        self.peers().filter(move |p| p.is_pending(namespace))
    }

    /// Whether it is certain that nobody has a handler for the name: the roster is complete, nobody
    /// is pending, and no peer that may come back has declared it.
    pub fn is_without_handler(&self, namespace: &str, name: &str) -> bool {
        let may = |p: &Peer| p.is_pending(namespace) || p.handles(namespace, name);
        self.complete && !self.peers.values().any(may)
    }

    /// Whether the instance is remembered as gone.
    pub(crate) fn is_gone(&self, instance: InstanceId) -> bool {
        self.fences.contains(instance)
    }

    /// The highest generation of the id that is gone.
    pub fn fence(&self, id: PeerId) -> Option<Generation> {
        self.fences.of_id(id)
    }

    /// Per id, the highest generation that is gone: for the declaration to the next hub.
    pub(crate) fn fences(&self) -> impl Iterator<Item = (PeerId, Generation)> + '_ {
        self.fences.ids()
    }

    /// What may be under way to an instance by its own word, in bytes: its budget, and its reserve
    /// for replies.
    pub(crate) fn allowance(&self, instance: InstanceId) -> Option<u64> {
        let peer = self.peers.get(&instance)?;
        Some(peer.budget.saturating_add(peer.reserve))
    }

    /// A peer whose presence is known, as it is told to others, and what it has declared.
    pub(crate) fn retell(
        &self,
        instance: InstanceId,
    ) -> Option<(RosterPeer, Option<Vec<NamespaceDeclaration>>)> {
        let peer = self.peers.get(&instance)?;
        let known = peer.presence != Presence::Unknown;
        known.then(|| {
            let declared = peer.is_up.then(|| peer.namespaces().to_vec());
            (peer.told(), declared)
        })
    }

    /// The instances that are gone, the latest first: for the declaration to the next hub.
    pub(crate) fn gone_instances(&self) -> impl Iterator<Item = InstanceId> + '_ {
        self.fences.instances()
    }
}

/// What changes it.
impl Roster {
    /// Takes what the hub says.
    pub(crate) fn apply(&mut self, update: &RosterUpdate) -> Vec<RosterChange> {
        self.version += 1;
        let mut changes = Vec::new();
        if update.snapshot {
            self.snapshot += 1;
            self.begun = true;
            self.unchecked = true;
            for peer in self.peers.values_mut() {
                peer.coming.clear();
            }
        }
        // Deaths first: who took over an id or a name finds it free.
        for &gone in &update.gone {
            changes.extend(self.end(gone));
        }
        for peer in &update.peers {
            self.put(peer, &mut changes);
        }
        if !update.more && self.begun {
            self.settle(update.complete, &mut changes);
        }
        changes
    }

    /// This node knows by itself that the instance has ended. `None` if it was gone already.
    pub(crate) fn declare_gone(&mut self, instance: InstanceId) -> Option<RosterChange> {
        self.version += 1;
        match self.peers.get(&instance) {
            Some(peer) => self.end(peer.gone()),
            None => {
                self.fences.insert(instance, None);
                None
            }
        }
    }

    /// The link to the hub is gone, and with it the knowledge of everybody else.
    pub(crate) fn hub_lost(&mut self) {
        self.version += 1;
        self.complete = false;
        self.begun = false;
        for peer in self.peers.values_mut() {
            peer.presence = Presence::Unknown;
            peer.coming.clear();
        }
    }

    /// The end of an update that others do not continue.
    fn settle(&mut self, complete: bool, changes: &mut Vec<RosterChange>) {
        if !complete {
            self.complete = false;
            return;
        }
        if mem::take(&mut self.unchecked) {
            let absent: Vec<RosterGone> = self
                .peers
                .values()
                .filter(|peer| peer.named_in < self.snapshot)
                .map(Peer::gone)
                .collect();
            for gone in absent {
                changes.extend(self.end(gone));
            }
        }
        if !mem::replace(&mut self.complete, true) {
            changes.push(RosterChange::Completed);
        }
    }

    /// The one place where an instance dies for this node. It dies under the identity by which it is
    /// known here: it may have been given another in the meantime.
    fn end(&mut self, gone: RosterGone) -> Option<RosterChange> {
        let who = (gone.id, gone.generation);
        let new = self.fences.insert(gone.instance, Some(who));
        let before = self.unlink(gone.instance);
        let known = before.is_some();
        let peer = before.map_or(gone, |peer| peer.gone());
        (new || known).then_some(RosterChange::Gone { peer, known })
    }

    fn put(&mut self, update: &RosterPeer, changes: &mut Vec<RosterChange>) {
        let instance = update.instance;
        if self.fences.contains(instance) {
            changes.push(RosterChange::Resurrected { instance });
            return;
        }
        let before = self.unlink(instance);
        let is_new = before.is_none();
        let mut peer = before.unwrap_or_else(|| Peer::new(update));
        peer.named_in = self.snapshot;
        let was = (peer.id, peer.generation);
        let changed = peer.take(update) && !is_new;
        if was != (peer.id, peer.generation) {
            changes.push(RosterChange::Identified {
                instance,
                was,
                announced: peer.announced,
            });
        }
        let presence = Presence::of(update);
        let anew = update.attached && peer.attachment < update.attachment;
        let moved = mem::replace(&mut peer.presence, presence) != presence || anew;
        peer.attachment = update.attachment;
        if moved {
            changes.push(match presence {
                Presence::Attached => RosterChange::Attached {
                    instance,
                    again: !is_new,
                },
                _ => RosterChange::Detached { instance },
            });
        }
        if peer.is_up && !mem::replace(&mut peer.announced, peer.is_up) {
            changes.push(RosterChange::Up { instance });
        } else if changed {
            changes.push(RosterChange::Changed { instance });
        }
        self.link(peer);
    }

    fn link(&mut self, peer: Peer) {
        self.edition += 1;
        self.ids.insert((peer.id, peer.instance));
        if let Some(name) = &peer.name {
            self.names.insert(name.clone(), peer.instance);
        }
        self.peers.insert(peer.instance, peer);
    }

    fn unlink(&mut self, instance: InstanceId) -> Option<Peer> {
        let peer = self.peers.remove(&instance)?;
        self.edition += 1;
        self.ids.remove(&(peer.id, instance));
        if let Some(name) = &peer.name
            && self.names.get(name) == Some(&instance)
        {
            self.names.remove(name);
        }
        Some(peer)
    }
}

impl Presence {
    fn of(update: &RosterPeer) -> Self {
        if update.attached {
            Self::Attached
        } else {
            Self::Detached
        }
    }
}

impl Peer {
    /// A peer of which nothing is known but what never changes.
    fn new(update: &RosterPeer) -> Self {
        Self {
            id: update.id,
            generation: update.generation,
            instance: update.instance,
            name: None,
            presence: Presence::Unknown,
            is_up: false,
            attachments: 0,
            budget: 0,
            message_cap: 0,
            reserve: 0,
            attachment: 0,
            declarations: Declarations::default(),
            coming: Vec::new(),
            named_in: 0,
            announced: false,
        }
    }

    /// Takes all but the presence; says whether anything is different.
    fn take(&mut self, update: &RosterPeer) -> bool {
        let declared = self.take_declarations(update);
        let same = (self.id, self.generation, &self.name)
            == (update.id, update.generation, &update.name)
            && (
                self.attachments,
                self.budget,
                self.message_cap,
                self.reserve,
            ) == (
                update.attachments,
                update.budget,
                update.message_cap,
                update.reserve,
            );
        if !same {
            self.id = update.id;
            self.generation = update.generation;
            self.name.clone_from(&update.name);
            self.attachments = update.attachments;
            self.budget = update.budget;
            self.message_cap = update.message_cap;
            self.reserve = update.reserve;
        }
        declared || !same
    }

    /// Namespaces of a peer that is not up are a part of them: the last part says that it is up,
    /// and all together replace what was declared before. Until then that stands.
    fn take_declarations(&mut self, update: &RosterPeer) -> bool {
        let was_up = self.is_up;
        let Some(namespaces) = &update.namespaces else {
            self.is_up = update.up;
            return self.is_up != was_up;
        };
        self.coming.extend_from_slice(namespaces);
        if !update.up {
            return false;
        }
        self.is_up = true;
        let declared = Declarations::new(mem::take(&mut self.coming));
        let changed = declared != self.declarations;
        self.declarations = declared;
        changed || !was_up
    }

    fn told(&self) -> RosterPeer {
        RosterPeer {
            id: self.id,
            generation: self.generation,
            instance: self.instance,
            name: self.name.clone(),
            attachment: self.attachment,
            attached: self.presence == Presence::Attached,
            up: self.is_up,
            attachments: self.attachments,
            budget: self.budget,
            message_cap: self.message_cap,
            namespaces: None,
            reserve: self.reserve,
        }
    }

    fn gone(&self) -> RosterGone {
        RosterGone {
            id: self.id,
            generation: self.generation,
            instance: self.instance,
        }
    }
}
