//! Whether `tests/HAZARDS.md` is complete and true, and the hazards that concern all crates at once.

mod sources;

use std::collections::BTreeMap;

use sources::{programs, quoted, workspace};
use switchboard_mio::{Board, Hub};
use switchboard_stdio::Spawn;

const PAGE: &str = include_str!("../HAZARDS.md");

/// The hazards of each letter that concern this library. Those left out belong to what it does not
/// do: rooms, and a hub that is elected.
const ALL: [(char, &[u32]); 8] = [
    (
        'F',
        &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
    ),
    ('S', &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]),
    ('W', &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
    ('X', &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
    ('T', &[1, 2, 3, 4, 5, 6, 7]),
    ('K', &[1, 2, 3, 4, 5, 6, 7, 8]),
    ('Q', &[1, 2, 3, 5, 6, 7]),
    ('D', &[1, 2, 4]),
];

const BAD_INPUTS: [&str; 27] = [
    "garbage",
    "a truncated frame",
    "an oversized frame",
    "a wrong version",
    "a hello that never comes",
    "a forged sender",
    "too many attachments",
    "missing attachments",
    "more than the credit",
    "a child that prints",
    "a child that exits early",
    "a child that floods its stderr",
    "a child that closes one pipe only",
    "a message in reads of one byte",
    "half a frame, then a reconnect",
    "an acknowledgement of what was never sent",
    "a handler that replies twice",
    "a handler that panics",
    "an event named `error` or `__proto__`",
    "a descriptor that is the link itself",
    "a program started with descriptor 0, 1 or 2 closed",
    "an address that does not parse",
    "a deadline of zero",
    "a dead socket's file",
    "a path that is too long",
    "no permission",
    "no more descriptors",
];

/// The rows of all tables: what goes wrong, and what is said to show it.
fn rows() -> Vec<(&'static str, &'static str)> {
    let rows = PAGE.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (what, shown) = match cells[..] {
            ["", id, _, shown, ""] => (id, shown),
            ["", what, shown, ""] => (what, shown),
            _ => return None,
        };
        let is_head = what.is_empty() || what.starts_with("---") || shown == "shown by";
        (!is_head).then_some((what, shown))
    });
    rows.collect()
}

#[test]
fn every_hazard_and_every_bad_input_stands_on_the_page_once() {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for (what, _) in rows() {
        *counts.entry(what).or_default() += 1;
    }
    for (letter, numbers) in ALL {
        for number in numbers {
            let id = format!("{letter}{number}");
            assert_eq!(counts.remove(id.as_str()), Some(1), "{id}");
        }
    }
    for input in BAD_INPUTS {
        assert_eq!(counts.remove(input), Some(1), "{input}");
    }
    assert!(counts.is_empty(), "no such hazards: {counts:?}");
}

#[test]
fn every_test_and_every_check_that_the_page_names_exists() {
    let sources = programs(&workspace());
    let gate = std::fs::read_to_string(workspace().join(".ci/run")).unwrap();
    let read = |path| std::fs::read_to_string(workspace().join(path)).unwrap();
    let banned = read("clippy.toml") + &read("proto/clippy.toml");
    let exists = |name: &str| {
        sources.contains(&format!("fn {name}("))
            || gate.contains(&format!("\n{name}() {{"))
            || banned.contains(&format!("path = \"{name}\""))
    };
    for (what, shown) in rows() {
        assert!(quoted(shown).next().is_some(), "{what} has nothing to show");
        for name in quoted(shown) {
            assert!(exists(name), "{what}: no {name}");
        }
    }
}

#[test]
fn every_test_that_is_named_after_a_hazard_of_the_page_is_on_it() {
    let sources = programs(&workspace());
    let lines = sources.lines().map(str::trim_start);
    let names: Vec<&str> = lines
        .filter_map(|line| line.strip_prefix("fn hazard_")?.split('(').next())
        .collect();
    assert!(names.len() > 100, "{names:?}");
    let ids: Vec<String> = rows().iter().map(|(id, _)| id.to_lowercase()).collect();
    for name in names {
        let id = name.split('_').next().unwrap_or_default();
        // Those of the listener have no table: they are about one file.
        assert!(
            ids.iter().any(|known| known == id) || id.starts_with('p'),
            "{name}"
        );
    }
}

/// What this process does with signals, and this thread.
fn signals() -> Vec<String> {
    let of = |path| std::fs::read_to_string(path).unwrap();
    let text = of("/proc/self/status") + &of("/proc/thread-self/status");
    let lines = text.lines();
    let lines =
        lines.filter(|line| ["SigBlk", "SigIgn", "SigCgt"].contains(&&line[..6.min(line.len())]));
    lines.map(String::from).collect()
}

#[test]
fn hazard_x9_no_signal_is_handled_or_ignored_that_was_not_before() {
    let before = signals();
    assert_eq!(before.len(), 6, "{before:?}");
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("hub").display());
    // Each driver, and a child that has started and ended.
    let hub = switchboard_smol::builder(&address).on("add", async |(a, b): (i32, i32)| Ok(a + b));
    let hub = smol::block_on(hub.listen()).unwrap();
    let member = Board::builder().join(&address).unwrap().blocking();
    let sum: i32 = member.request("add", &(2, 3)).to(Hub).wait().unwrap();
    assert_eq!(sum, 5);
    let child = Spawn::new("true").spawn().unwrap();
    let refused = child.request::<_, ()>("any", &()).wait();
    assert!(refused.is_err(), "it was no peer: {refused:?}");
    assert_eq!(signals(), before);
    drop((hub, member, child));
    assert_eq!(signals(), before);
}
