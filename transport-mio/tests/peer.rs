//! The blocking handle, over real sockets and with real processes.

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{PATIENCE, address_in, hub, member, start};
use switchboard_mio::name::Call;
use switchboard_mio::{
    Board, Cx, Everyone, Fault, Hub, Peer, Reason, Receipt, Refusal, RegisterError, RequestError,
    State, UnknownCause,
};

const ADD: Call<(i32, i32), i32> = Call::new("math.add");

#[test]
fn a_request_is_answered_and_a_fault_arrives_with_its_text() {
    let folder = tempfile::tempdir().unwrap();
    for address in [address_in(&folder), "tcp://127.0.0.1:0".to_owned()] {
        let hub = hub(&address);
        hub.on(ADD, |(a, b): (i32, i32)| {
            a.checked_add(b)
                .ok_or_else(|| Fault::new("too large").with_code(7))
        })
        .forever();
        start(&hub);
        let member = member("one", hub.address().unwrap());
        assert_eq!(member.request(ADD, &(2, 3)).wait().unwrap(), 5);
        let error = member.request(ADD, &(i32::MAX, 1)).to(Hub).wait();
        let Err(RequestError::Failed(fault)) = error else {
            panic!("{error:?}")
        };
        assert_eq!((fault.message.as_str(), fault.code), ("too large", 7));
    }
}

#[test]
fn hazard_x1_a_panic_in_a_handler_is_a_failure_and_the_link_stays() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    hub.on("panic", |text: String| -> Result<(), Fault> {
        panic!("{text}")
    })
    .forever();
    hub.on(ADD, |(a, b): (i32, i32)| Ok(a + b)).forever();
    start(&hub);
    let member = member("one", hub.address().unwrap());
    let error = member.request::<_, ()>("panic", "boom").to(Hub).wait();
    let Err(RequestError::Failed(fault)) = error else {
        panic!("{error:?}")
    };
    assert_eq!(fault.message, "the handler panicked: boom");
    assert_eq!(member.request(ADD, &(2, 3)).wait().unwrap(), 5);
    assert_eq!(member.stats().io.dials, 1, "the same link");
}

#[test]
fn events_come_in_order_to_listeners_in_order_and_once_comes_once() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let listen = |who: &'static str| {
        let seen = Arc::clone(&seen);
        move |n: u32| {
            seen.lock().unwrap().push((who, n));
            Ok(())
        }
    };
    let first = hub.on("tick", listen("first"));
    // A string names requests too, of which there is one handler.
    assert!(first.answers_requests());
    const ASK: switchboard_mio::name::Call<u32, ()> = switchboard_mio::name::Call::new("tick");
    let refused = hub.on(ASK, listen("other")).checked().unwrap_err();
    let name = String::from("tick");
    assert_eq!(refused, RegisterError::HandlerExists { name });
    const TICK: switchboard_mio::name::Event<u32> = switchboard_mio::name::Event::new("tick");
    let second = hub.on(TICK, listen("second"));
    hub.once(TICK, listen("once")).forever();
    hub.ready();
    let member = member("one", hub.address().unwrap());
    for n in 0..3 {
        member.emit(TICK, &n).to(Hub).send().unwrap();
    }
    let server = std::thread::scope(|scope| {
        let serving = scope.spawn(|| hub.serve_for(Duration::from_secs(2)));
        let left = member.drain(PATIENCE);
        assert!(left.is_empty(), "{left:?}");
        serving.join()
    });
    server.unwrap();
    let seen = seen.lock().unwrap().clone();
    let expected = [
        ("first", 0),
        ("second", 0),
        ("once", 0),
        ("first", 1),
        ("second", 1),
        ("first", 2),
        ("second", 2),
    ];
    assert_eq!(seen, expected);
    first.cancel();
    drop(second);
}

#[test]
fn who_has_waited_until_it_is_announced_is_known_before_what_it_sends() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    hub.announced(Duration::ZERO).unwrap();
    let mut here = hub.events_of::<u32>("here");
    let member = member("one", hub.address().unwrap());
    hub.spawn().unwrap();
    const ADD: switchboard_mio::name::Call<u32, u32> = switchboard_mio::name::Call::new("add");
    let _add = member.on(ADD, |n: u32| Ok(n + 1));
    member.ready();
    assert!(member.announced(Duration::ZERO).is_err());
    member.announced(PATIENCE).unwrap();
    member.emit("here", &1_u32).to(Hub).wait().unwrap();
    here.next_within(PATIENCE).expect("it was sent");
    assert!(hub.peers().iter().any(|peer| peer.handles("", "add")));
}

#[test]
fn events_can_be_taken_one_by_one_without_a_handler() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    let mut events = hub.events_of::<u32>("n");
    hub.ready();
    let member = member("one", hub.address().unwrap());
    let sender = std::thread::spawn(move || {
        for n in 0..3000_u32 {
            member.emit("n", &n).to(Hub).wait().unwrap();
        }
        member.drain(PATIENCE)
    });
    for n in 0..3000_u32 {
        let event = events.next_within(PATIENCE).expect("it was sent");
        assert_eq!(event.decode().unwrap(), n);
    }
    // What was taken has to be told to the sender.
    assert!(events.next_within(Duration::from_millis(200)).is_none());
    assert!(sender.join().unwrap().is_empty());
}

#[test]
fn a_receipt_says_whether_the_handler_took_it() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    hub.on("good", |_: u32| Ok(())).forever();
    hub.on("bad", |_: u32| Err::<(), _>(Fault::new("no")))
        .forever();
    start(&hub);
    let member = member("one", hub.address().unwrap());
    let emit = |name: &str| {
        let emit = member.emit(name, &1_u32).to(Hub);
        emit.receipt(Receipt::Handled).wait()
    };
    emit("good").unwrap();
    let error = emit("bad").unwrap_err();
    assert!(matches!(error.reason(), Reason::HandlerFailed), "{error}");
    let error = emit("nobody").unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::NoHandler), "{error}");
}

#[test]
fn a_hub_that_comes_back_is_found_again_and_the_states_tell() {
    let folder = tempfile::tempdir().unwrap();
    let address = address_in(&folder);
    let first = hub(&address);
    start(&first);
    let member = member("one", &address);
    let mut states = member.state();
    member.connected(PATIENCE).unwrap();
    drop(first);
    let mut story = Vec::new();
    let second = std::cell::OnceCell::new();
    while story.len() < 3 {
        match states.next_within(PATIENCE).expect("the story goes on") {
            State::Connected { .. } => story.push("connected"),
            State::Disconnected(_) => {
                story.push("disconnected");
                // The thread of the first one may still hold its lock for a moment.
                let end = Instant::now() + PATIENCE;
                let board = loop {
                    match Board::listen(&address) {
                        Ok(board) => break board,
                        Err(error) => assert!(Instant::now() < end, "{error}"),
                    }
                };
                let second = second.get_or_init(|| board.blocking());
                second.on(ADD, |(a, b): (i32, i32)| Ok(a + b)).forever();
                start(second);
            }
            _ => {}
        }
    }
    assert_eq!(story, ["connected", "disconnected", "connected"]);
    assert_eq!(member.request(ADD, &(2, 3)).to(Hub).wait().unwrap(), 5);
}

#[test]
fn serving_ends_when_the_hub_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    let mut config = switchboard_mio::Config::default();
    config.reconnect = switchboard_mio::Reconnect::never();
    let board = Board::builder().config(|default| *default = config);
    let member = board.join(hub.address().unwrap()).unwrap().blocking();
    let (said, heard) = std::sync::mpsc::channel();
    let serving = member.clone();
    std::thread::spawn(move || {
        serving.serve();
        said.send(()).unwrap();
    });
    start(&hub);
    while member.connected(Duration::from_millis(100)).is_err() {}
    assert!(heard.try_recv().is_err(), "it serves");
    drop(hub);
    assert!(heard.recv_timeout(PATIENCE).is_ok(), "it serves nobody");
}

#[test]
#[ignore = "a part of `a_peer_that_is_killed_is_known_to_be_gone_at_once`"]
fn part_that_never_answers() {
    let Some(address) = common::part() else {
        return;
    };
    let peer = member("victim", &address);
    peer.on("hang", |cx: Cx, (): ()| {
        cx.peer().emit("begun", &()).to(cx.from()).wait()?;
        loop {
            std::thread::park();
        }
        #[allow(unreachable_code)]
        Ok(())
    })
    .forever();
    peer.ready();
    peer.serve();
}

#[test]
fn a_peer_that_is_killed_is_known_to_be_gone_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    let begun = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&begun);
    hub.on("begun", move |_: ()| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
    .forever();
    start(&hub);
    let mut child = common::start_part("part_that_never_answers", &hub.address().unwrap());
    let request = hub.request::<_, ()>("hang", &()).to("victim");
    let pending = request.deadline(Duration::MAX).send().unwrap();
    let end = Instant::now() + PATIENCE;
    while begun.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < end, "it never began");
        std::thread::yield_now();
    }
    assert!(!pending.is_done());
    child.kill().unwrap();
    let killed = Instant::now();
    let outcome = pending.wait();
    let took = killed.elapsed();
    assert!(
        matches!(outcome, Err(RequestError::Unknown(UnknownCause::PeerGone))),
        "{outcome:?}"
    );
    assert!(took < Duration::from_secs(2), "{took:?}");
    child.wait().unwrap();
}

#[test]
#[ignore = "a part of `a_peer_in_a_program_without_standard_descriptors_keeps_to_its_own`"]
fn part_that_prints_and_asks() {
    let Some(address) = common::part() else {
        return;
    };
    // Its sockets would have the lowest free numbers, and these are what a print writes to.
    let peer = member("bare", &address);
    for n in 0..100 {
        println!("stray line {n}");
        eprintln!("stray line {n} on stderr");
        assert_eq!(peer.request(ADD, &(n, 1)).wait().unwrap(), n + 1);
    }
}

#[test]
fn a_peer_in_a_program_without_standard_descriptors_keeps_to_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    hub.on(ADD, |(a, b): (i32, i32)| Ok(a + b)).forever();
    start(&hub);
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let address = hub.address().unwrap();
        let ended = common::start_part_closing("part_that_prints_and_asks", &address, closed)
            .wait()
            .unwrap();
        assert!(ended.success(), "{closed}: {ended}");
    }
    assert_eq!(hub.stats().io.accepted, 4);
}

#[test]
fn dropping_a_request_cancels_it_and_its_handler_sees_that() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    let (said, heard) = std::sync::mpsc::channel();
    hub.on("slow", move |cx: Cx, (): ()| {
        let _ = said.send("begun");
        let end = Instant::now() + PATIENCE;
        while !cx.is_cancelled() && Instant::now() < end {
            std::thread::yield_now();
        }
        let _ = said.send(if cx.is_cancelled() {
            "cancelled"
        } else {
            "not in time"
        });
        Ok(())
    })
    .forever();
    start(&hub);
    hub.spawn().unwrap(); // one that drives while the other is in the handler
    let member = member("one", hub.address().unwrap());
    member.spawn().unwrap();
    let pending = member.request::<_, ()>("slow", &()).to(Hub).send().unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE), Ok("begun"));
    drop(pending);
    assert_eq!(heard.recv_timeout(PATIENCE), Ok("cancelled"));
}

#[test]
fn a_full_buffer_makes_the_caller_wait_and_everything_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    let sum = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&sum);
    hub.on("blob", move |blob: Vec<u8>| {
        count.fetch_add(u32::from(blob[0]), Ordering::Relaxed);
        Ok(())
    })
    .forever();
    start(&hub);
    let mut config = switchboard_proto::Config::default();
    config.send_buffer = 50_000;
    let board = Board::builder().config(|default| *default = config);
    let member = board.join(hub.address().unwrap()).unwrap().blocking();
    member.connected(PATIENCE).unwrap();
    for _ in 0..100 {
        member
            .emit("blob", &vec![1_u8; 20_000])
            .to(Hub)
            .wait()
            .unwrap();
    }
    assert!(member.drain(PATIENCE).is_empty());
    assert_eq!(sum.load(Ordering::Relaxed), 100);
}

#[test]
fn everyone_hears_an_event_but_the_sender_and_the_excepted() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    start(&hub);
    let address = hub.address().unwrap();
    let members: Vec<Peer> = ["a", "b", "c"].map(|name| member(name, &address)).into();
    let mut heard: Vec<_> = members
        .iter()
        .map(|member| {
            let events = member.events_of::<String>("hello");
            member.ready();
            member.connected(PATIENCE).unwrap();
            events
        })
        .collect();
    let end = Instant::now() + PATIENCE;
    while members[0].peers().iter().filter(|peer| peer.is_up).count() < 4 {
        assert!(Instant::now() < end, "not everybody came up");
        for member in &members {
            member.serve_for(Duration::from_millis(10));
        }
    }
    let third = members[2].id().unwrap();
    let emit = members[0].emit("hello", "all").to(Everyone);
    emit.except(&[third]).send().unwrap();
    let text = heard[1].next_within(PATIENCE).expect("b hears it");
    assert_eq!(text.decode().unwrap(), "all");
    for at in [0, 2] {
        assert!(heard[at].next_within(Duration::from_millis(100)).is_none());
    }
}
