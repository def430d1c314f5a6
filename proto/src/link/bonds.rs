//! The instances that a link has brought, and how each came.

use alloc::collections::BTreeMap;

use crate::id::InstanceId;

/// How many instances that have left are remembered. What was under way of them when they left
/// is no forgery; a peer that brings and takes back more than this gets no benefit of the doubt.
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
    all: BTreeMap<InstanceId, Bond>,
    left: usize,
}

impl Bonds {
    /// The instance is attached over the link.
    pub(crate) fn bind(&mut self, instance: InstanceId, relayed: bool) {
        let bond = match relayed {
            true => Bond::Relayed,
            false => Bond::Own,
        };
        if self.all.insert(instance, bond) == Some(Bond::Left) {
            self.left -= 1;
        }
    }

    /// The instance is not attached over the link any more. Says how it was.
    pub(crate) fn unbind(&mut self, instance: InstanceId) -> Option<Bond> {
        let bond = self.all.get_mut(&instance)?;
        let before = core::mem::replace(bond, Bond::Left);
        if before != Bond::Left {
            self.left += 1;
        }
        if self.left > LEFT_MAX {
            self.all.retain(|_, bond| *bond != Bond::Left);
            self.left = 0;
        }
        Some(before)
    }

    /// How the instance stands to the link; `None` if it never came over it.
    pub(crate) fn of(&self, instance: InstanceId) -> Option<Bond> {
        self.all.get(&instance).copied()
    }

    /// Those that are attached over the link.
    pub(crate) fn attached(&self) -> impl Iterator<Item = InstanceId> + '_ {
        let all = self.all.iter().filter(|(_, bond)| **bond != Bond::Left);
        all.map(|(instance, _)| *instance)
    }

    /// Whether nobody was ever attached over the link.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_left_is_remembered_until_there_are_too_many() {
        let mut bonds = Bonds::default();
        assert!(bonds.is_empty());
        bonds.bind(InstanceId(1), false);
        bonds.bind(InstanceId(2), true);
        assert!(bonds.attached().eq([InstanceId(1), InstanceId(2)]));
        assert_eq!(bonds.unbind(InstanceId(1)), Some(Bond::Own));
        assert_eq!(bonds.unbind(InstanceId(1)), Some(Bond::Left));
        assert_eq!(bonds.unbind(InstanceId(9)), None);
        assert_eq!(bonds.of(InstanceId(1)), Some(Bond::Left));
        for number in 100..100 + LEFT_MAX as u64 {
            bonds.bind(InstanceId(number), true);
            bonds.unbind(InstanceId(number));
        }
        assert_eq!(bonds.of(InstanceId(1)), None);
        assert_eq!(bonds.of(InstanceId(2)), Some(Bond::Relayed));
    }
}
