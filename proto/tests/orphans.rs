//! What becomes of those behind a process that has ended, and of a name that is taken for a while.

mod support;

use std::time::Duration;

use support::raw::Raw;
use support::{Style, World, message};
use switchboard_proto::trace::Recording;
use switchboard_proto::wire::{self, Attach, AttachRefusal, CloseCode, Kind, Refusal};
use switchboard_proto::*;

const KID: &str = "relay/kid";

fn tied(attach: &mut Attach) {
    attach.relayed = true;
    attach.tied = true;
    attach.name = PeerName::new(KID);
}

fn free(attach: &mut Attach) {
    tied(attach);
    attach.tied = false;
}

/// A relay that the test plays itself, at the hub, with an instance behind it.
fn relay(world: &mut World, medium: Medium, child: impl FnOnce(&mut Attach)) -> (Raw, Raw) {
    let relay = Raw::member_over(world, 0x11, medium);
    let behind = relay.behind(0x22);
    relay.says(world, &behind.attach_with(1, child));
    assert_eq!(presence(world, &behind), Some(Presence::Attached));
    (relay, behind)
}

/// What the hub says of an instance; `None` of one that is gone.
fn presence(world: &World, raw: &Raw) -> Option<Presence> {
    let peer = world.nodes[0].roster().by_instance(raw.instance);
    peer.map(|peer| peer.presence)
}

fn identity(world: &World, raw: &Raw) -> (PeerId, Generation) {
    let peer = world.nodes[0].roster().by_instance(raw.instance);
    let peer = peer.expect("it is attached");
    (peer.id, peer.generation)
}

fn close(relay: &Raw, code: CloseCode) -> Vec<u8> {
    let close = wire::Close {
        code: code.to_u16(),
        text: String::new(),
    };
    relay.control(Kind::CLOSE, |body| close.encode(body))
}

#[test]
fn whose_only_way_was_a_process_that_died_ends_with_it_and_its_name_is_free_at_once() {
    let mut world = World::new(1);
    world.serve_all(&[], &["tell"]);
    let (relay, child) = relay(&mut world, Medium::Local, tied);
    let was = identity(&world, &child);
    // The kernel does not take it before the relay dies.
    world.clogged.insert(relay.wire);
    let call = message(
        Target::Named(PeerName::new(KID).unwrap()),
        "ask",
        b"are you there",
    );
    let now = world.now;
    let asked = world.nodes[1].request(now, call, RequestOptions::default());
    let asked = asked.expect("room");
    world.run();
    world.cut(relay.wire);
    assert_eq!(presence(&world, &relay), None);
    assert_eq!(presence(&world, &child), None, "nobody waits for it");
    let outcome = world.events[1].iter().find_map(|event| match event {
        Event::Outcome { request, outcome } if *request == asked => Some(outcome),
        _ => None,
    });
    let outcome = outcome.expect("no time has passed, and none is waited");
    let not_run = matches!(outcome, Outcome::NotRun { reason, .. } if *reason == Refusal::PeerGone);
    let unknown = matches!(outcome, Outcome::Unknown(UnknownCause::PeerGone));
    assert!(not_run || unknown, "{outcome:?}");
    // It is started again, and its children by it.
    let next = Raw::member_over(&mut world, 0x33, Medium::Local);
    let back = next.behind(0x44);
    next.says(&mut world, &back.attach_with(1, tied));
    let is = identity(&world, &back);
    assert_eq!(is, (was.0, Generation(was.1.0 + 1)));
}

#[test]
fn who_may_come_another_way_outlives_the_process_that_spoke_for_it() {
    let mut world = World::new(1);
    world.serve_all(&[], &["tell"]);
    let (relay, child) = relay(&mut world, Medium::Local, free);
    world.cut(relay.wire);
    assert_eq!(presence(&world, &relay), None);
    assert_eq!(presence(&world, &child), Some(Presence::Detached));
    let mut back = Raw::stranger(&mut world, 0x22, Medium::Local);
    let says = [back.hello(), back.attach(2)].concat();
    back.says(&mut world, &says);
    let event = back.event(world.nodes[1].instance(), "tell", b"x");
    back.says(&mut world, &event);
    assert_eq!(world.take(1).len(), 1);
}

#[test]
fn where_the_end_of_a_link_proves_no_death_nobody_ends_with_it() {
    // The network may heal.
    let mut world = World::new(1);
    world.serve_all(&[], &[]);
    let (far, child) = relay(&mut world, Medium::Network, tied);
    world.cut(far.wire);
    assert_eq!(presence(&world, &far), Some(Presence::Detached));
    assert_eq!(presence(&world, &child), Some(Presence::Detached));
    world.pass(Duration::from_secs(6));
    assert_eq!(presence(&world, &child), None, "but not for ever");
    // It says itself that it lives.
    let (near, child) = relay_again(&mut world, 0x51);
    near.says(&mut world, &close(&near, CloseCode::WriteStalled));
    assert_eq!(presence(&world, &child), Some(Presence::Detached));
    world.pass(Duration::from_secs(6));
    // It is this hub that closes the link.
    let (mut near, child) = relay_again(&mut world, 0x61);
    let forged = InstanceId(0x99);
    near.instance = forged;
    let event = near.event(world.nodes[1].instance(), "tell", b"x");
    near.says(&mut world, &event);
    assert_eq!(near.closed_with(&mut world), Some(CloseCode::ForgedSource));
    assert_eq!(presence(&world, &child), Some(Presence::Detached));
}

fn relay_again(world: &mut World, instance: u64) -> (Raw, Raw) {
    let relay = Raw::member_over(world, instance, Medium::Local);
    let child = relay.behind(instance + 1);
    relay.says(world, &child.attach_with(1, tied));
    assert_eq!(presence(world, &child), Some(Presence::Attached));
    (relay, child)
}

#[test]
fn who_leaves_in_good_order_takes_along_whose_only_way_it_was() {
    for medium in [Medium::Local, Medium::Network] {
        let mut world = World::new(1);
        world.serve_all(&[], &[]);
        let (relay, child) = relay(&mut world, medium, tied);
        relay.says(&mut world, &close(&relay, CloseCode::Normal));
        assert_eq!(presence(&world, &relay), None, "{medium:?}");
        assert_eq!(presence(&world, &child), None, "{medium:?}");
    }
}

/// A child of member 1, and one behind that, each tied to the next or not.
fn generations(world: &mut World, child: bool, grandchild: bool) -> (Raw, Raw) {
    let (wire, link) = world.stranger_at(1, LinkOrigin::Child, Medium::Local);
    let below = Raw {
        wire,
        at: 1,
        link,
        instance: InstanceId(0x31),
        sequence: 1,
    };
    let attach = below.attach_with(1, |attach| attach.tied = child);
    below.says(world, &[below.hello(), attach].concat());
    let bottom = below.behind(0x32);
    let attach = bottom.attach_with(1, |attach| {
        attach.relayed = true;
        attach.tied = grandchild;
    });
    below.says(world, &attach);
    assert_eq!(presence(world, &bottom), Some(Presence::Attached));
    (below, bottom)
}

#[test]
fn a_relay_tells_the_hub_who_ends_with_its_child() {
    for (grandchild, left) in [(true, None), (false, Some(Presence::Detached))] {
        let mut world = World::new(1);
        world.serve_all(&[], &[]);
        let (child, bottom) = generations(&mut world, true, grandchild);
        world.cut(child.wire);
        assert_eq!(presence(&world, &child), None);
        assert_eq!(presence(&world, &bottom), left, "tied: {grandchild}");
    }
}

#[test]
fn who_is_tied_to_one_that_is_not_waits_for_it() {
    for child in [true, false] {
        let mut world = World::unconnected(1, Style::Perfect, Recording::Off, |_, _| ());
        let wire = world.connect_as(1, LinkOrigin::Inherited, Medium::Local);
        world.serve_all(&[], &[]);
        let (below, bottom) = generations(&mut world, child, true);
        world.cut(wire);
        let left = (!child).then_some(Presence::Detached);
        assert_eq!(presence(&world, &below), left, "tied: {child}");
        assert_eq!(presence(&world, &bottom), left, "tied: {child}");
    }
}

#[test]
fn whose_hub_was_at_the_other_end_of_its_first_link_says_so() {
    let mut world = World::unconnected(1, Style::Perfect, Recording::Off, |_, _| ());
    let (wire, link) = world.stranger_at(1, LinkOrigin::Inherited, Medium::Local);
    let parent = Raw {
        wire,
        at: 1,
        link,
        instance: InstanceId(0x77),
        sequence: 1,
    };
    parent.says(&mut world, &parent.hello_with(|hello| hello.hub = true));
    let asked = parent.heard(&mut world).into_iter();
    let asked = asked.filter(|(header, _)| header.kind == Kind::ATTACH);
    let asked: Vec<_> = asked
        .map(|(_, body)| Attach::decode(&body).unwrap())
        .collect();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].tied && !asked[0].relayed);
}

/// Two members that want the same name, and what the second was told until then.
fn namesakes(reconnect: Reconnect) -> (World, usize) {
    let mut world = World::unconnected(2, Style::Perfect, Recording::Off, |at, config| {
        if at > 0 {
            config.name = PeerName::new(KID);
            config.reconnect = reconnect;
        }
    });
    let first = world.connect(1);
    world.run();
    world.connect(2);
    world.run();
    let refused = |event: &Event<_>| matches!(event, Event::AttachRefused(reason) if *reason == AttachRefusal::NameTaken);
    assert!(world.events[2].iter().any(refused), "{:?}", world.events[2]);
    (world, first)
}

fn gave_up(world: &World) -> bool {
    let mut events = world.events[2].iter();
    events.any(|event| matches!(event, Event::GaveUp))
}

#[test]
fn a_child_whose_name_is_taken_asks_again_over_its_only_link_until_it_is_free() {
    let (mut world, first) = namesakes(Reconnect::default());
    world.pass(Duration::from_secs(3));
    assert!(!world.nodes[2].is_connected());
    assert!(!gave_up(&world));
    world.cut(first);
    world.pass(Duration::from_secs(6));
    assert!(world.nodes[2].is_connected());
    let was = Some((PeerId(2), Generation(2)));
    assert_eq!(
        world.nodes[2].identity(),
        was,
        "the name's id, and the next generation"
    );
}

#[test]
fn a_child_that_may_not_try_again_gives_up_when_it_is_refused() {
    let (world, _) = namesakes(Reconnect::never());
    assert!(gave_up(&world));
    let patient = Reconnect {
        give_up: Some(Duration::from_secs(2)),
        ..Reconnect::default()
    };
    let (mut world, _) = namesakes(patient);
    assert!(!gave_up(&world));
    world.pass(Duration::from_secs(4));
    assert!(gave_up(&world));
}
