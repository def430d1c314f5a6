use alloc::format;
use alloc::string::String;
use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::group::{Presence, Roster, RosterChange};
use crate::wire::NamespaceDeclaration;

fn given(n: u64) -> Assignment {
    Assignment {
        id: PeerId(u32::try_from(n).expect("a small number")),
        generation: Generation(1),
        name: None,
        id_changed: false,
        resumed: false,
        replaced: None,
    }
}

fn attach(n: u64, counter: u64) -> Attach {
    Attach {
        instance: InstanceId(n),
        counter,
        name: None,
        identity: None,
        handover: false,
        budget: 7,
        message_cap: 9,
        attachments: 16,
        reserve: 0,
        known: crate::wire::Known::default(),
        more: false,
        relayed: false,
        tied: false,
        elder: false,
    }
}

fn death(n: u64) -> RosterGone {
    RosterGone {
        id: given(n).id,
        generation: Generation(1),
        instance: InstanceId(n),
    }
}

fn declare(n: u64, version: u64, names: &[String]) -> Declare {
    Declare {
        instance: InstanceId(n),
        version,
        slice: 0,
        last: true,
        namespaces: vec![NamespaceDeclaration {
            ready: true,
            handlers: names.to_vec(),
            ..NamespaceDeclaration::default()
        }],
    }
}

fn names(count: usize, length: usize) -> Vec<String> {
    (0..count).map(|n| format!("{n:0>length$}")).collect()
}

/// A complete hub with these members, none of which has been told anything.
fn hub(members: u64) -> HubRoster {
    let mut hub = HubRoster::new(DeclareLimits::default(), true);
    for n in 1..=members {
        hub.attached(&attach(n, 1), &given(n));
        hub.subscribe(InstanceId(n));
    }
    hub
}

/// All updates that the member gets now, each as small as it has to be.
fn updates(hub: &mut HubRoster, member: u64) -> Vec<RosterUpdate> {
    let mut all = Vec::new();
    while let Some(update) = hub.next_update(InstanceId(member)) {
        let mut body = Vec::new();
        update.encode(&mut body);
        assert!(body.len() <= UPDATE + 64, "{} bytes", body.len());
        all.push(update);
        assert!(all.len() < 1000, "a quiet hub comes to an end");
    }
    assert!(!hub.has_update(InstanceId(member)));
    all
}

fn tell(hub: &mut HubRoster, member: u64, view: &mut Roster) -> Vec<RosterChange> {
    let updates = updates(hub, member);
    updates.iter().flat_map(|u| view.apply(u)).collect()
}

/// What the member knows is the truth.
fn assert_same(hub: &HubRoster, view: &Roster) {
    let mut known: Vec<_> = view.peers().collect();
    known.sort_by_key(|peer| peer.instance);
    assert_eq!(known.len(), hub.peers.len());
    for (peer, entry) in known.into_iter().zip(hub.peers.values()) {
        let truth = &entry.peer;
        assert_eq!(
            (peer.instance, peer.id, peer.generation, peer.name.clone()),
            (
                truth.instance,
                truth.id,
                truth.generation,
                truth.name.clone()
            )
        );
        assert_eq!(peer.presence == Presence::Attached, truth.attached);
        assert_eq!(peer.is_up, truth.up);
        let declared = entry.declared.parts().map(|parts| parts.concat());
        let declared = crate::group::declarations::Declarations::new(declared.unwrap_or_default());
        assert_eq!(peer.namespaces(), declared.namespaces());
    }
    assert_eq!(view.is_complete(), hub.complete);
}

#[test]
fn a_member_is_told_everybody_at_first_and_then_only_what_changes() {
    let mut hub = hub(3);
    let first = updates(&mut hub, 1);
    assert_eq!(first.len(), 1);
    assert!(first[0].snapshot && !first[0].more && first[0].complete);
    assert_eq!(first[0].peers.len(), 3);
    hub.detached(InstanceId(2));
    let next = updates(&mut hub, 1);
    assert_eq!(next.len(), 1);
    assert!(!next[0].snapshot);
    let told: Vec<_> = next[0]
        .peers
        .iter()
        .map(|p| (p.instance.0, p.attached))
        .collect();
    assert_eq!(told, [(2, false)]);
    assert!(next[0].version > first[0].version);
}

#[test]
fn a_member_that_does_not_read_is_told_only_the_last_state_of_each_peer() {
    let mut hub = hub(3);
    updates(&mut hub, 1);
    for counter in 2..1000 {
        hub.detached(InstanceId(2));
        hub.attached(&attach(2, counter), &given(2));
        hub.declare(&declare(3, counter, &names(1, 5))).unwrap();
    }
    assert!(hub.log.len() <= 2 * hub.peers.len());
    let next = updates(&mut hub, 1);
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].peers.len(), 2);
    assert!(next[0].peers.iter().all(|p| p.instance != InstanceId(1)));
}

#[test]
fn a_thousand_peers_come_in_updates_of_24_kib() {
    let mut hub = hub(1000);
    for n in 1..=1000 {
        hub.declare(&declare(n, 1, &names(4, 20))).unwrap();
    }
    let all = updates(&mut hub, 5);
    assert!(all.len() > 5);
    let (last, others) = all.split_last().unwrap();
    assert!(others.iter().all(|u| u.more && !u.complete));
    assert!(!last.more && last.complete);
    assert_eq!(all.iter().filter(|u| u.snapshot).count(), 1);
    let mut view = Roster::new();
    for update in &all {
        view.apply(update);
    }
    assert_same(&hub, &view);
}

#[test]
fn the_largest_declaration_goes_in_parts_and_does_not_stop_the_rest() {
    let mut hub = hub(3);
    let mut view = Roster::new();
    tell(&mut hub, 1, &mut view);
    hub.declare(&declare(2, 1, &names(1024, 255))).unwrap();
    hub.declare(&declare(3, 1, &names(1, 3))).unwrap();
    let all = updates(&mut hub, 1);
    assert!(all.len() > 10);
    for update in &all {
        let changes = view.apply(update);
        let up = RosterChange::Up {
            instance: InstanceId(2),
        };
        let is_last = update.peers.iter().any(|p| p.instance.0 == 2 && p.up);
        assert_eq!(changes.contains(&up), is_last);
    }
    assert_same(&hub, &view);
}

#[test]
fn a_declaration_that_changes_while_it_is_told_is_told_again() {
    let mut hub = hub(2);
    let mut view = Roster::new();
    tell(&mut hub, 1, &mut view);
    hub.declare(&declare(2, 1, &names(1024, 255))).unwrap();
    let first = hub.next_update(InstanceId(1)).unwrap();
    view.apply(&first);
    hub.declare(&declare(2, 2, &names(1024, 250))).unwrap();
    hub.detached(InstanceId(2));
    tell(&mut hub, 1, &mut view);
    assert_same(&hub, &view);
}

#[test]
fn a_peer_that_dies_while_its_declaration_is_told_is_gone() {
    let mut hub = hub(2);
    let mut view = Roster::new();
    tell(&mut hub, 1, &mut view);
    hub.declare(&declare(2, 1, &names(1024, 255))).unwrap();
    view.apply(&hub.next_update(InstanceId(1)).unwrap());
    hub.gone(death(2));
    let changes = tell(&mut hub, 1, &mut view);
    let gone = RosterChange::Gone {
        peer: death(2),
        known: true,
    };
    assert_eq!(changes, [gone]);
    assert_same(&hub, &view);
}

#[test]
fn who_misses_too_many_deaths_is_told_everything_anew() {
    let mut hub = hub(2);
    let mut view = Roster::new();
    tell(&mut hub, 1, &mut view);
    tell(&mut hub, 2, &mut Roster::new());
    hub.attached(&attach(3, 1), &given(3));
    tell(&mut hub, 1, &mut view);
    for n in 3..3 + 1025 {
        hub.attached(&attach(n, 1), &given(n));
        hub.gone(death(n));
    }
    assert!(hub.log.len() <= DEATHS + 2 * hub.peers.len());
    let all = updates(&mut hub, 1);
    assert!(all[0].snapshot);
    let gone = RosterChange::Gone {
        peer: death(3),
        known: true,
    };
    let mut changes = Vec::new();
    for update in &all {
        changes.extend(view.apply(update));
    }
    assert!(changes.contains(&gone));
    assert_same(&hub, &view);
}

#[test]
fn many_deaths_before_a_snapshot_do_not_make_it_begin_again_and_again() {
    let mut hub = hub(1000);
    for n in 0..1025 {
        hub.gone(RosterGone {
            id: PeerId(u32::MAX),
            generation: Generation(u32::MAX),
            instance: InstanceId(u64::MAX - n),
        });
    }
    let all = updates(&mut hub, 5);
    assert!(all.len() > 2);
    assert_eq!(all.iter().filter(|u| u.snapshot).count(), 1);
    let mut view = Roster::new();
    for update in &all {
        view.apply(update);
    }
    assert_same(&hub, &view);
}

#[test]
fn a_peer_that_dies_during_a_snapshot_does_not_stay_in_the_roster() {
    let mut hub = hub(1000);
    let mut view = Roster::new();
    let first = hub.next_update(InstanceId(5)).unwrap();
    assert!(first.more && first.peers.iter().any(|p| p.instance == InstanceId(1)));
    view.apply(&first);
    hub.gone(death(1));
    tell(&mut hub, 5, &mut view);
    assert_same(&hub, &view);
}

#[test]
fn a_peer_that_changes_during_a_snapshot_is_not_taken_for_absent() {
    let mut hub = hub(1000);
    let mut view = Roster::new();
    tell(&mut hub, 5, &mut view);
    hub.subscribe(InstanceId(5));
    view.apply(&hub.next_update(InstanceId(5)).unwrap());
    hub.detached(InstanceId(900));
    let changes = tell(&mut hub, 5, &mut view);
    let detached = RosterChange::Detached {
        instance: InstanceId(900),
    };
    assert_eq!(changes, [detached]);
    assert_same(&hub, &view);
}

#[test]
fn completeness_is_said_when_it_comes() {
    let mut hub = HubRoster::new(DeclareLimits::default(), false);
    hub.attached(&attach(1, 1), &given(1));
    hub.subscribe(InstanceId(1));
    let mut view = Roster::new();
    tell(&mut hub, 1, &mut view);
    assert!(!view.is_complete());
    hub.set_complete(true);
    assert!(hub.waiting().eq([InstanceId(1)]));
    assert_eq!(tell(&mut hub, 1, &mut view), [RosterChange::Completed]);
    assert_eq!(hub.waiting().count(), 0);
}

#[test]
fn a_peer_keeps_what_it_declared_when_it_attaches_again() {
    let mut hub = hub(2);
    let mut view = Roster::new();
    hub.declare(&declare(2, 1, &names(2, 4))).unwrap();
    tell(&mut hub, 1, &mut view);
    hub.detached(InstanceId(2));
    assert_eq!(
        hub.declare(&declare(2, 2, &[])),
        Err(DeclareFault::NotAttached)
    );
    // A count that does not rise is no reason to keep old paths.
    hub.attached(&attach(2, 1), &given(2));
    let again = RosterChange::Attached {
        instance: InstanceId(2),
        again: true,
    };
    assert_eq!(tell(&mut hub, 1, &mut view), [again]);
    assert!(view.by_instance(InstanceId(2)).unwrap().is_up);
    assert!(hub.declare(&declare(2, 1, &names(2, 4))).is_ok());
    assert!(!hub.has_update(InstanceId(1)));
}

#[test]
fn a_raised_generation_is_told() {
    let mut hub = hub(2);
    let mut view = Roster::new();
    tell(&mut hub, 1, &mut view);
    hub.identified(InstanceId(2), PeerId(2), Generation(10));
    let instance = InstanceId(2);
    let identified = RosterChange::Identified {
        instance,
        was: (PeerId(2), Generation(1)),
        announced: false,
    };
    let changes = [identified, RosterChange::Changed { instance }];
    assert_eq!(tell(&mut hub, 1, &mut view), changes);
    assert_same(&hub, &view);
}

#[test]
fn who_has_left_is_told_nothing() {
    let mut hub = hub(2);
    hub.gone(death(2));
    assert_eq!(hub.next_update(InstanceId(2)), None);
    hub.detached(InstanceId(1));
    assert_eq!(hub.next_update(InstanceId(1)), None);
    assert_eq!(hub.next_update(InstanceId(77)), None);
}

#[derive(Clone, Debug)]
enum Step {
    Attach(u64),
    Detach(u64),
    Die(u64),
    Declare(u64, usize),
    Tell(u64),
    Complete,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let peer = 2..8_u64;
    let step = prop_oneof![
        4 => peer.clone().prop_map(Step::Attach),
        2 => peer.clone().prop_map(Step::Detach),
        1 => peer.clone().prop_map(Step::Die),
        3 => (peer.clone(), 0..900_usize).prop_map(|(n, size)| Step::Declare(n, size)),
        8 => (1..3_u64).prop_map(Step::Tell),
        1 => Just(Step::Complete),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #[test]
    fn every_member_comes_to_know_the_truth(steps in steps()) {
        let mut hub = HubRoster::new(DeclareLimits::default(), false);
        let mut views = [Roster::new(), Roster::new()];
        let mut lives: BTreeMap<u64, u64> = BTreeMap::new();
        for n in [1, 2] {
            hub.attached(&attach(n, 1), &given(n));
            hub.subscribe(InstanceId(n));
        }
        for (version, step) in (1..).zip(steps) {
            // Each life of a peer is an instance of its own; 1 and 2, who are told, stay.
            let of = |n: u64, lives: &BTreeMap<u64, u64>| {
                n + 100 * lives.get(&n).copied().unwrap_or(0)
            };
            match step {
                Step::Attach(n) if n > 2 => {
                    let instance = of(n, &lives);
                    hub.attached(&attach(instance, version), &given(instance));
                }
                Step::Detach(n) if n > 2 => hub.detached(InstanceId(of(n, &lives))),
                Step::Die(n) if n > 2 => {
                    hub.gone(death(of(n, &lives)));
                    *lives.entry(n).or_default() += 1;
                }
                Step::Declare(n, size) => {
                    let _ = hub.declare(&declare(of(n, &lives), version, &names(size, 60)));
                }
                Step::Tell(n) => {
                    if let Some(update) = hub.next_update(InstanceId(n)) {
                        views[usize::from(n == 2)].apply(&update);
                    }
                }
                Step::Complete => hub.set_complete(true),
                _ => {}
            }
        }
        for (n, view) in (1..).zip(&mut views) {
            tell(&mut hub, n, view);
            assert_same(&hub, view);
        }
    }
}
