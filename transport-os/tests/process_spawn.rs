//! Starting children, and what a child finds when it starts.

// These programs are their own children, and a child ends with a code.
#![allow(clippy::disallowed_methods)]

mod process_support;

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;

use process_support::{halves, read_all, read_line, role, wait};
use switchboard_os::process::{
    Channel, ChannelEnd, Exit, Signal, SignalError, SpawnError, SpawnSpec, Stderr, StderrTail,
    parent_channel,
};

switchboard_os::run_role_before_main!(process_support::ROLE, play);

fn play(role: &str) {
    match role {
        "exit" => std::process::exit(3),
        "echo" => echo(),
        "report" => report(),
        "last-words" => {
            eprintln!("cannot open the database");
            std::process::exit(1);
        }
        "killed" => {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::SEGV).unwrap();
            process_support::sleep_forever();
        }
        "forks" => forks(),
        "relay with 3 in use" => relay(halves(parent_channel().unwrap())),
        "relay with 3 free" => relay(moved_up(parent_channel().unwrap())),
        "relay with 3 claimed" => {
            let ends = moved_up(parent_channel().unwrap());
            claim_three();
            relay(ends);
        }
        "relay with 0 and 3 free" => {
            let end = parent_channel().unwrap();
            // So that what the first start opens for good does not take the free numbers.
            wait(&mut process_support::role("exit").spawn().unwrap());
            let ends = moved_up(end);
            // SAFETY: nothing in this process uses its stdin.
            assert_eq!(unsafe { libc::close(0) }, 0);
            relay(ends);
        }
        "deaf parent" => deaf_parent(),
        "passes on its stderr" => pass_on_stderr(),
        role => panic!("unknown role {role}"),
    }
}

/// Sends back what comes in, until the end of it or of whoever reads.
fn echo() {
    // SAFETY: sets a disposition, as the standard library does before `main`; no handler runs.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let (mut read, mut write) = halves(parent_channel().unwrap());
    let _ = std::io::copy(&mut read, &mut write);
}

/// Tells what the child finds around it, without touching any of it before.
fn report() {
    let descriptors = process_support::open_descriptors();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let (_, mut out) = halves(parent_channel().unwrap());
    writeln!(out, "descriptors {descriptors:?}").unwrap();
    let group = rustix::process::getpgrp() == rustix::process::getpid();
    writeln!(out, "own group {group}").unwrap();
    for line in status
        .lines()
        .filter(|line| line.starts_with("SigBlk") || line.starts_with("SigIgn"))
    {
        writeln!(out, "{}", line.replace('\t', " ")).unwrap();
    }
    writeln!(out, "proto {:?}", std::env::var("SWITCHBOARD_PROTO")).unwrap();
    writeln!(out, "directory {:?}", std::env::current_dir().unwrap()).unwrap();
}

/// A parent that forks without executing a program: the copy must keep its hands off the child.
fn forks() {
    let mut child = role("echo").spawn().unwrap();
    // SAFETY: the copy uses what glibc repairs after a fork (malloc) and system calls, then exits.
    let copy = unsafe { libc::fork() };
    if copy == 0 {
        let hands_off = matches!(child.signal(Signal::Kill), Err(SignalError::Forked))
            && matches!(child.signal_group(Signal::Kill), Err(SignalError::Forked))
            && child.try_reap().is_none()
            && matches!(role("echo").spawn(), Err(SpawnError::Forked));
        drop(child);
        // SAFETY: ends this process without running what the original registered.
        unsafe { libc::_exit(if hands_off { 0 } else { 1 }) };
    }
    let copy = rustix::process::Pid::from_raw(copy).unwrap();
    let status = rustix::process::waitpid(Some(copy), rustix::process::WaitOptions::empty());
    assert_eq!(
        status.unwrap().unwrap().1.exit_status(),
        Some(0),
        "the copy touched the child"
    );
    let (mut read, mut write) = halves(child.take_channel().unwrap());
    writeln!(write, "still here").unwrap();
    assert_eq!(read_line(&mut read), "still here");
    drop((read, write));
    assert_eq!(wait(&mut child), Exit::Code(0));
}

/// A parent that blocks and ignores what it can, and passes on what its child finds.
fn deaf_parent() {
    // SAFETY: sets dispositions without handlers and the mask of this thread, from a set that is
    // filled before it is used.
    unsafe {
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
    }
    let end = parent_channel().unwrap();
    let mut child = role("report").spawn().unwrap();
    let text = read_all(child.take_channel().unwrap());
    halves(end).1.write_all(text.as_bytes()).unwrap();
    assert_eq!(wait(&mut child), Exit::Code(0));
}

fn pass_on_stderr() {
    let mut child = role("last-words").stderr(Stderr::Inherit).spawn().unwrap();
    assert!(child.take_stderr().is_none());
    wait(&mut child);
}

/// Takes a line to a child of its own and back.
fn relay((mut up_read, mut up_write): (File, File)) {
    let mut child = role("echo").spawn().unwrap();
    let (mut read, mut write) = halves(child.take_channel().unwrap());
    writeln!(write, "{}", read_line(&mut up_read)).unwrap();
    writeln!(up_write, "{}", read_line(&mut read)).unwrap();
    drop((read, write));
    assert_eq!(wait(&mut child), Exit::Code(0));
}

/// The same channel out of the way, with descriptor 3 closed.
fn moved_up(end: ChannelEnd) -> (File, File) {
    let ChannelEnd::Socket(fd) = &end else {
        panic!("{end:?}")
    };
    assert_eq!(fd.as_raw_fd(), 3);
    let up = || rustix::io::fcntl_dupfd_cloexec(fd, 100).unwrap().into();
    (up(), up())
}

/// Lets a thread wait in a call for which the kernel has taken number 3 already.
fn claim_three() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let up = rustix::io::fcntl_dupfd_cloexec(&listener, 100).unwrap();
    drop((listener, folder));
    let listener = std::os::unix::net::UnixListener::from(up);
    std::thread::spawn(move || listener.accept());
    process_support::eventually("number 3 is claimed", || {
        let lowest = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 3).unwrap();
        let is_open = std::path::Path::new("/proc/self/fd/3").exists();
        lowest.as_raw_fd() != 3 && !is_open
    });
}

fn channels() -> [Channel; 2] {
    [Channel::Socketpair, Channel::Pipes]
}

#[test]
fn parent_and_child_talk_over_either_channel_until_the_parent_closes_it() {
    for channel in channels() {
        let mut child = role("echo").channel(channel).spawn().unwrap();
        let end = child.take_channel().unwrap();
        assert_eq!(
            matches!(end, ChannelEnd::Socket(_)),
            channel == Channel::Socketpair
        );
        let (mut read, mut write) = halves(end);
        writeln!(write, "hello").unwrap();
        assert_eq!(read_line(&mut read), "hello");
        drop((read, write));
        assert_eq!(wait(&mut child), Exit::Code(0));
    }
}

#[test]
fn an_exit_can_be_looked_at_before_it_is_reaped() {
    let mut child = role("exit").spawn().unwrap();
    process_support::wait_readable(&child);
    assert_eq!(child.peek_exit(), Some(Exit::Code(3)));
    assert_eq!(child.peek_exit(), Some(Exit::Code(3)));
    child
        .signal(Signal::Kill)
        .expect("a child that is not reaped takes a signal without effect");
    child.signal_group(Signal::Kill).unwrap();
    assert_eq!(child.try_reap(), Some(Exit::Code(3)));
    assert_eq!(child.peek_exit(), Some(Exit::Code(3)));
    assert!(matches!(
        child.signal(Signal::Kill),
        Err(SignalError::Reaped)
    ));
    assert!(matches!(
        child.signal_group(Signal::Kill),
        Err(SignalError::Reaped)
    ));
}

#[test]
fn a_running_child_has_no_exit_and_the_signal_that_ends_it_is_told() {
    let mut child = role("echo").spawn().unwrap();
    assert_eq!(child.peek_exit(), None);
    assert_eq!(child.try_reap(), None);
    child.signal(Signal::Kill).unwrap();
    assert_eq!(wait(&mut child).to_string(), "was killed by SIGKILL");

    let mut child = role("killed").spawn().unwrap();
    assert_eq!(wait(&mut child).signal(), Some(libc::SIGSEGV));
}

#[test]
fn the_end_of_a_child_comes_with_its_last_words() {
    let mut child = role("last-words").spawn().unwrap();
    let stderr = child.take_stderr().unwrap();
    let exit = wait(&mut child);
    let mut tail = StderrTail::default();
    tail.read_from(&stderr).unwrap();
    assert_eq!(exit.to_string(), "exited with code 1");
    assert_eq!(tail.text(), "cannot open the database\n");
    assert!(child.take_stderr().is_none());
}

#[test]
fn a_program_that_does_not_exist_is_named_in_the_error() {
    for channel in channels() {
        let error = SpawnSpec::new("/no/such/program")
            .channel(channel)
            .spawn()
            .unwrap_err();
        let SpawnError::Program { source, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
        assert!(
            error
                .to_string()
                .starts_with("cannot start /no/such/program: "),
            "{error}"
        );
    }
}

#[test]
fn hazard_f8_a_child_has_its_stdio_and_its_channel_and_no_other_descriptor() {
    // What a careless library leaves: a descriptor without the close-on-exec flag.
    let leak = std::fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    for (channel, expected) in [
        (Channel::Socketpair, "[0, 1, 2, 3]"),
        (Channel::Pipes, "[0, 1, 2]"),
    ] {
        let mut child = role("report").channel(channel).spawn().unwrap();
        let text = read_all(child.take_channel().unwrap());
        assert!(
            text.contains(&format!("descriptors {expected}\n")),
            "{text}"
        );
        assert_eq!(wait(&mut child), Exit::Code(0));
    }
}

#[test]
fn a_child_starts_in_a_group_of_its_own_and_where_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let spec = role("report")
        .env("SWITCHBOARD_PROTO", "1")
        .current_dir(directory.path());
    let mut child = spec.spawn().unwrap();
    let text = read_all(child.take_channel().unwrap());
    assert!(text.contains("own group true\n"), "{text}");
    assert!(text.contains("proto Ok(\"1\")\n"), "{text}");
    let canonical = directory.path().canonicalize().unwrap();
    assert!(
        text.contains(&format!("directory {canonical:?}\n")),
        "{text}"
    );
}

#[test]
fn what_a_parent_blocks_and_ignores_does_not_make_its_child_deaf() {
    let mut parent = role("deaf parent").stderr(Stderr::Inherit).spawn().unwrap();
    let text = read_all(parent.take_channel().unwrap());
    let mask = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect(name);
        u64::from_str_radix(line.trim_start_matches(": "), 16).unwrap()
    };
    let bit = |signal: i32| 1_u64 << (signal - 1);
    assert_eq!(mask("SigBlk"), 0, "{text}");
    assert_eq!(
        mask("SigIgn") & (bit(libc::SIGTERM) | bit(libc::SIGPIPE)),
        0,
        "{text}"
    );
    assert_eq!(wait(&mut parent), Exit::Code(0));
}

#[test]
fn an_environment_from_nothing_still_announces_the_channel() {
    let mut child = role("report").env_clear().spawn().unwrap();
    let text = read_all(child.take_channel().unwrap());
    assert!(text.contains("proto Err(NotPresent)\n"), "{text}");
}

#[test]
fn descriptor_three_of_the_parent_may_be_in_use_or_free() {
    for relay in [
        "relay with 3 in use",
        "relay with 3 free",
        "relay with 0 and 3 free",
        "relay with 3 claimed",
    ] {
        let mut middle = role(relay).stderr(Stderr::Inherit).spawn().unwrap();
        let (mut read, mut write) = halves(middle.take_channel().unwrap());
        writeln!(write, "through both").unwrap();
        assert_eq!(read_line(&mut read), "through both", "{relay}");
        assert_eq!(wait(&mut middle), Exit::Code(0), "{relay}");
    }
}

#[test]
fn a_child_without_a_pipe_for_its_stderr_has_none_to_take() {
    let mut child = role("echo").stderr(Stderr::Null).spawn().unwrap();
    assert!(child.take_stderr().is_none());
    assert!(child.take_channel().is_some());
    assert!(child.take_channel().is_none());
}

#[test]
fn the_stderr_of_a_child_may_be_that_of_its_parent() {
    let mut parent = role("passes on its stderr").spawn().unwrap();
    let stderr = parent.take_stderr().unwrap();
    assert_eq!(wait(&mut parent), Exit::Code(0));
    let mut tail = StderrTail::default();
    tail.read_from(&stderr).unwrap();
    assert_eq!(tail.text(), "cannot open the database\n");
}

#[test]
fn the_environment_values_of_a_spec_do_not_reach_a_log() {
    let spec = SpawnSpec::new("worker").env("TOKEN", "s3cret");
    let shown = format!("{spec:?}");
    assert!(
        shown.contains("TOKEN") && !shown.contains("s3cret"),
        "{shown}"
    );
}

#[test]
fn hazard_x8_a_forked_copy_of_the_parent_cannot_touch_its_children() {
    let mut parent = role("forks").stderr(Stderr::Inherit).spawn().unwrap();
    assert_eq!(wait(&mut parent), Exit::Code(0));
}

#[test]
fn hazard_s5_the_children_of_other_code_keep_their_exits() {
    let mut theirs = process_support::plain_role("exit").spawn().unwrap();
    let mut ours = role("exit").spawn().unwrap();
    assert_eq!(wait(&mut ours), Exit::Code(3));
    assert_eq!(theirs.wait().unwrap().code(), Some(3));
}
