//! What ended instances have left unread: it stays for the application, within one bound for all.

use alloc::collections::BTreeMap;

use crate::id::InstanceId;

/// The cost of what ended instances have left, in the order of their ends. Kept as sums, so that an
/// end costs one look at the inbox however many went before.
#[derive(Debug, Default)]
pub(super) struct Departed {
    order: BTreeMap<u64, InstanceId>,
    left: BTreeMap<InstanceId, Left>,
    total: u64,
    ends: u64,
}

#[derive(Clone, Copy, Debug)]
struct Left {
    end: u64,
    cost: u64,
}

impl Departed {
    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// An instance has ended and left this much. One that has ended before leaves no more.
    pub(super) fn add(&mut self, instance: InstanceId, cost: u64) {
        if cost == 0 || self.left.contains_key(&instance) {
            return;
        }
        let end = self.ends;
        self.ends += 1;
        self.order.insert(end, instance);
        self.left.insert(instance, Left { end, cost });
        self.total += cost;
    }

    /// So much of what the instance sent is not in the inbox any more.
    pub(super) fn took(&mut self, instance: InstanceId, cost: u64) {
        let Some(left) = self.left.get_mut(&instance) else {
            return;
        };
        left.cost -= cost;
        self.total -= cost;
        let Left { end, cost } = *left;
        if cost == 0 {
            self.left.remove(&instance);
            self.order.remove(&end);
        }
    }

    /// The instance that ended first, if all together have left more than `limit`.
    pub(super) fn first_beyond(&self, limit: u64) -> Option<InstanceId> {
        let (_, first) = self.order.first_key_value()?;
        (self.total > limit).then_some(*first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_what_was_read_counts_no_more() {
        let [a, b, c] = [1, 2, 3].map(InstanceId);
        let mut departed = Departed::default();
        departed.add(a, 100);
        departed.add(b, 100);
        departed.add(a, 100);
        departed.add(c, 0);
        assert_eq!(departed.first_beyond(200), None);
        assert_eq!(departed.first_beyond(199), Some(a));
        departed.took(a, 60);
        departed.took(c, 60);
        assert_eq!(departed.first_beyond(139), Some(a));
        departed.took(a, 40);
        assert_eq!(departed.first_beyond(99), Some(b));
        departed.took(b, 100);
        assert!(departed.is_empty() && departed.first_beyond(0).is_none());
    }
}
