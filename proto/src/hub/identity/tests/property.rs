//! The rules of the table against a model that keeps them as plainly as they can be said.

use alloc::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

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
    /// Whom it last saw living.
    living: Vec<KnownPeer>,
}

impl Process {
    fn knows(&self) -> Known {
        Known {
            living: self.living.clone(),
            gone: self.gone.clone().into_iter().collect(),
            gone_instances: self.gone_instances.clone(),
        }
    }
}

/// The rules, kept as plainly as they can be said.
#[derive(Default)]
struct Model {
    /// Every pair that this hub ever gave, and to whom.
    given: BTreeMap<(PeerId, Generation), InstanceId>,
    living: BTreeMap<InstanceId, (PeerId, Generation)>,
    dead: Vec<InstanceId>,
    heard: BTreeMap<PeerId, Generation>,
    /// Who went by which identity under an earlier hub, as this one was told; `None` where more than
    /// one did, or it is not known who.
    told: BTreeMap<(PeerId, Generation), Option<InstanceId>>,
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
        let its_own = self.told.get(&(id, generation)) == Some(&Some(instance));
        let top = self.heard.entry(id).or_default();
        assert!(
            generation > *top || generation == *top && its_own,
            "{id}#{generation} is not above {top}"
        );
        *top = generation;
    }

    /// Under an earlier hub this identity was given, to `by` if that is known.
    fn hear(&mut self, id: PeerId, generation: Generation, by: Option<InstanceId>) {
        let top = self.heard.entry(id).or_default();
        *top = (*top).max(generation);
        let was = self.told.entry((id, generation)).or_insert(by);
        if *was != by {
            *was = None;
        }
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
        for (&(id, told), by) in &self.told {
            let is_it = |(instance, who): &(&InstanceId, &(PeerId, Generation))| {
                who.0 == id && *by != Some(**instance)
            };
            let now = self.living.iter().find(is_it);
            assert!(
                now.is_none_or(|(_, (_, g))| *g > told),
                "{id}#{told} {now:?}"
            );
        }
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
                    // One that was awaited has never been here.
                    let who = who.unwrap_or((peer.id, peer.generation));
                    assert_eq!(who, (peer.id, peer.generation), "gone once");
                    assert!(!self.model.dead.contains(&peer.instance), "gone once");
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
            relayed: false,
            tied: false,
            elder: process.counter > 1,
            reserve: 0,
            known: match witness {
                true => process.knows(),
                false => Known::default(),
            },
            more: false,
        };
        let was = self.table.identity(attach.instance);
        let result = self.table.attach(self.now, &attach, local);
        if let (Ok(_), Some((id, generation))) = (&result, attach.identity) {
            self.model.hear(id, generation, Some(attach.instance));
        }
        if !matches!(result, Err(Refusal::Outdated | Refusal::Fenced { .. })) {
            for &(id, generation) in &attach.known.gone {
                self.model.hear(id, generation, None);
            }
            for peer in &attach.known.living {
                self.model
                    .hear(peer.id, peer.generation, Some(peer.instance));
            }
        }
        self.drain();
        match result {
            Ok(given) => {
                assert!(was.is_none_or(|(id, _)| id == given.id), "it keeps its id");
                assert_eq!(was.is_some(), given.resumed);
                self.model.give(attach.instance, given.id, given.generation);
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
                    let elders = [by, who].map(|i| self.table.living[&i].elder);
                    let known = Known {
                        gone_instances: Vec::from([who]),
                        ..Known::default()
                    };
                    let said = self.table.known(self.now, by, &known, false);
                    assert_eq!(said.is_err(), by == who);
                    let ends = elders == [true, true] && by != who;
                    assert_eq!(self.table.fences.contains(who), ends);
                }
            }
            Step::Wait { seconds } => {
                self.now = self.now + Duration::from_secs(seconds);
                self.table.timeout(self.now, 1024);
                assert!(self.table.deadline().is_none_or(|next| next > self.now));
            }
            Step::NewHub => self.new_hub(),
        }
        self.drain();
        self.look_around();
        self.model.check(&self.table);
    }

    /// Everybody who is attached sees who lives.
    fn look_around(&mut self) {
        for process in &mut self.processes {
            let own = InstanceId(process.instance);
            let attached = self.table.living.get(&own).map(|h| h.detached_until);
            if attached != Some(None) {
                continue;
            }
            let others = self.table.living.iter().filter(|(i, _)| **i != own);
            process.living = others
                .map(|(instance, holder)| KnownPeer {
                    id: holder.id,
                    generation: holder.generation,
                    instance: *instance,
                    name: self.table.ids[&holder.id].name.clone(),
                })
                .collect();
        }
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
