//! Who is called for a message, when, and what comes of it.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Place, run, world};
use futures_lite::{FutureExt, StreamExt};
use switchboard_smol::*;

const ADD: Call<(i32, i32), i32> = Call::new("math.add");

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
fn requests_go_to_the_next_handler_when_the_first_is_taken_out() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a"]).await;
        let named = |who: &'static str| async move |(): ()| Ok(who.to_owned());
        let ask = || async {
            let asked = members[0].request::<_, String>("x", &()).to(Hub);
            asked.await.ok()
        };
        let mut handler = hub.on("x", named("first"));
        hub.ready();
        let second = hub.on("x", named("second"));
        assert!(handler.answers_requests() && !second.answers_requests());
        assert_eq!(ask().await.as_deref(), Some("first"));
        // As people write it: the new one is there before the old one is dropped.
        handler = second;
        assert!(handler.answers_requests());
        assert_eq!(ask().await.as_deref(), Some("second"));
        handler.cancel();
        assert_eq!(ask().await, None);
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
