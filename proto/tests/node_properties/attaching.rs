//! A member and a hub that the test plays: what is said before, with and after an attachment.

use std::time::Duration;

use bytes::Bytes;
use switchboard_proto::wire::{self, Header, Kind};
use switchboard_proto::*;

use crate::support::raw::Raw;
use crate::support::{Style, World, message, names};

/// A world in which member 1 has no hub yet.
fn alone() -> World {
    let recording = trace::Recording::Off;
    World::unconnected(1, Style::Perfect, recording, |_, config| {
        config.answers = 64 * 1024;
    })
}

/// A hub to which member 1 has a link, and nothing said yet.
fn hub(world: &mut World, instance: u64, medium: Medium) -> Raw {
    let (wire, link) = world.stranger_at(1, LinkOrigin::Inherited, medium);
    Raw {
        wire,
        at: 1,
        link,
        instance: InstanceId(instance),
        sequence: 1,
    }
}

/// The hub says hello. What the member has said then.
fn greet(world: &mut World, hub: &Raw) -> Vec<(Header, Bytes)> {
    let hello = hub.hello_with(|hello| hello.hub = true);
    hub.says(world, &hello);
    hub.heard(world)
}

/// The hub answers the attachment with this number.
fn take_in(world: &mut World, hub: &Raw, counter: u64) {
    let attached = wire::Attached {
        instance: world.nodes[1].instance(),
        counter,
        id: PeerId(9),
        generation: Generation(1),
        hub: hub.instance,
        epoch: 1,
        id_changed: false,
    };
    let answer = hub.control(Kind::ATTACHED, |body| attached.encode(body));
    hub.says(world, &answer);
    assert!(world.nodes[1].is_connected(), "{:?}", world.events[1]);
}

/// The hub tells of a peer.
fn tell(world: &mut World, hub: &Raw, version: u64, instance: InstanceId, name: &str) {
    let peer = wire::RosterPeer {
        id: PeerId(version as u32),
        generation: Generation(1),
        instance,
        name: PeerName::new(name),
        attachment: 1,
        attached: true,
        up: false,
        attachments: 0,
        budget: 1 << 20,
        message_cap: 1 << 20,
        namespaces: None,
        reserve: 0,
    };
    let update = wire::RosterUpdate {
        version,
        peers: vec![peer],
        ..wire::RosterUpdate::default()
    };
    let update = hub.control(Kind::ROSTER, |body| update.encode(body));
    hub.says(world, &update);
}

fn kinds(heard: &[(Header, Bytes)]) -> Vec<Kind> {
    heard.iter().map(|(header, _)| header.kind).collect()
}

#[test]
fn who_is_not_attached_says_nothing_in_its_conversations() {
    let mut world = alone();
    world.serve(1, &[], &["tell"]);
    let mut first = hub(&mut world, 0x11, Medium::Network);
    greet(&mut world, &first);
    take_in(&mut world, &first, 1);
    tell(&mut world, &first, 1, InstanceId(0x11), "hub");
    let member = world.nodes[1].instance();
    let event = first.event(member, "tell", b"1");
    first.says(&mut world, &event);
    world.cut(first.wire);
    // The same hub by another link: it has not answered when the mark of the event is due.
    let again = hub(&mut world, 0x11, Medium::Network);
    assert_eq!(
        kinds(&greet(&mut world, &again)),
        [Kind::HELLO, Kind::ATTACH]
    );
    assert_eq!(world.take(1).len(), 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(kinds(&again.heard(&mut world)), []);
    take_in(&mut world, &again, 2);
    tell(&mut world, &again, 1, InstanceId(0x11), "hub");
    world.pass(Duration::from_secs(1));
    let heard = kinds(&again.heard(&mut world));
    assert!(heard.contains(&Kind::MARK), "it is said then: {heard:?}");
}

#[test]
fn a_hub_is_told_whether_another_was_asked_before_it() {
    let mut world = alone();
    let mut elder = Vec::new();
    // The first hub does not answer before the link is lost, and nor does the second.
    for instance in [0x11, 0x11, 0x12, 0x12] {
        let hub = hub(&mut world, instance, Medium::Network);
        let asked = greet(&mut world, &hub);
        elder.push(wire::Attach::decode(&asked[1].1).unwrap().elder);
        world.cut(hub.wire);
    }
    assert_eq!(elder, [false, false, true, true]);
}

#[test]
fn what_a_member_has_to_tell_a_new_hub_is_no_flood_of_that_hub() {
    const PEERS: u64 = 1200;
    let mut world = alone();
    let first = hub(&mut world, 0x11, Medium::Local);
    greet(&mut world, &first);
    take_in(&mut world, &first, 1);
    for number in 1..=PEERS {
        let name = format!("{number}/{}", "x".repeat(50));
        tell(
            &mut world,
            &first,
            number,
            InstanceId(0x1000 + number),
            &name,
        );
    }
    assert_eq!(world.nodes[1].roster().peers().count() as u64, PEERS);
    world.cut(first.wire);
    let next = hub(&mut world, 0x12, Medium::Local);
    let asked = greet(&mut world, &next);
    let attach = wire::Attach::decode(&asked[1].1).unwrap();
    let mut living = attach.known.living.len();
    // The new hub reads nothing for a while, and all of it afterwards.
    world.clogged.insert(next.wire);
    take_in(&mut world, &next, 2);
    world.clogged.remove(&next.wire);
    world.pass(Duration::from_millis(10));
    assert!(world.nodes[1].is_connected(), "{:?}", world.events[1]);
    let mut more = Vec::new();
    for (header, body) in next.heard(&mut world) {
        if header.kind == Kind::KNOWN {
            let said = wire::KnownMore::decode(&body).unwrap();
            living += said.known.living.len();
            more.push(said.more);
        }
    }
    assert_eq!(living as u64, PEERS);
    let (last, before) = more.split_last().unwrap();
    assert!(!last && before.iter().all(|more| *more), "{more:?}");
}

#[test]
fn news_of_who_is_ready_comes_before_what_was_sent_when_the_hub_knew_of_it() {
    let mut world = World::unconnected(2, Style::Perfect, trace::Recording::Off, |_, _| ());
    world.connect(1);
    let raw = Raw::member(&mut world, 77);
    // The hub is in the middle of writing to it, so that all of what follows waits.
    world.clogged.insert(raw.wire);
    let ping = raw.control(Kind::PING, |body| wire::Ping { nonce: 1 }.encode(body));
    raw.says(&mut world, &ping);
    let now = world.now;
    let namespace = world.nodes[1].open(now, "_").unwrap();
    let handles = names(&["ask"], &[]);
    world.nodes[1].declare(now, namespace, handles).unwrap();
    world.nodes[1].ready(now, namespace);
    assert!(!world.nodes[1].is_announced());
    world.run();
    assert!(world.nodes[1].is_announced());
    let announced = |event: &Event<_>| matches!(event, Event::Announced);
    assert!(world.events[1].iter().any(announced));
    let told = message(Target::Peer(PeerId(3)), "tell", b"x");
    world.nodes[1]
        .send(now, told, SendOptions::default())
        .unwrap();
    world.run();
    world.clogged.remove(&raw.wire);
    world.pass(Duration::from_millis(1));
    let heard = raw.heard(&mut world);
    let event = heard
        .iter()
        .position(|(header, _)| header.kind == Kind::EVENT);
    let news = heard.iter().rposition(|(header, body)| {
        let update = || wire::RosterUpdate::decode(body).unwrap();
        let asks = |peer: &wire::RosterPeer| {
            let mut declared = peer.namespaces.iter().flatten();
            declared.any(|namespace| namespace.ready && namespace.handlers == ["ask"])
        };
        header.kind == Kind::ROSTER && update().peers.iter().any(asks)
    });
    assert!(news.is_some() && news < event, "{:?}", kinds(&heard));
}
