//! Ending children: by a stop, by a dropped handle or node, by the parent's own death.

// These programs are their own children, and a child ends with a code.
#![allow(clippy::disallowed_methods)]

mod support;

use std::time::{Duration, Instant};

use support::{Pump, echo, ending, eventually, exists, role, shell, short, sleep_forever};
use switchboard_proto::Target;
use switchboard_stdio::*;

switchboard_os::run_role_before_main!(support::ROLE, play);

fn play(role: &str) {
    match role {
        "echo" => echo(),
        "silent" => sleep_forever(),
        "stubborn" => stubborn(),
        "thinks" => thinks(),
        "parent" => parent(),
        role => panic!("unknown role {role}"),
    }
}

#[test]
fn a_well_written_child_ends_by_itself_when_it_is_stopped() {
    for channel in [Channel::Socketpair, Channel::Pipes] {
        let mut parent = Pump::hub();
        let child = role("echo")
            .channel(channel)
            .restart(Restart::always(100))
            .spawn_on(&mut parent)
            .unwrap();
        let id = parent.request(&child, "echo", b"there");
        assert_eq!(parent.reply(id), b"there");
        let begun = Instant::now();
        child.stop();
        let exited = parent.exited(&child);
        assert!(exited.exit.success(), "{exited}");
        assert!(begun.elapsed() < StopLadder::default().close_grace);
        let ending = ending(&mut parent, &child);
        assert!(ending.stopped && ending.gave_up.is_none());
    }
}

/// Answers each request after it has thought for 200 ms.
fn thinks() {
    let mut pump = Pump::child(&["think"]).unwrap();
    pump.serve(|pump, question| {
        std::thread::sleep(Duration::from_millis(200));
        pump.answer(&question, b"thought");
    });
}

#[test]
fn a_child_that_is_stopped_may_finish_what_it_was_asked() {
    for channel in [Channel::Socketpair, Channel::Pipes] {
        let mut parent = Pump::hub();
        let child = role("thinks").channel(channel).spawn_on(&mut parent);
        let child = child.unwrap();
        let first = parent.request(&child, "think", b"");
        assert_eq!(parent.reply(first), b"thought", "it is there");
        let asked: Vec<_> = (0..3)
            .map(|_| parent.request(&child, "think", b""))
            .collect();
        child.stop();
        for id in asked {
            assert_eq!(parent.reply(id), b"thought");
        }
        assert!(parent.exited(&child).exit.success());
    }
}

/// Ignores the end of its link and `SIGTERM`, and so does what it started.
fn stubborn() {
    ignore_sigterm();
    let mut pump = Pump::child(&["pid"]).unwrap();
    let grandchild = std::process::Command::new(std::env::current_exe().unwrap())
        .env(support::ROLE, "silent")
        .spawn();
    let mut grandchild = grandchild.unwrap();
    let pid = grandchild.id().to_string();
    pump.serve(|pump, delivery| pump.answer(&delivery, pid.as_bytes()));
    // It ends with this process or never.
    let _ = grandchild.wait();
}

fn ignore_sigterm() {
    // The shell sets the disposition, which survives `exec`; this process has no safe call for it.
    if std::env::var_os("SIGTERM_IGNORED").is_none() {
        use std::os::unix::process::CommandExt;
        let error = std::process::Command::new("/bin/sh")
            .args(["-c", "trap '' TERM; exec \"$0\""])
            .arg(std::env::current_exe().unwrap())
            .env("SIGTERM_IGNORED", "1")
            .exec();
        panic!("{error}");
    }
}

#[test]
fn hazard_s10_a_stubborn_child_and_what_it_started_are_killed_in_the_end() {
    let mut parent = Pump::hub();
    let child = role("stubborn")
        .stop_ladder(short())
        .spawn_on(&mut parent)
        .unwrap();
    let id = parent.request(&child, "pid", b"");
    let grandchild: u32 = String::from_utf8(parent.reply(id))
        .unwrap()
        .parse()
        .unwrap();
    child.stop();
    let exited = parent.exited(&child);
    assert_eq!(exited.exit.signal(), Some(9), "{exited}");
    eventually("the grandchild's end", || {
        // Reaped by whoever adopts orphans here; until then a zombie.
        let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z "))
    });
}

#[test]
fn a_dropped_handle_kills_the_child_also_where_nobody_drives_the_node() {
    let mut parent = Pump::hub();
    let child = role("echo").spawn_on(&mut parent).unwrap();
    let id = parent.request(&child, "echo", b"there");
    parent.reply(id);
    let pid = child.pid().unwrap();
    drop(child);
    eventually("its death", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z "))
    });
    parent.until("the reaping", |parent| {
        (parent.source_count() == 0).then_some(())
    });
    assert!(!exists(pid));
}

#[test]
fn a_dropped_node_takes_its_children_with_it_and_a_detached_child_stays_until_then() {
    let mut parent = Pump::hub();
    let child = role("echo").spawn_on(&mut parent).unwrap();
    let kept = role("silent").name("kept").spawn_on(&mut parent).unwrap();
    let id = parent.request(&child, "echo", b"there");
    parent.reply(id);
    let kept_pid = parent.child_event("the start", &kept, |event| match event {
        ChildEvent::Started { pid, .. } => Some(pid),
        _ => None,
    });
    let pids = [child.pid().unwrap(), kept_pid];
    child.detach();
    let id = parent.request_with(Target::Named(name("worker")), "echo", b"still", Vec::new());
    assert_eq!(parent.reply(id), b"still");
    drop(parent);
    let last = std::iter::from_fn(|| kept.next_event()).last();
    assert!(matches!(last, Some(ChildEvent::Abandoned)), "{last:?}");
    for pid in pids {
        eventually("the reaping", || !exists(pid));
    }
}

#[test]
fn a_child_may_be_left_to_itself() {
    let mut parent = Pump::hub();
    let child = shell("trap '' HUP; exec sleep 1000")
        .on_drop(OnDrop::LeaveRunning)
        .spawn_on(&mut parent)
        .unwrap();
    let pid = parent.child_event("the start", &child, |event| match event {
        ChildEvent::Started { pid, .. } => Some(pid),
        _ => None,
    });
    drop(child);
    parent.until("the end of the supervision", |parent| {
        (parent.source_count() == 0).then_some(())
    });
    assert!(exists(pid));
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Has a child of its own, which it names, and waits to be killed.
fn parent() {
    let mut grandparent = Pump::child(&["pid"]).unwrap();
    let mut pump = Pump::hub();
    let child = role("echo").name("grandchild").spawn_on(&mut pump).unwrap();
    let id = pump.request(&child, "echo", b"there");
    pump.reply(id);
    let pid = child.pid().unwrap().to_string();
    grandparent.serve(|up, question| up.answer(&question, pid.as_bytes()));
}

#[test]
fn hazard_s9_the_children_of_a_killed_parent_end_with_it() {
    let mut parent = Pump::hub();
    let child = role("parent").spawn_on(&mut parent).unwrap();
    let id = parent.request(&child, "pid", b"");
    let grandchild: u32 = String::from_utf8(parent.reply(id))
        .unwrap()
        .parse()
        .unwrap();
    let pid = rustix::process::Pid::from_raw(child.pid().unwrap().cast_signed()).unwrap();
    // The process alone, not its group: a group of its own is what the grandchild has anyway.
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    eventually("the grandchild's end", || {
        let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z "))
    });
    assert_eq!(parent.exited(&child).exit.signal(), Some(9));
}

fn name(name: &str) -> switchboard_proto::PeerName {
    switchboard_proto::PeerName::new(name).unwrap()
}
