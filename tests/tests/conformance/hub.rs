//! Messages and requests between a master and its workers, in every direction.

use std::sync::{Arc, Mutex};

use switchboard_proto::UnknownCause;
use switchboard_proto::codec::Value;
use switchboard_proto::outgoing::Hub;
use switchboard_tests::{Failure, How, Setting, World, int, text};

use crate::roles::answers;
use crate::settings::over_all;

over_all!(
    scenario_h1_messages_in_every_direction_arrive_once,
    scenario_h2_requests_in_every_direction_are_answered,
    scenario_h3_a_worker_that_exits_while_it_handles_a_request_is_told_as_the_reason,
    scenario_h6_a_worker_s_broadcast_reaches_every_other_worker_and_not_itself,
);

/// H1: master->master, worker->master, master->worker messages each arrive once.
fn scenario_h1_messages_in_every_direction_arrive_once(setting: Setting) {
    let world = World::new(setting);
    let topic = world.hub().ns("topic1").unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let add = Arc::clone(&log);
    let add = answers(move |value| {
        add.lock().unwrap().push(value);
        Ok(Value::Null)
    });
    topic.on("message", add).unwrap();
    topic.ready();
    let _worker = world.fork_up("topic client", "worker");
    topic.emit("message", &text("own"), How::to(Hub)).unwrap();
    topic.until("the own message", &mut || log.lock().unwrap().len() == 1);
    topic
        .emit("message", &text("down"), How::to("worker"))
        .unwrap();
    let down = topic.request("received", &Value::Null, How::to("worker"));
    assert_eq!(down.unwrap(), Value::Array(vec![text("down")]));
    // What the second order sends comes behind everything that the first one sent.
    for message in ["up", "barrier"] {
        topic
            .request("do send", &text(message), How::to("worker"))
            .unwrap();
    }
    topic.until("the worker's messages", &mut || {
        log.lock().unwrap().contains(&text("barrier"))
    });
    let arrived = ["own", "up", "barrier"].map(text);
    assert_eq!(*log.lock().unwrap(), arrived);
}

/// H2: request master from master and from worker (sum) and request worker (mult) -> results.
fn scenario_h2_requests_in_every_direction_are_answered(setting: Setting) {
    let world = World::new(setting);
    let sum = answers(|pair| {
        let item = |at| pair.at(at).and_then(Value::as_i64).unwrap();
        Ok(int(item(0) + item(1)))
    });
    world.hub().on("sum", sum).unwrap();
    world.hub().ready();
    let _asks = world.fork_up("asks hub", "asks");
    let _mult = world.fork_up("echo", "mult");
    let pair = Value::Array(vec![int(6), int(7)]);
    let ask = |name: &str, to: &str| world.hub().request(name, &pair, How::to(to)).unwrap();
    assert_eq!(
        world.hub().request("sum", &pair, How::to(Hub)).unwrap(),
        int(13)
    );
    assert_eq!(ask("ask sum", "asks"), int(13));
    assert_eq!(ask("mult", "mult"), int(42));
}

/// H3: worker exits 100 ms into handling a request -> requester gets 'Worker died'.
fn scenario_h3_a_worker_that_exits_while_it_handles_a_request_is_told_as_the_reason(
    setting: Setting,
) {
    let world = World::new(setting);
    world.hub().ready();
    let _worker = world.fork_up("echo", "worker");
    let error = world
        .hub()
        .request("exits soon", &Value::Null, How::to("worker"));
    let error = error.unwrap_err();
    assert!(
        matches!(error, Failure::Unknown(UnknownCause::PeerGone)),
        "{error:?}"
    );
}

/// H6: worker broadcast reaches every other worker, not itself.
fn scenario_h6_a_worker_s_broadcast_reaches_every_other_worker_and_not_itself(setting: Setting) {
    let world = World::new(setting);
    world.hub().ready();
    let names = ["one", "two", "three"];
    let _workers = names.map(|name| world.fork_up("gossip", name));
    let ask = |name: &str, to: &str| world.hub().request(name, &int(0), How::to(to)).unwrap();
    ask("tell", "one");
    for (name, count) in [("one", 0), ("two", 1), ("three", 1)] {
        // What comes from another peer has no order with what comes from this one.
        world
            .hub()
            .until("the broadcast", &mut || ask("heard", name) == int(count));
    }
    ask("tell", "two");
    for (name, count) in [("one", 1), ("two", 1), ("three", 2)] {
        world
            .hub()
            .until("the broadcast", &mut || ask("heard", name) == int(count));
    }
}
