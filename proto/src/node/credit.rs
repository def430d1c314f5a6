//! Credit and room that became free, for those that wait for some.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use super::Node;
use crate::id::InstanceId;
use crate::wire::BlockedBody;

/// Who waits for credit, and what is to be looked at before the node is idle. What happens in
/// between only says that something has changed: a peer that says so a thousand times in one read
/// costs one look, not a thousand.
#[derive(Debug, Default)]
pub(super) struct Hungry {
    /// Flows whose senders stay without the credit that they need, in the order of asking; each
    /// once, as its flow knows.
    flows: VecDeque<(InstanceId, u32)>,
    /// Credit or room may be free that somebody waits for.
    share: bool,
    /// Somebody has to do without credit: what others do not use comes back.
    reclaim: bool,
}

impl<F> Node<F> {
    /// A sender says that a flow of its is blocked.
    pub(super) fn on_blocked(
        &mut self,
        source: InstanceId,
        flow: u32,
        body: &BlockedBody,
    ) -> Result<(), crate::talk::Breach> {
        let Self { talks, books, .. } = self;
        let Some(talk) = talks.get_mut(source) else {
            return Ok(());
        };
        let starves = talk.inb.blocked(flow, body, books)?;
        if starves && talk.inb.set_queued(flow, true) {
            self.hungry.flows.push_back((source, flow));
        }
        self.hungry.reclaim |= starves;
        self.hungry.share |= books.rooms.is_asked();
        Ok(())
    }

    /// Something was taken, ended or given back.
    pub(super) fn credit_is_free(&mut self) {
        self.hungry.share = true;
    }

    /// Gives what became free since the last time to those that wait for it, the one that waits
    /// longest first.
    pub(super) fn share_credit(&mut self) {
        if mem::take(&mut self.hungry.reclaim) {
            self.reclaim_unused();
        }
        if !mem::take(&mut self.hungry.share) {
            return;
        }
        for _ in 0..self.hungry.flows.len() {
            let Some((instance, flow)) = self.hungry.flows.pop_front() else {
                break;
            };
            let Some(talk) = self.talks.get_mut(instance) else {
                continue;
            };
            let still = talk.inb.serve(flow, &mut self.books);
            talk.inb.set_queued(flow, still);
            self.touch(instance);
            if still {
                self.hungry.flows.push_back((instance, flow));
            }
        }
        while let Some(ask) = self.books.rooms.grant() {
            match self.talks.get_mut(ask.source) {
                Some(talk) => {
                    talk.inb.grant_room(ask, &mut self.books);
                    self.touch(ask.source);
                }
                None => self.books.rooms.free(ask.source, ask.size),
            }
        }
    }

    fn reclaim_unused(&mut self) {
        let floor = self.books.ledger.floor();
        let mut asked = Vec::new();
        for talk in self.talks.values_mut() {
            if talk.inb.reclaim(floor) {
                asked.push(talk.ends.destination);
            }
        }
        for instance in asked {
            self.touch(instance);
        }
    }
}
