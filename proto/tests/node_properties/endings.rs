//! What must not be forgotten when something else ends at the same moment.

use std::time::Duration;

use switchboard_proto::wire::{self, Kind};
use switchboard_proto::*;

use crate::support::raw::*;
use crate::support::*;

#[test]
fn the_hub_asks_over_the_new_link_of_a_member_whose_old_one_still_lingers() {
    let mut world = World::new(0);
    world.serve_all(&["ask"], &["tell"]);
    let old = Raw::member_over(&mut world, 77, Medium::Network);
    let member = world.nodes[0].roster().by_instance(InstanceId(77));
    let id = member.unwrap().id;
    let tell = |world: &mut World| {
        let now = world.now;
        let message = message(Target::Peer(id), "tell", b"x");
        world.nodes[0]
            .send(now, message, SendOptions::default())
            .unwrap();
        world.run();
    };
    tell(&mut world);
    world.clogged.insert(old.wire);
    for _ in 0..3 {
        tell(&mut world);
    }
    let new = Raw::stranger(&mut world, 77, Medium::Network);
    let hello = [new.hello(), new.attach(2)].concat();
    new.says(&mut world, &hello);
    for _ in 0..3 {
        world.pass(Duration::from_secs(5));
        let ping = new.control(Kind::PING, |body| wire::Ping { nonce: 1 }.encode(body));
        new.says(&mut world, &ping);
    }
    let heard = new.heard(&mut world);
    assert!(
        heard.iter().any(|(header, _)| header.kind == Kind::ASK),
        "three messages wait for ever"
    );
}

#[test]
fn the_sender_is_told_of_an_event_whose_receiver_died_in_its_handler() {
    let mut world = World::new(2);
    world.serve_all(&["ask"], &["tell"]);
    let now = world.now;
    let options = SendOptions {
        receipt: Receipt::Handled,
        ..SendOptions::default()
    };
    let id = world.nodes[2]
        .send(now, message(to(1), "tell", b"x"), options)
        .unwrap();
    world.run();
    let taken = world.take(1);
    assert!(matches!(taken[0].kind, DeliveryKind::Event(Some(_))));
    world.pass(Duration::from_millis(100));
    world.cut(0);
    world.pass(Duration::from_secs(1));
    let told = world.events[2].iter().any(
        |event| matches!(event, Event::Fate { message, fate: Fate::Unconfirmed } if *message == id),
    );
    assert!(told, "{:?}", world.events[2]);
}

#[test]
fn what_was_left_unread_by_an_earlier_life_confirms_nothing_of_the_next() {
    let quick = |_: usize, config: &mut Config| config.detach_grace = Duration::from_secs(1);
    let mut world = World::unconnected(2, Style::Perfect, trace::Recording::Off, quick);
    let first_wire = world.connect_as(1, LinkOrigin::Inherited, Medium::Network);
    world.connect_as(2, LinkOrigin::Inherited, Medium::Network);
    world.serve_all(&["ask"], &["tell"]);
    let tell = |world: &mut World, payload: &[u8]| {
        let options = SendOptions {
            receipt: Receipt::Delivered,
            ..SendOptions::default()
        };
        let now = world.now;
        let id = world.nodes[2]
            .send(now, message(to(1), "tell", payload), options)
            .unwrap();
        world.pass(Duration::from_millis(100));
        id
    };
    tell(&mut world, b"first life");
    world.cut(first_wire);
    world.pass(Duration::from_secs(3));
    for _ in 0..2 {
        // The first comes back to be fenced, the second as a new instance.
        world.connect_as(1, LinkOrigin::Inherited, Medium::Network);
        world.pass(Duration::from_millis(100));
    }
    let second = tell(&mut world, b"second life");
    let now = world.now;
    let taken = world.nodes[1].recv(now, NamespaceId(0)).unwrap();
    assert_eq!(&*taken.payload, b"first life");
    world.pass(Duration::from_millis(100));
    let confirmed = world.events[2]
        .iter()
        .any(|event| matches!(event, Event::Fate { message, .. } if *message == second));
    assert!(!confirmed, "a receipt for what nobody took");
}

#[test]
fn a_peer_that_pings_and_does_not_read_costs_no_more_than_it_can_take() {
    let mut world = World::new(0);
    let raw = Raw::stranger(&mut world, 77, Medium::Network);
    let hello = raw.hello();
    raw.says(&mut world, &hello);
    world.clogged.insert(raw.wire);
    let ping = raw.control(Kind::PING, |body| wire::Ping { nonce: 1 }.encode(body));
    let many = ping.repeat(1000);
    let cost = allocation_counter::measure(|| {
        for _ in 0..100 {
            raw.says(&mut world, &many);
        }
    });
    assert!(cost.bytes_current < 1 << 20, "{} bytes", cost.bytes_current);
}

#[test]
fn a_message_as_large_as_one_that_was_taken_back_still_gets_its_credit() {
    let mut world = World::new(2);
    world.serve_all(&["ask"], &["tell"]);
    let send = |world: &mut World, size: usize| {
        let now = world.now;
        let message = message(to(2), "tell", &vec![0; size]);
        world.nodes[1]
            .send(now, message, SendOptions::default())
            .unwrap()
    };
    // Uses up the first contact.
    for _ in 0..20 {
        send(&mut world, 900);
        world.pass(Duration::from_millis(30));
        world.take(2);
    }
    let given_up = send(&mut world, 100_000);
    let now = world.now;
    assert!(world.nodes[1].recall(now, given_up));
    world.run();
    send(&mut world, 100_000);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.take(2).len(), 1);
}

/// What a drain has reported, if it has.
fn drained(world: &World, at: usize) -> Vec<bool> {
    let events = world.events[at].iter();
    events
        .filter_map(|event| match event {
            Event::Drained { clean } => Some(*clean),
            _ => None,
        })
        .collect()
}

#[test]
fn hazard_d1_a_drain_takes_nothing_more_and_is_clean_when_all_was_taken() {
    let mut world = World::new(2);
    world.serve_all(&["ask"], &["tell"]);
    let now = world.now;
    for n in 0..10 {
        let told = message(Target::Hub, "tell", &[n]);
        let sent = world.nodes[1].send(now, told, SendOptions::default());
        sent.unwrap();
    }
    let asked = message(Target::Hub, "ask", b"");
    let asked = world.nodes[1].request(now, asked, RequestOptions::default());
    world.nodes[1].drain(now, Duration::from_secs(5));
    let refused = world.nodes[1].send(
        now,
        message(Target::Hub, "tell", b"late"),
        SendOptions::default(),
    );
    let refused = refused.unwrap_err();
    assert_eq!(refused.reason, SendRefusal::Closed);
    assert_eq!(&refused.message.payload[..], b"late", "it comes back");
    world.pass(Duration::from_secs(1));
    assert!(
        drained(&world, 1).is_empty(),
        "nobody has taken anything yet"
    );
    let taken = world.take(0);
    assert_eq!(taken.len(), 11);
    world.pass(Duration::from_secs(1));
    assert!(drained(&world, 1).is_empty(), "the answer is missing");
    let DeliveryKind::Request { ticket, .. } = taken[10].kind else {
        panic!("{:?}", taken[10])
    };
    let now = world.now;
    world.nodes[0].reply(now, ticket, reply(b"yes")).unwrap();
    world.pass(Duration::from_secs(1));
    assert_eq!(drained(&world, 1), [true]);
    assert_eq!(world.nodes[1].undelivered(), []);
    let answered = |event: &Event<_>| matches!(event, Event::Outcome { request, outcome: Outcome::Reply { .. } } if Ok(*request) == asked.as_ref().copied().map_err(drop));
    assert!(world.events[1].iter().any(answered));
}

#[test]
fn hazard_d1_a_drain_that_runs_out_of_time_lists_exactly_what_was_not_taken() {
    let mut world = World::new(2);
    world.serve_all(&["ask"], &["tell"]);
    let send = |world: &mut World, n: u8| {
        let now = world.now;
        let told = message(to(2), "tell", &[n]);
        world.nodes[1]
            .send(now, told, SendOptions::default())
            .unwrap()
    };
    let taken: Vec<MessageId> = (0..3).map(|n| send(&mut world, n)).collect();
    world.run();
    assert_eq!(world.take(2).len(), taken.len());
    world.pass(Duration::from_secs(1));
    world.stopped.insert(2);
    let left: Vec<MessageId> = (3..8).map(|n| send(&mut world, n)).collect();
    let now = world.now;
    world.nodes[1].drain(now, Duration::from_secs(2));
    world.pass(Duration::from_millis(1999));
    assert!(drained(&world, 1).is_empty());
    world.pass(Duration::from_millis(1));
    assert_eq!(drained(&world, 1), [false], "once, at its time");
    assert_eq!(world.nodes[1].undelivered(), left);
    // The end says the same of each of them, and of no other.
    let now = world.now;
    world.nodes[1].close(now);
    world.run();
    let fates = world.events[1].iter().filter_map(|event| match event {
        Event::Fate { message, .. } => Some(*message),
        _ => None,
    });
    assert_eq!(fates.collect::<Vec<_>>(), left);
}
