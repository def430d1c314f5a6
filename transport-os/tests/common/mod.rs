//! What the test programs share. A test that changes or counts what belongs to the whole process
//! (limits, the umask, open descriptors) starts itself again as a process of its own.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use bytes::BytesMut;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use switchboard_os::{Address, Connected, Listener, Read, Stream, Write};

/// An ordinary user without any capability.
pub(crate) const NOBODY: u32 = 65_534;

const ALONE: &str = "SWITCHBOARD_TEST_ALONE";
const ROLE: &str = "SWITCHBOARD_TEST_ROLE";

/// Whether this process was started for this test alone. If not, starts one that is, waits for it,
/// and fails as it fails; the caller then returns.
pub(crate) fn alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some_and(|name| name == test) {
        return true;
    }
    run(program(&std::env::current_exe().unwrap(), test));
    false
}

/// As [`alone`], and as a user without privileges when the tests run as root.
pub(crate) fn alone_without_privileges(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some_and(|name| name == test) {
        return true;
    }
    if !is_root() {
        return alone(test);
    }
    // The build folder may be closed to that user.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let copy = copy_program(folder.path());
    let mut command = program(&copy, test);
    command.uid(NOBODY).gid(NOBODY).current_dir("/");
    run(command);
    false
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Starts an ignored test as a process that plays a part, with an argument, and waits until it says
/// that it is ready.
pub(crate) fn start_role(role: &str, argument: &Path) -> Child {
    start(
        program(&std::env::current_exe().unwrap(), role)
            .arg("--ignored")
            .env(ROLE, argument),
    )
}

/// As [`start_role`], as a user without privileges; the caller must be root.
pub(crate) fn start_role_as_nobody(role: &str, argument: &Path, folder: &Path) -> Child {
    let copy = copy_program(folder);
    let mut command = program(&copy, role);
    start(
        command
            .arg("--ignored")
            .env(ROLE, argument)
            .uid(NOBODY)
            .gid(NOBODY)
            .current_dir("/"),
    )
}

/// The argument of the role this process plays; `None` when a person runs the ignored tests.
pub(crate) fn role_argument() -> Option<PathBuf> {
    std::env::var_os(ROLE).map(Into::into)
}

pub(crate) fn say_ready() {
    println!("\nready");
}

fn start(command: &mut Command) -> Child {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (say, said) = mpsc::channel();
    // Reads on to the end: the harness in the other process must be able to print its result.
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok).filter(|line| line == "ready") {
            let _ = say.send(line);
        }
    });
    said.recv_timeout(Duration::from_secs(20))
        .expect("the other process is not ready");
    child
}

/// By another process: were the copy open for writing in this one, a child that another test forks
/// at that moment would keep it open, and starting it would fail with "text file busy".
fn copy_program(folder: &Path) -> PathBuf {
    let copy = folder.join("tests");
    let status = Command::new("cp")
        .arg(std::env::current_exe().unwrap())
        .arg(&copy)
        .status();
    assert!(status.unwrap().success());
    copy
}

fn program(exe: &Path, test: &str) -> Command {
    let mut command = Command::new(exe);
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, test);
    command
}

fn run(mut command: Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "the test failed in its own process ({}):\n{text}\n{errors}",
        output.status
    );
}

/// Two streams that are connected to each other.
pub(crate) fn pair() -> (Stream, Stream) {
    let (left, right) = switchboard_os::socketpair().unwrap();
    (left, Stream::unix(right).unwrap())
}

/// A file with this text, as an attachment that can be recognised.
pub(crate) fn file_with(text: &str) -> OwnedFd {
    use std::io::{Seek, Write};
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file.into()
}

pub(crate) fn text_of(file: OwnedFd) -> String {
    use std::io::{Read, Seek};
    let (mut file, mut text) = (std::fs::File::from(file), String::new());
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

/// Writes all of it; the reader is not this thread.
pub(crate) fn write_all(stream: &mut Stream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match stream.write(&[std::io::IoSlice::new(bytes)], &[]) {
            Write::Wrote(n) => bytes = &bytes[n..],
            Write::Blocked => wait(stream.write_fd().unwrap(), PollFlags::OUT),
            other => panic!("{other:?}"),
        }
    }
}

/// One read into a fresh buffer of this capacity.
pub(crate) fn read_some(stream: &mut Stream, room: usize) -> (Read, Vec<u8>, Vec<OwnedFd>) {
    let (mut buf, mut attachments) = (BytesMut::with_capacity(room), Vec::new());
    let read = stream.read(&mut buf, &mut attachments);
    (read, buf.to_vec(), attachments)
}

/// Reads until nothing is there now.
pub(crate) fn read_all(stream: &mut Stream) -> (Vec<u8>, Vec<OwnedFd>) {
    let (mut buf, mut attachments) = (BytesMut::new(), Vec::new());
    loop {
        buf.reserve(4096);
        match stream.read(&mut buf, &mut attachments) {
            Read::Data { truncated, .. } => assert!(!truncated),
            Read::Blocked => return (buf.to_vec(), attachments),
            other => panic!("{other:?} after {} bytes", buf.len()),
        }
    }
}

/// Waits for the descriptor, and fails rather than hang.
pub(crate) fn wait(descriptor: impl AsFd, interest: PollFlags) {
    assert!(
        is_ready_within(descriptor, interest, Duration::from_secs(20)),
        "nothing came in 20 s"
    );
}

pub(crate) fn is_ready(descriptor: impl AsFd, interest: PollFlags) -> bool {
    is_ready_within(descriptor, interest, Duration::ZERO)
}

fn is_ready_within(descriptor: impl AsFd, interest: PollFlags, time: Duration) -> bool {
    let mut fds = [PollFd::new(&descriptor, interest)];
    let time = Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&time)).unwrap() > 0
}

/// Connects, whatever that takes.
pub(crate) fn connect(address: &Address) -> Stream {
    let mut connecting = Stream::connect(address).unwrap();
    loop {
        connecting = match connecting.finish().unwrap() {
            Connected::Done(stream) => return stream,
            Connected::Pending(again) | Connected::Next(again) => again,
        };
        wait(&connecting, PollFlags::OUT);
    }
}

pub(crate) fn listen(path: &Path) -> Listener {
    Listener::bind(&Address::unix(path).unwrap()).unwrap()
}

/// Lets this process have `free` more descriptors than it has now, and no more. The hard limit
/// stays, so that it can be undone.
pub(crate) fn limit_descriptors(free: usize) -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    // The limit is one of numbers, and the kernel gives out the lowest: these will be the free ones.
    let fill: Vec<_> = (0..=free)
        .map(|_| rustix::io::dup(std::io::stderr()).unwrap())
        .collect();
    let first_forbidden = fill[free].as_raw_fd() as u64;
    let limit = Rlimit {
        current: Some(first_forbidden),
        maximum: before.maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    before
}

pub(crate) fn restore_descriptors(before: Rlimit) {
    setrlimit(Resource::Nofile, before).unwrap();
}
