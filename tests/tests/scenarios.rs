//! Whether `tests/SCENARIOS.md` is complete and true.

mod sources;

use std::collections::BTreeMap;
use std::time::Duration;

use sources::{programs, quoted, workspace};
use switchboard_proto::wire::limits;
use switchboard_proto::{Config, Reconnect};

const PAGE: &str = include_str!("../SCENARIOS.md");

/// How many scenarios each ancestor has, by their letter.
const ALL: [(char, u32); 9] = [
    ('W', 7),
    ('H', 6),
    ('C', 40),
    ('I', 7),
    ('O', 7),
    ('M', 2),
    ('F', 23),
    ('E', 10),
    ('N', 3),
];

/// The rows of the page: the scenario, and what is said to show it.
fn rows() -> Vec<(&'static str, &'static str)> {
    let rows = PAGE.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim);
        let (_, id, _, shown) = (cells.next()?, cells.next()?, cells.next()?, cells.next()?);
        let is_id = id.len() > 1 && id[1..].bytes().all(|byte| byte.is_ascii_digit());
        is_id.then_some((id, shown))
    });
    rows.collect()
}

#[test]
fn every_scenario_stands_on_the_page_once() {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for (id, shown) in rows() {
        assert!(shown.len() > 10, "{id} has nothing to show");
        *counts.entry(id.to_owned()).or_default() += 1;
    }
    let mut expected: Vec<String> = vec!["G1".into()];
    for (letter, count) in ALL {
        expected.extend((1..=count).map(|number| format!("{letter}{number}")));
    }
    for id in &expected {
        assert_eq!(counts.remove(id), Some(1), "{id}");
    }
    assert!(counts.is_empty(), "no such scenarios: {counts:?}");
}

#[test]
fn every_test_that_the_page_names_exists() {
    let ours = programs(&workspace().join("tests/tests"));
    for (id, shown) in rows() {
        let mut file = None;
        for name in quoted(shown) {
            let is_function = |text: &str| text.contains(&format!("fn {name}("));
            if name.contains(".rs") {
                let path = workspace().join(name);
                file = Some(
                    std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{id}: no {name}")),
                );
            } else if name.starts_with("scenario_") {
                assert!(is_function(&ours), "{id}: no {name}");
            } else if name.contains('_') && !name.contains("::") {
                let text = file.as_deref().unwrap_or_default();
                assert!(is_function(text), "{id}: no {name}");
            }
        }
    }
}

#[test]
fn every_scenario_of_the_suite_is_on_the_page() {
    let suite = programs(&workspace().join("tests/tests/conformance"));
    let functions = suite.split("\nfn ").skip(1);
    let names: Vec<&str> = functions
        .filter_map(|rest| rest.split_once('(').map(|(name, _)| name))
        .filter(|name| name.starts_with("scenario_"))
        .collect();
    assert!(names.len() > 50, "{names:?}");
    for name in names {
        assert!(PAGE.contains(&format!("`{name}`")), "{name}");
    }
}

/// F1: constructor defaults.
#[test]
fn scenario_f1_the_defaults_are_those_that_are_published() {
    let config = Config::default();
    assert_eq!(config.deadline, Duration::from_secs(10));
    assert_eq!(config.ready_after, Duration::from_secs(1));
    assert_eq!(config.detach_grace, Duration::from_secs(5));
    assert_eq!(config.name_memory, Duration::from_secs(600));
    assert_eq!(
        (config.lease, config.keepalive),
        (Duration::from_secs(10), Duration::from_millis(2500))
    );
    assert_eq!(
        (config.receive_budget, config.reply_reserve),
        (8 << 20, 16 << 20)
    );
    assert_eq!(
        (config.message_cap, config.reassembly_cap),
        (16 << 20, 64 << 20)
    );
    assert_eq!(
        (config.send_buffer, config.send_messages),
        (8 << 20, 65_536)
    );
    assert_eq!(config.send_buffer_total, 64 << 20);
    assert_eq!(config.pending_requests, 1024);
    assert_eq!((config.namespaces, config.names), (1024, 1024));
    assert_eq!((config.attachments, config.attachments_pair), (16, 64));
    assert_eq!(limits::FIRST_CONTACT_FRAMES, 16);
    assert_eq!(limits::FIRST_CONTACT_BYTES, 16 << 10);
    assert_eq!(limits::FIRST_CONTACT_ATTACHMENTS, 4);
    let reconnect = Reconnect {
        enabled: true,
        first: Duration::from_millis(50),
        factor: 2,
        max: Duration::from_secs(5),
        jitter: 25,
        give_up: None,
    };
    assert_eq!(config.reconnect, reconnect);
}
