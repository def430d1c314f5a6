mod bounds;
mod control;
mod property;

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

/// Queues frames that begin with this one as a hub that has read all of them at once.
fn queue_run(queue: &mut Egress<Fd>, lead: Header, frames: u64, body: usize) {
    let mut bytes = BytesMut::new();
    for at in 0..frames {
        let mut frame = Vec::new();
        let sequence = lead.sequence + at;
        let header = Header { sequence, ..lead };
        let body = vec![at as u8; body + (at % 3) as usize];
        header.encode_with(|out| out.extend_from_slice(&body), &mut frame);
        bytes.extend_from_slice(&frame);
    }
    let mut deframer = Deframer::new();
    deframer.set_limit(limits::FRAME);
    deframer.push(bytes);
    while let Some(frame) = deframer.next().unwrap() {
        let header = frame.header;
        let pushed = queue.push(&frame, Vec::new(), false, || u64::MAX / 2);
        pushed.unwrap();
        while let Some(most) = queue.most_of_run(&header)
            && let Some(run) = deframer.run(Header::LEN, most)
        {
            queue.push_run(&header, &run);
        }
    }
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
