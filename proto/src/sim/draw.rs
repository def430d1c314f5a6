//! Plans drawn from a seed. Each kind of choice has a generator of its own, so that one more fault
//! does not change the work.

use alloc::vec::Vec;
use core::time::Duration;

use super::kernel::Shape;
use super::plan::{Action, Fault, Handler, Intake, Limits, NodePlan, Plan, Reach, Work};
use super::rng::Rng;
use crate::config::Role;

/// The work of a plan is done within this many nanoseconds.
const BUSY: u64 = 2_000_000_000;

/// A plan for a seed: two to five members, drawn work, and each class of faults with a chance of one
/// in two; one seed in ten has no faults.
pub fn plan(seed: u64) -> Plan {
    let mut plan = topology(&mut Rng::new(seed, "topology"), seed);
    families(&mut Rng::new(seed, "families"), &mut plan);
    heirs(&mut Rng::new(seed, "heirs"), &mut plan);
    work(&mut Rng::new(seed, "workload"), &mut plan);
    let mut faults = Rng::new(seed, "faults");
    if !faults.chance(100) {
        for class in [deaths, pauses, network, descriptors, strangers] {
            let mut draws = Rng::new(faults.next_u64(), "class");
            if draws.chance(500) {
                class(&mut draws, &mut plan);
            }
        }
    }
    plan
}

fn topology(rng: &mut Rng, seed: u64) -> Plan {
    let members = rng.size(2..=5);
    let mixed = rng.chance(500);
    let mut plan = Plan {
        seed,
        nodes: Vec::new(),
        steps: Vec::new(),
        settle: Duration::from_secs(60),
    };
    for slot in 0..=members {
        let reach = match rng.below(4) {
            0 if mixed => Reach::Pipe,
            1 | 2 if mixed => Reach::Network,
            _ => Reach::Local,
        };
        let role = if slot == 0 { Role::Hub } else { Role::Member };
        let mut node = NodePlan::new(role, reach);
        node.shape = Shape::draw(rng);
        node.limits = limits(rng);
        node.intake = match rng.below(8) {
            0 => Intake::Stopped,
            1 => Intake::Slow(rng.range(10_000..=5_000_000)),
            _ => Intake::Eager,
        };
        plan.nodes.push(node);
    }
    // A hub that takes the place of the first, if a fault starts it.
    let mut spare = NodePlan::new(Role::Hub, Reach::Local);
    spare.runs = false;
    plan.nodes.push(spare);
    plan
}

/// In half of the worlds some members are the children of others.
fn families(rng: &mut Rng, plan: &mut Plan) {
    if rng.chance(500) {
        return;
    }
    // Neither the hub, which is the first, nor the spare one, which is the last.
    for slot in 2..plan.nodes.len() - 1 {
        if rng.chance(500) {
            plan.nodes[slot].parent = Some(rng.size(1..=slot - 1));
        }
    }
}

/// Half of the children live only with their parents, over one machine.
fn heirs(rng: &mut Rng, plan: &mut Plan) {
    for node in &mut plan.nodes {
        if node.parent.is_some() && rng.chance(500) {
            node.inherits = true;
            if node.reach == Reach::Network {
                node.reach = Reach::Local;
            }
        }
    }
}

/// Tiny limits in half of the nodes: what is rare with the defaults is common with them.
fn limits(rng: &mut Rng) -> Limits {
    let drawn = Limits {
        receive_budget: Some(rng.range(16 * 1024..=64 * 1024)),
        first_window: Some(rng.range(1024..=8 * 1024)),
        send_buffer: Some(rng.range(8 * 1024..=64 * 1024)),
        send_messages: Some(rng.range(2..=16)),
    };
    if rng.chance(500) {
        drawn
    } else {
        Limits::default()
    }
}

fn work(rng: &mut Rng, plan: &mut Plan) {
    let slots = plan.nodes.len() as u64 - 1;
    for _ in 0..rng.range(4..=24) {
        let at = rng.below(BUSY);
        let node = rng.below(slots) as usize;
        let to = rng.below(slots) as usize;
        let namespace = rng.below(2) as usize;
        let bytes = match rng.below(8) {
            0 => rng.size(4_000..=200_000),
            1 | 2 => rng.size(100..=6_000),
            _ => rng.size(8..=100),
        };
        let count = if bytes > 4_000 {
            rng.size(1..=3)
        } else {
            rng.size(1..=40)
        };
        let attachments = if rng.chance(200) { rng.size(1..=4) } else { 0 };
        let handler = Handler::ALL[rng.below(6) as usize];
        let deadline = rng.range(1_000_000..=3_000_000_000);
        let work = match rng.below(10) {
            0 => Work::Cancel,
            1..=5 => Work::Send {
                to,
                namespace,
                bytes,
                attachments,
                count,
                receipt: rng.below(3) as u8,
            },
            _ => Work::Request {
                to,
                namespace,
                handler,
                bytes,
                attachments,
                count,
                deadline: Some(deadline),
            },
        };
        plan.push(at, Action::Work { node, work });
    }
}

fn fault(rng: &mut Rng, plan: &mut Plan, within: u64, fault: Fault) {
    plan.push(rng.below(within), Action::Fault(fault));
}

fn slot(rng: &mut Rng, plan: &Plan) -> usize {
    // Half of it is aimed at the hub.
    let slots = plan.nodes.len() as u64 - 1;
    if rng.chance(500) {
        0
    } else {
        rng.below(slots) as usize
    }
}

fn deaths(rng: &mut Rng, plan: &mut Plan) {
    for _ in 0..rng.range(1..=3) {
        let slot = slot(rng, plan);
        let at = rng.below(BUSY);
        // A hub must come back for anything else to be true; another process may do it. Soon, so
        // that members still dial often.
        let spare = plan.nodes.len() - 1;
        let next = if slot == 0 && rng.chance(500) {
            spare
        } else {
            slot
        };
        let pause = rng.range(1_000_000..=500_000_000);
        if rng.chance(500) {
            plan.push(at, Action::Fault(Fault::Kill(slot)));
            plan.push(at + pause, Action::Fault(Fault::Start(next)));
        } else {
            let death = Fault::KillAfter(slot, rng.below(300), next, pause);
            plan.push(at, Action::Fault(death));
        }
    }
}

fn pauses(rng: &mut Rng, plan: &mut Plan) {
    for _ in 0..rng.range(1..=3) {
        let slot = slot(rng, plan);
        let nanos = if rng.chance(100) {
            rng.range(30_000_000_000..=40_000_000_000)
        } else {
            rng.range(1_000_000..=2_000_000_000)
        };
        fault(rng, plan, BUSY, Fault::Pause(slot, nanos));
    }
}

fn network(rng: &mut Rng, plan: &mut Plan) {
    for _ in 0..rng.range(1..=4) {
        let slot = slot(rng, plan);
        let nanos = rng.range(1_000_000..=8_000_000_000);
        let drawn = match rng.below(3) {
            0 => Fault::Cut(slot),
            1 => Fault::Hold(slot, nanos),
            _ => Fault::Unreachable(slot, nanos),
        };
        fault(rng, plan, BUSY, drawn);
    }
}

fn descriptors(rng: &mut Rng, plan: &mut Plan) {
    for _ in 0..rng.range(1..=3) {
        let slot = slot(rng, plan);
        let more = rng.below(4);
        let drawn = match rng.below(2) {
            0 => Fault::Table(slot, Some(more)),
            _ => Fault::InFlight(Some(more)),
        };
        let lifted = match &drawn {
            Fault::Table(slot, _) => Fault::Table(*slot, None),
            _ => Fault::InFlight(None),
        };
        let at = rng.below(BUSY);
        plan.push(at, Action::Fault(drawn));
        plan.push(at + rng.below(BUSY), Action::Fault(lifted));
    }
}

fn strangers(rng: &mut Rng, plan: &mut Plan) {
    for _ in 0..rng.range(1..=4) {
        let bytes = rng.size(0..=600);
        let says = (0..bytes).map(|_| rng.next_u64() as u8).collect();
        let drawn = match rng.chance(250) {
            true => Fault::Liar,
            false => Fault::Stranger(says),
        };
        fault(rng, plan, BUSY, drawn);
    }
}
