#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs,
    reason = "a benchmark reads the clock"
)]
//! What one 64-byte message costs in the core alone: all nodes in this process, bytes handed over
//! directly.
//!
//! - one way: a member sends events to its hub;
//! - through a hub: what the hub spends on an event from one member to another;
//! - round trip: requests of a member to its hub, one at a time and 64 under way.
//!
//! `cargo bench -p switchboard-proto --bench messages` prints nanoseconds and allocations; under
//! `valgrind --tool=callgrind --toggle-collect='*measured_*'` the instructions of each step can be
//! read (see CONTRIBUTING).

use std::borrow::Cow;
use std::hint::black_box;
use std::time::{Duration, Instant as Wall};

use bytes::{Bytes, BytesMut};
use switchboard_proto::*;

/// Messages sent before they are carried over, as a busy application does.
const BATCH: usize = 64;

const NAMESPACE: NamespaceId = NamespaceId(0);

struct Member {
    node: Node<()>,
    /// The link as the member names it, and as the hub does.
    up: LinkId,
    down: LinkId,
}

/// A hub and its members.
struct World {
    hub: Node<()>,
    members: Vec<Member>,
    now: Instant,
    payload: Bytes,
    /// Bytes of the first member that the hub has not read, and of the hub by its links.
    to_hub: Vec<BytesMut>,
    from_hub: Vec<(LinkId, BytesMut)>,
    buffer: BytesMut,
}

impl World {
    fn new(members: usize) -> Self {
        let now = Instant::ZERO;
        let mut hub = node(Role::Hub, 1);
        let members = (0..members).map(|at| {
            let mut node = node(Role::Member, 2 + at as u8);
            let up = node.add_link(now, link(LinkOrigin::Inherited));
            let down = hub.add_link(now, link(LinkOrigin::Accepted));
            Member { node, up, down }
        });
        let members = members.collect();
        let mut world = Self {
            hub,
            members,
            now,
            payload: Bytes::from(vec![7; 64]),
            to_hub: Vec::new(),
            from_hub: Vec::new(),
            buffer: BytesMut::new(),
        };
        world.settle();
        world
    }

    fn settle(&mut self) {
        while (0..self.members.len()).fold(false, |any, at| any | self.carry_up(at))
            | self.carry_down()
        {}
    }

    /// Moves all plans of a member to the hub.
    fn carry_up(&mut self, at: usize) -> bool {
        let member = &mut self.members[at];
        let mut any = false;
        while write(&mut member.node, self.now, &mut self.buffer, |_, bytes| {
            read(&mut self.hub, self.now, member.down, bytes);
        }) {
            any = true;
        }
        any
    }

    /// Lets the first member write all that it has.
    fn write_up(&mut self) {
        let from = &mut self.members[0].node;
        while write(from, self.now, &mut self.buffer, |_, bytes| {
            self.to_hub.push(bytes);
        }) {}
    }

    /// Lets the hub read it.
    fn read_up(&mut self) {
        let from = self.members[0].down;
        for bytes in self.to_hub.drain(..) {
            read(&mut self.hub, self.now, from, bytes);
        }
    }

    /// Moves all plans of the hub to its members.
    fn carry_down(&mut self) -> bool {
        let members = &mut self.members;
        let mut any = false;
        while write(&mut self.hub, self.now, &mut self.buffer, |link, bytes| {
            let member = members.iter_mut().find(|member| member.down == link);
            let member = member.unwrap();
            read(&mut member.node, self.now, member.up, bytes);
        }) {
            any = true;
        }
        any
    }

    fn message(&self, target: Target, event: &'static str) -> Message<()> {
        Message {
            target,
            namespace: NAMESPACE,
            event: Cow::Borrowed(event),
            codec: 0,
            payload: self.payload.clone(),
            attachments: Vec::new(),
        }
    }

    fn send(&mut self, from: usize, target: Target) {
        let message = self.message(target, "bench.event");
        let node = &mut self.members[from].node;
        node.send(self.now, message, SendOptions::default())
            .unwrap();
    }

    fn request(&mut self) {
        let message = self.message(Target::Hub, "bench.call");
        let node = &mut self.members[0].node;
        node.request(self.now, message, RequestOptions::default())
            .unwrap();
    }

    /// The hub answers what it was asked.
    fn serve(&mut self) {
        while let Some(delivery) = self.hub.recv(self.now, NAMESPACE) {
            let DeliveryKind::Request { ticket, .. } = delivery.kind else {
                continue;
            };
            let answer = Answer::value(delivery.codec, self.payload.clone());
            self.hub.reply(self.now, ticket, answer).unwrap();
        }
    }

    /// Lets marks and credit go back.
    fn rest(&mut self) {
        self.now = self.now + Duration::from_micros(50);
        self.hub.handle_timeout(self.now);
        for member in &mut self.members {
            member.node.handle_timeout(self.now);
        }
    }
}

fn node(role: Role, seed: u8) -> Node<()> {
    let mut config = Config::default();
    config.role = role;
    config.complete_grace = Duration::ZERO;
    let seeds = Seeds {
        behaviour: [seed; 32],
    };
    let mut node = Node::new(config, &seeds, Instant::ZERO).unwrap();
    let namespace = node.open(Instant::ZERO, "_").unwrap();
    let names = Names {
        handlers: ["bench.call".into()].into(),
        listeners: ["bench.event".into()].into(),
        all_events: false,
    };
    node.declare(Instant::ZERO, namespace, names).unwrap();
    node.ready_all(Instant::ZERO);
    node
}

fn link(origin: LinkOrigin) -> LinkConfig {
    LinkConfig {
        origin,
        medium: Medium::Local,
        attachments: false,
    }
}

/// Polls a node until it is idle (`false`) or has written one plan, as one read of its peer.
fn write(
    from: &mut Node<()>,
    now: Instant,
    buffer: &mut BytesMut,
    to: impl FnOnce(LinkId, BytesMut),
) -> bool {
    loop {
        match from.poll() {
            Output::Write(link) => {
                let batch = from.write_batch(link).unwrap();
                buffer.reserve(64 * 1024);
                for slice in batch.slices() {
                    buffer.extend_from_slice(slice);
                }
                let bytes = buffer.split();
                from.handle_written(now, link, Written::Wrote(bytes.len()))
                    .unwrap();
                to(link, bytes);
                return true;
            }
            Output::Idle(_) => return false,
            _ => {}
        }
    }
}

fn read(to: &mut Node<()>, now: Instant, link: LinkId, bytes: BytesMut) {
    let read = Read {
        bytes,
        attachments: Vec::new(),
        truncated: false,
    };
    to.handle_read(now, link, read).unwrap();
}

#[inline(never)]
fn measured_send(world: &mut World) {
    for _ in 0..BATCH {
        world.send(0, Target::Hub);
    }
}

#[inline(never)]
fn measured_plan(world: &mut World) {
    world.write_up();
}

#[inline(never)]
fn measured_accept(world: &mut World) {
    world.read_up();
}

#[inline(never)]
fn measured_deliver(world: &mut World) {
    while let Some(delivery) = world.hub.recv(world.now, NAMESPACE) {
        black_box(&*delivery.payload);
    }
}

#[inline(never)]
fn measured_marks(world: &mut World) {
    world.rest();
    world.carry_down();
}

/// The hub's part of what one member sends to another.
#[inline(never)]
fn measured_hub(world: &mut World) {
    world.read_up();
    while write(
        &mut world.hub,
        world.now,
        &mut world.buffer,
        |link, bytes| {
            world.from_hub.push((link, bytes));
        },
    ) {}
}

fn before_hub(world: &mut World) {
    for _ in 0..BATCH {
        world.send(0, Target::Peer(PeerId(3)));
    }
    world.write_up();
}

fn after_hub(world: &mut World) {
    for (link, bytes) in world.from_hub.drain(..) {
        let to = world.members.iter_mut().find(|to| to.down == link).unwrap();
        read(&mut to.node, world.now, to.up, bytes);
    }
    let to = &mut world.members[1].node;
    while let Some(delivery) = to.recv(world.now, NAMESPACE) {
        black_box(&*delivery.payload);
    }
    world.rest();
    world.settle();
}

#[inline(never)]
fn measured_round_trip(world: &mut World) {
    for _ in 0..BATCH {
        world.request();
        world.carry_up(0);
        world.serve();
        world.carry_down();
    }
}

#[inline(never)]
fn measured_pipelined(world: &mut World) {
    for _ in 0..BATCH {
        world.request();
    }
    while world.carry_up(0) {
        world.serve();
        world.carry_down();
    }
}

fn after_requests(world: &mut World) {
    assert_eq!(world.members[0].node.pending().count(), 0);
    world.rest();
    world.settle();
}

type Step = (&'static str, fn(&mut World));

/// Steps that go on from each other in a world of their own. What has no name is not measured.
struct Work {
    name: &'static str,
    members: usize,
    steps: &'static [Step],
}

const WORKS: [Work; 4] = [
    Work {
        name: "W3 one way",
        members: 1,
        steps: &[
            ("send", measured_send),
            ("plan and write", measured_plan),
            ("cut and accept", measured_accept),
            ("deliver", measured_deliver),
            ("marks", measured_marks),
        ],
    },
    Work {
        name: "W6 through a hub",
        members: 2,
        steps: &[
            ("", before_hub),
            ("the hub's part", measured_hub),
            ("", after_hub),
        ],
    },
    Work {
        name: "W1 round trip",
        members: 1,
        steps: &[("one under way", measured_round_trip), ("", after_requests)],
    },
    Work {
        name: "W2 round trip",
        members: 1,
        steps: &[("64 under way", measured_pipelined), ("", after_requests)],
    },
];

fn main() {
    let rounds: usize = std::env::args()
        .filter_map(|word| word.parse().ok())
        .next()
        .unwrap_or(20_000);
    for work in WORKS {
        measure(&work, rounds);
    }
}

fn measure(work: &Work, rounds: usize) {
    let mut world = World::new(work.members);
    let mut times = vec![Duration::ZERO; work.steps.len()];
    let mut allocations = 0;
    for round in 0..rounds {
        let counted = round >= rounds / 10;
        let info = allocation_counter::measure(|| {
            for (at, (_, step)) in work.steps.iter().enumerate() {
                let begin = Wall::now();
                step(&mut world);
                if counted {
                    times[at] += begin.elapsed();
                }
            }
        });
        if counted {
            allocations += info.count_total;
        }
    }
    let messages = ((rounds - rounds / 10) * BATCH) as f64;
    println!("{}", work.name);
    let named = work.steps.iter().zip(times);
    for ((step, _), time) in named.filter(|((step, _), _)| !step.is_empty()) {
        let nanos = time.as_nanos() as f64 / messages;
        println!("{step:>24}: {nanos:7.1} ns a message");
    }
    let allocations = allocations as f64 / messages;
    println!("{:>24}: {allocations:7.4} a message", "allocations");
}
