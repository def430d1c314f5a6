//! The receive budget of a node: who holds how much of it as credit.
//!
//! Never more credit is outstanding, over all senders, than the budget. Every open flow keeps a
//! floor that others cannot hold, so that a flow whose neighbours are unread still moves; and one
//! floor is kept for every peer that has not opened a flow yet.

/// Shares out the receive budget. Amounts are costs, in bytes.
#[derive(Debug)]
pub(crate) struct Ledger {
    budget: u64,
    floor: u64,
    /// Credit given and not yet taken, over all flows.
    outstanding: u64,
    /// What the floors of open flows lack, over all flows: kept free for them.
    reserved: u64,
    /// Peers that the roster names, and pairs that have an open flow.
    peers: u64,
    pairs: u64,
}

/// What one flow holds, as its receiver sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Holding {
    /// Credit of the flow given and not yet freed.
    pub(crate) flow: u64,
    /// The same over all flows of the pair.
    pub(crate) pair: u64,
}

impl Ledger {
    pub(crate) fn new(budget: u64, floor: u64) -> Self {
        Self {
            budget,
            floor: floor.min(budget),
            outstanding: 0,
            reserved: 0,
            peers: 0,
            pairs: 0,
        }
    }

    /// How many peers may each open a first flow at any time.
    pub(crate) fn set_peers(&mut self, peers: usize) {
        self.peers = peers as u64;
    }

    /// The largest window that is worth having: more than this no flow gets of a free budget.
    pub(crate) fn largest_window(&self) -> u64 {
        self.budget / 8
    }

    /// What is kept free for the first flows of those who have not spoken yet. A sixteenth is kept
    /// for who attaches later, when the rest may have been given away. It is never more than half:
    /// where floors alone would use up the budget, some have to wait for theirs.
    fn ahead(&self) -> u64 {
        // A conversation can be older than the roster's word of its peer, so the difference may be
        // below zero for a moment.
        let silent = self.peers.saturating_sub(self.pairs);
        let floors = silent.saturating_mul(self.floor);
        floors.max(self.budget / 16).min(self.budget / 2)
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    #[cfg(test)]
    pub(crate) fn outstanding(&self) -> u64 {
        self.outstanding
    }

    pub(crate) fn budget(&self) -> u64 {
        self.budget
    }

    fn lack(&self, held: u64) -> u64 {
        self.floor.saturating_sub(held)
    }

    /// Keeps the floor of a new flow free; `first` of its pair, out of what is kept ahead. `false`
    /// where it does not fit: the flow waits. What is sent on it waits at its sender, whose buffer
    /// is bounded, and nothing that was accepted is lost for a shortage that passes.
    pub(crate) fn open_flow(&mut self, first: bool) -> bool {
        let kept = if first { 0 } else { self.ahead() };
        let fits = self.outstanding + self.reserved + self.floor + kept <= self.budget;
        if fits {
            self.reserved += self.floor;
            self.pairs += u64::from(first);
        }
        fits
    }

    /// The last flow of a pair has ended.
    pub(crate) fn close_pair(&mut self) {
        self.pairs -= 1;
    }

    /// Ends a flow that held this much.
    pub(crate) fn close_flow(&mut self, held: u64) {
        self.outstanding -= held;
        self.reserved -= self.lack(held);
    }

    /// How much the flow may get now, on top of what it holds. A flow gets at most half of what
    /// its pair may hold, a pair at most a quarter of what nobody else holds: each stopped
    /// receiver of many leaves three quarters of the rest to the others. The floor is always there.
    pub(crate) fn allowance(&self, held: Holding) -> u64 {
        let own_lack = self.lack(held.flow);
        let kept = self.outstanding + self.reserved + self.ahead();
        let free = self.budget.saturating_sub(kept);
        let pair_most = (free + held.pair) / 4;
        let flow_most = (pair_most.saturating_sub(held.pair) + held.flow) / 2;
        flow_most.saturating_sub(held.flow).min(free).max(own_lack)
    }

    /// Moves the books of a flow from one holding to another.
    pub(crate) fn changed(&mut self, before: u64, after: u64) {
        self.outstanding = self.outstanding - before + after;
        self.reserved = self.reserved - self.lack(before) + self.lack(after);
        debug_assert!(self.outstanding + self.reserved <= self.budget);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn credit_and_floors_never_exceed_the_budget(
            budget in 64u64..5000,
            floor in 1u64..300,
            steps in proptest::collection::vec((0usize..6, 0u8..4, 0u64..6000), 1..200),
        ) {
            let mut ledger = Ledger::new(budget, floor);
            let mut flows: Vec<u64> = Vec::new();
            for (which, what, amount) in steps {
                match what {
                    0 if ledger.open_flow(amount % 2 == 0) => flows.push(0),
                    0 => ledger.set_peers(amount as usize % 40),
                    1 if which < flows.len() => {
                        ledger.close_flow(flows.swap_remove(which));
                    }
                    2 if which < flows.len() => {
                        let held = Holding { flow: flows[which], pair: flows[which] };
                        let most = ledger.allowance(held);
                        prop_assert!(flows[which] >= ledger.floor() || most > 0);
                        let after = flows[which] + amount.min(most);
                        ledger.changed(flows[which], after);
                        flows[which] = after;
                    }
                    3 if which < flows.len() => {
                        let after = flows[which] - amount.min(flows[which]);
                        ledger.changed(flows[which], after);
                        flows[which] = after;
                    }
                    _ => {}
                }
                prop_assert_eq!(ledger.outstanding(), flows.iter().sum::<u64>());
                prop_assert!(ledger.outstanding() <= ledger.budget());
            }
        }
    }

    #[test]
    fn whoever_has_not_spoken_yet_finds_a_floor_however_many_flows_others_open() {
        let mut ledger = Ledger::new(64 * 1024, 1024);
        ledger.set_peers(20);
        assert!(ledger.open_flow(true));
        let mut more = 0;
        while ledger.open_flow(false) {
            more += 1;
        }
        assert_eq!(more, 64 - 1 - 19);
        let greedy = Holding::default();
        assert_eq!(ledger.allowance(greedy), 1024, "its own floor, and no more");
        for peer in 1..20 {
            assert!(ledger.open_flow(true), "{peer}");
        }
        assert!(!ledger.open_flow(true), "now every floor is given");
    }
}
