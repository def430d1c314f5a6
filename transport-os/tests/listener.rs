//! Whose the path is, before, during and after a listener's life.

mod common;

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use common::{
    alone, alone_without_privileges, connect, limit_descriptors, listen, read_some,
    restore_descriptors, role_argument, say_ready, start_role, wait,
};
use rustix::event::PollFlags;
use switchboard_os::{
    ACCEPT_PAUSE, Accept, Address, ConnectError, Connected, FileLock, ListenError, Listener,
    LockError, Read, Stream, UnixPath, open_descriptors,
};

fn refusal(path: &Path) -> ListenError {
    Listener::bind(&Address::unix(path).unwrap()).unwrap_err()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_listener_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let listener = listen(&folder.path().join("s"));
    assert!(listener.is_current());
    assert_eq!(names(folder.path()), ["s", "s.lock"]);
    drop(listener);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
#[ignore = "a process that another test starts"]
fn role_listen_until_killed() {
    let Some(path) = role_argument() else { return };
    let _listener = listen(&path);
    say_ready();
    // Until the other test kills us, or ends and closes the pipe.
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn hazard_p1_a_living_listener_keeps_its_name_and_a_killed_ones_name_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let address = Address::unix(&path).unwrap();
    let mut child = start_role("role_listen_until_killed", &path);

    let before = std::fs::symlink_metadata(&path).unwrap().ino();
    match refusal(&path) {
        ListenError::InUse { pid, .. } => assert_eq!(pid, Some(child.id())),
        other => panic!("{other}"),
    }
    assert_eq!(
        std::fs::symlink_metadata(&path).unwrap().ino(),
        before,
        "the name was touched"
    );
    connect(&address);

    child.kill().unwrap();
    child.wait().unwrap();
    let error = Stream::connect(&address).unwrap_err();
    assert!(
        matches!(error, ConnectError::Refused { .. }),
        "the socket file is left: {error}"
    );

    let listener = listen(&path);
    connect(&address);
    match refusal(&path) {
        ListenError::InUse { pid, .. } => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other}"),
    }
    drop(listener);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn what_a_process_killed_before_the_rename_left_behind_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let stale = std::os::unix::net::UnixListener::bind(private_name_of(&path)).unwrap();
    drop(stale);
    let _listener = listen(&path);
    assert_eq!(names(folder.path()), ["s", "s.lock"]);
}

/// The name that a listener binds at, seen while it does.
fn private_name_of(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let binder = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                drop(listen(path));
            }
        });
        let start = std::time::Instant::now();
        let name = loop {
            if binder.is_finished() || start.elapsed().as_secs() > 20 {
                done.store(true, Ordering::Relaxed);
                panic!("no private name was seen");
            }
            let mut names = std::fs::read_dir(folder)
                .unwrap()
                .flatten()
                .map(|e| e.path());
            if let Some(name) = names.find(|n| n.to_string_lossy().contains("/.sb-")) {
                break name;
            }
        };
        done.store(true, Ordering::Relaxed);
        name
    })
}

#[test]
fn a_living_socket_of_somebody_who_knows_no_lock_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let foreign = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(matches!(
        refusal(&path),
        ListenError::InUse { pid: None, .. }
    ));
    // Its end for all: what other tests fork here may hold it a moment longer than this process.
    rustix::net::shutdown(&foreign, rustix::net::Shutdown::Both).unwrap();
    drop(foreign);
    listen(&path);

    let _datagram = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    assert!(matches!(refusal(&path), ListenError::InUse { .. }));
}

#[test]
fn what_is_not_a_socket_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(refusal(&path), ListenError::NotASocket { .. }));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");

    // Nor is a lock file that is a link into somebody else's file.
    let other = folder.path().join("t");
    std::os::unix::fs::symlink(&path, folder.path().join("t.lock")).unwrap();
    assert!(matches!(refusal(&other), ListenError::NotASocket { .. }));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn hazard_p2_the_name_never_leads_to_a_socket_that_does_not_listen() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..300 {
        let address = Address::unix(folder.path().join(round.to_string())).unwrap();
        let outcome = std::thread::scope(|scope| {
            let caller = scope.spawn(|| {
                loop {
                    match Stream::connect(&address) {
                        Err(ConnectError::Absent { .. }) => {}
                        other => return other,
                    }
                }
            });
            let _listener = Listener::bind(&address).unwrap();
            caller.join().unwrap()
        });
        assert!(matches!(outcome.unwrap().finish(), Ok(Connected::Done(_))));
    }
}

#[test]
fn hazard_p3_a_listener_sees_that_its_name_was_taken_away_and_does_not_delete_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let lock = folder.path().join("s.lock");

    let listener = listen(&path);
    std::fs::remove_file(&path).unwrap();
    assert!(!listener.is_current());
    let foreign = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(!listener.is_current());
    drop(listener);
    assert_eq!(
        names(folder.path()),
        ["s"],
        "what somebody else put there stays"
    );
    drop(foreign);

    let listener = listen(&path);
    std::fs::remove_file(&lock).unwrap();
    assert!(!listener.is_current());
    std::fs::write(&lock, "").unwrap();
    assert!(!listener.is_current());
    drop(listener);
    assert_eq!(names(folder.path()), ["s.lock"]);
}

#[test]
fn hazard_p4_a_lock_of_a_file_that_was_replaced_is_no_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let inside = AtomicBool::new(false);
    // Each removes the file when done, and so pulls it away under those who have it open.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    match FileLock::acquire(&path) {
                        Ok(lock) => {
                            assert!(!inside.swap(true, Ordering::AcqRel), "two hold the lock");
                            assert!(lock.is_current());
                            inside.store(false, Ordering::Release);
                            lock.remove();
                        }
                        Err(LockError::Held { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
    });
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn a_lock_says_who_holds_it_keeps_what_else_is_in_the_file_and_is_free_after_the_drop() {
    use std::os::unix::fs::FileExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let lock = FileLock::acquire(&path).unwrap();
    lock.file().write_all_at(b"epoch 7\n", 11).unwrap();
    match FileLock::acquire(&path) {
        Err(LockError::Held { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    drop(lock);
    drop(FileLock::acquire(&path).unwrap());
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .ends_with("\nepoch 7\n")
    );

    let nowhere = FileLock::acquire(folder.path().join("no/lock"));
    assert!(matches!(nowhere, Err(LockError::NoDirectory { .. })));
    assert!(matches!(
        FileLock::acquire(folder.path()),
        Err(LockError::NotAFile { .. })
    ));
}

/// Forks; the child runs the body and ends without running anything else.
fn fork(body: impl FnOnce()) -> libc::pid_t {
    // SAFETY: this process was started for one test and has no thread beside the harness's, which
    // waits; the child calls only what the body does and then _exit, which runs no handlers.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0, "fork failed");
        if pid == 0 {
            body();
            libc::_exit(0);
        }
        pid
    }
}

/// Forks a child that has everything open until the writer is dropped.
fn fork_that_waits() -> (libc::pid_t, std::io::PipeWriter) {
    use std::io::Read;
    let (mut wait, go) = std::io::pipe().unwrap();
    let mut go = Some(go);
    let child = fork(|| {
        drop(go.take());
        wait.read_to_end(&mut Vec::new()).unwrap();
    });
    (child, go.unwrap())
}

fn reap(pid: libc::pid_t) {
    let mut status = 0;
    // SAFETY: the pid is that of our own child, which nobody else waits for.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0);
}

#[test]
fn hazard_p5_a_forked_child_neither_takes_the_name_away_nor_keeps_the_lock() {
    const TEST: &str = "hazard_p5_a_forked_child_neither_takes_the_name_away_nor_keeps_the_lock";
    if !alone(TEST) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut listener = Some(listen(&path));

    reap(fork(|| {
        let in_child = listener.take().unwrap();
        if in_child.is_current() {
            std::process::abort();
        }
        drop(in_child);
    }));
    assert!(listener.as_ref().unwrap().is_current());
    assert!(
        matches!(refusal(&path), ListenError::InUse { .. }),
        "the lock is still held"
    );

    let (child, go) = fork_that_waits();
    drop(listener);
    drop(listen(&path));
    drop(go);
    reap(child);
}

#[test]
fn hazard_p5_a_forked_child_neither_gives_up_its_parents_lock_nor_keeps_it() {
    const TEST: &str = "hazard_p5_a_forked_child_neither_gives_up_its_parents_lock_nor_keeps_it";
    if !alone(TEST) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let mut lock = Some(FileLock::acquire(&path).unwrap());
    reap(fork(|| drop(lock.take())));
    assert!(matches!(
        FileLock::acquire(&path),
        Err(LockError::Held { .. })
    ));

    let (child, go) = fork_that_waits();
    drop(lock);
    drop(FileLock::acquire(&path).unwrap());
    drop(go);
    reap(child);
}

#[test]
fn hazard_p9_a_socket_at_the_longest_path_works_also_where_its_private_name_is_longer() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().as_os_str().len();
    for name in [1, 20, 40] {
        let directory = folder
            .path()
            .join("d".repeat(UnixPath::MAX - base - 2 - name));
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("s".repeat(name));
        assert_eq!(path.as_os_str().len(), UnixPath::MAX);
        let listener = listen(&path);
        assert!(listener.is_current());
        connect(listener.local_address());
    }
}

#[test]
fn hazard_p10_the_socket_is_closed_to_others_whatever_the_umask() {
    if !alone("hazard_p10_the_socket_is_closed_to_others_whatever_the_umask") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for umask in [0, 0o022, 0o077] {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
        let path = folder.path().join("s");
        let _listener = listen(&path);
        assert_eq!(
            std::fs::symlink_metadata(&path).unwrap().mode() & 0o777,
            0o600
        );
    }
}

#[test]
fn a_directory_that_is_missing_or_that_others_rule_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = refusal(&folder.path().join("no/s"));
    assert!(
        matches!(missing, ListenError::NoDirectory { .. }),
        "{missing}"
    );
    std::fs::write(folder.path().join("file"), "").unwrap();
    let file = refusal(&folder.path().join("file/s"));
    assert!(matches!(file, ListenError::NoDirectory { .. }), "{file}");

    let mode = |mode| {
        std::fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
    };
    mode(0o777);
    let open = refusal(&folder.path().join("s"));
    assert!(
        matches!(open, ListenError::UnsafeDirectory { .. }),
        "{open}"
    );
    assert_eq!(names(folder.path()), ["file"]);
    mode(0o1777);
    listen(&folder.path().join("s"));
    mode(0o700);
}

#[test]
fn permission_to_listen_that_is_missing_is_said() {
    if !alone_without_privileges("permission_to_listen_that_is_missing_is_said") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let denied = refusal(Path::new("/switchboard-test"));
    assert!(matches!(denied, ListenError::Denied { .. }), "{denied}");
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o500)).unwrap();
    let denied = refusal(&folder.path().join("s"));
    assert!(matches!(denied, ListenError::Denied { .. }), "{denied}");
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_tcp_port_that_is_taken_is_said_and_port_0_finds_another() {
    let any: Address = "tcp://127.0.0.1:0".parse().unwrap();
    let first = Listener::bind(&any).unwrap();
    let error = Listener::bind(first.local_address()).unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&first.local_address().to_string()),
        "{error}"
    );
    let second = Listener::bind(&any).unwrap();
    assert_ne!(second.local_address(), first.local_address());
    assert!(second.is_current());

    let everywhere: Address = "tcp://0.0.0.0:0".parse().unwrap();
    assert!(matches!(
        Listener::bind(&everywhere),
        Err(ListenError::Address(_))
    ));
    assert!(Listener::bind(&everywhere.allow_remote()).is_ok());
}

#[test]
fn a_tcp_port_can_be_taken_again_at_once_after_its_connections_ended() {
    if !alone("a_tcp_port_can_be_taken_again_at_once_after_its_connections_ended") {
        return;
    }
    let mut listener = Listener::bind(&"tcp://127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_address().clone();
    let mut client = connect(&address);
    wait(&listener, PollFlags::IN);
    // The side that closes first keeps the port in TIME_WAIT.
    drop(listener.accept());
    wait(client.read_fd(), PollFlags::IN);
    assert!(matches!(read_some(&mut client, 8).0, Read::End { .. }));
    drop((client, listener));
    Listener::bind(&address).unwrap();
}

#[test]
fn hazard_x6_without_free_descriptors_a_connection_is_closed_and_counted_instead_of_spinning() {
    const TEST: &str =
        "hazard_x6_without_free_descriptors_a_connection_is_closed_and_counted_instead_of_spinning";
    if !alone(TEST) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let unix = listen(&folder.path().join("s"));
    let tcp = Listener::bind(&"tcp://127.0.0.1:0".parse().unwrap()).unwrap();
    for mut listener in [unix, tcp] {
        let mut clients = [(); 3].map(|()| connect(listener.local_address()));
        wait(&listener, PollFlags::IN);
        let before = open_descriptors();
        let limits = limit_descriptors(0);
        let mut shed = 0;
        for _ in 0..2 {
            match listener.accept() {
                Accept::Exhausted { shed: true, error } => {
                    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                    shed += 1;
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(listener.stats().shed, shed);
        }
        restore_descriptors(limits);
        assert_eq!(open_descriptors(), before);
        for client in &mut clients[..2] {
            wait(client.read_fd(), PollFlags::IN);
            assert!(matches!(read_some(client, 8).0, Read::End { .. }));
        }
        assert!(
            matches!(listener.accept(), Accept::Accepted(_)),
            "the third one waited"
        );
        assert!(matches!(
            read_some(&mut clients[2], 8).0,
            Read::Blocked | Read::End { .. }
        ));
        assert_eq!(listener.stats().accepted, 1);

        // With nobody waiting, being out of descriptors is no event.
        let limits = limit_descriptors(0);
        let nothing = listener.accept();
        restore_descriptors(limits);
        assert!(matches!(nothing, Accept::Blocked), "{nothing:?}");
        assert_eq!(listener.stats().shed, 2);
    }
    assert_eq!(ACCEPT_PAUSE.as_millis(), 100);
}
