//! What is told of a worker that dies, and of a handler that fails.

use std::time::{Duration, Instant};

use switchboard_proto::UnknownCause;
use switchboard_proto::codec::Value;
use switchboard_tests::{Failure, How, Setting, World, int};

use crate::settings::over_all;

over_all!(
    scenario_c17_a_worker_killed_while_it_handles_is_told_as_the_reason,
    scenario_c18_a_worker_that_ends_before_it_was_ready_is_told_as_the_reason,
    scenario_c39_a_handler_that_panics_fails_with_its_words,
    scenario_c40_a_handler_that_returns_an_error_fails_with_message_code_and_detail,
);

/// C17: worker killed while handling -> ack rejects "worker died".
fn scenario_c17_a_worker_killed_while_it_handles_is_told_as_the_reason(setting: Setting) {
    let world = World::new(setting);
    let mut worker = world.fork_up("echo", "worker");
    let begun = Instant::now();
    let died = world
        .hub()
        .request("is killed", &Value::Null, How::to("worker"))
        .unwrap_err();
    assert!(
        matches!(died, Failure::Unknown(UnknownCause::PeerGone)),
        "{died:?}"
    );
    // Long before its deadline of 10 s.
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(worker.exit(world.hub()).signal(), Some(9));
}

/// C18: worker exits before ever being ready, message queued -> same error.
fn scenario_c18_a_worker_that_ends_before_it_was_ready_is_told_as_the_reason(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_attached("never ready", "worker");
    let died = world
        .hub()
        .begin("foo", &int(1), How::to("worker"))
        .unwrap();
    // What has a listener is delivered at once, while the request before it waits for a handler that
    // may still come.
    world
        .hub()
        .emit("end", &Value::Null, How::to("worker"))
        .unwrap();
    let died = died().unwrap_err();
    assert!(died.is_death(), "{died:?}");
}

/// C39: handler throws -> error with origMessage and origStack.
fn scenario_c39_a_handler_that_panics_fails_with_its_words(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("echo", "worker");
    let fault = world
        .hub()
        .request("panics", &int(13), How::to("worker"))
        .unwrap_err()
        .fault();
    assert!(fault.message.contains("cannot take Int(13)"), "{fault}");
    // The worker and its connection have stayed.
    let next = world.hub().request("echo", &int(2), How::to("worker"));
    assert_eq!(next.unwrap(), int(2));
}

/// C40: handler rejects -> same.
fn scenario_c40_a_handler_that_returns_an_error_fails_with_message_code_and_detail(
    setting: Setting,
) {
    let world = World::new(setting);
    let _worker = world.fork_up("echo", "worker");
    let fault = world
        .hub()
        .request("fails", &int(1), How::to("worker"))
        .unwrap_err()
        .fault();
    assert_eq!((fault.message.as_str(), fault.code), ("no such row", 404));
    assert_eq!(fault.detail.as_deref(), Some("at table.rs:12"));
}
