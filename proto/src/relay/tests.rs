use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::id::{Generation, PeerId};
use crate::wire::{Known, NamespaceDeclaration, RosterGone, RosterPeer};

const CHILD: InstanceId = InstanceId(0xc1);
const GRANDCHILD: InstanceId = InstanceId(0xc2);
const HUB: InstanceId = InstanceId(1);

fn link(index: u32) -> LinkId {
    LinkId {
        index,
        generation: 1,
    }
}

fn attach(instance: InstanceId, counter: u64) -> Attach {
    Attach {
        instance,
        counter,
        name: None,
        identity: None,
        handover: false,
        budget: 1 << 20,
        message_cap: 1 << 20,
        attachments: 16,
        reserve: 1 << 20,
        known: Known::default(),
        more: false,
        relayed: instance == GRANDCHILD,
        tied: false,
        elder: false,
    }
}

fn attached(instance: InstanceId, counter: u64) -> Attached {
    Attached {
        instance,
        counter,
        id: PeerId(3),
        generation: Generation(1),
        hub: HUB,
        epoch: 1,
        id_changed: false,
    }
}

fn slice(version: u64, slice: u32) -> Declare {
    Declare {
        instance: CHILD,
        version,
        slice,
        last: false,
        namespaces: Vec::new(),
    }
}

fn known(instance: u64) -> KnownMore {
    KnownMore {
        instance: CHILD,
        more: false,
        known: Known {
            gone_instances: vec![InstanceId(instance)],
            ..Known::default()
        },
    }
}

fn ask(relay: &mut Relay, at: u32, attach: Attach) -> Asking {
    relay.attach(link(at), attach, 16, None)
}

/// A relay with an attached child on link 1, and one behind that.
fn family() -> Relay {
    let mut relay = Relay::default();
    relay.hub_found();
    for instance in [CHILD, GRANDCHILD] {
        ask(&mut relay, 1, attach(instance, 1));
        assert!(matches!(relay.next_up(), Some(Up::Attach(_))));
        assert!(relay.attached(&attached(instance, 1)).is_some());
    }
    relay
}

fn all_up(relay: &mut Relay) -> Vec<Up> {
    core::iter::from_fn(|| relay.next_up()).collect()
}

#[test]
fn who_asks_while_there_is_no_hub_is_passed_on_when_there_is_one() {
    let mut relay = Relay::default();
    assert_eq!(
        ask(&mut relay, 1, attach(CHILD, 1)),
        Asking::Passed { moved_from: None }
    );
    assert_eq!(relay.next_up(), None);
    relay.hub_found();
    let Some(Up::Attach(asked)) = relay.next_up() else {
        panic!("the child waits");
    };
    assert!(
        asked.relayed,
        "the hub must not take the link for the child's own"
    );
    assert_eq!(relay.next_up(), None, "once is enough");
    assert_eq!(
        relay.attached(&attached(CHILD, 7)),
        None,
        "another attachment"
    );
    assert_eq!(relay.attached(&attached(CHILD, 1)), Some((link(1), false)));
    assert_eq!(relay.attached(&attached(CHILD, 1)), None, "answered before");
}

#[test]
fn when_the_hub_is_lost_its_children_are_told_and_those_who_waited_ask_the_next() {
    let mut relay = family();
    ask(&mut relay, 2, attach(InstanceId(9), 4));
    ask(&mut relay, 1, attach(GRANDCHILD, 2));
    assert_eq!(all_up(&mut relay).len(), 2);
    let (told, ended) = relay.hub_lost();
    assert_eq!(
        told,
        [(CHILD, link(1))],
        "whoever speaks for another tells it"
    );
    assert_eq!(ended, []);
    assert_eq!(relay.next_up(), None);
    assert_eq!(
        relay.attached(&attached(InstanceId(9), 4)),
        None,
        "of the lost hub"
    );
    relay.hub_found();
    let asked: Vec<InstanceId> = all_up(&mut relay)
        .into_iter()
        .filter_map(|up| match up {
            Up::Attach(attach) => Some(attach.instance),
            _ => None,
        })
        .collect();
    assert_eq!(asked, [InstanceId(9)], "the others ask anew by themselves");
    ask(&mut relay, 1, attach(CHILD, 2));
    assert!(matches!(relay.next_up(), Some(Up::Attach(asked)) if asked.counter == 2));
}

#[test]
fn a_death_that_the_lost_hub_did_not_hear_of_is_kept_for_the_next() {
    let mut relay = family();
    assert!(!relay.leave(CHILD, true), "it will be told");
    relay.leave(GRANDCHILD, false);
    let (told, ended) = relay.hub_lost();
    assert_eq!((told, ended), (vec![], vec![CHILD]));

    let mut relay = family();
    relay.hub_lost();
    ask(&mut relay, 1, attach(CHILD, 2));
    assert!(relay.leave(CHILD, true), "others may hold it for living");
    ask(&mut relay, 1, attach(InstanceId(9), 1));
    assert!(!relay.leave(InstanceId(9), true), "no hub ever heard of it");
}

#[test]
fn an_instance_that_comes_over_another_link_leaves_the_first() {
    let mut relay = family();
    assert_eq!(
        ask(&mut relay, 2, attach(CHILD, 2)),
        Asking::Passed {
            moved_from: Some(link(1))
        }
    );
    assert_eq!(relay.over(link(1)), [(GRANDCHILD, Place::Behind)]);
    assert_eq!(relay.over(link(2)), [(CHILD, Place::Here)]);
    let late = ask(&mut relay, 1, attach(CHILD, 1));
    let Asking::Refused(answer) = late else {
        panic!("{late:?}");
    };
    assert_eq!(answer.reason, AttachRefusal::Outdated);
}

#[test]
fn hazard_q1_a_child_that_never_stops_asking_has_little_waiting() {
    let mut relay = family();
    assert_eq!(relay.declare(&slice(1, 0)), Ok(()));
    assert_eq!(relay.declare(&slice(1, 1)), Err(Impatient));
    let said = (0..).take_while(|round| relay.known(&known(*round), 100_000).is_ok());
    assert_eq!(said.count(), 10);
    let up = all_up(&mut relay);
    assert_eq!(
        up[..10],
        (0..10).map(|n| Up::Known(known(n))).collect::<Vec<_>>()
    );
    assert_eq!(up[10..], [Up::Declare(slice(1, 0))]);
    assert_eq!(
        relay.known(&known(11), 100_000),
        Ok(()),
        "what is said counts no more"
    );
    // The next slice may come when this one is in.
    assert_eq!(relay.declare(&slice(1, 1)), Err(Impatient));
    let answer = |slice| Declared {
        instance: CHILD,
        version: 1,
        slice,
    };
    assert_eq!(relay.declared(&answer(1)), None, "another slice");
    assert_eq!(relay.declared(&answer(0)), Some(link(1)));
    assert_eq!(relay.declare(&slice(1, 1)), Ok(()));
}

#[test]
fn hazard_q1_instances_that_come_and_go_while_the_hub_is_away_leave_nothing_behind() {
    let mut relay = Relay::default();
    for number in 10..10_000 {
        ask(&mut relay, 1, attach(InstanceId(number), 1));
        relay.leave(InstanceId(number), true);
    }
    assert!(relay.children.is_empty() && relay.speaking.is_empty());
}

#[test]
fn a_child_with_many_of_its_own_leaves_room_for_its_siblings_and_theirs() {
    let mut relay = Relay::default();
    let mut numbers = 10..;
    let mut behind = |relay: &mut Relay, at| {
        let asked = Attach {
            relayed: true,
            ..attach(InstanceId(numbers.next().unwrap()), 1)
        };
        ask(relay, at, asked)
    };
    let too_many = |asking| match asking {
        Asking::Refused(answer) => answer.reason == AttachRefusal::TooManyPeers,
        Asking::Passed { .. } => false,
    };
    for at in 1..=4 {
        for _ in 0..LINK_MAX {
            assert!(!too_many(behind(&mut relay, at)));
        }
        assert!(too_many(behind(&mut relay, at)), "its share is used up");
    }
    assert!(too_many(behind(&mut relay, 5)), "so is that of all");
    // Who was started by this node is not among those.
    assert!(!too_many(ask(&mut relay, 5, attach(InstanceId(1), 1))));
    assert_eq!(relay.children.len(), BEHIND_MAX + 1);
}

#[test]
fn who_came_to_the_hub_by_a_later_attachment_is_not_behind_this_node_any_more() {
    let mut relay = family();
    assert!(!relay.moved(CHILD, 1));
    assert!(relay.moved(CHILD, 2));
    assert_eq!(relay.over(link(1)), [(GRANDCHILD, Place::Behind)]);
    assert_eq!(all_up(&mut relay), [], "the hub knows");
}

#[test]
fn a_child_is_told_of_others_only_when_the_hub_shows_its_own_attachment() {
    let mut relay = Relay::default();
    relay.begin_to_tell(HubRoster::new(DeclareLimits::default(), true));
    relay.hub_found();
    ask(&mut relay, 1, attach(CHILD, 5));
    relay.next_up();
    relay.seen(CHILD, 5);
    let has_news = |relay: &mut Relay| relay.roster().unwrap().has_update(CHILD);
    assert!(!has_news(&mut relay), "it is not attached yet");
    relay.attached(&attached(CHILD, 5));
    relay.seen(CHILD, 4);
    assert!(!has_news(&mut relay), "that was its last life on the line");
    relay.seen(CHILD, 5);
    assert!(has_news(&mut relay));
    relay.leave(CHILD, false);
    assert!(!has_news(&mut relay));
}

#[test]
fn who_is_refused_keeps_what_the_hub_gave_it_before() {
    let refused = |reason| AttachRefused {
        instance: CHILD,
        counter: 2,
        reason,
        generation: Generation::default(),
    };
    let mut relay = family();
    relay.begin_to_tell(HubRoster::new(DeclareLimits::default(), true));
    ask(&mut relay, 1, attach(CHILD, 2));
    assert_eq!(all_up(&mut relay).len(), 1);
    let answer = relay.refused(&refused(AttachRefusal::NameTaken));
    assert_eq!(answer, Some((link(1), false)));
    assert!(relay.roster().unwrap().has_update(CHILD), "it is told on");
    assert!(!relay.leave(CHILD, true));
    let detach = Detach {
        instance: CHILD,
        gone: true,
        moved: None,
    };
    assert_eq!(all_up(&mut relay), [Up::Detach(detach)]);
    // Of one that is fenced the hub has nothing any more.
    let mut relay = family();
    ask(&mut relay, 1, attach(CHILD, 2));
    assert_eq!(all_up(&mut relay).len(), 1);
    let answer = relay.refused(&refused(AttachRefusal::Fenced));
    assert_eq!(answer, Some((link(1), true)));
    assert!(!relay.leave(CHILD, true));
    assert_eq!(all_up(&mut relay), []);
}

#[test]
fn what_is_told_again_is_what_the_hub_has_told() {
    let mut told = HubRoster::new(DeclareLimits::default(), false);
    let peer = |number: u64, up| RosterPeer {
        id: PeerId(number as u32),
        generation: Generation(1),
        instance: InstanceId(number),
        name: None,
        attachment: 1,
        attached: true,
        up,
        attachments: 0,
        budget: 1,
        message_cap: 1,
        namespaces: None,
        reserve: 0,
    };
    let handler = |name: &str| NamespaceDeclaration {
        handlers: vec![name.to_string()],
        ..NamespaceDeclaration::default()
    };
    told.put(peer(1, true), Some(vec![handler("a")]));
    told.put(peer(2, false), None);
    told.subscribe(CHILD);
    let first = told.next_update(CHILD).unwrap();
    assert!(first.snapshot && !first.complete);
    assert_eq!(first.peers.len(), 2);
    assert_eq!(told.next_update(CHILD), None);
    // The same again is no news of its declarations; another one is, also if it is none.
    told.put(peer(1, true), Some(vec![handler("a")]));
    assert_eq!(told.next_update(CHILD).unwrap().peers[0].namespaces, None);
    told.put(peer(1, true), Some(vec![]));
    let update = told.next_update(CHILD).unwrap();
    assert_eq!(update.peers[0].namespaces, Some(vec![]));
    told.gone(RosterGone {
        id: PeerId(2),
        generation: Generation(1),
        instance: InstanceId(2),
    });
    told.set_complete(true);
    let update = told.next_update(CHILD).unwrap();
    assert!(update.complete && update.gone.len() == 1);
}
