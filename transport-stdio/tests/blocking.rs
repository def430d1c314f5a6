//! A child without a node of the application's own, over the blocking handle; and children of a
//! `Board` in a loop.
#![cfg(feature = "blocking")]
// These programs are their own children, and a child ends with a code.
#![allow(clippy::disallowed_methods)]

mod support;

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use support::{PATIENCE, at_once, role, sleep_forever};
use switchboard_mio::{Board, Cx, Fault, Hub, InheritError, JoinError, RequestError, UnknownCause};
use switchboard_stdio::{Channel, ChildEvent, Spawn, StartError};

switchboard_os::run_role_before_main!(support::ROLE, play);

fn play(role: &str) {
    match role {
        "areas" => areas(),
        "calls back" => calls_back(),
        "web" => web(),
        "crashes" => crashes(),
        "ends when asked" => ends_when_asked(),
        "fails" => {
            eprintln!("cannot find the configuration");
            std::process::exit(78);
        }
        "silent" => sleep_forever(),
        role => panic!("unknown role {role}"),
    }
}

fn areas() {
    let parent = switchboard_stdio::parent().unwrap();
    let area = |(a, b): (f64, f64)| Ok(a * b);
    parent.on("area", area).forever();
    parent.ready();
    parent.serve();
}

#[test]
fn a_child_is_started_and_asked_in_two_lines() {
    for channel in [Channel::Socketpair, Channel::Pipes] {
        let child = role("areas").channel(channel).spawn().unwrap();
        let area: f64 = child.request("area", &(3.0, 4.0)).wait().unwrap();
        assert_eq!(area, 12.0);
        child.stop();
        let begun = Instant::now();
        assert!(child.wait_end(PATIENCE));
        // The end of its link ended it, and no signal.
        assert!(child.last_exit().unwrap().exit.success());
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
}

fn ends_when_asked() {
    let parent = switchboard_stdio::parent().unwrap();
    let end = |code: i32| -> Result<(), Fault> { std::process::exit(code) };
    parent.on("end", end).forever();
    parent.serve();
}

#[test]
fn a_child_that_ends_in_its_first_handler_has_said_hello() {
    for channel in [Channel::Socketpair, Channel::Pipes] {
        let child = role("ends when asked").channel(channel).spawn().unwrap();
        let outcome = child.request::<_, ()>("end", &3).wait();
        assert!(
            matches!(outcome, Err(RequestError::Unknown(UnknownCause::PeerGone))),
            "{outcome:?}"
        );
        assert!(child.wait_end(PATIENCE));
        let exited = child.last_exit().unwrap();
        assert!(exited.attached, "{exited}");
        assert!(exited.first_bytes.is_empty(), "{exited:?}");
        let events: Vec<_> = std::iter::from_fn(|| child.next_event()).collect();
        let attached = |event: &ChildEvent| matches!(event, ChildEvent::Attached { .. });
        assert!(events.iter().any(attached), "{events:?}");
    }
}

fn calls_back() {
    let parent = switchboard_stdio::parent().unwrap();
    let outer = |cx: Cx, n: i32| {
        let doubled: i32 = cx.peer().request("double", &n).to(Hub).wait()?;
        Ok(doubled + 1)
    };
    parent.on("outer", outer).forever();
    parent.serve();
}

#[test]
fn a_child_calls_its_parent_back_from_a_handler() {
    let child = role("calls back").spawn().unwrap();
    child.peer().on("double", |n: i32| Ok(n * 2)).forever();
    child.peer().spawn().unwrap();
    let answer: i32 = child.request("outer", &20).wait().unwrap();
    assert_eq!(answer, 41);
}

#[test]
fn a_program_that_does_not_exist_is_an_error_of_the_start() {
    let error = Spawn::new("/does/not/exist").spawn().unwrap_err();
    assert!(matches!(error, StartError::Spawn(_)));
    assert!(
        error
            .to_string()
            .starts_with("cannot start /does/not/exist")
    );
}

#[test]
fn a_request_to_a_child_that_is_given_up_is_refused_and_the_child_says_why() {
    let child = role("fails").restart(at_once(2)).spawn().unwrap();
    let begun = Instant::now();
    let refused = child.request::<_, f64>("area", &(1.0, 1.0)).wait();
    assert!(
        matches!(refused, Err(RequestError::NotRun(_))),
        "{refused:?}"
    );
    assert!(child.wait_end(PATIENCE));
    let report = child.last_exit().unwrap().to_string();
    assert!(report.contains("exited with code 78 and never said hello"));
    assert!(report.ends_with("cannot find the configuration"));
    // And from now on without any wait.
    let refused = child.request::<_, f64>("area", &(1.0, 1.0)).wait();
    assert!(
        matches!(refused, Err(RequestError::NotRun(_))),
        "{refused:?}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "no deadline was waited for"
    );
}

fn crashes() {
    let parent = switchboard_stdio::parent().unwrap();
    let crash = |_: ()| -> Result<(), switchboard_mio::Fault> { std::process::abort() };
    parent.on("crash", crash).forever();
    let pid = |_: ()| Ok(std::process::id());
    parent.on("pid", pid).forever();
    parent.serve();
}

#[test]
fn a_child_that_crashes_is_back_for_the_next_request() {
    let child = role("crashes").restart(at_once(5)).spawn().unwrap();
    let first: u32 = child.request("pid", &()).wait().unwrap();
    let crashed = child.request::<_, ()>("crash", &()).wait();
    assert!(
        matches!(crashed, Err(RequestError::Unknown(UnknownCause::PeerGone))),
        "{crashed:?}"
    );
    let second: u32 = child.request("pid", &()).wait().unwrap();
    assert_ne!(first, second);
    let mut told = Vec::new();
    while let Some(event) = child.next_event() {
        told.push(match event {
            ChildEvent::Started { attempt, .. } => format!("started {attempt}"),
            ChildEvent::Attached { id, generation } => format!("attached {id}#{generation}"),
            ChildEvent::Exited(exited) => format!("exited: {}", exited.exit),
            ChildEvent::Restarting { attempt, .. } => format!("restarting {attempt}"),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(told[..2], ["started 1", "attached 2#1"]);
    assert!(
        told[2].starts_with("exited: was killed by SIGABRT"),
        "{told:?}"
    );
    assert_eq!(told[3..], ["restarting 2", "started 2", "attached 2#2"]);
}

/// Serves one connection on the listening socket that it is handed.
fn web() {
    let parent = switchboard_stdio::parent().unwrap();
    let serve = |cx: Cx, greeting: String| {
        let fd = cx.take_fd().ok_or_else(|| Fault::new("no socket came"))?;
        let (mut connection, _) = TcpListener::from(fd).accept()?;
        std::io::Write::write_all(&mut connection, greeting.as_bytes())?;
        Ok(())
    };
    parent.on("serve", serve).forever();
    parent.serve();
}

#[test]
fn a_listening_socket_is_handed_to_a_worker() {
    let child = role("web").spawn().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    child
        .request::<_, ()>("serve", "hello from the worker")
        .attach(OwnedFd::from(listener))
        .queue_attachments()
        .wait()
        .unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut client, &mut text).unwrap();
    assert_eq!(text, "hello from the worker");
}

#[test]
fn children_of_a_board_in_a_loop_are_peers_of_its_application() {
    let mut board = Board::builder().alone().unwrap();
    let children: Vec<_> = (1..=3)
        .map(|n| {
            let name = format!("worker/{n}");
            role("areas").name(name).spawn_on(&mut board).unwrap()
        })
        .collect();
    let ids: Vec<_> = children
        .iter()
        .map(|child| {
            board
                .request::<_, f64>("area", &(2.0, 5.0))
                .to(child)
                .send()
        })
        .map(Result::unwrap)
        .collect();
    let (mut poll, mut events) = (mio::Poll::new().unwrap(), mio::Events::with_capacity(8));
    let readable = mio::Interest::READABLE;
    poll.registry()
        .register(&mut board, mio::Token(0), readable)
        .unwrap();
    let mut answers = 0;
    while answers < ids.len() {
        poll.poll(&mut events, board.timeout()).unwrap();
        board.drive().unwrap();
        while let Some(incoming) = board.poll_incoming() {
            if let switchboard_mio::Incoming::Reply { id, outcome } = incoming {
                assert!(ids.contains(&id));
                assert_eq!(outcome.decode::<f64>().unwrap(), 10.0);
                answers += 1;
            }
        }
    }
    assert_eq!(board.roster().peers().count(), 4);
}

#[test]
fn a_child_of_another_thread_s_peer_is_told_by_its_events() {
    let peer = Board::builder().alone().unwrap().blocking();
    peer.spawn().unwrap();
    let child = role("silent").spawn_on(&peer).unwrap();
    let started = child.wait_event(PATIENCE);
    assert!(
        matches!(started, Some(ChildEvent::Started { .. })),
        "{started:?}"
    );
    child.kill();
    let exited = child.wait_event(PATIENCE);
    let Some(ChildEvent::Exited(exited)) = exited else {
        panic!("{exited:?}")
    };
    assert_eq!(exited.exit.signal(), Some(9));
}

#[test]
fn a_program_started_by_hand_is_told_how_it_is_to_be_started() {
    let error = switchboard_stdio::parent().unwrap_err();
    assert!(matches!(error, JoinError::Parent(InheritError::NoParent)));
    assert!(
        error.to_string().contains("was not started by one"),
        "{error}"
    );
}
