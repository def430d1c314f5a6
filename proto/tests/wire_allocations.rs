//! What bytes of a peer may cost in memory.

use allocation_counter::measure;
use bytes::BytesMut;
use switchboard_proto::InstanceId;
use switchboard_proto::wire::*;

const A: InstanceId = InstanceId(1);
const B: InstanceId = InstanceId(2);

fn event(payload: &[u8]) -> Vec<u8> {
    let body = EventBody {
        namespace: "chat",
        event: "line",
        codec: 1,
        remaining: 0,
        payload,
    };
    let mut out = Vec::new();
    frame(Kind::EVENT, A, B, |out| body.encode(out), &mut out);
    out
}

#[test]
fn hazard_w1_a_length_of_4_gib_allocates_next_to_nothing() {
    for limit in [limits::HELLO, limits::FRAME, usize::MAX] {
        let claim = BytesMut::from(&[0xff; 4][..]);
        let cost = measure(|| {
            let mut deframer = Deframer::new();
            deframer.set_limit(limit);
            deframer.push(claim.clone());
            let whole = deframer.next().map(|frame| frame.is_some());
            assert_ne!(whole, Ok(true));
        });
        assert!(cost.bytes_total < 4096, "{cost:?} with a limit of {limit}");
    }
}

#[test]
fn small_frames_of_one_read_are_cut_and_decoded_without_allocating() {
    let chunk = BytesMut::from(&event(&[7; 50]).repeat(500)[..]);
    let mut deframer = Deframer::new();
    deframer.set_limit(limits::FRAME);
    deframer.push(chunk);
    let mut frames = 0;
    let cost = measure(|| {
        while let Some(frame) = deframer.next().unwrap() {
            let body = EventBody::decode(frame.body()).unwrap();
            assert_eq!(body.payload.len(), 50);
            frames += 1;
        }
    });
    assert_eq!((frames, cost.count_total), (500, 0), "{cost:?}");
}

#[test]
fn frames_that_span_reads_use_one_buffer_again_and_again() {
    let bytes = event(&[7; 1000]).repeat(50);
    let mut deframer = Deframer::new();
    deframer.set_limit(limits::FRAME);
    let mut allocations = 0;
    for (round, piece) in bytes.chunks(700).enumerate() {
        deframer.push(BytesMut::from(piece));
        let cost = measure(|| while deframer.next().unwrap().is_some() {});
        if round > 3 {
            allocations += cost.count_total;
        }
    }
    assert_eq!(allocations, 0);
}

#[test]
fn a_chunk_of_large_frames_is_shared_and_not_copied() {
    let chunk = BytesMut::from(&event(&[7; 10_000]).repeat(6)[..]);
    let mut deframer = Deframer::new();
    deframer.set_limit(limits::FRAME);
    deframer.push(chunk);
    let mut kept = Vec::with_capacity(6);
    let cost = measure(|| {
        while let Some(frame) = deframer.next().unwrap() {
            kept.push(frame.share_body_from(0));
        }
    });
    assert_eq!(kept.len(), 6);
    assert!(cost.bytes_total < 1000, "{cost:?}");
}

#[test]
fn hazard_w3_bombs_in_control_bodies_are_refused_without_allocating() {
    let deep = |byte: u8| [&[0xa1, 0x02][..], &[byte; 60_000]].concat();
    let counts = b"\xa1\x01\x9b\x00\x00\x00\x00\xff\xff\xff\xff".to_vec();
    let indefinite = [&[0x82][..], &[0x9f; 60_000]].concat();
    for body in [deep(0x81), deep(0xa1), deep(0xc1), counts, indefinite] {
        let cost = measure(|| assert!(RosterUpdate::decode(&body).is_err()));
        assert_eq!(cost.count_total, 0, "{cost:?}");
    }
}

#[test]
fn hazard_w4_counts_reserve_no_more_than_the_bytes_that_are_there() {
    let mut body = Vec::new();
    MarkBody {
        received: 0,
        path: 0,
        credits: Vec::new(),
    }
    .encode(&mut body);
    let count_at = body.len() - 2;
    body[count_at..].copy_from_slice(&[0xff, 0xff]);
    let cost = measure(|| assert!(MarkBody::decode(&body).is_err()));
    assert_eq!(cost.count_total, 0, "{cost:?}");
    body.resize(body.len() + 24, 0);
    let cost = measure(|| assert!(MarkBody::decode(&body).is_err()));
    assert_eq!(cost.count_total, 0, "{cost:?}");
}

#[test]
fn a_list_that_lies_about_its_items_costs_little() {
    // A roster that announces 60,000 peers and holds 60,000 numbers instead.
    let mut body = b"\xa6\x01\x01\x02\xf4\x03\xf4\x04\xf4\x05\x99\xea\x60".to_vec();
    body.resize(body.len() + 60_000, 0);
    body.extend(b"\x06\x80");
    let cost = measure(|| {
        let error = RosterUpdate::decode(&body).unwrap_err();
        let expected = "a value is not of the type of its key";
        assert_eq!(error, WireError::BadControl(expected));
    });
    assert_eq!(cost.bytes_total, 0, "{cost:?}");
}
