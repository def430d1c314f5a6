//! What comes back, and when it does not.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use switchboard_proto::Receipt;
use switchboard_proto::codec::Value;
use switchboard_tests::{Driver, Failure, How, Setting, Why, World, int, map, text};

use crate::roles::answers;
use crate::settings::over_all;

over_all!(
    scenario_c13_a_payload_comes_back_unchanged,
    scenario_c14_a_worker_acknowledges,
    scenario_c15_an_acknowledgement_of_an_event_is_told_to_its_sender,
    scenario_c16_a_message_sent_right_after_the_fork_is_queued_and_acknowledged,
    scenario_c19_what_is_never_acknowledged_times_out_by_default,
    scenario_c20_a_handler_can_send_before_it_answers_and_its_answer_stays_valid,
    scenario_c23_a_request_s_own_deadline_counts,
    scenario_c26_a_deadline_of_no_time_is_refused,
    scenario_c27_a_handler_acknowledges_only_what_asks_for_it,
    scenario_c32_the_master_s_answer_reaches_the_worker_which_sends_it_back,
);

/// C13: payload echoes unchanged.
fn scenario_c13_a_payload_comes_back_unchanged(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("echo", "worker");
    let payload = map([
        ("key", text("value")),
        (
            "nested",
            map([(
                "list",
                Value::Array(vec![int(1), Value::Null, Value::Bool(true)]),
            )]),
        ),
        ("bytes", Value::Bytes((0..=255).collect())),
        ("float", Value::Float(-0.1)),
        ("large", int(i64::MIN)),
        ("text", text("ünïcödé \u{1F600} \0")),
    ]);
    let echo = world.hub().request("echo", &payload, How::to("worker"));
    assert_eq!(echo.unwrap(), payload);
    let large = Value::Bytes(vec![7; 1 << 20]);
    let echo = world.hub().request("echo", &large, How::to("worker"));
    assert!(echo.unwrap() == large, "a mebibyte came back changed");
}

/// C14: callback-style ack from worker.
fn scenario_c14_a_worker_acknowledges(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("echo", "worker");
    let answer = world
        .hub()
        .request("echo", &text("ping"), How::to("worker"));
    assert_eq!(answer.unwrap(), text("ping"));
}

/// C15: promise ack with callback consumer in master. Here an event that wants a receipt: the same
/// acknowledgement without a value.
fn scenario_c15_an_acknowledgement_of_an_event_is_told_to_its_sender(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("echo", "worker");
    for receipt in [Receipt::Delivered, Receipt::Handled] {
        let how = How::to("worker").receipt(receipt);
        world.hub().emit("echo", &int(1), how).unwrap();
    }
    let how = How::to("worker").receipt(Receipt::Handled);
    let failed = world.hub().emit("fails", &int(1), how).unwrap_err();
    assert!(matches!(failed, Failure::Failed(_)), "{failed:?}");
}

/// C16: message sent right after fork is queued and acked.
fn scenario_c16_a_message_sent_right_after_the_fork_is_queued_and_acknowledged(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork("log", "worker");
    if setting.hub == Driver::Poll {
        assert!(world.find("worker").is_none(), "nothing has turned it yet");
    }
    for n in 0..5 {
        world
            .hub()
            .emit("item", &int(n), How::to("worker"))
            .unwrap();
    }
    let items = world
        .hub()
        .request("items", &Value::Null, How::to("worker"));
    assert_eq!(items.unwrap(), Value::Array((0..5).map(int).collect()));
}

/// C19: never-acked message with fake clock at default+1 ms -> "timed out". The clock is real, so
/// the default is short.
fn scenario_c19_what_is_never_acknowledged_times_out_by_default(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("echo", "worker");
    world.hub().set_default_deadline(Duration::from_millis(40));
    let begun = Instant::now();
    let never = world
        .hub()
        .request("never", &int(1), How::to("worker"))
        .unwrap_err();
    let took = begun.elapsed();
    assert!(never.is_timeout(), "{never:?}");
    assert!(took >= Duration::from_millis(40), "after {took:?}");
}

/// C20: double ack throws in the handler, first stays valid, handler can still send. A second answer
/// cannot be written down here; see the crate's page.
fn scenario_c20_a_handler_can_send_before_it_answers_and_its_answer_stays_valid(setting: Setting) {
    let world = World::new(setting);
    let told = Arc::new(Mutex::new(Vec::new()));
    let add = Arc::clone(&told);
    let add = answers(move |value| {
        add.lock().unwrap().push(value);
        Ok(Value::Null)
    });
    world.hub().on("told", add).unwrap();
    world.hub().ready();
    let _worker = world.fork_up("echo", "worker");
    let answer = world
        .hub()
        .request("tells and answers", &int(5), How::to("worker"));
    assert_eq!(answer.unwrap(), int(5));
    world
        .hub()
        .until("the event", &mut || *told.lock().unwrap() == [int(5)]);
}

/// C23: `within(10)`, clock +50 -> "timed out".
fn scenario_c23_a_request_s_own_deadline_counts(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("echo", "worker");
    let begun = Instant::now();
    let how = How::to("worker").within(Duration::from_millis(10));
    let never = world.hub().request("never", &int(1), how).unwrap_err();
    assert!(never.is_timeout(), "{never:?}");
    // The default is 10 s.
    assert!(begun.elapsed() < Duration::from_secs(5));
    // The handler sees that nobody waits, and the next request is served.
    let next = world.hub().request("echo", &int(2), How::to("worker"));
    assert_eq!(next.unwrap(), int(2));
}

/// C26: `within()` and `within("bacon")` refused. Neither compiles; what is left is a time of nothing.
fn scenario_c26_a_deadline_of_no_time_is_refused(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("echo", "worker");
    let how = How::to("worker").within(Duration::ZERO);
    let refused = world.hub().request("echo", &int(1), how).unwrap_err();
    assert_eq!(*refused.why(), Why::ZeroDeadline);
}

/// C27: handler acks only if payload says so.
fn scenario_c27_a_handler_acknowledges_only_what_asks_for_it(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("echo", "worker");
    let ask = |wanted: bool| {
        let how = How::to("worker").within(Duration::from_millis(200));
        world.hub().request("if asked", &Value::Bool(wanted), how)
    };
    let how = How::to("worker");
    let asked = world.hub().request("if asked", &Value::Bool(true), how);
    assert_eq!(asked.unwrap(), text("acknowledged"));
    let silent = ask(false).unwrap_err();
    assert!(silent.is_timeout(), "{silent:?}");
}

/// C32: master's ack value reaches the worker, which sends it back.
fn scenario_c32_the_master_s_answer_reaches_the_worker_which_sends_it_back(setting: Setting) {
    let world = World::new(setting);
    let work = answers(|value| Ok(map([("from the master", value)])));
    world.hub().on("work", work).unwrap();
    world.hub().ready();
    let _worker = world.fork_up("asks hub", "worker");
    let answer = world.hub().request("ask", &int(3), How::to("worker"));
    assert_eq!(answer.unwrap(), map([("from the master", int(3))]));
}
