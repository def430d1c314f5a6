//! The world: runs a plan, with one clock that jumps to the next thing that happens.

mod excuses;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::app::{self, App};
use super::handle::{Owner, Registry};
use super::kernel::{End, Kernel, Marks, Shape, StreamKind};
use super::model::{Model, Process};
use super::plan::{Action, Fault, Intake, NodePlan, Plan, Reach, Work};
use super::process::{Dial, Died, Running, Shared, stage};
use super::rng::Rng;
use super::stranger::{self, Act, Stranger};
use crate::config::{Config, Role};
use crate::group::Presence;
use crate::id::{Generation, InstanceId, PeerId};
use crate::link::Medium;
use crate::node::{LinkConfig, LinkOrigin, Seeds};
use crate::time::Instant;
use crate::trace::{Log, Recorder, Recording};

/// Turns of all processes at one instant. A world that needs more stands still in time.
const TURN_BUDGET: u64 = 1_000_000;
/// A world in which a plan runs.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    shared: Shared,
    slots: Vec<Option<Running>>,
    starts: BTreeMap<Process, Start>,
    next_step: usize,
    next_process: u32,
    /// Dials of a slot find nobody until then.
    unreachable: BTreeMap<usize, Instant>,
    /// Slots in which a process is to be started.
    revivals: Vec<(Instant, usize)>,
    strangers: Vec<Stranger>,
    /// When the hub of the day began, if there was one before.
    succeeded: Option<Instant>,
    /// Whether there has been a hub.
    founded: bool,
    /// Processes that have lost the one through which they attach, and when they must be back.
    orphans: Vec<(Instant, Process)>,
    order: Rng,
    healed: bool,
    finished: Vec<Log>,
    transcripts: BTreeMap<usize, Vec<String>>,
}

/// What a run has shown.
#[derive(Debug)]
pub struct Report {
    /// Promises that were broken. A good run has none.
    pub violations: Vec<String>,
    /// How often each rare path was taken.
    pub marks: Marks,
    /// Of everything that every node gave back, in order.
    pub digest: u64,
    /// Messages that applications took.
    pub delivered: u64,
    /// What the application of each slot saw, in order and without times; of all its lives together.
    pub transcripts: BTreeMap<usize, Vec<String>>,
    /// Every life of every node, for replaying.
    pub logs: Vec<Log>,
    /// How many outputs the nodes of each slot asked for, of all its lives together.
    pub outputs: BTreeMap<usize, u64>,
    /// When it ended.
    pub end: Instant,
}

/// How a process was started.
#[derive(Clone, Debug)]
struct Start {
    config: Config,
    seeds: Seeds,
    at: Instant,
}

impl Report {
    /// Panics with everything that is needed to see the run again, unless no promise was broken.
    #[track_caller]
    pub fn assert_kept(&self, plan: &Plan) {
        let broken = &self.violations;
        let shown = &broken[..broken.len().min(10)];
        assert!(
            broken.is_empty(),
            "{} promises broken:\n{shown:#?}\nplan {}",
            broken.len(),
            plan.encode(),
        );
    }
}

impl World {
    /// A world at its beginning: the processes that run from the start are started.
    pub fn new(plan: Plan) -> Self {
        let registry = Registry::new();
        let seed = plan.seed;
        let shared = Shared {
            now: Instant::ZERO,
            kernel: Kernel::new(registry.clone()),
            registry,
            model: Model::new(),
            marks: Marks::new(),
            dials: Vec::new(),
            draws: Rng::new(seed, "world"),
            next_uid: 0,
        };
        let mut world = Self {
            slots: plan.nodes.iter().map(|_| None).collect(),
            shared,
            starts: BTreeMap::new(),
            next_step: 0,
            next_process: 1,
            unreachable: BTreeMap::new(),
            revivals: Vec::new(),
            strangers: Vec::new(),
            succeeded: None,
            founded: false,
            orphans: Vec::new(),
            order: Rng::new(seed, "order"),
            healed: false,
            finished: Vec::new(),
            transcripts: BTreeMap::new(),
            plan,
        };
        for slot in 0..world.plan.nodes.len() {
            if world.plan.nodes[slot].runs {
                world.start(slot);
            }
        }
        world
    }

    /// Runs the plan to its end and judges what was seen.
    pub fn run(mut self) -> Report {
        let end = self.end();
        self.happen();
        loop {
            self.settle();
            if !self.shared.model.violations().is_empty() {
                break;
            }
            let Some(next) = self.next_time().filter(|next| *next <= end) else {
                break;
            };
            self.shared.now = next;
            self.happen();
        }
        self.judge()
    }

    /// When the world ends: `settle` after the last step.
    fn end(&self) -> Instant {
        self.last_step() + self.plan.settle
    }

    fn last_step(&self) -> Instant {
        let last = self.plan.steps.last().map_or(0, |step| step.at);
        Instant::from_nanos(last)
    }

    /// Turns of every process, in drawn order, until nothing moves at this instant.
    fn settle(&mut self) {
        let mut turns = 0;
        loop {
            let mut busy = self.strangers_act();
            let count = self.slots.len();
            let first = self.order.size(0..=count.saturating_sub(1));
            for at in 0..count {
                busy |= self.turn((first + at) % count);
                turns += 1;
            }
            if !busy {
                return self.check_bounds();
            }
            if turns > TURN_BUDGET {
                let what = format!("nothing comes to rest at {:?}", self.shared.now);
                return self.shared.model.fail(what);
            }
        }
    }

    /// What waits in a node stays within the caps of its configuration.
    fn check_bounds(&mut self) {
        for running in self.slots.iter().flatten() {
            let Some(start) = self.starts.get(&running.process) else {
                continue;
            };
            let (buffered, most) = (running.node.buffered(), start.config.send_buffer_total);
            if buffered > most {
                let what = format!("slot {} buffers {buffered} of {most}", running.slot);
                self.shared.model.fail(what);
            }
            // The least that a message costs bounds their number by the budget; beside it each sender
            // has its first contact.
            let senders = self.plan.nodes.len() as u64;
            let first = u64::from(start.config.first_contact.messages);
            let most = start.config.receive_budget / 128 + senders * first * 2;
            let unread = running.node.unread() as u64;
            if unread > most {
                let what = format!("slot {} holds {unread} of {most} messages", running.slot);
                self.shared.model.fail(what);
            }
        }
    }

    fn turn(&mut self, slot: usize) -> bool {
        let Some(running) = &mut self.slots[slot] else {
            return false;
        };
        match running.turn(&mut self.shared) {
            Ok(busy) => busy,
            Err(Died) => {
                if let Some((_, next, after)) = running.fuse {
                    self.revivals.push((self.shared.now + after, next));
                }
                count(&mut self.shared.marks, "died_within_a_turn");
                self.kill(slot);
                true
            }
        }
    }

    fn next_time(&self) -> Option<Instant> {
        let now = self.shared.now;
        let step = self.plan.steps.get(self.next_step);
        let step = step.map(|step| Instant::from_nanos(step.at));
        let heal = (!self.healed).then(|| self.last_step());
        let kernel = self.shared.kernel.next_change(now);
        let dials = self.shared.dials.iter().map(|dial| dial.at);
        let running = self.slots.iter().flatten();
        let own = running.filter_map(|running| running.next_time(now));
        let revivals = self.revivals.iter().map(|(at, _)| *at);
        let orphans = self.orphans.iter().map(|(at, _)| *at);
        let fixed = [step, heal, kernel].into_iter().flatten();
        let fixed = fixed.chain(revivals).chain(orphans);
        // A time that has passed without an effect must not stop the clock.
        let floor = Instant::from_nanos(now.as_nanos() + 1);
        fixed.chain(dials).chain(own).min().map(|at| at.max(floor))
    }

    /// Everything that is due now, apart from the processes' own turns.
    fn happen(&mut self) {
        let now = self.shared.now;
        while let Some(step) = self.plan.steps.get(self.next_step).cloned()
            && Instant::from_nanos(step.at) <= now
        {
            self.next_step += 1;
            match step.action {
                Action::Work { node, work } => self.work(node, &work),
                Action::Fault(fault) => self.fault(fault),
            }
        }
        self.look_after_orphans();
        let (due, later) = self.revivals.iter().partition(|(at, _)| *at <= now);
        self.revivals = later;
        let due: Vec<(Instant, usize)> = due;
        for (_, slot) in due {
            self.start(slot);
        }
        let (due, later) = self.shared.dials.iter().partition(|dial| dial.at <= now);
        self.shared.dials = later;
        let due: Vec<Dial> = due;
        for dial in due {
            self.connect(dial);
        }
        if !self.healed && self.next_step == self.plan.steps.len() {
            self.heal();
        }
    }

    /// At the hub, every identity is above all that its members have ever known of others.
    fn check_identities(&mut self) {
        let Some(hub) = self.hub().and_then(|slot| self.slots[slot].as_ref()) else {
            return;
        };
        let model = &mut self.shared.model;
        let peers = hub.node.roster().peers();
        let named: Vec<(Process, PeerId, Generation, Presence)> = peers
            .filter_map(|peer| {
                let process = model.process(peer.instance.0)?;
                Some((process, peer.id, peer.generation, peer.presence))
            })
            .collect();
        let attached = named.iter().filter(|peer| peer.3 == Presence::Attached);
        let attached: Vec<Process> = attached.map(|peer| peer.0).collect();
        for (process, id, generation, _) in named {
            model.answers_to(&attached, process, id.0, generation.0);
        }
    }

    fn start(&mut self, slot: usize) {
        let Some(mut plan) = self.plan.nodes.get(slot).cloned() else {
            return;
        };
        // A fixed address has one hub: a second cannot bind it.
        if self.slots[slot].is_some() || plan.hub && self.hub().is_some() {
            return;
        }
        if self.healed {
            plan.intake = Intake::Eager;
        }
        let process = Process(self.next_process);
        self.next_process += 1;
        let mut draws = Rng::numbered(self.plan.seed, "node", u64::from(process.0));
        let start = Start {
            config: config(slot, &plan),
            seeds: Seeds {
                behaviour: draws.bytes32(),
            },
            at: self.shared.now,
        };
        let made = Recorder::new(start.config.clone(), &start.seeds, start.at, Recording::All);
        match made {
            Ok(mut node) => {
                self.shared.model.started(start.at, process, slot);
                if plan.hub {
                    self.succeed();
                }
                let app = App::start(
                    &mut stage(&mut self.shared),
                    process,
                    slot,
                    &plan,
                    &mut node,
                );
                if !plan.hub {
                    node.dial(start.at);
                }
                self.slots[slot] = Some(Running::new(process, slot, node, app));
                self.starts.insert(process, start);
            }
            Err(error) => self.shared.model.fail(format!("slot {slot}: {error}")),
        }
    }

    fn kill(&mut self, slot: usize) {
        self.check_identities();
        if let Some(running) = self.slots.get_mut(slot).and_then(Option::take) {
            self.orphan(slot);
            self.remember(&running);
            count(&mut self.shared.marks, "killed");
            running.die(&mut self.shared);
        }
    }

    /// Keeps what a life leaves behind for the report.
    fn remember(&mut self, running: &Running) {
        self.finished.extend(running.node.log());
        let transcript = self.transcripts.entry(running.slot).or_default();
        transcript.extend_from_slice(running.app.transcript());
    }

    fn work(&mut self, slot: usize, work: &Work) {
        // A stopped process does nothing, so its work is lost like that of a dead one.
        let now = self.shared.now;
        if let Some(running) = self.slots.get_mut(slot).and_then(Option::as_mut)
            && running.paused.is_none_or(|until| until <= now)
        {
            running
                .app
                .work(&mut stage(&mut self.shared), &mut running.node, work);
        }
    }

    fn fault(&mut self, fault: Fault) {
        let now = self.shared.now;
        match fault {
            Fault::Kill(slot) => self.kill(slot),
            Fault::KillAfter(slot, outputs, next, nanos) => {
                if let Some(running) = self.slots.get_mut(slot).and_then(Option::as_mut) {
                    running.fuse = Some((outputs, next, Duration::from_nanos(nanos)));
                }
            }
            Fault::Start(slot) => self.start(slot),
            Fault::Pause(slot, nanos) => self.pause(slot, now + Duration::from_nanos(nanos)),
            Fault::Cut(slot) => {
                count(&mut self.shared.marks, "cut");
                for end in self.network_ends(slot) {
                    self.shared.kernel.cut(now, end);
                }
            }
            Fault::Hold(slot, nanos) => {
                count(&mut self.shared.marks, "held");
                let until = now + Duration::from_nanos(nanos);
                for end in self.network_ends(slot) {
                    self.shared.kernel.hold(now, end, until);
                }
                self.may_come_late(slot);
                self.separate(slot, Duration::from_nanos(nanos));
            }
            Fault::Unreachable(slot, nanos) => {
                self.unreachable
                    .insert(slot, now + Duration::from_nanos(nanos));
                self.may_come_late(slot);
                self.separate(slot, Duration::from_nanos(nanos));
            }
            Fault::Table(slot, more) => self.limit_table(slot, more),
            Fault::InFlight(limit) => self.shared.kernel.set_in_flight_limit(limit),
            Fault::Stranger(says) => self.let_in(says),
            Fault::Liar => self.let_in_liar(),
        }
    }

    fn pause(&mut self, slot: usize, until: Instant) {
        let now = self.shared.now;
        if let Some(running) = self.slots.get_mut(slot).and_then(Option::as_mut) {
            running.paused = Some(until);
            count(&mut self.shared.marks, "paused");
            self.shared.model.paused(running.process, until);
            self.may_come_late(slot);
            // The lease of a stopped process on a network link runs out with the others.
            self.separate(slot, until.saturating_since(now));
        }
    }

    fn limit_table(&mut self, slot: usize, more: Option<u64>) {
        if let Some(running) = self.slots.get(slot).and_then(Option::as_ref) {
            let process = running.process.0;
            let held = self.shared.registry.held_by(Owner::Process(process));
            let limit = more.map(|more| held + more);
            self.shared.registry.set_limit(process, limit);
            self.shared.model.short_of_descriptors();
        }
    }

    fn network_ends(&self, slot: usize) -> Vec<End> {
        let running = self.slots.get(slot).and_then(Option::as_ref);
        running.map_or(Vec::new(), |running| running.ends(StreamKind::Tcp))
    }

    /// The slot of the living hub that was started last.
    fn hub(&self) -> Option<usize> {
        let hubs = self.slots.iter().flatten();
        let hubs = hubs.filter(|running| self.plan.nodes[running.slot].hub);
        hubs.max_by_key(|running| running.process)
            .map(|running| running.slot)
    }

    /// A dial comes to its end.
    fn connect(&mut self, dial: Dial) {
        let now = self.shared.now;
        let lives = |running: &&mut Running| running.process == dial.process;
        let blocked = self
            .unreachable
            .get(&dial.slot)
            .is_some_and(|until| *until > now);
        let plan = self.plan.nodes[dial.slot].clone();
        let runs = |slot: &usize| self.slots.get(*slot).is_some_and(Option::is_some);
        let above = match plan.parent {
            Some(parent) => Some(parent).filter(runs),
            None => self.hub(),
        };
        let above = above.filter(|_| !blocked);
        let Some(caller) = self.slots[dial.slot].as_mut().filter(lives) else {
            return;
        };
        let Some(above) = above else {
            count(&mut self.shared.marks, "dial_failed");
            return caller.node.dial_failed(now, dial.dial);
        };
        let (kind, medium) = match plan.reach {
            Reach::Local => (StreamKind::Unix, Medium::Local),
            Reach::Network => (StreamKind::Tcp, Medium::Network),
            Reach::Pipe => (StreamKind::Pipe, Medium::Local),
        };
        let attachments = kind == StreamKind::Unix;
        let config = |origin| LinkConfig {
            origin,
            medium,
            attachments,
        };
        let mut draws = Rng::new(self.shared.draws.next_u64(), "connection");
        let (near, far) = self.shared.kernel.connect(kind, plan.shape, &mut draws);
        caller.connect(
            &mut self.shared,
            near,
            kind,
            config(LinkOrigin::Dialled(dial.dial)),
        );
        let origin = match plan.parent {
            Some(_) => LinkOrigin::Child,
            None => LinkOrigin::Accepted,
        };
        if let Some(above) = self.slots[above].as_mut() {
            above.connect(&mut self.shared, far, kind, config(origin));
        }
    }

    fn let_in(&mut self, says: Vec<u8>) {
        let Some(hub) = self.hub().and_then(|slot| self.slots[slot].as_mut()) else {
            return;
        };
        let mut draws = Rng::new(self.shared.draws.next_u64(), "stranger");
        let (near, far) = self
            .shared
            .kernel
            .connect(StreamKind::Unix, Shape::KIND, &mut draws);
        let config = LinkConfig {
            origin: LinkOrigin::Accepted,
            medium: Medium::Local,
            attachments: true,
        };
        hub.connect(&mut self.shared, far, StreamKind::Unix, config);
        count(&mut self.shared.marks, "stranger");
        self.strangers.push(Stranger::new(near, says));
    }

    /// Somebody attaches who says of everybody that he is gone, and of every id that another has it.
    /// Whom an earlier hub may have declared gone, for all that this one knows, it may cost his life.
    fn let_in_liar(&mut self) {
        let Some(hub) = self.hub().and_then(|slot| self.slots[slot].as_ref()) else {
            return;
        };
        let now = self.shared.now;
        let peers = hub.node.roster().peers();
        let others = peers.filter(|peer| peer.instance != hub.node.instance());
        let instance = InstanceId(self.shared.draws.next_u64().max(1));
        let says = stranger::lies(instance, others, &mut self.shared.draws);
        let liar = Process(u32::MAX - self.next_process);
        self.next_process += 1;
        let model = &mut self.shared.model;
        model.lives_as(liar, instance.0);
        model.separated(now, liar);
        if self.succeeded.is_some() {
            for running in self.slots.iter().flatten() {
                model.separated(now, running.process);
            }
        }
        count(&mut self.shared.marks, "liar");
        self.let_in(says);
    }

    fn strangers_act(&mut self) -> bool {
        let (now, kernel) = (self.shared.now, &mut self.shared.kernel);
        let mut busy = false;
        self.strangers
            .retain_mut(|stranger| match stranger.act(now, kernel) {
                Act::Nothing => true,
                Act::Something => {
                    busy = true;
                    true
                }
                Act::Left => {
                    busy = true;
                    false
                }
            });
        busy
    }

    /// The faults are over: from now on everything that was promised must come true.
    fn heal(&mut self) {
        self.healed = true;
        let now = self.shared.now;
        self.unreachable.clear();
        self.shared.kernel.set_in_flight_limit(None);
        for running in self.slots.iter_mut().flatten() {
            running.app.set_intake(now, Intake::Eager);
            self.shared.registry.set_limit(running.process.0, None);
            running.fuse = None;
        }
    }

    fn judge(mut self) -> Report {
        let living = self.slots.iter().flatten().map(|running| running.slot);
        // Without a hub nobody can be reached.
        let present: BTreeSet<usize> = living.filter(|_| self.hub().is_some()).collect();
        self.check_identities();
        let early = !self.shared.model.violations().is_empty();
        if !early {
            self.shared.model.judge(&present);
            let living = self.slots.iter().flatten();
            let ids = living.filter_map(|running| {
                let (id, _) = running.node.identity()?;
                Some((running.process, id.0))
            });
            self.shared.model.present_as(ids);
            for running in self.slots.iter().flatten() {
                let waits = running.app.backlog().filter(|(_, to)| present.contains(to));
                if let Some((left, to)) = waits {
                    let from = running.slot;
                    let what = format!("slot {from} still waits to send {left} to {to}");
                    self.shared.model.fail(what);
                }
            }
            self.check_descriptors();
        }
        let mut outputs = BTreeMap::new();
        let slots = core::mem::take(&mut self.slots);
        for running in slots.into_iter().flatten() {
            outputs.insert(running.slot, running.outputs);
            self.remember(&running);
        }
        // Nothing of the world is left but what the kernel still carries.
        let mut marks = core::mem::take(&mut self.shared.marks);
        for (mark, times) in self.shared.kernel.marks() {
            *marks.entry(mark).or_default() += times;
        }
        let steps = self.finished.iter().flat_map(|log| &log.steps);
        let digest = steps.fold(0, |digest: u64, step| digest.rotate_left(7) ^ step.digest);
        Report {
            violations: self.shared.model.violations().to_vec(),
            marks,
            digest,
            delivered: self.shared.model.delivered(),
            transcripts: self.transcripts,
            logs: self.finished,
            outputs,
            end: self.shared.now,
        }
    }

    /// At rest, every open descriptor is in the hands of an application or of a message that waits.
    fn check_descriptors(&mut self) {
        let held = self
            .slots
            .iter()
            .flatten()
            .flat_map(|running| running.app.held());
        let expected = held.chain(self.shared.model.under_way());
        if let Err(error) = self.shared.registry.conserves(expected) {
            self.shared.model.fail(format!("{error}"));
        }
    }
}

fn config(slot: usize, plan: &NodePlan) -> Config {
    let mut config = Config {
        role: if plan.hub { Role::Hub } else { Role::Member },
        name: app::name(slot),
        ..Config::default()
    };
    let limits = plan.limits;
    let set = |field: &mut u64, value: Option<u64>| *field = value.unwrap_or(*field);
    set(&mut config.receive_budget, limits.receive_budget);
    set(&mut config.first_window, limits.first_window);
    set(&mut config.send_buffer, limits.send_buffer);
    set(&mut config.send_messages, limits.send_messages);
    config
}

fn count(marks: &mut Marks, mark: &'static str) {
    *marks.entry(mark).or_default() += 1;
}
