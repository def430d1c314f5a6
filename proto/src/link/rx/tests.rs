use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::link::fake::{Census, Fd, Stream, frame, numbers};
use crate::link::tx::{Progress, Transmitter, Written};
use crate::wire::{Kind, limits};

/// Sequence, attachments and loss of every frame that is whole.
type Seen = Vec<(u64, Vec<u32>, bool)>;

fn receiver() -> Receiver<Fd> {
    let mut rx = Receiver::new();
    rx.set_limit(limits::FRAME);
    rx
}

fn push(rx: &mut Receiver<Fd>, bytes: &[u8], fds: Vec<Fd>, truncated: bool) {
    rx.push(BytesMut::from(bytes), fds, truncated);
}

fn drain(rx: &mut Receiver<Fd>) -> Result<Seen, RxFault> {
    let mut seen = Seen::new();
    while let Some(received) = rx.next()? {
        let sequence = received.frame.header.sequence;
        seen.push((sequence, numbers(&received.attachments), received.lost));
    }
    Ok(seen)
}

fn read_all(stream: &mut Stream, len: usize) -> Result<Seen, RxFault> {
    let mut rx = receiver();
    let mut seen = Seen::new();
    while let Some(read) = stream.read(len, usize::MAX) {
        rx.push(read.bytes, read.fds, read.truncated);
        seen.extend(drain(&mut rx)?);
    }
    assert_eq!(rx.half_read(), None);
    assert_eq!((rx.unclaimed(), rx.dropped()), (0, 0));
    Ok(seen)
}

/// What the kernel does is measured: plain bytes and a later write with attachments come in one
/// read, and a short read leaves a tail that the next one merges with the next write.
#[test]
fn hazard_f1_f2_every_split_and_merge_gives_each_frame_its_own() {
    let census = Census::default();
    for bearing in 0_u32..64 {
        for joined in 0_u32..64 {
            for len in [1, 2, 15, 20, 36, 37, 41, 64, 1_000] {
                let mut stream = Stream::default();
                let mut write = (Vec::new(), Vec::new());
                let mut sent = Seen::new();
                for number in 0..6_u32 {
                    let count = (bearing >> number & 1) * (1 + number % 3);
                    let fds: Vec<u32> = (0..count).map(|i| number * 10 + i).collect();
                    // A frame with attachments begins a write; others may follow in it.
                    let begins = count > 0 || joined >> number & 1 == 0;
                    if begins && !write.0.is_empty() {
                        let (bytes, fds): (Vec<u8>, Vec<Fd>) = core::mem::take(&mut write);
                        stream.write(&bytes, fds);
                    }
                    let body = number as usize % 4;
                    let number = u64::from(number);
                    write
                        .0
                        .extend(frame(Kind::EVENT, number, count as u8, body));
                    write.1.extend(census.fds(fds.iter().copied()));
                    sent.push((number, fds, false));
                }
                stream.write(&write.0, write.1);
                let seen = read_all(&mut stream, len);
                assert_eq!(seen, Ok(sent), "{bearing:b} {joined:b} {len}");
            }
        }
    }
    assert_eq!(census.open(), 0);
}

#[test]
fn attachments_wait_for_the_rest_of_their_frame() {
    let census = Census::default();
    let mut rx = receiver();
    let bytes = frame(Kind::EVENT, 1, 2, 10);
    push(&mut rx, &bytes[..1], census.fds([5, 6]), false);
    assert_eq!(drain(&mut rx), Ok(vec![]));
    push(&mut rx, &bytes[1..40], vec![], false);
    assert_eq!(drain(&mut rx), Ok(vec![]));
    assert_eq!(rx.unclaimed(), 2);
    push(&mut rx, &bytes[40..], vec![], false);
    assert_eq!(drain(&mut rx), Ok(vec![(1, vec![5, 6], false)]));
    assert_eq!(rx.unclaimed(), 0);
}

#[test]
fn hazard_f6_what_the_kernel_cut_off_marks_the_frame_and_no_other() {
    let census = Census::default();
    let mut rx = receiver();
    push(&mut rx, &frame(Kind::EVENT, 1, 0, 4), vec![], false);
    // Five were sent; the process had two free descriptors.
    push(
        &mut rx,
        &frame(Kind::EVENT, 2, 5, 4),
        census.fds([1, 2]),
        true,
    );
    push(
        &mut rx,
        &frame(Kind::EVENT, 3, 1, 4),
        census.fds([3]),
        false,
    );
    push(&mut rx, &frame(Kind::EVENT, 4, 1, 4), vec![], true);
    let seen = drain(&mut rx);
    let none = Vec::new;
    assert_eq!(
        seen,
        Ok(vec![
            (1, none(), false),
            (2, none(), true),
            (3, vec![3], false),
            (4, none(), true)
        ])
    );
    assert_eq!(rx.dropped(), 2);
    assert_eq!(census.open(), 0);
}

#[test]
fn hazard_f6_a_frame_whose_attachments_a_hub_lost_takes_nobody_elses() {
    let census = Census::default();
    let mut rx = receiver();
    let mut bytes = frame(Kind::EVENT, 1, 1, 0);
    bytes[Header::FLAGS_AT] |= flags::ATTACHMENTS_LOST;
    bytes.extend(frame(Kind::EVENT, 2, 1, 0));
    push(&mut rx, &bytes, census.fds([7]), false);
    let seen = drain(&mut rx);
    assert_eq!(seen, Ok(vec![(1, vec![], true), (2, vec![7], false)]));
}

#[test]
fn hazard_f6_fewer_than_announced_without_a_cut_end_the_link() {
    let census = Census::default();
    let mut rx = receiver();
    push(
        &mut rx,
        &frame(Kind::EVENT, 1, 2, 0),
        census.fds([1]),
        false,
    );
    assert_eq!(drain(&mut rx), Err(RxFault::AttachmentsUnclear));
    assert_eq!(rx.dropped(), 1);
    assert_eq!(census.open(), 0);
}

#[test]
fn attachments_never_fill_up_the_set_of_another_read() {
    let census = Census::default();
    for (announced, arrived) in [(2, 1), (1, 0)] {
        let mut rx = receiver();
        let first = frame(Kind::EVENT, 1, announced, 0);
        push(&mut rx, &first[..20], census.fds(0..arrived), false);
        let mut rest = first[20..].to_vec();
        rest.extend(frame(Kind::EVENT, 2, 1, 0));
        push(&mut rx, &rest, census.fds([7]), false);
        assert!(matches!(rx.next(), Err(RxFault::AttachmentsUnclear)));
        assert_eq!(rx.dropped(), u64::from(arrived) + 1);
        assert_eq!(census.open(), 0);
    }
}

#[test]
fn hazard_f11_attachments_that_nobody_announced_end_the_link() {
    let census = Census::default();
    for (bytes, fds) in [
        (frame(Kind::EVENT, 1, 0, 4), vec![1]),
        (frame(Kind::EVENT, 1, 1, 4), vec![1, 2]),
        (vec![], vec![1]),
    ] {
        let mut rx = receiver();
        let count = fds.len();
        push(&mut rx, &bytes, census.fds(fds), false);
        assert_eq!(drain(&mut rx), Err(RxFault::AttachmentsUnclear));
        // The frame whose set was taken has it dropped with it by `drain`.
        assert!(rx.dropped() <= count as u64 && rx.dropped() > 0);
        assert_eq!(census.open(), 0);
    }
}

#[test]
fn hazard_f11_unannounced_attachments_are_found_before_a_later_frame_could_take_them() {
    let census = Census::default();
    let mut rx = receiver();
    push(
        &mut rx,
        &frame(Kind::EVENT, 1, 0, 4),
        census.fds([1]),
        false,
    );
    push(
        &mut rx,
        &frame(Kind::EVENT, 2, 1, 4),
        census.fds([2]),
        false,
    );
    let first = rx.next().unwrap().unwrap();
    assert!(first.attachments.is_empty());
    assert_eq!(drain(&mut rx), Err(RxFault::AttachmentsUnclear));
}

#[test]
fn a_frame_with_more_attachments_than_are_taken_comes_marked_and_the_next_one_whole() {
    let census = Census::default();
    let mut rx = receiver();
    rx.set_attachment_limit(2);
    let (three, two) = (frame(Kind::EVENT, 1, 3, 4), frame(Kind::EVENT, 2, 2, 4));
    push(&mut rx, &three, census.fds([1, 2, 3]), false);
    push(&mut rx, &two, census.fds([4, 5]), false);
    assert_eq!(
        drain(&mut rx),
        Ok(vec![(1, vec![], true), (2, vec![4, 5], false)])
    );
    assert_eq!((rx.dropped(), census.open()), (3, 0));
}

#[test]
fn hazard_f11_a_peer_cannot_pile_attachments_up_in_a_frame_that_never_ends() {
    let census = Census::default();
    let mut rx = Receiver::with_max_unclaimed(3);
    let bytes = frame(Kind::EVENT, 1, 16, 100);
    for at in 0..2 {
        push(&mut rx, &bytes[at..=at], census.fds([1]), false);
        assert_eq!(drain(&mut rx), Ok(vec![]));
    }
    push(&mut rx, &bytes[2..3], census.fds([1, 1]), false);
    assert_eq!(drain(&mut rx), Err(RxFault::AttachmentsUnclear));
    assert_eq!((rx.dropped(), census.open()), (4, 0));

    let mut rx = Receiver::<Fd>::with_max_unclaimed(3);
    for at in 0..4 {
        push(&mut rx, &bytes[at..=at], vec![], true);
    }
    assert_eq!(drain(&mut rx), Err(RxFault::AttachmentsUnclear));
}

#[test]
fn hazard_w9_a_frame_of_unknown_kind_takes_its_attachments_with_it() {
    let census = Census::default();
    let mut rx = receiver();
    push(&mut rx, &frame(Kind(0x7f), 1, 1, 4), census.fds([1]), false);
    push(
        &mut rx,
        &frame(Kind::EVENT, 2, 1, 4),
        census.fds([2]),
        false,
    );
    let seen = drain(&mut rx);
    assert_eq!(seen, Ok(vec![(1, vec![1], false), (2, vec![2], false)]));
}

#[test]
fn a_fault_stays_and_holds_nothing() {
    let census = Census::default();
    let mut rx = receiver();
    push(&mut rx, &[0; 40], census.fds([1]), false);
    let fault = drain(&mut rx).unwrap_err();
    assert_eq!(fault, RxFault::Wire(WireError::Truncated));
    assert_eq!(fault.close_code(), CloseCode::ProtocolViolation);
    push(
        &mut rx,
        &frame(Kind::EVENT, 1, 1, 0),
        census.fds([2]),
        false,
    );
    assert_eq!(drain(&mut rx), Err(fault));
    assert_eq!((rx.dropped(), census.open()), (2, 0));
    assert_eq!(rx.half_read(), None);
}

#[test]
fn hazard_w1_a_frame_above_the_limit_says_so() {
    let mut rx = Receiver::<Fd>::new();
    push(&mut rx, &u32::MAX.to_be_bytes(), vec![], false);
    let fault = drain(&mut rx).unwrap_err();
    assert_eq!(fault.close_code(), CloseCode::FrameTooLarge);
}

#[test]
fn the_end_of_a_link_drops_and_counts_what_was_held() {
    let census = Census::default();
    let mut rx = receiver();
    push(
        &mut rx,
        &frame(Kind::EVENT, 1, 2, 9)[..20],
        census.fds([1, 2]),
        false,
    );
    assert_eq!(drain(&mut rx), Ok(vec![]));
    rx.discard();
    assert_eq!((rx.dropped(), census.open()), (2, 0));
}

#[test]
fn hazard_w2_a_half_read_frame_keeps_its_name_while_bytes_trickle() {
    let mut rx = receiver();
    let bytes = frame(Kind::EVENT, 1, 0, 4);
    push(&mut rx, &bytes, vec![], false);
    assert_eq!(drain(&mut rx).unwrap().len(), 1);
    assert_eq!(rx.half_read(), None);
    let mut names = Vec::new();
    for at in 0..bytes.len() - 1 {
        push(&mut rx, &bytes[at..=at], vec![], false);
        assert_eq!(drain(&mut rx), Ok(vec![]));
        names.push(rx.half_read().unwrap());
    }
    names.dedup();
    assert_eq!(names, [bytes.len() as u64]);
    // The last byte, and the first of the next frame with it.
    push(&mut rx, &[bytes[39], bytes[0]], vec![], false);
    assert_eq!(drain(&mut rx).unwrap().len(), 1);
    assert_eq!(rx.half_read(), Some(2 * bytes.len() as u64));
}

/// A frame of the property test: attachments, body, and whether it starts a plan of its own.
fn sent_frames() -> impl Strategy<Value = Vec<(u8, usize, bool)>> {
    let body = prop_oneof![4 => 0_usize..100, 1 => 4_000_usize..20_000];
    prop::collection::vec((0_u8..4, body, any::<bool>()), 1..30)
}

proptest! {
    /// The two ends of a link with the kernel between them: whatever the kernel splits, merges and
    /// cuts off, every frame arrives in order with its own attachments or marked, and none is
    /// lost, doubled or left open.
    #[test]
    fn a_link_passes_every_attachment_once(
        frames in sent_frames(),
        writes in prop::collection::vec(1_usize..9_000, 1..20),
        reads in prop::collection::vec(
            (1_usize..9_000, prop_oneof![3 => Just(usize::MAX), 1 => 0_usize..3]),
            1..20,
        ),
    ) {
        let census = Census::default();
        let mut tx = Transmitter::new();
        let mut rx = receiver();
        let mut stream = Stream::default();
        let (mut writes, mut reads) = (writes.into_iter().cycle(), reads.into_iter().cycle());
        let mut sent = Vec::new();
        let mut seen = Seen::new();
        let mut pending = frames.into_iter().enumerate().peekable();
        while pending.peek().is_some() || !tx.is_idle() {
            if tx.is_idle() {
                while let Some((number, (count, body, alone))) = pending.next() {
                    let fds: Vec<u32> = (0..u32::from(count)).collect();
                    if count > 0 {
                        tx.attach(Arc::new(census.fds(fds.iter().copied())));
                    }
                    tx.push(&frame(Kind::EVENT, number as u64, count, body));
                    sent.push((number as u64, fds));
                    let next = pending.peek();
                    if alone || next.is_none_or(|(_, (count, body, _))| {
                        *count > 0 || !tx.fits(Header::LEN + body)
                    }) {
                        break;
                    }
                }
                prop_assert!(tx.commit());
            }
            let batch = tx.batch().unwrap();
            let wrote = stream.send(&batch, writes.next().unwrap());
            let _: Progress = tx.written(Written::Wrote(wrote)).unwrap();
            let (len, slots) = reads.next().unwrap();
            if let Some(read) = stream.read(len, slots) {
                rx.push(read.bytes, read.fds, read.truncated);
                seen.extend(drain(&mut rx).unwrap());
            }
        }
        for (len, slots) in reads {
            let Some(read) = stream.read(len, slots) else { break };
            rx.push(read.bytes, read.fds, read.truncated);
            seen.extend(drain(&mut rx).unwrap());
        }
        prop_assert_eq!(seen.len(), sent.len());
        for ((sequence, fds, lost), (number, sent)) in seen.iter().zip(&sent) {
            prop_assert_eq!(sequence, number);
            prop_assert_eq!(fds, if *lost { &[][..] } else { &sent[..] });
            prop_assert!(!lost || !sent.is_empty());
        }
        prop_assert_eq!((rx.half_read(), rx.unclaimed(), rx.buffered()), (None, 0, 0));
        prop_assert_eq!(census.open(), 0);
    }
}
