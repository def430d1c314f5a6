//! What a run has shown, and whether it kept what was promised.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::World;
use crate::group::Presence;
use crate::id::{Generation, PeerId};
use crate::sim::kernel::Marks;
use crate::sim::model::Process;
use crate::sim::plan::Plan;
use crate::time::Instant;
use crate::trace::Log;
use crate::wire::limits;

/// What a run has shown.
#[derive(Debug)]
pub struct Report {
    /// Promises that were broken. A good run has none.
    pub violations: Vec<String>,
    /// How often each rare path was taken.
    pub marks: Marks,
    /// Of everything that every node gave back, in order.
    pub digest: u64,
    /// Messages that applications took.
    pub delivered: u64,
    /// What the application of each slot saw, in order and without times; of all its lives together.
    pub transcripts: BTreeMap<usize, Vec<String>>,
    /// Every life of every node, for replaying.
    pub logs: Vec<Log>,
    /// How many outputs the nodes of each slot asked for, of all its lives together.
    pub outputs: BTreeMap<usize, u64>,
    /// When it ended.
    pub end: Instant,
}

impl Report {
    /// Panics with everything that is needed to see the run again, unless no promise was broken.
    #[track_caller]
    pub fn assert_kept(&self, plan: &Plan) {
        let broken = &self.violations;
        let shown = &broken[..broken.len().min(10)];
        assert!(
            broken.is_empty(),
            "{} promises broken:\n{shown:#?}\nplan {}",
            broken.len(),
            plan.encode(),
        );
    }
}

impl World {
    /// What waits in a node stays within the caps of its configuration.
    pub(super) fn check_bounds(&mut self) {
        for running in self.slots.iter().flatten() {
            let Some(start) = self.starts.get(&running.process) else {
                continue;
            };
            let (buffered, most) = (running.node.buffered(), start.config.send_buffer_total);
            if buffered > most {
                let what = format!("slot {} buffers {buffered} of {most}", running.slot);
                self.shared.model.fail(what);
            }
            // The least that a message costs bounds their number by the budget; beside it each sender
            // has its first contact.
            let senders = self.plan.nodes.len() as u64;
            let first = u64::from(limits::FIRST_CONTACT_FRAMES);
            let most = start.config.receive_budget / 128 + senders * first * 2;
            let unread = running.node.unread() as u64;
            if unread > most {
                let what = format!("slot {} holds {unread} of {most} messages", running.slot);
                self.shared.model.fail(what);
            }
        }
    }

    /// At the hub, every identity is above all that its members have ever known of others.
    pub(super) fn check_identities(&mut self) {
        let Some(hub) = self.hub().and_then(|slot| self.slots[slot].as_ref()) else {
            return;
        };
        let model = &mut self.shared.model;
        let peers = hub.node.roster().peers();
        let named: Vec<(Process, PeerId, Generation, Presence)> = peers
            .filter_map(|peer| {
                let process = model.process(peer.instance.0)?;
                Some((process, peer.id, peer.generation, peer.presence))
            })
            .collect();
        let attached = named.iter().filter(|peer| peer.3 == Presence::Attached);
        let attached: Vec<Process> = attached.map(|peer| peer.0).collect();
        for (process, id, generation, _) in named {
            model.answers_to(&attached, process, id.0, generation.0);
        }
    }

    /// What everybody still waits for.
    pub(super) fn open(&self) -> Vec<String> {
        let living = self.slots.iter().flatten().map(|running| running.slot);
        // Without a hub nobody can be reached.
        let present: BTreeSet<usize> = living.filter(|_| self.hub().is_some()).collect();
        let mut open = self.shared.model.open(&present);
        for running in self.slots.iter().flatten() {
            let waits = running.app.backlog().filter(|(_, to)| present.contains(to));
            if let Some((left, to)) = waits {
                let from = running.slot;
                open.push(format!("slot {from} still waits to send {left} to {to}"));
            }
        }
        open
    }

    pub(super) fn judge(mut self) -> Report {
        self.check_identities();
        let early = !self.shared.model.violations().is_empty();
        if !early {
            for what in self.open() {
                self.shared.model.fail(what);
            }
            let living = self.slots.iter().flatten();
            let ids = living.filter_map(|running| {
                let (id, _) = running.node.identity()?;
                Some((running.process, id.0))
            });
            self.shared.model.present_as(ids);
            self.check_descriptors();
        }
        let mut outputs = BTreeMap::new();
        let slots = core::mem::take(&mut self.slots);
        for running in slots.into_iter().flatten() {
            outputs.insert(running.slot, running.outputs);
            self.remember(&running);
        }
        // Nothing of the world is left but what the kernel still carries.
        let mut marks = core::mem::take(&mut self.shared.marks);
        for (mark, times) in self.shared.kernel.marks() {
            *marks.entry(mark).or_default() += times;
        }
        let steps = self.finished.iter().flat_map(|log| &log.steps);
        let digest = steps.fold(0, |digest: u64, step| digest.rotate_left(7) ^ step.digest);
        Report {
            violations: self.shared.model.violations().to_vec(),
            marks,
            digest,
            delivered: self.shared.model.delivered(),
            transcripts: self.transcripts,
            logs: self.finished,
            outputs,
            end: self.shared.now,
        }
    }

    /// At rest, every open descriptor is in the hands of an application or of a message that waits.
    fn check_descriptors(&mut self) {
        let held = self
            .slots
            .iter()
            .flatten()
            .flat_map(|running| running.app.held());
        let expected = held.chain(self.shared.model.under_way());
        if let Err(error) = self.shared.registry.conserves(expected) {
            self.shared.model.fail(format!("{error}"));
        }
    }
}
