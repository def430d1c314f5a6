//! The pump between nodes and sockets, driven by poll(2) in one thread.

mod common;

use std::borrow::Cow;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant as Wall};

use bytes::Bytes;
use switchboard_os::engine::{EngineFault, Side, SourceId};
use switchboard_os::test_util::Pump;
use switchboard_os::{Address, Attachment, ConnectError, IntoAttachment, SharedFd, Stream};
use switchboard_proto::{
    Answer, Config, DeliveryKind, Event, Hangup, Message, Outcome, PeerName, RequestOptions, Role,
    SendOptions, SendRefusal, Target,
};

fn hub_pump() -> Pump {
    let mut config = Config::default();
    config.role = Role::Hub;
    config.complete_grace = Duration::ZERO;
    // Room for more than one turn reads.
    config.first_window = 1 << 20;
    Pump::new(config, &["echo"])
}

fn member_pump(name: &str) -> Pump {
    let mut config = Config::default();
    config.name = PeerName::new(name);
    Pump::new(config, &["echo"])
}

fn is_connected(pump: &Pump) -> bool {
    pump.engine.node_ref().is_connected()
}

/// Lets all of them work until something holds.
fn until(what: &str, pumps: &mut [&mut Pump], mut done: impl FnMut(&mut [&mut Pump]) -> bool) {
    let end = Wall::now() + Duration::from_secs(20);
    while !done(pumps) {
        assert!(Wall::now() < end, "not in time: {what}");
        let mut busy = false;
        for pump in pumps.iter_mut() {
            busy |= pump.round(Duration::ZERO);
        }
        if !busy {
            std::thread::yield_now();
        }
    }
}

fn message(target: Target, payload: Vec<u8>) -> Message<Attachment> {
    Message {
        target,
        namespace: Pump::NAMESPACE,
        event: Cow::Borrowed("echo"),
        codec: 0,
        payload: Bytes::from(payload),
        attachments: Vec::new(),
    }
}

fn echo(hub: &mut Pump, member: &mut Pump, payload: &[u8]) {
    let sent = message(Target::Hub, payload.to_vec());
    let id = member
        .engine
        .request(sent, RequestOptions::default())
        .unwrap();
    member.engine.flush();
    let mut answered = false;
    until("the reply", &mut [hub, member], |pumps| {
        if let Some(delivery) = pumps[0].recv() {
            let DeliveryKind::Request { ticket, .. } = delivery.kind else {
                panic!("{delivery:?}")
            };
            let answer = Answer::value(0, delivery.payload.to_bytes());
            pumps[0].engine.reply(ticket, answer).unwrap();
            pumps[0].engine.flush();
            answered = true;
        }
        answered && pumps[1].events.iter().any(|event| {
            matches!(event, Event::Outcome { request, outcome: Outcome::Reply { payload: got, .. } }
                    if *request == id && got[..] == *payload)
        })
    });
}

fn unix_address(folder: &tempfile::TempDir) -> Address {
    Address::unix(folder.path().join("hub")).unwrap()
}

fn pair_over(address: &Address) -> (Pump, Pump) {
    let (mut hub, mut member) = (hub_pump(), member_pump("one"));
    let actual = hub.engine.listen(address).unwrap();
    member.engine.join(actual).unwrap();
    until("the attachment", &mut [&mut hub, &mut member], |pumps| {
        is_connected(pumps[1])
    });
    (hub, member)
}

#[test]
fn a_request_over_a_unix_socket_and_over_tcp_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    for address in [unix_address(&folder), "tcp://127.0.0.1:0".parse().unwrap()] {
        let (mut hub, mut member) = pair_over(&address);
        echo(&mut hub, &mut member, b"hello");
        // More than any socket buffer holds: the write blocks and goes on.
        let large: Vec<u8> = (0..6_000_000_u32).map(|n| n as u8).collect();
        echo(&mut hub, &mut member, &large);
    }
}

#[test]
fn a_pair_of_pipes_carries_the_same_and_a_blocked_write_goes_on() {
    let (down_read, down_write) = std::io::pipe().unwrap();
    let (up_read, up_write) = std::io::pipe().unwrap();
    let (mut parent, mut child) = (hub_pump(), member_pump("child"));
    let ours = Stream::private_pipes(up_read.into(), down_write.into()).unwrap();
    let theirs = Stream::pipes(down_read.into(), up_write.into()).unwrap();
    parent.engine.adopt(ours, Side::Child);
    child.engine.adopt(theirs, Side::Parent);
    until("the attachment", &mut [&mut parent, &mut child], |pumps| {
        is_connected(pumps[1])
    });
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
    echo(&mut parent, &mut child, &large);
}

#[test]
fn what_a_process_wrote_before_it_exited_is_read_before_its_end() {
    let (ours, theirs) = switchboard_os::socketpair().unwrap();
    let (mut parent, mut child) = (hub_pump(), member_pump("child"));
    let link = parent.engine.adopt(ours, Side::Child);
    let theirs = Stream::unix(theirs).unwrap();
    child.engine.adopt(theirs, Side::Parent);
    until("both", &mut [&mut parent, &mut child], |pumps| {
        is_connected(pumps[1]) && pumps[0].engine.node_ref().roster().peers().count() == 2
    });
    for n in 0..10_u8 {
        let sent = message(Target::Hub, vec![n]);
        child.engine.send(sent, SendOptions::default()).unwrap();
    }
    child.engine.flush();
    // Somebody else still holds the descriptor open, so no end of file ever comes.
    let kept = child.engine.descriptor(SourceId::from_index(0)).unwrap();
    let _kept = kept.try_clone_to_owned().unwrap();
    drop(child);
    parent.engine.hangup(link, Hangup::Exited);
    until("the end", &mut [&mut parent], |pumps| {
        let mut events = pumps[0].events.iter();
        events.any(|event| matches!(event, Event::PeerGone { .. }))
    });
    for n in 0..10_u8 {
        assert_eq!(&*parent.recv().expect("it was written").payload, [n]);
    }
    assert!(parent.sources.is_empty(), "the connection is closed");
}

#[test]
fn a_hub_that_comes_later_is_found_and_the_reason_for_waiting_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let address = unix_address(&folder);
    let (mut hub, mut member) = (hub_pump(), member_pump("early"));
    member.engine.join(address.clone()).unwrap();
    let fault = member.engine.next_fault();
    assert!(
        matches!(
            fault,
            Some(EngineFault::Connect(ConnectError::Absent { .. }))
        ),
        "{fault:?}"
    );
    hub.engine.listen(&address).unwrap();
    until("the attachment", &mut [&mut hub, &mut member], |pumps| {
        is_connected(pumps[1])
    });
}

#[test]
fn a_port_where_nobody_listens_is_a_fault_and_no_hang() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::from(free.local_addr().unwrap());
    drop(free);
    let mut member = member_pump("lost");
    member.engine.join(address).unwrap();
    let mut fault = None;
    until("the fault", &mut [&mut member], |pumps| {
        fault = pumps[0].engine.next_fault();
        fault.is_some()
    });
    assert!(
        matches!(
            fault,
            Some(EngineFault::Connect(ConnectError::Refused { .. }))
        ),
        "{fault:?}"
    );
    assert!(member.sources.is_empty(), "{:?}", member.sources);
}

#[test]
fn hazard_f11_a_node_without_attachments_has_the_kernel_refuse_them() {
    let folder = tempfile::tempdir().unwrap();
    let address = unix_address(&folder);
    let mut config = Config::default();
    config.role = Role::Hub;
    config.attachments = 0;
    let mut hub = Pump::new(config, &[]);
    hub.engine.listen(&address).unwrap();
    let mut peer = std::os::unix::net::UnixStream::connect(folder.path().join("hub")).unwrap();
    peer.set_nonblocking(true).unwrap();
    // Its hello shows that the hub has accepted.
    until("the hub's hello", &mut [&mut hub], |_| {
        peer.read(&mut [0]).is_ok_and(|bytes| bytes > 0)
    });
    let mut probe = Stream::unix(peer.try_clone().unwrap().into()).unwrap();
    if probe.refuse_attachments().is_err() {
        return;
    }
    let file = std::fs::File::open("/dev/null").unwrap();
    let bytes = [std::io::IoSlice::new(b"x")];
    let written = probe.write(&bytes, &[file.as_fd()]);
    let switchboard_os::Write::Failed(error) = written else {
        panic!("{written:?}");
    };
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
}

#[test]
fn hazard_f12_a_passed_descriptor_keeps_its_flags_and_its_place_at_both_ends() {
    // Both are of the open file description, which sender and receiver share.
    let folder = tempfile::tempdir().unwrap();
    let (mut hub, mut member) = pair_over(&unix_address(&folder));
    let (pipe, _write) = rustix::pipe::pipe().unwrap();
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let file = common::file_with("from the beginning");
    let kept: Vec<OwnedFd> = [pipe.as_fd(), socket.as_fd(), file.as_fd()]
        .iter()
        .map(|fd| fd.try_clone_to_owned().unwrap())
        .collect();
    let flags = |fd: BorrowedFd<'_>| rustix::fs::fcntl_getfl(fd).unwrap();
    let kept_flags = || kept.iter().map(|fd| flags(fd.as_fd())).collect::<Vec<_>>();
    let before = kept_flags();
    assert!(
        before
            .iter()
            .all(|flags| !flags.contains(rustix::fs::OFlags::NONBLOCK))
    );
    let mut sent = message(Target::Hub, vec![1]);
    sent.attachments = [pipe, socket.into(), file].map(Attachment::Moved).into();
    member.engine.send(sent, SendOptions::default()).unwrap();
    member.engine.flush();
    let mut got = None;
    until("the event", &mut [&mut hub, &mut member], |pumps| {
        got = pumps[0].recv();
        got.is_some()
    });
    let got = got.unwrap().attachments;
    let got_flags: Vec<_> = got.iter().map(|fd| flags(fd.as_fd())).collect();
    assert_eq!(got_flags, before);
    assert_eq!(kept_flags(), before);
    for file in [got[2].as_fd(), kept[2].as_fd()] {
        assert_eq!(rustix::fs::tell(file).unwrap(), 0, "nobody read of it");
    }
}

#[test]
fn hazard_f16_a_connection_of_the_node_itself_is_refused_as_an_attachment() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, mut member) = pair_over(&unix_address(&folder));
    let own = |pump: &Pump| -> Vec<OwnedFd> {
        let ids = pump.sources.keys();
        let fds: Vec<BorrowedFd<'_>> = ids.map(|id| pump.engine.descriptor(*id).unwrap()).collect();
        fds.iter()
            .map(|fd| fd.try_clone_to_owned().unwrap())
            .collect()
    };
    for (pump, fd) in [(&hub, own(&hub)), (&member, own(&member))]
        .into_iter()
        .flat_map(|(pump, fds)| fds.into_iter().map(move |fd| (pump, fd)))
    {
        let duplicate = fd.try_clone().unwrap();
        for own in [
            Attachment::Moved(duplicate),
            Attachment::Shared(SharedFd::new(fd)),
        ] {
            let mut sent = message(Target::Hub, vec![1]);
            sent.attachments = vec![own];
            let refused = pump.engine.check_attachments(sent).unwrap_err();
            assert_eq!(refused.reason, SendRefusal::OwnDescriptor);
            assert_eq!(refused.message.attachments.len(), 1, "it comes back");
        }
    }
    let mut sent = message(Target::Hub, vec![1]);
    let stderr = std::io::stderr().as_fd().try_clone_to_owned().unwrap();
    sent.attachments = vec![stderr.into_attachment()];
    assert!(member.engine.send(sent, SendOptions::default()).is_ok());
}

#[test]
fn a_shared_descriptor_stays_open_until_it_and_all_that_came_of_it_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (mut hub, mut member) = pair_over(&unix_address(&folder));
    let (mut read, write) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&read, true).unwrap();
    let shared = SharedFd::new(write);
    for number in 0..3 {
        let mut sent = message(Target::Hub, vec![number]);
        sent.attachments = vec![(&shared).into_attachment()];
        member.engine.send(sent, SendOptions::default()).unwrap();
    }
    member.engine.flush();
    let mut got = Vec::new();
    until("the events", &mut [&mut hub, &mut member], |pumps| {
        got.extend(pumps[0].recv().map(|event| event.attachments));
        got.len() == 3
    });
    for came in got.into_iter().flatten() {
        assert!(matches!(came, Attachment::Moved(_)), "each is its own");
        let came = came.into_owned().unwrap();
        assert_eq!(rustix::io::write(&came, b"r").unwrap(), 1);
    }
    rustix::io::write(&shared, b"s").unwrap();
    let mut said = [0; 8];
    assert_eq!(read.read(&mut said).unwrap(), 4);
    let open = read.read(&mut said).unwrap_err();
    assert_eq!(open.kind(), std::io::ErrorKind::WouldBlock, "it stays open");
    drop(shared);
    // What the sender's node holds of it goes when the receiver says that it has the messages.
    until("its end", &mut [&mut hub, &mut member], |_| {
        matches!(read.read(&mut said), Ok(0))
    });
}

#[test]
fn a_shared_descriptor_by_itself_is_a_duplicate() {
    let (read, write) = std::io::pipe().unwrap();
    let shared = SharedFd::new(write);
    let kept = shared.clone().into_attachment().into_owned().unwrap();
    drop(shared);
    rustix::io::write(&kept, b"x").unwrap();
    drop(kept);
    let mut said = String::new();
    std::io::Read::read_to_string(&mut { read }, &mut said).unwrap();
    assert_eq!(said, "x", "and then its end");
}

#[test]
fn hazard_x2_a_defect_ends_its_own_node_and_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let address = unix_address(&folder);
    let (mut hub, mut healthy) = pair_over(&address);
    let mut victim = member_pump("victim");
    victim.engine.join(address).unwrap();
    until("the second", &mut [&mut hub, &mut victim], |pumps| {
        is_connected(pumps[1])
    });
    let asked = message(Target::Hub, vec![1]);
    let asked = victim.engine.request(asked, RequestOptions::default());
    let options = SendOptions {
        receipt: switchboard_proto::Receipt::Handled,
        ..Default::default()
    };
    let told = victim
        .engine
        .send(message(Target::Hub, vec![2]), options)
        .unwrap();
    victim.engine.flush();

    switchboard_os::engine::fail_next_turn();
    victim.round(Duration::ZERO);

    let fault = victim.engine.next_fault();
    assert!(
        matches!(&fault, Some(EngineFault::Defect { what }) if what.contains("made fail")),
        "{fault:?}"
    );
    let text = fault.unwrap().to_string();
    assert!(text.contains("report it, and make the peer anew"), "{text}");
    let ends = |wanted: &dyn Fn(&Event<Attachment>) -> bool| {
        victim.events.iter().filter(|event| wanted(event)).count()
    };
    let outcome = |event: &Event<Attachment>| matches!(event, Event::Outcome { request, outcome: Outcome::Unknown(_) } if Ok(*request) == asked.as_ref().copied().map_err(drop));
    let fate = |event: &Event<Attachment>| matches!(event, Event::Fate { message, .. } if *message == told);
    assert_eq!((ends(&outcome), ends(&fate)), (1, 1), "each ends once");
    assert!(victim.sources.is_empty(), "its connections are closed");
    let refused = victim
        .engine
        .send(message(Target::Hub, vec![3]), SendOptions::default());
    assert_eq!(refused.unwrap_err().reason, SendRefusal::Closed);
    assert_eq!(victim.engine.timeout(), None, "it has nothing to do");

    until("the others to know", &mut [&mut hub, &mut healthy], |all| {
        all.iter().all(|pump| {
            let mut events = pump.events.iter();
            events.any(|event| matches!(event, Event::PeerGone { .. }))
        })
    });
    while hub.recv().is_some() {}
    echo(&mut hub, &mut healthy, b"still here");
}

#[test]
fn hazard_x2_a_panic_in_a_call_of_the_node_ends_it_with_the_next_flush() {
    let folder = tempfile::tempdir().unwrap();
    let (_hub, mut victim) = pair_over(&unix_address(&folder));
    let call = std::panic::AssertUnwindSafe(|| {
        let _node = victim.engine.node();
        panic!("as an assertion in the node");
    });
    assert!(
        std::panic::catch_unwind(call).is_err(),
        "the caller sees it"
    );
    victim.engine.flush();
    let fault = victim.engine.next_fault();
    assert!(
        matches!(fault, Some(EngineFault::Defect { .. })),
        "{fault:?}"
    );
    assert!(!is_connected(&victim));

    // A panic of the application's own, on whose way the node is used, is no defect of the node.
    let (_other, mut used) = pair_over(&Address::unix(folder.path().join("other")).unwrap());
    struct OnTheWay<'a>(&'a mut Pump);
    impl Drop for OnTheWay<'_> {
        fn drop(&mut self) {
            let now = self.0.engine.now();
            self.0.engine.node().ready_all(now);
        }
    }
    let call = std::panic::AssertUnwindSafe(|| {
        let _on_the_way = OnTheWay(&mut used);
        panic!("of the application");
    });
    assert!(std::panic::catch_unwind(call).is_err());
    used.engine.flush();
    assert!(used.engine.next_fault().is_none() && is_connected(&used));
}

#[test]
fn hazard_x4_one_turn_reads_at_most_its_share_of_a_link_that_never_stops() {
    let folder = tempfile::tempdir().unwrap();
    let (mut hub, mut member) = pair_over(&unix_address(&folder));
    // The first contact is small; with the answer comes the window.
    echo(&mut hub, &mut member, b"hello");
    for n in 0..4 {
        let sent = message(Target::Hub, vec![n; 60_000]);
        member.engine.send(sent, SendOptions::default()).unwrap();
    }
    member.engine.flush();
    hub.register();
    let before = hub.engine.stats().reads;
    // The listener and the link, whichever numbers they have.
    for index in 0..4 {
        hub.engine.ready(SourceId::from_index(index), true, false);
    }
    let turn = hub.engine.turn();
    assert!(
        turn.more,
        "the rest is for the next turn, without a new report"
    );
    assert!(hub.engine.stats().reads - before <= 32);
    assert_eq!(hub.engine.timeout(), Some(Duration::ZERO));
}

#[test]
fn hazard_x6_accept_without_descriptors_pauses_and_then_goes_on() {
    if !common::alone("hazard_x6_accept_without_descriptors_pauses_and_then_goes_on") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let address = unix_address(&folder);
    let (mut hub, mut early) = pair_over(&address);
    hub.round(Duration::ZERO);
    let mut hoard = Vec::new();
    while let Ok(fd) = std::io::stderr().as_fd().try_clone_to_owned() {
        hoard.push(fd);
        if hoard.len() == 1 {
            let limit = rustix::process::Rlimit {
                current: Some(64),
                maximum: rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum,
            };
            rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        }
    }
    hoard.truncate(hoard.len() - 1);
    // The one that is left is for this end of the connection.
    let mut member = member_pump("late");
    member.engine.join(address).unwrap();
    until("the pause", &mut [&mut hub], |pumps| {
        pumps[0].engine.stats().accept_pauses > 0
    });
    assert!(!hub.engine.has_more(), "nothing to spin on");
    let wait = hub.engine.timeout().expect("the pause ends");
    assert!(wait <= Duration::from_millis(100), "{wait:?}");
    let fault = hub.engine.next_fault().unwrap().to_string();
    assert!(fault.contains("raise this process's limit"), "{fault}");
    // Who is connected goes on.
    echo(&mut hub, &mut early, b"without free descriptors");
    drop(hoard);
    until("the attachment", &mut [&mut hub, &mut member], |pumps| {
        is_connected(pumps[1])
    });
}
