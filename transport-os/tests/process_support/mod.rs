//! What the tests of child processes share: a test binary that starts itself in a role, and waits
//! that end when something happens, or fail after a long time.
#![allow(dead_code, unreachable_pub, unused_imports)]

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use switchboard_os::process::{ChannelEnd, Child, Exit, SpawnSpec};
pub use switchboard_os::test_util::{PATIENCE, eventually, sleep_forever};

/// The variable that makes a test binary a child of a test.
pub const ROLE: &str = "PROCESS_TEST_ROLE";

/// A child that is this test binary in that role.
pub fn role(role: &str) -> SpawnSpec {
    SpawnSpec::new(std::env::current_exe().unwrap()).env(ROLE, role)
}

/// A plain grandchild in that role, which inherits stdout and stderr.
pub fn plain_role(role: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, role);
    command
}

#[track_caller]
pub fn wait_readable(fd: impl AsFd) {
    assert!(readable_within(fd, PATIENCE), "nothing happened");
}

pub fn readable_within(fd: impl AsFd, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).unwrap();
        match poll(&mut fds, Some(&left)) {
            Ok(count) => return count > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits for the child's end and reaps it.
#[track_caller]
pub fn wait(child: &mut Child) -> Exit {
    wait_readable(&*child);
    child
        .try_reap()
        .expect("the descriptor said that it has ended")
}

/// The parent's end as two blocking halves.
pub fn halves(end: ChannelEnd) -> (std::fs::File, std::fs::File) {
    let (read, write) = match end {
        ChannelEnd::Socket(fd) => (fd.try_clone().unwrap(), fd),
        ChannelEnd::Pipes { read, write } => (read, write),
        other => panic!("{other:?}"),
    };
    for fd in [&read, &write] {
        rustix::io::ioctl_fionbio(fd, false).unwrap();
    }
    (read.into(), write.into())
}

/// Everything that comes over the channel until its end.
pub fn read_all(end: ChannelEnd) -> String {
    let (mut read, write) = halves(end);
    // A pipe cannot be shut down and need not be: closing it does the same.
    let _ = rustix::net::shutdown(&write, rustix::net::Shutdown::Write);
    drop(write);
    let mut text = String::new();
    read.read_to_string(&mut text).unwrap();
    text
}

/// A line that comes over the channel.
pub fn read_line(mut from: impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while from.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

/// A descriptor of a process that is not ours, readable when it has ended.
pub fn watch_stranger(pid: &str) -> OwnedFd {
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap()
}

/// The numbers of the open descriptors of this process, without the one that lists them.
pub fn open_descriptors() -> Vec<i32> {
    let names: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    let mut open: Vec<i32> = names
        .into_iter()
        .filter(|number| std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok())
        .collect();
    open.sort_unstable();
    open
}
