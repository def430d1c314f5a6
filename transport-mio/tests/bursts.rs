//! How many system calls it takes to write, and how soon what is sent leaves.

mod common;

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use common::{Loop, PATIENCE, address_in, first_hub};
use switchboard_mio::name::{Call, Event};
use switchboard_mio::{Board, Hub, Incoming, Peer};

const TOLD: Event<u32> = Event::new("told");
const ECHO: Call<u32, u32> = Call::new("echo");
const GATE: Call<(), ()> = Call::new("gate");

fn two_boards(folder: &tempfile::TempDir) -> Loop<2> {
    let address = address_in(folder);
    let hub = first_hub().handle(ECHO).listen_to(TOLD).listen(&address);
    let member = Board::builder().name("member").join(&address);
    let mut both = Loop::new([hub.unwrap(), member.unwrap()]);
    both.until_up(2);
    both
}

/// A hub whose handlers this many threads serve, and a member.
fn two_peers(
    folder: &tempfile::TempDir,
    threads: usize,
    register: impl FnOnce(&Peer),
) -> (Peer, Peer) {
    let hub = first_hub().listen(address_in(folder)).unwrap().blocking();
    register(&hub);
    hub.ready();
    for _ in 0..threads {
        hub.spawn().unwrap();
    }
    let member = Board::builder().name("member").join(address_in(folder));
    let member = member.unwrap().blocking();
    member.connected(PATIENCE).unwrap();
    // Names and first credit have come.
    member.request(ECHO, &0).to(Hub).wait().unwrap();
    (hub, member)
}

fn echo(hub: &Peer) {
    hub.on(ECHO, |n: u32| Ok(n)).forever();
}

fn writes(board: &Board) -> u64 {
    board.stats().io.writes
}

#[test]
fn a_burst_is_written_together_before_the_loop_waits() {
    let folder = tempfile::tempdir().unwrap();
    let mut both = two_boards(&folder);
    let before = writes(&both.boards[1]);
    for n in 0..100 {
        both.boards[1].emit(TOLD, &n).to(Hub).send().unwrap();
    }
    assert_eq!(writes(&both.boards[1]), before, "gathered");
    let _ = both.boards[1].timeout();
    assert_eq!(writes(&both.boards[1]), before + 1, "written together");
    let mut next = 0;
    both.until("all events", |_, at, incoming| {
        let Incoming::Event(event) = incoming else {
            return None;
        };
        assert_eq!((at, event.decode::<u32>().unwrap()), (0, next));
        next += 1;
        (next == 100).then_some(())
    });
}

#[test]
fn what_fills_a_write_leaves_while_the_burst_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut both = two_boards(&folder);
    let before = writes(&both.boards[1]);
    // Each takes more than 64 bytes with its header: 64 KiB at the latest with number 1,024.
    for n in 0..1024 {
        both.boards[1].emit(TOLD, &n).to(Hub).send().unwrap();
    }
    assert!(writes(&both.boards[1]) > before);
}

#[test]
fn answers_to_a_batch_share_their_write() {
    let folder = tempfile::tempdir().unwrap();
    let mut both = two_boards(&folder);
    let before = writes(&both.boards[0]);
    for n in 0..100 {
        both.boards[1].request(ECHO, &n).to(Hub).send().unwrap();
    }
    let mut left = 100;
    both.until("all answers", |boards, _, incoming| match incoming {
        Incoming::Request(request) => {
            let n: u32 = request.decode().unwrap();
            request.reply(&mut boards[0], Ok(&n)).unwrap();
            None
        }
        Incoming::Reply { outcome, .. } => {
            outcome.decode::<u32>().unwrap();
            left -= 1;
            (left == 0).then_some(())
        }
        _ => None,
    });
    // One, if this thread is not kept from its work for long in between.
    let written = writes(&both.boards[0]) - before;
    assert!(written <= 50, "{written} writes for 100 answers");
}

#[test]
fn a_lone_event_leaves_at_once_though_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let (tell, told) = mpsc::channel();
    let (_hub, member) = two_peers(&folder, 1, |hub| {
        echo(hub);
        let tell = move |n: u32| Ok(tell.send(n)?);
        hub.on(TOLD, tell).forever();
    });
    for n in 0..3 {
        member.emit(TOLD, &n).to(Hub).send().unwrap();
        assert_eq!(told.recv_timeout(PATIENCE), Ok(n));
    }
}

#[test]
fn a_corked_burst_leaves_together_with_the_last_cork() {
    let folder = tempfile::tempdir().unwrap();
    let (_hub, member) = two_peers(&folder, 1, echo);
    let before = member.stats().io.writes;
    let (first, second) = (member.cork(), member.cork());
    let pending: Vec<_> = (0..100)
        .map(|n| member.request(ECHO, &n).to(Hub).send().unwrap())
        .collect();
    drop(first);
    assert_eq!(member.stats().io.writes, before, "gathered");
    drop(second);
    assert_eq!(member.stats().io.writes, before + 1, "written together");
    for (n, reply) in pending.into_iter().enumerate() {
        assert_eq!(reply.wait().unwrap() as usize, n);
    }
}

#[test]
fn who_waits_writes_what_a_cork_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (_hub, member) = two_peers(&folder, 1, echo);
    let _cork = member.cork();
    let early = member.request(ECHO, &1).to(Hub).send().unwrap();
    assert_eq!(member.request(ECHO, &2).to(Hub).wait().unwrap(), 2);
    assert_eq!(early.wait().unwrap(), 1);
}

/// A handler that tells that it has begun, and ends when it is let go.
struct Gate {
    begun: mpsc::Receiver<()>,
    open: mpsc::Sender<()>,
}

fn gate(hub: &Peer) -> Gate {
    let ((begin, begun), (open, opened)) = (mpsc::channel(), mpsc::channel());
    let opened = Mutex::new(opened);
    let wait = move |(): ()| {
        begin.send(())?;
        Ok(opened.lock().unwrap().recv_timeout(PATIENCE)?)
    };
    hub.on(GATE, wait).forever();
    Gate { begun, open }
}

/// Both come in one read, and the second is not done before the answer to the first is here.
fn answer_before_gate(member: &Peer, gate: &Gate) {
    let cork = member.cork();
    let answer = member.request(ECHO, &7).to(Hub).send().unwrap();
    let slow = member.request(GATE, &()).to(Hub).send().unwrap();
    drop(cork);
    assert_eq!(answer.wait().unwrap(), 7);
    gate.open.send(()).unwrap();
    slow.wait().unwrap();
}

#[test]
fn an_answer_does_not_wait_for_a_handler_that_was_never_called() {
    let folder = tempfile::tempdir().unwrap();
    let mut made = None;
    let (_hub, member) = two_peers(&folder, 1, |hub| {
        echo(hub);
        made = Some(gate(hub));
    });
    answer_before_gate(&member, &made.unwrap());
}

#[test]
fn an_answer_does_not_wait_for_a_handler_that_was_slow_the_last_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut made = None;
    let (_hub, member) = two_peers(&folder, 1, |hub| {
        echo(hub);
        made = Some(gate(hub));
    });
    let gate = made.unwrap();
    let slow = member.request(GATE, &()).to(Hub).send().unwrap();
    gate.begun.recv_timeout(PATIENCE).unwrap();
    // What it takes, so that it counts as slow (above 50 us): nobody waits for this to happen.
    std::thread::sleep(Duration::from_millis(1));
    gate.open.send(()).unwrap();
    slow.wait().unwrap();
    answer_before_gate(&member, &gate);
}

#[test]
fn an_answer_waits_for_no_handler_where_a_second_thread_serves() {
    let folder = tempfile::tempdir().unwrap();
    let mut made = None;
    let (_hub, member) = two_peers(&folder, 2, |hub| {
        echo(hub);
        made = Some(gate(hub));
    });
    let gate = made.unwrap();
    // Quick, unless the machine stops it: then this shows what the test before shows.
    gate.open.send(()).unwrap();
    member.request(GATE, &()).to(Hub).wait().unwrap();
    answer_before_gate(&member, &gate);
}
