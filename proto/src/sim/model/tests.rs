//! Each promise broken once: a model that does not see it is worth nothing.

use super::*;

const A: Process = Process(1);
const B: Process = Process(2);
const C: Process = Process(3);
const FD: Description = Description(9);

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

/// Process A in slot 0, B in slot 1; A has sent messages 1 and 2 and request 3, due at 100 ms, to B.
fn world() -> Model {
    let mut model = Model::new();
    model.started(at(0), A, 0);
    model.started(at(0), B, 1);
    for uid in 1..=3 {
        let request = uid == 3;
        let accepted = Accepted {
            from: A,
            to: 1,
            namespace: 0,
            request,
            attachments: if uid == 2 {
                Vec::from([FD])
            } else {
                Vec::new()
            },
            deadline: request.then(|| at(100)),
        };
        model.accepted(at(0), Uid(uid), accepted);
    }
    model
}

fn everybody() -> BTreeSet<usize> {
    BTreeSet::from([0, 1])
}

#[track_caller]
fn broken(model: &Model, what: &str) {
    let seen = model.violations();
    assert!(
        seen.iter().any(|seen| seen.contains(what)),
        "{what}: {seen:?}"
    );
}

/// At rest, nothing may be open.
fn judge(model: &mut Model, present: &BTreeSet<usize>) {
    for what in model.open(present) {
        model.fail(what);
    }
}

fn run_well(model: &mut Model) {
    model.taken(B, Uid(1), 0, &[], false);
    model.taken(B, Uid(2), 0, &[FD], false);
    model.taken(B, Uid(3), 0, &[], false);
    model.outcome(at(5), A, Uid(3), Outcome::Reply(Uid(3)));
}

#[test]
fn a_world_that_keeps_its_promises_is_clean() {
    let mut model = world();
    run_well(&mut model);
    model.receipt(Uid(1));
    judge(&mut model, &everybody());
    assert!(model.violations().is_empty(), "{:?}", model.violations());
    assert_eq!(model.delivered(), 3);
}

#[test]
fn a_message_that_comes_twice_late_or_from_nowhere_is_seen() {
    let mut model = world();
    model.taken(B, Uid(2), 0, &[FD], false);
    model.taken(B, Uid(1), 0, &[], false);
    broken(&model, "came after");
    model.taken(B, Uid(1), 0, &[], false);
    broken(&model, "was taken by");
    model.taken(B, Uid(77), 0, &[], false);
    broken(&model, "nobody sent");
    model.taken(A, Uid(3), 0, &[], false);
    broken(&model, "came to slot");
}

#[test]
fn a_message_that_is_lost_in_silence_is_seen() {
    let mut model = world();
    run_well(&mut model);
    let accepted = model.messages[&Uid(1)].accepted.clone();
    model.accepted(at(6), Uid(4), accepted);
    judge(&mut model, &BTreeSet::from([0]));
    assert!(model.violations().is_empty(), "its receiver may yet come");
    judge(&mut model, &everybody());
    broken(&model, "neither taken nor given up");
}

#[test]
fn a_request_without_or_with_two_outcomes_is_seen() {
    let mut model = world();
    judge(&mut model, &everybody());
    broken(&model, "never had an outcome");
    model.outcome(at(5), A, Uid(3), Outcome::NotRun);
    model.outcome(at(5), A, Uid(3), Outcome::NotRun);
    broken(&model, "before");
    model.taken(B, Uid(3), 0, &[], false);
    broken(&model, "said not to have run");
}

#[test]
fn an_outcome_that_does_not_fit_what_happened_is_seen() {
    let mut model = world();
    model.outcome(at(5), A, Uid(3), Outcome::Failed);
    broken(&model, "had run nowhere");
    let mut model = world();
    model.outcome(at(5), A, Uid(3), Outcome::Unknown);
    broken(&model, "no cause");
    let mut model = world();
    model.taken(B, Uid(3), 0, &[], false);
    model.outcome(at(5), A, Uid(3), Outcome::NotRun);
    broken(&model, "had run");
    let mut model = world();
    model.taken(B, Uid(3), 0, &[], false);
    model.outcome(at(200), B, Uid(3), Outcome::Reply(Uid(2)));
    for what in ["repeats", "was told to", "was due"] {
        broken(&model, what);
    }
}

#[test]
fn a_death_of_which_the_sender_knew_is_no_cause() {
    let mut model = world();
    run_well(&mut model);
    model.died(at(10), B);
    model.gone(at(11), A, B);
    model.started(at(12), Process(3), 1);
    let accepted = model.messages[&Uid(1)].accepted.clone();
    model.accepted(at(13), Uid(4), accepted);
    model.fate(at(14), Uid(4), Fate::Unconfirmed, &[]);
    broken(&model, "no cause");
}

#[test]
fn a_sender_may_not_know_after_a_death_a_deadline_or_a_cancellation() {
    let mut dead = world();
    dead.died(at(3), B);
    dead.outcome(at(5), A, Uid(3), Outcome::Unknown);
    dead.fate(at(5), Uid(1), Fate::Unconfirmed, &[]);
    let mut late = world();
    late.outcome(at(100), A, Uid(3), Outcome::Unknown);
    let mut cancelled = world();
    cancelled.cancelled(Uid(3));
    cancelled.outcome(at(5), A, Uid(3), Outcome::Unknown);
    // Who is newer than the first loss of a process knows no more of the second.
    let mut again = world();
    again.separated(at(1), B);
    again.started(at(2), C, 2);
    let accepted = Accepted {
        from: C,
        ..again.messages[&Uid(1)].accepted.clone()
    };
    again.accepted(at(3), Uid(4), accepted);
    again.died(at(4), B);
    again.fate(at(5), Uid(4), Fate::Unconfirmed, &[]);
    // Who is newer than the loss itself, but not than the word of it.
    let mut unnoticed = world();
    unnoticed.separated(at(1), B);
    unnoticed.started(at(2), C, 2);
    let accepted = Accepted {
        from: C,
        ..unnoticed.messages[&Uid(1)].accepted.clone()
    };
    unnoticed.accepted(at(3), Uid(4), accepted);
    unnoticed.gone(at(5), A, B);
    unnoticed.fate(at(5), Uid(4), Fate::Unconfirmed, &[]);
    for model in [dead, late, cancelled, again, unnoticed] {
        assert!(model.violations().is_empty(), "{:?}", model.violations());
    }
    let mut none = world();
    none.fate(at(5), Uid(1), Fate::Unconfirmed, &[]);
    broken(&none, "no cause");
}

#[test]
fn attachments_that_are_lost_doubled_or_kept_back_are_seen() {
    let mut model = world();
    model.taken(B, Uid(2), 0, &[], false);
    broken(&model, "carried");
    let mut model = world();
    model.taken(B, Uid(2), 0, &[], true);
    broken(&model, "without a cause");
    let mut model = world();
    model.short_of_descriptors();
    model.taken(B, Uid(2), 0, &[], true);
    assert!(model.violations().is_empty(), "the receiver was told");
    let mut model = world();
    model.died(at(1), B);
    model.taken(B, Uid(2), 0, &[FD], false);
    model.fate(at(2), Uid(2), Fate::Unconfirmed, &[FD]);
    broken(&model, "gave back");
    let mut model = world();
    model.refused(Uid(5), &[FD], &[]);
    broken(&model, "got back");
}

#[test]
fn attachments_of_a_reply_that_are_lost_or_from_nowhere_are_seen() {
    let mut model = world();
    model.replied(Uid(3), Vec::from([FD]));
    model.brought(Uid(3), &[FD], false);
    assert!(model.violations().is_empty(), "{:?}", model.violations());
    model.brought(Uid(3), &[], false);
    broken(&model, "the reply to Uid(3) carried");
    let mut model = world();
    model.replied(Uid(3), Vec::from([FD]));
    model.brought(Uid(3), &[], true);
    broken(&model, "lost: true");
    let mut model = world();
    model.short_of_descriptors();
    model.replied(Uid(3), Vec::from([FD]));
    model.brought(Uid(3), &[], true);
    assert!(model.violations().is_empty(), "the requester was told");
}

#[test]
fn a_false_death_and_an_identity_given_twice_are_seen() {
    let mut model = world();
    model.gone(at(1), A, B);
    broken(&model, "which lives");
    model.identity(7, A, 1, 1);
    model.identity(7, A, 1, 1);
    model.identity(7, B, 2, 1);
    model.identity(7, B, 1, 1);
    broken(&model, "was given to");
    let mut model = world();
    model.identity(7, A, 1, 1);
    model.identity(8, B, 1, 1);
    assert!(
        model.violations().is_empty(),
        "another hub knows nothing of it"
    );
    model.present_as([(A, 1), (B, 1)]);
    broken(&model, "both have the id");
    let mut model = world();
    model.lives_as(A, 7);
    model.seen(B, 9, 7, 1, 1);
    model.answers_to(&[B], A, 1, 1);
    model.answers_to(&[B], C, 1, 2);
    model.answers_to(&[A], C, 1, 1);
    assert!(model.violations().is_empty());
    model.answers_to(&[A, B], C, 1, 1);
    broken(&model, "was 1#1");
    let mut model = world();
    model.lives_as(A, 7);
    model.seen(B, 9, 7, 1, 1);
    model.forgets(B);
    model.answers_to(&[B], C, 1, 1);
    assert!(model.violations().is_empty());
    model.seen(B, 9, 8, 2, 1);
    broken(&model, "which is nobody");
    model.lives_as(B, 7);
    broken(&model, "are both instance");
    let mut model = world();
    model.died(at(0), B);
    model.gone(at(1), A, B);
    assert!(model.violations().is_empty());
}

#[test]
fn a_receipt_before_the_message_was_taken_is_seen() {
    let mut model = world();
    model.receipt(Uid(1));
    broken(&model, "a receipt");
}
