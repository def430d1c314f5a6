//! A map for keys that come in rising order and go oldest first, as requests and their deadlines
//! do.

use alloc::collections::{BTreeMap, VecDeque};
use core::fmt;

/// Holes in the run that are left alone.
const HOLES: usize = 32;

/// A map sorted by key. A key above all others goes to the end of a run, and the oldest leaves at
/// its front, both without a search; any other key is found, put and removed in O(log n).
pub(crate) struct RisingMap<K, V> {
    /// By rising key. What was removed from the middle leaves a hole; neither end is one, and at
    /// most half are beyond [`HOLES`], so that one old entry does not keep all later ones' places.
    run: VecDeque<(K, Option<V>)>,
    holes: usize,
    /// What came below the end of the run. A key is here or in the run, never in both.
    odd: BTreeMap<K, V>,
}

impl<K: Copy + Ord, V> RisingMap<K, V> {
    pub(crate) const fn new() -> Self {
        Self {
            run: VecDeque::new(),
            holes: 0,
            odd: BTreeMap::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        // A run that is not empty begins with an entry.
        self.run.is_empty() && self.odd.is_empty()
    }

    /// Where the run has a key, or its hole. The newest and the oldest are looked for most.
    #[inline]
    fn place(&self, key: &K) -> Option<usize> {
        let (newest, _) = self.run.back()?;
        if newest == key {
            return Some(self.run.len() - 1);
        }
        match self.run.front() {
            Some((oldest, _)) if oldest == key => Some(0),
            _ => self.run.binary_search_by(|(at, _)| at.cmp(key)).ok(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        match self.place(key).and_then(|at| self.run.get(at)) {
            Some((_, Some(value))) => Some(value),
            _ if self.odd.is_empty() => None,
            _ => self.odd.get(key),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match self.place(key).and_then(|at| self.run.get_mut(at)) {
            Some((_, Some(value))) => Some(value),
            _ if self.odd.is_empty() => None,
            _ => self.odd.get_mut(key),
        }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if !self.odd.is_empty()
            && let Some(known) = self.odd.get_mut(&key)
        {
            return Some(core::mem::replace(known, value));
        }
        if self.run.back().is_none_or(|(newest, _)| *newest < key) {
            self.run.push_back((key, Some(value)));
            return None;
        }
        match self.place(&key).and_then(|at| self.run.get_mut(at)) {
            Some((_, place)) => {
                let old = place.replace(value);
                self.holes -= usize::from(old.is_none());
                old
            }
            None => self.odd.insert(key, value),
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        match self.place(key).and_then(|at| self.run.get_mut(at)) {
            Some((_, place @ Some(_))) => {
                let value = place.take();
                self.holes += 1;
                self.trim();
                value
            }
            _ if self.odd.is_empty() => None,
            _ => self.odd.remove(key),
        }
    }

    fn trim(&mut self) {
        while self.run.front().is_some_and(|(_, value)| value.is_none()) {
            self.run.pop_front();
            self.holes -= 1;
        }
        while self.run.back().is_some_and(|(_, value)| value.is_none()) {
            self.run.pop_back();
            self.holes -= 1;
        }
        if self.holes > HOLES && self.holes * 2 > self.run.len() {
            self.run.retain(|(_, value)| value.is_some());
            self.holes = 0;
        }
    }

    /// The lowest key.
    #[inline]
    pub(crate) fn first_key(&self) -> Option<K> {
        let run = self.run.front().map(|(key, _)| *key);
        let odd = self.odd.first_key_value().map(|(key, _)| *key);
        match (run, odd) {
            (Some(run), Some(odd)) => Some(run.min(odd)),
            _ => run.or(odd),
        }
    }

    /// By rising key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        let run = self.run.iter();
        let mut run = run
            .filter_map(|(key, value)| Some((*key, value.as_ref()?)))
            .peekable();
        let mut odd = self.odd.iter().map(|(key, value)| (*key, value)).peekable();
        core::iter::from_fn(move || match (run.peek(), odd.peek()) {
            (Some((in_run, _)), Some((at, _))) if at < in_run => odd.next(),
            (Some(_), _) => run.next(),
            (None, _) => odd.next(),
        })
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = K> + '_ {
        self.iter().map(|(key, _)| key)
    }
}

impl<K: Copy + Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for RisingMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_answers_as_a_sorted_map_does(
            steps in proptest::collection::vec((0u8..8, 0u32..12, any::<u16>()), 1..300),
        ) {
            let (mut map, mut model) = (RisingMap::new(), BTreeMap::new());
            let mut rising = 0;
            for (what, key, value) in steps {
                let near = (rising + 2u32).saturating_sub(key);
                match what {
                    0..3 => {
                        rising += 1;
                        prop_assert_eq!(map.insert(rising, value), model.insert(rising, value));
                    }
                    3 => prop_assert_eq!(map.insert(near, value), model.insert(near, value)),
                    4 => {
                        let first = model.first_key_value().map(|(key, _)| *key);
                        if let Some(first) = first {
                            prop_assert_eq!(map.remove(&first), model.remove(&first));
                        }
                    }
                    5 => prop_assert_eq!(map.remove(&near), model.remove(&near)),
                    6 => prop_assert_eq!(map.get_mut(&near), model.get_mut(&near)),
                    _ => prop_assert_eq!(map.get(&near), model.get(&near)),
                }
                let model_first = model.first_key_value().map(|(key, _)| *key);
                prop_assert_eq!(map.first_key(), model_first);
                prop_assert_eq!(map.is_empty(), model.is_empty());
                prop_assert!(map.iter().eq(model.iter().map(|(key, value)| (*key, value))));
            }
        }
    }

    #[test]
    fn an_old_entry_does_not_keep_the_places_of_those_that_left() {
        let mut map = RisingMap::new();
        map.insert(0, ());
        for key in 1..10_000 {
            map.insert(key, ());
            map.remove(&(key - 1).max(1));
            assert!(map.run.len() <= 2 * (HOLES + 2), "{}", map.run.len());
        }
        assert!(map.get(&0).is_some());
    }
}
