//! The table, the hub's roster and the members' rosters together: hubs that die and are followed by
//! others that know nobody, links that are lost, processes that die and start again.
//!
//! What is wired up here is what `Node` does, without a wire between.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use proptest::prelude::*;

use super::declarations::DeclareLimits;
use super::identity::{
    Assignment, GoneCause, IdentityConfig, IdentityEffect, IdentityTable, Loss, Refusal,
};
use super::roster::HubRoster;
use crate::group::{Presence, Roster, RosterChange, known};
use crate::id::{Generation, InstanceId, PeerId, PeerName};
use crate::time::Instant;
use crate::wire::{Attach, Declare, Known, NamespaceDeclaration, RosterUpdate};

const GRACE: Duration = Duration::from_secs(5);
const PROCESSES: usize = 5;

/// A process with one node, a member.
struct Process {
    instance: InstanceId,
    counter: u64,
    name: Option<PeerName>,
    identity: Option<(PeerId, Generation)>,
    local: bool,
    is_linked: bool,
    /// Updates on their way to it.
    inbox: VecDeque<RosterUpdate>,
    roster: Roster,
}

struct World {
    now: Instant,
    hub: InstanceId,
    table: IdentityTable,
    roster: HubRoster,
    /// `None` where the process is dead.
    processes: Vec<Option<Process>>,
    next_instance: u64,
    /// Instances that ended, or stayed away for longer than they may.
    rightly_gone: BTreeSet<InstanceId>,
}

#[derive(Clone, Debug)]
enum Step {
    Start(usize),
    Attach(usize),
    Deliver(usize),
    Cut(usize),
    Kill(usize),
    Declare(usize),
    HubDies,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0..PROCESSES;
    let step = prop_oneof![
        3 => who.clone().prop_map(Step::Start),
        4 => who.clone().prop_map(Step::Attach),
        8 => who.clone().prop_map(Step::Deliver),
        2 => who.clone().prop_map(Step::Cut),
        1 => who.clone().prop_map(Step::Kill),
        1 => who.prop_map(Step::Declare),
        1 => Just(Step::HubDies),
        2 => (200..7000_u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..100)
}

impl World {
    fn new() -> Self {
        let hub = InstanceId(1);
        let now = Instant::ZERO;
        let (table, roster) = found(now, hub);
        Self {
            now,
            hub,
            table,
            roster,
            processes: (0..PROCESSES).map(|_| None).collect(),
            next_instance: 2,
            rightly_gone: BTreeSet::new(),
        }
    }

    /// The processes 0 and 1 are local, 1 and 2 have names.
    fn start(&mut self, who: usize) {
        if self.processes[who].is_some() {
            return;
        }
        let name = [None, Some("a"), Some("b")].get(who).copied().flatten();
        self.processes[who] = Some(Process {
            instance: InstanceId(self.next_instance),
            counter: 0,
            name: name.and_then(PeerName::new),
            identity: None,
            local: who < 2,
            is_linked: false,
            inbox: VecDeque::new(),
            roster: Roster::new(),
        });
        self.next_instance += 1;
    }

    /// The node is fenced: it begins anew, knowing nobody.
    fn restart(&mut self, who: usize) {
        self.processes[who] = None;
        self.start(who);
    }

    fn attach(&mut self, who: usize) {
        let Some(process) = &mut self.processes[who] else {
            return;
        };
        if process.is_linked {
            return;
        }
        process.counter += 1;
        let known = known::parts(&process.roster, process.instance);
        let attach = Attach {
            instance: process.instance,
            counter: process.counter,
            name: process.name.clone(),
            identity: process.identity,
            handover: false,
            budget: 0,
            message_cap: 0,
            attachments: if process.local { 16 } else { 0 },
            reserve: 0,
            more: known.len() > 1,
            known: known[0].clone(),
            relayed: false,
            tied: false,
            elder: process.counter > 1,
        };
        match self.table.attach(self.now, &attach, process.local) {
            Ok(given) => {
                process.identity = Some((given.id, given.generation));
                process.is_linked = true;
                self.roster.attached(&attach, &given);
                self.roster.subscribe(attach.instance);
                for (at, part) in known.iter().enumerate().skip(1) {
                    let more = at + 1 < known.len();
                    let said = self.table.known(self.now, attach.instance, part, more);
                    assert_eq!(said, Ok(()));
                }
                self.dispatch();
            }
            Err(Refusal::Fenced { .. }) => {
                self.dispatch();
                assert!(self.rightly_gone.contains(&attach.instance), "fenced alive");
                self.restart(who);
            }
            Err(Refusal::NameTaken { .. }) => self.dispatch(),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Carries out what the table says.
    fn dispatch(&mut self) {
        while let Some(effect) = self.table.poll() {
            match effect {
                IdentityEffect::Gone { peer, cause } => {
                    if cause == GoneCause::Expired {
                        self.rightly_gone.insert(peer.instance);
                    }
                    assert!(
                        self.rightly_gone.contains(&peer.instance),
                        "{cause:?} alive"
                    );
                    self.roster.gone(peer);
                    let is_it = |p: &Process| p.instance == peer.instance && p.is_linked;
                    let linked = |p: &Option<Process>| p.as_ref().is_some_and(is_it);
                    if let Some(who) = self.processes.iter().position(linked) {
                        self.restart(who);
                    }
                }
                IdentityEffect::Raised {
                    instance,
                    id,
                    generation,
                } => {
                    self.roster.identified(instance, id, generation);
                    for process in self.processes.iter_mut().flatten() {
                        if process.instance == instance {
                            process.identity = Some((id, generation));
                        }
                    }
                }
            }
        }
        self.roster.set_complete(self.table.is_complete());
    }

    /// One update more for the process; `false` if there is none.
    fn deliver(&mut self, who: usize) -> bool {
        let Some(process) = &mut self.processes[who] else {
            return false;
        };
        if !process.is_linked {
            return false;
        }
        process
            .inbox
            .extend(self.roster.next_update(process.instance));
        let Some(update) = process.inbox.pop_front() else {
            return false;
        };
        let by = process.instance;
        for change in process.roster.apply(&update) {
            match change {
                RosterChange::Gone { peer, .. } => {
                    let hub = peer.instance == self.hub;
                    let right = self.rightly_gone.contains(&peer.instance);
                    assert!(right && !hub, "{} is gone for {by}", peer.instance);
                }
                RosterChange::Resurrected { instance } => {
                    assert!(self.rightly_gone.contains(&instance));
                    let known = Known {
                        gone_instances: [instance].into(),
                        ..Known::default()
                    };
                    assert_eq!(self.table.known(self.now, by, &known, false), Ok(()));
                }
                _ => {}
            }
        }
        self.dispatch();
        true
    }

    fn cut(&mut self, who: usize) {
        let Some(process) = &mut self.processes[who] else {
            return;
        };
        if process.local || !process.is_linked {
            return;
        }
        process.lose_link();
        let loss = self.table.detached(self.now, process.instance, GRACE);
        assert_eq!(loss, Loss::Detached);
        self.roster.detached(process.instance);
    }

    fn kill(&mut self, who: usize) {
        let Some(process) = self.processes[who].take() else {
            return;
        };
        self.rightly_gone.insert(process.instance);
        if process.is_linked
            && self.table.detached(self.now, process.instance, GRACE) == Loss::Detached
        {
            self.roster.detached(process.instance);
        }
        self.dispatch();
    }

    fn declare(&mut self, who: usize) {
        let Some(process) = self.processes[who].as_mut().filter(|p| p.is_linked) else {
            return;
        };
        let namespace = NamespaceDeclaration {
            ready: true,
            ..NamespaceDeclaration::default()
        };
        let declare = Declare {
            instance: process.instance,
            version: process.counter,
            slice: 0,
            last: true,
            namespaces: Vec::from([namespace]),
        };
        assert!(self.roster.declare(&declare).is_ok());
    }

    fn hub_dies(&mut self) {
        let former = self.hub;
        self.rightly_gone.insert(former);
        for process in self.processes.iter_mut().flatten() {
            let linked = process.is_linked;
            process.lose_link();
            if process.local && linked {
                process.roster.declare_gone(former);
            }
        }
        self.hub = InstanceId(self.next_instance);
        self.next_instance += 1;
        (self.table, self.roster) = found(self.now, self.hub);
    }

    fn wait(&mut self, milliseconds: u64) {
        self.now = self.now + Duration::from_millis(milliseconds);
        self.table.timeout(self.now, 1024);
        assert!(self.table.deadline().is_none_or(|at| at > self.now));
        self.dispatch();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Start(who) => self.start(who),
            Step::Attach(who) => self.attach(who),
            Step::Deliver(who) => drop(self.deliver(who)),
            Step::Cut(who) => self.cut(who),
            Step::Kill(who) => self.kill(who),
            Step::Declare(who) => self.declare(who),
            Step::HubDies => self.hub_dies(),
            Step::Wait(milliseconds) => self.wait(milliseconds),
        }
    }

    /// Everybody who lives attaches, and all there is to tell is told.
    fn settle(&mut self) {
        for _ in 0..6 {
            (0..PROCESSES).for_each(|who| self.attach(who));
            while (0..PROCESSES).fold(false, |any, who| self.deliver(who) | any) {}
            self.wait(6000);
        }
        while (0..PROCESSES).fold(false, |any, who| self.deliver(who) | any) {}
    }

    fn assert_all_meet(&self) {
        let living: Vec<&Process> = self.processes.iter().flatten().collect();
        let mut instances: Vec<InstanceId> = living.iter().map(|p| p.instance).collect();
        instances.push(self.hub);
        instances.sort_unstable();
        for process in living {
            assert!(process.is_linked, "{} is attached", process.instance);
            assert!(process.roster.is_complete());
            let attached = process
                .roster
                .peers()
                .filter(|p| p.presence == Presence::Attached);
            let mut seen: Vec<InstanceId> = attached.map(|p| p.instance).collect();
            seen.sort_unstable();
            assert_eq!(seen, instances, "what {} sees", process.instance);
            assert_eq!(process.roster.peers().count(), instances.len());
            let me = process.roster.by_instance(process.instance);
            let me = me.map(|p| (p.id, p.generation));
            assert_eq!(me, process.identity);
        }
    }
}

impl Process {
    fn lose_link(&mut self) {
        self.is_linked = false;
        self.inbox.clear();
        self.roster.hub_lost();
    }
}

fn found(now: Instant, hub: InstanceId) -> (IdentityTable, HubRoster) {
    let table = IdentityTable::found(now, IdentityConfig::default(), hub, None);
    let mut roster = HubRoster::new(DeclareLimits::default(), false);
    let attach = Attach {
        instance: hub,
        counter: 1,
        name: None,
        identity: None,
        handover: false,
        budget: 0,
        message_cap: 0,
        attachments: 16,
        reserve: 0,
        known: Known::default(),
        more: false,
        relayed: false,
        tied: false,
        elder: false,
    };
    let (id, generation) = table.identity(hub).expect("the hub has an identity");
    let given = Assignment {
        id,
        generation,
        name: None,
        id_changed: false,
        resumed: false,
        replaced: None,
    };
    roster.attached(&attach, &given);
    (table, roster)
}

proptest! {
    #[test]
    fn nobody_who_lives_is_declared_dead_and_in_the_end_all_see_each_other(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();
        world.assert_all_meet();
    }
}
