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
