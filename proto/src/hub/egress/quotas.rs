//! What is queued for each instance behind a link, against what it can have given credit for.

use alloc::collections::BTreeMap;

use slab::Slab;

use crate::id::InstanceId;

/// How many idle quotas are kept once nothing is queued at all: of a link that leads to few
/// instances all, of one that leads to everybody those of the present.
const IDLE_QUOTAS: usize = 64;

/// One account for each destination. A destination that does not read fills its own and nobody
/// else's.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    /// The other fields hold only keys of accounts that are in here, so indexing does not fail.
    slots: Slab<Quota>,
    by_destination: BTreeMap<InstanceId, usize>,
    /// The account that was asked for last, as frames come in runs.
    last: Option<(InstanceId, usize)>,
}

#[derive(Debug)]
struct Quota {
    /// What all credited frames together may cost.
    bound: u64,
    /// What those cost that are queued.
    held: u64,
}

impl Quotas {
    /// The account of a destination, opened with this bound if there is none.
    pub(super) fn of(&mut self, destination: InstanceId, bound: impl FnOnce() -> u64) -> usize {
        if let Some((last, key)) = self.last
            && last == destination
        {
            return key;
        }
        let slots = &mut self.slots;
        let open = || {
            slots.insert(Quota {
                bound: bound(),
                held: 0,
            })
        };
        let key = *self.by_destination.entry(destination).or_insert_with(open);
        self.last = Some((destination, key));
        key
    }

    /// Charges an account; `false` (and nothing is charged) if that would exceed its bound.
    pub(super) fn charge(&mut self, key: usize, cost: u64) -> bool {
        let quota = &mut self.slots[key];
        let fits = quota.held.saturating_add(cost) <= quota.bound;
        if fits {
            quota.held += cost;
        }
        fits
    }

    /// The account of a destination that has one, and what may still be charged to it.
    pub(super) fn rest(&self, destination: InstanceId) -> Option<(usize, u64)> {
        let key = match self.last {
            Some((last, key)) if last == destination => key,
            _ => *self.by_destination.get(&destination)?,
        };
        let quota = &self.slots[key];
        Some((key, quota.bound.saturating_sub(quota.held)))
    }

    /// Gives back what was charged.
    pub(super) fn release(&mut self, key: usize, cost: u64) {
        self.slots[key].held -= cost;
    }

    /// Sets the bounds anew. What is queued already stays.
    pub(super) fn rebound(&mut self, mut bound: impl FnMut(InstanceId) -> u64) {
        for (destination, key) in &self.by_destination {
            self.slots[*key].bound = bound(*destination);
        }
    }

    /// Closes the account of a destination for which nothing is queued any more.
    pub(super) fn close(&mut self, destination: InstanceId) {
        self.last = None;
        if let Some(key) = self.by_destination.remove(&destination) {
            self.slots.remove(key);
        }
    }

    #[cfg(test)]
    /// What is queued for all together.
    pub(super) fn held(&self) -> u64 {
        self.slots.iter().map(|(_, quota)| quota.held).sum()
    }

    /// Nothing is queued for anybody.
    pub(super) fn idle(&mut self) {
        if self.slots.len() > IDLE_QUOTAS {
            *self = Self::default();
        }
    }
}
