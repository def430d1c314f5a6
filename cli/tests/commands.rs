//! `hub`, `peers`, `call`, `emit`, `on`: what they print and how they end.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use support::{PATIENCE, Place, Running, SWITCHBOARD, wait_until};
use switchboard_mio::{Board, Fault, Peer, Value};

#[test]
fn a_call_prints_the_reply_and_ends_with_0() {
    let place = Place::new();
    let _hub = place.answering_hub();
    let ran = place.run(&["call", "math.add", "[2,3]"]);
    ran.expect(0);
    assert_eq!(ran.stdout, "5\n");
    assert!(ran.stderr.starts_with("math.add answered in "), "{ran:?}");

    let ran = place.run(&["call", "math.add", "[2,3]", "--to", "hub#1", "-q"]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("5\n", ""));
    for by_id in ["1", "1#1"] {
        let ran = place.run(&["call", "math.add", "[-2,3]", "--to", by_id, "--json"]);
        let object = ran.expect(0).object();
        assert_eq!(object["outcome"], "reply");
        assert_eq!(object["value"], 1);
        assert!(object["us"].as_u64().unwrap() > 0);
    }
}

#[test]
fn raw_bytes_go_and_come_as_they_are() {
    let place = Place::new();
    let _hub = place.answering_hub();
    let ran = place.run(&["call", "upper", "no \"json", "--raw"]);
    assert_eq!(ran.expect(0).stdout, "NO \"JSON\n");
}

#[test]
fn data_can_come_from_stdin() {
    let place = Place::new();
    let _hub = place.answering_hub();
    let text = place.path().join("data");
    std::fs::write(&text, "[20,\n22]\n").unwrap();
    let mut command = place.command(&["call", "math.add", "-"]);
    command.stdin(std::fs::File::open(text).unwrap());
    let ran = Running(command.spawn().unwrap()).finish();
    assert_eq!(ran.expect(0).stdout, "42\n");
}

#[test]
fn a_failing_handler_ends_a_call_with_1_and_tells_its_fault() {
    let place = Place::new();
    let _hub = place.answering_hub();
    let ran = place.run(&["call", "fail"]);
    ran.expect(1);
    assert_eq!(ran.stdout, "");
    assert!(
        ran.stderr.contains("no such row (code 404)\nline 3"),
        "{ran:?}"
    );
    let object = place.run(&["call", "fail", "--json"]).expect(1).object();
    assert_eq!(object["outcome"], "failed");
    assert_eq!(object["code"], 404);
    assert_eq!(object["detail"], "line 3");
    assert_eq!(object["exit"], 1);
}

#[test]
fn what_makes_no_sense_ends_with_2() {
    let place = Place::new();
    let _hub = place.answering_hub();
    for args in [
        &["call", "math.add", "2, 3"][..],
        &["call", "math.add", "--to", ""],
        &["call", "math.add", "--to", "w#0"],
        &["call", "math.add", "--deadline", "5"],
        &["call", "math.add", "--ns", "$x"],
        &["call"],
        &["emit", "x", "--to", "1", "--all"],
        &["emit", "x", "{"],
        &["on"],
        &["nonsense"],
        &["peers", "-a", "unix:relative"],
        &["peers", "-a", "http://127.0.0.1:1"],
        &["bench", "fds", "--transport", "pipe"],
    ] {
        let ran = place.run(args);
        ran.expect(2);
        assert!(!ran.stderr.is_empty(), "{args:?}");
        assert_eq!(ran.stdout, "", "{args:?}");
    }
    let mut command = place.command(&["peers"]);
    command.env_remove("SWITCHBOARD_ADDRESS");
    let ran = Running(command.spawn().unwrap()).finish();
    assert!(ran.expect(2).stderr.contains("SWITCHBOARD_ADDRESS"));
}

#[test]
fn nobody_at_the_address_ends_with_3_and_says_what_to_do() {
    let place = Place::new();
    for args in [
        &["peers"][..],
        &["call", "x"],
        &["emit", "x"],
        &["on", "x"],
        &["peers", "-a", "tcp://127.0.0.1:1"],
    ] {
        let ran = place.run(args);
        assert!(ran.expect(3).stderr.contains("start the hub"), "{ran:?}");
    }
    let ran = place.run(&["peers", "--json"]);
    let object: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(object["exit"], 3);
}

#[test]
fn a_listener_that_is_no_hub_ends_with_3() {
    let place = Place::new();
    let _silent = std::os::unix::net::UnixListener::bind(place.socket()).unwrap();
    let ran = place.run(&["peers"]);
    ran.expect(3);
}

#[test]
fn wait_ends_with_3_when_it_was_in_vain() {
    let place = Place::new();
    let begin = Instant::now();
    let ran = place.run(&["peers", "--wait", "300ms"]);
    assert!(ran.expect(3).stderr.contains("nothing is at"), "{ran:?}");
    assert!(begin.elapsed() >= Duration::from_millis(300));
}

#[test]
fn wait_outlasts_the_start_of_the_hub() {
    let place = Place::new();
    let late = place.start(&["call", "math.add", "[1,1]", "--wait", "20s"]);
    let _hub = place.answering_hub();
    assert_eq!(late.finish().expect(0).stdout, "2\n");
}

#[test]
fn no_permission_ends_with_1() {
    let place = Place::new();
    let _hub = place.hub();
    let mut command = place.command(&["peers"]);
    // Permissions mean nothing to root: it becomes nobody. What nobody may execute is a copy, as
    // the way to the original may be closed to him.
    let open = tempfile::tempdir_in("/tmp").unwrap();
    if rustix::process::geteuid().is_root() {
        let copy = open.path().join("switchboard");
        std::fs::set_permissions(open.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::copy(SWITCHBOARD, &copy).unwrap();
        command = std::process::Command::new(copy);
        command
            .arg("peers")
            .env("SWITCHBOARD_ADDRESS", place.address());
        command.uid(65534).gid(65534);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    } else {
        std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o600)).unwrap();
    }
    let ran = Running(command.spawn().unwrap()).finish();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o700)).unwrap();
    assert!(ran.expect(1).stderr.contains("denied"), "{ran:?}");
}

#[test]
fn a_hub_refuses_a_place_that_is_not_safe_with_1() {
    let place = Place::new();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o777)).unwrap();
    assert!(place.run(&["hub"]).expect(1).stderr.contains("0700"));
    let there = Place::new();
    let _hub = there.hub();
    assert!(there.run(&["hub"]).expect(1).stderr.contains("in use"));
}

#[test]
fn what_was_certainly_not_run_ends_with_4() {
    let place = Place::new();
    let _hub = place.answering_hub();
    let ran = place.run(&["call", "math.pow", "[2,3]"]);
    ran.expect(4);
    assert!(ran.stderr.contains("math.add"), "what there is: {ran:?}");
    let absent = [
        "call",
        "math.add",
        "[2,3]",
        "--to",
        "absent",
        "--deadline",
        "50ms",
    ];
    place.run(&absent).expect(4);
    place
        .run(&["call", "math.add", "[2,3]", "--to", "77"])
        .expect(4);
    place.run(&["emit", "hello", "--to", "77"]).expect(4);
    let json = [&absent[..], &["--json"]].concat();
    let object = place.run(&json).expect(4).object();
    assert_eq!(object["outcome"], "not_run");
}

/// Handles `work` and never answers. Says when it was asked; ends when the other half is dropped.
fn never_answer(peer: &Peer) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (tell, told) = mpsc::channel();
    let (hold, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let work = move |_: Value| -> Result<(), Fault> {
        let _ = tell.send(());
        let _ = held.lock().unwrap().recv();
        Ok(())
    };
    peer.on("work", work).forever();
    peer.ready();
    // One thread stands in the handler, the other one drives.
    peer.spawn().unwrap();
    peer.spawn().unwrap();
    (told, hold)
}

#[test]
fn a_peer_that_is_killed_in_the_middle_ends_a_call_with_5() {
    let place = Place::new();
    let hub = Board::builder().name("hub").listen(place.address());
    let hub = hub.unwrap().blocking();
    let (asked, _hold) = never_answer(&hub);
    let mut worker = place.worker("busy");
    // In the middle of this, the worker waits for the hub's answer.
    let gossip = r#"{"peers":["hub"],"rounds":1}"#;
    let args = ["call", "gossip", gossip, "--to", "busy", "--json"];
    let mut call = place.start(&args);
    asked.recv_timeout(PATIENCE).unwrap();
    assert_eq!(call.0.try_wait().unwrap(), None, "it waits");
    worker.signal(Signal::KILL);
    let _ = worker.code();
    let ran = call.finish();
    let object = ran.expect(5).object();
    assert_eq!(object["outcome"], "unknown");
    assert_eq!(object["exit"], 5);
}

#[test]
fn a_hub_that_is_killed_in_the_middle_ends_a_call_with_5() {
    let place = Place::new();
    let mut hub = place.hub();
    let member = Board::builder().name("member").join(place.address());
    let member = member.unwrap().blocking();
    let (asked, _hold) = never_answer(&member);
    member.connected(PATIENCE).unwrap();
    let call = place.start(&["call", "work", "--to", "member"]);
    asked.recv_timeout(PATIENCE).unwrap();
    hub.signal(Signal::KILL);
    let _ = hub.code();
    let ran = call.finish();
    assert!(ran.expect(5).stderr.contains("may have run"), "{ran:?}");
}

#[test]
fn what_waits_for_a_peer_when_the_hub_is_killed_certainly_did_not_run() {
    for what in ["call", "emit"] {
        let place = Place::new();
        let mut hub = place.hub();
        let waits = place.start(&[what, "work", "--to", "late"]);
        wait_until("it has joined", || {
            place.run(&["peers"]).stdout.lines().count() > 2
        });
        hub.signal(Signal::KILL);
        let _ = hub.code();
        let ran = waits.finish();
        assert!(!ran.expect(4).stderr.contains("may have"), "{ran:?}");
    }
}

#[test]
fn a_deadline_that_passes_ends_with_124() {
    let place = Place::new();
    let _hub = place.answering_hub();
    let ran = place.run(&["call", "sleep", "2000", "--deadline", "100ms", "--json"]);
    let object = ran.expect(124).object();
    assert_eq!(object["outcome"], "unknown");
    place.run(&["on", "x", "-n", "1", "-W", "50ms"]).expect(124);
    place.run(&["on", "x", "-W", "50ms"]).expect(0);
}

#[test]
fn events_arrive_in_order_and_are_printed_as_they_come() {
    let place = Place::new();
    let _hub = place.hub();
    let on = place.start(&["on", "hello", "bye", "-n", "3", "--json"]);
    wait_until("the listener", || {
        let peers = place.run(&["peers", "--json"]);
        let listens = json!(["bye", "hello"]);
        peers
            .objects()
            .iter()
            .any(|peer| peer["namespaces"][0]["listeners"] == listens)
    });
    let ran = place.run(&["emit", "hello", r#"{"n":1}"#]);
    assert!(ran.expect(0).stderr.contains("hello delivered"), "{ran:?}");
    let all = place.run(&["emit", "bye", "raw bytes", "--raw", "--all", "--json"]);
    let told = all.expect(0).object();
    assert_eq!(
        (&told["delivered"], &told["ignored"]),
        (&json!(1), &json!(1)),
        "the hub"
    );
    let told = place.run(&["emit", "bye", "--json"]).expect(0).object();
    assert_eq!(
        (&told["receivers"], &told["delivered"]),
        (&json!(1), &json!(1))
    );
    let heard = on.finish().expect(0).objects();
    assert_eq!(heard.len(), 3);
    assert_eq!(
        (&heard[0]["event"], &heard[0]["data"]),
        (&json!("hello"), &json!({"n": 1}))
    );
    assert_eq!(
        (&heard[1]["raw"], &heard[1]["data"]),
        (&json!(true), &json!("cmF3IGJ5dGVz"))
    );
    assert_eq!(
        (&heard[2]["event"], &heard[2]["data"]),
        (&json!("bye"), &json!(null))
    );
    assert!(heard[0]["from"]["id"].as_u64().unwrap() > 1);
}

#[test]
fn a_listener_joins_again_when_the_hub_comes_back() {
    let place = Place::new();
    let mut hub = place.hub();
    let on = place.start(&["on", "hello", "-n", "1"]);
    let listens = || place.run(&["peers"]).stdout.contains("hello");
    wait_until("the listener", listens);
    hub.signal(Signal::KILL);
    let _ = hub.code();
    let _next = place.hub();
    wait_until("the listener to be back", listens);
    place.run(&["emit", "hello", "2"]).expect(0);
    let ran = on.finish();
    assert_eq!(ran.expect(0).stdout, "2\n");
    assert!(ran.stderr.contains("the hub is gone"), "{ran:?}");
    assert!(ran.stderr.contains("connected again"), "{ran:?}");
}

#[test]
fn namespaces_are_apart() {
    let place = Place::new();
    let _hub = place.hub();
    let on = place.start(&["on", "hello", "--ns", "topic", "-n", "1", "--json"]);
    wait_until("the listener", || {
        place.run(&["peers"]).stdout.contains("topic:hello")
    });
    let ran = place.run(&["emit", "hello", "1"]);
    assert!(ran.expect(0).stderr.contains("nobody listens"), "{ran:?}");
    place
        .run(&["emit", "hello", "2", "--ns", "topic"])
        .expect(0);
    let heard = on.finish().expect(0).object();
    assert_eq!((&heard["ns"], &heard["data"]), (&json!("topic"), &json!(2)));
}

#[test]
fn an_event_that_nobody_listens_for_is_said_and_no_error() {
    let place = Place::new();
    let _hub = place.hub();
    let ran = place.run(&["emit", "hello"]);
    assert!(
        ran.expect(0).stderr.contains("nobody listens for hello"),
        "{ran:?}"
    );
}

#[test]
fn an_event_to_a_name_that_does_not_come_ends_with_4() {
    let place = Place::new();
    let _hub = place.hub();
    let ran = place.run(&[
        "emit",
        "hello",
        "--to",
        "absent",
        "--deadline",
        "100ms",
        "--json",
    ]);
    let object = ran.object();
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert_eq!(
        (&object["delivered"], &object["refused"]),
        (&json!(0), &json!(1))
    );
}

#[test]
fn peers_shows_names_ids_and_what_is_handled() {
    let place = Place::new();
    let _hub = place.answering_hub();
    let ran = place.run(&["peers"]);
    let mut lines = ran.expect(0).stdout.lines();
    assert!(lines.next().unwrap().starts_with("NAME"), "{ran:?}");
    let hub = lines.next().unwrap();
    assert!(
        hub.starts_with("hub") && hub.contains("1#1") && hub.contains("math.add"),
        "{hub}"
    );
    assert_eq!(lines.next(), None, "the command itself is left out");
    let objects = place.run(&["peers", "--json"]).expect(0).objects();
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0]["name"], "hub");
    assert_eq!(
        (&objects[0]["id"], &objects[0]["generation"]),
        (&json!(1), &json!(1))
    );
    let space = &objects[0]["namespaces"][0];
    assert_eq!(space["name"], "_");
    assert_eq!(
        space["handlers"],
        json!(["fail", "math.add", "sleep", "upper"])
    );
}

#[test]
fn a_hub_tells_who_comes_and_goes_and_ends_with_130_on_ctrl_c() {
    let place = Place::new();
    let mut hub = place.hub();
    assert_eq!(
        hub.line(),
        json!({"event": "listening", "address": place.address()}).to_string()
    );
    place.run(&["peers"]).expect(0);
    for event in ["up", "down"] {
        let told: serde_json::Value = serde_json::from_str(&hub.line()).unwrap();
        assert_eq!((&told["event"], &told["id"]), (&json!(event), &json!(2)));
    }
    hub.signal(Signal::INT);
    assert_eq!(hub.code(), Some(130));
    assert!(!place.socket().exists(), "it tidies up");
}

#[test]
fn ctrl_c_ends_a_waiting_command_with_130_and_sigterm_with_143() {
    let place = Place::new();
    let _hub = place.answering_hub();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let on = place.start(&["on", "never", "--json"]);
        wait_until("the listener", || {
            place.run(&["peers"]).stdout.contains("never")
        });
        on.signal(signal);
        let ran = on.finish();
        ran.expect(code);
        assert!(!ran.stderr.contains("error"), "{ran:?}");
        wait_until("its goodbye", || {
            !place.run(&["peers"]).stdout.contains("never")
        });
    }
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let place = Place::new();
    let _hub = place.hub();
    let mut on = place.start(&["on", "hello"]);
    wait_until("the listener", || {
        place.run(&["peers"]).stdout.contains("hello")
    });
    place.run(&["emit", "hello", "1"]).expect(0);
    assert_eq!(on.line(), "1");
    drop(on.0.stdout.take());
    place.run(&["emit", "hello", "2"]);
    let ran = on.finish();
    ran.expect(0);
    assert!(
        !ran.stderr.contains("panicked") && !ran.stderr.contains("error"),
        "{ran:?}"
    );

    let mut peers = place.command(&["peers"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    peers.stdout(writer);
    let ran = Running(peers.spawn().unwrap()).finish();
    ran.expect(0);
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
}
