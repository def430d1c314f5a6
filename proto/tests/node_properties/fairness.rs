//! Whoever is not read stops nobody else.

use std::time::Duration;

use switchboard_proto::wire::limits;
use switchboard_proto::*;

use crate::support::{Style, World, message, names, to};

const READ: NamespaceId = NamespaceId(1);

/// Every node has two namespaces. Member 1 reads the second one only.
fn world(members: usize, tune: impl Fn(usize, &mut Config)) -> World {
    let mut world = World::tuned(members, Style::Perfect, tune);
    world.run();
    for at in 0..=members {
        let now = world.now;
        for name in ["_", "read"] {
            let namespace = world.nodes[at].open(now, name).unwrap();
            world.nodes[at]
                .declare(now, namespace, names(&["ask"], &["tell"]))
                .unwrap();
        }
        world.nodes[at].ready_all(now);
    }
    world.run();
    world
}

fn tell(world: &mut World, from: usize, namespace: NamespaceId, size: usize) -> bool {
    let now = world.now;
    let mut told = message(to(1), "tell", &vec![from as u8; size]);
    told.namespace = namespace;
    world.nodes[from]
        .send(now, told, SendOptions::default())
        .is_ok()
}

/// Sends to the namespace that nobody reads for as long as anything moves.
fn fill_unread(world: &mut World, from: usize, size: usize) {
    let mut unread = world.nodes[1].unread();
    for _ in 0..1000 {
        for _ in 0..100 {
            tell(world, from, NamespaceId(0), size);
        }
        world.pass(Duration::from_millis(60));
        if unread == world.nodes[1].unread() {
            return;
        }
        unread = world.nodes[1].unread();
    }
    panic!("it is never full");
}

/// What member 1 gets in the namespace that it reads, while time passes.
fn read(world: &mut World, rounds: usize) -> Vec<usize> {
    let mut sizes = Vec::new();
    for _ in 0..rounds {
        let now = world.now;
        while let Some(delivery) = world.nodes[1].recv(now, READ) {
            sizes.push(delivery.payload.len());
        }
        world.pass(Duration::from_millis(30));
    }
    sizes
}

#[test]
fn messages_of_every_size_move_while_another_namespace_of_many_peers_is_unread() {
    let mut world = world(26, |_, config| {
        config.receive_budget = 512 * 1024;
        config.message_cap = 200_000;
    });
    for from in 2..26 {
        fill_unread(&mut world, from, 1000);
    }
    // Smaller than a floor; more than what the unread ones leave; too large for one frame.
    for size in [100, 3000, 20_000, 30_000, 150_000] {
        for _ in 0..20 {
            assert!(tell(&mut world, 26, READ, size));
        }
        let got = read(&mut world, 200);
        assert_eq!(got, [size; 20], "{size}");
    }
}

#[test]
fn an_unread_namespace_of_larger_messages_takes_one_at_a_time_beyond_its_credit() {
    // The room that lets a message travel in slices is no second budget for those who are unread.
    let mut world = world(26, |_, config| {
        config.receive_budget = 512 * 1024;
        config.message_cap = 200_000;
    });
    for from in 2..26 {
        fill_unread(&mut world, from, 20_000);
    }
    let held = world.nodes[1].unread() as u64 * 20_000;
    let contact = 24 * limits::FIRST_CONTACT_BYTES;
    assert!(held <= 512 * 1024 + contact + 24 * 20_000, "{held}");
    for _ in 0..20 {
        assert!(tell(&mut world, 26, READ, 20_000));
    }
    assert_eq!(read(&mut world, 200), [20_000; 20]);
}

#[test]
fn a_message_that_waits_for_room_or_credit_can_be_taken_back_and_the_next_one_goes() {
    let mut world = world(26, |_, config| {
        config.receive_budget = 512 * 1024;
        config.message_cap = 200_000;
    });
    for from in 2..26 {
        fill_unread(&mut world, from, 1000);
    }
    for round in 0..30 {
        let now = world.now;
        let mut first = message(to(1), "tell", &[0; 20_000]);
        first.namespace = READ;
        let sent = world.nodes[26].send(now, first, SendOptions::default());
        let sent = sent.unwrap();
        // At different points of the way: unsaid, said, granted, half sent, there.
        world.pass(Duration::from_millis(round));
        world.nodes[26].recall(now, sent);
        let size = 5000 + round as usize;
        assert!(tell(&mut world, 26, READ, size));
        let got = read(&mut world, 60);
        assert!(
            got == [size] || got == [20_000, size],
            "{round}: {got:?}, nothing stands still"
        );
    }
}

#[test]
fn a_peer_that_has_never_spoken_finds_a_floor_whatever_others_hold() {
    // Eight peers open flow after flow until the budget's floors are used up.
    let mut world = World::tuned(10, Style::Perfect, |_, config| {
        config.receive_budget = 64 * 1024;
        config.message_cap = 200_000;
    });
    world.run();
    for at in 0..=10 {
        let now = world.now;
        for number in 0..20 {
            let namespace = world.nodes[at].open(now, &format!("n{number}")).unwrap();
            let names = names(&[], &["tell"]);
            world.nodes[at].declare(now, namespace, names).unwrap();
        }
        world.nodes[at].ready_all(now);
    }
    world.run();
    for from in 2..10 {
        for number in [0].into_iter().chain(2..20) {
            for _ in 0..20 {
                tell(&mut world, from, NamespaceId(number), 500);
            }
        }
        world.pass(Duration::from_millis(60));
    }
    for _ in 0..50 {
        assert!(tell(&mut world, 10, READ, 500));
    }
    assert_eq!(read(&mut world, 200), [500; 50]);
}
