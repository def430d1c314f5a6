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
fn an_instance_that_is_gone_is_fenced_and_told_the_generation() {
    let mut table = table();
    table.attach(at(0), &named(1, "w"), true).unwrap();
    table.gone(at(1), InstanceId(1));
    table.attach(at(1), &named(2, "w"), true).unwrap();
    table.gone(at(2), InstanceId(2));
    let fenced = Refusal::Fenced {
        generation: Generation(2),
    };
    assert_eq!(table.attach(at(3), &attach(1, 2), true), Err(fenced));
    assert_eq!(table.attach(at(3), &claiming(1, 2, 1), true), Err(fenced));
}

#[test]
fn an_older_attachment_never_replaces_a_newer_one() {
    let mut table = table();
    table.attach(at(0), &attach(1, 7), false).unwrap();
    assert_eq!(
        table.attach(at(0), &attach(1, 6), false),
        Err(Refusal::Outdated)
    );
    let answer = Refusal::Outdated.answer(&attach(1, 6));
    assert_eq!(answer.reason, AttachRefusal::Outdated);
    table.detached(at(1), InstanceId(1), GRACE);
    assert_eq!(
        table.attach(at(1), &attach(1, 6), false),
        Err(Refusal::Outdated)
    );
    let again = table.attach(at(1), &attach(1, 8), false).unwrap();
    assert!(again.resumed);
}

#[test]
fn an_instance_that_re_attaches_in_time_keeps_its_id_and_generation() {
    let mut table = table();
    table.timeout(at(2), 1024);
    table.attach(at(2), &named(1, "w"), false).unwrap();
    table.detached(at(3), InstanceId(1), GRACE);
    assert_eq!(table.deadline(), Some(at(8)));
    let again = table
        .attach(
            at(4),
            &Attach {
                counter: 2,
                ..attach(1, 2)
            },
            false,
        )
        .unwrap();
    assert_eq!((who(&again), again.name.clone()), ((2, 1), Some(name("w"))));
    assert_eq!(table.deadline(), None);
    table.timeout(at(100), 1024);
    assert_eq!(
        table.identity(InstanceId(1)),
        Some((PeerId(2), Generation(1)))
    );
}

#[test]
fn a_detached_instance_is_gone_at_the_end_of_its_grace_and_not_before() {
    let mut table = table();
    table.timeout(at(2), 1024);
    effects(&mut table);
    table.attach(at(2), &attach(1, 1), false).unwrap();
    table.detached(at(3), InstanceId(1), GRACE);
    table.detached(at(6), InstanceId(1), GRACE);
    table.timeout(at(7), 1024);
    assert_eq!(effects(&mut table), []);
    table.timeout(at(8), 1024);
    assert_eq!(died(&effects(&mut table)), [(1, GoneCause::Expired)]);
    assert!(matches!(
        table.attach(at(8), &attach(1, 2), false),
        Err(Refusal::Fenced { .. })
    ));
}

#[test]
fn the_end_of_a_local_link_is_the_death_of_its_instance() {
    let mut table = table();
    table.attach(at(0), &attach(1, 1), true).unwrap();
    assert_eq!(table.detached(at(1), InstanceId(1), GRACE), Loss::Gone);
    assert_eq!(died(&effects(&mut table)), [(1, GoneCause::Ended)]);
    assert_eq!(table.detached(at(1), InstanceId(1), GRACE), Loss::Unknown);
    assert_eq!(table.detached(at(1), HUB, GRACE), Loss::Unknown);
}

#[test]
fn a_member_of_an_earlier_hub_keeps_what_that_hub_gave_it() {
    let mut table = table();
    let back = table.attach(at(0), &claiming(1, 3, 5), true).unwrap();
    assert_eq!(who(&back), (3, 5));
    assert!(!back.id_changed);
    assert_eq!(
        who(&table.attach(at(0), &attach(2, 1), true).unwrap()),
        (2, 1)
    );
    table.gone(at(1), InstanceId(1));
    assert_eq!(
        who(&table.attach(at(1), &attach(3, 1), true).unwrap()),
        (3, 6)
    );
}

#[test]
fn the_attached_holder_keeps_its_id_and_the_later_one_is_told_of_another() {
    let mut table = table();
    table.attach(at(0), &attach(1, 1), true).unwrap();
    let later = table.attach(at(1), &claiming(2, 2, 5), true).unwrap();
    assert_eq!(who(&later), (3, 1));
    assert!(later.id_changed);
    // 2#1 to 2#5 were given by the earlier hub, so the holder is none of them.
    assert_eq!(
        table.identity(InstanceId(1)),
        Some((PeerId(2), Generation(6)))
    );
    // It declares its new id from now on and is not told of a change a second time.
    let again = Attach {
        counter: 2,
        ..claiming(2, 3, 1)
    };
    assert!(!table.attach(at(2), &again, true).unwrap().id_changed);
    // The next one is above both.
    table.gone(at(3), InstanceId(1));
    assert_eq!(
        who(&table.attach(at(3), &attach(3, 1), true).unwrap()),
        (2, 7)
    );
}

#[test]
fn a_member_that_was_peer_1_under_an_earlier_hub_does_not_displace_this_one() {
    let mut table = table();
    let back = table.attach(at(0), &claiming(1, 1, 9), true).unwrap();
    assert_eq!(who(&back), (2, 1));
    assert!(back.id_changed);
    assert_eq!(table.identity(HUB), Some((PeerId(1), Generation(10))));
}

#[test]
fn two_members_that_were_given_the_same_identity_by_different_hubs_do_not_share_it() {
    let mut table = table();
    table.attach(at(0), &claiming(1, 3, 5), true).unwrap();
    table.gone(at(1), InstanceId(1));
    // 3#5 has been, so the second one is 3 again but not 3#5.
    assert_eq!(
        who(&table.attach(at(1), &claiming(2, 3, 5), true).unwrap()),
        (3, 6)
    );
}

#[test]
fn a_returning_member_goes_before_the_name_of_a_dead_one() {
    let mut table = table();
    table.attach(at(0), &named(1, "v"), true).unwrap();
    table.gone(at(1), InstanceId(1));
    assert_eq!(
        who(&table.attach(at(1), &claiming(2, 2, 5), true).unwrap()),
        (2, 5)
    );
    assert_eq!(
        who(&table.attach(at(1), &named(3, "v"), true).unwrap()),
        (3, 1)
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
fn a_returning_member_whose_name_was_taken_meanwhile_is_refused_it() {
    let mut table = table();
    table.attach(at(0), &named(1, "w"), true).unwrap();
    let back = Attach {
        name: Some(name("w")),
        ..claiming(2, 7, 3)
    };
    assert!(matches!(
        table.attach(at(1), &back, true),
        Err(Refusal::NameTaken { .. })
    ));
}

#[test]
fn whom_a_member_holds_for_gone_is_gone_for_all() {
    let mut table = table();
    let elder = Attach {
        counter: 2,
        ..named(1, "w")
    };
    table.attach(at(0), &elder, false).unwrap();
    let witness = Attach {
        counter: 2,
        known: gone(&[1, 77]),
        ..named(2, "w")
    };
    // Also the name is free for the one that says so.
    assert_eq!(who(&table.attach(at(1), &witness, false).unwrap()), (2, 2));
    assert_eq!(died(&effects(&mut table)), [(1, GoneCause::Declared)]);
    for instance in [1, 77] {
        assert!(matches!(
            table.attach(at(1), &attach(instance, 9), false),
            Err(Refusal::Fenced { .. })
        ));
    }
    table.attach(at(2), &attach(3, 2), false).unwrap();
    table
        .known(at(2), InstanceId(2), &gone(&[3]), false)
        .unwrap();
    assert_eq!(died(&effects(&mut table)), [(3, GoneCause::Declared)]);
}

#[test]
fn who_has_never_had_another_hub_dies_by_nobodys_word() {
    let mut table = table();
    table.attach(at(0), &attach(1, 1), true).unwrap();
    let liar = Attach {
        known: gone(&[1]),
        ..attach(2, 9)
    };
    table.attach(at(1), &liar, true).unwrap();
    table
        .known(at(1), InstanceId(2), &gone(&[1]), false)
        .unwrap();
    assert_eq!(effects(&mut table), []);
    assert!(table.attach(at(2), &attach(1, 2), true).unwrap().resumed);
    // Its coming back is no proof that it has been elsewhere.
    table
        .known(at(2), InstanceId(2), &gone(&[1]), false)
        .unwrap();
    assert_eq!(effects(&mut table), []);
}

#[test]
fn who_has_never_had_another_hub_is_not_listened_to() {
    let mut table = table();
    table.attach(at(0), &attach(1, 2), true).unwrap();
    let liar = Attach {
        known: Known {
            living: vec![peer(5, 2, 9, None)],
            gone: vec![(PeerId(2), Generation(9))],
            gone_instances: vec![InstanceId(1), InstanceId(77)],
        },
        ..attach(2, 1)
    };
    table.attach(at(1), &liar, true).unwrap();
    assert_eq!(effects(&mut table), []);
    assert!(table.attach(at(1), &attach(77, 1), true).is_ok());
    table.timeout(at(2), 1024);
    assert!(table.is_complete());
}

#[test]
fn a_new_hub_waits_for_those_whom_members_hold_for_living() {
    let mut table = table();
    table.timeout(at(2), 1024);
    assert!(table.is_complete());
    let known = Known {
        living: vec![peer(3, 3, 4, Some("w")), peer(4, 4, 1, None)],
        ..Known::default()
    };
    let first = Attach {
        known,
        ..claiming(2, 2, 1)
    };
    table.attach(at(10), &first, true).unwrap();
    assert!(!table.is_complete());
    // Nobody is given an id that may still be somebody's.
    let newcomer = table.attach(at(11), &attach(9, 1), true).unwrap();
    assert_eq!(who(&newcomer), (5, 1));
    table.timeout(at(17), 1024);
    let back = table.attach(at(17), &claiming(4, 4, 1), true).unwrap();
    assert_eq!(who(&back), (4, 1));
    assert!(!table.is_complete());
    assert_eq!(table.deadline(), Some(at(18)));
    table.timeout(at(18), 1024);
    assert_eq!(died(&effects(&mut table)), [(3, GoneCause::Expired)]);
    assert!(table.is_complete());
    assert!(matches!(
        table.attach(at(19), &claiming(3, 3, 4), true),
        Err(Refusal::Fenced { .. })
    ));
    // Its name is still bound to its id.
    let next = table.attach(at(20), &named(10, "w"), true).unwrap();
    assert_eq!(who(&next), (3, 5));
}

#[test]
fn whoever_says_that_there_is_more_is_heard_to_the_end_before_anybody_is_missed() {
    let mut table = table();
    let first = Attach {
        more: true,
        ..claiming(2, 2, 1)
    };
    table.attach(at(0), &first, true).unwrap();
    table.timeout(at(5), 1024);
    assert!(!table.is_complete());
    let rest = Known {
        living: vec![peer(3, 3, 1, None)],
        ..Known::default()
    };
    table.known(at(5), InstanceId(2), &rest, true).unwrap();
    table.attach(at(5), &claiming(3, 3, 1), true).unwrap();
    assert!(!table.is_complete());
    table
        .known(at(5), InstanceId(2), &Known::default(), false)
        .unwrap();
    assert!(table.is_complete());
}

#[test]
fn a_generation_that_a_living_process_answers_to_elsewhere_never_names_another() {
    // 2#4 was given by an earlier hub and has died since; 2#1 was given before that became known.
    let mut table = table();
    let early = table.attach(at(0), &attach(1, 1), true).unwrap();
    assert_eq!(who(&early), (2, 1));
    let known = Known {
        living: vec![peer(7, 2, 4, None)],
        ..Known::default()
    };
    let witness = Attach {
        known,
        ..claiming(3, 3, 1)
    };
    table.attach(at(1), &witness, true).unwrap();
    assert_eq!(
        table.identity(InstanceId(1)),
        Some((PeerId(2), Generation(5)))
    );
    // It lives after all: it is not 2 any more, and nobody is 2#4 twice.
    let back = table.attach(at(2), &claiming(7, 2, 4), true).unwrap();
    assert!(back.id_changed);
    assert_eq!(who(&back), (4, 1));
}

#[test]
fn a_returning_member_keeps_its_generation_though_others_have_named_it() {
    let mut table = table();
    let known = Known {
        living: vec![peer(7, 7, 4, None)],
        ..Known::default()
    };
    let witness = Attach {
        known,
        ..claiming(3, 3, 1)
    };
    table.attach(at(1), &witness, true).unwrap();
    let back = table.attach(at(2), &claiming(7, 7, 4), true).unwrap();
    assert_eq!(who(&back), (7, 4));
    assert_eq!(effects(&mut table), []);
}

#[test]
fn whom_nobody_could_reach_while_the_hub_was_stopped_has_all_of_its_time_again() {
    let mut table = table();
    table.attach(at(0), &attach(1, 1), false).unwrap();
    let known = Known {
        living: vec![peer(3, 3, 1, None)],
        ..Known::default()
    };
    let witness = Attach {
        known,
        ..claiming(4, 4, 1)
    };
    table.attach(at(1), &witness, false).unwrap();
    table.detached(at(2), InstanceId(1), GRACE);
    table.put_off(at(60), GRACE);
    table.timeout(at(60), 1024);
    assert_eq!(effects(&mut table), []);
    table.timeout(at(64), 1024);
    assert_eq!(effects(&mut table), []);
    table.timeout(at(65), 1024);
    assert_eq!(died(&effects(&mut table)), [(1, GoneCause::Expired)]);
    table.timeout(at(68), 1024);
    assert_eq!(died(&effects(&mut table)), [(3, GoneCause::Expired)]);
}

#[test]
fn who_holds_the_hub_for_gone_comes_back_as_a_new_instance() {
    let mut table = table();
    table.attach(at(0), &named(1, "w"), false).unwrap();
    let stranger = Attach {
        counter: 2,
        known: gone(&[HUB.0]),
        ..named(1, "w")
    };
    assert!(matches!(
        table.attach(at(1), &stranger, false),
        Err(Refusal::Fenced { .. })
    ));
    assert_eq!(died(&effects(&mut table)), [(1, GoneCause::Declared)]);
    assert!(table.identity(HUB).is_some());
    assert_eq!(
        who(&table.attach(at(1), &named(2, "w"), false).unwrap()),
        (2, 2)
    );
    table
        .known(at(2), InstanceId(2), &gone(&[HUB.0]), false)
        .unwrap();
    assert_eq!(died(&effects(&mut table)), [(2, GoneCause::Declared)]);
    assert!(!table.gone(at(2), HUB));
}

#[test]
fn a_generation_that_a_member_knows_to_be_gone_is_never_that_of_a_living_one() {
    let mut table = table();
    table.attach(at(0), &attach(1, 1), true).unwrap();
    let witness = Attach {
        known: spent(&[(1, 1), (2, 9), (5, 4)]),
        ..attach(2, 2)
    };
    table.attach(at(1), &witness, true).unwrap();
    let raised = |instance, id, generation| IdentityEffect::Raised {
        instance: InstanceId(instance),
        id: PeerId(id),
        generation: Generation(generation),
    };
    assert_eq!(effects(&mut table), [raised(HUB.0, 1, 2), raised(1, 2, 10)]);
    assert_eq!(table.fences.of_id(PeerId(2)), Some(Generation(9)));
    table.attach(at(1), &attach(3, 1), true).unwrap();
    assert_eq!(
        who(&table.attach(at(1), &attach(4, 1), true).unwrap()),
        (5, 5)
    );
    // The same word from another member changes nothing more.
    table
        .attach(
            at(2),
            &Attach {
                instance: InstanceId(5),
                ..witness
            },
            true,
        )
        .unwrap();
    assert_eq!(effects(&mut table), []);
}

#[test]
fn a_declaration_that_no_honest_member_makes_is_invalid() {
    let mut table = table();
    let wrong = [
        attach(0, 1),
        claiming(1, 0, 1),
        claiming(1, 1, 0),
        claiming(1, 65_536, 1),
        claiming(1, 2, u32::MAX),
        Attach {
            known: spent(&[(2, u32::MAX)]),
            ..attach(1, 1)
        },
        Attach {
            known: gone(&[1]),
            ..attach(1, 1)
        },
    ];
    for declaration in wrong {
        assert_eq!(
            table.attach(at(0), &declaration, true),
            Err(Refusal::Invalid)
        );
    }
    assert_eq!(
        who(&table.attach(at(0), &attach(1, 1), true).unwrap()),
        (2, 1)
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
fn a_grace_without_end_has_no_deadline_that_comes() {
    let mut table = table();
    table.timeout(at(2), 1024);
    table.attach(at(2), &attach(1, 1), false).unwrap();
    table.detached(at(3), InstanceId(1), Duration::MAX);
    table.timeout(Instant::from_nanos(u64::MAX - 1), 1024);
    assert!(table.identity(InstanceId(1)).is_some());
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
