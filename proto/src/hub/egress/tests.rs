use alloc::vec;

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::link::fake::{Census, Fd};
use crate::link::tx::{PLAN_MAX, Written};
use crate::wire::{
    AskBody, BlockedBody, Credit, Deframer, Header, MarkBody, ReclaimBody, flags, limits,
};

const A: InstanceId = InstanceId(0xa);
const B: InstanceId = InstanceId(0xb);
const MEMBER: InstanceId = InstanceId(1);
const CHILD: InstanceId = InstanceId(2);

fn header(kind: Kind, source: InstanceId, sequence: u64) -> Header {
    let mut header = Header::new(kind, source, MEMBER);
    header.sequence = sequence;
    header.flow = u32::from(kind == Kind::EVENT || kind == Kind::REQUEST);
    header
}

fn event(source: InstanceId, sequence: u64) -> Header {
    header(Kind::EVENT, source, sequence)
}

fn push(
    queue: &mut Egress<Fd>,
    header: Header,
    body: &[u8],
    fds: Vec<Fd>,
) -> Result<(), Refused<Fd>> {
    push_within(queue, u64::MAX / 2, header, body, fds)
}

/// As [`push`], where the destination has no bound yet.
fn push_within(
    queue: &mut Egress<Fd>,
    bound: u64,
    header: Header,
    body: &[u8],
    fds: Vec<Fd>,
) -> Result<(), Refused<Fd>> {
    let mut bytes = Vec::new();
    header.encode_with(|out| out.extend_from_slice(body), &mut bytes);
    let mut deframer = Deframer::new();
    deframer.set_limit(limits::FRAME);
    deframer.push(BytesMut::from(&bytes[..]));
    let frame = deframer.next().unwrap().unwrap();
    let lost = header.flags & flags::ATTACHMENTS_LOST != 0;
    queue.push(&frame, fds, lost, || bound)
}

#[track_caller]
fn queue_up(queue: &mut Egress<Fd>, header: Header, body: &[u8]) {
    push(queue, header, body, vec![]).unwrap();
}

fn mark(queue: &mut Egress<Fd>, flag: u8, path: u32, received: u64, credits: &[(u32, u64)]) {
    let credit = |&(flow, limit)| Credit {
        flow,
        taken: limit / 2,
        limit,
        rooms: 0,
    };
    let mut body = Vec::new();
    let credits = credits.iter().map(credit).collect();
    MarkBody {
        received,
        path,
        credits,
    }
    .encode(&mut body);
    let mut header = header(Kind::MARK, A, 0);
    header.flags = flag;
    queue_up(queue, header, &body);
}

fn ask(queue: &mut Egress<Fd>, path: u32) {
    let mut body = Vec::new();
    AskBody { path }.encode(&mut body);
    queue_up(queue, header(Kind::ASK, A, 0), &body);
}

/// A control frame of the link itself, of `len` bytes.
fn pong(len: usize) -> Vec<u8> {
    let mut pong = Vec::new();
    Header::new(Kind::PONG, MEMBER, InstanceId::NONE).encode(len - Header::LEN, &mut pong);
    pong.resize(len, 0);
    pong
}

fn unbounded() -> Egress<Fd> {
    Egress::new(true)
}

/// The frames and attachments of the next plan.
fn plan(queue: &mut Egress<Fd>, tx: &mut Transmitter<Fd>) -> (Vec<(Header, Vec<u8>)>, usize) {
    queue.fill(tx);
    if !tx.commit() {
        return (vec![], 0);
    }
    let batch = tx.batch().unwrap();
    let attached = batch.attachments().len();
    let len = batch.len();
    let mut bytes = BytesMut::new();
    batch
        .slices()
        .for_each(|slice| bytes.extend_from_slice(slice));
    let _: crate::link::tx::Progress = tx.written(Written::Wrote(len)).unwrap();

    let mut frames = Vec::new();
    let mut deframer = Deframer::new();
    deframer.set_limit(limits::FRAME);
    deframer.push(bytes);
    while let Some(frame) = deframer.next().unwrap() {
        frames.push((frame.header, frame.body().to_vec()));
    }
    let single = frames.len() == 1;
    assert!(len <= PLAN_MAX || single, "a plan of {len} bytes");
    assert_eq!(deframer.buffered(), 0);
    let bearing = |(at, frame): (usize, &(Header, Vec<u8>))| {
        let carries = frame.0.flags & flags::ATTACHMENTS_LOST == 0;
        let count = if carries { frame.0.attachments } else { 0 };
        assert_eq!(usize::from(count), if at == 0 { attached } else { 0 });
    };
    frames.iter().enumerate().for_each(bearing);
    (frames, attached)
}

fn write_all(queue: &mut Egress<Fd>) -> Vec<(Header, Vec<u8>)> {
    let mut tx = Transmitter::new();
    let mut all = Vec::new();
    loop {
        let (frames, _) = plan(queue, &mut tx);
        if frames.is_empty() {
            break;
        }
        all.extend(frames);
    }
    assert!(queue.is_empty());
    assert_eq!(queue.held(), Held::default());
    all
}

fn order(frames: &[(Header, Vec<u8>)]) -> Vec<(Kind, u64)> {
    frames.iter().map(|(h, _)| (h.kind, h.sequence)).collect()
}

#[test]
fn a_frame_goes_on_as_it_came_but_for_its_hop() {
    let mut queue = unbounded();
    let mut sent = event(A, 7);
    sent.flags = flags::WANT_HANDLED;
    sent.hops = 3;
    for len in [0, 10, 4_096, 4_097, 200_000] {
        let body = vec![9; len];
        queue_up(&mut queue, sent, &body);
        let forwarded = Header { hops: 4, ..sent };
        assert_eq!(write_all(&mut queue), [(forwarded, body)]);
    }
}

#[test]
fn the_body_of_a_large_frame_is_not_copied() {
    let mut queue = unbounded();
    let mut bytes = BytesMut::new();
    let mut encoded = Vec::new();
    event(A, 1).encode(10_000, &mut encoded);
    encoded.resize(10_036, 5);
    bytes.extend_from_slice(&encoded);
    let mut deframer = Deframer::new();
    deframer.set_limit(limits::FRAME);
    deframer.push(bytes);
    let frame = deframer.next().unwrap().unwrap();
    queue.push(&frame, vec![], false, || u64::MAX).unwrap();

    let mut tx = Transmitter::new();
    queue.fill(&mut tx);
    assert!(tx.commit());
    let body = tx.batch().unwrap().slices().nth(1).unwrap();
    assert_eq!(body.as_ptr(), frame.body().as_ptr());
}

#[test]
fn small_neighbours_go_in_one_slice() {
    let mut queue = unbounded();
    for sequence in 1..=50 {
        queue_up(&mut queue, event(A, sequence), b"small");
        queue_up(&mut queue, event(B, sequence), b"small");
    }
    let mut tx = Transmitter::new();
    queue.fill(&mut tx);
    assert!(tx.commit());
    assert_eq!(tx.batch().unwrap().slices().count(), 1);
    assert_eq!(tx.batch().unwrap().len(), 100 * 41);
}

#[test]
fn hazard_q7_a_sender_of_much_delays_another_by_no_more_than_its_turn() {
    let mut queue = unbounded();
    for sequence in 1..=2_000 {
        queue_up(&mut queue, event(A, sequence), &[1; 500]);
    }
    queue_up(&mut queue, event(B, 1), b"small");
    let frames = write_all(&mut queue);
    let at = frames.iter().position(|(h, _)| h.source == B).unwrap();
    assert!(at * 536 <= 64 * 1024, "after {at} frames");
    assert_eq!(frames.len(), 2_001);
}

#[test]
fn hazard_q7_senders_of_large_and_of_small_frames_share_by_bytes() {
    let mut queue = unbounded();
    for sequence in 1..=5 {
        queue_up(&mut queue, event(A, sequence), &[1; 300_000]);
    }
    for sequence in 1..=10_000 {
        queue_up(&mut queue, event(B, sequence), &[1; 164]);
    }
    let frames = write_all(&mut queue);
    let (mut a, mut b) = (0_i64, 0_i64);
    for (header, body) in &frames {
        let len = (body.len() + Header::LEN) as i64;
        *(if header.source == A { &mut a } else { &mut b }) += len;
        let both_waiting = a < 1_500_180 && b < 2_000_000;
        assert!(!both_waiting || (a - b).abs() <= 300_036 + 2 * 64 * 1024);
    }
}

#[test]
fn hazard_q7_a_sender_that_was_quiet_has_saved_nothing() {
    let mut queue = unbounded();
    for sequence in 1..=50 {
        queue_up(&mut queue, event(A, sequence), b"small");
        assert_eq!(write_all(&mut queue).len(), 1);
    }
    for sequence in 51..=1_000 {
        queue_up(&mut queue, event(A, sequence), &[1; 500]);
    }
    queue_up(&mut queue, event(B, 1), b"small");
    let frames = write_all(&mut queue);
    let at = frames.iter().position(|(h, _)| h.source == B).unwrap();
    assert!(at * 536 <= 64 * 1024, "after {at} frames");
}

#[test]
fn the_end_of_one_sender_does_not_cost_the_next_its_turn() {
    let mut queue = unbounded();
    let mut tx = Transmitter::new();
    queue_up(&mut queue, event(A, 1), &[1; 60_000]);
    queue_up(&mut queue, event(A, 2), &[1; 60_000]);
    queue_up(&mut queue, event(B, 1), b"small");
    queue_up(&mut queue, event(MEMBER, 1), b"small");
    assert_eq!(plan(&mut queue, &mut tx).0.len(), 3);
    queue_up(&mut queue, event(B, 2), b"small");
    tx.push(&pong(PLAN_MAX - 100));
    let _: (Vec<_>, usize) = plan(&mut queue, &mut tx);
    queue_up(&mut queue, event(MEMBER, 2), b"small");
    queue.purge(A);
    let frames = write_all(&mut queue);
    assert!(frames[0].0.source == B, "{frames:?}");
}

#[test]
fn attachments_begin_a_plan_and_leave_the_rest_in_order() {
    let census = Census::default();
    let mut queue = unbounded();
    let mut tx = Transmitter::new();
    for sequence in 1..=4 {
        let mut header = event(A, sequence);
        header.attachments = if sequence % 2 == 0 { 2 } else { 0 };
        let fds = census.fds(0..u32::from(header.attachments));
        push(&mut queue, header, b"x", fds).unwrap();
    }
    assert_eq!(queue.held().attachments, 4);
    assert!(!queue.wants_plan_start());
    let plans = [(1, 0), (2, 2), (1, 2)];
    for (frames, attached) in plans {
        assert_eq!(queue.wants_plan_start(), attached > 0);
        let plan = plan(&mut queue, &mut tx);
        assert_eq!((plan.0.len(), plan.1), (frames, attached));
    }
    assert_eq!((census.open(), queue.attachments_dropped()), (0, 0));
    assert!(queue.is_empty());
}

#[test]
fn a_frame_whose_attachments_cannot_go_on_says_so() {
    let census = Census::default();
    let mut sent = event(A, 1);
    sent.attachments = 2;
    let lost = Header {
        flags: flags::ATTACHMENTS_LOST,
        hops: 1,
        ..sent
    };

    let mut queue = Egress::new(false);
    push(&mut queue, sent, b"x", census.fds([1, 2])).unwrap();
    assert_eq!((queue.attachments_dropped(), census.open()), (2, 0));
    assert_eq!(write_all(&mut queue), [(lost, b"x".to_vec())]);

    let mut queue = unbounded();
    sent.flags = flags::ATTACHMENTS_LOST;
    push(&mut queue, sent, b"x", vec![]).unwrap();
    assert_eq!(write_all(&mut queue), [(lost, b"x".to_vec())]);
}

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
fn hazard_q1_what_the_member_gave_no_credit_for_is_refused_and_given_back() {
    let census = Census::default();
    let mut queue = unbounded();
    push_within(&mut queue, 1_000, event(A, 1), &[0; 600], vec![]).unwrap();
    let mut large = event(B, 1);
    large.attachments = 1;
    let refused = push(&mut queue, large, &[0; 400], census.fds([1])).unwrap_err();
    assert_eq!(refused.why, Overrun::Credit);
    assert_eq!(refused.why.close_code(), CloseCode::CreditOverrun);
    assert_eq!(refused.attachments.len(), 1);
    // A small frame costs 128, so that messages are bounded with bytes.
    queue_up(&mut queue, event(B, 1), b"");
    queue_up(&mut queue, event(B, 2), b"");
    let refused = push(&mut queue, event(B, 3), b"", vec![]).unwrap_err();
    assert_eq!(refused.why, Overrun::Credit);
    // Marks and receipts need none.
    mark(&mut queue, 0, 0, 1, &[(1, 1)]);
    queue_up(&mut queue, header(Kind::RECEIPT, B, 3), b"");
    assert_eq!(queue.held().credited, 636 + 2 * 128);
    assert_eq!(queue.held_of(B).uncredited, 128);

    queue.rebound(|_| 2_000);
    queue_up(&mut queue, event(B, 4), b"");
    assert_eq!(write_all(&mut queue).len(), 6);
}

#[test]
fn hazard_q1_who_does_not_read_behind_a_link_fills_its_own_account_and_no_other() {
    let mut queue = unbounded();
    let for_child = |source, sequence| Header {
        destination: CHILD,
        ..event(source, sequence)
    };
    push_within(&mut queue, 1_000, for_child(A, 1), &[0; 600], vec![]).unwrap();
    queue_up(&mut queue, for_child(B, 1), &[0; 200]);
    let refused = push(&mut queue, for_child(B, 2), &[0; 200], vec![]).unwrap_err();
    assert_eq!(refused.why, Overrun::Credit);
    assert_eq!(
        queue.heaviest(CHILD),
        Some(A),
        "not who happened to come last"
    );
    assert_eq!(queue.heaviest(MEMBER), None);
    queue_up(&mut queue, event(B, 2), &[0; 5_000]);
    // What was taken back or purged is not charged any more.
    queue.purge(A);
    queue_up(&mut queue, for_child(B, 3), &[0; 600]);
    assert_eq!(queue.take_returned(CHILD).len(), 2);
    push_within(&mut queue, 1_000, for_child(A, 4), &[0; 900], vec![]).unwrap();
    assert_eq!(write_all(&mut queue).len(), 2);
    queue_up(&mut queue, for_child(A, 5), &[0; 900]);
}

#[test]
fn hazard_q1_attachments_are_counted_for_each_pair() {
    let census = Census::default();
    let mut queue = unbounded();
    let mut bearing = event(A, 1);
    bearing.attachments = 16;
    let for_child = Header {
        destination: CHILD,
        ..bearing
    };
    let fill = |queue: &mut Egress<Fd>, header| {
        let count = (0..).take_while(|_| push(queue, header, b"", census.fds(0..16)).is_ok());
        count.count()
    };
    assert_eq!(fill(&mut queue, bearing), 8);
    assert_eq!(fill(&mut queue, for_child), 8);
    assert_eq!(write_all(&mut queue).len(), 16);
    assert_eq!(fill(&mut queue, bearing), 8);
    assert_eq!(queue.take_returned(MEMBER).len(), 8);
    assert_eq!(fill(&mut queue, bearing), 8);
}

#[test]
fn hazard_q1_frames_without_credit_and_attachments_are_bounded_too() {
    let census = Census::default();
    let mut queue = unbounded();
    for sequence in 1..=65_536 {
        queue_up(&mut queue, header(Kind::RECEIPT, A, sequence), b"");
    }
    let refused = push(&mut queue, header(Kind::RECEIPT, A, 0), b"", vec![]).unwrap_err();
    assert_eq!(refused.why, Overrun::Uncredited);
    queue_up(&mut queue, header(Kind::RECEIPT, B, 1), b"");

    let mut bearing = event(B, 2);
    bearing.attachments = 16;
    for _ in 0..8 {
        push(&mut queue, bearing, b"", census.fds(0..16)).unwrap();
    }
    let refused = push(&mut queue, bearing, b"", census.fds(0..16)).unwrap_err();
    assert_eq!(refused.why, Overrun::Attachments);
    assert_eq!(refused.attachments.len(), 16);
    drop(refused);
    assert_eq!(census.open(), 128);
}

#[test]
fn hazard_q1_credit_for_ever_new_flows_is_bounded() {
    let mut queue = unbounded();
    let credits: Vec<(u32, u64)> = (1..=2_600).map(|flow| (flow, 1)).collect();
    mark(&mut queue, 0, 0, 1, &credits);
    mark(&mut queue, flags::ANSWER, 1, 1, &credits);
    let mut body = Vec::new();
    let credits = vec![Credit {
        flow: 9_999,
        ..Credit::default()
    }];
    MarkBody {
        received: 1,
        path: 0,
        credits,
    }
    .encode(&mut body);
    let refused = push(&mut queue, header(Kind::MARK, A, 0), &body, vec![]).unwrap_err();
    assert_eq!(refused.why, Overrun::Flows);
    assert_eq!(write_all(&mut queue).len(), 1);
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

#[test]
fn a_sender_that_is_gone_leaves_nothing_behind() {
    let census = Census::default();
    let mut queue = unbounded();
    let mut tx = Transmitter::new();
    for sequence in 1..=300 {
        queue_up(&mut queue, event(A, sequence), &[0; 500]);
        queue_up(&mut queue, event(B, sequence), b"x");
    }
    let mut bearing = event(A, 301);
    bearing.attachments = 1;
    push(&mut queue, bearing, b"", census.fds([1])).unwrap();
    mark(&mut queue, 0, 0, 1, &[]);
    let (first, _) = plan(&mut queue, &mut tx);
    let of_a = first.iter().filter(|(h, _)| h.source == A).count() as u64;
    assert!(of_a > 0 && of_a < 300);
    let purged = queue.purge(A);
    assert_eq!(purged.frames, 301 - of_a);
    assert_eq!((purged.attachments, census.open()), (1, 0));
    assert_eq!(queue.attachments_dropped(), 1);
    assert_eq!(queue.held_of(A), Held::default());
    assert_eq!(queue.purge(A), Held::default());
    let rest = write_all(&mut queue);
    let sequences: Vec<u64> = rest.iter().map(|(h, _)| h.sequence).collect();
    let of_b = first.len() as u64 - of_a;
    assert_eq!(sequences, (of_b + 1..=300).collect::<Vec<_>>());
}

#[test]
fn what_was_never_written_comes_back_when_the_member_dies() {
    let census = Census::default();
    let mut queue = unbounded();
    let mut tx = Transmitter::new();
    queue_up(&mut queue, header(Kind::REQUEST, A, 1), &[0; 60_000]);
    queue_up(&mut queue, header(Kind::REQUEST, A, 2), &[0; 60_000]);
    mark(&mut queue, 0, 0, 1, &[]);
    let mut bearing = header(Kind::REQUEST, B, 1);
    bearing.attachments = 1;
    push(&mut queue, bearing, b"", census.fds([1])).unwrap();
    queue_up(&mut queue, event(B, 2), b"");
    queue.fill(&mut tx);

    let unwritten: Vec<Unwritten<Fd>> = queue.drain().collect();
    let ids: Vec<_> = unwritten.iter().map(|u| (u.source, u.sequence)).collect();
    assert_eq!(ids, [(A, 2), (B, 1), (B, 2)]);
    let requests: Vec<bool> = unwritten.iter().map(Unwritten::may_be_request).collect();
    assert_eq!(requests, [true, true, false]);
    assert_eq!(unwritten[1].attachments.as_ref().unwrap().len(), 1);
    drop(unwritten);
    assert_eq!(census.open(), 0);
    assert!(queue.is_empty() && queue.held() == Held::default());
    queue_up(&mut queue, event(A, 3), b"");
    tx.discard();
    assert_eq!(write_all(&mut queue).len(), 1);
}

#[test]
fn what_is_for_a_dead_child_of_the_member_comes_back_alone() {
    let mut queue = unbounded();
    let for_child = |kind, sequence| Header {
        destination: CHILD,
        ..header(kind, A, sequence)
    };
    queue_up(&mut queue, event(A, 1), b"one");
    queue_up(&mut queue, for_child(Kind::REQUEST, 1), b"lost");
    let mut body = Vec::new();
    AskBody { path: 1 }.encode(&mut body);
    queue_up(&mut queue, for_child(Kind::ASK, 0), &body);
    let mut body = Vec::new();
    ReclaimBody { limit: 1 }.encode(&mut body);
    queue_up(&mut queue, for_child(Kind::RECLAIM, 0), &body);
    queue_up(&mut queue, event(A, 2), b"two");
    let returned = queue.take_returned(CHILD);
    assert_eq!(returned.len(), 2);
    assert_eq!((returned[0].kind, returned[0].sequence), (Kind::REQUEST, 1));
    assert_eq!(queue.held().frames, 2);
    let frames = write_all(&mut queue);
    assert_eq!(order(&frames), [(Kind::EVENT, 1), (Kind::EVENT, 2)]);
    assert_eq!(frames[1].1, b"two");
    // Should the instance be attached again, its conversation begins anew.
    queue_up(&mut queue, for_child(Kind::RECLAIM, 0), &body);
    assert_eq!(write_all(&mut queue).len(), 1);
}

#[test]
fn attachments_behind_what_was_taken_back_still_ask_for_the_start_of_a_plan() {
    let census = Census::default();
    let mut queue = unbounded();
    let for_child = Header {
        destination: CHILD,
        ..event(A, 1)
    };
    queue_up(&mut queue, for_child, b"lost");
    let mut bearing = event(A, 1);
    bearing.attachments = 1;
    push(&mut queue, bearing, b"", census.fds([1])).unwrap();
    assert!(!queue.wants_plan_start());
    assert_eq!(queue.take_returned(CHILD).len(), 1);
    assert!(queue.wants_plan_start());
    assert_eq!(write_all(&mut queue).len(), 1);
}

#[test]
fn an_idle_queue_gives_its_memory_back() {
    let mut queue = unbounded();
    for _ in 0..3 {
        for sequence in 1..=4_000 {
            queue_up(&mut queue, event(A, sequence), &[0; 1_000]);
        }
        assert_eq!(write_all(&mut queue).len(), 4_000);
        assert!(queue.stores.pool.bytes() <= 4 * 16 * 1024);
        assert!(
            queue
                .lanes
                .iter()
                .all(|(_, lane)| lane.idle_bytes() < 16 * 1024)
        );
    }
}

#[derive(Clone, Debug)]
enum Op {
    Event { source: u64, body: usize, fds: u8 },
    Mark { source: u64, answer: bool },
    Ask { source: u64 },
    Plan { before: usize },
    Purge { source: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    let source = || 0_u64..3;
    let body = prop_oneof![6 => 0_usize..300, 2 => 3_900_usize..9_000, 1 => Just(150_000)];
    let fds = prop_oneof![6 => Just(0_u8), 1 => 1_u8..4];
    prop_oneof![
        12 => (source(), body, fds).prop_map(|(source, body, fds)| Op::Event { source, body, fds }),
        4 => (source(), any::<bool>()).prop_map(|(source, answer)| Op::Mark { source, answer }),
        2 => source().prop_map(|source| Op::Ask { source }),
        4 => (0_usize..PLAN_MAX - Header::LEN).prop_map(|before| Op::Plan { before }),
        1 => source().prop_map(|source| Op::Purge { source }),
    ]
}

/// What one source has sent and the member has got.
#[derive(Default)]
struct Talk {
    sent: u64,
    purged: u64,
    got: u64,
    marked: u64,
    seen: u64,
    answer: Option<u32>,
    path: u32,
    asked: Option<u32>,
}

impl Talk {
    fn see(&mut self, header: &Header, body: &[u8]) {
        match header.kind {
            Kind::MARK => {
                let mark = MarkBody::decode(body).unwrap();
                assert!(mark.received >= self.seen);
                assert_eq!(mark.credits[0].limit, mark.received * 10);
                self.seen = mark.received;
                if header.flags & flags::ANSWER != 0 {
                    assert_eq!(self.answer.take(), Some(mark.path));
                }
            }
            Kind::ASK => {
                let path = AskBody::decode(body).unwrap().path;
                assert!(self.asked.is_none_or(|before| before < path));
                self.asked = Some(path);
            }
            _ => {
                self.got = self.got.max(self.purged) + 1;
                assert_eq!(header.sequence, self.got);
            }
        }
    }
}

proptest! {
    /// Whatever comes in between: order within a source, nothing lost or doubled, the last totals
    /// arrive, and attachments and accounts come out even.
    #[test]
    fn a_queue_passes_on_what_came_in_order(ops in prop::collection::vec(op(), 1..120)) {
        let census = Census::default();
        let mut queue = unbounded();
        let mut tx = Transmitter::new();
        let mut talks: [Talk; 3] = Default::default();
        let mut numbers = 0;
        let (mut attached, mut passed) = (0, 0);
        let finish = core::iter::repeat_n(Op::Plan { before: 0 }, 400);
        for op in ops.into_iter().chain(finish) {
            match op {
                Op::Event { source, body, fds } => {
                    let talk = &mut talks[source as usize];
                    talk.sent += 1;
                    let mut header = event(InstanceId(source), talk.sent);
                    let held = queue.held_of(InstanceId(source)).attachments;
                    let fds = fds.min((ATTACHMENTS_MAX - held) as u8);
                    header.attachments = fds;
                    attached += u64::from(fds);
                    let fds = census.fds(0..u32::from(fds));
                    push(&mut queue, header, &vec![1; body], fds).unwrap();
                }
                Op::Mark { source, answer } => {
                    let talk = &mut talks[source as usize];
                    talk.marked += 1;
                    numbers += 1;
                    let credits = vec![Credit { flow: 1, limit: talk.marked * 10, ..Credit::default() }];
                    let mark = MarkBody { received: talk.marked, path: numbers, credits };
                    let mut header = header(Kind::MARK, InstanceId(source), 0);
                    if answer {
                        header.flags = flags::ANSWER;
                        talk.answer = Some(numbers);
                    }
                    let mut body = Vec::new();
                    mark.encode(&mut body);
                    queue_up(&mut queue, header, &body);
                }
                Op::Ask { source } => {
                    let talk = &mut talks[source as usize];
                    talk.path += 1;
                    let mut body = Vec::new();
                    AskBody { path: talk.path }.encode(&mut body);
                    queue_up(&mut queue, header(Kind::ASK, InstanceId(source), 0), &body);
                }
                Op::Plan { before } => {
                    // Control frames of the link itself share its plans.
                    if before > 0 && !queue.wants_plan_start() {
                        tx.push(&pong(Header::LEN + before));
                    }
                    let (frames, fds) = plan(&mut queue, &mut tx);
                    passed += fds as u64;
                    for (header, body) in frames.iter().filter(|(h, _)| h.kind != Kind::PONG) {
                        talks[header.source.0 as usize].see(header, body);
                    }
                }
                Op::Purge { source } => {
                    let held = queue.held();
                    let purged = queue.purge(InstanceId(source));
                    prop_assert_eq!(queue.held().bytes, held.bytes - purged.bytes);
                    let talk = &mut talks[source as usize];
                    talk.purged = talk.sent;
                    talk.seen = talk.marked;
                    talk.asked = Some(talk.path);
                    talk.answer = None;
                }
            }
            let parts = (0..3).map(|source| queue.held_of(InstanceId(source)));
            let mut sum = Held::default();
            parts.for_each(|part| sum.add(part));
            prop_assert_eq!(sum, queue.held());
            prop_assert_eq!(queue.stores.quotas.held(), queue.held().credited);
            prop_assert_eq!(census.open(), queue.held().attachments);
        }
        prop_assert!(queue.is_empty());
        for talk in &talks {
            prop_assert_eq!(talk.got.max(talk.purged), talk.sent);
            prop_assert_eq!(talk.seen, talk.marked);
            prop_assert_eq!(talk.asked.unwrap_or(0), talk.path);
            prop_assert_eq!(talk.answer, None);
        }
        prop_assert_eq!(attached, passed + queue.attachments_dropped());
    }
}
