//! Children that were started with a connection to their parent: they have no other way, end with
//! it, and are started again with it.

use alloc::vec::Vec;
use core::time::Duration;

use super::{World, count};
use crate::node::LinkOrigin;
use crate::sim::model::Process;
use crate::time::Instant;

impl World {
    /// Whether the process of a slot can be started: a child only by its parent, which cannot do it
    /// while it is stopped.
    pub(super) fn has_parent(&self, slot: usize) -> bool {
        let node = &self.plan.nodes[slot];
        let parent = node
            .parent
            .and_then(|parent| self.slots.get(parent)?.as_ref());
        let runs =
            parent.is_some_and(|parent| parent.paused.is_none_or(|at| at <= self.shared.now));
        !node.inherits || runs
    }

    /// The process of a slot was started: it has its connection if it inherits one, and starts its
    /// own children.
    pub(super) fn join_family(&mut self, slot: usize) {
        if let Some(parent) = self.plan.heir_of(slot) {
            self.link_up(slot, parent, LinkOrigin::Inherited);
        }
        let nodes = self.plan.nodes.iter();
        let own = nodes.enumerate().filter(|(child, node)| {
            *child != slot && node.runs && self.plan.heir_of(*child) == Some(slot)
        });
        for child in own.map(|(child, _)| child).collect::<Vec<_>>() {
            // One that was slower to end than its parent to come back.
            self.kill(child);
            self.start(child);
        }
    }

    /// The process of a slot has died. Its heirs will see the end of their connection, or be killed by
    /// their kernel before.
    pub(super) fn bereave(&mut self, slot: usize) {
        for child in 0..self.slots.len() {
            if child != slot && self.plan.heir_of(child) == Some(slot) {
                self.mourn(child);
            }
        }
    }

    /// The process of a slot has no way to its hub any more, and will end.
    pub(super) fn mourn(&mut self, slot: usize) {
        let Some(process) = self.slots[slot].as_ref().map(|running| running.process) else {
            return;
        };
        if self.bereaved.iter().all(|(_, other)| *other != process) {
            let delay = Duration::from_nanos(self.shared.draws.range(20_000..=1_000_000));
            self.bereaved.push((self.shared.now + delay, process));
        }
    }

    /// Who has no way any more ends: mostly heirs, after those from whom they had their connection.
    pub(super) fn bury(&mut self) {
        let now = self.shared.now;
        let (due, later) = self.bereaved.iter().partition(|(at, _)| *at <= now);
        self.bereaved = later;
        let due: Vec<(Instant, Process)> = due;
        for (_, process) in due {
            let mut living = self.slots.iter().flatten();
            if let Some(slot) = living.find(|r| r.process == process).map(|r| r.slot) {
                count(&mut self.shared.marks, "ended_with_its_parent");
                self.kill(slot);
            }
        }
    }
}
