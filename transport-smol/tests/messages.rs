//! What peers say to each other over real sockets, under a bare `block_on`.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Place, all_there, run, world};
use futures_lite::{FutureExt, StreamExt};
use switchboard_smol::{
    Call, Cx, Event, Everyone, Fault, Hub, PeerId, Raw, Reason, Receipt, Refusal, RegisterError,
    RequestError, SendOptions, SendRefusal, Sub, UnknownCause, builder, join, listen,
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
fn a_handler_s_failure_comes_with_its_code_and_a_panic_with_its_text() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a"]).await;
        hub.on("fails", async |(): ()| -> Result<(), Fault> {
            Err(Fault::new("no such row").with_code(404))
        })
        .forever();
        hub.on("panics", async |n: u32| -> Result<u32, Fault> {
            panic!("at {n}")
        })
        .forever();
        hub.on("panics.early", |n: u32| {
            assert!(n == 0, "before the future");
            async move { Ok(n) }
        })
        .forever();
        hub.on("works", async |(): ()| Ok(1)).forever();
        let ask = |name| members[0].request::<_, u32>(name, &7u32).to(Hub);
        let fails = members[0].request::<_, ()>("fails", &()).to(Hub).await;
        let Err(RequestError::Failed(fault)) = fails else {
            panic!("{fails:?}")
        };
        assert_eq!((fault.message.as_str(), fault.code), ("no such row", 404));
        for (name, text) in [("panics", "at 7"), ("panics.early", "before the future")] {
            let Err(RequestError::Failed(fault)) = ask(name).await else {
                panic!("{name}")
            };
            assert!(fault.message.contains(text), "{fault}");
        }
        // The link and the peer have stayed.
        let one: u32 = members[0].request("works", &()).to(Hub).await.unwrap();
        assert_eq!(one, 1);
        assert_eq!(hub.stats().handlers.failed, 3);
    });
}

#[test]
fn a_value_of_another_type_is_the_caller_s_failure_and_a_reply_of_another_is_unreadable() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a"]).await;
        hub.on("number", async |n: u32| Ok(n)).forever();
        let error = members[0].request::<_, u32>("number", "text").to(Hub).await;
        assert!(matches!(error, Err(RequestError::Failed(_))), "{error:?}");
        let error = members[0]
            .request::<_, String>("number", &7u32)
            .to(Hub)
            .await;
        assert!(
            matches!(error, Err(RequestError::Unreadable(_))),
            "{error:?}"
        );
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
fn a_listener_that_an_earlier_one_takes_out_is_not_called() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a"]).await;
        let calls = Arc::new(AtomicUsize::new(0));
        let second = Arc::new(Mutex::new(None::<Sub>));
        let taken = Arc::clone(&second);
        hub.on("x", move |(): ()| {
            drop(taken.lock().unwrap().take());
            async { Ok(()) }
        })
        .forever();
        let counted = Arc::clone(&calls);
        let sub = hub.on("x", move |(): ()| {
            counted.fetch_add(1, Ordering::Relaxed);
            async { Ok(()) }
        });
        *second.lock().unwrap() = Some(sub);
        for _ in 0..2 {
            let emit = members[0].emit("x", &()).to(Hub);
            emit.receipt(Receipt::Handled).await.unwrap();
        }
        assert_eq!(calls.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn handlers_call_back_three_deep() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a", "b"]).await;
        hub.on("one", async |cx: Cx, n: u32| {
            Ok(1 + cx.peer().request::<_, u32>("two", &n).to("a").await?)
        })
        .forever();
        members[0]
            .on("two", async |cx: Cx, n: u32| {
                Ok(10 + cx.peer().request::<_, u32>("three", &n).to("b").await?)
            })
            .forever();
        members[1]
            .on("three", async |cx: Cx, n: u32| {
                Ok(100 + cx.peer().request::<_, u32>("four", &n).to(Hub).await?)
            })
            .forever();
        hub.on("four", async |n: u32| Ok(n * 1000)).forever();
        let result: u32 = members[1].request("one", &2u32).to(Hub).await.unwrap();
        assert_eq!(result, 2111);
    });
}

#[test]
fn dropping_a_request_cancels_it_and_its_handler_sees_that() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a"]).await;
        let (begun, begins) = flag();
        let (seen, sees) = flag();
        hub.on("slow", move |cx: Cx, (): ()| {
            let (begun, seen) = (begun.clone(), seen.clone());
            async move {
                assert!(!cx.is_cancelled());
                // Only a cancel can end it.
                assert_eq!(cx.remaining(), None);
                begun.notify();
                cx.cancelled().await;
                seen.notify();
                Ok(())
            }
        })
        .forever();
        let request = async {
            let _: () = members[0]
                .request("slow", &())
                .to(Hub)
                .deadline(Duration::MAX)
                .await
                .unwrap();
            unreachable!("it never returns")
        };
        request.or(begins.wait()).await;
        sees.wait().await;
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
fn listeners_are_called_in_the_order_of_registration_and_one_answers() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a"]).await;
        let calls = Arc::new(Mutex::new(Vec::new()));
        let noting = |what: &'static str| {
            let calls = Arc::clone(&calls);
            move |(): ()| {
                let calls = Arc::clone(&calls);
                async move {
                    calls.lock().unwrap().push(what);
                    Ok(what.to_owned())
                }
            }
        };
        let first = hub.on("x", noting("first"));
        let second = hub.on("x", noting("second"));
        let third = hub.on("x", noting("third"));
        assert!(first.answers_requests() && !second.answers_requests());
        let all = || members[0].emit("x", &()).to(Hub).receipt(Receipt::Handled);
        all().await.unwrap();
        assert_eq!(*calls.lock().unwrap(), ["first", "second", "third"]);
        let who: String = members[0].request("x", &()).to(Hub).await.unwrap();
        assert_eq!(who, "first");
        calls.lock().unwrap().clear();
        second.cancel();
        let replaced = hub.replace("x", noting("new"));
        all().await.unwrap();
        assert_eq!(*calls.lock().unwrap(), ["third", "new"]);
        let who: String = members[0].request("x", &()).to(Hub).await.unwrap();
        assert_eq!(who, "new");
        drop((first, third, replaced));
    });
}

#[test]
fn a_second_handler_of_a_call_is_refused() {
    let place = Place::new();
    run(async {
        let hub = listen(place.address()).await.unwrap();
        let _first = hub.on(ADD, async |(a, b): (i32, i32)| Ok(a + b));
        let second = hub.on(ADD, async |(a, b): (i32, i32)| Ok(a - b));
        let exists = RegisterError::HandlerExists {
            name: "math.add".into(),
        };
        assert_eq!(second.checked().unwrap_err(), exists);
        // The refused one has not taken the first away.
        let sum = hub.request(ADD, &(2, 3)).to(Hub).await.unwrap();
        assert_eq!(sum, 5);
    });
}

#[test]
fn once_runs_at_most_once_also_when_two_arrive_together() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a"]).await;
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let once = hub.once("once", move |(): ()| {
            counted.fetch_add(1, Ordering::Relaxed);
            async { Ok(()) }
        });
        hub.ready();
        let ask = || members[0].request::<_, ()>("once", &()).to(Hub);
        let (first, second) = (ask().try_send().unwrap(), ask().try_send().unwrap());
        let (first, second) = futures_lite::future::zip(first, second).await;
        first.unwrap();
        assert!(second.unwrap_err().is_not_run());
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        once.cancel();
    });
}

#[test]
fn no_more_handlers_run_than_the_limit_and_the_rest_waits() {
    let place = Place::new();
    run(async {
        let now = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let (running, highest) = (Arc::clone(&now), Arc::clone(&most));
        let work = move |n: u32| {
            let (running, highest) = (Arc::clone(&running), Arc::clone(&highest));
            async move {
                let there = running.fetch_add(1, Ordering::Relaxed) + 1;
                highest.fetch_max(there, Ordering::Relaxed);
                for _ in 0..20 {
                    futures_lite::future::yield_now().await;
                }
                running.fetch_sub(1, Ordering::Relaxed);
                Ok(n)
            }
        };
        let _hub = builder(place.address())
            .handlers(8)
            .on("work", work)
            .listen()
            .await
            .unwrap();
        let member = join(place.address()).await.unwrap();
        let asked: Vec<_> = (0..50u32)
            .map(|n| {
                member
                    .request::<_, u32>("work", &n)
                    .to(Hub)
                    .try_send()
                    .unwrap()
            })
            .collect();
        for (n, reply) in asked.into_iter().enumerate() {
            assert_eq!(reply.await.unwrap(), n as u32);
        }
        assert_eq!(most.load(Ordering::Relaxed), 8);
    });
}

#[test]
fn an_ordered_handler_takes_the_messages_of_one_sender_one_after_the_other() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a", "b"]).await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        hub.on_ordered("n", move |cx: Cx, n: u32| {
            let seen = Arc::clone(&noted);
            async move {
                // The earlier, the longer.
                for _ in 0..(20 - n) {
                    futures_lite::future::yield_now().await;
                }
                seen.lock().unwrap().push((cx.from().peer.unwrap().0, n));
                Ok(())
            }
        })
        .forever();
        for n in 0..20u32 {
            for member in &members {
                member.emit("n", &n).to(Hub).try_send().unwrap();
            }
        }
        for member in &members {
            let last = member.emit("n", &20u32).to(Hub);
            last.receipt(Receipt::Handled).await.unwrap();
        }
        for member in &members {
            let of_one: Vec<u32> = seen
                .lock()
                .unwrap()
                .iter()
                .filter(|(from, _)| Some(*from) == member.id())
                .map(|(_, n)| *n)
                .collect();
            assert_eq!(of_one, (0..=20).collect::<Vec<_>>());
        }
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
fn a_stream_that_is_not_read_holds_its_senders_up_and_loses_nothing() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a"]).await;
        let mut unread = hub.events_of::<u32>("n");
        for n in 0..2000u32 {
            members[0].emit("n", &n).to(Hub).try_send().unwrap();
        }
        // Another namespace is read meanwhile.
        let other = hub.ns("other").unwrap();
        other.on("get", async |(): ()| Ok(1u32)).forever();
        let there = members[0].ns("other").unwrap();
        assert_eq!(
            there.request::<_, u32>("get", &()).to(Hub).await.unwrap(),
            1
        );
        // When all has come to rest, it is the reader that sets things going again. What comes later
        // than this would be counted as well, so too short a time shows less and nothing wrong.
        async_io::Timer::after(Duration::from_millis(100)).await;
        let taken = hub.stats().core.delivered;
        assert!(
            taken < 2000,
            "{taken} were taken for a reader that does not read"
        );
        for n in 0..2000u32 {
            assert_eq!(unread.next().await.unwrap().decode().unwrap(), n);
        }
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

/// A flag that one side raises and the other waits for.
#[derive(Clone)]
struct Raise(smol::channel::Sender<()>);
struct Wait(smol::channel::Receiver<()>);

fn flag() -> (Raise, Wait) {
    let (raise, wait) = smol::channel::bounded(1);
    (Raise(raise), Wait(wait))
}

impl Raise {
    fn notify(&self) {
        self.0.try_send(()).unwrap();
    }
}

impl Wait {
    async fn wait(&self) {
        self.0.recv().await.unwrap();
    }
}
