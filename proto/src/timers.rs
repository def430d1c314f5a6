//! Every deadline of a node in one queue.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::time::Instant;

/// Deadlines by key. Setting a key again moves its deadline, so a key comes at most once; all
/// operations are O(log n), and ties come in the order of their keys.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    queue: BTreeSet<(Instant, K)>,
    at: BTreeMap<K, Instant>,
}

impl<K: Copy + Ord> Timers<K> {
    pub(crate) fn new() -> Self {
        Self {
            queue: BTreeSet::new(),
            at: BTreeMap::new(),
        }
    }

    /// Sets, moves or, with `None`, clears a deadline.
    pub(crate) fn set(&mut self, key: K, at: Option<Instant>) {
        let old = match at {
            Some(at) => self.at.insert(key, at),
            None => self.at.remove(&key),
        };
        if old == at {
            return;
        }
        if let Some(old) = old {
            self.queue.remove(&(old, key));
        }
        if let Some(at) = at {
            self.queue.insert((at, key));
        }
    }

    /// The deadline that comes next, with its key.
    pub(crate) fn earliest(&self) -> Option<(Instant, K)> {
        self.queue.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_once_at_its_last_deadline_and_ties_come_in_order() {
        let mut timers = Timers::new();
        let at = Instant::from_nanos;
        timers.set(1, Some(at(10)));
        timers.set(1, Some(at(30)));
        timers.set(3, Some(at(20)));
        timers.set(2, Some(at(20)));
        timers.set(4, Some(at(5)));
        timers.set(4, None);
        for fires in [(at(20), 2), (at(20), 3), (at(30), 1)] {
            assert_eq!(timers.earliest(), Some(fires));
            timers.set(fires.1, None);
        }
        assert_eq!(timers.earliest(), None);
    }
}
