//! Nodes that talk over perfect links in memory: what an application sees when nothing fails.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use switchboard_proto::*;

const ORIGIN: Instant = Instant::ZERO;

/// Some nodes and the links between them, with one clock.
struct World {
    nodes: Vec<Node<u32>>,
    links: Vec<[(usize, LinkId); 2]>,
    events: Vec<Vec<Event<u32>>>,
    now: Instant,
}

impl World {
    fn new(members: usize) -> Self {
        let mut nodes = Vec::new();
        for at in 0..=members {
            let mut config = Config::default();
            config.complete_grace = Duration::ZERO;
            if at == 0 {
                config.role = Role::Hub;
            } else {
                config.name = PeerName::new(&format!("member/{at}"));
            }
            let seeds = Seeds {
                behaviour: [at as u8 + 1; 32],
            };
            nodes.push(Node::new(config, &seeds, ORIGIN).unwrap());
        }
        let events = nodes.iter().map(|_| Vec::new()).collect();
        let mut world = Self {
            nodes,
            links: Vec::new(),
            events,
            now: ORIGIN,
        };
        for member in 1..=members {
            let config = |origin| LinkConfig {
                origin,
                medium: Medium::Local,
                attachments: true,
            };
            let here = world.nodes[0].add_link(ORIGIN, config(LinkOrigin::Accepted));
            let there = world.nodes[member].add_link(ORIGIN, config(LinkOrigin::Inherited));
            world.links.push([(0, here), (member, there)]);
        }
        world
    }

    /// Lets the nodes work until nobody has anything to do; time stands still.
    fn run(&mut self) {
        loop {
            let mut quiet = true;
            for at in 0..self.nodes.len() {
                loop {
                    match self.nodes[at].poll() {
                        Output::Event(event) => self.events[at].push(event),
                        Output::Write(link) => self.carry(at, link),
                        Output::Close(_) | Output::Dial(_) => {}
                        Output::Idle(_) => break,
                    }
                    quiet = false;
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn carry(&mut self, from: usize, link: LinkId) {
        let batch = self.nodes[from]
            .write_batch(link)
            .expect("a plan is committed");
        let mut bytes = BytesMut::new();
        for slice in batch.slices() {
            bytes.extend_from_slice(slice);
        }
        let attachments = batch.attachments().to_vec();
        let len = bytes.len();
        let (to, there) = self
            .links
            .iter()
            .find_map(|ends| {
                let at = ends.iter().position(|end| *end == (from, link))?;
                Some(ends[1 - at])
            })
            .unwrap();
        let now = self.now;
        self.nodes[from]
            .handle_written(now, link, Written::Wrote(len))
            .unwrap();
        let read = Read {
            bytes,
            attachments,
            truncated: false,
        };
        self.nodes[to].handle_read(now, there, read).unwrap();
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        for node in &mut self.nodes {
            node.handle_timeout(self.now);
        }
        self.run();
    }

    fn serve(&mut self, at: usize, handlers: &[&str], listeners: &[&str]) -> NamespaceId {
        let now = self.now;
        let namespace = self.nodes[at].open(now, "_").unwrap();
        let set =
            |names: &[&str]| -> BTreeSet<_> { names.iter().map(|name| (*name).into()).collect() };
        let names = Names {
            handlers: set(handlers),
            listeners: set(listeners),
            all_events: false,
        };
        self.nodes[at].declare(now, namespace, names).unwrap();
        self.nodes[at].ready_all(now);
        self.run();
        namespace
    }
}

fn message(target: Target, event: &'static str, payload: &[u8]) -> Message<u32> {
    Message {
        target,
        namespace: NamespaceId(0),
        event: Cow::Borrowed(event),
        codec: 0,
        payload: Bytes::copy_from_slice(payload),
        attachments: Vec::new(),
    }
}

fn named(at: usize) -> Target {
    Target::Named(PeerName::new(&format!("member/{at}")).unwrap())
}

#[test]
fn members_get_ids_from_two_up_and_see_each_other() {
    let mut world = World::new(2);
    world.run();
    world.serve(0, &[], &[]);
    world.serve(1, &[], &[]);
    world.serve(2, &[], &[]);
    let ids: Vec<u32> = world
        .nodes
        .iter()
        .map(|node| node.identity().unwrap().0.0)
        .collect();
    assert_eq!(ids, [1, 2, 3]);
    for node in &world.nodes {
        let seen: Vec<u32> = node.roster().peers().map(|peer| peer.id.0).collect();
        assert_eq!(seen, [1, 2, 3]);
        assert!(node.roster().is_complete());
    }
}

#[test]
fn a_request_between_members_is_answered_by_its_handler() {
    let mut world = World::new(2);
    world.run();
    for at in 0..3 {
        world.serve(at, &[["add"], ["add"], ["add"]][at], &[]);
    }
    let now = world.now;
    let request = world.nodes[1]
        .request(
            now,
            message(named(2), "add", b"2+3"),
            RequestOptions::default(),
        )
        .unwrap();
    world.run();
    let delivery = world.nodes[2]
        .recv(now, NamespaceId(0))
        .expect("the request arrived");
    assert_eq!(&*delivery.payload, b"2+3");
    assert_eq!(delivery.from.peer.unwrap().0, PeerId(2));
    let DeliveryKind::Request { ticket, .. } = delivery.kind else {
        panic!("{delivery:?}")
    };
    let answer = Answer::value(0, Bytes::from_static(b"5"));
    world.nodes[2].reply(now, ticket, answer.clone()).unwrap();
    let late = world.nodes[2].reply(now, ticket, answer);
    assert_eq!(late.unwrap_err().reason, ReplyRefusal::Stale);
    world.run();
    let outcomes: Vec<_> = world.events[1]
        .iter()
        .filter_map(|event| match event {
            Event::Outcome {
                request,
                outcome: Outcome::Reply { payload, .. },
            } => Some((*request, payload.to_vec())),
            _ => None,
        })
        .collect();
    assert_eq!(outcomes, [(request, b"5".to_vec())]);
    assert!(world.nodes[1].is_settled());
}

#[test]
fn ten_thousand_events_arrive_once_and_in_order_whatever_their_size() {
    let mut world = World::new(2);
    world.run();
    for at in 0..3 {
        world.serve(at, &[], &["n"]);
    }
    let sizes = [0usize, 3, 60, 64, 65, 200, 4000, 5000, 70_000];
    let mut sent = 0u32;
    let mut got = 0u32;
    while got < 10_000 {
        let now = world.now;
        while sent < 10_000 {
            let mut payload = sent.to_be_bytes().to_vec();
            payload.resize(4 + sizes[sent as usize % sizes.len()], sent as u8);
            match world.nodes[1].send(
                now,
                message(named(2), "n", &payload),
                SendOptions::default(),
            ) {
                Ok(_) => sent += 1,
                Err(error) => {
                    assert!(matches!(error.reason, SendRefusal::Full { .. }), "{error}");
                    break;
                }
            }
        }
        world.run();
        let before = got;
        while let Some(delivery) = world.nodes[2].recv(now, NamespaceId(0)) {
            assert_eq!(delivery.payload[..4], got.to_be_bytes());
            assert_eq!(
                delivery.payload.len(),
                4 + sizes[got as usize % sizes.len()]
            );
            got += 1;
        }
        world.run();
        if got == before {
            world.pass(Duration::from_millis(30));
        }
        assert!(
            got > before || world.now < ORIGIN + Duration::from_secs(60),
            "stuck at {got} of {sent}"
        );
    }
    world.pass(Duration::from_millis(30));
    assert!(
        world.nodes[1].is_settled(),
        "{:?}",
        world.nodes[1].undelivered().len()
    );
    assert_eq!(world.nodes[1].buffered(), 0);
}

#[test]
fn a_message_of_many_slices_arrives_whole_and_its_reply_too() {
    let mut world = World::new(2);
    world.run();
    for at in 0..3 {
        world.serve(at, &["echo"], &[]);
    }
    let now = world.now;
    let big: Vec<u8> = (0..9_000_000u32).map(|n| n as u8).collect();
    world.nodes[1]
        .request(
            now,
            message(named(2), "echo", &big),
            RequestOptions::default(),
        )
        .unwrap();
    world.run();
    let delivery = world.nodes[2].recv(now, NamespaceId(0)).unwrap_or_else(|| {
        panic!(
            "{:?} {:?} {:?}",
            world.events,
            world.nodes[2].stats(),
            world.nodes[0].stats()
        )
    });
    assert!(delivery.payload[..] == big[..]);
    let DeliveryKind::Request { ticket, .. } = delivery.kind else {
        panic!("{delivery:?}")
    };
    let answer = Answer::value(0, delivery.payload.to_bytes());
    world.nodes[2].reply(now, ticket, answer).unwrap();
    world.run();
    let whole = world.events[1].iter().any(|event| {
        matches!(event,
        Event::Outcome { outcome: Outcome::Reply { payload, .. }, .. } if payload[..] == big[..])
    });
    assert!(whole, "{:?}", world.events[1]);
}

#[test]
fn handles_move_to_the_receiver_and_to_oneself() {
    let mut world = World::new(2);
    world.run();
    for at in 0..3 {
        world.serve(at, &[], &["take"]);
    }
    let now = world.now;
    for to in [2, 1] {
        let mut with = message(named(to), "take", b"");
        with.attachments = vec![7, 8, 9];
        world.nodes[1]
            .send(now, with, SendOptions::default())
            .unwrap();
        world.run();
        let delivery = world.nodes[to]
            .recv(now, NamespaceId(0))
            .expect("it arrived");
        assert_eq!(delivery.attachments, [7, 8, 9]);
    }
}

#[test]
fn a_request_for_a_name_that_nobody_handles_is_refused_at_once() {
    let mut world = World::new(1);
    world.run();
    for at in 0..2 {
        world.serve(at, &[], &[]);
    }
    let now = world.now;
    let error = world.nodes[1]
        .request(
            now,
            message(Target::Any, "nobody", b""),
            RequestOptions::default(),
        )
        .unwrap_err();
    assert_eq!(error.reason, SendRefusal::NoHandler);
    let request = world.nodes[1]
        .request(
            now,
            message(Target::Hub, "nobody", b""),
            RequestOptions::default(),
        )
        .unwrap();
    world.run();
    let refused = world.events[1].iter().any(|event| matches!(event,
        Event::Outcome { request: of, outcome: Outcome::NotRun { reason: wire::Refusal::NoHandler, .. } } if *of == request));
    assert!(refused, "{:?}", world.events[1]);
}

#[test]
fn a_request_that_nobody_answers_ends_at_its_deadline_as_unknown() {
    let mut world = World::new(1);
    world.run();
    for at in 0..2 {
        world.serve(at, &["slow"], &[]);
    }
    let now = world.now;
    let options = RequestOptions {
        deadline: Some(Duration::from_millis(50)),
        ..Default::default()
    };
    world.nodes[1]
        .request(now, message(Target::Hub, "slow", b""), options)
        .unwrap();
    world.run();
    world.pass(Duration::from_millis(49));
    assert_eq!(world.nodes[1].pending().count(), 1);
    world.pass(Duration::from_millis(1));
    let ended = world.events[1].iter().any(|event| {
        matches!(
            event,
            Event::Outcome {
                outcome: Outcome::Unknown(UnknownCause::Deadline),
                ..
            }
        )
    });
    assert!(ended, "{:?}", world.events[1]);
}

#[test]
fn an_audience_gets_one_copy_each_without_those_left_out() {
    let mut world = World::new(3);
    world.run();
    for at in 0..4 {
        world.serve(at, &[], &["hello"]);
    }
    let now = world.now;
    let audience = Audience {
        targets: vec![Target::Everyone, named(3), Target::Hub],
        except: vec![PeerId(3)],
        include_self: true,
    };
    let target = Target::Many(std::sync::Arc::new(audience));
    world.nodes[1]
        .send(now, message(target, "hello", b"x"), SendOptions::default())
        .unwrap();
    world.run();
    let copies: Vec<usize> = (0..4)
        .map(|at| {
            std::iter::from_fn(|| world.nodes[at].recv(now, NamespaceId(0)))
                .take(9)
                .count()
        })
        .collect();
    // Peer 3 is the node at 2.
    assert_eq!(copies, [1, 1, 0, 1]);
}

#[test]
fn an_event_to_all_and_oneself_that_had_to_wait_still_comes_to_oneself() {
    let mut world = World::new(1);
    let now = world.now;
    world.nodes[1].open(now, "_").unwrap();
    let options = SendOptions {
        include_self: true,
        ..Default::default()
    };
    world.nodes[1]
        .send(now, message(Target::Everyone, "hello", b"x"), options)
        .unwrap();
    for at in 0..2 {
        world.serve(at, &[], &["hello"]);
    }
    world.run();
    assert!(world.nodes[1].recv(now, NamespaceId(0)).is_some());
    assert!(world.nodes[0].recv(now, NamespaceId(0)).is_some());
}

#[test]
fn who_was_refused_because_all_buffers_were_full_is_told_when_half_is_free() {
    let mut config = Config::default();
    config.send_buffer_total = 64 << 10;
    let seeds = Seeds { behaviour: [9; 32] };
    let mut node: Node<u32> = Node::new(config, &seeds, ORIGIN).unwrap();
    node.open(ORIGIN, "_").unwrap();
    let large = vec![0; 30_000];
    let mut sent = Vec::new();
    for at in [1, 1] {
        let message = message(named(at), "x", &large);
        sent.push(node.send(ORIGIN, message, SendOptions::default()).unwrap());
    }
    // Nothing is buffered for this one, which is refused for the sake of the others.
    let error = node
        .send(
            ORIGIN,
            message(named(2), "x", &large),
            SendOptions::default(),
        )
        .unwrap_err();
    assert!(matches!(
        error.reason,
        SendRefusal::Full {
            limit: "send_buffer_total",
            ..
        }
    ));
    let told = |node: &mut Node<u32>| {
        let mut told = Vec::new();
        loop {
            match node.poll() {
                Output::Event(Event::Sendable(target)) => told.push(target),
                Output::Idle(_) => return told,
                _ => {}
            }
        }
    };
    assert_eq!(told(&mut node), []);
    assert!(node.recall(ORIGIN, sent[0]));
    assert_eq!(told(&mut node), [named(2)]);
    node.send(ORIGIN, error.message, SendOptions::default())
        .unwrap();
    assert_eq!(told(&mut node), []);
}

#[test]
fn handles_for_a_name_that_is_not_there_come_back_unless_they_may_be_queued() {
    let mut world = World::new(1);
    world.run();
    let now = world.now;
    world.serve(1, &[], &[]);
    let with_handle = || {
        let mut with = message(named(7), "take", b"");
        with.attachments = vec![7];
        with
    };
    let error = world.nodes[1]
        .send(now, with_handle(), SendOptions::default())
        .unwrap_err();
    assert_eq!(error.reason, SendRefusal::AttachmentsNotReady);
    assert_eq!(error.message.attachments, [7]);
    let queued = SendOptions {
        queue_attachments: true,
        ..SendOptions::default()
    };
    world.nodes[1].send(now, with_handle(), queued).unwrap();
}
