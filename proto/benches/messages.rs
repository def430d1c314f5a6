#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs,
    reason = "a benchmark reads the clock"
)]
//! What one message costs in the core alone: a member sends 64-byte events to its hub, both in this
//! process, bytes handed over directly.
//!
//! `cargo bench -p switchboard-proto --bench messages` prints nanoseconds and allocations; under
//! `valgrind --tool=callgrind --toggle-collect='*measured*'` the instructions of each step can be
//! read (see CONTRIBUTING).

use std::borrow::Cow;
use std::hint::black_box;
use std::time::{Duration, Instant as Wall};

use bytes::{Bytes, BytesMut};
use switchboard_proto::*;

/// Messages sent before they are carried over, as a busy application does.
const BATCH: usize = 64;

struct Pair {
    hub: Node<()>,
    member: Node<()>,
    up: LinkId,
    down: LinkId,
    now: Instant,
    buffer: BytesMut,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::ZERO;
        let node = |role, seed| {
            let mut config = Config::default();
            config.role = role;
            config.complete_grace = Duration::ZERO;
            Node::new(
                config,
                &Seeds {
                    behaviour: [seed; 32],
                },
                now,
            )
            .unwrap()
        };
        let (mut hub, mut member) = (node(Role::Hub, 1), node(Role::Member, 2));
        let link = |origin| LinkConfig {
            origin,
            medium: Medium::Local,
            attachments: false,
        };
        let down = hub.add_link(now, link(LinkOrigin::Accepted));
        let up = member.add_link(now, link(LinkOrigin::Inherited));
        let mut pair = Self {
            hub,
            member,
            up,
            down,
            now,
            buffer: BytesMut::new(),
        };
        let namespace = pair.hub.open(now, "_").unwrap();
        let listeners = ["bench.event".into()].into();
        let handlers = ["bench.call".into()].into();
        pair.hub
            .declare(
                now,
                namespace,
                Names {
                    handlers,
                    listeners,
                    all_events: false,
                },
            )
            .unwrap();
        pair.hub.ready_all(now);
        pair.member.open(now, "_").unwrap();
        pair.member.ready_all(now);
        pair.settle();
        pair
    }

    fn settle(&mut self) {
        while self.carry_up() | self.carry_down() {}
    }

    fn carry_up(&mut self) -> bool {
        carry(
            &mut self.member,
            self.up,
            &mut self.hub,
            self.down,
            self.now,
            &mut self.buffer,
        )
    }

    fn carry_down(&mut self) -> bool {
        carry(
            &mut self.hub,
            self.down,
            &mut self.member,
            self.up,
            self.now,
            &mut self.buffer,
        )
    }
}

/// Moves all plans of one node to the other.
fn carry(
    from: &mut Node<()>,
    out: LinkId,
    to: &mut Node<()>,
    into: LinkId,
    now: Instant,
    buffer: &mut BytesMut,
) -> bool {
    let mut any = false;
    loop {
        match from.poll() {
            Output::Write(_) => {
                any = true;
                let batch = from.write_batch(out).unwrap();
                buffer.reserve(64 * 1024);
                for slice in batch.slices() {
                    buffer.extend_from_slice(slice);
                }
                let bytes = buffer.split();
                from.handle_written(now, out, Written::Wrote(bytes.len()))
                    .unwrap();
                to.handle_read(
                    now,
                    into,
                    Read {
                        bytes,
                        attachments: Vec::new(),
                        truncated: false,
                    },
                )
                .unwrap();
            }
            Output::Idle(_) => return any,
            _ => {}
        }
    }
}

#[inline(never)]
fn measured_send(pair: &mut Pair, payload: &Bytes) {
    for _ in 0..BATCH {
        let message = Message {
            target: Target::Hub,
            namespace: NamespaceId(0),
            event: Cow::Borrowed("bench.event"),
            codec: 0,
            payload: payload.clone(),
            attachments: Vec::new(),
        };
        pair.member
            .send(pair.now, message, SendOptions::default())
            .unwrap();
    }
}

#[inline(never)]
fn measured_carry(pair: &mut Pair) {
    pair.carry_up();
}

#[inline(never)]
fn measured_deliver(pair: &mut Pair) {
    while let Some(delivery) = pair.hub.recv(pair.now, NamespaceId(0)) {
        black_box(&*delivery.payload);
    }
}

#[inline(never)]
fn measured_marks(pair: &mut Pair) {
    pair.now = pair.now + Duration::from_micros(50);
    pair.hub.handle_timeout(pair.now);
    pair.member.handle_timeout(pair.now);
    pair.carry_down();
}

type Step = fn(&mut Pair, &Bytes);

fn main() {
    let rounds: usize = std::env::args()
        .filter_map(|word| word.parse().ok())
        .next()
        .unwrap_or(20_000);
    let mut pair = Pair::new();
    let payload = Bytes::from(vec![7; 64]);
    let mut times = [Duration::ZERO; 4];
    let steps: [(&str, Step); 4] = [
        ("send", measured_send),
        ("plan and deframe", |pair, _| measured_carry(pair)),
        ("deliver", |pair, _| measured_deliver(pair)),
        ("marks", |pair, _| measured_marks(pair)),
    ];
    let mut allocations = 0;
    for round in 0..rounds {
        let counted = round >= rounds / 10;
        let info = allocation_counter::measure(|| {
            for (at, (_, step)) in steps.iter().enumerate() {
                let begin = Wall::now();
                step(&mut pair, &payload);
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
    for (at, (name, _)) in steps.iter().enumerate() {
        println!(
            "{name:>18}: {:7.1} ns a message",
            times[at].as_nanos() as f64 / messages
        );
    }
    println!(
        "{:>18}: {:7.4} a message",
        "allocations",
        allocations as f64 / messages
    );
}
