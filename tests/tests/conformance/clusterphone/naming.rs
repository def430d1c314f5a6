//! Who and what is meant: namespaces, workers, commands.

use switchboard_proto::PeerId;
use switchboard_proto::codec::Value;
use switchboard_proto::outgoing::Hub;
use switchboard_tests::{How, Setting, Why, World, int, text};

use crate::roles::answers;
use crate::settings::over_all;

over_all!(
    scenario_c1_the_default_namespace_is_called_underscore,
    scenario_c2_a_reserved_namespace_is_refused,
    scenario_c3_an_empty_namespace_is_refused,
    scenario_c4_the_same_name_gives_the_same_namespace,
    scenario_c5_a_worker_that_was_never_there_is_refused,
    scenario_c6_a_worker_that_has_exited_is_refused,
    scenario_c7_the_master_s_command_without_a_name_is_refused,
    scenario_c8_a_worker_s_command_without_a_name_is_refused,
    scenario_c28_a_command_that_nobody_handles_is_an_error_at_once,
    scenario_c29_a_namespace_that_nobody_has_opened_is_an_error_at_once,
    scenario_c30_the_same_command_in_two_namespaces_goes_to_the_right_one,
    scenario_c31_the_master_s_handler_gets_the_right_worker_and_payload,
);

/// C1: default namespace is `_`.
fn scenario_c1_the_default_namespace_is_called_underscore(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("echo", "worker");
    let here = world.hub();
    let shown = |app: &dyn switchboard_tests::App| {
        app.request("namespace", &Value::Null, How::to("worker"))
            .unwrap()
    };
    assert_eq!(shown(here), text("_"));
    assert_eq!(shown(&*here.ns("_").unwrap()), text("_"));
}

/// C2: reserved namespace refused.
fn scenario_c2_a_reserved_namespace_is_refused(setting: Setting) {
    let world = World::new(setting);
    let refused = world.hub().ns("$switchboard").unwrap_err();
    assert!(refused.contains('$'), "{refused}");
}

/// C3: empty namespace refused.
fn scenario_c3_an_empty_namespace_is_refused(setting: Setting) {
    let world = World::new(setting);
    assert!(world.hub().ns("").is_err());
    assert!(world.hub().ns("fine").is_ok());
}

/// C4: same name gives the same namespace.
fn scenario_c4_the_same_name_gives_the_same_namespace(setting: Setting) {
    let world = World::new(setting);
    let (first, second) = (
        world.hub().ns("app").unwrap(),
        world.hub().ns("app").unwrap(),
    );
    first.on("which", answers(|_| Ok(text("first")))).unwrap();
    first.ready();
    let answer = second.request("which", &Value::Null, How::to(Hub));
    assert_eq!(answer.unwrap(), text("first"));
}

/// C5: send to null worker: TypeError. There is no null to send to; what comes nearest is an id that
/// nobody has.
fn scenario_c5_a_worker_that_was_never_there_is_refused(setting: Setting) {
    let world = World::new(setting);
    let refused = world.hub().request("foo", &int(1), How::to(PeerId(99)));
    assert_eq!(*refused.unwrap_err().why(), Why::NoSuchPeer);
}

/// C6: send to an exited worker: throws "dead".
fn scenario_c6_a_worker_that_has_exited_is_refused(setting: Setting) {
    let world = World::new(setting);
    let worker = world.fork_up("echo", "worker");
    let id = world.find("worker").unwrap().id;
    worker.kill();
    world.wait_gone("worker");
    for how in [How::to(id), How::to("worker#1")] {
        let refused = world.hub().request("echo", &int(1), how).unwrap_err();
        assert!(
            matches!(refused.why(), Why::NoSuchPeer | Why::PeerGone),
            "{refused:?}"
        );
    }
}

/// C7: master refuses undefined/""/[] command. A name is text, so only the empty one is left.
fn scenario_c7_the_master_s_command_without_a_name_is_refused(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("echo", "worker");
    for name in ["", "with\0nul", &"x".repeat(256)] {
        let refused = world.hub().request(name, &int(1), How::to("worker"));
        assert_eq!(*refused.unwrap_err().why(), Why::BadName, "{name:?}");
        let refused = world.hub().emit(name, &int(1), How::to("worker"));
        assert_eq!(*refused.unwrap_err().why(), Why::BadName, "{name:?}");
    }
}

/// C8: worker refuses a missing command.
fn scenario_c8_a_worker_s_command_without_a_name_is_refused(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("asks hub", "worker");
    let said = world
        .hub()
        .request("ask without a name", &int(1), How::to("worker"));
    assert_eq!(said.unwrap(), text("Err(BadName)"));
}

/// C28: unhandled command -> error.
fn scenario_c28_a_command_that_nobody_handles_is_an_error_at_once(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("echo", "worker");
    for name in [
        "nobody handles this",
        "toString",
        "__proto__",
        "constructor",
    ] {
        let refused = world.hub().request(name, &int(1), How::to("worker"));
        assert_eq!(*refused.unwrap_err().why(), Why::NoHandler, "{name}");
    }
}

/// C29: unknown namespace -> error.
fn scenario_c29_a_namespace_that_nobody_has_opened_is_an_error_at_once(setting: Setting) {
    // The worker's default namespace alone is up, so the other one is known to be missing only when
    // its time to appear is over.
    let world = World::new(setting);
    let _worker = world.fork_up("echo", "worker");
    let elsewhere = world.hub().ns("elsewhere").unwrap();
    let refused = elsewhere
        .request("echo", &int(1), How::to("worker"))
        .unwrap_err();
    assert!(
        matches!(refused.why(), Why::NoNamespace | Why::NoHandler),
        "{refused:?}"
    );
}

/// C30: same command in two namespaces goes to the right one.
fn scenario_c30_the_same_command_in_two_namespaces_goes_to_the_right_one(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("topic client", "worker");
    let (one, two) = (
        world.hub().ns("topic1").unwrap(),
        world.hub().ns("topic2").unwrap(),
    );
    one.emit("message", &text("one"), How::to("worker"))
        .unwrap();
    two.emit("message", &text("two"), How::to("worker"))
        .unwrap();
    for (topic, expected) in [(one, "one"), (two, "two")] {
        let received = topic.request("received", &Value::Null, How::to("worker"));
        assert_eq!(received.unwrap(), Value::Array(vec![text(expected)]));
    }
}

/// C31: worker->master handler receives the right worker object and payload.
fn scenario_c31_the_master_s_handler_gets_the_right_worker_and_payload(setting: Setting) {
    let world = World::new(setting);
    let work: switchboard_tests::Handle = Box::new(|call, value| {
        let from = call.from();
        Some(Ok(Value::Array(vec![
            int(from.peer.expect("it is attached").0.0),
            value,
        ])))
    });
    world.hub().on("work", work).unwrap();
    world.hub().ready();
    let _workers = ["one", "two"].map(|name| world.fork_up("asks hub", name));
    for name in ["one", "two"] {
        let answer = world
            .hub()
            .request("ask", &text(name), How::to(name))
            .unwrap();
        let id = world.find(name).unwrap().id;
        assert_eq!(answer, Value::Array(vec![int(id.0), text(name)]));
    }
}
