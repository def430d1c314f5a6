//! `demo`: it ends well, it leaves nothing behind, and it fails loudly.

mod support;

use std::path::Path;

use rustix::process::Signal;
use serde_json::json;
use support::{Place, Running, processes_that_name, wait_until};

/// The demonstration with its temporary directory in a place of the test.
fn demo(place: &Place, args: &[&str]) -> Running {
    let mut command = place.command(&[&["demo"], args].concat());
    command.env("TMPDIR", place.path());
    Running(command.spawn().unwrap())
}

#[track_caller]
fn nothing_is_left(place: &Path) {
    let entries: Vec<_> = std::fs::read_dir(place).unwrap().collect();
    assert!(entries.is_empty(), "{entries:?}");
    wait_until("all processes to end", || {
        processes_that_name(place).is_empty()
    });
}

#[test]
fn everything_holds_and_nothing_is_left() {
    let place = Place::new();
    let ran = demo(&place, &["--json"]).finish();
    let table = ran.expect(0).object();
    assert_eq!(table["ok"], true);
    assert_eq!(table["requests"], 10_000);
    assert_eq!(table["replies"], 10_000);
    for none in [
        "lost",
        "duplicated",
        "reordered",
        "descriptors_left",
        "children_left",
    ] {
        assert_eq!(table[none], 0, "{none}");
    }
    for transport in ["unix", "socketpair", "pipe"] {
        let figures = &table["transports"][transport];
        assert!(figures["requests"].as_u64().unwrap() >= 3332);
        assert!(figures["p99_us"].as_f64() >= figures["p50_us"].as_f64());
    }
    let kill = &table["kill"];
    let count = |name: &str| kill[name].as_u64().unwrap();
    let sum = count("reply") + count("failed") + count("not_run") + count("unknown");
    assert_eq!(sum, 1000);
    assert_eq!(
        (&kill["untrue"], &kill["ran_twice"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(table["late"]["arrived"], 1000);
    let stopped = &table["stopped"];
    assert_eq!(stopped["others_asked"], stopped["others_answered"]);
    assert!(stopped["held_bytes"].as_u64() <= stopped["cap_bytes"].as_u64());
    nothing_is_left(place.path());
}

#[test]
fn it_tells_a_story_in_six_acts_and_ends_with_the_result() {
    let place = Place::new();
    let ran = demo(&place, &[]).finish();
    let text = &ran.expect(0).stdout;
    let mut rest = text.as_str();
    for title in [
        "1. Six",
        "2. Ten",
        "3. A list",
        "4. kill",
        "5. A thou",
        "6. A work",
        "Result",
    ] {
        let at = rest
            .find(title)
            .unwrap_or_else(|| panic!("{title} in {text}"));
        rest = &rest[at..];
    }
    assert!(
        rest.contains("lost 0   duplicated 0   reordered 0"),
        "{rest}"
    );
    assert!(rest.contains("Everything held."), "{rest}");
}

#[test]
fn ctrl_c_in_the_middle_ends_it_with_130_and_leaves_nothing() {
    let place = Place::new();
    let mut running = demo(&place, &[]);
    while !running.line().starts_with("2. ") {}
    assert!(
        !processes_that_name(place.path()).is_empty(),
        "the workers run"
    );
    running.signal(Signal::INT);
    let ran = running.finish();
    ran.expect(130);
    nothing_is_left(place.path());
}

#[test]
fn a_worker_that_dies_unasked_makes_it_fail_and_say_so() {
    let place = Place::new();
    let mut running = demo(&place, &[]);
    while !running.line().contains("worker/2 is peer") {}
    let worker = processes_that_name(place.path());
    assert!(worker.iter().any(|line| line.contains("worker/1")));
    kill_one(place.path(), "worker/1");
    let ran = running.finish();
    ran.expect(1);
    assert!(ran.stderr.contains("the demonstration failed"), "{ran:?}");
    nothing_is_left(place.path());
}

#[test]
fn a_place_where_nothing_can_be_made_makes_it_fail() {
    let place = Place::new();
    let mut command = place.command(&["demo", "--json"]);
    command.env("TMPDIR", place.path().join("absent"));
    let ran = Running(command.spawn().unwrap()).finish();
    let object = ran.expect(1).object();
    assert_eq!(object["ok"], false);
    assert!(
        object["error"].as_str().unwrap().contains("absent"),
        "{object}"
    );
}

fn kill_one(place: &Path, name: &str) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let pid = entry.file_name().to_string_lossy().parse().ok();
        let pid = pid.and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid
            && line.contains(place.to_str().unwrap())
            && line.contains(name)
        {
            rustix::process::kill_process(pid, Signal::KILL).unwrap();
        }
    }
}
