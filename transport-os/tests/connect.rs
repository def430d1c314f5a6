//! What a process that connects is told.

mod common;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use common::{
    alone_without_privileges, connect, is_root, listen, read_some, role_argument, say_ready,
    start_role_as_nobody, wait, write_all,
};
use rustix::event::PollFlags;
use switchboard_os::{
    Accept, Address, AddressError, ConnectError, Connected, Kind, ListenOptions, Listener, Peer,
    Read, Stream,
};

fn refusal(address: &Address) -> ConnectError {
    let mut connecting = match Stream::connect(address) {
        Ok(connecting) => connecting,
        Err(error) => return error,
    };
    loop {
        wait(&connecting, PollFlags::OUT);
        connecting = match connecting.finish() {
            Ok(Connected::Done(stream)) => panic!("connected: {stream:?}"),
            Ok(Connected::Pending(again) | Connected::Next(again)) => again,
            Err(error) => return error,
        };
    }
}

fn accept(listener: &mut Listener) -> (Stream, Peer) {
    wait(&*listener, PollFlags::IN);
    match listener.accept() {
        Accept::Accepted(accepted) => (accepted.stream, accepted.peer),
        other => panic!("{other:?}"),
    }
}

#[test]
fn bytes_go_both_ways_over_unix_and_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let unix = listen(&folder.path().join("s"));
    let tcp = Listener::bind(&"tcp://127.0.0.1:0".parse().unwrap()).unwrap();
    for (mut listener, kind) in [(unix, Kind::Unix), (tcp, Kind::Tcp)] {
        let mut client = connect(listener.local_address());
        let (mut server, peer) = accept(&mut listener);
        assert!(matches!(listener.accept(), Accept::Blocked));
        assert_eq!((client.kind(), server.kind()), (kind, kind));
        assert_eq!(client.carries_attachments(), kind == Kind::Unix);
        match peer {
            Peer::Local { uid } => assert_eq!(uid, rustix::process::geteuid().as_raw()),
            Peer::Remote(at) => assert!(at.ip().is_loopback() && at.port() != 0),
        }
        let (client, server) = (&mut client, &mut server);
        for turn in 0..2 {
            let (from, to) = if turn == 0 {
                (&mut *client, &mut *server)
            } else {
                (&mut *server, &mut *client)
            };
            write_all(from, b"hello");
            wait(to.read_fd(), PollFlags::IN);
            assert_eq!(read_some(to, 64).1, b"hello");
            assert!(matches!(read_some(to, 64).0, Read::Blocked));
        }
        assert_eq!(listener.stats().accepted, 1);
    }
}

#[test]
fn tcp_sends_small_writes_at_once() {
    let mut listener = Listener::bind(&"tcp://127.0.0.1:0".parse().unwrap()).unwrap();
    let client = connect(listener.local_address());
    let (server, _) = accept(&mut listener);
    let raw = std::net::TcpStream::connect(match listener.local_address() {
        Address::Tcp(at) => (at.host().to_owned(), at.port()),
        other => panic!("{other}"),
    });
    let adopted = Stream::tcp(raw.unwrap().into()).unwrap();
    for stream in [client, server, adopted] {
        assert!(rustix::net::sockopt::tcp_nodelay(stream.read_fd()).unwrap());
    }
}

#[test]
fn a_path_that_nobody_made_is_absent_and_waited_for_but_not_its_directory() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    for (path, waits) in [("s", true), ("no/such/folder", false), ("file/s", false)] {
        let address = Address::unix(folder.path().join(path)).unwrap();
        let error = refusal(&address);
        assert_eq!(
            matches!(error, ConnectError::Absent { .. }),
            waits,
            "{error}"
        );
        assert_eq!(error.is_permanent(), !waits, "{error}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}

#[test]
fn what_is_no_socket_is_said_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = |path: &std::path::Path| refusal(&Address::unix(path).unwrap());
    let error = refused(folder.path());
    assert!(matches!(error, ConnectError::IsDirectory { .. }), "{error}");
    assert!(error.is_permanent());
    let error = refused(&file);
    assert!(matches!(error, ConnectError::NotASocket { .. }), "{error}");
    assert!(error.is_permanent());
    // The socket of a listener that has ended: the next one may take its name.
    let dead = folder.path().join("dead");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let error = refused(&dead);
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    assert!(!error.is_permanent());
}

#[test]
fn a_port_where_nobody_listens_refuses() {
    // Bound and not listening: nobody else can be given the port meanwhile.
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::bind(
        &socket,
        &std::net::SocketAddrV4::new([127, 0, 0, 1].into(), 0),
    )
    .unwrap();
    let at = std::net::SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
    let error = refusal(&Address::from(at));
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    assert!(error.to_string().contains(&at.to_string()), "{error}");
}

#[test]
fn tcp_never_connects_to_itself() {
    // The kernel picks our own port among these, half of them first; once in a few ten thousand
    // attempts it picks the very one that is being called.
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let low: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    let address = (0..100).map(|n| low + 2 * n).find_map(|port| {
        let free = std::net::TcpListener::bind(("127.0.0.1", port)).ok()?;
        Some(Address::from(free.local_addr().unwrap()))
    });
    let address = address.expect("a free port");
    for _ in 0..60_000 {
        let error = refusal(&address);
        assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    }
}

#[test]
fn localhost_is_tried_address_after_address() {
    let Ok(mut listener) = Listener::bind(&"tcp://[::1]:0".parse().unwrap()) else {
        eprintln!("SKIPPED: this machine has no IPv6 loopback");
        return;
    };
    let Address::Tcp(at) = listener.local_address() else {
        panic!("no TCP")
    };
    // Not while another process happens to listen on the same port of 127.0.0.1.
    let guard = std::net::TcpListener::bind(("127.0.0.1", at.port()));
    drop(guard.expect("the port of the other loopback address is taken"));
    let client = connect(&Address::tcp("localhost", at.port()).unwrap());
    let (_, peer) = accept(&mut listener);
    assert!(matches!(peer, Peer::Remote(at) if at.is_ipv6()), "{peer:?}");
    drop(client);
}

#[test]
fn tcp_to_another_machine_is_refused_without_a_packet() {
    let error = refusal(&"tcp://192.0.2.1:7".parse().unwrap());
    assert!(
        matches!(
            error,
            ConnectError::Address(AddressError::NotLoopback { .. })
        ),
        "{error}"
    );
}

#[test]
fn hazard_p8_a_full_queue_is_busy_not_dead_and_ends_when_one_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let address = Address::unix(folder.path().join("s")).unwrap();
    let mut options = ListenOptions::default();
    options.backlog = 1;
    let mut listener = Listener::bind_with(&address, &options).unwrap();
    let mut waiting = Vec::new();
    let error = loop {
        match Stream::connect(&address) {
            Ok(connecting) => waiting.push(connecting),
            Err(error) => break error,
        }
        assert!(waiting.len() < 10, "a queue of one took {}", waiting.len());
    };
    assert!(matches!(error, ConnectError::Busy { .. }), "{error}");
    drop(accept(&mut listener));
    connect(&address);
}

#[test]
fn permission_that_is_missing_is_said() {
    if !alone_without_privileges("permission_that_is_missing_is_said") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    let listener = listen(&closed.join("s"));
    let readable = listen(&folder.path().join("s"));
    std::fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
    std::fs::set_permissions(folder.path().join("s"), Permissions::from_mode(0o400)).unwrap();
    for listener in [&listener, &readable] {
        let error = refusal(listener.local_address());
        assert!(matches!(error, ConnectError::Denied { .. }), "{error}");
    }
    std::fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
}

#[test]
#[ignore = "a process that another test starts"]
fn role_connect_as_another_user() {
    let Some(path) = role_argument() else { return };
    let error = refusal(&Address::unix(path).unwrap());
    assert!(
        matches!(
            error,
            ConnectError::ForeignUser {
                uid: 0,
                own: 65_534,
                ..
            }
        ),
        "{error}"
    );
    say_ready();
}

#[test]
fn hazard_p13_both_ends_refuse_another_user() {
    if !is_root() {
        eprintln!("SKIPPED: only root can start a process as another user");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut listener = listen(&path);
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();

    let mut child = start_role_as_nobody("role_connect_as_another_user", &path, folder.path());

    assert!(matches!(listener.accept(), Accept::Refused { uid: 65_534 }));
    assert_eq!(
        (listener.stats().refused, listener.stats().accepted),
        (1, 0)
    );
    assert!(child.wait().unwrap().success());
    // Our own user still gets in.
    connect(listener.local_address());
    accept(&mut listener);
}
