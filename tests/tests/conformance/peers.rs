//! A channel between peers: who is there, who speaks, and how one comes and goes. Here all at a fixed
//! address; channels that nobody hosts by name come later.

use std::sync::{Arc, Mutex};

use switchboard_proto::codec::Value;
use switchboard_proto::{Config, PeerId};
use switchboard_tests::{App, Handle, How, Setting, Transport, Way, World, int, text};

use crate::roles::answers;
use crate::settings::over_all;

over_all!(
    scenario_i1_i2_a_peer_has_no_id_at_first_and_one_when_it_is_connected,
    scenario_i3_a_message_of_a_peer_comes_with_that_peer_s_id,
    scenario_i4_i6_a_broadcast_of_a_peer_comes_with_that_peer_s_id,
    scenario_i7_a_peer_that_leaves_is_not_connected_and_the_others_see_it_go,
    scenario_m1_m2_all_members_see_all_members_and_name_the_same_hub,
    scenario_o5_o6_a_client_writes_and_the_server_answers,
    scenario_f9_a_handler_for_one_message_is_called_once,
);

/// A second member in this process, beside those that are processes of their own. Over a channel to
/// a child there is none: such a peer joins at the hub's address.
fn member(world: &World, name: &str) -> Box<dyn App> {
    let way = Way::Address(world.address().to_owned());
    world
        .setting
        .worker
        .join(way, Some(name), Config::default())
}

/// Lets both of two apps of this process go on.
fn until(world: &World, app: &dyn App, what: &str, condition: &mut dyn FnMut() -> bool) {
    let mut rounds = 0;
    app.until(what, &mut || {
        rounds += 1;
        // One look, so that a hub in a poll loop has its turn too.
        let mut looked = false;
        world
            .hub()
            .until(what, &mut || std::mem::replace(&mut looked, true));
        condition()
    });
    assert!(rounds > 0);
}

/// I1: not connected, pid undefined at first · I2: connected with pid > 0 within 1 s.
fn scenario_i1_i2_a_peer_has_no_id_at_first_and_one_when_it_is_connected(setting: Setting) {
    let world = World::new(setting);
    let nobody = match setting.transport {
        Transport::Tcp => "tcp://127.0.0.1:1".to_owned(),
        _ => format!("{}.nobody", world.address()),
    };
    let alone = setting
        .worker
        .join(Way::Address(nobody), None, Config::default());
    assert_eq!((alone.is_connected(), alone.id()), (false, None));
    let member = member(&world, "member");
    until(&world, &*member, "the connection", &mut || {
        member.is_connected()
    });
    assert_eq!(member.id(), Some(PeerId(2)));
    assert_eq!((alone.is_connected(), alone.id()), (false, None));
}

/// What came to the hub: from whom, and what.
fn heard(world: &World, name: &str) -> Arc<Mutex<Vec<(u32, Value)>>> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let add = Arc::clone(&log);
    let hear: Handle = Box::new(move |call, value| {
        let id = call.from().peer.map_or(0, |(id, _)| id.0);
        add.lock().unwrap().push((id, value));
        Some(Ok(Value::Null))
    });
    world.hub().on(name, hear).unwrap();
    world.hub().ready();
    log
}

/// I3: peer 2 -> peer 1 message, sender is 2 · I5: custom event 2 -> 1.
fn scenario_i3_a_message_of_a_peer_comes_with_that_peer_s_id(setting: Setting) {
    let world = World::new(setting);
    let log = heard(&world, "work");
    let _worker = world.fork_up("asks hub", "worker");
    world
        .hub()
        .request("ask", &text("hello"), How::to(PeerId(2)))
        .unwrap();
    assert_eq!(*log.lock().unwrap(), [(2, text("hello"))]);
}

/// I4: broadcast message reaches peer 1 from 2 · I6: custom event broadcast.
fn scenario_i4_i6_a_broadcast_of_a_peer_comes_with_that_peer_s_id(setting: Setting) {
    let world = World::new(setting);
    let log = heard(&world, "gossip");
    let _workers = ["one", "two"].map(|name| world.fork_up("gossip", name));
    for id in [2, 3] {
        world
            .hub()
            .request("tell", &int(id), How::to(PeerId(id)))
            .unwrap();
    }
    world
        .hub()
        .until("both broadcasts", &mut || log.lock().unwrap().len() == 2);
    assert_eq!(*log.lock().unwrap(), [(2, int(2_u32)), (3, int(3_u32))]);
}

/// I7: `disconnect()` fires `disconnect`, connected false · O7: destroy -> closed, not connected.
fn scenario_i7_a_peer_that_leaves_is_not_connected_and_the_others_see_it_go(setting: Setting) {
    let world = World::new(setting);
    let member = member(&world, "member");
    until(&world, &*member, "the connection", &mut || {
        member.is_connected()
    });
    until(&world, &*member, "the hub's view", &mut || {
        world.find("member").is_some()
    });
    member.close();
    assert!(!member.is_connected());
    until(&world, &*member, "the goodbye", &mut || {
        world.find("member").is_none()
    });
}

/// M1: single process: list = [self], manager = self · M2: 4 forked workers: all see 4 members, all
/// name the same manager, exactly one says "I am it".
fn scenario_m1_m2_all_members_see_all_members_and_name_the_same_hub(setting: Setting) {
    let world = World::new(setting);
    let work: Handle = Box::new(|call, _| {
        let id = call.app().id().expect("a hub has an id");
        Some(Ok(int(id.0)))
    });
    world.hub().on("work", work).unwrap();
    world.hub().ready();
    let own: Vec<_> = world
        .hub()
        .peers()
        .into_iter()
        .map(|peer| peer.id)
        .collect();
    assert_eq!((own, world.hub().id()), (vec![PeerId(1)], Some(PeerId(1))));
    let names = ["a", "b", "c", "d"];
    let _workers = names.map(|name| world.fork_up("asks hub", name));
    let all = Value::Array((1..=5_u32).map(int).collect());
    let ask = |what: &str, name: &str| {
        world
            .hub()
            .request(what, &Value::Null, How::to(name))
            .unwrap()
    };
    for name in names {
        world
            .hub()
            .until("the whole roster", &mut || ask("who", name) == all);
        assert_eq!(ask("ask", name), int(1_u32));
    }
}

/// O5: client write · O6: server answer received.
fn scenario_o5_o6_a_client_writes_and_the_server_answers(setting: Setting) {
    let world = World::new(setting);
    let shout = |value: Value| Ok(text(&value.as_str().unwrap_or_default().to_uppercase()));
    world.hub().on("work", answers(shout)).unwrap();
    world.hub().ready();
    let _worker = world.fork_up("asks hub", "client");
    let answer = world
        .hub()
        .request("ask", &text("hello"), How::to("client"));
    assert_eq!(answer.unwrap(), text("HELLO"));
}

/// F9: once is gone after one.
fn scenario_f9_a_handler_for_one_message_is_called_once(setting: Setting) {
    let world = World::new(setting);
    let count = Arc::new(Mutex::new(0));
    let add = Arc::clone(&count);
    let once = answers(move |_| {
        *add.lock().unwrap() += 1;
        Ok(Value::Null)
    });
    world.hub().once("message", once).unwrap();
    let log = heard(&world, "after");
    let topic = world.hub();
    for n in 0..3_u32 {
        topic.emit("message", &int(n), How::to(PeerId(1))).unwrap();
    }
    topic.emit("after", &int(0), How::to(PeerId(1))).unwrap();
    topic.until("what came after", &mut || !log.lock().unwrap().is_empty());
    assert_eq!(*count.lock().unwrap(), 1);
}
