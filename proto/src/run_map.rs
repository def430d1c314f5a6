//! A map for keys that come in runs, as the messages of one conversation do.

use alloc::vec::Vec;
use core::fmt;

use slab::Slab;

use crate::rising_map::RisingMap;

/// A map sorted by key that finds the entry asked for last again without a search.
pub(crate) struct RunMap<K, V> {
    values: Slab<V>,
    /// Where each value lies; every place in here is taken, so indexing with one does not fail.
    places: RisingMap<K, usize>,
    last: Option<(K, usize)>,
}

impl<K: Copy + Ord, V> RunMap<K, V> {
    pub(crate) const fn new() -> Self {
        Self {
            values: Slab::new(),
            places: RisingMap::new(),
            last: None,
        }
    }

    #[inline]
    fn find(&self, key: K) -> Option<usize> {
        match self.last {
            Some((last, at)) if last == key => Some(at),
            _ => self.places.get(&key).copied(),
        }
    }

    pub(crate) fn contains(&self, key: K) -> bool {
        self.find(key).is_some()
    }

    #[inline]
    pub(crate) fn get(&self, key: K) -> Option<&V> {
        self.values.get(self.find(key)?)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let at = match self.last {
            Some((last, at)) if last == key => at,
            _ => self.turn_to(key)?,
        };
        self.values.get_mut(at)
    }

    /// Searches a key and makes it the last.
    #[cold]
    fn turn_to(&mut self, key: K) -> Option<usize> {
        let at = *self.places.get(&key)?;
        self.last = Some((key, at));
        Some(at)
    }

    pub(crate) fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let at = match self.find(key) {
            Some(at) => at,
            None => self.put(key, make()).0,
        };
        self.last = Some((key, at));
        &mut self.values[at]
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (at, old) = self.put(key, value);
        self.last = Some((key, at));
        old
    }

    fn put(&mut self, key: K, value: V) -> (usize, Option<V>) {
        match self.places.get(&key).copied() {
            Some(at) => {
                let old = core::mem::replace(&mut self.values[at], value);
                (at, Some(old))
            }
            None => {
                let at = self.values.insert(value);
                self.places.insert(key, at);
                (at, None)
            }
        }
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let at = self.places.remove(&key)?;
        self.last = self.last.filter(|(last, _)| *last != key);
        self.values.try_remove(at)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = K> + '_ {
        self.places.keys()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.places.iter().map(|(key, at)| (key, &self.values[*at]))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// In no order that means anything, but in the same one after the same calls.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.values.iter_mut().map(|(_, value)| value)
    }

    /// Visits the values by rising key.
    pub(crate) fn for_each_mut(&mut self, mut visit: impl FnMut(&mut V)) {
        for (_, at) in self.places.iter() {
            visit(&mut self.values[*at]);
        }
    }

    /// By rising key.
    pub(crate) fn into_values(mut self) -> impl Iterator<Item = V> {
        let places: Vec<usize> = self.places.iter().map(|(_, at)| *at).collect();
        places.into_iter().map(move |at| self.values.remove(at))
    }
}

impl<K: Copy + Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for RunMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.places.iter();
        let all = all.map(|(key, at)| (key, self.values.get(*at)));
        f.debug_map().entries(all).finish()
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_answers_as_a_sorted_map_does(
            steps in proptest::collection::vec((0u8..6, 0u32..8, any::<u16>()), 1..200),
        ) {
            let (mut map, mut model) = (RunMap::new(), BTreeMap::new());
            for (what, key, value) in steps {
                match what {
                    0 => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    1 => prop_assert_eq!(map.remove(key), model.remove(&key)),
                    2 => {
                        let one = *map.get_or_insert_with(key, || value);
                        prop_assert_eq!(one, *model.entry(key).or_insert(value));
                    }
                    3 => {
                        if let Some(one) = map.get_mut(key) {
                            *one = value;
                        }
                        model.entry(key).and_modify(|one| *one = value);
                    }
                    _ => prop_assert_eq!(map.get_mut(key), model.get_mut(&key)),
                }
                prop_assert_eq!(map.get(key), model.get(&key));
                prop_assert_eq!(map.contains(key), model.contains_key(&key));
            }
            let mut visited = Vec::new();
            map.for_each_mut(|value| visited.push(*value));
            prop_assert_eq!(&visited, &model.values().copied().collect::<Vec<_>>());
            let iterated: Vec<(u32, u16)> = map.iter().map(|(key, value)| (key, *value)).collect();
            prop_assert_eq!(iterated, model.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(map.into_values().collect::<Vec<_>>(), visited);
        }
    }
}
