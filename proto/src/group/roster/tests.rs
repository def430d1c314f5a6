use alloc::string::ToString;
use alloc::vec;

use super::*;

fn peer(instance: u64, id: u32, generation: u32) -> RosterPeer {
    RosterPeer {
        id: PeerId(id),
        generation: Generation(generation),
        instance: InstanceId(instance),
        name: None,
        attachment: 1,
        attached: true,
        up: true,
        attachments: 16,
        budget: 1,
        message_cap: 1,
        namespaces: None,
        reserve: 0,
    }
}

fn named(instance: u64, id: u32, generation: u32, text: &str) -> RosterPeer {
    RosterPeer {
        name: PeerName::new(text),
        ..peer(instance, id, generation)
    }
}

fn handling(handlers: &[&str], ready: bool) -> NamespaceDeclaration {
    NamespaceDeclaration {
        ready,
        handlers: handlers.iter().map(ToString::to_string).collect(),
        ..NamespaceDeclaration::default()
    }
}

fn declaring(instance: u64, id: u32, handlers: &[&str], ready: bool) -> RosterPeer {
    RosterPeer {
        namespaces: Some(vec![handling(handlers, ready)]),
        ..peer(instance, id, 1)
    }
}

fn gone(instance: u64, id: u32, generation: u32) -> RosterGone {
    RosterGone {
        id: PeerId(id),
        generation: Generation(generation),
        instance: InstanceId(instance),
    }
}

fn delta(peers: Vec<RosterPeer>, gone: Vec<RosterGone>) -> RosterUpdate {
    RosterUpdate {
        complete: true,
        peers,
        gone,
        ..RosterUpdate::default()
    }
}

fn snapshot(peers: Vec<RosterPeer>) -> RosterUpdate {
    RosterUpdate {
        snapshot: true,
        ..delta(peers, Vec::new())
    }
}

/// A complete roster of these.
fn roster(peers: Vec<RosterPeer>) -> Roster {
    let mut roster = Roster::new();
    roster.apply(&snapshot(peers));
    assert!(roster.is_complete());
    roster
}

fn instance(n: u64) -> InstanceId {
    InstanceId(n)
}

fn ended(instance: u64, id: u32, generation: u32) -> RosterChange {
    RosterChange::Gone {
        peer: gone(instance, id, generation),
        known: true,
    }
}

fn attached(n: u64, again: bool) -> RosterChange {
    RosterChange::Attached {
        instance: instance(n),
        again,
    }
}

fn up(n: u64) -> RosterChange {
    RosterChange::Up {
        instance: instance(n),
    }
}

fn changed(n: u64) -> RosterChange {
    RosterChange::Changed {
        instance: instance(n),
    }
}

#[test]
fn everybody_is_announced_once_and_the_roster_is_complete() {
    let mut roster = Roster::new();
    assert!(!roster.is_complete());
    let changes = roster.apply(&snapshot(vec![peer(10, 1, 1), peer(11, 2, 1)]));
    let first = [attached(10, false), up(10), attached(11, false), up(11)];
    assert_eq!(changes[..4], first);
    assert_eq!(changes[4..], [RosterChange::Completed]);
    assert_eq!(roster.apply(&delta(vec![peer(11, 2, 1)], vec![])), []);
}

#[test]
fn a_peer_is_up_when_its_declarations_are_in() {
    let mut roster = roster(vec![peer(10, 1, 1)]);
    let silent = RosterPeer {
        up: false,
        ..peer(11, 2, 1)
    };
    assert_eq!(
        roster.apply(&delta(vec![silent], vec![])),
        [attached(11, false)]
    );
    let declared = declaring(11, 2, &["add"], true);
    assert_eq!(roster.apply(&delta(vec![declared], vec![])), [up(11)]);
    let more = declaring(11, 2, &["add", "sub"], true);
    assert_eq!(
        roster.apply(&delta(vec![more.clone()], vec![])),
        [changed(11)]
    );
    assert_eq!(roster.apply(&delta(vec![more], vec![])), []);
}

#[test]
fn a_declaration_in_parts_replaces_the_former_when_the_last_part_is_in() {
    let mut roster = roster(vec![declaring(11, 2, &["old"], true)]);
    let part = |handler, up| RosterPeer {
        up,
        ..declaring(11, 2, &[handler], true)
    };
    assert_eq!(roster.apply(&delta(vec![part("a", false)], vec![])), []);
    let peer = roster.by_id(PeerId(2)).unwrap();
    assert!(peer.is_up && peer.handles("", "old") && !peer.handles("", "a"));
    assert_eq!(
        roster.apply(&delta(vec![part("b", true)], vec![])),
        [changed(11)]
    );
    let peer = roster.by_id(PeerId(2)).unwrap();
    assert!(peer.handles("", "a") && peer.handles("", "b") && !peer.handles("", "old"));
}

#[test]
fn a_snapshot_forgets_the_parts_that_came_before_it() {
    let mut roster = roster(vec![peer(11, 2, 1)]);
    let part = RosterPeer {
        up: false,
        ..declaring(11, 2, &["lost"], true)
    };
    roster.apply(&delta(vec![part], vec![]));
    roster.apply(&snapshot(vec![declaring(11, 2, &["add"], true)]));
    let peer = roster.by_id(PeerId(2)).unwrap();
    assert!(peer.handles("", "add") && !peer.handles("", "lost"));
}

#[test]
fn paths_to_a_peer_begin_anew_when_it_attaches_again() {
    let mut roster = roster(vec![peer(11, 2, 1)]);
    let away = RosterPeer {
        attached: false,
        ..peer(11, 2, 1)
    };
    let detached = RosterChange::Detached {
        instance: instance(11),
    };
    assert_eq!(roster.apply(&delta(vec![away.clone()], vec![])), [detached]);
    assert_eq!(roster.apply(&delta(vec![away], vec![])), []);
    assert_eq!(
        roster.apply(&delta(vec![peer(11, 2, 1)], vec![])),
        [attached(11, true)]
    );
    // Also when the time between was too short to be told of it.
    let back = RosterPeer {
        attachment: 3,
        ..peer(11, 2, 1)
    };
    assert_eq!(
        roster.apply(&delta(vec![back], vec![])),
        [attached(11, true)]
    );
}

#[test]
fn a_restarted_peer_is_found_by_its_name_with_its_new_generation() {
    let mut roster = roster(vec![named(11, 2, 1, "w")]);
    let changes = roster.apply(&delta(vec![named(12, 2, 2, "w")], vec![gone(11, 2, 1)]));
    assert_eq!(changes, [ended(11, 2, 1), attached(12, false), up(12)]);
    let w = PeerName::new("w").unwrap();
    assert_eq!(roster.by_name(&w).map(|p| p.instance), Some(instance(12)));
    assert_eq!(roster.peers().count(), 1);
    roster.apply(&delta(vec![], vec![gone(12, 2, 2)]));
    assert!(roster.by_id(PeerId(2)).is_none());
    assert_eq!(roster.fence(PeerId(2)), Some(Generation(2)));
    assert!(roster.by_name(&w).is_none());
}

#[test]
fn a_death_is_told_once_and_for_good() {
    let mut roster = roster(vec![peer(11, 2, 1)]);
    let death = delta(vec![], vec![gone(11, 2, 1)]);
    assert_eq!(roster.apply(&death), [ended(11, 2, 1)]);
    assert_eq!(roster.apply(&death), []);
    assert!(roster.is_gone(instance(11)));
    assert_eq!(roster.fence(PeerId(2)), Some(Generation(1)));
    assert!(roster.gone_instances().eq([instance(11)]));
    assert!(roster.fences().eq([(PeerId(2), Generation(1))]));
}

#[test]
fn the_death_of_somebody_never_seen_ends_what_was_received_from_it() {
    let mut roster = roster(vec![peer(10, 1, 1)]);
    let unseen = RosterChange::Gone {
        peer: gone(77, 5, 3),
        known: false,
    };
    assert_eq!(roster.apply(&delta(vec![], vec![gone(77, 5, 3)])), [unseen]);
}

#[test]
fn an_instance_that_is_gone_here_and_lives_for_the_hub_is_reported_to_it() {
    let mut roster = roster(vec![peer(10, 1, 1), peer(11, 2, 1)]);
    assert_eq!(roster.declare_gone(instance(11)), Some(ended(11, 2, 1)));
    assert_eq!(roster.declare_gone(instance(11)), None);
    assert_eq!(roster.declare_gone(instance(99)), None);
    let resurrected = |n| RosterChange::Resurrected {
        instance: instance(n),
    };
    let update = delta(vec![peer(11, 2, 1), peer(99, 3, 1)], vec![]);
    assert_eq!(roster.apply(&update), [resurrected(11), resurrected(99)]);
    assert!(roster.by_id(PeerId(2)).is_none());
}

#[test]
fn an_id_reused_by_a_hub_that_knew_no_better_does_not_make_its_holder_gone() {
    let mut roster = roster(vec![peer(11, 2, 9)]);
    roster.apply(&delta(vec![], vec![gone(11, 2, 9)]));
    let changes = roster.apply(&delta(vec![peer(12, 2, 1)], vec![]));
    assert_eq!(changes, [attached(12, false), up(12)]);
}

#[test]
fn the_loss_of_the_hub_makes_everybody_unknown_until_the_next_one_speaks() {
    let mut roster = roster(vec![peer(10, 1, 1), declaring(11, 2, &["add"], true)]);
    roster.hub_lost();
    assert!(!roster.is_complete());
    assert!(roster.peers().all(|p| p.presence == Presence::Unknown));
    assert_eq!(roster.with_handler("", "add").count(), 0);
    assert!(!roster.is_without_handler("", "sub"));
    let incomplete = RosterUpdate {
        complete: false,
        ..snapshot(vec![peer(20, 1, 2)])
    };
    assert_eq!(roster.apply(&incomplete), [attached(20, false), up(20)]);
    assert_eq!(
        roster.by_instance(instance(11)).map(|p| p.presence),
        Some(Presence::Unknown)
    );
    // The id of the lost hub stands for the new one.
    assert_eq!(
        roster.by_id(PeerId(1)).map(|p| p.instance),
        Some(instance(20))
    );
    // It has not declared itself at the new hub yet; what it declared before still stands.
    let silent = RosterPeer {
        up: false,
        attachment: 2,
        ..peer(11, 2, 1)
    };
    let incomplete = RosterUpdate {
        complete: false,
        ..delta(vec![silent], vec![])
    };
    assert_eq!(roster.apply(&incomplete), [attached(11, true), changed(11)]);
    assert_eq!(roster.with_handler("", "add").count(), 1);
    let changes = roster.apply(&delta(vec![], vec![]));
    assert_eq!(changes, [ended(10, 1, 1), RosterChange::Completed]);
    assert!(roster.is_gone(instance(10)));
}

#[test]
fn who_is_in_no_list_of_a_complete_snapshot_is_gone() {
    let mut roster = roster(vec![peer(10, 1, 1), peer(11, 2, 1), peer(12, 3, 4)]);
    let away = RosterPeer {
        attached: false,
        ..peer(11, 2, 1)
    };
    let first = RosterUpdate {
        more: true,
        complete: false,
        ..snapshot(vec![peer(10, 1, 1)])
    };
    assert_eq!(roster.apply(&first), []);
    assert!(roster.is_complete());
    let detached = RosterChange::Detached {
        instance: instance(11),
    };
    assert_eq!(
        roster.apply(&delta(vec![away], vec![])),
        [detached, ended(12, 3, 4)]
    );
}

#[test]
fn what_a_hub_says_before_its_snapshot_proves_no_absence() {
    let mut roster = roster(vec![peer(10, 1, 1), peer(11, 2, 1)]);
    roster.hub_lost();
    assert_eq!(roster.apply(&delta(vec![], vec![])), []);
    assert!(!roster.is_complete());
    assert_eq!(roster.peers().count(), 2);
}

#[test]
fn a_changed_id_moves_the_peer() {
    let mut roster = roster(vec![named(11, 2, 1, "w")]);
    let update = delta(vec![named(11, 5, 3, "v")], vec![]);
    let identified = RosterChange::Identified {
        instance: instance(11),
        was: (PeerId(2), Generation(1)),
        announced: true,
    };
    assert_eq!(roster.apply(&update), [identified, changed(11)]);
    assert!(roster.by_id(PeerId(2)).is_none());
    let (w, v) = (PeerName::new("w").unwrap(), PeerName::new("v").unwrap());
    assert!(roster.by_name(&w).is_none());
    let moved = roster.by_name(&v).map(|p| (p.id.0, p.generation.0));
    assert_eq!(moved, Some((5, 3)));
}

#[test]
fn a_missing_handler_is_final_only_when_nobody_can_still_declare_it() {
    let mut roster = roster(vec![declaring(10, 1, &[], true)]);
    assert!(roster.is_without_handler("", "add"));
    // Connected, nothing declared yet.
    let silent = RosterPeer {
        up: false,
        ..peer(11, 2, 1)
    };
    roster.apply(&delta(vec![silent], vec![]));
    assert!(!roster.is_without_handler("", "add"));
    // Declared, and the namespace is not ready.
    roster.apply(&delta(vec![declaring(11, 2, &[], false)], vec![]));
    assert!(!roster.is_without_handler("", "add"));
    assert!(roster.pending("").map(|p| p.id).eq([PeerId(2)]));
    // Another namespace, of which it has said nothing, is final.
    assert!(roster.is_without_handler("topic", "add"));
    roster.apply(&delta(vec![declaring(11, 2, &["sub"], true)], vec![]));
    assert!(roster.is_without_handler("", "add"));
    assert!(!roster.is_without_handler("", "sub"));
    // Who may come back with the handler is waited for, and not chosen meanwhile.
    let away = RosterPeer {
        attached: false,
        ..peer(11, 2, 1)
    };
    roster.apply(&delta(vec![away], vec![]));
    assert!(!roster.is_without_handler("", "sub"));
    assert_eq!(roster.with_handler("", "sub").count(), 0);
    roster.apply(&delta(vec![], vec![gone(11, 2, 1)]));
    assert!(roster.is_without_handler("", "sub"));
}

#[test]
fn peers_are_named_by_rising_id() {
    let listening = |n, id| RosterPeer {
        namespaces: Some(vec![NamespaceDeclaration {
            all_events: id == 3,
            listeners: vec!["tick".to_string()],
            ..handling(&["add"], true)
        }]),
        ..peer(n, id, 1)
    };
    let roster = roster(vec![listening(7, 3), listening(8, 1), listening(9, 2)]);
    let ids = |peers: &mut dyn Iterator<Item = &Peer>| peers.map(|p| p.id.0).collect::<Vec<_>>();
    assert_eq!(ids(&mut roster.peers()), [1, 2, 3]);
    assert_eq!(ids(&mut roster.with_handler("", "add")), [1, 2, 3]);
    assert_eq!(ids(&mut roster.listening("", "tick")), [1, 2, 3]);
    assert_eq!(ids(&mut roster.listening("", "tock")), [3]);
    assert_eq!(ids(&mut roster.with_handler("topic", "add")), [0_u32; 0]);
}
