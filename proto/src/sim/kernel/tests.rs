//! The kernel's rules, one test each. Every figure was measured on Linux 6.18.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::*;
use crate::sim::handle::Description;

const T0: Instant = Instant::from_nanos(0);
const WRITER: u32 = 1;
const READER: u32 = 2;

/// A connection with its ends held by two processes, at time zero unless a test says otherwise.
struct Pair {
    kernel: Kernel,
    registry: Registry,
    writer: End,
    reader: End,
}

/// A read in short: bytes, attachments, truncated.
#[derive(Debug, PartialEq)]
enum Got {
    Blocked,
    Data(Vec<u8>, usize, bool),
    End,
    Reset,
}

fn pair(kind: StreamKind) -> Pair {
    shaped(kind, Shape::KIND)
}

fn shaped(kind: StreamKind, shape: Shape) -> Pair {
    let registry = Registry::new();
    let mut kernel = Kernel::new(registry.clone());
    let (writer, reader) = kernel.connect(kind, shape, &mut Rng::new(1, "test"));
    Pair {
        kernel,
        registry,
        writer,
        reader,
    }
}

fn data(bytes: &[u8], attachments: usize) -> Got {
    Got::Data(bytes.to_vec(), attachments, false)
}

impl Pair {
    fn write(&mut self, bytes: &[u8], attachments: usize) -> WriteResult {
        let fds: Vec<FakeFd> = (0..attachments)
            .map(|_| self.registry.create(WRITER))
            .collect();
        let lent: Vec<&FakeFd> = fds.iter().collect();
        self.kernel.write(T0, self.writer, bytes, &lent)
    }

    fn read(&mut self) -> Got {
        self.read_into(Room::FULL)
    }

    fn read_upto(&mut self, bytes: usize) -> Got {
        let attachments = MAX_ATTACHMENTS;
        self.read_into(Room { bytes, attachments })
    }

    fn read_into(&mut self, room: Room) -> Got {
        short(self.kernel.read(T0, self.reader, READER, room))
    }

    fn read_back(&mut self) -> Got {
        short(self.kernel.read(T0, self.writer, WRITER, Room::FULL))
    }

    fn write_until_blocked(&mut self, bytes: &[u8]) -> usize {
        let mut writes = 0;
        while self.write(bytes, 0) == WriteResult::Wrote(bytes.len()) {
            writes += 1;
        }
        writes
    }
}

fn short(result: ReadResult) -> Got {
    match result {
        ReadResult::Blocked => Got::Blocked,
        ReadResult::Data {
            bytes,
            attachments,
            truncated,
        } => Got::Data(bytes.to_vec(), attachments.len(), truncated),
        ReadResult::End => Got::End,
        ReadResult::Reset => Got::Reset,
    }
}

#[test]
fn hazard_f1_plain_bytes_and_a_later_write_with_attachments_come_in_one_read() {
    let mut pair = pair(StreamKind::Unix);
    pair.write(b"AAA", 0);
    pair.write(b"BBB", 1);
    pair.write(b"CCC", 0);
    assert_eq!(pair.read(), data(b"AAABBB", 1));
    assert_eq!(pair.read(), data(b"CCC", 0));
    assert_eq!(pair.read(), Got::Blocked);
}

#[test]
fn hazard_f1_two_writes_with_attachments_never_come_in_one_read() {
    let mut pair = pair(StreamKind::Unix);
    pair.write(b"AAA", 2);
    pair.write(b"BBB", 1);
    assert_eq!(pair.read(), data(b"AAA", 2));
    assert_eq!(pair.read(), data(b"BBB", 1));
}

#[test]
fn hazard_f2_a_short_read_takes_the_whole_set_and_its_tail_merges_with_the_next() {
    let mut pair = pair(StreamKind::Unix);
    pair.write(b"AAAAAAAAAA", 2);
    pair.write(b"BBB", 1);
    pair.write(b"CCC", 0);
    assert_eq!(pair.read_upto(4), data(b"AAAA", 2));
    assert_eq!(pair.read(), data(b"AAAAAABBB", 1));
    assert_eq!(pair.read(), data(b"CCC", 0));
}

#[test]
fn hazard_f2_a_read_that_ends_before_the_first_byte_leaves_the_set_behind() {
    let mut pair = pair(StreamKind::Unix);
    pair.write(b"PPPP", 0);
    pair.write(b"AAA", 2);
    assert_eq!(pair.read_upto(4), data(b"PPPP", 0));
    assert_eq!(pair.read_upto(1), data(b"A", 2));
    assert_eq!(pair.read(), data(b"AA", 0));
}

#[test]
fn hazard_f3_a_partial_write_sends_the_attachments_with_its_first_byte() {
    let mut pair = pair(StreamKind::Unix);
    assert_eq!(
        pair.write(&vec![7; 4_000_000], 1),
        WriteResult::Wrote(219_264)
    );
    assert_eq!(pair.write(b"x", 0), WriteResult::Blocked);
    // A large write is cut into segments, and the read stops after the one with the attachments.
    assert_eq!(pair.read_upto(1 << 20), data(&[7; 36_544], 1));
    assert_eq!(pair.read_upto(1 << 20), data(&[7; 182_720], 0));
}

#[test]
fn hazard_f3_a_write_that_finds_no_room_keeps_the_attachments() {
    let mut pair = pair(StreamKind::Unix);
    pair.write_until_blocked(&[7; 4096]);
    assert_eq!(pair.write(b"x", 1), WriteResult::Blocked);
    assert_eq!(pair.registry.held_by(Owner::InFlight), 0);
}

#[test]
fn hazard_f4_an_empty_write_succeeds_and_loses_the_attachments() {
    let mut pair = pair(StreamKind::Unix);
    assert_eq!(pair.write(b"", 1), WriteResult::Wrote(0));
    assert_eq!(pair.read(), Got::Blocked);
    assert_eq!(pair.registry.census().open, 0);
    assert_eq!(pair.kernel.marks()["attachments_lost_with_empty_write"], 1);
}

#[test]
fn hazard_f5_a_read_without_control_room_closes_the_attachments() {
    let mut pair = pair(StreamKind::Unix);
    pair.write(b"x", 5);
    let room = Room {
        bytes: 10,
        attachments: 0,
    };
    assert_eq!(pair.read_into(room), Got::Data(b"x".to_vec(), 0, true));
    assert_eq!(pair.registry.census().open, 0);
}

#[test]
fn hazard_f6_a_full_table_gives_the_data_and_the_first_of_the_attachments() {
    let mut pair = pair(StreamKind::Unix);
    let fds: Vec<FakeFd> = (0..5).map(|_| pair.registry.create(WRITER)).collect();
    let lent: Vec<&FakeFd> = fds.iter().collect();
    pair.registry.set_limit(READER, Some(2));
    pair.kernel.write(T0, pair.writer, b"hello", &lent);
    let result = pair.kernel.read(T0, pair.reader, READER, Room::FULL);
    let ReadResult::Data {
        bytes,
        attachments,
        truncated,
    } = result
    else {
        panic!("{result:?}");
    };
    assert_eq!(&bytes[..], b"hello");
    assert!(truncated);
    let installed: Vec<Description> = attachments.iter().map(FakeFd::description).collect();
    assert_eq!(installed, [fds[0].description(), fds[1].description()]);
    assert_eq!(
        pair.registry.held_by(Owner::InFlight),
        0,
        "the rest is closed"
    );
    assert_eq!(pair.read(), Got::Blocked);
}

#[test]
fn hazard_f7_a_write_carries_253_attachments_and_not_254() {
    let mut pair = pair(StreamKind::Unix);
    assert_eq!(pair.write(b"x", 254), WriteResult::Invalid);
    assert_eq!(pair.write(b"x", 253), WriteResult::Wrote(1));
    assert_eq!(pair.read(), data(b"x", 253));
}

#[test]
fn hazard_f9_too_many_descriptors_in_flight_refuse_a_write_until_some_are_read() {
    let mut pair = pair(StreamKind::Unix);
    pair.kernel.set_in_flight_limit(Some(64));
    for _ in 0..65 {
        assert_eq!(pair.write(b"x", 1), WriteResult::Wrote(1));
    }
    assert_eq!(pair.write(b"y", 1), WriteResult::TooManyReferences);
    assert_eq!(
        pair.write(b"z", 0),
        WriteResult::Wrote(1),
        "plain bytes still pass"
    );
    assert_eq!(pair.read(), data(b"x", 1));
    assert_eq!(
        pair.write(b"y", 60),
        WriteResult::Wrote(1),
        "one write may overshoot"
    );
    assert_eq!(pair.write(b"y", 1), WriteResult::TooManyReferences);
}

#[test]
fn hazard_f13_pipes_and_tcp_carry_no_attachments() {
    for kind in [StreamKind::Pipe, StreamKind::Tcp] {
        let mut pair = pair(kind);
        assert_eq!(pair.write(b"x", 1), WriteResult::Invalid, "{kind:?}");
        assert_eq!(pair.read(), Got::Blocked, "{kind:?}");
        assert_eq!(pair.registry.census().open, 0, "{kind:?}");
    }
}

#[test]
fn hazard_f14_attachments_that_nobody_read_are_closed_with_the_socket() {
    let mut pair = pair(StreamKind::Unix);
    pair.write(b"x", 3);
    assert_eq!(pair.registry.held_by(Owner::InFlight), 3);
    pair.kernel.close(T0, pair.reader);
    assert_eq!(pair.registry.census().open, 0);
}

#[test]
fn hazard_q6_small_writes_fill_a_unix_socket_long_before_its_bytes_do() {
    let mut pair = pair(StreamKind::Unix);
    assert_eq!(pair.write_until_blocked(&[1; 64]), 278);
    // Room comes back with the last byte of a segment, not before.
    assert_eq!(pair.read_upto(32), data(&[1; 32], 0));
    assert_eq!(pair.write(b"y", 0), WriteResult::Blocked);
    assert_eq!(pair.read_upto(32), data(&[1; 32], 0));
    assert_eq!(pair.write(b"y", 0), WriteResult::Wrote(1));
}

#[test]
fn a_poll_calls_a_unix_socket_writable_only_at_a_quarter_of_its_buffer() {
    let mut pair = pair(StreamKind::Unix);
    pair.write_until_blocked(&[1; 64]);
    let mut reads = 0;
    while !pair.kernel.writable(T0, pair.writer) {
        assert_eq!(pair.read_upto(64), data(&[1; 64], 0));
        reads += 1;
    }
    assert_eq!(reads, 209);
}

#[test]
fn hazard_s8_a_death_with_unread_input_gives_the_reply_then_a_reset_then_the_end() {
    let mut unix = pair(StreamKind::Unix);
    unix.kernel.write(T0, unix.reader, b"reply", &[]);
    unix.write(b"request", 0);
    unix.kernel.close(T0, unix.reader);
    assert_eq!(unix.write(b"x", 0), WriteResult::BrokenPipe);
    assert_eq!(unix.read_back(), data(b"reply", 0));
    assert_eq!(unix.read_back(), Got::Reset);
    assert_eq!(unix.read_back(), Got::End);

    let mut tcp = pair(StreamKind::Tcp);
    tcp.kernel.write(T0, tcp.reader, b"reply", &[]);
    tcp.write(b"request", 0);
    tcp.kernel.close(T0, tcp.reader);
    assert_eq!(
        tcp.write(b"x", 0),
        WriteResult::Reset,
        "told to whoever asks first"
    );
    assert_eq!(tcp.write(b"x", 0), WriteResult::BrokenPipe);
    assert_eq!(tcp.read_back(), data(b"reply", 0));
    assert_eq!(tcp.read_back(), Got::End);
}

#[test]
fn a_clean_death_gives_the_reply_then_the_end() {
    for kind in [StreamKind::Pipe, StreamKind::Tcp, StreamKind::Unix] {
        let mut pair = pair(kind);
        pair.kernel.write(T0, pair.reader, b"reply", &[]);
        pair.kernel.close(T0, pair.reader);
        assert_eq!(pair.read_back(), data(b"reply", 0), "{kind:?}");
        assert_eq!(pair.read_back(), Got::End, "{kind:?}");
    }
}

#[test]
fn a_write_to_a_closed_tcp_end_is_taken_once_and_answered_with_a_reset() {
    let mut pair = pair(StreamKind::Tcp);
    pair.kernel.close(T0, pair.reader);
    assert_eq!(pair.write(b"x", 0), WriteResult::Wrote(1));
    assert_eq!(pair.write(b"x", 0), WriteResult::BrokenPipe);
    assert_eq!(pair.read_back(), Got::End);
}

#[test]
fn hazard_d2_half_a_close_leaves_the_other_direction_open() {
    let mut pair = pair(StreamKind::Unix);
    pair.write(b"last", 2);
    pair.kernel.shutdown_write(T0, pair.writer);
    assert_eq!(pair.write(b"x", 0), WriteResult::BrokenPipe);
    assert_eq!(pair.read(), data(b"last", 2));
    assert_eq!(pair.read(), Got::End);
    assert_eq!(
        pair.kernel.write(T0, pair.reader, b"back", &[]),
        WriteResult::Wrote(4)
    );
    assert_eq!(pair.read_back(), data(b"back", 0));
}

#[test]
fn a_pipe_counts_pages_and_takes_small_writes_whole() {
    let mut full = pair(StreamKind::Pipe);
    assert_eq!(full.write(&[1; 100_000], 0), WriteResult::Wrote(65_536));
    assert_eq!(full.read_upto(4_095), data(&[1; 4_095], 0));
    assert_eq!(
        full.write(b"x", 0),
        WriteResult::Blocked,
        "the page is not empty yet"
    );
    assert_eq!(full.read_upto(1), data(&[1], 0));
    assert_eq!(full.write(&[2; 5_000], 0), WriteResult::Wrote(4_096));
    assert_eq!(full.write(&[2; 4_096], 0), WriteResult::Blocked);

    let mut ragged = pair(StreamKind::Pipe);
    assert_eq!(ragged.write_until_blocked(&[1; 3_000]), 16);
    assert_eq!(
        ragged.write(b"x", 0),
        WriteResult::Wrote(1),
        "it fits in the last page"
    );
}

#[test]
fn tcp_delays_and_cuts_what_it_carries_but_keeps_its_order() {
    let shape = Shape {
        pieces: 8,
        delay: 1_000_000,
        ..Shape::KIND
    };
    let mut pair = shaped(StreamKind::Tcp, shape);
    let sent: Vec<u8> = (0..=255).cycle().take(4_000).collect();
    let mut rest = &sent[..];
    while let WriteResult::Wrote(taken) = pair.kernel.write(T0, pair.writer, rest, &[]) {
        rest = &rest[taken..];
        if rest.is_empty() {
            break;
        }
    }
    let (mut now, mut got, mut arrivals) = (T0, Vec::new(), 0);
    while let Some(next) = pair.kernel.next_change(now) {
        assert_eq!(
            short(pair.kernel.read(now, pair.reader, READER, Room::FULL)),
            Got::Blocked
        );
        now = next;
        arrivals += 1;
        while let Got::Data(bytes, ..) =
            short(pair.kernel.read(now, pair.reader, READER, Room::FULL))
        {
            got.extend(bytes);
        }
    }
    assert_eq!(got, sent);
    assert!(arrivals > 1, "everything came at once");
}

#[test]
fn a_cut_loses_what_is_on_its_way_and_nothing_that_has_arrived() {
    let shape = Shape {
        delay: 1_000_000,
        ..Shape::KIND
    };
    let mut pair = shaped(StreamKind::Tcp, shape);
    pair.write(b"first", 0);
    let arrival = pair.kernel.next_change(T0).expect("it is on its way");
    pair.kernel.write(arrival, pair.writer, b"second", &[]);
    pair.kernel.cut(arrival, pair.writer);
    let mut read = |end, process| short(pair.kernel.read(arrival, end, process, Room::FULL));
    assert_eq!(read(pair.reader, READER), data(b"first", 0));
    assert_eq!(read(pair.reader, READER), Got::Reset);
    assert_eq!(read(pair.reader, READER), Got::End);
    assert_eq!(read(pair.writer, WRITER), Got::Reset);
    assert_eq!(pair.kernel.next_change(arrival), None);
}

#[test]
fn only_tcp_can_be_cut_or_held() {
    for kind in [StreamKind::Pipe, StreamKind::Unix] {
        let mut pair = pair(kind);
        pair.write(b"x", 0);
        pair.kernel.cut(T0, pair.writer);
        pair.kernel
            .hold(T0, pair.writer, T0 + Duration::from_secs(1));
        assert_eq!(pair.read(), data(b"x", 0), "{kind:?}");
        assert_eq!(pair.read(), Got::Blocked, "{kind:?}");
    }
}

#[test]
fn a_hold_delays_without_a_word_what_is_written_during_it() {
    let mut pair = pair(StreamKind::Tcp);
    let until = T0 + Duration::from_secs(3);
    pair.write(b"before", 0);
    pair.kernel.hold(T0, pair.writer, until);
    pair.write(b"during", 0);
    assert_eq!(pair.read(), data(b"before", 0));
    assert_eq!(pair.read(), Got::Blocked);
    assert_eq!(pair.kernel.next_change(T0), Some(until));
    let read = pair.kernel.read(until, pair.reader, READER, Room::FULL);
    assert_eq!(short(read), data(b"during", 0));
}

#[test]
fn a_dribble_moves_one_byte_at_a_time_and_the_set_goes_with_the_first() {
    let shape = Shape {
        dribble: true,
        ..Shape::KIND
    };
    let mut pair = shaped(StreamKind::Unix, shape);
    assert_eq!(pair.write(b"abc", 2), WriteResult::Wrote(1));
    assert_eq!(pair.write(b"bc", 0), WriteResult::Wrote(1));
    assert_eq!(pair.read(), data(b"a", 2));
    assert_eq!(pair.read(), data(b"b", 0));
    assert_eq!(pair.read(), Got::Blocked);
}

#[test]
fn a_drawn_block_ends_at_a_time_that_is_announced() {
    let shape = Shape {
        blocks: 1000,
        ..Shape::KIND
    };
    let mut pair = shaped(StreamKind::Unix, shape);
    assert_eq!(pair.write(b"x", 0), WriteResult::Blocked);
    assert!(!pair.kernel.writable(T0, pair.writer));
    let end = pair.kernel.next_change(T0).expect("the block ends");
    assert!(pair.kernel.writable(end, pair.writer));
}

#[test]
fn equal_draws_give_an_equal_run() {
    let run = |number| {
        let mut rng = Rng::numbered(9, "run", number);
        let shape = Shape {
            pieces: 8,
            ..Shape::KIND
        };
        let mut kernel = Kernel::new(Registry::new());
        let (writer, reader) = kernel.connect(StreamKind::Unix, shape, &mut rng);
        let mut log = Vec::new();
        for _ in 0..50 {
            log.push(alloc::format!(
                "{:?}",
                kernel.write(T0, writer, &[1; 100], &[])
            ));
            let read = kernel.read(T0, reader, READER, Room::FULL);
            log.push(alloc::format!("{read:?}"));
        }
        log
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

proptest::proptest! {
    /// Whatever is written and however it is cut: every byte comes once and in order, and a set comes
    /// whole with the read that holds the first byte it was written with.
    #[test]
    fn no_cut_loses_a_byte_or_moves_a_set(
        seed: u64,
        pieces in 1u8..8,
        writes in proptest::collection::vec((1usize..60, 0usize..4), 1..40),
        rooms in proptest::collection::vec(1usize..90, 1..10),
    ) {
        let registry = Registry::new();
        let mut kernel = Kernel::new(registry.clone());
        let shape = Shape { pieces, buffer: 2_000, ..Shape::KIND };
        let mut rng = Rng::new(seed, "cuts");
        let (writer, reader) = kernel.connect(StreamKind::Unix, shape, &mut rng);
        let mut rooms = rooms.into_iter().cycle();
        let (mut sent, mut got) = (Vec::new(), Vec::new());
        let (mut sets, mut claimed) = (Vec::new(), Vec::new());
        for (index, (len, count)) in writes.into_iter().enumerate() {
            let fds: Vec<FakeFd> = (0..count).map(|_| registry.create(WRITER)).collect();
            let mut rest = &vec![index as u8; len][..];
            let mut lent: Vec<&FakeFd> = fds.iter().collect();
            if count > 0 {
                let set: Vec<Description> = fds.iter().map(FakeFd::description).collect();
                sets.push((sent.len(), set));
            }
            sent.extend_from_slice(rest);
            while !rest.is_empty() {
                if let WriteResult::Wrote(taken) = kernel.write(T0, writer, rest, &lent) {
                    rest = &rest[taken..];
                    lent.clear();
                }
                let bytes = rooms.next().unwrap_or(1);
                let room = Room { bytes, attachments: MAX_ATTACHMENTS };
                take(kernel.read(T0, reader, READER, room), &mut got, &mut claimed);
            }
        }
        while kernel.readable(T0, reader) {
            take(kernel.read(T0, reader, READER, Room::FULL), &mut got, &mut claimed);
        }
        proptest::prop_assert_eq!(got, sent);
        proptest::prop_assert_eq!(claimed.len(), sets.len());
        for ((first, set), (read, held)) in sets.into_iter().zip(claimed) {
            proptest::prop_assert!(read.contains(&first), "set of byte {} came with {:?}", first, read);
            proptest::prop_assert_eq!(set, held);
        }
        proptest::prop_assert_eq!(registry.conserves([]), Ok(()));
    }
}

type Claimed = (core::ops::Range<usize>, Vec<Description>);

fn take(read: ReadResult, got: &mut Vec<u8>, claimed: &mut Vec<Claimed>) {
    if let ReadResult::Data {
        bytes, attachments, ..
    } = read
    {
        let from = got.len();
        got.extend_from_slice(&bytes);
        if !attachments.is_empty() {
            let set = attachments.iter().map(FakeFd::description).collect();
            claimed.push((from..got.len(), set));
        }
    }
}
