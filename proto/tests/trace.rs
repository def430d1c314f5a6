//! Recording a node and running it again.

mod support;

use std::time::Duration;

use proptest::prelude::*;
use support::{Dice, Handle, Style, World, message, reply, to};
use switchboard_proto::trace::{
    Divergence, Input, Log, LogError, Recorder, Recording, ReplayError, Replayer, Token, replay,
};
use switchboard_proto::*;

fn recorded(members: usize) -> World {
    World::recorded(members, Style::Perfect, |_, _| ())
}

/// A hub and two members do at random what applications do.
fn random_run(seed: u64) -> World {
    let mut dice = Dice::new(seed);
    let style = Style::Chopped(Dice::new(seed ^ 1));
    let mut world = World::recorded(2, style, |_, config| {
        config.send_buffer = 200_000;
        config.mark_delay = Duration::from_millis(3);
    });
    world.serve_all(&["ask"], &["tell"]);
    let mut tickets = Vec::new();
    for _ in 0..40 {
        let (from, now) = (dice.below(3), world.now);
        match dice.below(9) {
            0..3 => tell(&mut world, &mut dice, from),
            3 | 4 => ask(&mut world, &mut dice, from),
            5 => {
                for delivery in world.take(from) {
                    if let DeliveryKind::Request { ticket, .. } = delivery.kind {
                        tickets.push((from, ticket));
                    }
                }
            }
            6 => {
                for (at, ticket) in tickets.drain(..) {
                    let _ = world.nodes[at].reply(now, ticket, reply(&[1; 300]));
                }
            }
            7 => {
                let request = world.nodes[from].pending().next();
                if let Some(request) = request {
                    world.nodes[from].cancel(now, request);
                }
            }
            _ => world.pass(Duration::from_millis(dice.below(20) as u64)),
        }
        if dice.percent(60) {
            world.run();
        }
    }
    world.pass(Duration::from_millis(100));
    world
}

fn tell(world: &mut World, dice: &mut Dice, from: usize) {
    let size = [0, 3, 70, 5000, 90_000][dice.below(5)];
    let mut told = message(to(dice.below(3)), "tell", &vec![size as u8; size]);
    if dice.percent(30) {
        told.attachments = world.handles([1, 2]);
    }
    let options = SendOptions {
        receipt: [Receipt::None, Receipt::Delivered, Receipt::Handled][dice.below(3)],
        queue_attachments: true,
        ..Default::default()
    };
    let now = world.now;
    let _ = world.nodes[from].send(now, told, options);
}

fn ask(world: &mut World, dice: &mut Dice, from: usize) {
    let size = [0, 20, 5000][dice.below(3)];
    let options = RequestOptions {
        deadline: Some(Duration::from_millis(1 + dice.below(80) as u64)),
        ..Default::default()
    };
    let asked = message(to(dice.below(3)), "ask", &vec![7; size]);
    let now = world.now;
    let _ = world.nodes[from].request(now, asked, options);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_recorded_run_is_replayed_byte_for_byte(seed: u64) {
        let world = random_run(seed);
        let again = random_run(seed);
        for (node, twin) in world.nodes.iter().zip(&again.nodes) {
            let log = node.log().expect("it records");
            let same = twin.log().as_ref() == Some(&log);
            prop_assert!(same, "the same run gives the same log");
            prop_assert!(log.steps.len() > 20, "{} steps", log.steps.len());
            let read = Log::decode(&log.encode()).expect("it was just written");
            prop_assert!(read == log, "what is read is what was written");
            let replayed = match replay(&read) {
                Ok(replayed) => replayed,
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            };
            prop_assert_eq!(replayed.steps, log.steps.len());
            prop_assert_eq!(replayed.node.stats(), node.stats());
            prop_assert_eq!(replayed.node.identity(), node.identity());
            prop_assert_eq!(replayed.node.unread(), node.unread());
        }
    }

    #[test]
    fn a_changed_input_is_found_and_the_step_is_named(seed: u64, which: prop::sample::Index) {
        let world = random_run(seed);
        let mut log = world.nodes[0].log().expect("it records");
        let reads: Vec<usize> = (0..log.steps.len())
            .filter(|at| matches!(log.steps[*at].input, Input::HandleRead { .. }))
            .collect();
        let at = *which.get(&reads);
        let Input::HandleRead { bytes, .. } = &mut log.steps[at].input else {
            unreachable!()
        };
        // More than any frame that may be half read: the rest of it cannot be taken for frames.
        *bytes = vec![0xff; 300_000].into();
        match replay(&log) {
            Err(ReplayError::Diverged(Divergence { step, recorded, replayed })) => {
                prop_assert!(step >= at, "nothing before the change can differ");
                prop_assert_ne!(recorded, replayed);
            }
            other => prop_assert!(false, "{:?}", other.map(|replay| replay.steps)),
        }
    }

    #[test]
    fn bytes_that_are_no_log_are_refused_without_a_panic(bytes: Vec<u8>) {
        prop_assert!(Log::decode(&bytes).is_err());
    }

    #[test]
    fn a_damaged_log_is_refused_or_replayed_but_never_a_panic(
        seed in 0u64..8,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = random_run(seed).nodes[1].log().expect("it records").encode();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(log) = Log::decode(&bytes) {
            let _ = replay(&log);
        }
    }
}

#[test]
fn a_log_of_deep_or_huge_claims_is_refused_before_it_costs_anything() {
    let deep = Log::decode(&[0x81; 200_000]);
    assert!(matches!(deep, Err(LogError::Malformed(_))), "{deep:?}");
    // A map with one entry: `steps`, an array of 2^62 elements.
    let mut huge = vec![0xa1, 0x65];
    huge.extend(b"steps");
    huge.extend([0x9b, 0x40, 0, 0, 0, 0, 0, 0, 0]);
    let cost = allocation_counter::measure(|| {
        assert!(matches!(Log::decode(&huge), Err(LogError::Malformed(_))));
    });
    assert!(cost.bytes_max < 2 << 20, "{} bytes", cost.bytes_max);
    let mut bytes = recorded(0).nodes[0].log().unwrap().encode();
    bytes.push(0);
    assert_eq!(Log::decode(&bytes), Err(LogError::TrailingBytes(1)));
}

#[test]
fn a_log_of_another_format_is_refused_by_name() {
    let mut log = recorded(0).nodes[0].log().unwrap();
    log.format = 7;
    let error = Log::decode(&log.encode()).unwrap_err();
    assert_eq!(error, LogError::Format(7));
    assert_eq!(
        error.to_string(),
        "the log has format 7, this version reads 1"
    );
}

#[test]
fn polls_and_receives_in_a_row_are_one_step() {
    let mut world = recorded(1);
    world.serve_all(&[], &["tell"]);
    let before = world.nodes[1].log().unwrap().steps.len();
    for _ in 0..500 {
        let _ = world.nodes[1].poll();
    }
    for _ in 0..500 {
        world.take(1);
    }
    let log = world.nodes[1].log().unwrap();
    assert!(log.steps.len() <= before + 2, "{:?}", &log.steps[before..]);
    assert_eq!(replay(&log).unwrap().steps, log.steps.len());
}

#[test]
fn attachments_are_recorded_as_numbers_in_the_order_in_which_they_were_handed_in() {
    let mut world = recorded(1);
    world.serve_all(&[], &["take"]);
    for numbers in [vec![70, 71], vec![99]] {
        let mut with = message(Target::Hub, "take", b"");
        with.attachments = world.handles(numbers);
        let now = world.now;
        let sent = world.nodes[1].send(now, with, SendOptions::default());
        sent.unwrap();
    }
    let log = world.nodes[1].log().unwrap();
    let steps = log.steps.iter();
    let sent: Vec<Vec<Token>> = steps
        .filter_map(|step| match &step.input {
            Input::Send { message, .. } => Some(message.attachments.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(sent, [vec![Token(0), Token(1)], vec![Token(2)]]);
}

#[test]
fn a_bounded_recorder_keeps_the_last_steps_and_says_that_it_cannot_be_replayed() {
    let seeds = Seeds { behaviour: [1; 32] };
    let most = 20_000;
    let recording = Recording::Last(most);
    let mut node: Recorder<Handle> =
        Recorder::new(Config::default(), &seeds, Instant::ZERO, recording).unwrap();
    for at in 0..1000 {
        let name = format!("namespace {at}");
        node.open(Instant::from_nanos(at), &name).unwrap();
    }
    let log = node.log().unwrap();
    assert_eq!(log.skipped + log.steps.len() as u64, 1000);
    assert!(log.skipped > 0 && log.steps.len() * size_of::<trace::Step>() <= most);
    let Some(Input::Open { name, .. }) = log.steps.last().map(|step| &step.input) else {
        panic!("{:?}", log.steps.last())
    };
    assert_eq!(name, "namespace 999");
    let skipped = log.skipped;
    assert_eq!(
        replay(&log).unwrap_err(),
        ReplayError::Incomplete { skipped }
    );
}

#[test]
fn a_recorder_that_is_off_is_the_node() {
    let seeds = Seeds { behaviour: [1; 32] };
    let mut node: Recorder<Handle> =
        Recorder::new(Config::default(), &seeds, Instant::ZERO, Recording::Off).unwrap();
    assert_eq!(node.open(Instant::ZERO, "a"), Ok(NamespaceId(0)));
    assert_eq!(node.log(), None);
    assert_eq!(node.unread(), 0);
}

#[test]
fn a_replay_can_be_stopped_to_look_at_the_node() {
    let world = random_run(3);
    let log = world.nodes[1].log().unwrap();
    let mut replayer = Replayer::new(&log).unwrap();
    let mut connected_at = None;
    let mut seen = 0;
    while replayer.step(&mut |_| seen += 1).unwrap() {
        if replayer.node().is_connected() {
            connected_at.get_or_insert(replayer.at());
        }
    }
    assert!(connected_at.is_some_and(|at| at > 1 && at < log.steps.len()));
    assert!(seen > 10, "{seen} outputs");
}

#[test]
fn a_configuration_of_one_field_has_the_defaults_of_the_others() {
    let text = r#"{"name": "worker/3", "send_buffer": 100}"#;
    let config: Config = serde_json::from_str(text).unwrap();
    let mut expected = Config::default();
    expected.name = PeerName::new("worker/3");
    expected.send_buffer = 100;
    assert_eq!(config, expected);
    for wrong in [r#"{"send_bufer": 100}"#, r#"{"name": "a#b"}"#] {
        assert!(serde_json::from_str::<Config>(wrong).is_err(), "{wrong}");
    }
    let text = serde_json::to_string(&expected).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), expected);
}
