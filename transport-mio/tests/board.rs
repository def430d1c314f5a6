//! Boards in one poll loop, over real sockets.

mod common;

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::{Loop, address_in, first_hub};
use switchboard_mio::name::{Call, Event};
use switchboard_mio::{
    Answered, AttachRefusal, Board, Fault, Hub, Incoming, JoinError, Raw, Reason, Refusal,
    ReplyRefusal, RequestError, SendError, SendRefusal, State,
};
use switchboard_proto::Config;

const ADD: Call<(i32, i32), i32> = Call::new("math.add");
const BLOB: Event<Raw> = Event::new("blob");

fn pair(address: &str) -> Loop<2> {
    let hub = first_hub()
        .handle(ADD)
        .listen_to_all()
        .listen(address)
        .unwrap();
    let actual = hub.address().unwrap().to_string();
    let member = Board::builder()
        .name("member")
        .listen_to_all()
        .join(actual)
        .unwrap();
    let mut both = Loop::new([hub, member]);
    both.until_up(2);
    both
}

/// Asks the hub to add, once.
fn add(both: &mut Loop<2>, a: i32, b: i32) -> Result<i32, RequestError> {
    let id = both.boards[1].request(ADD, &(a, b)).send()?;
    both.until("the sum", |boards, at, incoming| match incoming {
        Incoming::Request(request) => {
            assert_eq!((at, request.name()), (0, "math.add"));
            let (a, b): (i32, i32) = request.decode().unwrap();
            let result = a.checked_add(b).ok_or_else(|| Fault::new("too large"));
            let board = &mut boards[0];
            match &result {
                Ok(sum) => request.reply(board, Ok(sum)).unwrap(),
                Err(fault) => request.reply::<i32>(board, Err(fault.clone())).unwrap(),
            }
            None
        }
        Incoming::Reply { id: of, outcome } => {
            assert_eq!((at, of), (1, id));
            Some(outcome.decode())
        }
        _ => None,
    })
}

#[test]
fn a_request_is_answered_over_a_unix_socket_and_over_tcp() {
    let folder = tempfile::tempdir().unwrap();
    for address in [address_in(&folder), "tcp://127.0.0.1:0".to_owned()] {
        let mut both = pair(&address);
        assert_eq!(add(&mut both, 2, 3).unwrap(), 5);
        let error = add(&mut both, i32::MAX, 1).unwrap_err();
        assert!(
            matches!(&error, RequestError::Failed(fault) if fault.message == "too large"),
            "{error}"
        );
    }
}

#[test]
fn what_is_sent_before_the_hub_is_there_arrives_when_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let address = address_in(&folder);
    let mut member = Board::join(&address).unwrap();
    let id = member.request(ADD, &(1, 1)).to(Hub).send().unwrap();
    let hub = Board::builder().handle(ADD).listen(&address).unwrap();
    let mut both = Loop::new([hub, member]);
    let sum: i32 = both.until("the sum", |boards, _, incoming| match incoming {
        Incoming::Request(request) => {
            request.reply(&mut boards[0], Ok(&2)).unwrap();
            None
        }
        Incoming::Reply { id: of, outcome } => {
            assert_eq!(of, id);
            Some(outcome.decode().unwrap())
        }
        _ => None,
    });
    assert_eq!(sum, 2);
}

/// Each round needs a wake-up of each board: one that is missed leaves both asleep for good.
#[test]
fn hazard_x3_a_nested_board_misses_no_wake_up() {
    let default = if cfg!(debug_assertions) {
        5_000
    } else {
        100_000
    };
    let rounds =
        std::env::var("SWITCHBOARD_ROUNDS").map_or(default, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().unwrap();
    let mut both = pair(&address_in(&folder));
    for round in 0..rounds {
        assert_eq!(add(&mut both, round, 1).unwrap(), round + 1);
    }
}

#[test]
fn many_large_events_in_both_directions_all_arrive_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut both = pair(&address_in(&folder));
    let (mut sent, mut got) = ([0_u32; 2], [0_u32; 2]);
    let count = 300;
    let end = Instant::now() + common::PATIENCE;
    while got != [count; 2] {
        for (at, sent) in sent.iter_mut().enumerate() {
            while *sent < count {
                let mut blob = vec![0; 40_000];
                blob[..4].copy_from_slice(&sent.to_be_bytes());
                let to = both.boards[1 - at].id().unwrap();
                match both.boards[at].emit(BLOB, &Raw::from(blob)).to(to).send() {
                    Ok(_) => *sent += 1,
                    Err(error) => {
                        assert!(error.is_full(), "{error}");
                        break;
                    }
                }
            }
        }
        both.round(Duration::from_secs(1));
        for (board, got) in both.boards.iter_mut().zip(&mut got) {
            while let Some(incoming) = board.poll_incoming() {
                if let Incoming::Event(event) = incoming {
                    let Raw(blob) = event.decode().unwrap();
                    assert_eq!(blob[..4], got.to_be_bytes());
                    *got += 1;
                }
            }
        }
        assert!(Instant::now() < end, "{sent:?} sent, {got:?} arrived");
    }
}

#[test]
fn a_full_buffer_gives_the_message_back_and_says_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let address = address_in(&folder);
    let hub = first_hub().listen_to_all().listen(&address).unwrap();
    let mut config = Config::default();
    config.send_buffer = 100_000;
    let member = Board::builder()
        .config(|default| *default = config)
        .join(&address)
        .unwrap();
    let mut both = Loop::new([hub, member]);
    both.until_up(2);
    let blob = Raw::from(vec![7_u8; 30_000]);
    let refused = loop {
        match both.boards[1].emit(BLOB, &blob).to(Hub).send() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(refused.is_full(), "{refused}");
    let message = refused.into_message().unwrap();
    assert_eq!(message.event, "blob");
    both.until("room", |_, at, incoming| {
        (at == 1 && matches!(incoming, Incoming::Sendable(_))).then_some(())
    });
    both.boards[1].resend(message, Default::default()).unwrap();
}

#[test]
fn a_reply_whose_descriptors_cannot_go_comes_back_with_its_request() {
    let mut both = pair("tcp://127.0.0.1:0");
    let id = both.boards[1].request(ADD, &(1, 2)).send().unwrap();
    let request = both.until("the request", |_, _, incoming| match incoming {
        Incoming::Request(request) => Some(request),
        _ => None,
    });
    let (near, _far) = UnixStream::pair().unwrap();
    let raw = near.as_raw_fd();
    let hub = &mut both.boards[0];
    let refused = request.attach(near).reply(hub, Ok(&3)).unwrap_err();
    let unsupported = ReplyRefusal::Attachments(SendRefusal::AttachmentsUnsupported);
    assert_eq!(refused.reason, unsupported);
    assert_eq!(
        refused.descriptors[0].as_fd().as_raw_fd(),
        raw,
        "it comes back"
    );
    let request = refused.request.expect("it still waits for an answer");
    request.reply(hub, Ok(&3)).unwrap();
    let answered: Answered<i32> = both.until("the reply", |_, _, incoming| match incoming {
        Incoming::Reply { id: of, outcome } if of == id => Some(outcome.decode().unwrap()),
        _ => None,
    });
    assert_eq!((answered.value, answered.descriptors.len()), (3, 0));
}

#[test]
fn descriptors_move_and_are_the_receiver_s() {
    let folder = tempfile::tempdir().unwrap();
    let mut both = pair(&address_in(&folder));
    let (ours, theirs) = UnixStream::pair().unwrap();
    let sent = both.boards[1]
        .emit("take", "this")
        .to(Hub)
        .attach(theirs)
        .send();
    sent.unwrap();
    let got: OwnedFd = both.until("the descriptor", |_, _, incoming| match incoming {
        Incoming::Event(mut event) => Some(event.take_fd().expect("it came along")),
        _ => None,
    });
    UnixStream::from(got).write_all(b"x").unwrap();
    let mut byte = [0];
    (&ours).read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
    // Both copies are gone: the sender's is closed when it hears that this one arrived.
    ours.set_nonblocking(true).unwrap();
    let end = Instant::now() + common::PATIENCE;
    while (&ours).read(&mut byte).is_err() {
        both.round(Duration::from_millis(10));
        assert!(Instant::now() < end, "a copy is still open");
    }
}

#[test]
fn descriptors_over_tcp_are_refused_and_come_back() {
    let mut both = pair("tcp://127.0.0.1:0");
    let fd = std::io::stderr().as_fd().try_clone_to_owned().unwrap();
    let error = both.boards[1]
        .emit("take", "this")
        .to(Hub)
        .attach(fd)
        .send()
        .unwrap_err();
    let unsupported = SendRefusal::AttachmentsUnsupported;
    assert!(
        matches!(error.reason(), Reason::NotAccepted(reason) if *reason == unsupported),
        "{error}"
    );
    assert_eq!(error.into_attachments().len(), 1);
}

#[test]
fn a_stranger_that_writes_garbage_is_cut_off_and_hurts_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut both = pair(&address_in(&folder));
    let mut strangers = Vec::new();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 100_000],
        &[0; 100_000],
        b"",
    ] {
        let mut stranger = UnixStream::connect(folder.path().join("hub")).unwrap();
        stranger.set_nonblocking(true).unwrap();
        // As much as goes: the hub reads no more of it than it must.
        let _ = stranger.write(garbage);
        strangers.push(stranger);
        assert_eq!(add(&mut both, 20, 3).unwrap(), 23);
    }
    // The silent one, too: within the 2 s that a hello may take.
    let end = Instant::now() + common::PATIENCE;
    for stranger in &mut strangers {
        let mut sink = [0; 4096];
        loop {
            match stranger.read(&mut sink) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    both.round(Duration::from_millis(50));
                }
                // It was closed with garbage unread.
                Err(_) => break,
            }
            assert!(Instant::now() < end, "a stranger is still connected");
        }
    }
    assert_eq!(add(&mut both, 1, 2).unwrap(), 3);
    assert_eq!(both.boards[0].roster().peers().count(), 2);
}

#[test]
fn hazard_x5_more_ready_links_than_one_report_holds_are_all_read_in_one_turn() {
    // More than the kernel reports at once; each of them a hello that has not ended.
    const BUSY: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let mut both = pair(&address_in(&folder));
    let mut busy = Vec::new();
    while both.boards[0].stats().io.accepted < BUSY as u64 + 1 {
        if busy.len() < BUSY {
            busy.push(UnixStream::connect(folder.path().join("hub")).unwrap());
        }
        both.boards[0].drive().unwrap();
    }
    let before = both.boards[0].stats().io.reads;
    for stream in &mut busy {
        stream.write_all(&[0]).unwrap();
    }
    // The light one comes last.
    let blob = Raw::from(vec![1]);
    both.boards[1].emit(BLOB, &blob).to(Hub).send().unwrap();
    both.boards[1].flush();
    both.boards[0].drive().unwrap();
    let reads = both.boards[0].stats().io.reads - before;
    assert!(reads > BUSY as u64, "only {reads} links were read");
    let mut heard = false;
    while let Some(incoming) = both.boards[0].poll_incoming() {
        heard |= matches!(incoming, Incoming::Event(event) if event.name() == "blob");
    }
    assert!(heard, "the light link waits behind the busy ones");
}

#[test]
fn an_idle_board_sleeps_until_nothing_at_all_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let mut both = pair(&address_in(&folder));
    add(&mut both, 1, 1).unwrap();
    // What is left: marks, and the end of the pending time.
    let mut quiet = 0;
    for _ in 0..200 {
        for board in &mut both.boards {
            while board.poll_incoming().is_some() {}
        }
        quiet = if both.round(Duration::from_millis(20)) {
            0
        } else {
            quiet + 1
        };
        if quiet == 3 {
            break;
        }
    }
    assert_eq!(quiet, 3, "it never came to rest");
    for board in &mut both.boards {
        assert_eq!(board.timeout(), None, "nothing is due on a local link");
    }
    let before = both.boards.each_ref().map(|board| board.stats().io);
    assert!(!both.round(Duration::from_millis(300)), "nothing woke it");
    let after = both.boards.each_ref().map(|board| board.stats().io);
    assert_eq!(before, after, "no system call while nothing happens");
}

/// The kernel reports bytes and the end in one edge, and reports nothing after it.
#[test]
fn hazard_x3_an_end_that_comes_with_the_last_bytes_is_not_missed() {
    let folder = tempfile::tempdir().unwrap();
    let hub = first_hub().handle(ADD).listen(address_in(&folder));
    let mut alone = Loop::new([hub.unwrap()]);
    while alone.boards[0].timeout().is_some() {
        while alone.boards[0].poll_incoming().is_some() {}
        alone.round(Duration::from_millis(10));
    }
    for _ in 0..20 {
        let mut stranger = UnixStream::connect(folder.path().join("hub")).unwrap();
        // Accepted first, so that what follows comes in edges of its own.
        while alone.boards[0].timeout().is_none() {
            alone.round(Duration::from_secs(5));
        }
        while alone.boards[0].timeout() == Some(Duration::ZERO) {
            alone.round(Duration::ZERO);
        }
        stranger.write_all(&[0, 0]).unwrap();
        drop(stranger);
        let end = Instant::now() + Duration::from_secs(1);
        while alone.boards[0].timeout().is_some() {
            while alone.boards[0].poll_incoming().is_some() {}
            assert!(Instant::now() < end, "the deadline of its hello still runs");
            alone.round(Duration::from_millis(100));
        }
    }
}

#[test]
fn a_name_that_nobody_handles_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut both = pair(&address_in(&folder));
    let id = both.boards[1]
        .request::<_, ()>("nobody", &())
        .to(Hub)
        .send()
        .unwrap();
    let error = both.until("the refusal", |_, _, incoming| match incoming {
        Incoming::Reply { id: of, outcome } => {
            assert_eq!(of, id);
            outcome.decode::<()>().err()
        }
        _ => None,
    });
    assert_eq!(error.refusal(), Some(Refusal::NoHandler));
    let nobody = both.boards[1].request::<_, ()>("nobody", &()).send();
    let nobody = nobody.unwrap_err();
    assert!(
        matches!(nobody.reason(), Reason::NotAccepted(SendRefusal::NoHandler)),
        "{nobody:?}"
    );
}

#[test]
fn what_cannot_be_says_what_to_write() {
    let error = Board::join("demo.sock").unwrap_err();
    assert!(matches!(error, JoinError::Address(_)), "{error}");
    assert!(error.to_string().contains("unix:/absolute/path"), "{error}");
    let error = Board::builder()
        .name("a#1")
        .join("unix:/tmp/none")
        .unwrap_err();
    assert!(matches!(error, JoinError::Name(_)), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let address = address_in(&folder);
    let first = Board::listen(&address).unwrap();
    let second = Board::listen(&address).unwrap_err();
    assert!(second.to_string().contains("in use"), "{second}");
    drop(first);
    assert!(Board::listen(&address).is_ok(), "its name is free again");
    let error = SendError::new(Reason::Refused(Refusal::Closed), None);
    let error = RequestError::NotRun(error);
    assert!(error.is_not_run() && error.refusal() == Some(Refusal::Closed));
    assert!(error.to_string().contains("closing"), "{error}");
}

#[test]
fn a_join_that_cannot_succeed_ends_at_once_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let missing = address_in(&folder).replace("/hub", "/missing/hub");
    for (address, advice) in [
        (missing.as_str(), "directory"),
        ("tcp://192.0.2.1:7000", "127.0.0.1"),
        ("tcp://nowhere", "write tcp://host:port"),
        ("hub", "write unix:/absolute/path"),
    ] {
        let error = Board::join(address).unwrap_err();
        assert!(error.to_string().contains(advice), "{error}");
        // What `main` prints of an error that it returns.
        assert_eq!(format!("{error:?}"), error.to_string());
    }
}

#[test]
fn a_board_whose_name_is_taken_is_told_what_helps() {
    let folder = tempfile::tempdir().unwrap();
    let both = pair(&address_in(&folder));
    let [hub, member] = both.boards;
    let second = Board::builder()
        .name("member")
        .join(hub.address().unwrap().to_string())
        .unwrap();
    let mut all = Loop::new([hub, member, second]);
    let reason = all.until("the refusal", |_, at, incoming| match incoming {
        Incoming::State(State::Refused(reason)) => Some((at, reason)),
        _ => None,
    });
    assert_eq!(reason, (2, AttachRefusal::NameTaken));
    let said = reason.1.to_string();
    assert!(said.contains("choose another"), "{said}");
}
