//! What goes wrong before anything is sent: which exit code, and what is said.

mod support;

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{Place, Running, SWITCHBOARD, wait_until};

#[test]
fn an_address_or_name_that_can_be_none_is_wrong_usage_and_said_once() {
    let place = Place::new();
    let missing = format!("unix:{}/missing/hub.sock", place.path().display());
    let directory = format!("unix:{}", place.path().display());
    std::fs::write(place.path().join("file"), "").unwrap();
    let file = format!("{directory}/file");
    for (args, said) in [
        (&["call", ""][..], "1 to 255 bytes"),
        (&["emit", &"x".repeat(256)], "1 to 255 bytes"),
        (&["on", ""], "1 to 255 bytes"),
        (&["peers", "-a", &missing], "mode 0700"),
        (&["peers", "-a", "tcp://192.0.2.1:5"], "use 127.0.0.1"),
        (&["peers", "-a", &directory], "add the name of the socket"),
        (&["on", "x", "-a", &file], "is not a socket"),
        (&["hub", &missing], "mode 0700"),
        (&["hub", &directory], "add the name of the socket"),
        (&["hub", "tcp://0.0.0.0:0"], "0.0.0.0 is not loopback"),
    ] {
        let ran = place.run(args);
        assert!(ran.expect(2).stderr.contains(said), "{ran:?}");
    }
}

#[test]
fn a_hub_that_cannot_listen_leaves_no_lock_behind() {
    let place = Place::new();
    std::fs::write(place.socket(), "not a socket").unwrap();
    place.run(&["hub"]).expect(2);
    let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn hazard_p7_a_stopped_hub_is_waited_for_no_longer_than_was_said() {
    let place = Place::new();
    let hub = place.hub();
    hub.signal(Signal::STOP);
    let begin = Instant::now();
    let ran = place.run(&["peers", "--wait", "300ms"]);
    let took = begin.elapsed();
    hub.signal(Signal::CONT);
    assert!(ran.expect(3).stderr.contains("does not answer"), "{ran:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_hub_tells_of_a_connection_that_it_refused() {
    let place = Place::new();
    let mut hub = place.hub();
    let mut stranger = UnixStream::connect(place.socket()).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(hub.line().contains("listening"));
    let line = hub.line();
    assert!(line.contains("\"refused\""), "{line}");
    assert!(
        line.contains("it speaks something else"),
        "nobody's defect: {line}"
    );
}

#[test]
fn what_makes_no_sense_is_an_object_where_objects_were_asked_for() {
    let place = Place::new();
    for (args, said) in [
        (&["peers", "--json", "--nonsense"][..], "'--nonsense'"),
        (&["--json", "call"], "<EVENT>"),
        (&["call", "x", "--deadline", "3", "--json"], "200ms"),
        (&["--json"], "one of demo, hub"),
        (&["emit", "x", "{", "--json"], "no JSON"),
    ] {
        let ran = place.run(args);
        let lines: Vec<&str> = ran.expect(2).stderr.lines().collect();
        let object: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!(lines.len(), 1, "{ran:?}");
        assert_eq!((&object["ok"], &object["exit"]), (&false.into(), &2.into()));
        let error = object["error"].as_str().unwrap();
        assert!(error.contains(said) && !error.contains('\n'), "{error}");
        assert!(!error.contains("__"), "what is hidden stays so: {error}");
    }
    // Behind two dashes it is data, and asks for nothing.
    let ran = place.run(&["call", "--deadline", "3", "--", "x", "--json"]);
    assert!(ran.expect(2).stderr.starts_with("error: "), "{ran:?}");
}

#[test]
fn options_that_mean_nothing_for_a_command_are_refused() {
    let place = Place::new();
    for args in [
        &["demo", "--wait", "3s"][..],
        &["demo", "-a", "unix:/x"],
        &["bench", "call", "--wait", "3s"],
        &["bench", "call", "-a", "unix:/x"],
        &["hub", "--wait", "3s"],
        &["on", "x", "--raw"],
        &["call", "x", "--nonsense"],
    ] {
        let ran = place.run(args);
        assert!(ran.expect(2).stderr.contains("unexpected"), "{ran:?}");
    }
}

#[test]
fn what_cannot_be_printed_ends_with_1_and_says_why() {
    let place = Place::new();
    let _hub = place.hub();
    for args in [
        &["peers"][..],
        &["peers", "--json"],
        &["call", "x", "--json"],
        &["emit", "x", "--json"],
        &["demo"],
        &["bench", "call", "--duration", "50ms"],
        &["--help"],
    ] {
        let mut command = place.command(args);
        command.stdout(std::fs::File::create("/dev/full").unwrap());
        let ran = Running(command.spawn().unwrap()).finish();
        assert!(
            ran.expect(1).stderr.contains("writing to stdout"),
            "{ran:?}"
        );
        assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    }
}

#[test]
fn a_command_works_with_any_of_its_standard_descriptors_closed() {
    let place = Place::new();
    let _hub = place.hub();
    for closed in ["<&-", ">&-", "2>&-", "<&- 2>&-"] {
        let script = format!("exec \"$0\" peers {closed}");
        let mut command = Command::new("sh");
        command
            .args(["-c", &script, SWITCHBOARD])
            .env("SWITCHBOARD_ADDRESS", place.address())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let ran = Running(command.spawn().unwrap()).finish();
        // What std opens in the place of a closed stdout takes everything and keeps nothing.
        ran.expect(0);
        assert!(!ran.stderr.contains("panicked"), "{ran:?}");
        assert_eq!(ran.stdout.contains("hub"), closed != ">&-", "{ran:?}");
    }
}

#[test]
fn bytes_of_any_kind_can_be_data_on_the_command_line() {
    let place = Place::new();
    let _hub = place.answering_hub();
    let odd = OsStr::from_bytes(b"\xff\xfe");
    let mut command = place.command(&["call", "upper", "--raw"]);
    let ran = command.arg(odd).output().unwrap();
    assert_eq!(
        (ran.status.code(), &ran.stdout[..]),
        (Some(0), &b"\xff\xfe\n"[..])
    );
    let mut command = place.command(&["call", "upper"]);
    let ran = Running(command.arg(odd).spawn().unwrap()).finish();
    assert!(ran.expect(2).stderr.contains("use --raw"), "{ran:?}");
}

#[test]
fn an_event_that_nobody_can_take_names_the_limit() {
    let place = Place::new();
    let _hub = place.hub();
    let _listener = place.start(&["on", "large"]);
    wait_until("the listener", || {
        place.run(&["peers"]).stdout.contains("large")
    });
    let large = place.path().join("large");
    std::fs::write(&large, vec![b'x'; 17 << 20]).unwrap();
    let mut command = place.command(&["emit", "large", "--raw", "-"]);
    command.stdin(std::fs::File::open(large).unwrap());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    let limit = "message of 17825792 bytes is larger than the receiver's limit of 16777216: raise its \
                 `message_cap`, or send parts";
    assert!(said.contains(limit), "{said}");
}

#[test]
fn names_that_others_chose_cannot_steer_the_terminal() {
    let place = Place::new();
    let _hub = place.hub();
    let name = "red\x1b[31m\r\n\tline";
    let _listener = place.start(&["on", name]);
    wait_until("the listener", || {
        place.run(&["peers"]).stdout.contains("red")
    });
    let ran = place.run(&["peers"]);
    assert_eq!(ran.expect(0).stdout.lines().count(), 3, "{ran:?}");
    assert!(ran.stdout.contains(r"red\u{1b}[31m\r\n\tline"), "{ran:?}");
    let ran = place.run(&["emit", name]);
    assert!(ran.expect(0).stderr.contains(r"red\u{1b}[31m\r"), "{ran:?}");
    assert!(!ran.stderr.contains('\x1b'), "{ran:?}");
}

#[test]
fn too_few_descriptors_end_with_1_and_say_what_to_raise() {
    let place = Place::new();
    let _hub = place.hub();
    let mut failed = 0;
    for limit in 4..=12 {
        let script = format!("ulimit -n {limit}; exec \"$0\" peers");
        let mut command = Command::new("sh");
        command
            .args(["-c", &script, SWITCHBOARD])
            .env("SWITCHBOARD_ADDRESS", place.address())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let ran = Running(command.spawn().unwrap()).finish();
        // Below, the loader of the program itself fails, with a code of its own.
        if ran.code == Some(1) {
            assert!(ran.stderr.contains("`ulimit -n`"), "{limit}: {ran:?}");
            failed += 1;
        }
        assert!(!ran.stderr.contains("panicked"), "{limit}: {ran:?}");
    }
    assert!(failed > 2, "only {failed} of them were too few");
}

#[test]
fn without_a_directory_for_sockets_the_way_out_is_said_once() {
    let place = Place::new();
    let nowhere = place.path().join("nowhere");
    for args in [&["demo"][..], &["bench", "call", "--duration", "50ms"]] {
        let mut command = place.command(args);
        command.env("TMPDIR", &nowhere);
        let ran = Running(command.spawn().unwrap()).finish();
        assert!(ran.expect(1).stderr.contains("TMPDIR"), "{ran:?}");
    }
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 20; exec \"$0\" demo", SWITCHBOARD])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ran = Running(command.spawn().unwrap()).finish();
    let times = ran.expect(1).stderr.matches("Too many open files").count();
    assert_eq!(times, 1, "{ran:?}");
}
