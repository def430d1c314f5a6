//! However a kernel cuts the bytes, and wherever the handles ride: the same comes out.

use std::time::Duration;

use proptest::prelude::*;
use switchboard_proto::*;

use crate::support::raw::Raw;
use crate::support::{Dice, Handle, Style, World, message, reply, to};

/// What the application of a node saw, as text without the numbers of links.
type Seen = Vec<String>;

/// The same script over connections of this style. Everything is settled between two lines of it,
/// so that only the cutting differs.
fn script(seed: u64, style: Style) -> Vec<Seen> {
    let recording = trace::Recording::Off;
    let mut world = World::unconnected(2, style, recording, |_, config| {
        config.first_window = 4096;
    });
    for member in 1..=2 {
        // One after the other, as ids are given in the order of attachment.
        world.connect(member);
        world.run();
    }
    world.serve_all(&["ask"], &["tell"]);
    let mut dice = Dice::new(seed);
    let mut seen: Vec<Seen> = vec![Vec::new(); 3];
    for _ in 0..12 {
        for _ in 0..1 + dice.below(4) {
            say(&mut world, &mut dice);
        }
        world.run();
        for (at, seen) in seen.iter_mut().enumerate() {
            answer(&mut world, at, seen);
        }
        world.pass(Duration::from_millis(30));
        for (at, seen) in seen.iter_mut().enumerate() {
            answer(&mut world, at, seen);
        }
    }
    world.pass(Duration::from_millis(100));
    for (at, seen) in seen.iter_mut().enumerate() {
        // How often something is announced as incoming depends on how much came at once.
        let events = world.events[at].drain(..);
        let events = events.filter(|event| !matches!(event, Event::Incoming(_)));
        seen.extend(events.map(|event| format!("{event:?}")));
        let node = &world.nodes[at];
        assert!(node.is_settled(), "{:?}", node.undelivered());
    }
    let open = world.census.open();
    assert_eq!(open, 0, "every handle was moved and then dropped");
    // The order between conversations is the network's; within one it is the sender's.
    for seen in &mut seen {
        seen.sort();
    }
    seen
}

fn say(world: &mut World, dice: &mut Dice) {
    let (from, at) = (dice.below(3), dice.below(3));
    let size = [0, 10, 64, 65, 3000, 5000, 70_000, 150_000][dice.below(8)];
    let payload: Vec<u8> = (0..size).map(|at| at as u8).collect();
    let now = world.now;
    if dice.percent(30) {
        let asked = message(to(at), "ask", &payload);
        world.nodes[from]
            .request(now, asked, RequestOptions::default())
            .unwrap();
        return;
    }
    let mut told = message(to(at), "tell", &payload);
    if dice.percent(30) {
        told.attachments = world.handles((0..1 + dice.below(3)).map(|number| number as u32));
    }
    let options = SendOptions {
        receipt: [Receipt::None, Receipt::Delivered, Receipt::Handled][dice.below(3)],
        ..Default::default()
    };
    world.nodes[from].send(now, told, options).unwrap();
}

fn answer(world: &mut World, at: usize, seen: &mut Seen) {
    for delivery in world.take(at) {
        let digest: u64 = delivery.payload.iter().map(|byte| u64::from(*byte)).sum();
        let numbers: Vec<u32> = delivery.attachments.iter().map(|one| one.number).collect();
        let Delivery { from, event, .. } = &delivery;
        let len = delivery.payload.len();
        seen.push(format!("{from:?} {event} {len} {digest} {numbers:?}"));
        let now = world.now;
        if let DeliveryKind::Request { ticket, .. } | DeliveryKind::Event(Some(ticket)) =
            delivery.kind
        {
            world.nodes[at]
                .reply(now, ticket, reply(&delivery.payload))
                .unwrap();
        }
    }
    world.run();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn hazard_w10_any_split_and_merge_of_the_bytes_gives_the_same_events(seed: u64, cut: u64) {
        // A decoder that depends on chunking: whole against any splits, the same events.
        let whole = script(seed, Style::Perfect);
        let cut = script(seed, Style::Chopped(Dice::new(cut)));
        for (whole, cut) in whole.iter().zip(&cut) {
            prop_assert_eq!(whole, cut);
        }
    }

    #[test]
    fn handles_are_neither_lost_nor_doubled_whatever_ends(seed: u64) {
        let mut dice = Dice::new(seed);
        let style = Style::Chopped(Dice::new(seed ^ 5));
        let mut world = World::tuned(3, style, |_, config| {
            config.send_buffer = 100_000;
            config.attachments_pair = 20;
        });
        world.serve_all(&[], &["tell"]);
        let mut kept: Vec<Handle> = Vec::new();
        for _ in 0..60 {
            let (from, at, now) = (dice.below(4), dice.below(4), world.now);
            match dice.below(8) {
                0 => {
                    for delivery in world.take(at) {
                        kept.extend(delivery.attachments);
                    }
                }
                1 => kept.clear(),
                2 if dice.percent(30) => world.cut(dice.below(3)),
                3 => world.pass(Duration::from_millis(dice.below(50) as u64)),
                4 => world.events[at].clear(),
                _ => {
                    let mut told = message(to(at), "tell", &vec![1; dice.below(9000)]);
                    told.attachments = world.handles(0..dice.below(18) as u32);
                    let options = SendOptions {
                        queue_attachments: dice.percent(50),
                        ..Default::default()
                    };
                    match world.nodes[from].send(now, told, options) {
                        Ok(message) if dice.percent(20) => {
                            world.nodes[from].recall(now, message);
                        }
                        Ok(_) => {}
                        Err(error) => kept.extend(error.message.attachments),
                    }
                }
            }
            if dice.percent(60) {
                world.run();
            }
        }
        // Everybody reads on and forgets; what is left then is held by nobody.
        for _ in 0..3 {
            world.pass(Duration::from_secs(1));
            for at in 0..4 {
                world.take(at);
                world.events[at].clear();
            }
        }
        let now = world.now;
        for at in 0..4 {
            world.nodes[at].close(now);
        }
        world.pass(Duration::from_secs(5));
        for events in &mut world.events {
            events.clear();
        }
        prop_assert_eq!(world.census.open(), kept.len());
        kept.clear();
        prop_assert_eq!(world.census.open(), 0);
    }
}

#[test]
fn a_handle_is_held_until_the_receiver_s_node_has_it_and_no_longer() {
    let mut world = World::new(2);
    world.serve_all(&[], &["tell"]);
    world.stopped.insert(2);
    let mut told = message(to(2), "tell", b"");
    told.attachments = world.handles([1]);
    let now = world.now;
    world.nodes[1]
        .send(now, told, SendOptions::default())
        .unwrap();
    world.run();
    assert!(
        world.census.open() > 1,
        "the sender's, and the one on its way"
    );
    world.stopped.clear();
    world.run();
    let got = world.take(2);
    assert_eq!(got[0].attachments[0].number, 1);
    world.pass(Duration::from_millis(30));
    assert_eq!(world.census.open(), 1, "the receiver's");
    drop(got);
    assert_eq!(world.census.open(), 0);
}

#[test]
fn a_refused_message_gives_its_handles_back() {
    let mut world = World::new(1);
    world.serve_all(&[], &["tell"]);
    let now = world.now;
    let mut told = message(Target::Hub, "tell", b"");
    told.attachments = world.handles(0..17);
    let error = world.nodes[1]
        .send(now, told, SendOptions::default())
        .unwrap_err();
    let limit = "attachments";
    assert_eq!(
        error.reason,
        SendRefusal::TooManyAttachments {
            count: 17,
            limit,
            value: 16
        }
    );
    assert_eq!(error.message.attachments.len(), 17);
    let mut told = error.message;
    told.target = Target::Everyone;
    told.attachments.truncate(2);
    let error = world.nodes[1]
        .send(now, told, SendOptions::default())
        .unwrap_err();
    assert_eq!(error.reason, SendRefusal::AttachmentsToMany);
    assert_eq!(error.message.attachments.len(), 2);
    drop(error);
    assert_eq!(world.census.open(), 0);
}

#[test]
fn hazard_d2_what_was_read_before_the_end_is_delivered() {
    // Half-close is not death: what came before it counts, and the read side works to the end.
    let mut world = World::new(1);
    world.serve_all(&[], &["tell"]);
    let now = world.now;
    for number in 0..10u8 {
        let told = message(Target::Hub, "tell", &[number; 1000]);
        world.nodes[1]
            .send(now, told, SendOptions::default())
            .unwrap();
    }
    world.run();
    world.cut(0);
    let got = world.take(0);
    let numbers: Vec<u8> = got.iter().map(|delivery| delivery.payload[0]).collect();
    assert_eq!(numbers, (0..10).collect::<Vec<u8>>());
}

#[test]
fn hazard_d2_who_reads_no_more_is_still_heard() {
    // The other half: a write that fails says nothing of what still lies in the connection.
    let mut world = World::new(1);
    world.serve_all(&[], &["tell"]);
    let mut raw = Raw::member(&mut world, 77);
    let now = world.now;
    let told = message(Target::Peer(PeerId(3)), "tell", b"unread");
    world.nodes[0]
        .send(now, told, SendOptions::default())
        .unwrap();
    let mut failed = false;
    loop {
        match world.nodes[0].poll() {
            Output::Write(link) if link == raw.link => {
                world.nodes[0]
                    .handle_written(now, link, Written::Failed)
                    .unwrap();
                failed = true;
            }
            Output::Idle(_) => break,
            _ => {}
        }
    }
    assert!(failed, "it had something to write");
    let hub = world.nodes[0].instance();
    for number in 0..3 {
        let event = raw.event(hub, "tell", &[number]);
        raw.says(&mut world, &event);
    }
    let heard = world.take(0);
    let numbers: Vec<u8> = heard.iter().map(|delivery| delivery.payload[0]).collect();
    assert_eq!(numbers, [0, 1, 2]);
    // The end follows at once where the system works as it should, and is not waited for longer.
    assert!(!world.is_closed(raw.wire));
    world.pass(Duration::from_secs(1));
    assert!(world.is_closed(raw.wire));
}
