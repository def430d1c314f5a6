//! What the faults of a world may rightly lead to: who may be declared gone although it lives.

use alloc::vec::Vec;
use core::time::Duration;

use super::{World, count};
use crate::sim::model::Process;
use crate::sim::plan::Reach;
use crate::time::Instant;

/// A loss of the network that is shorter than this must never cost a peer its life; the core's own
/// grace is 5 s.
const SEPARATION: Duration = Duration::from_secs(3);

/// How long after the beginning of a hub a member of an earlier one may be away, and a little more
/// than that. Who is stopped or cut off in this time may come too late.
const RETURN: Duration = Duration::from_secs(9);

impl World {
    /// The process of a slot dies, and others attach through it.
    pub(super) fn orphan(&mut self, slot: usize) {
        let until = self.shared.now + SEPARATION;
        for other in self.slots.iter().flatten() {
            if self.plan.is_tied(other.slot, slot) {
                // It ends with the one that died, and its hub does not wait to see it.
                let now = self.shared.now;
                self.shared.model.separated(now, other.process);
            } else if self.plan.way_up(other.slot).contains(&slot) {
                count(&mut self.shared.marks, "orphaned");
                self.orphans.push((until, other.process));
            }
        }
        if !self.plan.nodes[slot].hub {
            self.may_come_late(slot);
        }
    }

    /// A member that was stopped or cut off, for however short a time, while it looked for a new hub
    /// may come after the others have given it up.
    pub(super) fn may_come_late(&mut self, slot: usize) {
        let looked_for = match self.succeeded {
            Some(at) => self.shared.now.saturating_since(at) < RETURN,
            None => false,
        };
        if !looked_for && self.hub().is_some() {
            return;
        }
        let hub = self.plan.nodes.get(slot).is_some_and(|node| node.hub);
        for running in self.slots.iter().flatten() {
            let behind = self.plan.way_up(running.slot).contains(&slot);
            if behind || hub && !running.node.is_connected() {
                count(&mut self.shared.marks, "late_for_the_hub");
                let model = &mut self.shared.model;
                model.separated(self.shared.now, running.process);
            }
        }
    }

    /// Whether the process of a slot is not attached, or may not know that it is not.
    pub(super) fn is_cut_off(&self, slot: usize) -> bool {
        // A stopped process does not even know that its hub has changed, and tells nobody.
        self.plan.way_up(slot).into_iter().any(|slot| {
            let running = self.slots.get(slot).and_then(Option::as_ref);
            running.is_none_or(|running| running.paused.is_some() || !running.node.is_connected())
        })
    }

    /// Whoever attached through a process that died has the grace of a lost link to find another
    /// way.
    pub(super) fn look_after_orphans(&mut self) {
        let now = self.shared.now;
        let (due, later) = self.orphans.iter().partition(|(at, _)| *at <= now);
        self.orphans = later;
        let due: Vec<(Instant, Process)> = due;
        for (_, process) in due {
            let living = self.slots.iter().flatten();
            let slot = living
                .filter(|r| r.process == process)
                .map(|r| r.slot)
                .next();
            if slot.is_some_and(|slot| self.is_cut_off(slot)) {
                count(&mut self.shared.marks, "orphan_too_late");
                self.shared.model.separated(now, process);
            }
        }
    }

    /// What a loss of the network between a slot and its hub may rightly lead to.
    pub(super) fn separate(&mut self, slot: usize, lasting: Duration) {
        if lasting < SEPARATION {
            return;
        }
        let hub = self.plan.nodes.get(slot).is_some_and(|node| node.hub);
        let now = self.shared.now;
        for running in self.slots.iter().flatten() {
            let way = self.plan.way_up(running.slot);
            let networked = |slot: &usize| self.plan.nodes[*slot].reach == Reach::Network;
            if way.iter().any(networked) && (hub || way.contains(&slot)) {
                self.shared.model.separated(now, running.process);
            }
        }
    }

    /// A hub begins after another: who is stopped or cut off now may come too late.
    pub(super) fn succeed(&mut self) {
        let now = self.shared.now;
        if !core::mem::replace(&mut self.founded, true) {
            return;
        }
        self.succeeded = Some(now);
        let away = self.slots.iter().flatten().filter(|running| {
            let cut_off = self.unreachable.get(&running.slot);
            let way = self.plan.way_up(running.slot);
            running.paused.is_some_and(|until| until > now)
                || cut_off.is_some_and(|at| *at > now)
                || way.into_iter().any(|slot| self.slots[slot].is_none())
        });
        let away: Vec<usize> = away.map(|running| running.slot).collect();
        for slot in away {
            self.may_come_late(slot);
        }
    }
}
