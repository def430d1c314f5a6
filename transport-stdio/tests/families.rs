//! Children of children: what becomes of a family when the one in the middle is killed.

// These programs are their own children, and a child ends with a code.
#![allow(clippy::disallowed_methods)]

mod support;

use std::time::Duration;

use support::{Pump, at_once, echo, role};
use switchboard_proto::{Config, Generation, InstanceId, PeerId, PeerName, Role, Target};
use switchboard_stdio::{Channel, Child};

switchboard_os::run_role_before_main!(support::ROLE, play);

const KIDS: [(&str, Channel); 2] = [
    ("kid/socket", Channel::Socketpair),
    ("kid/pipes", Channel::Pipes),
];

fn play(role: &str) {
    match role {
        "echo" => echo(),
        "member" => member(),
        role => panic!("unknown role {role}"),
    }
}

/// A member with children of its own, which it starts under the same names each time.
fn member() {
    let mut pump = Pump::child(&[]).unwrap();
    let start = |(name, channel): &(&str, Channel)| {
        let kid = role("echo").name(*name).channel(*channel);
        kid.spawn_on(&mut pump).unwrap()
    };
    let _kids: Vec<Child> = KIDS.iter().map(start).collect();
    pump.serve(|_, _| ());
}

fn target(name: &str) -> Target {
    Target::Named(PeerName::new(name).unwrap())
}

fn kid(parent: &Pump, name: &str) -> Option<(InstanceId, PeerId, Generation)> {
    let peer = parent
        .engine
        .node_ref()
        .roster()
        .by_name(&PeerName::new(name)?)?;
    Some((peer.instance, peer.id, peer.generation))
}

#[test]
fn the_children_of_a_member_that_is_killed_and_restarted_come_back_under_their_ids() {
    let mut config = Config::default();
    config.role = Role::Hub;
    config.complete_grace = Duration::ZERO;
    // Who waited for anybody to come back would wait for ever.
    config.detach_grace = Duration::from_secs(3600);
    let mut parent = Pump::new(config, &[]);
    let middle = role("member")
        .name("middle")
        .restart(at_once(5))
        .spawn_on(&mut parent)
        .unwrap();
    for round in 1..=3 {
        let before = KIDS.map(|(name, _)| {
            let id = parent.request_with(target(name), "echo", b"there?", Vec::new());
            assert_eq!(parent.reply(id), b"there?", "{name} in round {round}");
            kid(&parent, name).unwrap()
        });
        for (_, _, generation) in before {
            assert_eq!(generation, Generation(round));
        }
        let pid = middle.pid().unwrap().cast_signed();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        for ((name, _), (instance, id, _)) in KIDS.into_iter().zip(before) {
            let back = parent.until("the child of the new one", |pump| {
                kid(pump, name).filter(|(now, ..)| *now != instance)
            });
            assert_eq!(back.1, id, "{name} has its id again");
        }
    }
}
