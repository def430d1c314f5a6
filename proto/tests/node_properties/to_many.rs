//! Events to many of which not every receiver gets its copy.

use std::time::Duration;

use switchboard_proto::*;

use crate::support::{Style, World, message};

fn world(tune: impl Fn(usize, &mut Config)) -> World {
    let mut world = World::tuned(2, Style::Perfect, tune);
    world.serve_all(&[], &["tell"]);
    world
}

fn tell_everyone(world: &mut World, size: usize) -> MessageId {
    let told = message(Target::Everyone, "tell", &vec![0; size]);
    let now = world.now;
    let sent = world.nodes[1].send(now, told, SendOptions::default());
    world.run();
    sent.expect("an event to many is accepted, whoever goes without")
}

/// Whose copies of an event were not accepted, and why.
fn not_accepted(world: &World, id: MessageId) -> Vec<(Target, SendRefusal)> {
    let fates = world.events[1].iter().filter_map(|event| match event {
        Event::Fate {
            message,
            fate: Fate::NotAccepted { to, reason },
        } if *message == id => Some((to.clone(), reason.clone())),
        _ => None,
    });
    fates.collect()
}

fn peer(world: &World, at: usize) -> Target {
    Target::Peer(world.nodes[at].identity().expect("it is attached").0)
}

#[test]
fn who_tells_many_learns_for_whom_it_was_too_large() {
    let mut world = world(|at, config| {
        if at == 2 {
            config.message_cap = 1000;
        }
    });
    let id = tell_everyone(&mut world, 1001);
    let too_large = SendRefusal::TooLarge {
        size: 1001,
        limit: 1000,
    };
    assert_eq!(not_accepted(&world, id), [(peer(&world, 2), too_large)]);
    assert_eq!(world.take(0).len(), 1, "the others have theirs");
    assert_eq!(world.take(2).len(), 0);
    assert_eq!(world.nodes[1].stats().fanout_refused, 1);
}

#[test]
fn who_tells_many_learns_which_buffer_is_full_and_when_it_has_room() {
    let mut world = world(|_, config| {
        config.send_buffer = 10_000;
        config.receive_budget = 64 * 1024;
    });
    let slow = peer(&world, 2);
    let mut refused = Vec::new();
    for _ in 0..1000 {
        let id = tell_everyone(&mut world, 1000);
        world.take(0);
        world.pass(Duration::from_millis(60));
        refused = not_accepted(&world, id);
        if !refused.is_empty() {
            break;
        }
    }
    let full = SendRefusal::Full {
        limit: "send_buffer",
        value: 10_000,
    };
    assert_eq!(refused, [(slow.clone(), full)]);
    for _ in 0..20 {
        world.take(2);
        world.pass(Duration::from_millis(60));
    }
    let told = |event: &Event<_>| matches!(event, Event::Sendable(to) if *to == slow);
    assert!(world.events[1].iter().any(told), "there is room again");
}
