//! Parent and child talk over both kinds of channel.

// These programs are their own children, and a child ends with a code.
#![allow(clippy::disallowed_methods)]

mod support;

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use support::{MAIN, Pump, echo, message, role};
use switchboard_os::IntoAttachment;
use switchboard_proto::{Outcome, RequestOptions, SendOptions, SendRefusal, Target};
use switchboard_stdio::{Channel, ChildEvent};

switchboard_os::run_role_before_main!(support::ROLE, play);

const CHANNELS: [Channel; 2] = [Channel::Socketpair, Channel::Pipes];
/// Events that the noisy child passes on while it prints.
const FRAMES: u32 = 100_000;
/// Messages that a child sends before it exits.
const LAST_WORDS: u8 = 50;
const LARGE: usize = 16 << 20;

fn play(role: &str) {
    match role {
        "echo" => echo(),
        "asks" => asks(Target::Hub),
        "asks parent" => asks(Target::Parent),
        "doubles and has a child" => doubles_and_has_a_child(),
        "noisy" => noisy(),
        "last words" => last_words(),
        "large" => large(),
        "reads file" => reads_file(),
        "half a frame" => half_a_frame(),
        "sends without end" => sends_without_end(),
        role => panic!("unknown role {role}"),
    }
}

#[test]
fn a_request_to_a_child_is_answered_over_a_socketpair_and_over_pipes() {
    for channel in CHANNELS {
        let mut parent = Pump::hub();
        let child = role("echo").channel(channel).spawn_on(&mut parent).unwrap();
        let id = parent.request(&child, "echo", b"ping");
        assert_eq!(parent.reply(id), b"ping");
    }
}

/// Asks somebody, and gives what came as its answer to the question that it was asked.
fn asks(whom: Target) {
    let mut pump = Pump::child(&["ask"]).unwrap();
    pump.serve(|pump, question| {
        let id = pump.request_with(whom.clone(), "double", &question.payload, Vec::new());
        let answer = pump.reply(id);
        pump.answer(&question, &answer);
    });
}

/// Is a child itself. Says how its own child attached when it is asked for it.
fn doubles_and_has_a_child() {
    let mut pump = Pump::child(&["double", "born"]).unwrap();
    let child = role("asks parent").name("grandchild").spawn_on(&mut pump);
    let child = child.unwrap();
    let id = pump.child_event("the attachment", &child, |event| match event {
        ChildEvent::Attached { id, .. } => Some(id),
        _ => None,
    });
    pump.serve(move |pump, question| match &*question.event {
        "double" => pump.answer(&question, &[question.payload[0] * 2]),
        // The child lives as long as its handle.
        _ => pump.answer(&question, &[id.0 as u8, u8::from(child.pid().is_some())]),
    });
}

#[test]
fn a_child_of_a_child_is_a_peer_of_the_same_application_and_knows_its_parent() {
    for channel in CHANNELS {
        let mut hub = Pump::hub();
        let child = role("doubles and has a child").channel(channel);
        let child = child.spawn_on(&mut hub).unwrap();
        let name = switchboard_proto::PeerName::new("grandchild").unwrap();
        let id = hub.request_with(Target::Named(name.clone()), "ask", &[21], Vec::new());
        assert_eq!(hub.reply(id), [42], "{channel:?}");
        let grandchild = hub.engine.node_ref().roster().by_name(&name).unwrap().id;
        let id = hub.request(&child, "born", &[]);
        assert_eq!(hub.reply(id), [grandchild.0 as u8, 1], "{channel:?}");
    }
}

#[test]
fn a_child_asks_its_parent_while_it_answers_it() {
    for channel in CHANNELS {
        let mut parent = Pump::new(hub_config(), &["double"]);
        let child = role("asks").channel(channel).spawn_on(&mut parent).unwrap();
        let id = parent.request(&child, "ask", &[21]);
        let outcome = parent.until("the outcome", |parent| {
            while let Some(question) = parent.recv() {
                assert_eq!(&*question.event, "double");
                parent.answer(&question, &[question.payload[0] * 2]);
            }
            parent.take_outcome(id)
        });
        assert!(
            matches!(&outcome, Outcome::Reply { payload, .. } if **payload == [42]),
            "{outcome:?}"
        );
    }
}

fn hub_config() -> switchboard_proto::Config {
    let mut config = switchboard_proto::Config::default();
    config.role = switchboard_proto::Role::Hub;
    config.complete_grace = Duration::ZERO;
    config
}

/// Prints without end, through Rust and past it, and passes every event on to its parent.
fn noisy() {
    let mut pump = Pump::child(&["count"]).unwrap();
    std::thread::spawn(|| {
        for n in 0_u64.. {
            println!("stray line {n} from println");
            if n % 1000 == 0 {
                let mut stdout = std::fs::File::options()
                    .write(true)
                    .open("/proc/self/fd/1")
                    .unwrap();
                stdout.write_all(b"stray line past std\n").unwrap();
            }
        }
    });
    let mut expected = 0_u32;
    pump.serve(|pump, delivery| {
        if &*delivery.event == "count" {
            pump.answer(&delivery, &expected.to_be_bytes());
        } else {
            assert_eq!(*delivery.payload, expected.to_be_bytes());
            expected += 1;
        }
    });
}

#[test]
fn hazard_s1_a_child_that_prints_in_a_loop_corrupts_no_frame() {
    let mut parent = Pump::hub();
    let child = role("noisy")
        .channel(Channel::Pipes)
        .stderr_lines(10)
        .spawn_on(&mut parent)
        .unwrap();
    let first = parent.request(&child, "count", b"");
    assert_eq!(parent.reply(first), 0_u32.to_be_bytes());
    let to = Target::Named(child.name().clone());
    for number in 0..FRAMES {
        let payload = number.to_be_bytes();
        parent.until("room", |parent| {
            let event = message(to.clone(), "event", &payload, Vec::new());
            let sent = parent.engine.send(event, SendOptions::default());
            parent.engine.flush();
            if sent.is_err() {
                parent.round(Duration::from_millis(100));
            }
            sent.ok()
        });
        if number % 1000 == 0 {
            parent.round(Duration::ZERO);
        }
    }
    let last = parent.request(&child, "count", b"");
    assert_eq!(parent.reply(last), FRAMES.to_be_bytes());
    // What it printed is told as lines of its stderr, and the flood is counted.
    let line = parent.child_event("a stray line", &child, |event| match event {
        ChildEvent::Stderr(line) if line.skipped > 0 => Some(line.text),
        _ => None,
    });
    assert!(line.starts_with("stray line"), "{line:?}");
}

fn last_words() {
    let mut pump = Pump::child(&[]).unwrap();
    pump.until("the parent", |pump| {
        pump.engine.node_ref().is_connected().then_some(())
    });
    for n in 0..LAST_WORDS {
        pump.send(Target::Hub, "word", &[n; 1000]);
    }
    pump.until("all written", |pump| {
        (pump.engine.node_ref().buffered() == 0).then_some(())
    });
    std::process::exit(3);
}

#[test]
fn hazard_s7_the_last_messages_before_an_exit_all_arrive() {
    for channel in CHANNELS {
        let mut parent = Pump::hub();
        let child = role("last words")
            .channel(channel)
            .spawn_on(&mut parent)
            .unwrap();
        let exited = parent.exited(&child);
        assert_eq!(exited.exit.code(), Some(3));
        let words: Vec<u8> = std::iter::from_fn(|| parent.recv())
            .map(|word| word.payload[0])
            .collect();
        assert_eq!(words, (0..LAST_WORDS).collect::<Vec<_>>());
    }
}

/// Sends as much as it gets, at the same time, without being asked.
fn large() {
    let mut pump = Pump::child(&["large"]).unwrap();
    pump.until("the parent", |pump| {
        pump.engine.node_ref().is_connected().then_some(())
    });
    let id = pump.request_with(Target::Hub, "large", &vec![1; LARGE], Vec::new());
    pump.serve(|pump, delivery| {
        pump.answer(&delivery, &[u8::from(delivery.payload.len() == LARGE)])
    });
    drop(pump.take_outcome(id));
}

#[test]
fn hazard_s4_both_sides_send_16_mib_at_once_and_neither_blocks_the_other() {
    for channel in CHANNELS {
        let mut parent = Pump::new(hub_config(), &["large"]);
        let child = role("large")
            .channel(channel)
            .spawn_on(&mut parent)
            .unwrap();
        parent.child_event("the attachment", &child, |event| {
            matches!(event, ChildEvent::Attached { .. }).then_some(())
        });
        let mine = parent.request(&child, "large", &vec![2; LARGE]);
        let theirs = parent.until("the child's", |parent| parent.recv());
        assert_eq!(theirs.payload.len(), LARGE);
        assert!(theirs.payload.iter().all(|&byte| byte == 1));
        assert_eq!(parent.reply(mine), [1]);
    }
}

fn reads_file() {
    let mut pump = Pump::child(&["read"]).unwrap();
    pump.serve(|pump, mut delivery| {
        let came = delivery.attachments.remove(0).into_owned();
        let mut file = std::fs::File::from(came.unwrap());
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        pump.answer(&delivery, text.as_bytes());
    });
}

#[test]
fn an_attachment_reaches_a_child_over_a_socketpair() {
    let mut parent = Pump::hub();
    let child = role("reads file").spawn_on(&mut parent).unwrap();
    let (read, mut write) = std::io::pipe().unwrap();
    let to = Target::Named(child.name().clone());
    let id = parent.request_with(to, "read", b"", vec![read.into_attachment()]);
    write.write_all(b"through the pipe").unwrap();
    drop(write);
    assert_eq!(parent.reply(id), b"through the pipe");
}

#[test]
fn an_attachment_to_a_child_on_pipes_is_refused_and_comes_back() {
    let mut parent = Pump::hub();
    let child = role("reads file")
        .channel(Channel::Pipes)
        .spawn_on(&mut parent)
        .unwrap();
    parent.child_event("the attachment", &child, |event| {
        matches!(event, ChildEvent::Attached { .. }).then_some(())
    });
    let to = Target::Named(child.name().clone());
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let message = message(to, "read", b"", vec![stdin.into()]);
    let refused = parent
        .engine
        .request(message, RequestOptions::default())
        .unwrap_err();
    assert_eq!(refused.reason, SendRefusal::AttachmentsUnsupported);
    assert_eq!(refused.message.attachments.len(), 1);
    assert_eq!(refused.message.namespace, MAIN);
}

/// Says hello as a peer does, then the first half of a frame, and dies.
fn half_a_frame() {
    let mut pump = Pump::child(&[]).unwrap();
    pump.until("the parent", |pump| {
        pump.engine.node_ref().is_connected().then_some(())
    });
    pump.send(Target::Hub, "word", b"whole");
    pump.until("all written", |pump| {
        (pump.engine.node_ref().buffered() == 0).then_some(())
    });
    let link = pump
        .engine
        .descriptor(switchboard_os::engine::SourceId::from_index(0))
        .unwrap();
    // The length of a frame of 100 bytes, and three of them.
    rustix::io::write(link, &[0, 0, 0, 100, 9, 9, 9]).unwrap();
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
        .unwrap();
}

#[test]
fn half_a_frame_before_a_death_costs_that_frame_and_nothing_else() {
    let mut parent = Pump::hub();
    let child = role("half a frame").spawn_on(&mut parent).unwrap();
    let exited = parent.exited(&child);
    assert_eq!(exited.exit.signal(), Some(9), "{exited}");
    assert!(exited.attached);
    assert_eq!(&*parent.recv().expect("it came whole").payload, b"whole");
    assert!(parent.recv().is_none());
}

/// As much as it is let, for as long as it lives; nobody has asked for it. It waits only when it is
/// refused: then there is room later, which wakes it.
fn sends_without_end() {
    let mut pump = Pump::child(&["refused"]).unwrap();
    pump.until("the parent", |pump| {
        pump.engine.node_ref().is_connected().then_some(())
    });
    let mut refused = 0_u64;
    pump.serve_between(|pump| {
        let refusal = loop {
            let word = message(Target::Hub, "word", &[0; 10_000], Vec::new());
            match pump.engine.send(word, SendOptions::default()) {
                Ok(_) => {}
                Err(error) => break error.reason,
            }
        };
        assert!(matches!(refusal, SendRefusal::Full { .. }), "{refusal}");
        refused += 1;
        pump.engine.flush();
        while let Some(question) = pump.recv() {
            pump.answer(&question, &refused.to_be_bytes());
        }
    });
}

#[test]
fn hazard_s13_a_child_that_sends_without_end_holds_up_itself_and_no_sibling() {
    for channel in CHANNELS {
        let mut parent = Pump::hub();
        let flood = role("sends without end")
            .name("flood")
            .channel(channel)
            .spawn_on(&mut parent)
            .unwrap();
        let quiet = role("echo")
            .name("quiet")
            .channel(channel)
            .spawn_on(&mut parent)
            .unwrap();
        // Nobody takes what the one sends: its own buffer fills, and it is told.
        let id = parent.request(&flood, "refused", b"");
        let refused = u64::from_be_bytes(parent.reply(id).try_into().unwrap());
        assert!(refused > 0, "it sends without end");
        parent.until("the flood", |parent| {
            (parent.engine.node_ref().unread() > 10).then_some(())
        });
        for n in 0..100_u8 {
            let id = parent.request(&quiet, "echo", &[n]);
            assert_eq!(parent.reply(id), [n]);
        }
        // What the parent holds of it is within the budget that it gave, 8 MiB.
        let held = 10_000 * parent.engine.node_ref().unread();
        assert!(held <= 8 << 20, "{held}");
    }
}

#[test]
fn a_program_started_by_hand_says_what_it_needs() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .env(support::ROLE, "echo")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("start it through a Switchboard parent"),
        "{said}"
    );
}
