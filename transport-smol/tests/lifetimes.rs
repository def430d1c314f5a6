//! Peers that come, go and come back: real processes and sockets.

mod common;

use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Place, run, until, world};
use futures_lite::StreamExt;
use switchboard_os::process::{Channel, ENV_NAME, Exit, SpawnSpec};
use switchboard_os::{Stream, socketpair};
use switchboard_proto::Hangup;
use switchboard_smol::{
    AttachRefusal, Builder, ConnectionError, Cx, Fault, Generation, Hub, JoinError, PeerId,
    Reconnect, RequestError, Side, State, UnknownCause, builder, join, listen,
};

/// What this test program does when it is started as a child of itself.
#[test]
fn child() {
    let Ok(address) = std::env::var("SMOL_TEST_HUB") else {
        return;
    };
    run(async {
        let peer = builder(address)
            .name("worker/1")
            .on("pid", async |(): ()| Ok(std::process::id()))
            .on("stuck", async |cx: Cx, (): ()| {
                cx.cancelled().await;
                Ok(())
            })
            .join()
            .await
            .unwrap();
        println!("up {}", peer.id().unwrap());
        // Until the parent kills it, or closes its input.
        smol::unblock(|| std::io::stdin().read_line(&mut String::new()))
            .await
            .unwrap();
    });
}

/// As [`child`], of a parent that has left it a channel.
#[test]
fn child_of_a_parent() {
    if std::env::var_os("SMOL_TEST_PARENT").is_none() {
        return;
    }
    run(async {
        let peer = Builder::parent().unwrap().join().await.unwrap();
        // Before the handler is there: whoever has its answer may hang up at once.
        let mut states = peer.state();
        let read = async |cx: Cx, (): ()| {
            let mut text = String::new();
            let file = cx.take_fd().ok_or_else(|| Fault::new("no file"))?;
            std::fs::File::from(file).read_to_string(&mut text)?;
            Ok(text)
        };
        peer.on("read", read).forever();
        peer.ready();
        until(&mut states, |state| matches!(state, State::Disconnected(_))).await;
    });
}

fn spawn(place: &Place) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env("SMOL_TEST_HUB", place.address())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines
        .find(|line| line.as_ref().unwrap().contains("up "))
        .unwrap()
        .unwrap();
    // The rest of its output goes nowhere, and must not stop it.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

#[test]
fn a_killed_process_is_gone_at_once_and_its_name_comes_back_with_its_id() {
    let place = Place::new();
    run(async {
        let hub = builder(place.address())
            .config(|config| config.complete_grace = Duration::ZERO)
            .listen()
            .await
            .unwrap();
        let mut states = hub.state();
        let mut child = spawn(&place);
        let pid: u32 = hub.request("pid", &()).to("worker/1").await.unwrap();
        assert_eq!(pid, child.id());
        let first = until(
            &mut states,
            |state| matches!(state, State::PeerUp { id, .. } if id.0 == 2),
        );
        let State::PeerUp { id, generation } = first.await else {
            unreachable!()
        };
        let stuck = hub
            .request::<_, ()>("stuck", &())
            .to("worker/1")
            .deadline(Duration::MAX)
            .try_send()
            .unwrap();
        // It has the request when it has answered a later one.
        let _: u32 = hub.request("pid", &()).to("worker/1").await.unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let error = stuck.await.unwrap_err();
        assert!(
            matches!(error, RequestError::Unknown(UnknownCause::PeerGone)),
            "{error}"
        );
        until(&mut states, |state| {
            matches!(*state, State::PeerGone { id: gone, generation: of } if (gone, of) == (id, generation))
        })
        .await;
        // Asked for before it is there, answered when it is.
        let pid = hub.request::<_, u32>("pid", &()).to("worker/1");
        let pid = pid.try_send().unwrap();
        let mut again = spawn(&place);
        assert_eq!(pid.await.unwrap(), again.id());
        let second = until(&mut states, |state| matches!(state, State::PeerUp { .. })).await;
        let State::PeerUp {
            id: same,
            generation: next,
        } = second
        else {
            unreachable!()
        };
        assert_eq!((same, next.0), (id, generation.0 + 1));
        let old = format!("worker/1#{}", generation.0);
        let error = hub.request::<_, u32>("pid", &()).to(old).await.unwrap_err();
        assert!(error.is_not_run(), "{error}");
        again.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(again.wait().unwrap().success());
    });
}

#[test]
fn a_child_over_an_inherited_channel_is_a_member_with_descriptors() {
    let place = Place::new();
    run(async {
        let hub = listen(place.address()).await.unwrap();
        let mut child = SpawnSpec::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_of_a_parent", "--nocapture"])
            .env("SMOL_TEST_PARENT", "1")
            .env(ENV_NAME, "kid")
            .channel(Channel::Socketpair)
            .spawn()
            .unwrap();
        let stream = child.take_channel().unwrap().into_stream().unwrap();
        let link = hub.adopt(stream, Side::Child);
        let path = place.dir.path().join("note");
        std::fs::write(&path, "for my child").unwrap();
        let text: String = hub
            .request("read", &())
            .to("kid")
            .attach(std::fs::File::open(&path).unwrap())
            .queue_attachments()
            .await
            .unwrap();
        assert_eq!(text, "for my child");
        hub.hangup(link, Hangup::Exited);
        hub.close();
        let exit = smol::unblock(move || {
            loop {
                match child.try_reap() {
                    Some(exit) => return exit,
                    None => std::thread::yield_now(),
                }
            }
        })
        .await;
        assert!(matches!(exit, Exit::Code(0)), "{exit:?}");
    });
}

#[test]
fn a_member_comes_back_when_its_hub_was_restarted() {
    let place = Place::new();
    run(async {
        let hub = listen(place.address()).await.unwrap();
        let member = builder(place.address())
            .name("a")
            .config(|config| config.reconnect = Reconnect::fixed(Duration::from_millis(5)))
            .on("get", async |(): ()| Ok(7u32))
            .join()
            .await
            .unwrap();
        let mut states = member.state();
        hub.close();
        until(&mut states, |state| matches!(state, State::Disconnected(_))).await;
        until(&mut states, |state| {
            matches!(state, State::Reconnecting { .. })
        })
        .await;
        assert!(!member.is_connected());
        // Said while nobody is there.
        let kept = member.request::<_, u32>("count", &()).to(Hub);
        let kept = kept.try_send().unwrap();
        let hub = builder(place.address())
            .on("count", async |(): ()| Ok(1u32))
            .listen()
            .await
            .unwrap();
        until(&mut states, |state| {
            matches!(state, State::Connected { .. })
        })
        .await;
        member.connected().await.unwrap();
        assert_eq!(kept.await.unwrap(), 1);
        let seven: u32 = hub.request("get", &()).to("a").await.unwrap();
        assert_eq!(seven, 7);
    });
}

#[test]
fn a_name_that_a_living_peer_has_is_refused() {
    let place = Place::new();
    run(async {
        let (_hub, _members) = world(&place, &["a"]).await;
        let error = builder(place.address()).name("a").join().await.unwrap_err();
        assert!(
            matches!(error, JoinError::Connection(ConnectionError::Refused(_))),
            "{error}"
        );
        let error = builder(place.address())
            .name("a#1")
            .join()
            .await
            .unwrap_err();
        assert!(matches!(error, JoinError::Name(_)), "{error}");
    });
}

#[test]
fn a_child_whose_name_is_taken_waits_until_it_is_free() {
    let place = Place::new();
    run(async {
        let (hub, mut members) = world(&place, &["kid"]).await;
        let child = |config: Reconnect| {
            let (parent_end, child_end) = socketpair().unwrap();
            hub.adopt(parent_end, Side::Child);
            Builder::over(Stream::unix(child_end).unwrap())
                .name("kid")
                .config(move |it| it.reconnect = config)
        };
        let error = child(Reconnect::never()).join().await.unwrap_err();
        let refused = ConnectionError::Refused(AttachRefusal::NameTaken);
        assert!(
            matches!(&error, JoinError::Connection(why) if *why == refused),
            "{error}"
        );
        let kid = child(Reconnect::default()).open().unwrap();
        let mut states = kid.state();
        until(&mut states, |state| matches!(state, State::Refused(_))).await;
        let joined = smol::spawn({
            let kid = kid.clone();
            async move { kid.connected().await }
        });
        drop(members.pop());
        joined.await.unwrap();
        let (_, generation) = kid.identity().unwrap();
        assert_eq!(generation, Generation(2));
    });
}

#[test]
fn a_hub_that_is_never_there_is_given_up_by_the_rules() {
    let place = Place::new();
    run(async {
        let error = builder(place.address())
            .config(|config| config.reconnect = Reconnect::never())
            .join()
            .await
            .unwrap_err();
        let JoinError::Connection(ConnectionError::GaveUp { last }) = error else {
            panic!("{error}")
        };
        assert!(last.contains("nothing is at"), "{last}");
        assert!(join("unix:relative").await.is_err());
    });
}

#[test]
fn the_last_handle_ends_the_peer_and_a_running_handler_counts_as_one() {
    let place = Place::new();
    run(async {
        let (hub, mut members) = world(&place, &["a"]).await;
        let mut states = hub.state();
        let (begun, begins) = smol::channel::bounded::<()>(1);
        let (release, released) = smol::channel::bounded::<()>(1);
        let member = members.pop().unwrap();
        member
            .on("work", move |(): ()| {
                let (begun, released) = (begun.clone(), released.clone());
                async move {
                    begun.send(()).await?;
                    released.recv().await?;
                    Ok(1u32)
                }
            })
            .forever();
        let work = hub.request::<_, u32>("work", &()).to("a");
        let work = work.try_send().unwrap();
        begins.recv().await.unwrap();
        let clone = member.clone();
        drop(member);
        drop(clone);
        release.send(()).await.unwrap();
        assert_eq!(work.await.unwrap(), 1);
        until(&mut states, |state| {
            matches!(state, State::PeerGone { id: PeerId(2), .. })
        })
        .await;
    });
}

#[test]
fn closing_ends_what_waits_and_streams_end() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a"]).await;
        let mut events = members[0].events();
        let mut states = members[0].state();
        hub.on("stuck", async |cx: Cx, (): ()| {
            cx.cancelled().await;
            Ok(())
        })
        .forever();
        let stuck = members[0].request::<_, ()>("stuck", &()).to(Hub);
        let stuck = stuck.try_send().unwrap();
        let waits = members[0].request::<_, ()>("x", &()).to("nobody");
        let waits = waits.try_send().unwrap();
        members[0].close();
        members[0].close();
        assert!(stuck.await.is_err());
        assert!(waits.await.unwrap_err().is_not_run());
        assert!(events.next().await.is_none());
        while states.next().await.is_some() {}
        assert_eq!(members[0].connected().await, Err(ConnectionError::Closed));
        assert!(members[0].send("x").await.is_err());
    });
}

#[test]
fn a_driver_that_is_dropped_closes_its_peer() {
    let place = Place::new();
    run(async {
        let _hub = listen(place.address()).await.unwrap();
        let (member, driver) = builder(place.address()).split().await.unwrap();
        let request = member.request::<_, ()>("x", &()).to(Hub);
        let request = request.try_send().unwrap();
        drop(driver);
        assert!(request.await.unwrap_err().is_not_run());
        assert_eq!(member.connected().await, Err(ConnectionError::Closed));
    });
}

#[test]
fn an_idle_driver_sleeps() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["a"]).await;
        hub.on("get", async |(): ()| Ok(1u32)).forever();
        let third = builder(place.address()).config(common::without_timers);
        let (third, driver) = third.split().await.unwrap();
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&polls);
        smol::spawn(async move {
            let mut driver = std::pin::pin!(driver);
            std::future::poll_fn(|cx| {
                counted.fetch_add(1, Ordering::Relaxed);
                driver.as_mut().poll(cx)
            })
            .await;
        })
        .detach();
        let _: u32 = third.request("get", &()).to(Hub).await.unwrap();
        // Marks and roster news come to rest: nothing has woken it for longer than a mark waits.
        let mut before = 0;
        while before != polls.load(Ordering::Relaxed) {
            before = polls.load(Ordering::Relaxed);
            async_io::Timer::after(Duration::from_millis(100)).await;
        }
        for _ in 0..100 {
            let _: u32 = members[0].request("get", &()).to(Hub).await.unwrap();
        }
        let after = polls.load(Ordering::Relaxed);
        assert_eq!(after, before, "others' messages are none of its business");
        let one: u32 = third
            .request("get", &())
            .to(Hub)
            .try_send()
            .unwrap()
            .await
            .unwrap();
        assert_eq!(one, 1);
    });
}

#[test]
fn hazard_x2_a_defect_ends_its_own_peer_and_nobody_elses() {
    let place = Place::new();
    run(async {
        let (hub, members) = world(&place, &["healthy"]).await;
        hub.on("add", async |(a, b): (i32, i32)| Ok(a + b))
            .forever();
        let mut states = members[0].state();
        // Driven by this thread.
        let (victim, driver) = builder(place.address())
            .name("victim")
            .split()
            .await
            .unwrap();
        let mut driver = Box::pin(driver);
        let joined = async {
            victim.connected().await.unwrap();
            common::all_there(&members[0], 3).await;
        };
        futures_lite::future::or(joined, async {
            driver.as_mut().await;
            panic!("the driver ended");
        })
        .await;
        let id = victim.id().unwrap();
        let mut own = victim.state();
        let pending = victim.request::<_, ()>("later", &()).to("not yet there");
        let pending = pending.try_send().unwrap();

        switchboard_os::engine::fail_next_turn();
        driver.await;

        let outcome = pending.await;
        assert!(
            matches!(outcome, Err(RequestError::Unknown(UnknownCause::Closed))),
            "{outcome:?}"
        );
        let fault = until(&mut own, |state| matches!(state, State::Fault(_))).await;
        assert!(
            matches!(&fault, State::Fault(fault) if fault.to_string().contains("report it")),
            "{fault:?}"
        );
        let later = victim.request::<_, i32>("add", &(2, 3)).to(Hub).await;
        assert!(matches!(later, Err(RequestError::NotRun(_))), "{later:?}");
        until(
            &mut states,
            |state| matches!(state, State::PeerGone { id: gone, .. } if *gone == id),
        )
        .await;
        let sum: i32 = members[0].request("add", &(2, 3)).to(Hub).await.unwrap();
        assert_eq!(sum, 5);
    });
}

#[test]
fn a_join_that_cannot_succeed_ends_at_once_and_says_what_to_do() {
    let place = Place::new();
    let missing = place.address().replace("/hub.sock", "/missing/hub.sock");
    for (address, advice) in [
        (missing.as_str(), "make the directory"),
        ("tcp://192.0.2.1:7000", "127.0.0.1"),
        ("tcp://nowhere", "write tcp://host:port"),
        ("hub", "write unix:/absolute/path"),
    ] {
        let error = run(join(address)).unwrap_err();
        assert!(error.to_string().contains(advice), "{error}");
        // What `main` prints of an error that it returns.
        assert_eq!(format!("{error:?}"), error.to_string());
    }
}
