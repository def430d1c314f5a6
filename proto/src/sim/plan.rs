//! What happens in a world, written out: nodes, work and faults, each with its time. The plan is what
//! runs, what is shrunk and what is kept as a regression; the seed it was drawn from is void as soon
//! as the drawing changes.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::kernel::Shape;
use crate::config::Role;

/// One run of a world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// For what the plan leaves open: the nodes' seeds, and what the shapes draw.
    pub seed: u64,
    /// The nodes by slot. A slot is a name; a process that is started again in it is a new instance.
    pub nodes: Vec<NodePlan>,
    /// What happens, in the order of time.
    pub steps: Vec<Step>,
    /// How long the world runs on after the last step, healed and with every reader reading, before
    /// it is judged; up to five times as long while somebody still waits for something.
    pub settle: Duration,
}

/// One slot of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// Hub or member. The hub of the world is the living one that was started last.
    pub hub: bool,
    /// Whether the slot's process runs from the beginning; otherwise a step starts it.
    pub runs: bool,
    /// How it is connected: to the hub of the day, or to its parent.
    pub reach: Reach,
    /// The slot of the member whose child it is: it attaches through the process there.
    #[serde(default)]
    pub parent: Option<usize>,
    /// Whether its connection to its parent is there from its start, over one machine, and the only
    /// one that it ever has: it ends with its parent, and is started again with it. Otherwise it
    /// dials its parent, again and again.
    #[serde(default)]
    pub inherits: bool,
    /// How its connections cut and delay.
    pub shape: Shape,
    /// How its application takes what is delivered.
    pub intake: Intake,
    /// The limits of its node.
    pub limits: Limits,
}

/// How a member is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// A unix socket, with attachments. Its end is the death of the peer.
    Local,
    /// TCP. Its end is a loss that may heal.
    Network,
    /// A pair of pipes. As [`Reach::Local`], without attachments.
    Pipe,
}

/// How an application takes what is delivered to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Intake {
    /// At once.
    Eager,
    /// One delivery each so many nanoseconds.
    Slow(u64),
    /// Never, until a step says otherwise.
    Stopped,
}

/// Limits of a node that a world varies; `None` is the default of the core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of the receive budget.
    pub receive_budget: Option<u64>,
    /// Bytes of the first window of a flow.
    pub first_window: Option<u64>,
    /// Bytes of the send buffer to one receiver.
    pub send_buffer: Option<u64>,
    /// Messages of the send buffer to one receiver.
    pub send_messages: Option<u64>,
}

/// Something that happens at a point in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Nanoseconds from the beginning.
    pub at: u64,
    /// What happens.
    pub action: Action,
}

/// What may happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// An application does something. Nothing happens where its process does not run.
    Work {
        /// The slot.
        node: usize,
        /// What it does.
        work: Work,
    },
    /// Something goes wrong, or is put right.
    Fault(Fault),
}

/// What an application may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Sends events to the process of a slot.
    Send {
        /// The receiver's slot.
        to: usize,
        /// The number of the namespace, 0 or 1.
        namespace: usize,
        /// Bytes of each payload, at least 8.
        bytes: usize,
        /// Attachments of each.
        attachments: usize,
        /// How many.
        count: usize,
        /// Which receipt is asked for: 0 none, 1 delivered, 2 handled.
        receipt: u8,
    },
    /// Makes requests of the process of a slot.
    Request {
        /// The receiver's slot.
        to: usize,
        /// The number of the namespace, 0 or 1.
        namespace: usize,
        /// What the handler does.
        handler: Handler,
        /// Bytes of each payload, at least 8.
        bytes: usize,
        /// Attachments of each.
        attachments: usize,
        /// How many.
        count: usize,
        /// Nanoseconds to the deadline; `None` is the default of the core.
        deadline: Option<u64>,
    },
    /// Cancels the oldest of its requests that has no outcome.
    Cancel,
    /// Changes how it takes what is delivered.
    Take(Intake),
}

/// What a request handler of a world does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Handler {
    /// There is no such handler.
    Absent,
    /// Asks the requester for an echo, and replies when that has an outcome.
    AskBack,
    /// Replies at once with the same payload, and with as many attachments as the request brought.
    Echo,
    /// Fails at once.
    Fail,
    /// As [`Handler::Echo`], 5 ms later.
    Late,
    /// Never replies.
    Mute,
}

impl Handler {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Absent,
        Self::AskBack,
        Self::Echo,
        Self::Fail,
        Self::Late,
        Self::Mute,
    ];

    /// The event's name under which it is declared.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::AskBack => "ask-back",
            Self::Echo => "echo",
            Self::Fail => "fail",
            Self::Late => "late",
            Self::Mute => "mute",
        }
    }

    /// The handler of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|handler| handler.name() == name)
    }
}

/// What may go wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The process dies (kill -9).
    Kill(usize),
    /// A process is started in the slot, unless one lives there: a new instance of the same name.
    Start(usize),
    /// The process dies after so many further outputs of its node: within a step, between two writes.
    /// In the second slot, which may be the same, one is started so many nanoseconds later.
    KillAfter(usize, u64, usize, u64),
    /// The process is stopped for so many nanoseconds (SIGSTOP).
    Pause(usize, u64),
    /// The network connection of the slot is cut.
    Cut(usize),
    /// The network connection of the slot carries nothing for so many nanoseconds.
    Hold(usize, u64),
    /// Whoever dials from the slot finds nobody for so many nanoseconds.
    Unreachable(usize, u64),
    /// How many more descriptors the process may receive (EMFILE); `None` lifts the limit.
    Table(usize, Option<u64>),
    /// How many descriptors may be in flight (ETOOMANYREFS); `None` lifts the limit.
    InFlight(Option<u64>),
    /// A stranger connects to the hub and writes these bytes.
    Stranger(Vec<u8>),
    /// Somebody attaches to the hub and lies of all others: that they are gone, and that others have
    /// their ids.
    Liar,
}

impl NodePlan {
    /// A slot of the kindest sort.
    pub fn new(role: Role, reach: Reach) -> Self {
        Self {
            hub: role == Role::Hub,
            runs: true,
            reach,
            parent: None,
            inherits: false,
            shape: Shape::KIND,
            intake: Intake::Eager,
            limits: Limits::default(),
        }
    }
}

impl Plan {
    /// A hub in slot 0 and so many members behind it, all alike and kind, with nothing to do.
    pub fn star(seed: u64, members: usize, reach: Reach) -> Self {
        let mut nodes = Vec::from([NodePlan::new(Role::Hub, reach)]);
        nodes.resize(members + 1, NodePlan::new(Role::Member, reach));
        Self {
            seed,
            nodes,
            steps: Vec::new(),
            settle: Duration::from_secs(30),
        }
    }

    /// Makes the process of a slot the child of the one in another.
    pub fn behind(mut self, child: usize, parent: usize) -> Self {
        self.nodes[child].parent = Some(parent);
        self
    }

    /// As [`Plan::behind`], for a child that is started by its parent and ends with it.
    pub fn heir(mut self, child: usize, parent: usize) -> Self {
        self.nodes[child].inherits = true;
        self.behind(child, parent)
    }

    /// The slot with which a slot begins and ends, if there is one.
    pub fn heir_of(&self, slot: usize) -> Option<usize> {
        let node = self.nodes.get(slot)?;
        node.parent.filter(|_| node.inherits)
    }

    /// Whether the process of a slot has no way to its hub but the one that is now in another slot.
    pub fn is_tied(&self, slot: usize, to: usize) -> bool {
        let way = self.way_up(slot);
        let before = way.iter().take_while(|above| **above != to);
        way.contains(&to) && before.copied().all(|below| self.heir_of(below).is_some())
    }

    /// The slots through which a slot reaches its hub, its own the first.
    pub fn way_up(&self, slot: usize) -> Vec<usize> {
        let mut way = Vec::from([slot]);
        let parent = |slot: usize| self.nodes.get(slot)?.parent;
        // Nobody is his own ancestor; a plan that says so has a way that ends.
        while let Some(next) = way.last().copied().and_then(parent)
            && !way.contains(&next)
        {
            way.push(next);
        }
        way
    }

    /// Adds work of a slot at a time, in milliseconds.
    pub fn work(mut self, millis: u64, node: usize, work: Work) -> Self {
        self.push(millis * 1_000_000, Action::Work { node, work });
        self
    }

    /// Adds a fault at a time, in milliseconds.
    pub fn fault(mut self, millis: u64, fault: Fault) -> Self {
        self.push(millis * 1_000_000, Action::Fault(fault));
        self
    }

    /// Adds a step at a time in nanoseconds, after those of the same time.
    pub fn push(&mut self, at: u64, action: Action) {
        let index = self.steps.partition_point(|step| step.at <= at);
        self.steps.insert(index, Step { at, action });
    }

    /// The plan as one line of text, for a file of regressions.
    pub fn encode(&self) -> String {
        let mut cbor = Vec::new();
        let mut text = String::new();
        // A Vec takes every byte, and a plan has nothing that CBOR cannot carry.
        if ciborium::into_writer(self, &mut cbor).is_ok() {
            for byte in cbor {
                // A String takes every character.
                let _ = write!(text, "{byte:02x}");
            }
        }
        text
    }

    /// Reads what [`Plan::encode`] wrote; `None` if it is something else.
    pub fn decode(text: &str) -> Option<Self> {
        let digits = text.trim().as_bytes();
        let pairs = digits.chunks(2).map(|pair| {
            let pair = core::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        });
        let cbor: Option<Vec<u8>> = pairs.collect();
        ciborium::from_reader(&cbor?[..]).ok()
    }
}

/// A smaller plan that still fails, by leaving out runs of steps for as long as one of the runs can
/// go (delta debugging). `fails` is asked at most `attempts` times.
pub fn shrink(plan: &Plan, mut attempts: usize, mut fails: impl FnMut(&Plan) -> bool) -> Plan {
    let mut best = plan.clone();
    let mut width = best.steps.len().div_ceil(2);
    while width > 0 {
        let mut from = 0;
        while from < best.steps.len() && attempts > 0 {
            let mut smaller = best.clone();
            smaller
                .steps
                .drain(from..(from + width).min(best.steps.len()));
            attempts -= 1;
            if fails(&smaller) {
                best = smaller;
            } else {
                from += width;
            }
        }
        width /= 2;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Plan {
        let mut plan = Plan::star(3, 2, Reach::Local);
        for index in 0..40 {
            plan = plan.fault(index, Fault::Pause(1, index));
        }
        plan.fault(7, Fault::Kill(2))
            .fault(31, Fault::Stranger(Vec::from([1, 2])))
    }

    #[test]
    fn a_plan_survives_its_line_of_text() {
        let plan = sample();
        assert_eq!(Plan::decode(&plan.encode()), Some(plan));
        assert_eq!(Plan::decode("no plan"), None);
    }

    #[test]
    fn steps_stand_in_the_order_of_time_and_then_of_writing() {
        let plan = sample();
        assert!(plan.steps.is_sorted_by_key(|step| step.at));
        assert_eq!(plan.steps[8].action, Action::Fault(Fault::Kill(2)));
    }

    #[test]
    fn shrinking_keeps_just_the_steps_without_which_nothing_fails() {
        let wanted = |plan: &Plan| {
            let has = |fault: Fault| {
                let mut steps = plan.steps.iter();
                steps.any(|step| step.action == Action::Fault(fault.clone()))
            };
            has(Fault::Kill(2)) && has(Fault::Pause(1, 25))
        };
        let small = shrink(&sample(), 1_000, wanted);
        assert_eq!(small.steps.len(), 2, "{small:?}");
    }
}
