//! Who is called for a message, and who for none.

mod common;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{PATIENCE, address_in, hub, member, start};
use switchboard_mio::{Cx, Fault, Hub, Peer, Receipt, Sub};

/// What handlers have noted.
type Calls = Arc<Mutex<Vec<&'static str>>>;

/// A handler that notes that it was called, and returns its name.
fn noting(calls: &Calls, who: &'static str) -> impl Fn(()) -> Result<String, Fault> + use<> {
    let calls = Arc::clone(calls);
    move |()| {
        calls.lock().unwrap().push(who);
        Ok(who.to_owned())
    }
}

fn taken(calls: &Calls) -> Vec<&'static str> {
    std::mem::take(&mut calls.lock().unwrap())
}

/// Who answers a request.
fn answers(member: &Peer, name: &str) -> Option<String> {
    member.request(name, &()).to(Hub).wait().ok()
}

/// Tells the handlers of a name, and waits for their end.
fn tell(member: &Peer, name: &str) {
    let event = member.emit(name, &()).to(Hub);
    event.receipt(Receipt::Handled).wait().unwrap();
}

#[test]
fn requests_go_to_the_next_handler_when_the_first_is_taken_out() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    let calls = Calls::default();
    let mut handler = hub.on("x", noting(&calls, "first"));
    start(&hub);
    let member = member("one", hub.address().unwrap());
    assert_eq!(answers(&member, "x").as_deref(), Some("first"));
    let second = hub.on("x", noting(&calls, "second"));
    assert!(handler.answers_requests() && !second.answers_requests());
    assert_eq!(answers(&member, "x").as_deref(), Some("first"));
    // As people write it: the new one is there before the old one is dropped.
    handler = second;
    assert!(handler.answers_requests());
    assert_eq!(answers(&member, "x").as_deref(), Some("second"));
    taken(&calls);
    tell(&member, "x");
    assert_eq!(taken(&calls), ["second"]);
    handler.cancel();
    assert_eq!(answers(&member, "x"), None);
}

#[test]
fn what_takes_the_place_of_a_handler_takes_its_events_too() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    let calls = Calls::default();
    let first = hub.on("x", noting(&calls, "first"));
    let waits = hub.on("x", noting(&calls, "waits"));
    start(&hub);
    let member = member("one", hub.address().unwrap());
    tell(&member, "x");
    assert_eq!(taken(&calls), ["first", "waits"]);
    let new = hub.replace("x", noting(&calls, "new"));
    assert!(new.answers_requests() && !first.answers_requests());
    tell(&member, "x");
    assert_eq!(taken(&calls), ["waits", "new"]);
    // To drop what was replaced takes nothing out.
    drop(first);
    assert_eq!(answers(&member, "x").as_deref(), Some("new"));
    drop((waits, new));
}

#[test]
fn a_once_for_a_string_is_gone_with_its_first_message() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    let calls = Calls::default();
    start(&hub);
    let member = member("one", hub.address().unwrap());
    let once = hub.once("x", noting(&calls, "once"));
    tell(&member, "x");
    assert!(!once.answers_requests());
    // It was for requests too, and is there for none any more.
    assert_eq!(answers(&member, "x"), None);
    assert_eq!(taken(&calls), ["once"]);
    let _once = hub.once("x", noting(&calls, "request"));
    let _next = hub.on("x", noting(&calls, "next"));
    assert_eq!(answers(&member, "x").as_deref(), Some("request"));
    assert_eq!(answers(&member, "x").as_deref(), Some("next"));
}

#[test]
fn a_handler_that_an_earlier_one_takes_out_is_not_called() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    let calls = Calls::default();
    let later: Arc<Mutex<Option<Sub>>> = Arc::default();
    let out = Arc::clone(&later);
    hub.on("x", move |(): ()| {
        drop(out.lock().unwrap().take());
        Ok(())
    })
    .forever();
    *later.lock().unwrap() = Some(hub.on("x", noting(&calls, "later")));
    start(&hub);
    let member = member("one", hub.address().unwrap());
    tell(&member, "x");
    assert_eq!(taken(&calls), Vec::<&str>::new());
}

#[test]
fn an_ordered_handler_takes_the_messages_of_one_sender_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    hub.on_ordered("n", move |cx: Cx, n: u32| {
        // The earlier, the longer.
        std::thread::sleep(Duration::from_millis(u64::from(20 - n) / 4));
        noted.lock().unwrap().push((cx.from().instance, n));
        Ok(())
    })
    .forever();
    for _ in 0..3 {
        hub.spawn().unwrap();
    }
    start(&hub);
    let members = ["a", "b"].map(|name| member(name, hub.address().unwrap()));
    for n in 0..20_u32 {
        for member in &members {
            member.emit("n", &n).to(Hub).send().unwrap();
        }
    }
    for member in &members {
        let last = member.emit("n", &20_u32).to(Hub);
        last.receipt(Receipt::Handled).wait().unwrap();
        let seen = seen.lock().unwrap();
        let own = seen.iter().filter(|(from, _)| *from == member.instance());
        let own: Vec<u32> = own.map(|(_, n)| *n).collect();
        assert_eq!(own, (0..=20).collect::<Vec<_>>());
    }
}

#[test]
fn an_event_taken_one_by_one_brings_its_descriptor_and_is_handled_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&address_in(&folder));
    let mut events = hub.events();
    hub.ready();
    let member = member("one", hub.address().unwrap());
    let (mut near, far) = UnixStream::pair().unwrap();
    let sender = std::thread::spawn(move || {
        let event = member.emit("take", "this").to(Hub).attach(far);
        let event = event.queue_attachments().receipt(Receipt::Handled);
        event.wait().map(drop)
    });
    let event = events.next_within(PATIENCE).expect("it was sent");
    assert_eq!((event.name(), event.cx().namespace()), ("take", "_"));
    assert_eq!(event.decode_as::<String>().unwrap(), "this");
    let taken: OwnedFd = event.cx().take_fd().expect("it was attached");
    UnixStream::from(taken).write_all(b"!").unwrap();
    let mut byte = [0];
    near.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"!");
    // Nobody serves: to take it was to handle it.
    hub.wait_until(PATIENCE, || sender.is_finished());
    sender.join().unwrap().unwrap();
}
