//! How children end, and what is told of it; and what is left of them, which is nothing.

// These programs are their own children, and a child ends with a code.
#![allow(clippy::disallowed_methods)]

mod support;

use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use support::{Pump, at_once, echo, ending, exists, role, shell, short, sleep_forever};
use switchboard_proto::wire::Refusal;
use switchboard_proto::{Event, Generation, Outcome, PeerId, Target, UnknownCause};
use switchboard_stdio::supervise::GaveUp;
use switchboard_stdio::{Backoff, Channel, ChildEvent, LinkFault, Spawn, StopLadder};

switchboard_os::run_role_before_main!(support::ROLE, play);

fn play(role: &str) {
    match role {
        "echo" => echo(),
        "fails" => {
            eprintln!("cannot find the configuration");
            std::process::exit(78);
        }
        "greets" => {
            println!("hello world");
            sleep_forever();
        }
        "silent" => sleep_forever(),
        "floods stderr" => floods_stderr(),
        "closes its output" => closes("output"),
        "closes its input" => closes("input"),
        "swallows" => swallows(),
        "starts a grandchild" => starts_a_grandchild(),
        role => panic!("unknown role {role}"),
    }
}

#[test]
fn a_child_that_fails_at_once_is_reported_with_its_code_and_its_last_words() {
    let mut parent = Pump::hub();
    let child = role("fails").spawn_on(&mut parent).unwrap();
    let exited = parent.exited(&child);
    assert_eq!(exited.exit.code(), Some(78));
    assert!(!exited.attached);
    let text = exited.to_string();
    let pid = exited.pid;
    assert_eq!(
        text,
        format!(
            "worker (pid {pid}) exited with code 78 and never said hello; its stderr ended with:\n\
             cannot find the configuration"
        )
    );
    assert_eq!(child.pid(), None);
    assert!(!exists(pid), "it was reaped");
}

#[test]
fn a_program_that_does_not_exist_is_an_event_and_the_end() {
    let mut parent = Pump::hub();
    let child = Spawn::new("/does/not/exist")
        .restart(at_once(5))
        .spawn_on(&mut parent)
        .unwrap();
    let error = parent.child_event("the failure", &child, |event| match event {
        ChildEvent::SpawnFailed(error) => Some(error),
        _ => None,
    });
    assert!(
        error
            .to_string()
            .starts_with("cannot start /does/not/exist")
    );
    assert_eq!(
        ending(&mut parent, &child).gave_up,
        Some(GaveUp::NeverStarted)
    );
    assert!(child.is_over());
    assert_eq!(parent.source_count(), 0);
}

#[test]
fn hazard_s2_a_program_that_speaks_otherwise_is_ended_and_shown_with_its_first_bytes() {
    let mut parent = Pump::hub();
    let child = role("greets")
        .channel(Channel::Pipes)
        .stop_ladder(short())
        .spawn_on(&mut parent)
        .unwrap();
    let cut = parent.child_event("the cut", &child, |event| match event {
        ChildEvent::Disconnected(cut) => Some(cut),
        _ => None,
    });
    assert!(matches!(cut.cause, LinkFault::Protocol(_)), "{cut:?}");
    assert_eq!(cut.first_bytes, b"hello world\n");
    let text = cut.to_string();
    assert!(
        text.contains("what it sent began with \"hello world\\n\""),
        "{text}"
    );
    let exited = parent.exited(&child);
    assert_eq!(exited.exit.signal(), Some(15), "{exited}");
}

#[test]
fn a_program_that_sends_back_what_it_gets_is_no_peer() {
    let mut parent = Pump::hub();
    let child = Spawn::new("cat")
        .channel(Channel::Pipes)
        .spawn_on(&mut parent)
        .unwrap();
    let cut = parent.child_event("the cut", &child, |event| match event {
        ChildEvent::Disconnected(cut) => Some(cut),
        _ => None,
    });
    assert!(matches!(cut.cause, LinkFault::Protocol(_)), "{cut:?}");
    assert!(!cut.first_bytes.is_empty());
    // The closed channel ends it: it finds nothing to read, or nobody to write to.
    let exit = parent.exited(&child).exit;
    assert!(exit.success() || exit.signal() == Some(13), "{exit}");
}

#[test]
fn a_child_that_never_says_hello_is_ended_when_its_time_is_over() {
    let mut parent = Pump::hub();
    let limit = Duration::from_millis(200);
    let child = Spawn::new("sleep")
        .arg("1000")
        .hello_within(limit)
        .stop_ladder(short())
        .spawn_on(&mut parent)
        .unwrap();
    let begun = Instant::now();
    let cut = parent.child_event("the cut", &child, |event| match event {
        ChildEvent::Disconnected(cut) => Some(cut),
        _ => None,
    });
    assert!(begun.elapsed() >= limit);
    assert_eq!(cut.cause, LinkFault::NoHello(limit));
    assert!(
        cut.to_string().contains("did not say hello within 200ms"),
        "{cut}"
    );
    assert_eq!(parent.exited(&child).exit.signal(), Some(15));
}

/// More than a pipe holds, before and after it attaches.
fn floods_stderr() {
    let flood = || {
        let mut stderr = std::io::stderr().lock();
        for n in 0..40_000 {
            writeln!(stderr, "line {n} of a flood that nobody asked for").unwrap();
        }
    };
    flood();
    let mut pump = Pump::child(&["flood"]).unwrap();
    pump.serve(|pump, delivery| {
        flood();
        eprintln!("that was all");
        pump.answer(&delivery, b"done");
    });
}

#[test]
fn a_child_that_floods_its_stderr_is_never_blocked_and_its_last_words_are_kept() {
    let mut parent = Pump::hub();
    let child = role("floods stderr").spawn_on(&mut parent).unwrap();
    let id = parent.request(&child, "flood", b"");
    assert_eq!(parent.reply(id), b"done");
    child.stop();
    let exited = parent.exited(&child);
    assert!(exited.stderr_tail.ends_with("that was all\n"));
    assert!(exited.stderr_tail.len() <= 8 * 1024);
    assert!(exited.stderr_dropped > 1 << 20);
}

/// Closes one half of the channel and goes on living, as a program does that closes its stdout.
fn closes(half: &str) {
    let mut pump = Pump::child(&["close"]).unwrap();
    pump.serve(|pump, _| {
        let link = switchboard_os::engine::SourceId::from_index(0);
        let read = pump.engine.descriptor(link).unwrap().as_raw_fd();
        // The half for writing was moved to the next free number.
        let number = if half == "input" { read } else { read + 1 };
        drop(unsafe { OwnedFd::from_raw_fd(number) });
        if half == "input" {
            pump.send(Target::Hub, "closed", b"");
        }
        sleep_forever();
    });
}

#[test]
fn a_child_that_closes_one_pipe_only_is_no_peer_any_more_and_is_ended() {
    for half in ["output", "input"] {
        let mut parent = Pump::hub();
        let child = role(&format!("closes its {half}"))
            .channel(Channel::Pipes)
            .stop_ladder(short())
            .spawn_on(&mut parent)
            .unwrap();
        let id = parent.request(&child, "close", b"");
        if half == "input" {
            // That nobody reads is found by writing, and by nothing else.
            parent.until("the word that it is closed", |parent| parent.recv());
            parent.send(Target::Peer(PeerId(2)), "event", b"anybody?");
        }
        let outcome = parent.outcome(id);
        assert!(
            matches!(outcome, Outcome::Unknown(UnknownCause::PeerGone)),
            "{half}: {outcome:?}"
        );
        let cut = parent.child_event("the cut", &child, |event| match event {
            ChildEvent::Disconnected(cut) => Some(cut),
            _ => None,
        });
        assert_eq!(cut.cause, LinkFault::Ended);
        assert_eq!(parent.exited(&child).exit.signal(), Some(15));
    }
}

/// Takes requests and answers every other one.
fn swallows() {
    let mut pump = Pump::child(&["maybe"]).unwrap();
    let mut kept = Vec::new();
    pump.serve(|pump, delivery| {
        if delivery.payload[0] % 2 == 0 {
            pump.answer(&delivery, b"yes");
        } else {
            kept.push(delivery);
        }
    });
}

#[test]
fn a_kill_in_the_middle_of_requests_leaves_each_with_one_truthful_outcome() {
    let mut parent = Pump::hub();
    let child = role("swallows").spawn_on(&mut parent).unwrap();
    let first = parent.request(&child, "maybe", &[0]);
    assert_eq!(parent.reply(first), b"yes");
    let ids: Vec<_> = (0..100_u8)
        .map(|n| (n, parent.request(&child, "maybe", &[n])))
        .collect();
    // The last of the answered ones has come, so all were taken that stand before it.
    parent.until("the last answer", |parent| {
        let last = ids[98].1;
        parent
            .events
            .iter()
            .any(|event| matches!(event, Event::Outcome { request, .. } if *request == last))
            .then_some(())
    });
    let at = Instant::now();
    child.kill();
    for (n, id) in &ids {
        let outcome = parent.outcome(*id);
        match (n % 2, outcome) {
            (0, Outcome::Reply { payload, .. }) => assert_eq!(&*payload, b"yes"),
            (1, Outcome::Unknown(UnknownCause::PeerGone)) => {}
            (_, outcome) => panic!("{n}: {outcome:?}"),
        }
    }
    assert!(
        at.elapsed() < Duration::from_secs(5),
        "a death is known at once"
    );
    ending(&mut parent, &child);
    let more = parent
        .events
        .iter()
        .filter(|event| matches!(event, Event::Outcome { .. }));
    assert_eq!(more.count(), 0, "one outcome each");
}

#[test]
fn a_restarted_child_has_the_same_id_and_the_next_generation() {
    let mut parent = Pump::hub();
    let child = role("echo")
        .restart(at_once(5))
        .spawn_on(&mut parent)
        .unwrap();
    let attached = |parent: &mut Pump| {
        parent.child_event("the attachment", &child, |event| match event {
            ChildEvent::Attached { id, generation } => Some((id, generation)),
            _ => None,
        })
    };
    assert_eq!(attached(&mut parent), (PeerId(2), Generation(1)));
    for generation in 2..=4 {
        let pid = child.pid().unwrap();
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        // Asked while there is nobody: it waits for the next run.
        parent.until("the death", |parent| {
            parent.events.iter().any(|event| {
                matches!(event, Event::PeerGone { generation: g, .. } if g.0 == generation - 1)
            }).then_some(())
        });
        let id = parent.request(&child, "echo", b"again");
        assert_eq!(parent.reply(id), b"again");
        assert_eq!(attached(&mut parent), (PeerId(2), Generation(generation)));
    }
}

#[test]
fn a_child_that_waits_for_its_restart_has_no_process_and_can_be_stopped() {
    let mut parent = Pump::hub();
    let child = role("fails")
        .restart(at_once(5).with_backoff(Backoff::fixed(Duration::from_secs(1000))))
        .spawn_on(&mut parent)
        .unwrap();
    parent.child_event("the wait", &child, |event| {
        matches!(event, ChildEvent::Restarting { attempt: 2, .. }).then_some(())
    });
    assert_eq!(child.pid(), None);
    assert!(child.last_exit().is_some());
    // Of the supervision there is left what the handle wakes it by.
    assert_eq!(parent.source_count(), 1);
    child.stop();
    let ending = ending(&mut parent, &child);
    assert!(ending.stopped && ending.attempts == 1, "{ending:?}");
    assert_eq!(parent.source_count(), 0);
}

#[test]
fn a_second_child_of_the_same_name_is_refused_and_told_why() {
    let mut parent = Pump::hub();
    let first = role("echo").spawn_on(&mut parent).unwrap();
    let id = parent.request(&first, "echo", b"there");
    parent.reply(id);
    // It asks again until its time is over: the first one might end.
    let second = role("echo").hello_within(Duration::from_millis(250));
    let second = second.spawn_on(&mut parent).unwrap();
    let exited = parent.exited(&second);
    assert!(!exited.attached, "{exited}");
    let id = parent.request(&first, "echo", b"still there");
    assert_eq!(parent.reply(id), b"still there");
}

#[test]
fn a_child_that_fails_too_often_is_given_up() {
    let mut parent = Pump::hub();
    let child = role("fails")
        .restart(at_once(3))
        .spawn_on(&mut parent)
        .unwrap();
    let mut exits = 0;
    let why = parent.child_event("giving up", &child, |event| match event {
        ChildEvent::Exited(exited) => {
            exits += 1;
            assert_eq!(exited.attempt, exits);
            None
        }
        ChildEvent::GaveUp(why) => Some(why),
        _ => None,
    });
    assert_eq!(exits, 4, "the first run and three restarts");
    assert!(why.to_string().starts_with("restarted 3 times within"));
    let ending = ending(&mut parent, &child);
    assert_eq!(ending.attempts, 4);
    assert_eq!(ending.last.unwrap().exit.code(), Some(78));
}

#[test]
fn a_request_that_waits_for_a_child_is_refused_when_there_will_be_none() {
    let mut parent = Pump::hub();
    let child = role("fails")
        .restart(at_once(3))
        .spawn_on(&mut parent)
        .unwrap();
    let begun = Instant::now();
    let id = parent.request(&child, "echo", b"anybody?");
    let outcome = parent.outcome(id);
    let Outcome::NotRun { reason, message } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(reason, Refusal::PeerGone);
    assert_eq!(&*message.expect("it never left").payload, b"anybody?");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "not at its deadline"
    );
}

#[test]
fn a_stop_waits_no_longer_than_its_grace_for_what_is_under_way() {
    let mut parent = Pump::hub();
    let child = role("swallows")
        .stop_ladder(short())
        .spawn_on(&mut parent)
        .unwrap();
    let first = parent.request(&child, "maybe", &[0]);
    assert_eq!(parent.reply(first), b"yes");
    let id = parent.request(&child, "maybe", &[1]);
    let next = parent.request(&child, "maybe", &[2]);
    assert_eq!(parent.reply(next), b"yes", "the one before is taken");
    child.stop();
    let outcome = parent.outcome(id);
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
    parent.ended(&child);
}

/// Leaves a process behind that holds the channel and the stderr open.
fn starts_a_grandchild() {
    let mut pump = Pump::child(&[]).unwrap();
    pump.until("the parent", |pump| {
        pump.engine.node_ref().is_connected().then_some(())
    });
    pump.send(Target::Hub, "word", b"last");
    let link = switchboard_os::engine::SourceId::from_index(0);
    let channel = pump.engine.descriptor(link).unwrap();
    let channel = channel.try_clone_to_owned().unwrap();
    let left = std::process::Command::new("sleep")
        .arg("1000")
        .stdin(channel)
        .spawn();
    // Not waited for: that is what leaving it behind means.
    std::mem::forget(left.unwrap());
    eprintln!("leaving one behind");
    std::process::exit(5);
}

#[test]
fn hazard_s6_an_exit_is_known_at_once_although_a_grandchild_holds_the_channel_open() {
    let mut parent = Pump::hub();
    let child = role("starts a grandchild")
        .stop_ladder(StopLadder {
            drain_grace: Duration::from_secs(1000),
            ..StopLadder::default()
        })
        .spawn_on(&mut parent)
        .unwrap();
    let exited = parent.exited(&child);
    assert_eq!(exited.exit.code(), Some(5));
    assert_eq!(exited.stderr_tail, "leaving one behind\n");
    assert_eq!(&*parent.recv().expect("it was sent").payload, b"last");
}

#[test]
fn lines_of_stderr_are_told_as_they_come_and_a_flood_of_them_is_counted() {
    let mut parent = Pump::hub();
    let child = shell("i=0; while [ $i -lt 500 ]; do echo line $i >&2; i=$((i+1)); done")
        .stderr_lines(3)
        .spawn_on(&mut parent)
        .unwrap();
    let mut told = Vec::new();
    parent.child_event("the exit", &child, |event| match event {
        ChildEvent::Stderr(line) => {
            told.push(line.text);
            None
        }
        ChildEvent::Exited(exited) => {
            assert!(exited.stderr_tail.ends_with("line 499\n"));
            Some(())
        }
        _ => None,
    });
    assert_eq!(told[..3], ["line 0", "line 1", "line 2"]);
    assert!(told.len() < 500);
}

#[test]
fn hazard_s5_a_child_is_reaped_by_the_time_its_end_is_told() {
    let mut parent = Pump::hub();
    for n in 0..20 {
        let name = format!("worker/{n}");
        let child = match n % 3 {
            0 => shell("exit 3").name(name).spawn_on(&mut parent).unwrap(),
            1 => shell("kill -9 $$")
                .name(name)
                .spawn_on(&mut parent)
                .unwrap(),
            _ => {
                let child = role("silent").name(name).spawn_on(&mut parent).unwrap();
                parent.child_event("the start", &child, |event| {
                    matches!(event, ChildEvent::Started { .. }).then_some(())
                });
                child.kill();
                child
            }
        };
        let pid = parent.exited(&child).pid;
        assert!(!exists(pid));
    }
}
