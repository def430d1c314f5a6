//! One blocking handle in many threads: who drives, who serves, and who ends.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{PATIENCE, address_in, hub, member, start};
use switchboard_mio::name::Call;
use switchboard_mio::{Board, Cx, Hub, RequestError, State, UnknownCause};

const ADD: Call<(i32, i32), i32> = Call::new("math.add");

#[test]
fn handlers_call_each_other_back_three_deep_with_one_serving_thread_each() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    let member = member("one", hub.address().unwrap());
    for peer in [&hub, &member] {
        peer.on("down", |cx: Cx, depth: u32| {
            if depth == 0 {
                return Ok(vec![cx.peer().id().map_or(0, |id| id.0)]);
            }
            // Back to who called, which waits for this answer.
            let depth = depth - 1;
            let request = cx.peer().request("down", &depth).to(cx.from());
            let mut ids: Vec<u32> = request.wait()?;
            ids.push(cx.peer().id().map_or(0, |id| id.0));
            Ok(ids)
        })
        .forever();
        start(peer);
    }
    member.connected(PATIENCE).unwrap();
    let ids: Vec<u32> = member.request("down", &5_u32).to(Hub).wait().unwrap();
    assert_eq!(ids, [2, 1, 2, 1, 2, 1]);
}

#[test]
fn hazard_x2_a_defect_ends_its_own_peer_and_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    hub.on(ADD, |(a, b): (i32, i32)| Ok(a + b)).forever();
    start(&hub);
    let address = hub.address().unwrap();
    let [victim, healthy] = ["victim", "healthy"].map(|name| member(name, &address));
    for peer in [&victim, &healthy] {
        assert_eq!(peer.request(ADD, &(1, 1)).wait().unwrap(), 2);
    }
    let mut states = healthy.state();
    let id = victim.id().unwrap();
    let pending = victim.request::<_, ()>("later", &()).to("not yet there");
    let pending = pending.send().unwrap();

    // This thread waits, so it drives.
    switchboard_os::engine::fail_next_turn();
    let outcome = pending.wait();

    assert!(
        matches!(outcome, Err(RequestError::Unknown(UnknownCause::Closed))),
        "{outcome:?}"
    );
    assert!(!victim.is_connected());
    let later = victim.request(ADD, &(2, 3)).wait();
    assert!(matches!(later, Err(RequestError::NotRun(_))), "{later:?}");
    let end = Instant::now() + PATIENCE;
    while !matches!(states.next_within(PATIENCE), Some(State::PeerGone { id: gone, .. }) if gone == id)
    {
        assert!(Instant::now() < end, "nobody was told");
    }
    assert_eq!(healthy.request(ADD, &(2, 3)).wait().unwrap(), 5);
}

#[test]
fn many_threads_wait_on_one_handle_and_each_gets_its_own_reply() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    hub.on(ADD, |(a, b): (i32, i32)| Ok(a + b)).forever();
    start(&hub);
    let member = member("one", hub.address().unwrap());
    // Nobody drives the member but those who wait: each may be the leader, and must hand over.
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let member = member.clone();
            scope.spawn(move || {
                for n in 0..200 {
                    let sum = member.request(ADD, &(thread, n)).to(Hub).wait();
                    assert_eq!(sum.unwrap(), thread + n);
                }
            });
        }
    });
}

#[test]
fn who_waits_takes_over_from_who_gives_up() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    hub.on("slow", |(): ()| {
        // What it takes, not what anybody waits for: longer than the other thread drives.
        std::thread::sleep(Duration::from_millis(400));
        Ok(())
    })
    .forever();
    start(&hub);
    let member = member("one", hub.address().unwrap());
    member.connected(PATIENCE).unwrap();
    let mut states = member.state();
    while states.next_within(Duration::from_millis(100)).is_some() {}
    let request = member.request::<_, ()>("slow", &()).to(Hub);
    let pending = request.send().unwrap();
    std::thread::scope(|scope| {
        // It drives until it gives up, before the answer is there and without any news.
        scope.spawn(|| states.next_within(Duration::from_millis(200)));
        // So that the other one drives by now; if it does not yet, this shows less and nothing wrong.
        std::thread::sleep(Duration::from_millis(50));
        let answered = pending.wait_within(Duration::from_secs(5));
        assert!(answered.is_ok_and(|answer| answer.is_ok()), "nobody drives");
    });
}

#[test]
fn a_message_to_oneself_wakes_the_thread_that_serves() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = switchboard_mio::Config::default();
    // No timer may wake the thread in our place.
    config.complete_grace = Duration::ZERO;
    config.ready_after = Duration::from_millis(1);
    let board = Board::builder().config(|default| *default = config);
    let hub = board.listen(address_in(&folder)).unwrap().blocking();
    let (said, heard) = std::sync::mpsc::channel();
    hub.on("note", move |n: u32| Ok(said.send(n)?)).forever();
    start(&hub);
    // The thread sleeps by then, and this one does not wait for what it does. A thread that is awake
    // yet shows less, and never something wrong.
    std::thread::sleep(Duration::from_millis(200));
    hub.emit("note", &7_u32).to(Hub).wait().unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE), Ok(7));
}

#[test]
fn hazard_x10_what_the_socket_does_not_take_holds_up_no_other_thread() {
    let folder = tempfile::tempdir().unwrap();
    let address = address_in(&folder);
    // A hub that never reads: its board is not driven once the member is attached.
    let mut silent = common::first_hub().listen(&address).unwrap();
    let member = member("one", &address);
    let end = Instant::now() + PATIENCE;
    while !member.is_connected() {
        assert!(Instant::now() < end, "not connected");
        silent.drive().unwrap();
        let _ = member.connected(Duration::from_millis(1));
    }
    let blocked = member.clone();
    let large = switchboard_mio::Raw::from(vec![0; 1 << 20]);
    let taken = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&taken);
    // It waits for room that nobody makes.
    let writing = std::thread::spawn(move || {
        while blocked.emit("bulk", &large).to(Hub).wait().is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    // The send buffer has room for 8 of them.
    while taken.load(Ordering::Relaxed) < 7 {
        assert!(Instant::now() < end, "not even these");
        std::thread::yield_now();
    }
    // Meanwhile every other thread has the peer for itself.
    for _ in 0..1000 {
        assert!(member.id().is_some() && member.is_connected());
        member.set_default_deadline(Duration::from_secs(10));
    }
    let asked = member.request::<_, ()>("any", &()).to(Hub);
    let asked = asked.deadline(Duration::from_millis(50)).wait();
    assert!(asked.is_err(), "it came back at its deadline: {asked:?}");
    assert!(!writing.is_finished(), "the writer still waits");
    member.close();
    writing.join().unwrap();
}

#[test]
fn a_deadline_made_while_another_thread_sleeps_in_the_poller_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    start(&hub);
    let member = member("one", hub.address().unwrap());
    member.ready();
    member.connected(PATIENCE).unwrap();
    member.spawn().unwrap();
    let end = Instant::now() + PATIENCE;
    // The thread has nothing to wait for but bytes. One that is awake yet shows less, and never
    // something wrong.
    std::thread::sleep(Duration::from_millis(500));
    let request = member.request::<_, ()>("later", &()).to("not yet there");
    let pending = request.deadline(Duration::from_millis(50)).send().unwrap();
    while !pending.is_done() {
        assert!(Instant::now() < end, "nobody woke the thread that sleeps");
        std::thread::yield_now();
    }
    assert!(matches!(pending.wait(), Err(RequestError::NotRun(_))));
}

#[test]
fn close_ends_what_waits_and_the_drop_of_the_last_handle_closes() {
    let folder = tempfile::tempdir().unwrap();
    let address = address_in(&folder);
    let nobody = member("one", &address);
    let waiting = nobody.clone();
    let request = std::thread::spawn(move || {
        let request = waiting.request::<_, ()>("any", &()).to(Hub);
        request.deadline(Duration::MAX).wait()
    });
    let closing = nobody.clone();
    let serving = std::thread::spawn(move || closing.serve());
    // So that both wait by now; what begins after the close shows less, and ends as well.
    std::thread::sleep(Duration::from_millis(20));
    nobody.close();
    let outcome = request.join().unwrap();
    assert!(
        matches!(outcome, Err(RequestError::NotRun(_))),
        "{outcome:?}"
    );
    serving.join().unwrap();
    // A thread that serves holds no handle, so this is the last one.
    let hub = hub(&address);
    start(&hub);
    drop(hub);
    let end = Instant::now() + PATIENCE;
    while let Err(error) = Board::listen(&address) {
        assert!(Instant::now() < end, "{error}");
    }
}
