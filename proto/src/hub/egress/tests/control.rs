//! Marks, wishes and questions that wait.

use super::*;

#[test]
fn marks_that_wait_are_one_with_the_last_totals_where_the_first_was() {
    let mut queue = unbounded();
    queue_up(&mut queue, event(A, 1), b"x");
    mark(&mut queue, 0, 0, 5, &[(1, 100), (3, 300)]);
    queue_up(&mut queue, event(A, 2), b"x");
    mark(&mut queue, 0, 0, 9, &[(2, 200), (3, 250)]);
    mark(&mut queue, 0, 0, 7, &[(1, 150)]);
    let frames = write_all(&mut queue);
    let kinds = [(Kind::EVENT, 1), (Kind::MARK, 0), (Kind::EVENT, 2)];
    assert_eq!(order(&frames), kinds);
    let merged = MarkBody::decode(&frames[1].1).unwrap();
    assert_eq!(merged.received, 9);
    let limits: Vec<(u32, u64)> = merged.credits.iter().map(|c| (c.flow, c.limit)).collect();
    assert_eq!(limits, [(1, 150), (2, 200), (3, 300)]);
    let taken: Vec<u64> = merged.credits.iter().map(|c| c.taken).collect();
    assert_eq!(taken, [75, 100, 150]);
}

#[test]
fn a_mark_that_left_is_not_said_again() {
    let mut queue = unbounded();
    mark(&mut queue, flags::ANSWER, 4, 5, &[(1, 100)]);
    assert_eq!(write_all(&mut queue).len(), 1);
    mark(&mut queue, 0, 0, 6, &[(2, 50)]);
    let frames = write_all(&mut queue);
    let alone = MarkBody::decode(&frames[0].1).unwrap();
    assert_eq!((alone.received, alone.path), (6, 0));
    assert_eq!(alone.credits.len(), 1);
    assert_eq!(frames[0].0.flags, 0);
}

#[test]
fn the_newest_answer_survives_the_marks_around_it() {
    let mut queue = unbounded();
    mark(&mut queue, 0, 0, 1, &[]);
    mark(&mut queue, flags::ANSWER, 4, 2, &[(1, 10)]);
    mark(&mut queue, flags::ANSWER, 5, 3, &[(1, 20)]);
    mark(&mut queue, 0, 0, 8, &[]);
    let frames = write_all(&mut queue);
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].0.flags, flags::ANSWER);
    let merged = MarkBody::decode(&frames[0].1).unwrap();
    assert_eq!((merged.received, merged.path), (8, 5));
    assert_eq!(merged.credits[0].limit, 20);
}

#[test]
fn that_a_rule_was_broken_survives_the_marks_around_it() {
    let mut queue = unbounded();
    mark(&mut queue, 0, 0, 1, &[]);
    mark(&mut queue, flags::BROKEN, 0, 0, &[]);
    mark(&mut queue, flags::ANSWER, 5, 3, &[]);
    let frames = write_all(&mut queue);
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].0.flags, flags::ANSWER | flags::BROKEN);
    assert_eq!(MarkBody::decode(&frames[0].1).unwrap().path, 5);
}

#[test]
fn only_the_last_wish_of_a_flow_waits_and_never_before_its_mark() {
    let mut queue = unbounded();
    let mut wish = |kind, flow, limit| {
        let mut body = Vec::new();
        if kind == Kind::BLOCKED {
            let (need, room, size) = (1, 0, 0);
            let wish = BlockedBody {
                limit,
                need,
                room,
                size,
            };
            wish.encode(&mut body);
        } else {
            ReclaimBody { limit }.encode(&mut body);
        }
        let header = Header {
            flow,
            ..header(kind, A, 0)
        };
        queue_up(&mut queue, header, &body);
    };
    wish(Kind::RECLAIM, 1, 100);
    wish(Kind::BLOCKED, 1, 40);
    wish(Kind::BLOCKED, 2, 50);
    wish(Kind::BLOCKED, 1, 60);
    wish(Kind::RECLAIM, 1, 200);
    mark(&mut queue, 0, 0, 1, &[(1, 200)]);
    let frames = write_all(&mut queue);
    let kinds: Vec<(Kind, u32)> = frames.iter().map(|(h, _)| (h.kind, h.flow)).collect();
    assert_eq!(kinds[0], (Kind::MARK, 0));
    assert_eq!(kinds[3], (Kind::RECLAIM, 1));
    assert_eq!(kinds.len(), 4);
    let limit = |at: usize| BlockedBody::decode(&frames[at].1).unwrap().limit;
    let blocked = if kinds[1].1 == 1 {
        [limit(1), limit(2)]
    } else {
        [limit(2), limit(1)]
    };
    assert_eq!(blocked, [60, 50]);
    assert_eq!(ReclaimBody::decode(&frames[3].1).unwrap().limit, 200);
}

#[test]
fn a_question_keeps_its_place_and_is_not_repeated() {
    let mut queue = unbounded();
    queue_up(&mut queue, event(A, 1), b"x");
    ask(&mut queue, 2);
    ask(&mut queue, 2);
    mark(&mut queue, 0, 0, 1, &[]);
    ask(&mut queue, 3);
    queue_up(&mut queue, event(A, 2), b"x");
    ask(&mut queue, 3);
    ask(&mut queue, 4);
    let frames = write_all(&mut queue);
    let kinds = [
        (Kind::EVENT, 1),
        (Kind::ASK, 0),
        (Kind::MARK, 0),
        (Kind::EVENT, 2),
        (Kind::ASK, 0),
    ];
    assert_eq!(order(&frames), kinds);
    assert_eq!(AskBody::decode(&frames[1].1).unwrap().path, 3);
    assert_eq!(AskBody::decode(&frames[4].1).unwrap().path, 4);
    assert_eq!(frames[1].0.hops, 1);
}

#[test]
fn a_question_that_waits_is_not_asked_twice_but_one_that_left_is() {
    let mut queue = unbounded();
    let mut tx = Transmitter::new();
    ask(&mut queue, 2);
    queue_up(&mut queue, event(A, 1), &[0; 3_000]);
    ask(&mut queue, 2);
    assert_eq!(queue.held().frames, 2);
    // The plan has room for the question only.
    tx.push(&pong(PLAN_MAX - 100));
    assert_eq!(plan(&mut queue, &mut tx).0.len(), 2);
    ask(&mut queue, 2);
    let kinds = [(Kind::EVENT, 1), (Kind::ASK, 0)];
    assert_eq!(order(&write_all(&mut queue)), kinds);
}

#[test]
fn a_malformed_mark_is_its_senders_fault_and_goes_no_further() {
    let mut queue = unbounded();
    for kind in [Kind::MARK, Kind::BLOCKED, Kind::ASK, Kind::RECLAIM] {
        let refused = push(&mut queue, header(kind, A, 0), b"?", vec![]).unwrap_err();
        assert!(matches!(refused.why, Overrun::Malformed(_)));
        assert_eq!(refused.why.close_code(), CloseCode::ProtocolViolation);
    }
    assert!(write_all(&mut queue).is_empty());
}
