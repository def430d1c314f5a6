//! Ends that are not clean: orphans, grandchildren, children that will not stop or will not be quiet.

// These programs are their own children, and a child ends with a code.
#![allow(clippy::disallowed_methods)]

mod process_support;

use std::io::Write;
use std::time::Duration;

use process_support::{
    halves, plain_role, read_line, readable_within, role, sleep_forever, wait, wait_readable,
    watch_stranger,
};
use switchboard_os::process::{
    Channel, Child, Exit, OnDrop, ParentDeath, Signal, StderrTail, TailRead, parent_channel,
};

switchboard_os::run_role_before_main!(process_support::ROLE, play);

fn play(role: &str) {
    match role {
        "sleep" => sleep_forever(),
        "deaf" => {
            ignore_term();
            say(&format!("{}\n", std::process::id()));
            sleep_forever();
        }
        "deaf-grandchild" => {
            ignore_term();
            sleep_forever();
        }
        "deaf-family" => deaf_family(),
        "leaves-a-grandchild" => {
            let grandchild = plain_role("sleep").spawn().unwrap();
            say(&format!("{}\n", grandchild.id()));
            std::process::exit(7);
        }
        "flood" => flood(),
        "parent" => parent(ParentDeath::Kill),
        "careless-parent" => parent(ParentDeath::Survive),
        role => panic!("unknown role {role}"),
    }
}

fn ignore_term() {
    // SAFETY: sets a disposition; no handler runs.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
}

/// Writes to the channel where it lies, without the guard that [`parent_channel`] would set up:
/// these children stand for programs that know nothing of it.
fn say(text: &str) {
    if std::env::var_os("SWITCHBOARD_STDIO").is_some() {
        print!("{text}");
        std::io::stdout().flush().unwrap();
    } else {
        halves(parent_channel().unwrap())
            .1
            .write_all(text.as_bytes())
            .unwrap();
    }
}

/// A child that ignores `SIGTERM`, with a grandchild that does so too.
fn deaf_family() {
    ignore_term();
    let mut grandchild = plain_role("deaf-grandchild").spawn().unwrap();
    say(&format!("{}\n", grandchild.id()));
    grandchild.wait().unwrap();
}

const FLOOD: usize = 8 * 1024 * 1024;

fn flood() {
    let line = [b"0123456789abcde".as_slice(), b"\n"].concat();
    let mut stderr = std::io::stderr().lock();
    for _ in 0..FLOOD / line.len() {
        stderr.write_all(&line).unwrap();
    }
    stderr.write_all(b"the last line\n").unwrap();
}

/// A parent with children, which tells their pids and waits to be killed.
fn parent(parent_death: ParentDeath) {
    // From a thread that ends at once, as one of a pool would.
    let children: Vec<Child> = std::thread::spawn(move || {
        (0..3)
            .map(|_| role("sleep").parent_death(parent_death).spawn().unwrap())
            .collect()
    })
    .join()
    .unwrap();
    let pids: Vec<_> = children
        .iter()
        .map(|child| child.id().to_string())
        .collect();
    say(&format!("{}\n", pids.join(" ")));
    sleep_forever();
}

#[test]
fn hazard_s6_the_exit_is_seen_at_once_although_a_grandchild_holds_the_pipes() {
    let mut child = role("leaves-a-grandchild")
        .channel(Channel::Pipes)
        .spawn()
        .unwrap();
    let (mut read, _write) = halves(child.take_channel().unwrap());
    let stderr = child.take_stderr().unwrap();
    let grandchild = watch_stranger(&read_line(&mut read));

    wait_readable(&child);
    assert_eq!(child.peek_exit(), Some(Exit::Code(7)));
    // The streams do not tell: the grandchild lives and holds both.
    assert!(!readable_within(&grandchild, Duration::ZERO));
    assert!(!readable_within(&read, Duration::ZERO));
    assert_eq!(
        StderrTail::default().read_from(&stderr).unwrap(),
        TailRead::Drained
    );

    // What a dead child left in its group is still reached through it, until it is reaped.
    child.signal_group(Signal::Kill).unwrap();
    wait_readable(&grandchild);
    assert_eq!(child.try_reap(), Some(Exit::Code(7)));
}

#[test]
fn hazard_s9_the_children_of_a_parent_killed_with_9_die_with_it() {
    let mut parent = role("parent").spawn().unwrap();
    let (mut read, _write) = halves(parent.take_channel().unwrap());
    let line = read_line(&mut read);
    let children: Vec<_> = line.split(' ').map(watch_stranger).collect();
    assert_eq!(children.len(), 3);
    for child in &children {
        assert!(
            !readable_within(child, Duration::ZERO),
            "a child died with the thread it came from"
        );
    }
    parent.signal(Signal::Kill).unwrap();
    for child in &children {
        wait_readable(child);
    }
    assert_eq!(wait(&mut parent).signal(), Some(libc::SIGKILL));
}

#[test]
fn a_child_that_shall_survive_its_parent_does() {
    let mut parent = role("careless-parent").spawn().unwrap();
    let (mut read, _write) = halves(parent.take_channel().unwrap());
    let line = read_line(&mut read);
    let children: Vec<_> = line.split(' ').map(watch_stranger).collect();
    parent.signal(Signal::Kill).unwrap();
    assert_eq!(wait(&mut parent).signal(), Some(libc::SIGKILL));
    for child in &children {
        assert!(!readable_within(child, Duration::from_millis(50)));
        rustix::process::pidfd_send_signal(child, rustix::process::Signal::KILL).unwrap();
        wait_readable(child);
    }
}

#[test]
fn hazard_s9_a_child_outlives_the_thread_that_asked_for_it() {
    let mut child = std::thread::spawn(|| role("deaf").spawn().unwrap())
        .join()
        .unwrap();
    let (mut read, _write) = halves(child.take_channel().unwrap());
    assert_eq!(read_line(&mut read), child.id().to_string());
    assert!(!readable_within(&child, Duration::from_millis(50)));
    assert_eq!(child.peek_exit(), None);
}

#[test]
fn hazard_s10_a_family_that_ignores_term_dies_by_the_kill_of_its_group() {
    let mut child = role("deaf-family").spawn().unwrap();
    let (mut read, _write) = halves(child.take_channel().unwrap());
    let grandchild = watch_stranger(&read_line(&mut read));

    child.signal_group(Signal::Terminate).unwrap();
    assert!(
        !readable_within(&child, Duration::from_millis(50)),
        "it ignores that"
    );
    assert!(!readable_within(&grandchild, Duration::ZERO));

    child.signal_group(Signal::Kill).unwrap();
    assert_eq!(
        wait(&mut child),
        Exit::Signal {
            number: libc::SIGKILL,
            core_dumped: false
        }
    );
    wait_readable(&grandchild);
}

#[test]
fn dropping_a_child_kills_its_group_and_does_not_wait_for_it() {
    let mut child = role("deaf-family").spawn().unwrap();
    let (mut read, _write) = halves(child.take_channel().unwrap());
    let grandchild = watch_stranger(&read_line(&mut read));
    let itself = watch_stranger(&child.id().to_string());
    drop(child);
    wait_readable(&itself);
    wait_readable(&grandchild);
}

#[test]
fn dropping_a_child_that_has_ended_kills_what_it_left_behind() {
    let mut child = role("leaves-a-grandchild").spawn().unwrap();
    let (mut read, _write) = halves(child.take_channel().unwrap());
    let grandchild = watch_stranger(&read_line(&mut read));
    wait_readable(&child);
    drop(child);
    wait_readable(&grandchild);
}

#[test]
fn a_child_may_be_left_running_when_its_handle_is_dropped() {
    let mut child = role("deaf").on_drop(OnDrop::LeaveRunning).spawn().unwrap();
    let (mut read, _write) = halves(child.take_channel().unwrap());
    let itself = watch_stranger(&read_line(&mut read));
    drop(child);
    assert!(!readable_within(&itself, Duration::from_millis(50)));
    rustix::process::pidfd_send_signal(&itself, rustix::process::Signal::KILL).unwrap();
    wait_readable(&itself);
}

#[test]
fn hazard_s11_a_child_that_floods_its_stderr_is_not_blocked_and_not_kept() {
    let mut child = role("flood").spawn().unwrap();
    let stderr = child.take_stderr().unwrap();
    let mut tail = StderrTail::default();
    loop {
        match tail.read_from(&stderr).unwrap() {
            TailRead::More => {}
            TailRead::Drained => wait_readable(&stderr),
            TailRead::End => break,
        }
        assert!(tail.len() <= StderrTail::DEFAULT_CAPACITY);
    }
    assert_eq!(wait(&mut child), Exit::Code(0));
    assert!(
        tail.text().starts_with("0123456789abcde\n"),
        "a line is kept whole"
    );
    assert!(tail.text().ends_with("the last line\n"));
    let written = (FLOOD + b"the last line\n".len()) as u64;
    assert_eq!(tail.dropped() + tail.len() as u64, written);
}

#[test]
fn one_turn_of_reading_a_flood_is_bounded() {
    let (read, write) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&write, 256 * 1024).unwrap();
    rustix::io::ioctl_fionbio(&read, true).unwrap();
    (&write).write_all(&vec![b'x'; 200 * 1024]).unwrap();
    let mut tail = StderrTail::default();
    assert_eq!(tail.read_from(&read).unwrap(), TailRead::More);
    assert_eq!(
        tail.dropped() + tail.len() as u64,
        StderrTail::READ_BUDGET as u64
    );
    drop(write);
    while tail.read_from(&read).unwrap() == TailRead::More {}
    assert_eq!(tail.read_from(&read).unwrap(), TailRead::End);
}
