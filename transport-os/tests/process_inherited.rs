//! The child's side: taking the channel, and keeping everything else out of it.

// These programs are their own children, and a child ends with a code.
#![allow(clippy::disallowed_methods)]

mod process_support;

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};

use process_support::{halves, plain_role, read_all, read_line, role, wait};
use switchboard_os::process::{
    Channel, ChannelEnd, Exit, InheritError, StderrTail, parent_channel, secure_stdio,
    take_parent_channel,
};

switchboard_os::run_role_before_main!(process_support::ROLE, play);

/// The stray lines that the noisy child prints.
const STRAY_LINES: usize = 20_000;

fn play(role: &str) {
    match role {
        "noisy" => noisy(),
        "stdio" => stdio(),
        "twice" => twice(),
        "takes" => take_and_say(),
        "grandchild-takes" => {
            // With the channel still lying where the parent put it, and its announcement inherited.
            let end = parent_channel().unwrap();
            let output = plain_role("takes").stdin(Stdio::null()).output().unwrap();
            halves(end).1.write_all(&output.stderr).unwrap();
        }
        closed if closed.starts_with("closed ") => starts_with_closed(&closed["closed ".len()..]),
        role => panic!("unknown role {role}"),
    }
}

/// Prints as much as it speaks, through Rust and past it.
fn noisy() {
    let (_, mut out) = halves(parent_channel().unwrap());
    for number in 0..STRAY_LINES {
        println!("stray {number}");
        if number < 10 {
            Command::new("echo")
                .arg("stray from a program")
                .status()
                .unwrap();
        }
        writeln!(out, "frame {number}").unwrap();
    }
}

/// Tells what the standard descriptors are after the channel has been taken.
fn stdio() {
    let end = parent_channel().unwrap();
    let ChannelEnd::Pipes { read, write } = &end else {
        panic!("{end:?}")
    };
    let mut text = String::new();
    for fd in [read, write] {
        assert!(fd.as_raw_fd() >= 3);
        assert!(
            rustix::io::fcntl_getfd(fd)
                .unwrap()
                .contains(rustix::io::FdFlags::CLOEXEC)
        );
    }
    for number in 0..3 {
        text += &format!("{number} {}\n", link(number));
    }
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).unwrap();
    text += &format!("stdin has {}\n", rest.len());
    let (mut input, mut output) = halves(end);
    text += &format!("channel has {}\n", read_line(&mut input));
    output.write_all(text.as_bytes()).unwrap();
}

fn link(number: i32) -> String {
    std::fs::read_link(format!("/proc/self/fd/{number}"))
        .unwrap()
        .display()
        .to_string()
}

fn twice() {
    let first = take_parent_channel().unwrap().unwrap();
    assert!(matches!(
        take_parent_channel(),
        Err(InheritError::AlreadyTaken)
    ));
    assert!(matches!(parent_channel(), Err(InheritError::AlreadyTaken)));
    if let ChannelEnd::Socket(fd) = &first {
        assert!(
            rustix::io::fcntl_getfd(fd)
                .unwrap()
                .contains(rustix::io::FdFlags::CLOEXEC)
        );
    }
    halves(first).1.write_all(b"once\n").unwrap();
}

/// Says on stderr what became of taking the channel.
fn take_and_say() {
    match take_parent_channel() {
        Ok(Some(_)) => eprintln!("taken"),
        Ok(None) => eprintln!("none: {}", parent_channel().unwrap_err()),
        Err(error) => eprintln!("error: {error}"),
    }
}

/// Starts with these descriptors closed, opens some files, prints, and speaks.
fn starts_with_closed(numbers: &str) {
    let numbers: Vec<i32> = numbers.split(' ').map(|n| n.parse().unwrap()).collect();
    for &number in &numbers {
        // SAFETY: nothing in this process has used the standard descriptors yet.
        assert_eq!(unsafe { libc::close(number) }, 0);
    }
    let end = parent_channel().unwrap();
    let opened: OwnedFd = std::fs::File::open("/dev/zero").unwrap().into();
    assert!(
        opened.as_raw_fd() >= 3,
        "a file landed on a standard descriptor"
    );
    for &number in &numbers {
        assert_eq!(link(number), "/dev/null");
        // SAFETY: just seen to be open.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        assert!(
            !rustix::io::fcntl_getfd(fd)
                .unwrap()
                .contains(rustix::io::FdFlags::CLOEXEC)
        );
    }
    println!("stray");
    eprintln!("stray");
    assert_eq!(secure_stdio().unwrap(), [false; 3]);
    halves(end).1.write_all(b"ready\n").unwrap();
}

#[test]
fn hazard_s1_a_child_that_prints_all_the_time_does_not_corrupt_its_channel() {
    let mut child = role("noisy").channel(Channel::Pipes).spawn().unwrap();
    let stderr = child.take_stderr().unwrap();
    let (mut read, write) = halves(child.take_channel().unwrap());
    // Somebody must read what is printed, as of any child.
    let reader = std::thread::spawn(move || {
        let mut tail = StderrTail::new(1 << 20);
        loop {
            match tail.read_from(&stderr).unwrap() {
                switchboard_os::process::TailRead::End => return tail.text(),
                _ => process_support::wait_readable(&stderr),
            }
        }
    });
    let mut text = String::new();
    read.read_to_string(&mut text).unwrap();
    drop(write);
    let expected: String = (0..STRAY_LINES)
        .map(|number| format!("frame {number}\n"))
        .collect();
    assert_eq!(text, expected);
    assert_eq!(wait(&mut child), Exit::Code(0));
    let printed = reader.join().unwrap();
    assert!(
        printed.contains("stray 19999\n"),
        "what was printed is on the stderr"
    );
    assert!(printed.contains("stray from a program\n"));
}

#[test]
fn once_the_channel_is_taken_stdin_is_empty_and_stdout_is_the_stderr() {
    let mut child = role("stdio").channel(Channel::Pipes).spawn().unwrap();
    let (mut read, mut write) = halves(child.take_channel().unwrap());
    writeln!(write, "what was sent").unwrap();
    let mut text = String::new();
    read.read_to_string(&mut text).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "0 /dev/null");
    assert_eq!(lines[1].strip_prefix("1 "), lines[2].strip_prefix("2 "));
    assert_eq!(lines[3], "stdin has 0");
    assert_eq!(lines[4], "channel has what was sent");
}

#[test]
fn the_channel_is_taken_once() {
    for channel in [Channel::Socketpair, Channel::Pipes] {
        let mut child = role("twice").channel(channel).spawn().unwrap();
        assert_eq!(read_all(child.take_channel().unwrap()), "once\n");
        assert_eq!(wait(&mut child), Exit::Code(0));
    }
}

#[test]
fn a_program_started_by_hand_says_how_it_wants_to_be_started() {
    let output = plain_role("takes").stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("none: "), "{said}");
    assert!(
        said.contains("start it through a Switchboard parent"),
        "{said}"
    );
}

#[test]
fn a_grandchild_that_inherited_the_announcement_does_not_take_it_for_its_own() {
    for channel in [Channel::Socketpair, Channel::Pipes] {
        let mut child = role("grandchild-takes").channel(channel).spawn().unwrap();
        let said = read_all(child.take_channel().unwrap());
        assert!(said.starts_with("none: "), "{channel:?}: {said}");
        assert_eq!(wait(&mut child), Exit::Code(0));
    }
}

/// What a program that nobody gave a channel says to these variables.
fn says_with(variables: &[(&str, &str)]) -> String {
    let mut command = plain_role("takes");
    let output = command
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn announcements_that_name_no_channel_are_errors() {
    let said = says_with(&[("SWITCHBOARD_FD", "three")]);
    assert!(said.contains("SWITCHBOARD_FD is \"three\""), "{said}");
    let said = says_with(&[("SWITCHBOARD_FD", "1")]);
    assert!(said.contains("SWITCHBOARD_FD is \"1\""), "{said}");
    let said = says_with(&[("SWITCHBOARD_STDIO", "yes")]);
    assert!(said.contains("SWITCHBOARD_STDIO is \"yes\""), "{said}");
    let said = says_with(&[("SWITCHBOARD_FD", "777")]);
    assert!(
        said.contains("descriptor 777") && said.contains("closed"),
        "{said}"
    );
    let said = says_with(&[("SWITCHBOARD_STDIO", "1")]);
    assert!(
        said.contains("descriptor 0") && said.contains("a device"),
        "{said}"
    );
}

#[test]
fn a_script_may_hand_over_a_channel_without_its_identity() {
    let output = plain_role("takes")
        .env("SWITCHBOARD_STDIO", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "taken\n");
}

#[test]
fn a_child_that_starts_with_standard_descriptors_closed_speaks_on_its_channel_only() {
    for closed in ["0", "1", "2", "0 1", "1 2", "0 1 2"] {
        let mut child = role(&format!("closed {closed}")).spawn().unwrap();
        assert_eq!(
            read_all(child.take_channel().unwrap()),
            "ready\n",
            "closed: {closed}"
        );
        assert_eq!(wait(&mut child), Exit::Code(0), "closed: {closed}");
    }
}

#[test]
fn with_stdio_as_the_channel_only_its_stderr_can_be_missing() {
    let mut child = role("closed 2").channel(Channel::Pipes).spawn().unwrap();
    assert_eq!(read_all(child.take_channel().unwrap()), "ready\n");
    assert_eq!(wait(&mut child), Exit::Code(0));
    // Without stdin there is no channel, and the child says so instead of waiting for ever.
    let mut child = role("closed 0").channel(Channel::Pipes).spawn().unwrap();
    assert_ne!(wait(&mut child), Exit::Code(0));
}

#[test]
fn a_program_that_knows_nothing_of_this_can_be_a_child() {
    let mut child = switchboard_os::process::SpawnSpec::new("cat")
        .channel(Channel::Pipes)
        .spawn()
        .unwrap();
    let (mut read, mut write) = halves(child.take_channel().unwrap());
    writeln!(write, "meow").unwrap();
    assert_eq!(read_line(&mut read), "meow");
    drop(write);
    assert_eq!(wait(&mut child), Exit::Code(0));
}
