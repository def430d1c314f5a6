//! What is left after many children: nothing. Alone in its program, so that it can count.

// These programs are their own children, and a child ends with a code.
#![allow(clippy::disallowed_methods)]

mod process_support;

use process_support::{eventually, open_descriptors, role, wait};
use switchboard_os::process::{Channel, Exit, SpawnError, SpawnSpec};

switchboard_os::run_role_before_main!(process_support::ROLE, play);

fn play(role: &str) {
    match role {
        "exit" => std::process::exit(3),
        "sleep" => process_support::sleep_forever(),
        role => panic!("unknown role {role}"),
    }
}

/// The children of this process that the kernel still knows, zombies included.
fn children() -> usize {
    let mut count = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path().join("children");
        count += std::fs::read_to_string(path)
            .unwrap_or_default()
            .split_whitespace()
            .count();
    }
    count
}

#[test]
fn hazard_s5_two_hundred_children_leave_no_zombie_and_no_descriptor() {
    // The thread that starts children keeps a pipe to itself; let it have that before the count.
    wait(&mut role("exit").spawn().unwrap());
    let before = open_descriptors();
    assert_eq!(children(), 0);

    for round in 0..40 {
        let channel = if round % 2 == 0 {
            Channel::Socketpair
        } else {
            Channel::Pipes
        };
        let mut reaped = role("exit").channel(channel).spawn().unwrap();
        let running = role("sleep").channel(channel).spawn().unwrap();
        let ended = role("exit").channel(channel).spawn().unwrap();
        let mut emptied = role("sleep").channel(channel).spawn().unwrap();

        assert_eq!(wait(&mut reaped), Exit::Code(3));
        assert_eq!(
            reaped.try_reap(),
            Some(Exit::Code(3)),
            "asked again, it says the same"
        );
        drop(running);
        process_support::wait_readable(&ended);
        drop(ended);
        drop((emptied.take_channel(), emptied.take_stderr(), emptied));

        let refused = SpawnSpec::new("/no/such/program").channel(channel).spawn();
        assert!(
            matches!(refused, Err(SpawnError::Program { .. })),
            "{refused:?}"
        );
    }

    eventually("every child is reaped", || children() == 0);
    eventually("every descriptor is closed", || {
        open_descriptors() == before
    });
}
