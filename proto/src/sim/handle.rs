//! A counted stand-in for a file descriptor.
//!
//! A [`FakeFd`] is an entry in somebody's descriptor table: of a process, or of the kernel while the
//! descriptor is in flight between two processes. Several entries may refer to one *description*,
//! as several descriptors may refer to one open file; the description is what a test follows from
//! the sender's hands to the receiver's.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{RefCell, RefMut};
use core::fmt;

/// In whose descriptor table an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The kernel: the descriptor has been written and not been read.
    InFlight,
    /// A process of the world.
    Process(u32),
}

/// An open file, whoever has descriptors of it. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Description(pub u64);

/// Where every descriptor of a world is counted. Cheap to clone; all clones are one registry.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    counts: Rc<RefCell<Counts>>,
}

/// What a [`Registry`] has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Descriptions that were ever created.
    pub created: u64,
    /// Entries that were ever made: by creation, duplication and receiving.
    pub opened: u64,
    /// Entries that were closed.
    pub closed: u64,
    /// Entries that are open now.
    pub open: u64,
    /// Of these, entries in flight in the kernel.
    pub in_flight: u64,
    /// Descriptions that still have an entry.
    pub alive: u64,
}

#[derive(Debug, Default)]
struct Counts {
    created: u64,
    opened: u64,
    closed: u64,
    owners: BTreeMap<Owner, u64>,
    limits: BTreeMap<u32, u64>,
    alive: BTreeMap<Description, u64>,
}

impl Registry {
    /// A registry that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new open file with one descriptor, in the table of a process. The limit of the process does
    /// not hold here: it is a limit on what is received, and the application opens what it likes.
    pub fn create(&self, process: u32) -> FakeFd {
        let mut counts = self.counts();
        counts.created += 1;
        let description = Description(counts.created);
        counts.open(Owner::Process(process), description);
        drop(counts);
        FakeFd {
            registry: self.clone(),
            description,
            owner: Owner::Process(process),
        }
    }

    /// How many descriptors a process may have (RLIMIT_NOFILE); `None` lifts the limit.
    pub fn set_limit(&self, process: u32, limit: Option<u64>) {
        let mut counts = self.counts();
        match limit {
            Some(limit) => counts.limits.insert(process, limit),
            None => counts.limits.remove(&process),
        };
    }

    /// How many descriptors a process can still receive.
    pub fn room(&self, process: u32) -> u64 {
        let counts = self.counts();
        match counts.limits.get(&process) {
            Some(limit) => limit.saturating_sub(counts.of(Owner::Process(process))),
            None => u64::MAX,
        }
    }

    /// How many entries an owner has.
    pub fn held_by(&self, owner: Owner) -> u64 {
        self.counts().of(owner)
    }

    /// Whether anybody still has a descriptor of it.
    pub fn is_alive(&self, description: Description) -> bool {
        self.counts().alive.contains_key(&description)
    }

    /// The descriptions that still have an entry, oldest first.
    pub fn alive(&self) -> Vec<Description> {
        self.counts().alive.keys().copied().collect()
    }

    /// The totals.
    pub fn census(&self) -> Census {
        let counts = self.counts();
        Census {
            created: counts.created,
            opened: counts.opened,
            closed: counts.closed,
            open: counts.owners.values().sum(),
            in_flight: counts.of(Owner::InFlight),
            alive: counts.alive.len() as u64,
        }
    }

    /// Checks that what is open is exactly one descriptor of each description in `held`: that nothing
    /// has leaked, nothing was closed under its owner, and no copy was left behind.
    pub fn conserves(&self, held: impl IntoIterator<Item = Description>) -> Result<(), Unbalanced> {
        let mut expected: BTreeMap<Description, u64> = BTreeMap::new();
        for description in held {
            *expected.entry(description).or_default() += 1;
        }
        let counts = self.counts();
        let differs = |of: &BTreeMap<_, u64>, other: &BTreeMap<_, u64>| -> Vec<Description> {
            let more = of
                .iter()
                .filter(|(key, count)| other.get(*key).unwrap_or(&0) < *count);
            more.map(|(key, _)| *key).collect()
        };
        let leaked = differs(&counts.alive, &expected);
        let closed = differs(&expected, &counts.alive);
        if leaked.is_empty() && closed.is_empty() {
            Ok(())
        } else {
            Err(Unbalanced { leaked, closed })
        }
    }

    fn counts(&self) -> RefMut<'_, Counts> {
        // Every borrow ends within the method that takes it, and none of them runs foreign code.
        self.counts.borrow_mut()
    }
}

/// What is open is not what the owners hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("descriptors do not balance: leaked {leaked:?}, closed too early {closed:?}")]
pub struct Unbalanced {
    /// Open more often than anybody holds them.
    pub leaked: Vec<Description>,
    /// Held by somebody, and open less often than that.
    pub closed: Vec<Description>,
}

impl Counts {
    fn of(&self, owner: Owner) -> u64 {
        self.owners.get(&owner).copied().unwrap_or(0)
    }

    fn open(&mut self, owner: Owner, description: Description) {
        self.opened += 1;
        *self.owners.entry(owner).or_default() += 1;
        *self.alive.entry(description).or_default() += 1;
    }

    fn close(&mut self, owner: Owner, description: Description) {
        self.closed += 1;
        take_one(&mut self.owners, &owner);
        take_one(&mut self.alive, &description);
    }
}

fn take_one<K: Ord>(counts: &mut BTreeMap<K, u64>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// A descriptor. It is closed when it is dropped, and cannot be closed twice.
pub struct FakeFd {
    registry: Registry,
    description: Description,
    owner: Owner,
}

impl FakeFd {
    /// What it refers to: the same at the sender and at the receiver.
    pub fn description(&self) -> Description {
        self.description
    }

    /// In whose table it stands.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// One more descriptor of the same description, in the table of `owner`.
    pub fn duplicate(&self, owner: Owner) -> Self {
        self.registry.counts().open(owner, self.description);
        Self {
            registry: self.registry.clone(),
            description: self.description,
            owner,
        }
    }
}

impl Drop for FakeFd {
    fn drop(&mut self) {
        self.registry.counts().close(self.owner, self.description);
    }
}

impl fmt::Debug for FakeFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeFd({} of {:?})", self.description.0, self.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_counted_in_the_table_of_its_owner() {
        let registry = Registry::new();
        let fd = registry.create(1);
        let copy = fd.duplicate(Owner::InFlight);
        assert_eq!(registry.held_by(Owner::Process(1)), 1);
        assert_eq!(registry.held_by(Owner::InFlight), 1);
        assert_eq!(copy.description(), fd.description());
        drop(fd);
        assert!(
            registry.is_alive(copy.description()),
            "the copy keeps it open"
        );
        drop(copy);
        let census = registry.census();
        assert_eq!((census.opened, census.closed, census.open), (2, 2, 0));
        assert_eq!(registry.conserves([]), Ok(()));
        assert!(registry.alive().is_empty());
    }

    #[test]
    fn the_limit_of_a_process_leaves_room_for_the_difference() {
        let registry = Registry::new();
        let _own = [registry.create(1), registry.create(1)];
        assert_eq!(registry.room(1), u64::MAX);
        registry.set_limit(1, Some(5));
        assert_eq!(registry.room(1), 3);
        registry.set_limit(1, Some(1));
        assert_eq!(
            registry.room(1),
            0,
            "what is open stays open under a lower limit"
        );
        registry.set_limit(1, None);
        assert_eq!(registry.room(1), u64::MAX);
    }

    #[test]
    fn a_leak_a_copy_and_an_early_close_are_each_told_apart() {
        let registry = Registry::new();
        let (kept, copied, closed) = (registry.create(1), registry.create(1), registry.create(2));
        let (k, c, x) = (
            kept.description(),
            copied.description(),
            closed.description(),
        );
        assert_eq!(registry.conserves([k, c, x]), Ok(()));
        let copy = copied.duplicate(Owner::Process(2));
        core::mem::forget(registry.create(1));
        drop(closed);
        let error = registry.conserves([k, c, x]).unwrap_err();
        assert_eq!(error.leaked, [c, Description(4)]);
        assert_eq!(error.closed, [x]);
        drop(copy);
    }
}
