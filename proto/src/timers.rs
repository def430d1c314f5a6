//! Every deadline of a node in one queue.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::time::Instant;

/// Deadlines by key. Setting a key again moves its deadline, so a key fires at most once; all
/// operations are O(log n), and ties fire in the order of their keys.
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

    pub(crate) fn earliest(&self) -> Option<(Instant, K)> {
        self.queue.first().copied()
    }

    /// The next key whose deadline is not later than `now`; it is cleared.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<K> {
        let (at, key) = self.earliest()?;
        if at > now {
            return None;
        }
        self.set(key, None);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_fires_once_at_its_last_deadline_and_ties_fire_in_order() {
        let mut timers = Timers::new();
        let at = Instant::from_nanos;
        timers.set(1, Some(at(10)));
        timers.set(1, Some(at(30)));
        timers.set(3, Some(at(20)));
        timers.set(2, Some(at(20)));
        timers.set(4, Some(at(5)));
        timers.set(4, None);
        assert_eq!(timers.earliest(), Some((at(20), 2)));
        assert_eq!(timers.expired(at(19)), None);
        assert_eq!(timers.expired(at(25)), Some(2));
        assert_eq!(timers.expired(at(25)), Some(3));
        assert_eq!(timers.expired(at(25)), None);
        assert_eq!(timers.expired(at(30)), Some(1));
        assert_eq!(timers.earliest(), None);
    }
}
