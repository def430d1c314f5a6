//! The receive budget of a node: who holds how much of it as credit.
//!
//! Never more credit is outstanding, over all senders, than the budget. Every open flow keeps a
//! floor that others cannot hold, so that a flow whose neighbours are unread still moves.

/// Shares out the receive budget. Amounts are costs, in bytes.
#[derive(Debug)]
pub(crate) struct Ledger {
    budget: u64,
    floor: u64,
    /// Credit given and not yet taken, over all flows.
    outstanding: u64,
    /// What the floors of open flows lack, over all flows: kept free for them.
    reserved: u64,
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
        }
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    #[cfg(test)]
    pub(crate) fn outstanding(&self) -> u64 {
        self.outstanding
    }

    #[cfg(test)]
    pub(crate) fn budget(&self) -> u64 {
        self.budget
    }

    fn lack(&self, held: u64) -> u64 {
        self.floor.saturating_sub(held)
    }

    /// Keeps the floor of a new flow free. `false` where it does not fit: the flow is refused.
    pub(crate) fn open_flow(&mut self) -> bool {
        let fits = self.outstanding + self.reserved + self.floor <= self.budget;
        if fits {
            self.reserved += self.floor;
        }
        fits
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
        let free = self.budget - self.outstanding - self.reserved;
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
                    0 if ledger.open_flow() => flows.push(0),
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
}
