//! What peers say to each other over real sockets, under a bare `block_on`.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Place, all_there, run, world};
use futures_lite::StreamExt;
use switchboard_smol::{
    Call, Cx, Event, Everyone, Fault, Hub, PeerId, Raw, Reason, Receipt, Refusal, RequestError,
    SendOptions, SendRefusal, UnknownCause, builder, join, listen,
};

const ADD: Call<(i32, i32), i32> = Call::new("math.add");
const MOVED: Event<(f64, f64)> = Event::new("moved");

#[test]
fn hello_over_a_unix_socket() {
    let place = Place::new();
    run(async {
        let hub = listen(place.address()).await.unwrap();
        hub.on("hello", async |name: String| Ok(format!("hello, {name}")))
            .forever();
        hub.ready();
        let member = join(place.address()).await.unwrap();
        let reply: String = member.request("hello", "world").to(Hub).await.unwrap();
        assert_eq!(reply, "hello, world");
        assert_eq!((hub.id(), member.id()), (Some(PeerId(1)), Some(PeerId(2))));
    });
}

#[test]
fn hello_over_tcp() {
    run(async {
        let hub = listen("tcp://127.0.0.1:0").await.unwrap();
        hub.on(ADD, async |(a, b): (i32, i32)| Ok(a + b)).forever();
        let member = join(hub.address().unwrap()).await.unwrap();
        let sum = member.request(ADD, &(2, 3)).to(Hub).await.unwrap();
        assert_eq!(sum, 5);
    });
}

#[test]
fn a_request_without_a_target_finds_who_handles_it() {
    let place = Place::new();
    run(async {
        let (_hub, members) = world(&place, &["a", "b"]).await;
        members[1]
            .on(ADD, async |(a, b): (i32, i32)| Ok(a + b))
            .forever();
        assert_eq!(members[0].request(ADD, &(40, 2)).await.unwrap(), 42);
    });
}

#[test]
fn a_request_that_nobody_handles_is_not_run() {
    let place = Place::new();
    run(async {
        let (_hub, members) = world(&place, &["a"]).await;
        members[0].ready();
        let error = members[0]
            .request::<_, ()>("nobody", &())
            .to("a")
            .await
            .unwrap_err();
        let RequestError::NotRun(not_run) = &error else {
            panic!("{error:?}")
        };
        assert!(
            matches!(not_run.reason(), Reason::Refused(Refusal::NoHandler)),
            "{error}"
        );
        assert!(error.is_not_run());
    });
}

#[test]
fn who_has_waited_until_it_is_announced_is_known_before_what_it_sends() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a", "b"]).await;
        hub.announced().await.unwrap();
        let mut here = members[1].events_of::<u32>("here");
        let _add = members[0].on(ADD, async |(a, b): (i32, i32)| Ok(a + b));
        members[0].ready();
        members[0].announced().await.unwrap();
        members[0].emit("here", &1u32).to("b").await.unwrap();
        here.next().await.unwrap();
        let peers = members[1].peers();
        assert!(peers.iter().any(|peer| peer.handles("", "math.add")));
        members[0].close();
        assert!(members[0].announced().await.is_err());
    });
}

#[test]
fn ten_thousand_events_arrive_in_order_and_wait_for_room() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a"]).await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let count = {
            let seen = Arc::clone(&seen);
            move |n: u32| {
                let seen = Arc::clone(&seen);
                async move {
                    seen.lock().unwrap().push(n);
                    Ok(())
                }
            }
        };
        hub.on("n", count).forever();
        for n in 0..10_000u32 {
            members[0].emit("n", &n).to(Hub).await.unwrap();
        }
        // Handled after all of them.
        members[0]
            .emit("n", &10_000u32)
            .to(Hub)
            .receipt(Receipt::Handled)
            .await
            .unwrap();
        assert_eq!(*seen.lock().unwrap(), (0..=10_000).collect::<Vec<_>>());
    });
}

#[test]
fn a_full_buffer_gives_the_message_back_and_makes_the_awaiting_caller_wait() {
    let place = Place::new();
    run(async {
        let hub = listen(place.address()).await.unwrap();
        let member = builder(place.address())
            .config(|config| config.send_messages = 4)
            .join()
            .await
            .unwrap();
        // Nobody has this name, so everything waits.
        for n in 0..4u32 {
            member.emit("n", &n).to("late").await.unwrap();
        }
        let refused = member.emit("n", &4u32).to("late").try_send().unwrap_err();
        assert!(refused.is_full(), "{refused}");
        let back = refused.into_message().unwrap();
        let mut waiting =
            Box::pin(async { member.resend(back, SendOptions::default()).await.unwrap() });
        assert!(
            futures_lite::future::poll_once(&mut waiting)
                .await
                .is_none()
        );
        // It stands in line: whoever comes later does not overtake it.
        let later = member.emit("n", &5u32).to("late").try_send().unwrap_err();
        assert!(later.is_full());
        let late = builder(place.address()).name("late").open().unwrap();
        let mut numbers = late.events_of::<u32>("n");
        let collect = async {
            let mut got = Vec::new();
            while got.len() < 5 {
                got.push(numbers.next().await.unwrap().decode().unwrap());
            }
            got
        };
        let (_, got) = futures_lite::future::zip(waiting, collect).await;
        assert_eq!(got, [0, 1, 2, 3, 4]);
        drop(hub);
    });
}

#[test]
fn an_event_that_waits_for_room_and_is_dropped_is_never_sent() {
    let place = Place::new();
    run(async {
        let _hub = listen(place.address()).await.unwrap();
        let member = builder(place.address())
            .config(|config| config.send_messages = 1)
            .join()
            .await
            .unwrap();
        member.emit("n", &0u32).to("late").await.unwrap();
        {
            let mut given_up = Box::pin(async { member.emit("n", &1u32).to("late").await });
            assert!(
                futures_lite::future::poll_once(&mut given_up)
                    .await
                    .is_none()
            );
        }
        let late = builder(place.address()).name("late").open().unwrap();
        let mut numbers = late.events_of::<u32>("n");
        member.emit("n", &2u32).to("late").await.unwrap();
        let first = numbers.next().await.unwrap().decode().unwrap();
        let second = numbers.next().await.unwrap().decode().unwrap();
        assert_eq!((first, second), (0, 2));
    });
}

#[test]
fn a_message_that_waits_because_all_buffers_are_full_is_sent_when_others_are_read() {
    let place = Place::new();
    run(async {
        let _hub = listen(place.address()).await.unwrap();
        let member = builder(place.address())
            .config(|config| config.send_buffer_total = 64 << 10)
            .join()
            .await
            .unwrap();
        let large = "x".repeat(30_000);
        for _ in 0..2 {
            member.emit("x", &large).to("late").await.unwrap();
        }
        let mut waits = Box::pin(async { member.emit("x", &large).to("later").await.unwrap() });
        assert!(futures_lite::future::poll_once(&mut waits).await.is_none());
        let late = builder(place.address()).name("late").open().unwrap();
        let mut events = late.events_of::<String>("x");
        let read = async {
            for _ in 0..2 {
                events.next().await.unwrap();
            }
        };
        futures_lite::future::zip(read, waits).await;
    });
}

#[test]
fn a_request_past_its_deadline_may_have_run() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a"]).await;
        hub.on("slow", async |cx: Cx, (): ()| {
            cx.cancelled().await;
            Ok(())
        })
        .forever();
        let slow = || members[0].request::<_, ()>("slow", &()).to(Hub);
        let error = slow().deadline(Duration::from_millis(20)).await;
        let unknown = Err::<(), _>(UnknownCause::Deadline);
        assert!(
            matches!(error, Err(RequestError::Unknown(cause)) if Err(cause) == unknown),
            "{error:?}"
        );
        members[0].set_default_deadline(Duration::from_millis(20));
        let error = slow().await;
        assert!(matches!(error, Err(RequestError::Unknown(_))), "{error:?}");
        let error = slow().deadline(Duration::ZERO).await.unwrap_err();
        let RequestError::NotRun(not_run) = error else {
            panic!("{error}")
        };
        assert!(matches!(
            not_run.reason(),
            Reason::NotAccepted(SendRefusal::ZeroDeadline)
        ));
    });
}

#[test]
fn a_sleeping_driver_is_woken_for_a_deadline_that_comes_before_its_own() {
    let place = Place::new();
    run(async {
        let (_hub, members) = world(&place, &["a"]).await;
        // So that it sleeps: a driver that is awake yet shows less, and never something wrong.
        async_io::Timer::after(Duration::from_millis(100)).await;
        // Nothing is written, so nothing else wakes it.
        let nobody = members[0].request::<_, ()>("x", &()).to("nobody");
        let begun = std::time::Instant::now();
        let error = nobody
            .deadline(Duration::from_millis(20))
            .await
            .unwrap_err();
        assert!(error.is_not_run(), "{error}");
        assert!(begun.elapsed() >= Duration::from_millis(20));
    });
}

#[test]
fn an_event_to_everyone_leaves_out_whom_it_shall() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a", "b", "c"]).await;
        let all: Vec<_> = members.iter().chain([&hub]).collect();
        let mut streams: Vec<_> = all.iter().map(|peer| peer.events_of(MOVED)).collect();
        let everyone = || members[0].emit(MOVED, &(1.0, 2.0)).to(Everyone);
        let except = members[1].id().unwrap();
        everyone().except(&[except]).include_self().await.unwrap();
        // Something that comes after it to all.
        members[0]
            .emit(MOVED, &(3.0, 4.0))
            .to((Everyone, "a", "b", "hub-no", Hub))
            .include_self()
            .await
            .unwrap();
        for (at, stream) in streams.iter_mut().enumerate() {
            let first = stream.next().await.unwrap().decode().unwrap();
            let expected = if at == 1 { (3.0, 4.0) } else { (1.0, 2.0) };
            assert_eq!(first, expected, "the peer at {at}");
        }
        for stream in streams.iter_mut().take(1) {
            assert_eq!(stream.next().await.unwrap().decode().unwrap(), (3.0, 4.0));
        }
    });
}

#[test]
fn an_event_without_a_target_goes_to_those_that_listen() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a", "b"]).await;
        let mut on_hub = hub.events_of::<String>("message");
        let mut on_b = members[1].events();
        // `a` sees the declarations when both have an answer to give for a later one.
        let done = members[1].on("done", async |(): ()| Ok(()));
        let done_too = hub.on("done.too", async |(): ()| Ok(()));
        let _: () = members[0].request("done", &()).await.unwrap();
        let _: () = members[0].request("done.too", &()).await.unwrap();
        members[0].send("all hear this").await.unwrap();
        let heard = on_hub.next().await.unwrap();
        assert_eq!(heard.decode().unwrap(), "all hear this");
        assert_eq!(heard.cx().from().peer.unwrap().0, members[0].id().unwrap());
        let heard = on_b.next().await.unwrap();
        assert_eq!(heard.name(), "message");
        assert_eq!(heard.decode_as::<String>().unwrap(), "all hear this");
        drop((done, done_too));
    });
}

#[test]
fn namespaces_do_not_hear_each_other() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a"]).await;
        hub.on("get", async |(): ()| Ok("default")).forever();
        let topic = hub.ns("topic").unwrap();
        topic
            .on("get", async |cx: Cx, (): ()| Ok(cx.namespace().to_owned()))
            .forever();
        let data: String = members[0]
            .ns("topic")
            .unwrap()
            .request("get", &())
            .to(Hub)
            .await
            .unwrap();
        assert_eq!(data, "topic");
        let data: String = members[0].request("get", &()).to(Hub).await.unwrap();
        assert_eq!(data, "default");
        assert!(hub.ns("$x").is_err() && hub.ns("").is_err());
    });
}

#[test]
fn descriptors_move_to_the_handler_and_come_back_with_a_refusal() {
    use std::io::{Read, Seek, Write};
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a"]).await;
        hub.on("file", async |cx: Cx, (): ()| {
            let mut file = std::fs::File::from(cx.take_fd().ok_or(Fault::new("no file"))?);
            assert!(cx.take_fd().is_none());
            let mut text = String::new();
            file.rewind()?;
            file.read_to_string(&mut text)?;
            Ok(text)
        })
        .forever();
        hub.ready();
        all_there(&members[0], 2).await;
        let mut file = tempfile::tempfile_in(place.dir.path()).unwrap();
        file.write_all(b"by descriptor").unwrap();
        let text: String = members[0]
            .request("file", &())
            .to(Hub)
            .attach(file)
            .queue_attachments()
            .await
            .unwrap();
        assert_eq!(text, "by descriptor");
        let file = tempfile::tempfile_in(place.dir.path()).unwrap();
        let many = members[0].emit("file", &()).to(Everyone).attach(file);
        let refused = many.await.unwrap_err();
        assert!(matches!(
            refused.reason(),
            Reason::NotAccepted(SendRefusal::AttachmentsToMany)
        ));
        assert_eq!(refused.into_attachments().len(), 1);
    });
}

#[test]
fn raw_bytes_are_sent_as_they_are_and_a_bad_target_is_told() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a"]).await;
        hub.on("echo", async |bytes: Raw| Ok(bytes)).forever();
        let sent = Raw::from(vec![0xff, 0x00, 0x7f]);
        let echoed: Raw = members[0].request("echo", &sent).to(Hub).await.unwrap();
        assert_eq!(echoed, sent);
        let error = members[0].emit("x", &()).to("a#b").await.unwrap_err();
        assert!(matches!(error.reason(), Reason::Target(_)), "{error}");
    });
}

#[test]
fn a_drained_peer_has_delivered_everything_and_says_what_it_could_not() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a", "b"]).await;
        let mut heard = hub.events_of::<u32>("n");
        for n in 0..100u32 {
            members[0].emit("n", &n).to(Hub).await.unwrap();
        }
        let left = members[0].drain(Duration::from_secs(20));
        let read = async {
            for _ in 0..100 {
                heard.next().await.unwrap();
            }
        };
        let (left, ()) = futures_lite::future::zip(left, read).await;
        assert_eq!(left, []);
        let refused = members[0].emit("n", &0u32).to(Hub).await.unwrap_err();
        assert!(matches!(
            refused.reason(),
            Reason::NotAccepted(SendRefusal::Closed)
        ));
        let never = members[1].emit("n", &0u32).to("nobody").await.unwrap();
        let left = members[1].drain(Duration::from_millis(20)).await;
        assert_eq!(left, [never]);
    });
}

#[test]
fn errors_are_small() {
    assert!(size_of::<RequestError>() <= 64);
}
