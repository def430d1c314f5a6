use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::link::fake::{Census, Fd, numbers};

fn bytes_of<F>(tx: &Transmitter<F>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for slice in tx.batch().unwrap().slices() {
        bytes.extend_from_slice(slice);
    }
    bytes
}

fn attached(census: &Census, frame: &[u8], fds: &[u32]) -> Transmitter<Fd> {
    let mut tx = Transmitter::new();
    tx.attach(Arc::new(census.fds(fds.iter().copied())));
    tx.push(frame);
    assert!(tx.commit());
    tx
}

#[test]
fn small_frames_go_in_one_slice() {
    let mut tx = Transmitter::<Fd>::new();
    tx.push(b"one");
    tx.push(b"two");
    tx.push_with_payload(b"head", Bytes::from_static(b"payload"));
    assert!(tx.commit());
    let batch = tx.batch().unwrap();
    assert_eq!(batch.slices().count(), 1);
    assert_eq!(bytes_of(&tx), b"onetwoheadpayload");
    assert_eq!(batch.len(), 17);
}

#[test]
fn a_large_payload_is_lent_where_it_lies() {
    let payload = Bytes::from(vec![7; COPY_MAX + 1]);
    let mut tx = Transmitter::<Fd>::new();
    tx.push_with_payload(b"head", payload.clone());
    tx.push(b"tail");
    assert!(tx.commit());
    let slices: Vec<&[u8]> = tx.batch().unwrap().slices().collect();
    assert_eq!(slices.len(), 3);
    assert_eq!(slices[1].as_ptr(), payload.as_ptr());
    assert_eq!(slices[2], b"tail");
}

#[test]
fn an_empty_plan_is_nothing_to_write() {
    let mut tx = Transmitter::<Fd>::new();
    assert!(!tx.commit());
    assert!(tx.is_idle());
    assert!(tx.batch().is_none());
}

#[test]
fn a_committed_plan_takes_nothing_more() {
    let mut tx = Transmitter::<Fd>::new();
    assert_eq!(tx.room(), PLAN_MAX);
    tx.push(b"frame");
    assert_eq!(tx.room(), PLAN_MAX - 5);
    assert!(!tx.can_attach());
    assert!(tx.commit());
    assert_eq!(tx.room(), 0);
    assert!(!tx.fits(1));
    assert!(!tx.can_attach());
    assert!(!tx.is_idle());
    assert_eq!(tx.written(Written::Wrote(5)), Ok(Progress::Done));
    assert!(tx.is_idle() && tx.can_attach() && tx.fits(1));
}

#[test]
fn a_frame_larger_than_a_plan_goes_alone() {
    let mut tx = Transmitter::<Fd>::new();
    assert!(tx.fits(PLAN_MAX + 1));
    tx.push(&[0; PLAN_MAX + 1]);
    assert_eq!(tx.room(), 0);
    assert!(!tx.fits(1));
}

#[test]
fn hazard_f3_attachments_go_once_however_little_is_written() {
    let census = Census::default();
    let mut tx = attached(&census, b"frame", &[8, 9]);
    assert_eq!(numbers(tx.batch().unwrap().attachments()), [8, 9]);
    assert_eq!(tx.written(Written::Wrote(1)), Ok(Progress::Partial));
    assert!(tx.batch().unwrap().attachments().is_empty());
    assert_eq!(bytes_of(&tx), b"rame");
    assert_eq!(tx.written(Written::Wrote(4)), Ok(Progress::Done));
    assert_eq!(census.open(), 0);
}

#[test]
fn hazard_f3_attachments_go_again_when_nothing_was_written() {
    let census = Census::default();
    let mut tx = attached(&census, b"frame", &[8]);
    for result in [Written::Blocked, Written::NoAttachmentRoom] {
        let progress = tx.written(result).unwrap();
        assert!(matches!(
            progress,
            Progress::Blocked | Progress::NoAttachmentRoom
        ));
        assert_eq!(numbers(tx.batch().unwrap().attachments()), [8]);
        assert_eq!(bytes_of(&tx), b"frame");
    }
}

#[test]
fn hazard_f4_a_write_of_zero_bytes_is_a_mistake_that_changes_nothing() {
    let census = Census::default();
    let mut tx = attached(&census, b"frame", &[8]);
    assert_eq!(tx.written(Written::Wrote(0)), Err(WriteMisuse::Nothing));
    assert_eq!(numbers(tx.batch().unwrap().attachments()), [8]);
    assert_eq!(bytes_of(&tx), b"frame");
}

#[test]
fn more_than_lent_is_a_mistake_that_changes_nothing() {
    let census = Census::default();
    let mut tx = attached(&census, b"frame", &[8]);
    let refused = Err(WriteMisuse::TooMuch { wrote: 6, lent: 5 });
    assert_eq!(tx.written(Written::Wrote(6)), refused);
    assert_eq!(bytes_of(&tx), b"frame");
    assert_eq!(census.open(), 1);
}

#[test]
fn a_result_without_a_write_is_a_mistake() {
    let mut tx = Transmitter::<Fd>::new();
    tx.push(b"frame");
    let refused = Err(WriteMisuse::NotCommitted);
    for result in [Written::Wrote(1), Written::Blocked, Written::Failed] {
        assert_eq!(tx.written(result), refused);
    }
    assert!(tx.commit());
    assert_eq!(bytes_of(&tx), b"frame");
}

#[test]
fn the_end_of_the_link_releases_payload_and_attachments() {
    let census = Census::default();
    let mut tx = attached(&census, b"frame", &[8]);
    assert_eq!(tx.written(Written::Failed), Ok(Progress::Failed));
    assert_eq!(census.open(), 0);
    assert!(tx.batch().is_none());

    let mut tx = attached(&census, b"frame", &[8]);
    tx.discard();
    assert_eq!(census.open(), 0);
    assert!(tx.is_idle() && tx.is_empty());
}

#[test]
fn attachments_that_were_moved_are_not_lent() {
    let census = Census::default();
    let mut tx = attached(&census, b"frame", &[8]);
    let moved = tx.take_attachments().unwrap();
    assert_eq!(numbers(&moved), [8]);
    assert!(tx.batch().unwrap().attachments().is_empty());
    assert_eq!(tx.written(Written::Wrote(5)), Ok(Progress::Done));
    assert_eq!(census.open(), 1);
}

#[test]
fn the_next_plan_uses_the_memory_of_the_last() {
    let mut tx = Transmitter::<Fd>::new();
    let mut round = || {
        for _ in 0..100 {
            tx.push(&[1; 600]);
        }
        assert!(tx.commit());
        let at = tx.batch().unwrap().slices().next().unwrap().as_ptr();
        assert_eq!(tx.written(Written::Wrote(60_000)), Ok(Progress::Done));
        at
    };
    let first = round();
    assert_eq!(round(), first);
    assert_eq!(round(), first);
}

#[test]
fn an_unusually_large_frame_does_not_keep_its_memory() {
    let mut tx = Transmitter::<Fd>::new();
    tx.push(&[1; 4 * PLAN_MAX]);
    assert!(tx.commit());
    assert_eq!(tx.written(Written::Wrote(4 * PLAN_MAX)), Ok(Progress::Done));
    assert!(tx.plan.copied.capacity() <= 2 * PLAN_MAX);
}

proptest! {
    #[test]
    fn any_writes_together_carry_the_plan_once(
        frames in prop::collection::vec((0_usize..40, 0_usize..3 * COPY_MAX), 1..20),
        writes in prop::collection::vec(1_usize..20_000, 1..40),
    ) {
        let mut tx = Transmitter::<Fd>::new();
        let mut expected = Vec::new();
        for (number, (head, payload)) in frames.into_iter().enumerate() {
            let head = vec![number as u8; head + 1];
            let payload = vec![!number as u8; payload];
            expected.extend_from_slice(&head);
            expected.extend_from_slice(&payload);
            tx.push_with_payload(&head, payload.into());
        }
        prop_assert!(tx.commit());
        let mut got = Vec::new();
        let mut writes = writes.into_iter().cycle();
        while let Some(batch) = tx.batch() {
            prop_assert!(batch.slices().all(|slice| !slice.is_empty()));
            let rest = bytes_of(&tx);
            prop_assert_eq!(rest.len(), batch.len());
            let wrote = writes.next().unwrap().min(rest.len());
            got.extend_from_slice(&rest[..wrote]);
            let done = wrote == rest.len();
            let progress = if done { Progress::Done } else { Progress::Partial };
            prop_assert_eq!(tx.written(Written::Wrote(wrote)), Ok(progress));
        }
        prop_assert_eq!(got, expected);
    }
}
