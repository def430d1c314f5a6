//! The conversations of a node: which there are, what has something to write, and their paths.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use slab::Slab;

use super::{Node, Timer};
use crate::group::Presence;
use crate::id::{InstanceId, LinkId};
use crate::talk::{Ends, Inbound, Outbound, Talk};

/// The conversations, found by the instance at the other end. Messages come in runs for one of
/// them, so the last one looked up is found again without a search.
#[derive(Debug)]
pub(super) struct Talks<F> {
    slots: Slab<Talk<F>>,
    by_instance: BTreeMap<InstanceId, usize>,
    last: Option<(InstanceId, usize)>,
}

impl<F> Talks<F> {
    pub(super) fn new() -> Self {
        Self {
            slots: Slab::new(),
            by_instance: BTreeMap::new(),
            last: None,
        }
    }

    fn find(&self, instance: InstanceId) -> Option<usize> {
        match self.last {
            Some((last, at)) if last == instance => Some(at),
            _ => self.by_instance.get(&instance).copied(),
        }
    }

    pub(super) fn get(&self, instance: InstanceId) -> Option<&Talk<F>> {
        self.slots.get(self.find(instance)?)
    }

    pub(super) fn get_mut(&mut self, instance: InstanceId) -> Option<&mut Talk<F>> {
        let at = self.find(instance)?;
        self.last = Some((instance, at));
        self.slots.get_mut(at)
    }

    fn insert(&mut self, instance: InstanceId, talk: Talk<F>) {
        let at = self.slots.insert(talk);
        self.by_instance.insert(instance, at);
        self.last = Some((instance, at));
    }

    pub(super) fn remove(&mut self, instance: InstanceId) -> Option<Talk<F>> {
        let at = self.by_instance.remove(&instance)?;
        self.last = None;
        self.slots.try_remove(at)
    }

    pub(super) fn instances(&self) -> Vec<InstanceId> {
        self.by_instance.keys().copied().collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&InstanceId, &Talk<F>)> {
        let all = self.by_instance.iter();
        all.filter_map(|(instance, at)| Some((instance, self.slots.get(*at)?)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Talk<F>> {
        self.slots.iter_mut().map(|(_, talk)| talk)
    }
}

impl<F> Node<F> {
    /// The conversation with an instance, begun if there is none yet.
    pub(super) fn talk(&mut self, instance: InstanceId) -> &mut Talk<F> {
        if self.talks.find(instance).is_none() {
            let mut talk = self.new_talk(instance);
            if self.is_reachable(instance) {
                talk.out.path_begins();
            }
            self.talks.insert(instance, talk);
        }
        self.talks
            .get_mut(instance)
            .expect("it was there, or has just been put there")
    }

    fn new_talk(&self, instance: InstanceId) -> Talk<F> {
        let ends = Ends {
            source: self.me.instance,
            destination: instance,
        };
        let peer = self.roster.by_instance(instance);
        let budget = peer.map_or(self.config.receive_budget, |peer| peer.budget);
        let slice_above = slice_above(budget);
        Talk {
            ends,
            out: Outbound::new(
                ends,
                self.config.first_contact,
                self.config.attachments_pair,
                slice_above,
                instance == self.me.instance,
            ),
            inb: Inbound::new(
                instance,
                self.config.first_contact,
                self.config.first_window,
            ),
            queued: false,
            broken: false,
            mark_timer: false,
            refused: Vec::new(),
            pending: 0,
        }
    }

    /// Whether frames to an instance have a way now.
    pub(super) fn is_reachable(&self, instance: InstanceId) -> bool {
        if instance == self.me.instance {
            return true;
        }
        match self.hub.is_some() {
            true => self.routes.contains_key(&instance),
            false => {
                self.uplink.is_attached()
                    && self
                        .roster
                        .by_instance(instance)
                        .is_some_and(|peer| peer.presence == Presence::Attached)
            }
        }
    }

    fn route(&self, instance: InstanceId) -> Option<LinkId> {
        match self.hub.is_some() {
            true => self.routes.get(&instance).copied(),
            false => self.uplink.link(),
        }
    }

    /// Sees to it that a conversation which has something to write gets its turn.
    pub(super) fn touch(&mut self, instance: InstanceId) {
        let Some(talk) = self.talks.get_mut(instance) else {
            return;
        };
        let wants_write = talk.wants_write();
        if !wants_write
            && !talk.mark_timer
            && let Some(since) = talk.inb.unmarked_since(self.now)
        {
            talk.mark_timer = true;
            let at = since + self.config.mark_delay;
            self.timers.set(Timer::Mark(instance), Some(at));
        }
        if talk.queued || !wants_write {
            return;
        }
        if instance == self.me.instance {
            talk.queued = true;
            return;
        }
        let Some(link) = self.route(instance) else {
            return;
        };
        if let Some(link) = self.links.get_mut(link) {
            link.ready.push_back(instance);
            if let Some(talk) = self.talks.get_mut(instance) {
                talk.queued = true;
            }
        }
        self.links.touch(link);
    }

    /// Lets the conversations of a link fill its plan, in turn.
    pub(super) fn fill_talks(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let mut turns = link.ready.len();
        while turns > 0 && link.tx.room() > 0 {
            turns -= 1;
            let Some(instance) = link.ready.pop_front() else {
                break;
            };
            let Some(talk) = self.talks.get_mut(instance) else {
                continue;
            };
            if talk.out.attaches_next() && !link.tx.can_attach() {
                // It goes first in the next plan.
                link.ready.push_front(instance);
                break;
            }
            talk.fill(self.now, &mut link.tx, &mut self.pool);
            talk.queued = talk.wants_write();
            if talk.queued {
                link.ready.push_back(instance);
            }
        }
    }

    pub(super) fn mark_due(&mut self, instance: InstanceId) {
        if let Some(talk) = self.talks.get_mut(instance) {
            talk.mark_timer = false;
            talk.inb.mark_now();
            self.touch(instance);
        }
    }

    /// A path to the instance begins anew.
    pub(super) fn path_begins(&mut self, instance: InstanceId) {
        if let Some(talk) = self.talks.get_mut(instance) {
            talk.out.path_begins();
            self.touch(instance);
        }
    }

    pub(super) fn path_ends(&mut self, instance: InstanceId) {
        if let Some(talk) = self.talks.get_mut(instance) {
            talk.out.path_ends();
        }
    }

    /// Nobody can be reached: the uplink is lost.
    pub(super) fn all_paths_end(&mut self) {
        let own = self.me.instance;
        for talk in self.talks.iter_mut() {
            if talk.ends.destination != own {
                talk.out.path_ends();
                talk.queued = false;
            }
        }
    }

    /// Gives freed credit and room to those that wait for some.
    pub(super) fn serve_starving(&mut self) {
        while let Some(ask) = self.books.rooms.grant() {
            match self.talks.get_mut(ask.source) {
                Some(talk) => {
                    talk.inb.grant_room(ask, &mut self.books);
                    self.touch(ask.source);
                }
                None => self.books.rooms.free(ask.source, ask.size),
            }
        }
        for _ in 0..self.outbox.starving.len() {
            let Some((instance, flow)) = self.outbox.starving.pop_front() else {
                break;
            };
            let Some(talk) = self.talks.get_mut(instance) else {
                continue;
            };
            let still = talk.inb.serve(flow, &mut self.books);
            self.touch(instance);
            if still {
                self.outbox.starving.push_back((instance, flow));
            }
        }
    }

    /// Somebody has to do without credit: what others do not use comes back.
    pub(super) fn reclaim_unused(&mut self) {
        let floor = self.books.ledger.floor();
        let mut asked = Vec::new();
        for talk in self.talks.iter_mut() {
            if talk.inb.reclaim(floor) {
                asked.push(talk.ends.destination);
            }
        }
        for instance in asked {
            self.touch(instance);
        }
    }
}

/// Longer frames travel in slices: a sixteenth of the receiver's budget always fits into what one
/// flow may hold of it.
fn slice_above(budget: u64) -> usize {
    let most = crate::wire::limits::FRAME as u64;
    (budget / 16).min(most).max(512) as usize
}
