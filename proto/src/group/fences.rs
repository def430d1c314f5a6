//! Who is gone. Gone is final: an instance that was once declared gone is refused for ever.

use alloc::collections::{BTreeMap, VecDeque};

use crate::id::{Generation, InstanceId, PeerId};

/// How many gone instances are remembered one by one. Of what is forgotten the highest generation
/// per id stays, so an instance that comes back after that many later deaths is still refused.
pub(crate) const REMEMBERED: usize = 4096;

/// What is kept of an id for ever.
#[derive(Clone, Copy, Debug, Default)]
struct Fence {
    /// The highest generation that is gone.
    gone: Generation,
    /// The highest gone generation whose instance is no longer remembered.
    forgotten: Generation,
}

/// The memory of who is gone: instances one by one, as far as it reaches, and per id the highest
/// generation.
#[derive(Clone, Debug)]
pub(crate) struct Fences {
    ids: BTreeMap<PeerId, Fence>,
    instances: BTreeMap<InstanceId, Option<(PeerId, Generation)>>,
    order: VecDeque<InstanceId>,
    capacity: usize,
}

impl Fences {
    /// An empty memory for `capacity` instances.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            ids: BTreeMap::new(),
            instances: BTreeMap::new(),
            order: VecDeque::new(),
            capacity,
        }
    }

    /// Remembers that the instance is gone; `who` where its id and generation are known. `false`
    /// if it was gone before.
    pub(crate) fn insert(
        &mut self,
        instance: InstanceId,
        who: Option<(PeerId, Generation)>,
    ) -> bool {
        if let Some((id, generation)) = who {
            self.learn(id, generation);
        }
        if let Some(known) = self.instances.get_mut(&instance) {
            *known = known.or(who);
            return false;
        }
        self.instances.insert(instance, who);
        self.order.push_back(instance);
        if self.order.len() > self.capacity {
            self.forget_oldest();
        }
        true
    }

    /// Remembers that this generation of the id is gone, whoever it was.
    pub(crate) fn learn(&mut self, id: PeerId, generation: Generation) {
        let fence = self.ids.entry(id).or_default();
        fence.gone = fence.gone.max(generation);
    }

    /// Whether the instance is remembered as gone.
    pub(crate) fn contains(&self, instance: InstanceId) -> bool {
        self.instances.contains_key(&instance)
    }

    /// The highest generation of the id that is gone.
    pub(crate) fn of_id(&self, id: PeerId) -> Option<Generation> {
        self.ids.get(&id).map(|fence| fence.gone)
    }

    /// The generation with which to fence an instance that wants to attach, if it is gone.
    ///
    /// A generation at or below the id's fence does not prove it: a hub that began without the
    /// identity table may have given a living instance a generation that an earlier life of the
    /// application has already spent. Only what this memory has itself forgotten is judged so.
    pub(crate) fn refuses(
        &self,
        instance: InstanceId,
        identity: Option<(PeerId, Generation)>,
    ) -> Option<Generation> {
        if let Some(who) = self.instances.get(&instance) {
            let fence = who.or(identity).and_then(|(id, _)| self.of_id(id));
            return Some(fence.unwrap_or_default());
        }
        let (id, generation) = identity?;
        let fence = self.ids.get(&id)?;
        (generation <= fence.forgotten).then_some(fence.gone)
    }

    /// Per id, the highest generation that is gone.
    pub(crate) fn ids(&self) -> impl Iterator<Item = (PeerId, Generation)> + '_ {
        self.ids.iter().map(|(id, fence)| (*id, fence.gone))
    }

    /// The remembered instances, the latest first.
    pub(crate) fn instances(&self) -> impl Iterator<Item = InstanceId> + '_ {
        self.order.iter().rev().copied()
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.order.pop_front() else {
            return;
        };
        if let Some(Some((id, generation))) = self.instances.remove(&oldest) {
            let fence = self.ids.entry(id).or_default();
            fence.forgotten = fence.forgotten.max(generation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: PeerId = PeerId(3);

    fn instance(n: u64) -> InstanceId {
        InstanceId(n)
    }

    #[test]
    fn a_gone_instance_is_refused_with_the_highest_gone_generation_of_its_id() {
        let mut fences = Fences::new(8);
        assert!(fences.insert(instance(1), Some((W, Generation(4)))));
        assert!(!fences.insert(instance(1), None));
        fences.learn(W, Generation(9));
        assert_eq!(fences.refuses(instance(1), None), Some(Generation(9)));
        assert_eq!(fences.refuses(instance(2), None), None);
    }

    #[test]
    fn an_instance_forgotten_after_many_deaths_is_refused_by_its_generation() {
        let mut fences = Fences::new(2);
        fences.insert(instance(1), Some((W, Generation(4))));
        fences.insert(instance(2), Some((W, Generation(5))));
        fences.insert(instance(3), Some((W, Generation(6))));
        assert!(!fences.contains(instance(1)));
        assert_eq!(
            fences.refuses(instance(1), Some((W, Generation(4)))),
            Some(Generation(6))
        );
        assert_eq!(fences.refuses(instance(9), Some((W, Generation(7)))), None);
    }

    #[test]
    fn a_living_instance_with_a_low_generation_is_not_taken_for_a_gone_one() {
        let mut fences = Fences::new(8);
        fences.insert(instance(1), Some((W, Generation(9))));
        assert_eq!(fences.refuses(instance(2), Some((W, Generation(1)))), None);
    }

    #[test]
    fn what_became_known_of_an_instance_later_counts() {
        let mut fences = Fences::new(1);
        fences.insert(instance(1), None);
        assert!(!fences.insert(instance(1), Some((W, Generation(2)))));
        fences.insert(instance(2), None);
        assert_eq!(
            fences.refuses(instance(1), Some((W, Generation(2)))),
            Some(Generation(2))
        );
    }

    #[test]
    fn the_latest_gone_instances_are_named_first() {
        let mut fences = Fences::new(2);
        for n in 1..=3 {
            fences.insert(instance(n), None);
        }
        assert!(fences.instances().eq([instance(3), instance(2)]));
        assert_eq!(fences.ids().count(), 0);
    }
}
