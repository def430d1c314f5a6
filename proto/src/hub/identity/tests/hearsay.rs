//! What members say of others to a new hub.

use super::*;

#[test]
fn whom_a_member_holds_for_gone_is_gone_for_all() {
    let mut table = table();
    let elder = Attach {
        counter: 2,
        elder: true,
        ..named(1, "w")
    };
    table.attach(at(0), &elder, false).unwrap();
    let witness = Attach {
        counter: 2,
        elder: true,
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
fn who_had_to_ask_the_same_hub_twice_has_had_no_other() {
    let mut table = table();
    let asked_again = Attach {
        elder: false,
        ..attach(1, 2)
    };
    table.attach(at(0), &asked_again, false).unwrap();
    let liar = Attach {
        known: gone(&[1]),
        ..attach(2, 9)
    };
    table.attach(at(1), &liar, true).unwrap();
    table.detached(at(2), InstanceId(1), GRACE);
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
fn who_holds_the_hub_for_gone_comes_back_as_a_new_instance() {
    let mut table = table();
    table.attach(at(0), &named(1, "w"), false).unwrap();
    let stranger = Attach {
        counter: 2,
        elder: true,
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
