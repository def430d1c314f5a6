//! The world: runs a plan, with one clock that jumps to the next thing that happens.

mod excuses;
mod families;
mod faults;
mod report;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub use report::Report;

use super::app::{self, App};
use super::handle::Registry;
use super::kernel::{Kernel, Marks, StreamKind};
use super::model::{Model, Process};
use super::plan::{Action, Intake, NodePlan, Plan, Reach};
use super::process::{Dial, Died, Running, Shared, stage};
use super::rng::Rng;
use super::stranger::{Act, Stranger};
use crate::config::{Config, Role};
use crate::link::Medium;
use crate::node::{LinkConfig, LinkOrigin, Seeds};
use crate::time::Instant;
use crate::trace::{Log, Recorder, Recording};

/// Turns of all processes at one instant. A world that needs more stands still in time.
const TURN_BUDGET: u64 = 1_000_000;
/// How many times over a world may take to settle, as long as somebody still waits for something.
const PATIENCE: u32 = 4;

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
    /// Processes that end because they have no way any more, and when.
    bereaved: Vec<(Instant, Process)>,
    order: Rng,
    healed: bool,
    finished: Vec<Log>,
    transcripts: BTreeMap<usize, Vec<String>>,
}

/// How a process was started.
#[derive(Clone, Debug)]
struct Start {
    config: Config,
    seeds: Seeds,
    at: Instant,
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
            bereaved: Vec::new(),
            order: Rng::new(seed, "order"),
            healed: false,
            finished: Vec::new(),
            transcripts: BTreeMap::new(),
            plan,
        };
        for slot in 0..world.plan.nodes.len() {
            // Children come with their parents.
            if world.plan.nodes[slot].runs && !world.plan.nodes[slot].inherits {
                world.start(slot);
            }
        }
        world
    }

    /// Runs the plan to its end and judges what was seen.
    pub fn run(mut self) -> Report {
        let settle = self.plan.settle;
        let mut end = self.last_step() + settle;
        let last = end + settle * PATIENCE;
        self.happen();
        loop {
            self.settle();
            if !self.shared.model.violations().is_empty() {
                break;
            }
            let Some(next) = self.next_time() else {
                break;
            };
            // Large messages over slow links into small budgets take their time.
            while next > end && end < last && !self.open().is_empty() {
                end = end + settle;
            }
            if next > end {
                break;
            }
            self.shared.now = next;
            self.happen();
        }
        self.judge()
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

    fn turn(&mut self, slot: usize) -> bool {
        let Some(running) = &mut self.slots[slot] else {
            return false;
        };
        match running.turn(&mut self.shared) {
            Ok(busy) => {
                if running.app.has_given_up() {
                    self.mourn(slot);
                }
                busy
            }
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
        let families = self.orphans.iter().chain(&self.bereaved);
        let families = families.map(|(at, _)| *at);
        let fixed = [step, heal, kernel].into_iter().flatten();
        let fixed = fixed.chain(revivals).chain(families);
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
        self.bury();
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

    fn start(&mut self, slot: usize) {
        let Some(mut plan) = self.plan.nodes.get(slot).cloned() else {
            return;
        };
        // A fixed address has one hub: a second cannot bind it.
        let taken = self.slots[slot].is_some() || plan.hub && self.hub().is_some();
        if taken || !self.has_parent(slot) {
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
                if !plan.hub && !plan.inherits {
                    node.dial(start.at);
                }
                self.slots[slot] = Some(Running::new(process, slot, node, app));
                self.starts.insert(process, start);
                self.join_family(slot);
            }
            Err(error) => self.shared.model.fail(format!("slot {slot}: {error}")),
        }
    }

    fn kill(&mut self, slot: usize) {
        self.check_identities();
        if let Some(running) = self.slots.get_mut(slot).and_then(Option::take) {
            self.orphan(slot);
            self.bereave(slot);
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
        let parent = self.plan.nodes[dial.slot].parent;
        let runs = |slot: &usize| self.slots.get(*slot).is_some_and(Option::is_some);
        let above = match parent {
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
        self.link_up(dial.slot, above, LinkOrigin::Dialled(dial.dial));
    }

    /// Connects the processes of two slots.
    fn link_up(&mut self, slot: usize, above: usize, origin: LinkOrigin) {
        let plan = &self.plan.nodes[slot];
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
        let accepted = match plan.parent {
            Some(_) => LinkOrigin::Child,
            None => LinkOrigin::Accepted,
        };
        let mut draws = Rng::new(self.shared.draws.next_u64(), "connection");
        let (near, far) = self.shared.kernel.connect(kind, plan.shape, &mut draws);
        for (slot, end, origin) in [(slot, near, origin), (above, far, accepted)] {
            if let Some(running) = self.slots[slot].as_mut() {
                running.connect(&mut self.shared, end, kind, config(origin));
            }
        }
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
