//! Every limit is a field, and who exceeds one is told which.

use switchboard_proto::wire::{self, CloseCode, Header, Kind, flags};
use switchboard_proto::*;

use crate::support::raw::Raw;
use crate::support::{Style, World, names};

fn node(tune: impl Fn(&mut Config)) -> World {
    World::tuned(0, Style::Perfect, |_, config| tune(config))
}

#[test]
fn a_namespace_too_many_is_refused_with_the_limit_and_takes_nothing_away() {
    let mut world = node(|config| config.namespaces = 3);
    let now = world.now;
    let hub = &mut world.nodes[0];
    for name in ["_", "one", "two", "one"] {
        hub.open(now, name).unwrap();
    }
    let refused = hub.open(now, "three").unwrap_err();
    assert_eq!(refused, NameError::TooMany { value: 3 });
    assert!(refused.to_string().contains("`namespaces`"), "{refused}");
    assert!(hub.open(now, "two").is_ok());
}

#[test]
fn a_name_too_many_is_refused_with_the_limit_and_the_earlier_ones_stay() {
    let mut world = node(|config| config.names = 2);
    let now = world.now;
    let hub = &mut world.nodes[0];
    let first = hub.open(now, "_").unwrap();
    let second = hub.open(now, "second").unwrap();
    hub.declare(now, first, names(&["a", "b"], &["c"])).unwrap();
    let refused = hub.declare(now, second, names(&["d"], &[])).unwrap_err();
    assert_eq!(refused, DeclareError::TooMany { count: 3, value: 2 });
    assert!(refused.to_string().contains("`names`"), "{refused}");
    hub.declare(now, second, names(&[], &["d"])).unwrap();
}

/// An event of a namespace with this name, on the raw peer's first contact or credit.
fn event_of(raw: &mut Raw, hub: InstanceId, namespace: &str, bits: u8) -> Vec<u8> {
    let header = |header: &mut Header| {
        header.flow = 1;
        header.flags = bits;
    };
    let body = |body: &mut Vec<u8>| {
        wire::EventBody {
            namespace,
            event: "tell",
            codec: 0,
            remaining: 0,
            payload: b"x",
        }
        .encode(body);
    };
    raw.frame(Kind::EVENT, hub, header, body)
}

#[test]
fn hazard_q1_namespaces_that_strangers_name_take_none_from_the_application() {
    let mut world = node(|_| ());
    let hub = world.nodes[0].instance();
    for number in 0..4 {
        let mut raw = Raw::member(&mut world, 77 + number);
        for event in 0..300 {
            let bits = if event < 16 { flags::FIRST_CONTACT } else { 0 };
            let name = format!("n{number}/{event}");
            let event = event_of(&mut raw, hub, &name, bits);
            raw.says(&mut world, &event);
        }
    }
    let most = Config::default().unopened_namespaces;
    assert_eq!(world.nodes[0].unread(), most, "the rest was refused");
    assert_eq!(world.nodes[0].stats().refused_arrivals, 1200 - most as u64);
    let now = world.now;
    for own in 0..Config::default().namespaces {
        world.nodes[0].open(now, &format!("own/{own}")).unwrap();
    }
    // One that a stranger named first is as good as any other, within the application's own limit.
    assert!(world.nodes[0].open(now, "n0/3").is_err());
}

#[test]
fn hazard_q1_a_peer_that_asks_and_does_not_read_the_answers_loses_its_link() {
    let mut world = node(|config| config.answers = 64 * 1024);
    let raw = Raw::member(&mut world, 77);
    world.clogged.insert(raw.wire);
    let mut closed = None;
    let mut told = 0;
    let cost = allocation_counter::measure(|| {
        for version in 1..100_000 {
            let declare = wire::Declare {
                instance: raw.instance,
                version,
                slice: 0,
                last: true,
                namespaces: Vec::new(),
            };
            let declare = raw.control(Kind::DECLARE, |body| declare.encode(body));
            raw.says(&mut world, &declare);
            told += 1;
            closed = world.events[0].iter().find_map(|event| match event {
                Event::LinkClosed { code, .. } => Some(*code),
                _ => None,
            });
            if closed.is_some() {
                break;
            }
        }
    });
    assert_eq!(closed, Some(CloseCode::WriteStalled));
    // An answer has a little over fifty bytes; the first ones have gone into the plan that stands.
    assert!((1_100..1_500).contains(&told), "{told}");
    assert!(cost.bytes_current < 1 << 20, "{}", cost.bytes_current);
}

/// Requests, none of which will be answered.
fn requests(from: &mut Raw, to: InstanceId, count: u64) -> Vec<u8> {
    let one = |request| {
        let body = wire::RequestBody {
            request,
            remaining: 0,
            reply_credit: 1024,
            namespace: "",
            event: "ask",
            codec: 0,
            payload: b"",
        };
        let flow = |header: &mut Header| header.flow = 1;
        from.frame(Kind::REQUEST, to, flow, |out| body.encode(out))
    };
    (1..=count).flat_map(one).collect()
}

#[test]
fn hazard_q1_requests_for_nobody_whose_return_is_not_read_cost_their_sender_its_link() {
    let mut world = node(|config| config.answers = 64 * 1024);
    let mut raw = Raw::member(&mut world, 77);
    world.clogged.insert(raw.wire);
    for _ in 0..100 {
        let says = requests(&mut raw, InstanceId(0x4444), 100);
        raw.says(&mut world, &says);
    }
    let closed = world.events[0].iter().find_map(|event| match event {
        Event::LinkClosed { code, .. } => Some(*code),
        _ => None,
    });
    assert_eq!(closed, Some(CloseCode::WriteStalled));
}

#[test]
fn what_comes_back_from_a_peer_that_died_is_no_answer_that_its_sender_asked_for() {
    let mut world = node(|config| config.answers = 64 * 1024);
    let mut asks = Raw::member(&mut world, 77);
    let dies = Raw::member(&mut world, 78);
    world.clogged.insert(dies.wire);
    for _ in 0..20 {
        let says = requests(&mut asks, dies.instance, 100);
        asks.says(&mut world, &says);
    }
    // For a moment it does not read, as everybody does who is busy.
    world.clogged.insert(asks.wire);
    let ping = wire::Ping { nonce: 1 };
    let ping = asks.control(Kind::PING, |body| ping.encode(body));
    asks.says(&mut world, &ping);
    world.cut(dies.wire);
    asks.says(&mut world, &ping);
    world.clogged.clear();
    world.run();
    assert!(!world.is_closed(asks.wire));
    let heard = asks.heard(&mut world).into_iter();
    let back = heard.filter(|(header, _)| header.kind == Kind::RETURNED);
    let back = back.count();
    assert!(back > 1_500, "{back}: all but those of a plan");
}
