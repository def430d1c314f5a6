//! Descriptors that come along with a command.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use switchboard_os::SharedFd;
use switchboard_proto::codec::Value;
use switchboard_tests::{Failure, How, Setting, Why, World, text};

use crate::settings::over_all;

over_all!(
    scenario_c9_a_connected_socket_is_passed_and_the_worker_writes_on_it,
    scenario_c10_a_descriptor_to_a_worker_that_is_not_ready_is_refused,
    scenario_c11_a_descriptor_that_is_forced_waits_for_the_worker,
    scenario_c12_a_descriptor_of_any_kind_to_a_worker_that_is_not_ready_is_refused,
    a_reply_brings_descriptors_or_the_reason_why_it_cannot,
    a_descriptor_that_stays_goes_with_message_after_message,
);

/// Both ends of a connection.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

/// What was written into the connection until every end but this one is closed.
fn written(mut far: TcpStream) -> String {
    let mut text = String::new();
    far.set_read_timeout(Some(switchboard_tests::PATIENCE))
        .unwrap();
    far.read_to_string(&mut text).unwrap();
    text
}

/// Over a transport that carries none, it is refused with that reason and comes back.
#[track_caller]
fn check_refused(refused: Result<Value, Failure>, descriptor: i32, why: Why) {
    let refused = refused.unwrap_err();
    assert_eq!(*refused.why(), why);
    let back: Vec<i32> = refused
        .into_attachments()
        .iter()
        .map(|attachment| attachment.as_fd().as_raw_fd())
        .collect();
    assert_eq!(back, [descriptor], "it comes back");
}

/// C9: connected socket sent as fd -> worker writes "hello" on it, ack arrives, server side reads
/// "hello".
fn scenario_c9_a_connected_socket_is_passed_and_the_worker_writes_on_it(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("echo", "worker");
    let (near, far) = connection();
    let raw = near.as_raw_fd();
    let how = How::to("worker").attach(near);
    let answer = world.hub().request("write hello", &Value::Null, how);
    if !setting.transport.carries_attachments() {
        check_refused(answer, raw, Why::AttachmentsUnsupported);
        return;
    }
    answer.unwrap();
    // Its end comes only if this process's copy was closed too.
    assert_eq!(written(far), "hello");
}

/// C10: fd to a not-ready worker refused.
fn scenario_c10_a_descriptor_to_a_worker_that_is_not_ready_is_refused(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_attached("late", "worker");
    let (near, _far) = connection();
    let raw = near.as_raw_fd();
    let how = How::to("worker").attach(near);
    let refused = world.hub().request("write hello", &Value::Null, how);
    let why = match setting.transport.carries_attachments() {
        true => Why::AttachmentsNotReady,
        false => Why::AttachmentsUnsupported,
    };
    check_refused(refused, raw, why);
}

/// C11: forced fd is queued, then works.
fn scenario_c11_a_descriptor_that_is_forced_waits_for_the_worker(setting: Setting) {
    let world = World::new(setting);
    let (near, far) = connection();
    let raw = near.as_raw_fd();
    // Not even attached.
    let _worker = world.fork("echo", "worker");
    let how = How::to("worker").attach(near).queue_attachments();
    let answer = world.hub().request("write hello", &Value::Null, how);
    if !setting.transport.carries_attachments() {
        check_refused(answer, raw, Why::AttachmentsUnsupported);
        return;
    }
    answer.unwrap();
    assert_eq!(written(far), "hello");
}

/// The other way round: what the worker opened comes with its reply, closed there. Where nothing can
/// come, the requester is told so, and the worker lives on with nothing left open.
fn a_reply_brings_descriptors_or_the_reason_why_it_cannot(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("echo", "worker");
    let ask = |name: &str| {
        let how = How::to("worker");
        world.hub().request_with_fds(name, &Value::Null, how)
    };
    for _ in 0..3 {
        let answered = ask("open a pipe");
        if !setting.transport.carries_attachments() {
            let said = answered.unwrap_err().fault().message;
            assert!(said.contains("attachments cannot reach"), "{said}");
            continue;
        }
        let answered = answered.unwrap();
        assert_eq!(answered.value, text("here it is"));
        assert!(!answered.attachments_lost);
        let [end] = <[OwnedFd; 1]>::try_from(answered.descriptors).unwrap();
        let mut said = String::new();
        // Its end comes only if the worker's copy of the other one was closed.
        File::from(end).read_to_string(&mut said).unwrap();
        assert_eq!(said, "from the worker");
    }
    let answered = ask("echo").unwrap();
    assert_eq!(answered.descriptors.len(), 0);
}

/// One that stays is the same descriptor before, between and after, and no process keeps a copy.
fn a_descriptor_that_stays_goes_with_message_after_message(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("echo", "worker");
    let (near, far) = connection();
    let raw = near.as_raw_fd();
    let near = SharedFd::new(near);
    for _ in 0..3 {
        let how = How::to("worker").attach(&near);
        let answer = world.hub().request("write hello", &Value::Null, how);
        if !setting.transport.carries_attachments() {
            check_refused(answer, raw, Why::AttachmentsUnsupported);
            continue;
        }
        answer.unwrap();
    }
    let mut end = File::from(near.as_fd().try_clone_to_owned().unwrap());
    end.write_all(b"from here").unwrap();
    drop((near, end));
    let said = match setting.transport.carries_attachments() {
        true => "hellohellohellofrom here",
        false => "from here",
    };
    assert_eq!(written(far), said, "nobody else holds it");
}

/// C12: fake descriptor `{fd:123}` to a not-ready worker refused too. What is attached owns its
/// descriptor here, so there are no fakes; what is left of it is that the kind makes no difference.
fn scenario_c12_a_descriptor_of_any_kind_to_a_worker_that_is_not_ready_is_refused(
    setting: Setting,
) {
    let world = World::new(setting);
    let _worker = world.fork("late", "worker");
    let (read, _write) = std::io::pipe().unwrap();
    let raw = read.as_raw_fd();
    let how = How::to("worker").attach(read);
    let refused = world.hub().request("write hello", &Value::Null, how);
    // Of a name that nobody has yet it is not known how it will attach, so either reason is true.
    let refused = refused.unwrap_err();
    match setting.transport.carries_attachments() {
        true => assert_eq!(*refused.why(), Why::AttachmentsNotReady),
        false => assert!(
            matches!(
                refused.why(),
                Why::AttachmentsNotReady | Why::AttachmentsUnsupported
            ),
            "{refused:?}"
        ),
    }
    let back: Vec<i32> = refused
        .into_attachments()
        .iter()
        .map(|attachment| attachment.as_fd().as_raw_fd())
        .collect();
    assert_eq!(back, [raw], "it comes back");
}
