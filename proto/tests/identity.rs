//! Who is who, as applications see it: identities over several hubs, deaths that are none, and what a
//! node makes of links that end.

mod support;

use std::time::Duration;

use support::raw::Raw;
use support::{Style, World, message, to};
use switchboard_proto::trace::Recording;
use switchboard_proto::wire::{self, Attach, CloseCode, Kind, Known, KnownMore, KnownPeer};
use switchboard_proto::*;

/// A hub like that of the support's worlds, but another one: its members do not know it.
fn attach_with(raw: &Raw, counter: u64, known: Known) -> Vec<u8> {
    let attach = Attach {
        instance: raw.instance,
        counter,
        name: None,
        identity: None,
        handover: false,
        budget: 1 << 20,
        reserve: 1 << 20,
        message_cap: 1 << 20,
        attachments: 0,
        known,
        more: false,
        relayed: false,
        tied: false,
        elder: counter > 1,
    };
    raw.control(Kind::ATTACH, |body| attach.encode(body))
}

/// Somebody who says that he comes from an earlier hub and knows this from there.
fn returner(world: &mut World, instance: u64, known: Known) -> Raw {
    let raw = Raw::stranger(world, instance, Medium::Local);
    let says = [raw.hello(), attach_with(&raw, 9, known)].concat();
    raw.says(world, &says);
    raw
}

fn gone(instances: &[InstanceId]) -> Known {
    Known {
        gone_instances: instances.to_vec(),
        ..Known::default()
    }
}

fn meets(world: &mut World, from: usize, at: usize) {
    world.take(at);
    let now = world.now;
    let told = message(to(at), "tell", b"still here");
    let sent = world.nodes[from].send(now, told, SendOptions::default());
    sent.expect("it is there");
    world.run();
    assert_eq!(world.take(at).len(), 1, "from {from} to {at}");
}

#[test]
fn an_honest_member_does_not_die_by_anothers_word() {
    let mut world = World::new(2);
    world.serve_all(&[], &["tell"]);
    let members = [world.nodes[1].instance(), world.nodes[2].instance()];
    let liar = returner(&mut world, 77, gone(&members));
    let again = KnownMore {
        instance: liar.instance,
        more: false,
        known: gone(&members),
    };
    let again = liar.control(Kind::KNOWN, |body| again.encode(body));
    liar.says(&mut world, &again);
    assert_eq!(liar.closed_with(&mut world), None);
    assert_eq!(
        [world.nodes[1].instance(), world.nodes[2].instance()],
        members
    );
    meets(&mut world, 1, 2);
    meets(&mut world, 2, 1);
    assert!(!world.events[1].iter().any(|e| matches!(e, Event::Fenced)));
}

#[test]
fn nobody_speaks_in_anothers_name() {
    let mut world = World::new(1);
    let raw = Raw::member(&mut world, 77);
    let said = KnownMore {
        instance: world.nodes[1].instance(),
        more: false,
        known: Known::default(),
    };
    let said = raw.control(Kind::KNOWN, |body| said.encode(body));
    raw.says(&mut world, &said);
    assert_eq!(raw.closed_with(&mut world), Some(CloseCode::ForgedSource));
}

#[test]
fn a_peer_that_is_given_another_generation_is_an_event_for_all_and_dies_under_it() {
    let mut world = World::new(2);
    world.serve_all(&[], &["tell"]);
    let (id, generation) = world.nodes[1].identity().expect("it is attached");
    assert_eq!(generation, Generation(1));
    // Under an earlier hub the id had come to its fourth process.
    let earlier = KnownPeer {
        id,
        generation: Generation(4),
        instance: InstanceId(4444),
        name: None,
    };
    let known = Known {
        living: vec![earlier],
        ..Known::default()
    };
    for events in &mut world.events {
        events.clear();
    }
    returner(&mut world, 77, known);
    let raised = (id, Generation(5));
    assert_eq!(world.nodes[1].identity(), Some(raised));
    let told = |events: &[Event<_>]| {
        let told = events.iter().filter_map(|event| match event {
            Event::PeerChanged {
                id,
                generation,
                was,
            } => Some((*was, (*id, *generation))),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    for at in [0, 2] {
        assert_eq!(
            told(&world.events[at]),
            [((id, Generation(1)), raised)],
            "at {at}"
        );
    }
    let own = world.events[1].iter().filter_map(|event| match event {
        Event::Connected {
            id,
            generation,
            id_changed,
        } => Some((*id, *generation, *id_changed)),
        _ => None,
    });
    assert_eq!(own.collect::<Vec<_>>(), [(id, Generation(5), false)]);
    assert_eq!(told(&world.events[1]), []);
    meets(&mut world, 2, 1);
    let now = world.now;
    world.nodes[1].close(now);
    world.run();
    let ended = world.events[2].iter().any(
        |event| matches!(event, Event::PeerGone { id, generation } if (*id, *generation) == raised),
    );
    assert!(ended, "{:?}", world.events[2]);
}

#[test]
fn more_than_one_frame_can_hold_is_told_all_the_same() {
    // A member that saw 300 others under an earlier hub: none of their identities is given again.
    let mut world = World::unconnected(1, Style::Perfect, Recording::Off, |_, _| ());
    let first = world.connect_as(1, LinkOrigin::Inherited, Medium::Network);
    for number in 0..300 {
        Raw::member(&mut world, 10_000 + number);
    }
    world.run();
    assert!(world.nodes[1].roster().peers().count() > 300);
    // Its next hub knows nobody: a world of its own, to which the member is moved.
    world.cut(first);
    let mut next = World::unconnected(1, Style::Perfect, Recording::Off, |_, _| ());
    std::mem::swap(&mut next.nodes[1], &mut world.nodes[1]);
    next.now = world.now;
    next.connect_as(1, LinkOrigin::Inherited, Medium::Network);
    next.run();
    let newcomer = Raw::member(&mut next, 5_000);
    let peer = next.nodes[0].roster().by_instance(newcomer.instance);
    let id = peer.expect("it is attached").id;
    assert!(id.0 > 301, "{id} was somebody's");
}

#[test]
fn who_finds_a_new_hub_first_does_not_make_the_others_gone() {
    // Also at a hub that waits for nobody before it calls its roster complete.
    let mut world = World::unconnected(2, Style::Perfect, Recording::Off, |_, config| {
        config.complete_grace = Duration::ZERO;
    });
    let wires = [1, 2].map(|at| world.connect_as(at, LinkOrigin::Inherited, Medium::Network));
    world.run();
    world.events[1].clear();
    for wire in wires {
        world.cut(wire);
    }
    let mut next = World::unconnected(2, Style::Perfect, Recording::Off, |at, config| {
        if at == 0 {
            config.name = PeerName::new("the next hub");
        }
    });
    next.now = world.now;
    for at in [1, 2] {
        std::mem::swap(&mut next.nodes[at], &mut world.nodes[at]);
    }
    next.serve_all(&[], &["tell"]);
    next.connect_as(1, LinkOrigin::Inherited, Medium::Network);
    next.run();
    // As late as a member that dials every 5 s, and 25 % later.
    next.pass(Duration::from_millis(6_250));
    next.connect_as(2, LinkOrigin::Inherited, Medium::Network);
    next.run();
    meets(&mut next, 1, 2);
    meets(&mut next, 2, 1);
    let fenced = |events: &[Event<_>]| events.iter().any(|e| matches!(e, Event::Fenced));
    assert!(!fenced(&next.events[2]));
}

#[test]
fn hazard_t5_a_timer_storm_after_a_pause_goes_out_in_turns_between_which_the_driver_reads() {
    let mut world = World::tuned(1, Style::Perfect, |_, config| {
        config.pending_requests = 1500
    });
    world.serve_all(&[], &[]);
    world.nodes[0].ready_all(world.now);
    let names = support::names(&["ask"], &[]);
    let now = world.now;
    let open = world.nodes[1].open(now, "_").expect("a namespace");
    world.nodes[1].declare(now, open, names).expect("a name");
    world.run();
    for _ in 0..1500 {
        let ask = message(to(1), "ask", b"?");
        world.nodes[0]
            .request(now, ask, RequestOptions::default())
            .expect("room");
    }
    world.run();
    let late = now + Duration::from_secs(60);
    let node = &mut world.nodes[0];
    let mut outcomes = Vec::new();
    for turn in 0..3 {
        node.handle_timeout(late + Duration::from_millis(turn));
        let mut ended = 0;
        let wake = loop {
            match node.poll() {
                Output::Event(Event::Outcome { .. }) => ended += 1,
                Output::Idle(wake) => break wake,
                _ => {}
            }
        };
        outcomes.push(ended);
        // Never a deadline that has passed: a driver that sleeps until it would not sleep.
        let next = wake.map(|wake| wake.at);
        assert!(next.is_none_or(|at| at > late + Duration::from_millis(turn)));
        if turn == 0 {
            assert!(next < Some(late + Duration::from_millis(1)), "at once");
        }
    }
    assert!(outcomes[0] <= 1024, "{outcomes:?}");
    assert_eq!(outcomes.iter().sum::<usize>(), 1500, "{outcomes:?}");
}

#[test]
fn who_could_not_be_reached_while_its_hub_was_stopped_is_not_gone() {
    let mut world = World::unconnected(2, Style::Perfect, Recording::Off, |_, _| ());
    world.connect_as(2, LinkOrigin::Inherited, Medium::Network);
    let wire = world.connect_as(1, LinkOrigin::Inherited, Medium::Network);
    world.run();
    world.cut(wire);
    // The hub is stopped, far beyond every grace.
    world.now = world.now + Duration::from_secs(30);
    let now = world.now;
    world.nodes[0].handle_timeout(now);
    world.run();
    let gone = |world: &World| {
        let events = world.events[0].iter();
        events
            .filter(|e| matches!(e, Event::PeerGone { .. }))
            .count()
    };
    assert_eq!(gone(&world), 0, "{:?}", world.events[0]);
    world.pass(Duration::from_secs(4));
    assert_eq!(gone(&world), 0, "{:?}", world.events[0]);
    world.pass(Duration::from_secs(2));
    assert_eq!(gone(&world), 1, "{:?}", world.events[0]);
}

#[test]
fn a_link_to_the_hub_that_another_replaces_has_ended_for_all_that_waited_on_it() {
    let mut world = World::new(1);
    world.serve_all(&[], &["tell"]);
    world.events[1].clear();
    world.connect(1);
    let now = world.now;
    let lost = message(Target::Hub, "tell", b"between the links");
    world.nodes[1]
        .send(now, lost, SendOptions::default())
        .expect("room");
    world.run();
    let ended = world.events[1].iter().filter(|event| {
        matches!(
            event,
            Event::Disconnected(Disconnect::Fault(CloseCode::Replaced))
        )
    });
    assert_eq!(ended.count(), 1, "{:?}", world.events[1]);
    // It has a hub: nobody gives up, and nobody dials.
    let wants = |event: &Event<_>| matches!(event, Event::GaveUp | Event::Reconnecting { .. });
    assert!(!world.events[1].iter().any(wants), "{:?}", world.events[1]);
    assert!(world.nodes[1].is_connected());
    assert_eq!(world.take(0).len(), 1);
    meets(&mut world, 0, 1);
}

#[test]
fn why_a_peer_closed_is_heard_also_where_a_write_fails_first() {
    for answers in [true, false] {
        let mut world = World::unconnected(1, Style::Perfect, Recording::Off, |_, _| ());
        let link = world.nodes[1].add_link(
            world.now,
            LinkConfig {
                origin: LinkOrigin::Inherited,
                medium: Medium::Local,
                attachments: false,
            },
        );
        let node = &mut world.nodes[1];
        while !matches!(node.poll(), Output::Write(_)) {}
        let now = world.now;
        node.handle_written(now, link, Written::Failed)
            .expect("a plan");
        if answers {
            let hub = InstanceId(9);
            let hello = wire::Hello {
                version: 1,
                features: 0,
                instance: hub,
                epoch: 0,
                name: None,
                budget: 1 << 20,
                message_cap: 1 << 20,
                hub: true,
            };
            let close = wire::Close {
                code: CloseCode::TooManyPeers.to_u16(),
                text: String::new(),
            };
            let mut bytes = Vec::new();
            let none = InstanceId::NONE;
            wire::frame(Kind::HELLO, hub, none, |out| hello.encode(out), &mut bytes);
            wire::frame(Kind::CLOSE, hub, none, |out| close.encode(out), &mut bytes);
            let read = Read {
                bytes: bytes[..].into(),
                attachments: Vec::new(),
                truncated: false,
            };
            node.handle_read(now, link, read)
                .expect("the link is there");
        } else {
            // A driver that never reports the hangup waits for a second, not for ever.
            node.handle_timeout(now + Duration::from_secs(1));
        }
        let mut outputs = Vec::new();
        loop {
            match node.poll() {
                Output::Idle(_) => break,
                output => outputs.push(output),
            }
        }
        let said = outputs.iter().any(|output| {
            matches!(
                output,
                Output::Event(Event::LinkClosed {
                    code: CloseCode::TooManyPeers,
                    by_peer: true,
                    ..
                })
            )
        });
        let ended = outputs
            .iter()
            .any(|output| matches!(output, Output::Close(_)));
        assert_eq!((said, ended), (answers, true), "{outputs:?}");
    }
}

#[test]
fn who_is_thrown_out_is_gone_for_all_and_was_never_said_to_be_away() {
    let mut world = World::new(1);
    world.serve_all(&[], &[]);
    let mut liar = Raw::member_over(&mut world, 0x11, Medium::Network);
    let hub = world.nodes[0].instance();
    let mark = liar.mark(hub, 99, Vec::new());
    liar.says(&mut world, &mark);
    let closed = liar.closed_with(&mut world);
    assert_eq!(closed, Some(CloseCode::ProtocolViolation));
    for events in &world.events {
        let gone = |event: &Event<_>| matches!(event, Event::PeerGone { .. });
        let away = |event: &Event<_>| matches!(event, Event::PeerDetached { .. });
        assert_eq!(events.iter().filter(|event| gone(event)).count(), 1);
        assert_eq!(events.iter().filter(|event| away(event)).count(), 0);
    }
}
