//! After many children nothing is left: no descriptor, no process, no source in the poller. Alone
//! in its process, for it counts what is in it.

// These programs are their own children, and a child ends with a code.
#![allow(clippy::disallowed_methods)]

mod support;

use support::{Pump, children, echo, role};
use switchboard_os::open_descriptors;
use switchboard_os::process::SpawnSpec;
use switchboard_stdio::{Channel, Spawn};

switchboard_os::run_role_before_main!(support::ROLE, play);

fn play(role: &str) {
    match role {
        "echo" => echo(),
        role => panic!("unknown role {role}"),
    }
}

const CHILDREN: u32 = 200;

fn one(parent: &mut Pump, n: u32) {
    let channel = match n % 2 {
        0 => Channel::Socketpair,
        _ => Channel::Pipes,
    };
    let spawn = match n % 4 {
        0 | 1 => role("echo"),
        2 => Spawn::new("true"),
        _ => Spawn::new("/does/not/exist"),
    };
    let child = spawn.channel(channel).spawn_on(&mut *parent).unwrap();
    match n % 4 {
        0 => {
            let id = parent.request(&child, "echo", b"there");
            assert_eq!(parent.reply(id), b"there");
            child.stop();
        }
        1 => child.kill(),
        _ => {}
    }
    parent.ended(&child);
    assert!(child.next_event().is_none());
    parent.events.clear();
}

/// What is open when the thread that starts children has put away the last of them: it wakes this
/// one before it drops what it has shared with it, and does one after the other.
fn settled() -> usize {
    let refused = SpawnSpec::new("/does/not/exist").spawn();
    assert!(refused.is_err(), "{refused:?}");
    open_descriptors()
}

#[test]
fn hazard_s5_two_hundred_children_leave_no_descriptor_no_zombie_and_no_source() {
    let mut parent = Pump::hub();
    // The thread that starts children, and what it holds, stay.
    (0..4).for_each(|n| one(&mut parent, n));
    let before = settled();
    (0..CHILDREN).for_each(|n| one(&mut parent, n));
    assert_eq!(settled(), before);
    assert_eq!(children(), Vec::<String>::new());
    assert_eq!(parent.source_count(), 0);
    assert_eq!(parent.engine.node_ref().roster().peers().count(), 1);
}
