//! What goes wrong before anything is sent: which exit code, and what is said.

mod support;

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{Place, wait_until};

#[test]
fn an_address_or_name_that_can_be_none_is_wrong_usage_and_said_once() {
    let place = Place::new();
    let missing = format!("unix:{}/missing/hub.sock", place.path().display());
    let directory = format!("unix:{}", place.path().display());
    for (args, said) in [
        (&["call", ""][..], "1 to 255 bytes"),
        (&["emit", &"x".repeat(256)], "1 to 255 bytes"),
        (&["on", ""], "1 to 255 bytes"),
        (&["peers", "-a", &missing], "mode 0700"),
        (&["peers", "-a", "tcp://192.0.2.1:5"], "use 127.0.0.1"),
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
