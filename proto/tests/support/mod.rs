//! A small world for tests of whole nodes: a hub, members, and the connections between them as a
//! kernel makes them, with one clock.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

pub mod raw;

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use switchboard_proto::trace::{Recorder, Recording};
use switchboard_proto::*;

/// Counts the handles that are alive.
#[derive(Clone, Debug, Default)]
pub struct Census(Rc<Cell<usize>>);

impl Census {
    pub fn open(&self) -> usize {
        self.0.get()
    }

    pub fn handle(&self, number: u32) -> Handle {
        self.0.set(self.0.get() + 1);
        Handle {
            number,
            census: self.clone(),
        }
    }
}

/// A stand-in for a descriptor. A clone is what the kernel makes of one that is passed.
#[derive(Debug)]
pub struct Handle {
    pub number: u32,
    census: Census,
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        self.census.handle(self.number)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.census.0.set(self.census.0.get() - 1);
    }
}

/// SplitMix64: the same seed draws the same.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// How the connections carry bytes.
#[derive(Clone, Debug)]
pub enum Style {
    /// Whole writes, whole reads, at once.
    Perfect,
    /// Parts of writes, parts of reads, writes that block: whatever a kernel may do.
    Chopped(Dice),
}

impl Style {
    /// How many of so many bytes one write takes; 0 if it would block.
    fn write(&mut self, len: usize) -> usize {
        let Self::Chopped(dice) = self else {
            return len;
        };
        match dice.below(10) {
            _ if len == 0 => 0,
            0 | 1 => 0,
            2..5 => 1 + dice.below(len.min(40)),
            _ => 1 + dice.below(len),
        }
    }

    /// How many bytes one read asks for.
    fn read(&mut self) -> usize {
        let Self::Chopped(dice) = self else {
            return 256 * 1024;
        };
        match dice.below(10) {
            0..3 => 1 + dice.below(50),
            _ => 1 + dice.below(128 * 1024),
        }
    }
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Stream {
    segments: VecDeque<(Vec<u8>, Vec<Handle>)>,
    /// The writer has closed it.
    ended: bool,
    /// The reader knows.
    told: bool,
}

impl Stream {
    /// What a socket holds: a reader that does not read blocks the writer.
    const CAPACITY: usize = 256 * 1024;

    fn room(&self) -> usize {
        let held = self.segments.iter().map(|(bytes, _)| bytes.len());
        Self::CAPACITY.saturating_sub(held.sum())
    }

    /// As `recvmsg` with a buffer of `len` bytes: merges plain segments, and stops after one that
    /// brought handles.
    fn read(&mut self, len: usize) -> Option<Read<Handle>> {
        let mut bytes = BytesMut::new();
        let mut attachments = Vec::new();
        while let Some((segment, handles)) = self.segments.front_mut() {
            let take = segment.len().min(len - bytes.len());
            if take == 0 {
                break;
            }
            bytes.extend(segment.drain(..take));
            attachments = std::mem::take(handles);
            if segment.is_empty() {
                self.segments.pop_front();
            }
            if !attachments.is_empty() {
                break;
            }
        }
        (!bytes.is_empty()).then_some(Read {
            bytes,
            attachments,
            truncated: false,
        })
    }
}

/// A connection. Direction `n` goes from end `n` to the other one.
#[derive(Debug)]
struct Wire {
    ends: [Option<(usize, LinkId)>; 2],
    streams: [Stream; 2],
    /// Whether end `n` has a plan to write.
    plans: [bool; 2],
    /// Whether end `n` was told that the socket is full.
    full: [bool; 2],
}

/// A hub (node 0), members, and what they saw.
pub struct World {
    pub nodes: Vec<Recorder<Handle>>,
    pub events: Vec<Vec<Event<Handle>>>,
    pub now: Instant,
    pub census: Census,
    /// Nodes whose process is stopped: they neither read nor write nor run.
    pub stopped: BTreeSet<usize>,
    /// Connections on which the hub's end cannot write.
    pub clogged: BTreeSet<usize>,
    wires: Vec<Wire>,
    wakes: Vec<Option<Wake>>,
    style: Style,
}

impl World {
    pub fn new(members: usize) -> Self {
        Self::tuned(members, Style::Perfect, |_, _| ())
    }

    /// A world whose nodes have the configuration that `tune` leaves.
    pub fn tuned(members: usize, style: Style, tune: impl Fn(usize, &mut Config)) -> Self {
        let mut world = Self::unconnected(members, style, Recording::Off, tune);
        for member in 1..=members {
            world.connect(member);
        }
        world
    }

    /// As [`World::tuned`], with nodes that write down everything.
    pub fn recorded(members: usize, style: Style, tune: impl Fn(usize, &mut Config)) -> Self {
        let mut world = Self::unconnected(members, style, Recording::All, tune);
        for member in 1..=members {
            world.connect(member);
        }
        world
    }

    /// A world without any connection.
    pub fn unconnected(
        members: usize,
        style: Style,
        recording: Recording,
        tune: impl Fn(usize, &mut Config),
    ) -> Self {
        let mut nodes = Vec::new();
        let now = Instant::from_nanos(1_000_000);
        for at in 0..=members {
            let mut config = Config::default();
            config.complete_grace = Duration::ZERO;
            if at == 0 {
                config.role = Role::Hub;
            } else {
                config.name = PeerName::new(&format!("member/{at}"));
            }
            tune(at, &mut config);
            let seeds = Seeds {
                behaviour: [at as u8 + 1; 32],
            };
            nodes.push(Recorder::new(config, &seeds, now, recording).unwrap());
        }
        Self {
            events: nodes.iter().map(|_| Vec::new()).collect(),
            wakes: nodes.iter().map(|_| None).collect(),
            nodes,
            now,
            census: Census::default(),
            stopped: BTreeSet::new(),
            clogged: BTreeSet::new(),
            wires: Vec::new(),
            style,
        }
    }

    /// Connects a member to the hub. Returns the number of the connection.
    pub fn connect(&mut self, member: usize) -> usize {
        self.connect_as(member, LinkOrigin::Inherited, Medium::Local)
    }

    pub fn connect_as(&mut self, member: usize, origin: LinkOrigin, medium: Medium) -> usize {
        let config = |origin| LinkConfig {
            origin,
            medium,
            attachments: medium == Medium::Local,
        };
        let now = self.now;
        let here = self.nodes[0].add_link(now, config(LinkOrigin::Accepted));
        let there = self.nodes[member].add_link(now, config(origin));
        self.wires.push(Wire {
            ends: [Some((0, here)), Some((member, there))],
            streams: Default::default(),
            plans: [false; 2],
            full: [false; 2],
        });
        self.wires.len() - 1
    }

    /// A raw connection to the hub, whose other end the test plays itself. Returns the number of
    /// the connection and the hub's link.
    pub fn stranger(&mut self, medium: Medium) -> (usize, LinkId) {
        self.stranger_at(0, LinkOrigin::Accepted, medium)
    }

    /// As [`World::stranger`], to another node than the hub.
    pub fn stranger_at(
        &mut self,
        node: usize,
        origin: LinkOrigin,
        medium: Medium,
    ) -> (usize, LinkId) {
        let config = LinkConfig {
            origin,
            medium,
            attachments: medium == Medium::Local,
        };
        let link = self.nodes[node].add_link(self.now, config);
        self.wires.push(Wire {
            ends: [Some((node, link)), None],
            streams: Default::default(),
            plans: [false; 2],
            full: [false; 2],
        });
        (self.wires.len() - 1, link)
    }

    /// A link of the hub that leads nowhere: what it writes is lost.
    pub fn forget_dangling(&mut self, link: LinkId) {
        self.wires.push(Wire {
            ends: [Some((0, link)), None],
            streams: Default::default(),
            plans: [false; 2],
            full: [false; 2],
        });
    }

    /// What the hub has written to a stranger since the last call.
    pub fn heard(&mut self, wire: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (segment, _) in self.wires[wire].streams[0].segments.drain(..) {
            bytes.extend(segment);
        }
        bytes
    }

    /// Whether the hub has closed a stranger's connection.
    pub fn is_closed(&self, wire: usize) -> bool {
        self.wires[wire].ends[0].is_none()
    }

    /// Bytes and handles that a stranger writes to the hub in one write.
    pub fn say(&mut self, wire: usize, bytes: &[u8], handles: Vec<Handle>) {
        let stream = &mut self.wires[wire].streams[1];
        stream.segments.push_back((bytes.to_vec(), handles));
    }

    /// Lets the connection end for both sides; what is under way on it is lost.
    pub fn cut(&mut self, wire: usize) {
        for stream in &mut self.wires[wire].streams {
            stream.segments.clear();
            stream.ended = true;
        }
        self.wires[wire].plans = [false; 2];
        self.run();
    }

    /// Lets all nodes work until nobody has anything to do; time stands still.
    pub fn run(&mut self) {
        loop {
            let mut moved = false;
            for at in 0..self.nodes.len() {
                moved |= self.pump(at);
            }
            for wire in 0..self.wires.len() {
                for end in 0..2 {
                    moved |= self.write(wire, end);
                    moved |= self.read(wire, 1 - end);
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Lets time pass, from wake to wake.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.run();
        loop {
            let due = |at: &usize| self.wakes[*at].is_some_and(|wake| wake.at <= end);
            let running = (0..self.nodes.len()).filter(|at| !self.stopped.contains(at));
            let next = running
                .filter(due)
                .filter_map(|at| self.wakes[at].map(|wake| wake.at))
                .min();
            let Some(next) = next else {
                break;
            };
            self.now = self.now.max(next);
            self.fire();
            self.run();
        }
        self.now = end;
        self.fire();
        self.run();
    }

    fn fire(&mut self) {
        let now = self.now;
        for at in 0..self.nodes.len() {
            if self.stopped.contains(&at) {
                continue;
            }
            self.nodes[at].handle_timeout(now);
            self.pump(at);
            if let Some(wake) = self.wakes[at] {
                assert!(
                    wake.at > now,
                    "node {at} wants to wake in the past: {wake:?}"
                );
            }
        }
    }

    /// Takes the outputs of a node. `true` if there were any.
    fn pump(&mut self, at: usize) -> bool {
        if self.stopped.contains(&at) {
            return false;
        }
        let mut moved = false;
        for _ in 0..1_000_000 {
            match self.nodes[at].poll() {
                Output::Event(event) => self.events[at].push(event),
                Output::Write(link) => {
                    let (wire, end) = self.wire_of(at, link);
                    self.wires[wire].plans[end] = true;
                }
                Output::Close(link) => {
                    let (wire, end) = self.wire_of(at, link);
                    let wire = &mut self.wires[wire];
                    wire.ends[end] = None;
                    wire.plans[end] = false;
                    wire.streams[end].ended = true;
                    wire.streams[1 - end].segments.clear();
                }
                Output::Dial(_) => {}
                Output::Idle(wake) => {
                    self.wakes[at] = wake;
                    return moved;
                }
            }
            moved = true;
        }
        panic!("node {at} is never idle");
    }

    fn wire_of(&self, at: usize, link: LinkId) -> (usize, usize) {
        let mut wires = self.wires.iter().enumerate();
        wires
            .find_map(|(number, wire)| {
                let end = wire.ends.iter().position(|end| *end == Some((at, link)))?;
                Some((number, end))
            })
            .expect("a node speaks of links that it has")
    }

    fn write(&mut self, wire: usize, end: usize) -> bool {
        let Some((at, link)) = self.wires[wire].ends[end].filter(|_| self.wires[wire].plans[end])
        else {
            return false;
        };
        if self.stopped.contains(&at) {
            return false;
        }
        let batch = self.nodes[at].write_batch(link).expect("a plan is there");
        let (bytes, handles) = (
            batch.slices().collect::<Vec<_>>().concat(),
            batch.attachments(),
        );
        assert_eq!(bytes.len(), batch.len());
        let room = match end == 0 && self.clogged.contains(&wire) {
            true => 0,
            false => self.wires[wire].streams[end].room(),
        };
        let was_full = std::mem::replace(&mut self.wires[wire].full[end], room == 0);
        if room == 0 && was_full {
            return false;
        }
        let wrote = self.style.write(bytes.len().min(room));
        let handles = handles.to_vec();
        let now = self.now;
        if wrote == 0 {
            drop(handles);
            self.nodes[at]
                .handle_written(now, link, Written::Blocked)
                .unwrap();
            self.pump(at);
            return true;
        }
        let stream = &mut self.wires[wire].streams[end];
        if !stream.ended {
            stream
                .segments
                .push_back((bytes[..wrote].to_vec(), handles));
        }
        self.wires[wire].plans[end] = wrote < bytes.len();
        self.nodes[at]
            .handle_written(now, link, Written::Wrote(wrote))
            .unwrap();
        self.pump(at);
        true
    }

    fn read(&mut self, wire: usize, end: usize) -> bool {
        let Some((at, link)) = self.wires[wire].ends[end] else {
            return false;
        };
        if self.stopped.contains(&at) {
            return false;
        }
        let len = self.style.read();
        let now = self.now;
        let stream = &mut self.wires[wire].streams[1 - end];
        if let Some(read) = stream.read(len) {
            self.nodes[at].handle_read(now, link, read).unwrap();
            self.pump(at);
            return true;
        }
        if stream.ended && !std::mem::replace(&mut stream.told, true) {
            self.nodes[at]
                .handle_hangup(now, link, Hangup::End)
                .unwrap();
            self.pump(at);
            return true;
        }
        false
    }

    /// Opens the default namespace of a node and says what it handles.
    pub fn serve(&mut self, at: usize, handlers: &[&str], listeners: &[&str]) -> NamespaceId {
        let now = self.now;
        let namespace = self.nodes[at].open(now, "_").unwrap();
        let names = names(handlers, listeners);
        self.nodes[at].declare(now, namespace, names).unwrap();
        self.nodes[at].ready_all(now);
        self.run();
        namespace
    }

    /// As [`World::serve`], for all nodes.
    pub fn serve_all(&mut self, handlers: &[&str], listeners: &[&str]) {
        self.run();
        for at in 0..self.nodes.len() {
            self.serve(at, handlers, listeners);
        }
    }

    /// Everything that the application of a node finds in its default namespace.
    pub fn take(&mut self, at: usize) -> Vec<Delivery<Handle>> {
        let now = self.now;
        std::iter::from_fn(|| self.nodes[at].recv(now, NamespaceId(0))).collect()
    }

    pub fn handles(&self, numbers: impl IntoIterator<Item = u32>) -> Vec<Handle> {
        let numbers = numbers.into_iter();
        numbers.map(|number| self.census.handle(number)).collect()
    }
}

pub fn names(handlers: &[&str], listeners: &[&str]) -> Names {
    let set = |names: &[&str]| -> BTreeSet<_> { names.iter().map(|name| (*name).into()).collect() };
    Names {
        handlers: set(handlers),
        listeners: set(listeners),
        all_events: false,
    }
}

pub fn message(target: Target, event: &'static str, payload: &[u8]) -> Message<Handle> {
    Message {
        target,
        namespace: NamespaceId(0),
        event: Cow::Borrowed(event),
        codec: 0,
        payload: Bytes::copy_from_slice(payload),
        attachments: Vec::new(),
    }
}

/// The target of a member.
pub fn to(member: usize) -> Target {
    match member {
        0 => Target::Hub,
        _ => Target::Named(PeerName::new(&format!("member/{member}")).expect("a good name")),
    }
}

pub fn reply(payload: &[u8]) -> Answer<Handle> {
    Answer::value(0, Bytes::copy_from_slice(payload))
}
