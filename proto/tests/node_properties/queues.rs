//! Every queue has a cap, and one that is full stops only those who fill it.

use std::time::Duration;

use proptest::prelude::*;
use switchboard_proto::wire::limits;
use switchboard_proto::*;

use crate::support::{Dice, Handle, Style, World, message, to};

const SEND_BUFFER: u64 = 256 * 1024;
const BUDGET: u64 = 512 * 1024;

/// Members with small buffers, so that they are soon full.
fn small(members: usize) -> World {
    let mut world = World::tuned(members, Style::Perfect, |_, config| {
        config.send_buffer = SEND_BUFFER;
        config.receive_budget = BUDGET;
        config.message_cap = 100_000;
    });
    world.serve_all(&["ask"], &["tell"]);
    world
}

fn tell(world: &mut World, from: usize, at: usize, size: usize) -> Result<MessageId, SendRefusal> {
    let now = world.now;
    let told = message(to(at), "tell", &vec![0; size]);
    let sent = world.nodes[from].send(now, told, SendOptions::default());
    sent.map_err(|error| {
        assert_eq!(error.message.payload.len(), size, "it comes back whole");
        error.reason
    })
}

/// Sends until the sender is refused for good, and lets everything move that can.
fn fill(world: &mut World, from: usize, at: usize, size: usize) -> usize {
    let mut sent = 0;
    for _ in 0..2000 {
        while tell(world, from, at, size).is_ok() {
            sent += 1;
        }
        let before = sent;
        world.pass(Duration::from_millis(30));
        while tell(world, from, at, size).is_ok() {
            sent += 1;
        }
        if sent == before {
            return sent;
        }
    }
    panic!("it is never full");
}

#[test]
fn hazard_q1_with_a_stopped_process_every_queue_stays_within_its_cap() {
    // Unbounded growth: caps in bytes and count for each peer, and each push can fail.
    let mut world = small(3);
    world.stopped.insert(3);
    let cost = allocation_counter::measure(|| {
        for from in [0, 1, 2] {
            fill(&mut world, from, 3, 1000);
            assert!(world.nodes[from].buffered() <= SEND_BUFFER);
        }
    });
    // Three send buffers, what the hub may hold for the stopped one, and the full socket; all that
    // in copies of at most twice their size.
    let caps = 3 * SEND_BUFFER + BUDGET + 256 * 1024;
    assert!(
        cost.bytes_current < 2 * caps as i64,
        "{} bytes",
        cost.bytes_current
    );
    assert!(matches!(
        tell(&mut world, 1, 3, 1000),
        Err(SendRefusal::Full { .. })
    ));
    assert!(
        world.events[0]
            .iter()
            .all(|event| !matches!(event, Event::LinkClosed { .. }))
    );
}

#[test]
fn hazard_q1_with_an_application_that_does_not_read_its_node_holds_the_budget_and_no_more() {
    for size in [0, 1000, 60_000] {
        let mut world = small(3);
        let sent: usize = [0, 1, 2]
            .map(|from| fill(&mut world, from, 3, size))
            .iter()
            .sum();
        let got = world.take(3);
        let held: u64 = got
            .iter()
            .map(|delivery| wire::flow::cost(wire::Header::LEN + 7 + delivery.payload.len()))
            .sum();
        let contact = 4 * limits::FIRST_CONTACT_BYTES;
        // Large messages have the reassembly cap for them.
        let room = if size > 20_000 { 64 << 20 } else { 0 };
        assert!(held <= BUDGET + contact + room, "{size}: {held} bytes held");
        assert!(got.len() < sent, "{size}: the rest waits at its senders");
        // And then everything comes, in order, once.
        let mut count = got.len();
        for _ in 0..2000 {
            world.pass(Duration::from_millis(30));
            count += world.take(3).len();
            if count == sent {
                break;
            }
        }
        assert_eq!(count, sent, "{size}");
    }
}

#[test]
fn hazard_q1_messages_without_bytes_are_counted_too() {
    let mut world = World::tuned(1, Style::Perfect, |_, config| config.send_messages = 10);
    world.serve_all(&[], &["tell"]);
    world.stopped.insert(0);
    for _ in 0..10 {
        tell(&mut world, 1, 0, 0).unwrap();
    }
    assert_eq!(
        tell(&mut world, 1, 0, 0),
        Err(SendRefusal::Full {
            limit: "send_messages",
            value: 10
        })
    );
}

#[test]
fn hazard_q1_what_waits_for_a_name_is_within_the_cap_too() {
    let mut world = small(1);
    let nobody = Target::Named(PeerName::new("nobody").unwrap());
    let now = world.now;
    let mut waiting = 0;
    let refused = loop {
        let told = message(nobody.clone(), "tell", &[0; 1000]);
        match world.nodes[1].send(now, told, SendOptions::default()) {
            Ok(_) => waiting += 1,
            Err(error) => break error.reason,
        }
    };
    assert_eq!(
        refused,
        SendRefusal::Full {
            limit: "send_buffer",
            value: SEND_BUFFER
        }
    );
    assert!(waiting > 200 && world.nodes[1].buffered() <= SEND_BUFFER);
    assert!(
        tell(&mut world, 1, 0, 1000).is_ok(),
        "others have their own"
    );
}

#[test]
fn hazard_q3_a_slow_consumer_slows_only_those_who_talk_to_it() {
    // Slow consumer: its senders are told that it is full, others are unaffected, and they are told
    // once when there is room again.
    let mut world = small(3);
    fill(&mut world, 1, 3, 1000);
    fill(&mut world, 2, 3, 1000);
    world.events[1].clear();
    for (from, at) in [(1, 2), (2, 1), (1, 0), (0, 2)] {
        for _ in 0..100 {
            tell(&mut world, from, at, 1000).unwrap();
        }
        let mut got = 0;
        for _ in 0..5 {
            world.pass(Duration::from_millis(30));
            got += world.take(at).len();
        }
        assert_eq!(got, 100, "from {from} to {at}");
    }
    let sendable = |world: &World| {
        let events = world.events[1].iter();
        events
            .filter(|event| matches!(event, Event::Sendable(target) if *target == to(3)))
            .count()
    };
    assert_eq!(sendable(&world), 0);
    for _ in 0..100 {
        world.take(3);
        world.pass(Duration::from_millis(30));
    }
    assert_eq!(sendable(&world), 1, "once");
}

#[test]
fn hazard_q3_a_network_peer_that_reads_nothing_loses_its_link() {
    // A write that is stalled for the length of the lease: disconnect with the reason.
    let mut world = World::unconnected(1, Style::Perfect, trace::Recording::Off, |_, _| ());
    let wire = world.connect_as(1, LinkOrigin::Inherited, Medium::Network);
    world.serve_all(&[], &["tell"]);
    world.clogged.insert(wire);
    tell(&mut world, 0, 1, 1000).unwrap();
    world.pass(Duration::from_secs(11));
    let stalled = |event: &Event<_>| {
        matches!(
            event,
            Event::LinkClosed {
                code: wire::CloseCode::WriteStalled,
                ..
            }
        )
    };
    assert!(world.events[0].iter().any(stalled), "{:?}", world.events[0]);
}

#[test]
fn hazard_q2_bulk_does_not_hold_up_what_is_small() {
    // Head of line: bulk delays others by one slice and not by its whole length.
    let mut world = World::new(2);
    world.serve_all(&[], &["tell"]);
    for at in 0..3 {
        let now = world.now;
        let other = world.nodes[at].open(now, "other").unwrap();
        let names = crate::support::names(&[], &["tell"]);
        world.nodes[at].declare(now, other, names).unwrap();
        world.nodes[at].ready_all(now);
    }
    world.run();
    tell(&mut world, 1, 2, 8_000_000).unwrap();
    let now = world.now;
    let mut small = message(to(2), "tell", b"small");
    small.namespace = NamespaceId(1);
    world.nodes[1]
        .send(now, small, SendOptions::default())
        .unwrap();
    world.run();
    let order: Vec<NamespaceId> = world.events[2]
        .iter()
        .filter_map(|event| match event {
            Event::Incoming(namespace) => Some(*namespace),
            _ => None,
        })
        .collect();
    assert_eq!(order, [NamespaceId(1), NamespaceId(0)]);
}

#[test]
fn hazard_q2_control_passes_a_full_queue_of_data() {
    let mut world = small(3);
    fill(&mut world, 1, 3, 1000);
    // The receiver's application reads nothing, yet the roster goes on, and requests end.
    let now = world.now;
    world.nodes[2].close(now);
    world.run();
    let gone = |event: &Event<_>| matches!(event, Event::PeerGone { id: PeerId(3), .. });
    for at in [1, 3] {
        assert!(
            world.events[at].iter().any(gone),
            "{at}: {:?}",
            world.events[at]
        );
    }
}

#[test]
fn hazard_q5_a_sender_without_credit_goes_on_after_a_reconnect() {
    // Credit deadlock: frames that give credit need none, and a new path begins with all totals.
    let mut world = World::unconnected(1, Style::Perfect, trace::Recording::Off, |_, config| {
        config.receive_budget = 64 * 1024;
        config.flow_floor = 1024;
    });
    let first = world.connect_as(1, LinkOrigin::Inherited, Medium::Network);
    world.serve_all(&[], &["tell"]);
    let sent = 300;
    for _ in 0..sent {
        tell(&mut world, 1, 0, 1000).unwrap();
    }
    world.run();
    assert!(world.nodes[0].unread() < sent, "it has run out of credit");
    // While the link is down, what has come is taken: nobody can be told.
    world.cut(first);
    let mut got = world.take(0).len();
    world.connect_as(1, LinkOrigin::Inherited, Medium::Network);
    for _ in 0..1000 {
        world.pass(Duration::from_millis(30));
        got += world.take(0).len();
        if got == sent {
            break;
        }
    }
    assert_eq!(got, sent);
}

#[test]
fn hazard_q6_small_messages_share_their_writes() {
    // Small frames fill the socket early: they are gathered into large writes.
    let mut world = World::new(1);
    world.serve_all(&[], &["tell"]);
    // The first ones open the flow.
    tell(&mut world, 1, 0, 64).unwrap();
    world.run();
    let before = world.nodes[1].stats().plans;
    for _ in 0..300 {
        tell(&mut world, 1, 0, 64).unwrap();
    }
    world.run();
    assert_eq!(world.take(0).len(), 301);
    let plans = world.nodes[1].stats().plans - before;
    assert!(plans <= 4, "{plans} writes for 300 messages");
}

#[test]
fn hazard_q7_senders_to_one_receiver_get_equal_shares() {
    // Unfairness: deficit round robin by sender, 64 KiB at a time.
    let mut world = World::tuned(3, Style::Perfect, |_, config| {
        config.first_window = 1 << 20;
    });
    world.serve_all(&[], &["tell"]);
    for from in [1, 2] {
        tell(&mut world, from, 3, 4000).unwrap();
        world.run();
    }
    world.take(3);
    world.pass(Duration::from_millis(30));
    // The hub's connection to the receiver stands still while one sender queues four times as much
    // there as the other one after it.
    world.clogged.insert(2);
    for (from, count) in [(1, 200), (2, 50)] {
        for _ in 0..count {
            tell(&mut world, from, 3, 4000).unwrap();
        }
        world.run();
    }
    world.clogged.clear();
    world.run();
    let order: Vec<u32> = world
        .take(3)
        .iter()
        .map(|delivery| delivery.from.peer.unwrap().0.0)
        .collect();
    assert_eq!(order.len(), 250, "all had credit");
    let last = order.iter().rposition(|id| *id == 3).unwrap();
    assert!(
        last < 50 + 5 * 17,
        "the modest one is served in turn: {order:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_waits_never_exceeds_its_caps(seed: u64, stops in 0usize..4) {
        let mut dice = Dice::new(seed);
        let style = Style::Chopped(Dice::new(seed ^ 2));
        let mut world = World::tuned(3, style, |_, config| {
            config.send_buffer = 60_000;
            config.send_messages = 50;
            config.send_buffer_total = 100_000;
            config.receive_budget = 64 * 1024;
            config.attachments_pair = 10;
        });
        world.serve_all(&[], &["tell"]);
        world.stopped.insert(stops);
        for _ in 0..150 {
            let (from, at) = (dice.below(4), dice.below(4));
            let size = [0, 100, 3000, 20_000][dice.below(4)];
            let _ = tell(&mut world, from, at, size);
            if dice.percent(30) {
                world.run();
            }
            if dice.percent(10) {
                world.pass(Duration::from_millis(30));
                world.take(dice.below(4));
            }
            for node in &world.nodes {
                prop_assert!(node.buffered() <= 100_000, "{}", node.buffered());
                prop_assert!(node.undelivered().len() <= 4 * 50 + unread(&world.nodes));
            }
        }
    }
}

fn unread(nodes: &[trace::Recorder<Handle>]) -> usize {
    nodes.iter().map(|node| node.unread()).sum()
}
