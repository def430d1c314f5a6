//! Children that do what no child should: each is told with what to look at, costs the parent next to
//! nothing, and its siblings notice nothing.

// These programs are their own children, and a child ends with a code.
#![allow(clippy::disallowed_methods)]

mod support;

use std::time::Duration;

use support::{Pump, echo, role};
use switchboard_stdio::{Channel, ChildEvent, Spawn, StopLadder};

switchboard_os::run_role_before_main!(support::ROLE, play);

fn play(role: &str) {
    match role {
        "echo" => echo(),
        role => panic!("unknown role {role}"),
    }
}

/// What a child does, as a script, and what the parent is told.
const BAD: [(&str, &str); 7] = [
    ("yes hello", "what it sent began with \"hello"),
    (
        "head -c 1000000 /dev/urandom; sleep 1000",
        "what it sent began with",
    ),
    (
        "echo no configuration >&2; exit 3",
        "exited with code 3 and never said hello; its stderr ended with:\nno configuration",
    ),
    ("yes flood >&2", "did not say hello within 300ms"),
    ("exec >&-; sleep 1000", "closed its channel"),
    // The hello is all that is written to it, and only a write would find that nobody reads.
    (
        "head -c 1 >/dev/null; exec <&-; sleep 1000",
        "has to join by `parent()`",
    ),
    // The length of a frame of 100 bytes, and three of them.
    (
        "printf '\\000\\000\\000\\144abc'; exit 5",
        "exited with code 5",
    ),
];

#[test]
fn a_child_that_misbehaves_costs_little_and_hurts_no_sibling() {
    for (script, expected) in BAD {
        let mut parent = Pump::hub();
        let good = role("echo").name("good").spawn_on(&mut parent).unwrap();
        let id = parent.request(&good, "echo", b"before");
        assert_eq!(parent.reply(id), b"before");
        let before = resident();
        let grace = Duration::from_millis(50);
        let bad = Spawn::new("/bin/sh")
            .args(["-c", script])
            .name("bad")
            .channel(Channel::Pipes)
            .hello_within(Duration::from_millis(300))
            .stop_ladder(StopLadder {
                close_grace: grace,
                term_grace: grace,
                ..StopLadder::default()
            })
            .spawn_on(&mut parent)
            .unwrap();
        let (mut told, mut rounds, mut over) = (String::new(), 0_u32, false);
        while !over || rounds < 50 {
            let id = parent.request(&good, "echo", &rounds.to_be_bytes());
            assert_eq!(parent.reply(id), rounds.to_be_bytes(), "{script}");
            rounds += 1;
            while let Some(event) = bad.next_event() {
                match event {
                    ChildEvent::Disconnected(cut) => told += &format!("{cut}\n"),
                    ChildEvent::Exited(exited) => {
                        told += &format!("{exited}\n");
                        over = true;
                    }
                    _ => {}
                }
            }
        }
        assert!(told.contains(expected), "{script} is told as:\n{told}");
        let more = resident().saturating_sub(before);
        assert!(more < 16 << 20, "{script} costs {more} bytes");
    }
}

/// Bytes of memory that this process occupies.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    1024 * kilobytes.unwrap().parse::<usize>().unwrap()
}
