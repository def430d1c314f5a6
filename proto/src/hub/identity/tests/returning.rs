//! Who was attached before: what it keeps, and for how long.

use super::*;

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
fn a_grace_without_end_has_no_deadline_that_comes() {
    let mut table = table();
    table.timeout(at(2), 1024);
    table.attach(at(2), &attach(1, 1), false).unwrap();
    table.detached(at(3), InstanceId(1), Duration::MAX);
    table.timeout(Instant::from_nanos(u64::MAX - 1), 1024);
    assert!(table.identity(InstanceId(1)).is_some());
}
