//! The conversations of a node: which there are, what has something to write, and their paths.

use alloc::vec::Vec;

use super::{Node, Timer};
use crate::group::Presence;
use crate::id::{InstanceId, LinkId};
use crate::run_map::RunMap;
use crate::talk::{Ends, Inbound, Outbound, Talk};

/// The conversations, by the instance at the other end.
pub(super) type Talks<F> = RunMap<InstanceId, Talk<F>>;

impl<F> Node<F> {
    /// The conversation with an instance, begun if there is none yet.
    pub(super) fn talk(&mut self, instance: InstanceId) -> &mut Talk<F> {
        if !self.talks.contains(instance) {
            let mut talk = self.new_talk(instance);
            if self.is_reachable(instance) {
                talk.out.path_begins();
            }
            self.talks.insert(instance, talk);
        }
        // Nothing between the look above and this one takes a conversation out.
        self.talks
            .get_mut(instance)
            .expect("it was there, or has just been put there")
    }

    fn new_talk(&self, instance: InstanceId) -> Talk<F> {
        let ends = Ends {
            source: self.me.instance,
            destination: instance,
        };
        let slice_above = self.slice_above(instance);
        Talk {
            ends,
            out: Outbound::new(
                ends,
                self.config.attachments_pair,
                slice_above,
                instance == self.me.instance,
            ),
            inb: Inbound::new(instance, self.config.first_window, self.config.mark_delay),
            queued: false,
            broken: false,
            accuses: false,
            mark_timer: false,
            refused: Vec::new(),
            pending: 0,
        }
    }

    /// Longer frames to the instance travel in slices. Of one that the roster does not name yet,
    /// nothing is known but that its budget cannot be smaller than the least.
    fn slice_above(&self, instance: InstanceId) -> usize {
        let own = instance == self.me.instance;
        let budget = match self.roster.by_instance(instance) {
            Some(peer) => peer.budget,
            None if own => self.config.receive_budget,
            None => crate::config::LEAST_BUDGET,
        };
        sixteenth(budget)
    }

    /// The roster says something new of a peer: frames to it are cut as its budget demands.
    pub(super) fn limits_known(&mut self, instance: InstanceId) {
        let slice_above = self.slice_above(instance);
        self.with_out(instance, |out, pool| out.set_slice_above(slice_above, pool));
        self.touch(instance);
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

    /// The link that leads to an instance. Before this node is attached nobody takes anything of it
    /// over the link to the hub.
    fn route(&self, instance: InstanceId) -> Option<LinkId> {
        let below = self.routes.get(&instance).copied();
        below.or_else(|| self.uplink.link().filter(|_| self.uplink.is_attached()))
    }

    /// As [`Node::touch`], before the node is idle or when another conversation has its turn: what
    /// comes, goes and is taken does so in runs.
    #[inline]
    pub(super) fn touch_later(&mut self, instance: InstanceId) {
        if self.touched != Some(instance) {
            self.touch_now();
            self.touched = Some(instance);
        }
    }

    /// Does what [`Node::touch_later`] has put off.
    pub(super) fn touch_now(&mut self) {
        if let Some(instance) = self.touched.take() {
            self.touch(instance);
        }
    }

    /// Sees to it that a conversation which has something to write gets its turn.
    pub(super) fn touch(&mut self, instance: InstanceId) {
        let Some(talk) = self.talks.get_mut(instance) else {
            return;
        };
        let (bytes, frames) = talk.out.own_frames();
        let owed = bytes > self.config.send_buffer || frames > self.config.send_messages;
        if owed != talk.inb.is_withheld() {
            talk.inb.withhold(owed, &mut self.books);
        }
        if let Some(at) = talk.leaves_unmarked(self.now) {
            self.timers.set(Timer::Mark(instance), Some(at));
        }
        if talk.queued || !talk.wants_write() {
            return;
        }
        if instance == self.me.instance {
            talk.queued = true;
            self.loops = true;
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
            } else if let Some(at) = talk.leaves_unmarked(self.now) {
                // What went now did not take a mark along, and nothing may follow it.
                self.timers.set(Timer::Mark(instance), Some(at));
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
        for link in self.links.ids() {
            self.leave_turn(link, |_| true);
        }
        let own = self.me.instance;
        for talk in self.talks.values_mut() {
            if talk.ends.destination != own {
                talk.out.path_ends();
            }
        }
    }
}

/// Longer frames travel in slices: a sixteenth of the receiver's budget always fits into what one
/// flow may hold of it.
fn sixteenth(budget: u64) -> usize {
    let most = crate::wire::limits::FRAME as u64;
    (budget / 16).min(most).max(512) as usize
}
