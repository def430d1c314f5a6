//! The rules of the table against a model that keeps them as plainly as they can be said.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use proptest::prelude::*;

use super::*;

const HUB: InstanceId = InstanceId(1000);
const GRACE: Duration = Duration::from_secs(5);

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn name(text: &str) -> PeerName {
    PeerName::new(text).expect("a valid name")
}

fn table() -> IdentityTable {
    IdentityTable::found(at(0), IdentityConfig::default(), HUB, None)
}

#[derive(Clone, Debug)]
enum Step {
    /// Process `who` attaches; it starts anew first if its instance is gone.
    Attach {
        who: usize,
        local: bool,
        older: bool,
        witness: bool,
        handover: bool,
    },
    Lose {
        who: usize,
    },
    End {
        who: usize,
    },
    Declare {
        by: usize,
        who: usize,
    },
    Wait {
        seconds: u64,
    },
    NewHub,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0..6_usize;
    let step = prop_oneof![
        6 => (who.clone(), any::<[bool; 4]>()).prop_map(|(who, [local, older, witness, handover])| {
            Step::Attach { who, local, older: older && witness, witness, handover }
        }),
        2 => who.clone().prop_map(|who| Step::Lose { who }),
        2 => who.clone().prop_map(|who| Step::End { who }),
        1 => (who.clone(), who).prop_map(|(by, who)| Step::Declare { by, who }),
        3 => prop_oneof![1..5_u64, 1..400_u64].prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::NewHub),
    ];
    proptest::collection::vec(step, 1..80)
}

/// A process and what it knows. The first three share two names.
#[derive(Default)]
struct Process {
    instance: u64,
    counter: u64,
    identity: Option<(PeerId, Generation)>,
    /// What it believes of the dead: told by the hub while it was attached.
    gone: BTreeMap<PeerId, Generation>,
    gone_instances: Vec<InstanceId>,
}

/// The rules, kept as plainly as they can be said.
#[derive(Default)]
struct Model {
    /// Every pair that this hub ever gave, and to whom.
    given: BTreeMap<(PeerId, Generation), InstanceId>,
    living: BTreeMap<InstanceId, (PeerId, Generation)>,
    dead: Vec<InstanceId>,
    heard: BTreeMap<PeerId, Generation>,
}

impl Model {
    fn give(&mut self, instance: InstanceId, id: PeerId, generation: Generation) {
        let former = self.living.insert(instance, (id, generation));
        if former == Some((id, generation)) {
            return;
        }
        assert!(
            former.is_none_or(|(before, _)| before == id),
            "an instance has one id"
        );
        let pair = self.given.insert((id, generation), instance);
        assert!(pair.is_none(), "{id}#{generation} was given twice");
        let top = self.heard.entry(id).or_default();
        assert!(generation > *top, "{id}#{generation} is not above {top}");
        *top = generation;
    }

    fn check(&self, table: &IdentityTable) {
        let ids: Vec<_> = self.living.values().map(|(id, _)| *id).collect();
        let mut distinct = ids.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), ids.len(), "one id for two living instances");
        for (instance, who) in &self.living {
            assert_eq!(table.identity(*instance), Some(*who));
        }
        assert_eq!(table.living.len(), self.living.len());
        for instance in &self.dead {
            assert!(table.fences.contains(*instance) && table.identity(*instance).is_none());
        }
        for (name, id) in &table.names {
            assert_eq!(table.ids[id].name.as_ref(), Some(name));
        }
        let bound = table.ids.values().filter(|slot| slot.name.is_some());
        assert_eq!(bound.count(), table.names.len(), "a name has one binding");
        let waiting = table.living.values().filter(|h| h.detached_until.is_some());
        assert_eq!(waiting.count(), table.graces.len());
    }
}

struct World {
    now: Instant,
    table: IdentityTable,
    model: Model,
    processes: Vec<Process>,
    next: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now: at(0),
            table: table(),
            model: Model::default(),
            processes: (0..6).map(|_| Process::default()).collect(),
            next: 1,
        };
        world.model.give(HUB, PeerId(1), Generation(1));
        world
    }

    fn drain(&mut self) {
        while let Some(effect) = self.table.poll() {
            match effect {
                IdentityEffect::Gone { peer, .. } => {
                    let who = self.model.living.remove(&peer.instance);
                    assert_eq!(who, Some((peer.id, peer.generation)), "gone once");
                    self.model.dead.push(peer.instance);
                    for process in &mut self.processes {
                        let attached = self.table.identity(InstanceId(process.instance));
                        if attached.is_some() {
                            let known = process.gone.entry(peer.id).or_default();
                            *known = (*known).max(peer.generation);
                            process.gone_instances.push(peer.instance);
                        }
                    }
                }
                IdentityEffect::Raised {
                    instance,
                    id,
                    generation,
                } => {
                    self.model.give(instance, id, generation);
                }
                IdentityEffect::Completed => {}
            }
        }
    }

    fn attach(&mut self, who: usize, local: bool, older: bool, witness: bool, handover: bool) {
        let process = &mut self.processes[who];
        let fresh =
            process.instance == 0 || self.table.fences.contains(InstanceId(process.instance));
        if fresh {
            *process = Process {
                instance: self.next,
                ..Process::default()
            };
            self.next += 1;
        }
        process.counter += 1;
        let attach = Attach {
            instance: InstanceId(process.instance),
            counter: if older { 0 } else { process.counter },
            name: [Some("a"), Some("b"), Some("b")]
                .get(who)
                .copied()
                .flatten()
                .map(name),
            identity: process.identity,
            handover,
            budget: 0,
            message_cap: 0,
            attachments: 0,
            gone: if witness {
                process.gone.clone().into_iter().collect()
            } else {
                Vec::new()
            },
            gone_instances: if witness {
                process.gone_instances.clone()
            } else {
                Vec::new()
            },
        };
        let was = self.table.identity(attach.instance);
        let result = self.table.attach(self.now, &attach, local);
        for &(id, generation) in &attach.gone {
            if !matches!(result, Err(Refusal::Outdated | Refusal::Fenced { .. })) {
                let top = self.model.heard.entry(id).or_default();
                *top = (*top).max(generation);
            }
        }
        self.drain();
        match result {
            Ok(given) => {
                assert!(was.is_none_or(|(id, _)| id == given.id), "it keeps its id");
                assert_eq!(was.is_some(), given.resumed);
                self.model.give(attach.instance, given.id, given.generation);
                if let Some((id, generation)) = attach.identity {
                    let top = self.model.heard.entry(id).or_default();
                    *top = (*top).max(generation);
                }
                self.processes[who].identity = Some((given.id, given.generation));
            }
            Err(Refusal::NameTaken { .. }) => {
                let wanted = attach.name.expect("only names are taken");
                let holder = self.table.ids[&self.table.names[&wanted]].holder;
                assert!(holder.is_some_and(|h| self.model.living.contains_key(&h)));
            }
            Err(Refusal::Outdated) => assert!(older && was.is_some()),
            Err(Refusal::Fenced { .. }) => {
                assert!(self.model.dead.contains(&attach.instance));
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    /// The hub dies and another begins that knows nobody.
    fn new_hub(&mut self) {
        let hub = InstanceId(HUB.0 + self.next);
        self.next += 1;
        self.table = IdentityTable::found(self.now, IdentityConfig::default(), hub, None);
        self.model = Model::default();
        self.model.give(hub, PeerId(1), Generation(1));
    }

    fn step(&mut self, step: Step) {
        let instance = |who: usize, world: &Self| InstanceId(world.processes[who].instance);
        match step {
            Step::Attach {
                who,
                local,
                older,
                witness,
                handover,
            } => {
                self.attach(who, local, older, witness, handover);
            }
            Step::Lose { who } => {
                let instance = instance(who, self);
                self.table.detached(self.now, instance, GRACE);
            }
            Step::End { who } => {
                let instance = instance(who, self);
                self.table.gone(self.now, instance);
            }
            Step::Declare { by, who } => {
                let (by, who) = (instance(by, self), instance(who, self));
                if self.table.identity(by).is_some() && self.table.identity(who).is_some() {
                    self.table.declare_gone(self.now, by, &[who]);
                    assert!(self.table.fences.contains(who));
                }
            }
            Step::Wait { seconds } => {
                self.now = self.now + Duration::from_secs(seconds);
                self.table.timeout(self.now);
                assert!(self.table.deadline().is_none_or(|next| next > self.now));
            }
            Step::NewHub => self.new_hub(),
        }
        self.drain();
        self.model.check(&self.table);
    }
}

proptest! {
    #[test]
    fn no_identity_is_given_twice_whatever_happens(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
    }
}
