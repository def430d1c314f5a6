//! The instances that a link has brought, and how each came.

use alloc::collections::{BTreeSet, VecDeque};

use crate::id::InstanceId;

/// How many instances that have left are remembered. What was under way of them when they left
/// is no forgery; only of the last ones anything can still be under way.
const LEFT_MAX: usize = 4096;

/// How an instance stands to the link over which it was attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bond {
    /// The process at the other end of the link.
    Own,
    /// It lives behind that process, which speaks for it.
    Relayed,
    /// It was attached over this link and is not any more. Frames of it can still be under way.
    Left,
}

/// All of a link.
#[derive(Debug, Default)]
pub(crate) struct Bonds {
    /// Usually one. Apart from the others, because every plan of the link asks for them.
    own: BTreeSet<InstanceId>,
    relayed: BTreeSet<InstanceId>,
    left: BTreeSet<InstanceId>,
    /// Those of `left`, the one that left first in front.
    leaving_order: VecDeque<InstanceId>,
}

impl Bonds {
    /// The instance is attached over the link.
    pub(crate) fn bind(&mut self, instance: InstanceId, relayed: bool) {
        let (to, from) = match relayed {
            true => (&mut self.relayed, &mut self.own),
            false => (&mut self.own, &mut self.relayed),
        };
        to.insert(instance);
        from.remove(&instance);
        if self.left.remove(&instance) {
            self.leaving_order.retain(|other| *other != instance);
        }
    }

    /// The instance is not attached over the link any more. Says how it was.
    pub(crate) fn unbind(&mut self, instance: InstanceId) -> Option<Bond> {
        let before = self.of(instance)?;
        self.own.remove(&instance);
        self.relayed.remove(&instance);
        if self.left.insert(instance) {
            self.leaving_order.push_back(instance);
        }
        if self.left.len() > LEFT_MAX
            && let Some(first) = self.leaving_order.pop_front()
        {
            self.left.remove(&first);
        }
        Some(before)
    }

    /// How the instance stands to the link; `None` if it never came over it.
    pub(crate) fn of(&self, instance: InstanceId) -> Option<Bond> {
        if self.own.contains(&instance) {
            Some(Bond::Own)
        } else if self.relayed.contains(&instance) {
            Some(Bond::Relayed)
        } else {
            self.left.contains(&instance).then_some(Bond::Left)
        }
    }

    /// Those that are attached over the link and live at its other end.
    pub(crate) fn own(&self) -> impl Iterator<Item = InstanceId> + '_ {
        self.own.iter().copied()
    }

    /// Those that are attached over the link.
    pub(crate) fn attached(&self) -> impl Iterator<Item = InstanceId> + '_ {
        self.own.union(&self.relayed).copied()
    }

    /// Whether nobody was ever attached over the link.
    pub(crate) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.relayed.is_empty() && self.left.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_left_last_is_remembered() {
        let mut bonds = Bonds::default();
        assert!(bonds.is_empty());
        bonds.bind(InstanceId(1), false);
        bonds.bind(InstanceId(2), true);
        assert!(bonds.attached().eq([InstanceId(1), InstanceId(2)]));
        assert_eq!(bonds.unbind(InstanceId(1)), Some(Bond::Own));
        assert_eq!(bonds.unbind(InstanceId(1)), Some(Bond::Left));
        assert_eq!(bonds.unbind(InstanceId(9)), None);
        assert_eq!(bonds.of(InstanceId(1)), Some(Bond::Left));
        let many = 100..100 + LEFT_MAX as u64;
        for number in many.clone() {
            bonds.bind(InstanceId(number), true);
            bonds.unbind(InstanceId(number));
        }
        assert_eq!(bonds.of(InstanceId(1)), None, "it left before all of them");
        for number in many.clone() {
            assert_eq!(bonds.of(InstanceId(number)), Some(Bond::Left));
        }
        assert_eq!(bonds.of(InstanceId(2)), Some(Bond::Relayed));
        // Who comes back and leaves again has left last.
        bonds.bind(InstanceId(many.start), false);
        assert!(bonds.own().eq([InstanceId(many.start)]));
        bonds.unbind(InstanceId(many.start));
        bonds.bind(InstanceId(3), false);
        bonds.unbind(InstanceId(3));
        assert_eq!(bonds.of(InstanceId(many.start)), Some(Bond::Left));
        assert_eq!(bonds.of(InstanceId(many.start + 1)), None);
    }
}
