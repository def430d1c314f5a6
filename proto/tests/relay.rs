//! What children of members, and those who speak for others, can do to whom they share a link with:
//! nothing.

mod support;

use support::raw::{Raw, event_body};
use support::{Style, World, message};
use switchboard_proto::wire::{CloseCode, Detach, Header, Kind};
use switchboard_proto::*;

/// A relay that the test plays itself, at the hub, with an instance behind it.
fn relay(world: &mut World) -> (Raw, Raw) {
    let relay = Raw::member(world, 0x11);
    let child = relay.behind(0x22);
    relay.says(world, &child.attach_relayed(1));
    let attached = |(header, _): &(Header, _)| header.kind == Kind::ATTACHED;
    assert!(relay.heard(world).iter().any(attached));
    (relay, child)
}

fn instance(world: &World, member: usize) -> InstanceId {
    world.nodes[member].instance()
}

/// Whether the hub's application was told that the instance is gone.
fn is_gone(world: &World, raw: &Raw) -> bool {
    world.nodes[0].roster().by_instance(raw.instance).is_none()
}

fn hears(world: &mut World, raw: &mut Raw, to: usize) -> bool {
    let event = raw.event(instance(world, to), "tell", b"x");
    raw.says(world, &event);
    !world.take(to).is_empty()
}

#[test]
fn a_child_that_forges_a_source_loses_its_own_link_and_no_other() {
    let mut world = World::new(2);
    world.serve_all(&[], &["tell"]);
    let mut honest = Raw::child_of(&mut world, 1, 0x31);
    let liar = Raw::child_of(&mut world, 1, 0x32);
    assert!(hears(&mut world, &mut honest, 2), "a child is a peer");
    let mut forged = liar.behind(0x31);
    forged.sequence = 2;
    let event = forged.event(instance(&world, 2), "tell", b"x");
    liar.says(&mut world, &event);
    assert_eq!(liar.closed_with(&mut world), Some(CloseCode::ForgedSource));
    assert!(is_gone(&world, &liar), "its link was its life");
    assert!(world.nodes[1].is_connected());
    assert!(hears(&mut world, &mut honest, 2));
}

#[test]
fn a_child_that_asks_without_waiting_for_answers_loses_its_own_link() {
    let mut world = World::new(2);
    world.serve_all(&[], &["tell"]);
    let child = Raw::child_of(&mut world, 1, 0x31);
    let declare = |slice| {
        let declare = wire::Declare {
            instance: child.instance,
            version: 1,
            slice,
            last: false,
            namespaces: Vec::new(),
        };
        child.control(Kind::DECLARE, |body| declare.encode(body))
    };
    child.says(&mut world, &[declare(0), declare(1)].concat());
    assert_eq!(
        child.closed_with(&mut world),
        Some(CloseCode::ProtocolViolation)
    );
    assert!(world.nodes[1].is_connected());
}

#[test]
fn a_child_may_declare_as_much_as_a_member() {
    let mut world = World::new(2);
    world.serve_all(&[], &["tell"]);
    let mut child = Raw::child_of(&mut world, 1, 0x31);
    let handlers = (0..600).map(|n| format!("one-of-many-handlers-{n}"));
    let namespace = wire::NamespaceDeclaration {
        name: String::new(),
        ready: true,
        all_events: false,
        handlers: handlers.collect(),
        listeners: Vec::new(),
    };
    let declare = wire::Declare {
        instance: child.instance,
        version: 1,
        slice: 0,
        last: true,
        namespaces: vec![namespace],
    };
    let slice = child.control(Kind::DECLARE, |body| declare.encode(body));
    assert!(slice.len() > wire::limits::UNAUTHENTICATED);
    child.says(&mut world, &slice);
    assert_eq!(child.closed_with(&mut world), None);
    let peer = world.nodes[0].roster().by_instance(child.instance);
    assert_eq!(peer.map(|peer| peer.presence), Some(Presence::Attached));
    assert!(hears(&mut world, &mut child, 2));
}

#[test]
fn a_child_that_asks_again_dies_for_all_before_the_hub_has_heard_of_it() {
    let mut world = World::new(2);
    world.serve_all(&[], &["tell"]);
    let mut child = Raw::child_of(&mut world, 1, 0x31);
    assert!(hears(&mut world, &mut child, 2));
    // Both in one turn of the member, which says nothing to the hub in between.
    let (now, link) = (world.now, child.link);
    let read = Read {
        bytes: child.attach(2)[..].into(),
        attachments: Vec::new(),
        truncated: false,
    };
    world.nodes[1].handle_read(now, link, read).unwrap();
    let hangup = world.nodes[1].handle_hangup(now, link, Hangup::End);
    hangup.unwrap();
    world.run();
    assert!(is_gone(&world, &child));
    assert!(world.nodes[1].is_connected());
}

#[test]
fn a_child_whose_second_attachment_is_refused_stays_attached_until_it_dies() {
    let mut world = World::new(2);
    world.serve_all(&[], &["tell"]);
    let relay_name = world.nodes[0].roster().peers().find_map(|peer| {
        let other = peer.instance != world.nodes[1].instance();
        peer.name.clone().filter(|_| other)
    });
    let taken = relay_name.expect("somebody has a name");
    let mut child = Raw::child_of(&mut world, 1, 0x31);
    child.heard(&mut world);
    child.says(&mut world, &child.attach_as(2, taken.as_str()));
    let refused = |(header, _): &(Header, _)| header.kind == Kind::ATTACH_REFUSED;
    assert!(child.heard(&mut world).iter().any(refused));
    assert!(hears(&mut world, &mut child, 2), "what it was given stands");
    world.cut(child.wire);
    assert!(is_gone(&world, &child));
}

#[test]
fn what_waits_for_one_instance_stays_when_another_attaches_over_the_same_link() {
    let mut world = World::new(1);
    world.serve_all(&[], &["tell"]);
    let relay = Raw::stranger(&mut world, 0x11, Medium::Local);
    let says = [relay.hello(), relay.attach_as(1, "relay")].concat();
    relay.says(&mut world, &says);
    relay.heard(&mut world);
    world.clogged.insert(relay.wire);
    let target = PeerName::new("relay").unwrap();
    let mut say = |payload: &[u8]| {
        let message = message(Target::Named(target.clone()), "tell", payload);
        let now = world.now;
        let sent = world.nodes[1].send(now, message, SendOptions::default());
        sent.unwrap();
        world.run();
    };
    // The first lies in the plan that the kernel does not take, the second in the queue.
    say(b"first");
    say(b"second");
    let child = relay.behind(0x22);
    relay.says(
        &mut world,
        &[child.attach_relayed(1), relay.attach_as(1, "relay")].concat(),
    );
    world.clogged.clear();
    world.run();
    let heard = relay.heard(&mut world);
    let events = heard
        .iter()
        .filter(|(header, _)| header.kind == Kind::EVENT);
    assert_eq!(events.count(), 2);
}

#[test]
fn an_instance_that_sends_too_much_goes_and_who_speaks_for_it_stays() {
    let mut world = World::tuned(1, Style::Perfect, |_, config| {
        config.receive_budget = 64 * 1024;
        config.reply_reserve = 64 * 1024;
    });
    world.serve_all(&[], &["tell"]);
    let (mut relay, mut child) = relay(&mut world);
    world.stopped.insert(1);
    let victim = instance(&world, 1);
    let payload = vec![0; 60_000];
    for _ in 0..60 {
        let flow = |header: &mut Header| header.flow = 1;
        let frame = child.frame(Kind::EVENT, victim, flow, event_body("tell", &payload));
        world.say(child.wire, &frame, Vec::new());
        world.run();
    }
    assert!(is_gone(&world, &child), "more than anybody allowed it");
    assert!(!is_gone(&world, &relay), "it is not its fault");
    assert_eq!(relay.closed_with(&mut world), None);
    assert!(world.nodes[0].stats().overrun_dropped > 0);
    assert!(hears(&mut world, &mut relay, 0));
}

#[test]
fn what_was_under_way_of_an_instance_that_has_left_is_no_forgery() {
    let mut world = World::new(1);
    world.serve_all(&[], &["tell"]);
    let (mut relay, mut child) = relay(&mut world);
    assert!(hears(&mut world, &mut child, 1));
    let detach = Detach {
        instance: child.instance,
        gone: true,
        moved: None,
    };
    let detach = relay.control(Kind::DETACH, |body| detach.encode(body));
    relay.says(&mut world, &detach);
    assert!(is_gone(&world, &child));
    assert!(!hears(&mut world, &mut child, 1));
    assert_eq!(relay.closed_with(&mut world), None);
    // Who was never there is one.
    let mut nobody = relay.behind(0x33);
    assert!(!hears(&mut world, &mut nobody, 1));
    assert_eq!(relay.closed_with(&mut world), Some(CloseCode::ForgedSource));
    assert!(!hears(&mut world, &mut relay, 1));
}

#[test]
fn a_relay_that_has_lost_its_hub_says_so_and_passes_on_who_asks_again() {
    let mut world = World::unconnected(
        1,
        Style::Perfect,
        switchboard_proto::trace::Recording::Off,
        |_, _| (),
    );
    world.serve_all(&[], &["tell"]);
    let dialled = world.connect_as(1, LinkOrigin::Inherited, Medium::Network);
    world.run();
    let mut child = Raw::child_of(&mut world, 1, 0x31);
    assert!(hears(&mut world, &mut child, 0));
    child.heard(&mut world);
    world.cut(dialled);
    let told = child.heard(&mut world);
    let detach = told.iter().find(|(header, _)| header.kind == Kind::DETACH);
    let detach = Detach::decode(&detach.expect("it is told").1).unwrap();
    assert_eq!((detach.instance, detach.gone), (child.instance, false));
    // What it still sends is dropped; it asks, and waits.
    assert!(!hears(&mut world, &mut child, 0));
    child.says(&mut world, &child.attach(2));
    assert_eq!(child.heard(&mut world).len(), 0);
    world.connect_as(1, LinkOrigin::Inherited, Medium::Network);
    world.run();
    let told = child.heard(&mut world);
    let attached = |(header, _): &(Header, _)| header.kind == Kind::ATTACHED;
    assert!(told.iter().any(attached), "{told:?}");
    child.sequence = 2;
    assert!(hears(&mut world, &mut child, 0));
}

#[test]
fn a_child_that_comes_to_the_hub_directly_is_reached_there_by_its_siblings_too() {
    let mut world = World::new(1);
    world.serve_all(&[], &["tell"]);
    let moves = Raw::child_of(&mut world, 1, 0x31);
    let mut sibling = Raw::child_of(&mut world, 1, 0x32);
    let event = sibling.event(moves.instance, "tell", b"here");
    sibling.says(&mut world, &event);
    let events = |heard: Vec<(Header, _)>| {
        let kinds = heard.iter().map(|(header, _)| header.kind);
        kinds.filter(|kind| *kind == Kind::EVENT).count()
    };
    assert_eq!(events(moves.heard(&mut world)), 1);
    // Nobody has told the relay: its end of the link still stands.
    let mut there = Raw::stranger(&mut world, 0x31, Medium::Local);
    let says = [there.hello(), there.attach(2)].concat();
    there.says(&mut world, &says);
    let event = sibling.event(moves.instance, "tell", b"there");
    sibling.says(&mut world, &event);
    assert_eq!(events(there.heard(&mut world)), 1);
    assert_eq!(moves.closed_with(&mut world), Some(CloseCode::Replaced));
    assert!(hears(&mut world, &mut there, 0), "it lives");
}

#[test]
fn a_frame_that_goes_in_circles_is_counted_as_that_on_its_way_down_too() {
    let mut world = World::new(1);
    world.serve_all(&[], &["tell"]);
    let child = Raw::child_of(&mut world, 1, 0x31);
    let mut far = Raw::member(&mut world, 0x11);
    let event = far.frame(
        Kind::EVENT,
        child.instance,
        |header| header.hops = 31,
        event_body("tell", b"x"),
    );
    far.says(&mut world, &event);
    let stats = world.nodes[1].stats();
    assert_eq!((stats.hops_dropped, stats.gone_dropped), (1, 0));
}

/// Events that use credit, of so many bytes in all.
fn credited(from: &mut Raw, to: InstanceId, bytes: usize) -> Vec<u8> {
    let payload = vec![0; 60_000];
    let one = |_| {
        let flow = |header: &mut Header| header.flow = 1;
        from.frame(Kind::EVENT, to, flow, event_body("tell", &payload))
    };
    (0..bytes / payload.len()).flat_map(one).collect()
}

#[test]
fn the_more_peers_there_are_the_more_may_wait_for_a_child_at_its_relay() {
    let mut world = World::new(1);
    world.serve_all(&[], &["tell"]);
    let child = Raw::child_of(&mut world, 1, 0x31);
    child.heard(&mut world);
    world.clogged.insert(child.wire);
    let mut first = Raw::member(&mut world, 0x1000);
    // All that the child itself can have allowed.
    let says = credited(&mut first, child.instance, 1_000_000);
    first.says(&mut world, &says);
    // And the first contact of everybody who comes later.
    for number in 0..120 {
        let mut later = Raw::member(&mut world, 0x2000 + number);
        let event = later.event(child.instance, "tell", &[0; 14_000]);
        later.says(&mut world, &event);
    }
    assert_eq!(world.nodes[0].stats().overrun_dropped, 0);
    assert_eq!(world.nodes[1].stats().overrun_dropped, 0);
    world.clogged.clear();
    let mut deframer = wire::Deframer::new();
    deframer.set_limit(wire::limits::FRAME);
    let mut events = 0;
    loop {
        // So much as a socket holds.
        world.run();
        let bytes = world.heard(child.wire);
        if bytes.is_empty() {
            break;
        }
        deframer.push(bytes[..].into());
        while let Some(frame) = deframer.next().expect("a relay writes frames") {
            events += usize::from(frame.header.kind == Kind::EVENT);
        }
    }
    assert_eq!(events, 16 + 120);
}

#[test]
fn a_child_is_told_that_its_relay_threw_away_what_was_too_much() {
    let mut world = World::new(1);
    world.serve_all(&[], &["tell"]);
    let child = Raw::child_of(&mut world, 1, 0x31);
    let mut other = Raw::child_of(&mut world, 1, 0x32);
    for raw in [&child, &other] {
        raw.heard(&mut world);
        world.clogged.insert(raw.wire);
    }
    let mut flood = Raw::member(&mut world, 0x11);
    let event = flood.event(other.instance, "tell", b"in its bounds");
    flood.says(&mut world, &event);
    for _ in 0..30 {
        let says = credited(&mut flood, child.instance, 120_000);
        flood.says(&mut world, &says);
    }
    assert!(world.nodes[1].stats().overrun_dropped > 0);
    world.clogged.clear();
    world.run();
    let heard = child.heard(&mut world);
    let told = heard
        .iter()
        .find(|(header, _)| header.kind == Kind::RETURNED);
    let told = wire::Returned::decode(&told.expect("it is told").1).unwrap();
    let pair = (told.source, told.destination);
    assert_eq!(pair, (flood.instance, child.instance));
    let heard = other.heard(&mut world);
    assert!(
        heard.iter().any(|(header, _)| header.kind == Kind::EVENT),
        "what it had sent to others is not its fault"
    );
    assert!(hears(&mut world, &mut other, 0));
}

#[test]
fn what_was_thrown_away_on_its_way_is_waited_for_by_nobody() {
    let mut world = World::unconnected(
        1,
        Style::Perfect,
        switchboard_proto::trace::Recording::Off,
        |_, _| (),
    );
    world.serve(1, &[], &["tell"]);
    let (wire, link) = world.stranger_at(1, LinkOrigin::Inherited, Medium::Local);
    let parent = Raw {
        wire,
        at: 1,
        link,
        instance: InstanceId(0x77),
        sequence: 1,
    };
    let own = world.nodes[1].instance();
    let attached = wire::Attached {
        instance: own,
        counter: 1,
        id: PeerId(2),
        generation: Generation(1),
        hub: parent.instance,
        epoch: 1,
        id_changed: false,
    };
    let says = [
        parent.hello_with(|hello| hello.hub = true),
        parent.control(Kind::ATTACHED, |body| attached.encode(body)),
    ];
    parent.says(&mut world, &says.concat());
    let peer = |id, instance| wire::RosterPeer {
        id: PeerId(id),
        generation: Generation(1),
        instance,
        name: None,
        attachment: 1,
        attached: true,
        up: true,
        attachments: 0,
        budget: 1 << 20,
        message_cap: 1 << 20,
        namespaces: Some(Vec::new()),
        reserve: 1 << 20,
    };
    let other = InstanceId(0x99);
    let roster = wire::RosterUpdate {
        version: 1,
        snapshot: true,
        more: false,
        complete: false,
        peers: vec![peer(1, parent.instance), peer(2, own), peer(3, other)],
        gone: Vec::new(),
    };
    let says = parent.control(Kind::ROSTER, |body| roster.encode(body));
    parent.says(&mut world, &says);
    let now = world.now;
    let call = message(Target::Peer(PeerId(3)), "ask", b"anything");
    let asked = world.nodes[1].request(now, call, RequestOptions::default());
    let asked = asked.expect("it is there");
    world.run();
    let returned = wire::Returned {
        source: other,
        destination: own,
        sequence: 0,
    };
    let says = parent.control(Kind::RETURNED, |body| returned.encode(body));
    parent.says(&mut world, &says);
    let ended = world.events[1].iter().find_map(|event| match event {
        Event::Outcome { request, outcome } if *request == asked => Some(outcome),
        _ => None,
    });
    assert!(
        matches!(ended, Some(Outcome::Unknown(UnknownCause::PeerFault))),
        "{ended:?}"
    );
    assert!(world.nodes[1].is_connected());
}
