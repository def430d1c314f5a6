//! Time as the driver gives it: jumping, standing, running backwards.

use std::time::Duration;

use proptest::prelude::*;
use switchboard_proto::wire::{CloseCode, Kind};
use switchboard_proto::*;

use crate::support::raw::Raw;
use crate::support::{Dice, Handle, Style, World, message, to};

const SECOND: Duration = Duration::from_secs(1);

fn wake_of(node: &mut Node<Handle>) -> Option<Wake> {
    loop {
        if let Output::Idle(wake) = node.poll() {
            return wake;
        }
    }
}

fn closed(world: &World) -> Vec<CloseCode> {
    let events = world.events[0].iter();
    events
        .filter_map(|event| match event {
            Event::LinkClosed { code, .. } => Some(*code),
            _ => None,
        })
        .collect()
}

fn jumps(world: &World) -> Vec<Duration> {
    let events = world.events[0].iter();
    events
        .filter_map(|event| match event {
            Event::Jumped(late) => Some(*late),
            _ => None,
        })
        .collect()
}

#[test]
fn hazard_t2_a_process_that_slept_hears_its_peers_before_it_judges_them() {
    // A suspended machine: its clock goes on, the peers' keepalives lie unread. A gap makes the
    // heartbeat come before the expiry, and no mass timeout.
    let mut world = World::tuned(0, Style::Perfect, |_, _| ());
    let raw = Raw::member_over(&mut world, 77, Medium::Network);
    world.now = world.now + Duration::from_secs(3600);
    let now = world.now;
    world.nodes[0].handle_timeout(now);
    world.run();
    assert_eq!(jumps(&world).len(), 1, "{:?}", world.events[0]);
    assert!(jumps(&world)[0] > Duration::from_secs(3590));
    assert_eq!(closed(&world), [], "nobody was heard, so nobody is judged");
    let ping = raw.control(Kind::PING, |body| wire::Ping { nonce: 1 }.encode(body));
    raw.says(&mut world, &ping);
    world.pass(2 * SECOND);
    assert_eq!(closed(&world), [], "it was heard");
    world.pass(10 * SECOND);
    assert_eq!(closed(&world), [CloseCode::LeaseExpired], "now it was not");
}

#[test]
fn hazard_t2_a_peer_that_stays_silent_after_the_sleep_is_judged_then() {
    let mut world = World::tuned(0, Style::Perfect, |_, _| ());
    let raw = Raw::member_over(&mut world, 77, Medium::Network);
    world.now = world.now + Duration::from_secs(3600);
    let now = world.now;
    world.nodes[0].handle_timeout(now);
    world.run();
    assert!(!world.is_closed(raw.wire));
    world.pass(SECOND);
    assert_eq!(closed(&world), [CloseCode::LeaseExpired]);
}

#[test]
fn hazard_t5_an_answer_that_is_already_there_comes_before_its_deadline() {
    // A timer storm after a pause: a late answer already in the socket is read before its deadline
    // fires, because only `handle_timeout` fires deadlines.
    let mut world = World::new(1);
    world.serve_all(&["ask"], &[]);
    let now = world.now;
    let options = RequestOptions {
        deadline: Some(SECOND),
        ..Default::default()
    };
    world.nodes[1]
        .request(now, message(Target::Hub, "ask", b""), options)
        .unwrap();
    world.run();
    let delivery = world.take(0).pop().unwrap();
    let DeliveryKind::Request { ticket, .. } = delivery.kind else {
        panic!("{delivery:?}")
    };
    world.nodes[0]
        .reply(now, ticket, crate::support::reply(b"yes"))
        .unwrap();
    world.now = world.now + 5 * SECOND;
    world.run();
    world.pass(SECOND);
    let replied = world.events[1].iter().any(|event| {
        let Event::Outcome { outcome, .. } = event else {
            return false;
        };
        matches!(outcome, Outcome::Reply { payload, .. } if &payload[..] == b"yes")
    });
    assert!(replied, "{:?}", world.events[1]);
    assert_eq!(world.nodes[1].stats().outcomes, 1);
}

#[test]
fn hazard_t4_thousands_of_deadlines_pass_once_each_and_in_order() {
    // Thousands of timers: one queue, O(log n) for each.
    let mut world = World::unconnected(1, Style::Perfect, trace::Recording::Off, |_, _| ());
    let now = world.now;
    world.nodes[1].open(now, "_").unwrap();
    let mut made = Vec::new();
    for at in 0..10_000u64 {
        let options = RequestOptions {
            deadline: Some(Duration::from_micros(10 + at * 7 % 10_000)),
            ..Default::default()
        };
        let request = world.nodes[1].request(now, message(Target::Hub, "ask", b""), options);
        made.push((10 + at * 7 % 10_000, request.unwrap()));
    }
    made.sort();
    world.pass(SECOND);
    let ended: Vec<RequestId> = world.events[1]
        .iter()
        .filter_map(|event| match event {
            Event::Outcome { request, .. } => Some(*request),
            _ => None,
        })
        .collect();
    let expected: Vec<RequestId> = made.into_iter().map(|(_, request)| request).collect();
    assert!(
        ended == expected,
        "in the order of their deadlines, once each"
    );
}

#[test]
fn hazard_t7_time_that_runs_backwards_stands_still_and_is_counted() {
    // Time going backwards from the driver: clamp, count.
    let mut world = World::tuned(0, Style::Perfect, |_, _| ());
    let raw = Raw::member_over(&mut world, 77, Medium::Network);
    let late = world.now + 9 * SECOND;
    world.nodes[0].handle_timeout(late);
    let wake = wake_of_hub(&mut world);
    let early = Instant::ZERO + Duration::from_millis(1);
    let read = Read {
        bytes: raw.control(Kind::PING, |body| wire::Ping { nonce: 1 }.encode(body))[..].into(),
        attachments: Vec::new(),
        truncated: false,
    };
    let before = world.nodes[0].stats().clock_backwards;
    world.nodes[0].handle_read(early, raw.link, read).unwrap();
    world.nodes[0].handle_timeout(early);
    assert_eq!(world.nodes[0].stats().clock_backwards, before + 2);
    assert!(wake_of_hub(&mut world).unwrap().at >= wake.unwrap().at);
    // It was heard at the time that stood still, and the lease runs from there.
    world.now = late;
    world.pass(9 * SECOND);
    assert!(!world.is_closed(raw.wire), "{:?}", world.events[0]);
    world.pass(3 * SECOND);
    assert_eq!(closed(&world), [CloseCode::LeaseExpired]);
}

fn wake_of_hub(world: &mut World) -> Option<Wake> {
    world.run();
    match world.nodes[0].poll() {
        Output::Idle(wake) => wake,
        output => panic!("{output:?}"),
    }
}

#[test]
fn hazard_t7_a_link_made_while_time_runs_backwards_gets_its_full_time() {
    let mut world = World::tuned(0, Style::Perfect, |_, _| ());
    let late = world.now + Duration::from_secs(100);
    world.nodes[0].handle_timeout(late);
    let config = LinkConfig {
        origin: LinkOrigin::Accepted,
        medium: Medium::Local,
        attachments: false,
    };
    let now = world.now;
    let link = world.nodes[0].add_link(now, config);
    world.forget_dangling(link);
    let wake = wake_of_hub(&mut world).unwrap();
    assert_eq!(wake.at, late + 2 * SECOND, "{}", wake.reason);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn hazard_t6_after_a_timeout_the_next_wake_is_later(seed: u64, media: [bool; 2]) {
        // A busy loop: after `handle_timeout(now)` the next deadline is later than now. The world
        // asserts it after every one.
        let mut dice = Dice::new(seed);
        let style = Style::Chopped(Dice::new(seed ^ 3));
        let recording = trace::Recording::Off;
        let mut world = World::unconnected(2, style, recording, |_, config| {
            config.mark_delay = Duration::ZERO;
            config.ready_after = Duration::ZERO;
            config.keepalive = Duration::from_nanos(seed % 3);
            config.lease = Duration::from_millis(1 + seed % 50);
            config.detach_grace = Duration::from_millis(seed % 30);
            config.complete_grace = Duration::from_millis(seed % 2);
            config.reconnect = Reconnect::fixed(Duration::from_nanos(1));
        });
        for (member, network) in media.into_iter().enumerate() {
            let medium = if network { Medium::Network } else { Medium::Local };
            world.connect_as(member + 1, LinkOrigin::Inherited, medium);
        }
        for _ in 0..30 {
            let (at, now) = (dice.below(3), world.now);
            match dice.below(6) {
                0 => {
                    let names = crate::support::names(&["ask"], &["tell"]);
                    let namespace = world.nodes[at].open(now, "_").unwrap();
                    world.nodes[at].declare(now, namespace, names).unwrap();
                }
                1 => {
                    let options = RequestOptions {
                        deadline: Some(Duration::from_nanos(1 + dice.next() % 1_000_000)),
                        ..Default::default()
                    };
                    let asked = message(to(dice.below(3)), "ask", b"");
                    let _ = world.nodes[at].request(now, asked, options);
                }
                2 => world.cut(dice.below(2)),
                3 => world.nodes[at].dial(now),
                4 => {
                    world.stopped.remove(&dice.below(3));
                    world.stopped.insert(dice.below(3));
                }
                // Not too long: a keepalive of a nanosecond wakes as often as it says.
                _ => world.pass(Duration::from_nanos(dice.next() % 300)),
            }
        }
    }

    #[test]
    fn hazard_t3_no_moment_and_no_duration_is_too_large(
        start in prop_oneof![0..3u64, (u64::MAX - 3_000_000_000)..=u64::MAX],
        steps in prop::collection::vec((0u64..4, any::<u64>()), 1..30),
    ) {
        // Overflow: nanoseconds in 64 bits, checked additions, and a deadline that never comes is
        // no deadline.
        let mut config = Config::default();
        config.role = Role::Hub;
        let seeds = Seeds { behaviour: [1; 32] };
        let mut now = Instant::from_nanos(start);
        let mut node: Node<Handle> = Node::new(config, &seeds, now).unwrap();
        let namespace = node.open(now, "_").unwrap();
        for (what, by) in steps {
            let long = [Duration::from_nanos(by), Duration::MAX, Duration::from_secs(by)];
            let long = long[by as usize % 3];
            match what {
                0 => now = Instant::from_nanos(now.as_nanos().saturating_add(by)),
                1 => {
                    let options = RequestOptions { deadline: Some(long), ..Default::default() };
                    let _ = node.request(now, message(Target::Hub, "ask", b""), options);
                }
                2 => {
                    let options = SendOptions { expires: Some(long), ..Default::default() };
                    let _ = node.send(now, message(Target::Hub, "tell", b""), options);
                    node.set_default_deadline(Some(namespace), long);
                }
                _ => {
                    node.drain(now, long);
                    let config = LinkConfig {
                        origin: LinkOrigin::Accepted,
                        medium: Medium::Network,
                        attachments: false,
                    };
                    node.add_link(now, config);
                }
            }
            let _ = wake_of(&mut node);
            node.handle_timeout(now);
            if let Some(wake) = wake_of(&mut node) {
                prop_assert!(wake.at > now || now == Instant::from_nanos(u64::MAX), "{:?}", wake);
            }
        }
    }
}

#[test]
fn a_deadline_of_the_longest_duration_never_comes() {
    let mut world = World::new(1);
    world.serve_all(&["ask"], &[]);
    let now = world.now;
    let options = RequestOptions {
        deadline: Some(Duration::MAX),
        ..Default::default()
    };
    world.nodes[1]
        .request(now, message(Target::Hub, "ask", b""), options)
        .unwrap();
    world.pass(Duration::from_secs(3600 * 24 * 365));
    assert_eq!(world.nodes[1].pending().count(), 1);
    let delivery = world.take(0).pop().unwrap();
    let DeliveryKind::Request { remaining, .. } = delivery.kind else {
        panic!("{delivery:?}")
    };
    assert_eq!(remaining, None);
}
