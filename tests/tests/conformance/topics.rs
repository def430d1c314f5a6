//! Exchanges by topic: a topic is a namespace, its server is the hub, its clients are everybody.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use switchboard_proto::codec::Value;
use switchboard_proto::outgoing::{Everyone, Hub};
use switchboard_tests::{App, Failure, How, Setting, Why, World, int, text};

use crate::roles::answers;
use crate::settings::over_all;

over_all!(
    scenario_w1_a_worker_s_message_reaches_its_topic_s_server_once,
    scenario_w2_the_master_s_own_message_reaches_the_server_once,
    scenario_w3_a_server_of_another_topic_hears_nothing,
    scenario_w4_a_broadcast_reaches_the_worker_and_the_master_s_client_once_each,
    scenario_w5_a_broadcast_on_another_topic_reaches_nobody,
    scenario_w6_a_get_from_the_master_and_one_from_a_worker_are_both_answered,
    scenario_w7_a_get_that_nobody_serves_fails_for_both,
);

type Log = Arc<Mutex<Vec<Value>>>;

/// Takes the topic's messages.
fn server(app: &dyn App) -> Log {
    let log = Log::default();
    let add = Arc::clone(&log);
    let add = answers(move |value| {
        add.lock().unwrap().push(value);
        Ok(Value::Null)
    });
    app.on("message", add).unwrap();
    log
}

fn taken(log: &Log) -> Vec<Value> {
    log.lock().unwrap().clone()
}

/// Makes the worker do something in the topic.
fn tell_worker(here: &dyn App, what: &str, value: &str) -> Result<Value, Failure> {
    here.request(what, &text(value), How::to("worker"))
}

/// W1: worker client sends -> server on same topic gets exactly 1 message with the payload.
fn scenario_w1_a_worker_s_message_reaches_its_topic_s_server_once(setting: Setting) {
    let world = World::new(setting);
    let topic = world.hub().ns("topic1").unwrap();
    let log = server(&*topic);
    topic.ready();
    let _worker = world.fork_up("topic client", "worker");
    // The reply to a second order comes after everything that the first one sent.
    tell_worker(&*topic, "do send", "aaa").unwrap();
    topic.until("the message", &mut || !taken(&log).is_empty());
    tell_worker(&*topic, "do send", "barrier").unwrap();
    topic.until("the barrier", &mut || taken(&log).len() >= 2);
    assert_eq!(taken(&log), [text("aaa"), text("barrier")]);
}

/// W2: master client sends -> server on same topic gets exactly 1.
fn scenario_w2_the_master_s_own_message_reaches_the_server_once(setting: Setting) {
    let world = World::new(setting);
    let topic = world.hub().ns("topic1").unwrap();
    let log = server(&*topic);
    topic.ready();
    for message in ["bbb", "barrier"] {
        topic.emit("message", &text(message), How::to(Hub)).unwrap();
    }
    topic.until("the barrier", &mut || taken(&log).len() >= 2);
    assert_eq!(taken(&log), [text("bbb"), text("barrier")]);
}

/// W3: client on topic1, server on topic2 -> server gets 0.
fn scenario_w3_a_server_of_another_topic_hears_nothing(setting: Setting) {
    let world = World::new(setting);
    let (one, two) = (
        world.hub().ns("topic1").unwrap(),
        world.hub().ns("topic2").unwrap(),
    );
    let log = server(&*two);
    two.ready();
    let _worker = world.fork_up("topic client", "worker");
    tell_worker(&*one, "do send", "ccc").unwrap();
    one.emit("message", &text("ccc"), How::to(Hub)).unwrap();
    // It would have come before this: of one sender to one receiver the roster's news, the requests
    // and their replies go over one connection.
    tell_worker(&*two, "do send", "barrier").unwrap();
    two.until("the barrier", &mut || !taken(&log).is_empty());
    assert_eq!(taken(&log), [text("barrier")]);
}

/// W4: server broadcasts -> exactly one delivery on the worker client and one on the master client.
fn scenario_w4_a_broadcast_reaches_the_worker_and_the_master_s_client_once_each(setting: Setting) {
    let world = World::new(setting);
    let topic = world.hub().ns("topic1").unwrap();
    let log = server(&*topic);
    topic.ready();
    let _worker = world.fork_up("topic client", "worker");
    let how = How::to(Everyone).include_self();
    topic.emit("message", &text("ddd"), how).unwrap();
    topic.until("the master's copy", &mut || !taken(&log).is_empty());
    // In order behind the worker's copy.
    let received = tell_worker(&*topic, "received", "").unwrap();
    assert_eq!(received, Value::Array(vec![text("ddd")]));
    assert_eq!(taken(&log), [text("ddd")]);
}

/// W5: broadcast on another topic -> clients get 0.
fn scenario_w5_a_broadcast_on_another_topic_reaches_nobody(setting: Setting) {
    let world = World::new(setting);
    let (one, two) = (
        world.hub().ns("topic1").unwrap(),
        world.hub().ns("topic2").unwrap(),
    );
    let log = server(&*one);
    one.ready();
    let _worker = world.fork_up("topic client", "worker");
    let how = How::to(Everyone).include_self();
    two.emit("message", &text("eee"), how).unwrap();
    let elsewhere = tell_worker(&*two, "received", "").unwrap();
    assert_eq!(elsewhere, Value::Array(vec![text("eee")]));
    let here = tell_worker(&*one, "received", "").unwrap();
    assert_eq!(here, Value::Array(vec![]));
    assert_eq!(taken(&log), []);
}

/// W6: get from master and from worker -> server's onGet runs twice, both clients get the payload.
fn scenario_w6_a_get_from_the_master_and_one_from_a_worker_are_both_answered(setting: Setting) {
    let world = World::new(setting);
    let topic = world.hub().ns("topic1").unwrap();
    let runs = Arc::new(Mutex::new(0));
    let count = Arc::clone(&runs);
    let get = answers(move |_| {
        *count.lock().unwrap() += 1;
        Ok(text("payload"))
    });
    topic.on("get", get).unwrap();
    topic.ready();
    let _worker = world.fork_up("topic client", "worker");
    let own = topic.request("get", &Value::Null, How::to(Hub)).unwrap();
    let theirs = tell_worker(&*topic, "do get", "").unwrap();
    assert_eq!((own, theirs), (text("payload"), text("payload")));
    assert_eq!(*runs.lock().unwrap(), 2);
}

/// W7: get on a topic nobody serves, getTimeout 50 -> both clients get the timeout error. Here a
/// server that is ready says at once that it has no such handler, and only one that may still get it
/// is waited for.
fn scenario_w7_a_get_that_nobody_serves_fails_for_both(setting: Setting) {
    let world = World::new(setting);
    let topic = world.hub().ns("topic1").unwrap();
    let worker = world.fork_up("topic client", "worker");
    // This end may still get the handler.
    let short = How::to(Hub).within(Duration::from_millis(50));
    let own = topic.request("get", &int(0), short).unwrap_err();
    assert!(own.is_timeout(), "{own:?}");
    // The worker is ready, and so is this end from here on.
    let theirs = topic.request("get", &int(0), How::to(worker.name()));
    assert_eq!(*theirs.unwrap_err().why(), Why::NoHandler);
    topic.ready();
    let theirs = tell_worker(&*topic, "do get", "").unwrap_err().fault();
    assert!(theirs.message.contains("NoHandler"), "{theirs}");
}
