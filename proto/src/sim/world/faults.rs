//! What a plan does to its world: work, faults, and the end of all faults.

use alloc::vec::Vec;
use core::time::Duration;

use super::{World, count};
use crate::id::InstanceId;
use crate::link::Medium;
use crate::node::{LinkConfig, LinkOrigin};
use crate::sim::handle::Owner;
use crate::sim::kernel::{End, Shape, StreamKind};
use crate::sim::model::Process;
use crate::sim::plan::{Fault, Intake, Work};
use crate::sim::process::stage;
use crate::sim::rng::Rng;
use crate::sim::stranger::{self, Stranger};
use crate::time::Instant;

impl World {
    pub(super) fn work(&mut self, slot: usize, work: &Work) {
        // A stopped process does nothing, so its work is lost like that of a dead one.
        let now = self.shared.now;
        if let Some(running) = self.slots.get_mut(slot).and_then(Option::as_mut)
            && running.paused.is_none_or(|until| until <= now)
        {
            running
                .app
                .work(&mut stage(&mut self.shared), &mut running.node, work);
        }
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        let now = self.shared.now;
        match fault {
            Fault::Kill(slot) => self.kill(slot),
            Fault::KillAfter(slot, outputs, next, nanos) => {
                if let Some(running) = self.slots.get_mut(slot).and_then(Option::as_mut) {
                    running.fuse = Some((outputs, next, Duration::from_nanos(nanos)));
                }
            }
            Fault::Start(slot) => self.start(slot),
            Fault::Pause(slot, nanos) => self.pause(slot, now + Duration::from_nanos(nanos)),
            Fault::Cut(slot) => {
                count(&mut self.shared.marks, "cut");
                for end in self.network_ends(slot) {
                    self.shared.kernel.cut(now, end);
                }
            }
            Fault::Hold(slot, nanos) => {
                count(&mut self.shared.marks, "held");
                let until = now + Duration::from_nanos(nanos);
                for end in self.network_ends(slot) {
                    self.shared.kernel.hold(now, end, until);
                }
                self.may_come_late(slot);
                self.separate(slot, Duration::from_nanos(nanos));
            }
            Fault::Unreachable(slot, nanos) => {
                self.unreachable
                    .insert(slot, now + Duration::from_nanos(nanos));
                self.may_come_late(slot);
                self.separate(slot, Duration::from_nanos(nanos));
            }
            Fault::Table(slot, more) => self.limit_table(slot, more),
            Fault::InFlight(limit) => self.shared.kernel.set_in_flight_limit(limit),
            Fault::Stranger(says) => self.let_in(says),
            Fault::Liar => self.let_in_liar(),
        }
    }

    fn pause(&mut self, slot: usize, until: Instant) {
        let now = self.shared.now;
        if let Some(running) = self.slots.get_mut(slot).and_then(Option::as_mut) {
            running.paused = Some(until);
            count(&mut self.shared.marks, "paused");
            self.shared.model.paused(running.process, until);
            self.may_come_late(slot);
            // The lease of a stopped process on a network link runs out with the others.
            self.separate(slot, until.saturating_since(now));
        }
    }

    fn limit_table(&mut self, slot: usize, more: Option<u64>) {
        if let Some(running) = self.slots.get(slot).and_then(Option::as_ref) {
            let process = running.process.0;
            let held = self.shared.registry.held_by(Owner::Process(process));
            let limit = more.map(|more| held + more);
            self.shared.registry.set_limit(process, limit);
            self.shared.model.short_of_descriptors();
        }
    }

    fn network_ends(&self, slot: usize) -> Vec<End> {
        let running = self.slots.get(slot).and_then(Option::as_ref);
        running.map_or(Vec::new(), |running| running.ends(StreamKind::Tcp))
    }

    fn let_in(&mut self, says: Vec<u8>) {
        let Some(hub) = self.hub().and_then(|slot| self.slots[slot].as_mut()) else {
            return;
        };
        let mut draws = Rng::new(self.shared.draws.next_u64(), "stranger");
        let (near, far) = self
            .shared
            .kernel
            .connect(StreamKind::Unix, Shape::KIND, &mut draws);
        let config = LinkConfig {
            origin: LinkOrigin::Accepted,
            medium: Medium::Local,
            attachments: true,
        };
        hub.connect(&mut self.shared, far, StreamKind::Unix, config);
        count(&mut self.shared.marks, "stranger");
        self.strangers.push(Stranger::new(near, says));
    }

    /// Somebody attaches who says of everybody that he is gone, and of every id that another has it.
    /// Whom an earlier hub may have declared gone, for all that this one knows, it may cost his life.
    fn let_in_liar(&mut self) {
        let Some(hub) = self.hub().and_then(|slot| self.slots[slot].as_ref()) else {
            return;
        };
        let now = self.shared.now;
        let peers = hub.node.roster().peers();
        let others = peers.filter(|peer| peer.instance != hub.node.instance());
        let instance = InstanceId(self.shared.draws.next_u64().max(1));
        let says = stranger::lies(instance, others, &mut self.shared.draws);
        let liar = Process(u32::MAX - self.next_process);
        self.next_process += 1;
        let model = &mut self.shared.model;
        model.lives_as(liar, instance.0);
        model.separated(now, liar);
        if self.succeeded.is_some() {
            for running in self.slots.iter().flatten() {
                model.separated(now, running.process);
            }
        }
        count(&mut self.shared.marks, "liar");
        self.let_in(says);
    }

    /// The faults are over: from now on everything that was promised must come true.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        let now = self.shared.now;
        self.unreachable.clear();
        self.shared.kernel.set_in_flight_limit(None);
        for running in self.slots.iter_mut().flatten() {
            running.app.set_intake(now, Intake::Eager);
            self.shared.registry.set_limit(running.process.0, None);
            running.fuse = None;
        }
    }
}
