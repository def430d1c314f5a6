mod hearsay;
mod property;
mod returning;

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::*;
use crate::wire::{AttachRefusal, Known, KnownPeer};

const HUB: InstanceId = InstanceId(1000);
const GRACE: Duration = Duration::from_secs(5);

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn name(text: &str) -> PeerName {
    PeerName::new(text).expect("a valid name")
}

fn table() -> IdentityTable {
    IdentityTable::found(at(0), IdentityConfig::default(), HUB, None)
}

fn attach(instance: u64, counter: u64) -> Attach {
    Attach {
        instance: InstanceId(instance),
        counter,
        name: None,
        identity: None,
        handover: false,
        budget: 0,
        message_cap: 0,
        attachments: 16,
        reserve: 0,
        known: Known::default(),
        more: false,
        relayed: false,
        tied: false,
        elder: counter > 1,
    }
}

fn named(instance: u64, wanted: &str) -> Attach {
    Attach {
        name: Some(name(wanted)),
        ..attach(instance, 1)
    }
}

fn claiming(instance: u64, id: u32, generation: u32) -> Attach {
    Attach {
        identity: Some((PeerId(id), Generation(generation))),
        ..attach(instance, 1)
    }
}

fn gone(instances: &[u64]) -> Known {
    Known {
        gone_instances: instances.iter().map(|n| InstanceId(*n)).collect(),
        ..Known::default()
    }
}

fn spent(generations: &[(u32, u32)]) -> Known {
    let pairs = generations.iter();
    Known {
        gone: pairs.map(|(id, g)| (PeerId(*id), Generation(*g))).collect(),
        ..Known::default()
    }
}

fn peer(instance: u64, id: u32, generation: u32, called: Option<&str>) -> KnownPeer {
    KnownPeer {
        id: PeerId(id),
        generation: Generation(generation),
        instance: InstanceId(instance),
        name: called.map(name),
    }
}

fn who(assignment: &Assignment) -> (u32, u32) {
    (assignment.id.0, assignment.generation.0)
}

fn effects(table: &mut IdentityTable) -> Vec<IdentityEffect> {
    core::iter::from_fn(|| table.poll()).collect()
}

fn died(effects: &[IdentityEffect]) -> Vec<(u64, GoneCause)> {
    let gone = |effect: &IdentityEffect| match effect {
        IdentityEffect::Gone { peer, cause } => Some((peer.instance.0, *cause)),
        _ => None,
    };
    effects.iter().filter_map(gone).collect()
}

#[test]
fn the_hub_is_peer_1_and_its_members_are_2_and_up() {
    let mut table = table();
    assert_eq!(table.identity(HUB), Some((PeerId(1), Generation(1))));
    assert_eq!(
        who(&table.attach(at(0), &attach(1, 1), true).unwrap()),
        (2, 1)
    );
    assert_eq!(
        who(&table.attach(at(0), &attach(2, 1), true).unwrap()),
        (3, 1)
    );
}

#[test]
fn an_unnamed_process_gets_the_lowest_id_that_nobody_holds() {
    let mut table = table();
    for n in 1..=3 {
        table.attach(at(0), &attach(n, 1), true).unwrap();
    }
    assert!(table.gone(at(1), InstanceId(2)));
    assert_eq!(
        who(&table.attach(at(1), &attach(4, 1), true).unwrap()),
        (3, 2)
    );
    assert_eq!(
        who(&table.attach(at(1), &attach(5, 1), true).unwrap()),
        (5, 1)
    );
}

#[test]
fn a_restarted_process_gets_its_id_back_by_its_name_with_the_next_generation() {
    let mut table = table();
    table.attach(at(0), &named(1, "w"), true).unwrap();
    table.gone(at(1), InstanceId(1));
    assert_eq!(
        who(&table.attach(at(2), &attach(2, 1), true).unwrap()),
        (3, 1)
    );
    let back = table.attach(at(3), &named(3, "w"), true).unwrap();
    assert_eq!(who(&back), (2, 2));
    assert!(!back.id_changed && !back.resumed);
}

#[test]
fn a_name_is_freed_10_minutes_after_its_holders_death() {
    let mut table = table();
    table.attach(at(0), &named(1, "w"), true).unwrap();
    table.timeout(at(2), 1024);
    table.gone(at(10), InstanceId(1));
    assert_eq!(table.deadline(), Some(at(610)));
    table.timeout(at(609), 1024);
    assert_eq!(
        who(&table.attach(at(609), &attach(2, 1), true).unwrap()),
        (3, 1)
    );
    table.timeout(at(610), 1024);
    assert_eq!(table.deadline(), None);
    assert_eq!(
        who(&table.attach(at(610), &attach(3, 1), true).unwrap()),
        (2, 2)
    );
    assert_eq!(
        who(&table.attach(at(610), &named(4, "w"), true).unwrap()),
        (4, 1)
    );
}

#[test]
fn names_that_nobody_comes_back_for_do_not_use_up_the_ids() {
    let config = IdentityConfig {
        bindings: 2,
        ..IdentityConfig::default()
    };
    let mut table = IdentityTable::found(at(0), config, HUB, None);
    for n in 1..=3 {
        table
            .attach(at(n), &named(n, &alloc::format!("w{n}")), true)
            .unwrap();
        table.gone(at(n), InstanceId(n));
    }
    // The first of the three names is free, and its id with it.
    let unnamed = table.attach(at(4), &attach(8, 1), true).unwrap();
    assert_eq!(who(&unnamed), (2, 2));
    let last = table.attach(at(4), &named(9, "w3"), true).unwrap();
    assert_eq!(who(&last), (4, 2));
    let first = table.attach(at(4), &named(10, "w1"), true).unwrap();
    assert_eq!(who(&first), (5, 1));
}

#[test]
fn a_name_whose_holder_lives_is_refused_also_while_it_is_detached() {
    let mut table = table();
    table.attach(at(0), &named(1, "w"), false).unwrap();
    let refused = table.attach(at(1), &named(2, "w"), false).unwrap_err();
    let taken = |until| Refusal::NameTaken {
        generation: Generation(1),
        until,
    };
    assert_eq!(refused, taken(None));
    assert_eq!(
        refused.answer(&named(2, "w")).reason,
        AttachRefusal::NameTaken
    );
    assert_eq!(table.detached(at(2), InstanceId(1), GRACE), Loss::Detached);
    let refused = table.attach(at(3), &named(2, "w"), false).unwrap_err();
    assert_eq!(refused, taken(Some(at(7))));
    table.timeout(at(7), 1024);
    assert_eq!(
        who(&table.attach(at(7), &named(2, "w"), false).unwrap()),
        (2, 2)
    );
}

#[test]
fn a_name_is_handed_over_only_if_both_asked_for_it() {
    let mut table = table();
    let willing = |instance| Attach {
        handover: true,
        ..named(instance, "w")
    };
    table.attach(at(0), &named(1, "w"), true).unwrap();
    assert!(table.attach(at(0), &willing(2), true).is_err());
    table.attach(at(1), &willing(1), true).unwrap();
    assert!(table.attach(at(1), &named(2, "w"), true).is_err());
    let heir = table.attach(at(2), &willing(2), true).unwrap();
    assert_eq!(who(&heir), (2, 2));
    assert_eq!(heir.replaced, Some(InstanceId(1)));
    assert_eq!(died(&effects(&mut table)), [(1, GoneCause::Replaced)]);
    assert!(table.fences.contains(InstanceId(1)));
}

#[test]
fn the_hubs_own_name_is_never_handed_over() {
    let mut table = IdentityTable::found(at(0), IdentityConfig::default(), HUB, Some(name("hub")));
    let thief = Attach {
        handover: true,
        ..named(1, "hub")
    };
    assert!(matches!(
        table.attach(at(0), &thief, true),
        Err(Refusal::NameTaken { .. })
    ));
    assert_eq!(
        table.attach(at(0), &attach(HUB.0, 1), true),
        Err(Refusal::Invalid)
    );
}

#[test]
fn a_name_has_one_binding() {
    let mut table = table();
    table.attach(at(0), &named(1, "w"), true).unwrap();
    table.gone(at(1), InstanceId(1));
    let back = Attach {
        name: Some(name("w")),
        ..claiming(2, 7, 3)
    };
    assert_eq!(who(&table.attach(at(1), &back, true).unwrap()), (7, 3));
    assert_eq!(
        who(&table.attach(at(1), &attach(3, 1), true).unwrap()),
        (2, 2)
    );
    table.gone(at(2), InstanceId(2));
    assert_eq!(
        who(&table.attach(at(2), &named(4, "w"), true).unwrap()),
        (7, 4)
    );
}

#[test]
fn a_hub_takes_no_more_peers_than_it_may_and_says_so() {
    let config = IdentityConfig {
        peers: 2,
        ..IdentityConfig::default()
    };
    let mut table = IdentityTable::found(at(0), config, HUB, None);
    table.attach(at(0), &attach(1, 1), true).unwrap();
    assert_eq!(
        table.attach(at(0), &attach(2, 1), true),
        Err(Refusal::TooManyPeers)
    );
    assert!(table.attach(at(0), &attach(1, 2), true).unwrap().resumed);
    table.gone(at(1), InstanceId(1));
    assert!(table.attach(at(1), &attach(2, 1), true).is_ok());
}

#[test]
fn a_new_hub_says_that_its_roster_is_complete_after_a_grace() {
    let mut table = table();
    assert!(!table.is_complete());
    assert_eq!(table.deadline(), Some(at(2)));
    table.timeout(at(1), 1024);
    assert_eq!(effects(&mut table), []);
    table.timeout(at(2), 1024);
    assert_eq!(effects(&mut table), []);
    assert!(table.is_complete());
    assert_eq!(table.deadline(), None);
}

#[test]
fn a_parent_knows_all_its_children_and_waits_for_nobody() {
    let config = IdentityConfig {
        completion_grace: Duration::ZERO,
        ..IdentityConfig::default()
    };
    let table = IdentityTable::found(at(0), config, HUB, None);
    assert!(table.is_complete());
    assert_eq!(table.deadline(), None);
}

#[test]
fn a_newcomer_never_answers_to_the_id_and_generation_of_a_living_process() {
    // A hub that lost its table gave id 2 to a newcomer before its owner, 2#4, came back.
    let mut table = table();
    let newcomer = table.attach(at(1), &attach(7, 1), true).unwrap();
    assert_eq!(newcomer.id, PeerId(2));
    let owner = Attach {
        known: spent(&[(2, 3)]),
        ..claiming(8, 2, 4)
    };
    let owner = table.attach(at(2), &owner, true).unwrap();
    assert!(owner.id_changed);
    let (id, generation) = table.identity(InstanceId(7)).unwrap();
    assert_eq!(id, PeerId(2));
    assert!(generation > Generation(4), "{generation:?}");
}
