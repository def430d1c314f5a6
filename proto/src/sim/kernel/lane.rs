//! One direction of a connection, and the socket state of the end that reads from it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::{Marks, ReadResult, Room, Shape, StreamKind, WriteResult, count};
use crate::sim::handle::{FakeFd, Owner, Registry};
use crate::sim::rng::Rng;
use crate::time::Instant;

/// What a unix socket charges its buffer for a segment beyond the bytes: 278 writes of 64 bytes fill
/// one of 212,992.
const SEGMENT_OVERHEAD: usize = 704;
/// A large write to a unix socket becomes segments of at most this size, so that attachments, which
/// stay with the first, come with fewer bytes than were written.
const SEGMENT_BYTES: usize = 36_544;
/// The unit in which a pipe's buffer is counted, and up to which a write is taken whole or not at all.
const PAGE: usize = 4_096;

#[derive(Debug)]
pub(super) struct Lane {
    kind: StreamKind,
    shape: Shape,
    rng: Rng,
    segments: VecDeque<Segment>,
    charged: usize,
    /// Nothing overtakes: a later piece arrives no earlier than this.
    last_arrival: Instant,
    /// No write finds room before this.
    blocked_until: Instant,
    /// When the end of file arrives.
    finished: Option<Instant>,
    /// When a reset arrives at the reading end.
    reset: Option<Instant>,
    reset_told: bool,
    reader_closed: bool,
    written_after_close: bool,
}

/// What one write, or one page of a pipe, holds.
#[derive(Debug)]
struct Segment {
    bytes: Bytes,
    attachments: Vec<FakeFd>,
    arrives: Instant,
    /// Given back to the buffer only when the last byte is read.
    charge: usize,
    /// Bytes of a pipe's page that were ever filled; a page is not refilled from the front.
    filled: usize,
}

impl Lane {
    pub(super) fn new(kind: StreamKind, shape: Shape, rng: Rng) -> Self {
        Self {
            kind,
            shape,
            rng,
            segments: VecDeque::new(),
            charged: 0,
            last_arrival: Instant::ZERO,
            blocked_until: Instant::ZERO,
            finished: None,
            reset: None,
            reset_told: false,
            reader_closed: false,
            written_after_close: false,
        }
    }

    /// The writing side. Errors of the writer's own socket are looked at before.
    pub(super) fn write(
        &mut self,
        now: Instant,
        bytes: &[u8],
        attachments: &[&FakeFd],
        marks: &mut Marks,
    ) -> WriteResult {
        if self.finished.is_some() {
            return WriteResult::BrokenPipe;
        }
        if !attachments.is_empty() && self.kind != StreamKind::Unix {
            return WriteResult::Invalid;
        }
        if self.reader_closed {
            return self.write_to_closed(bytes.len());
        }
        if bytes.is_empty() {
            if !attachments.is_empty() {
                count(marks, "attachments_lost_with_empty_write");
            }
            return WriteResult::Wrote(0);
        }
        if self.blocked_until > now || self.blocks_now(now) {
            return WriteResult::Blocked;
        }
        let wished = self.shape.piece(bytes.len(), &mut self.rng);
        let taken = match self.kind {
            // A pipe takes a small write whole or not at all (PIPE_BUF), so it is not cut.
            StreamKind::Pipe if bytes.len() <= PAGE => self.fill_pages(now, bytes),
            StreamKind::Pipe => self.fill_pages(now, &bytes[..wished]),
            StreamKind::Tcp => self.send(now, &bytes[..wished]),
            StreamKind::Unix => self.queue(now, &bytes[..wished], attachments),
        };
        if taken == 0 {
            return WriteResult::Blocked;
        }
        if taken < bytes.len() {
            count(marks, "partial_write");
            if !attachments.is_empty() {
                count(marks, "partial_write_with_attachments");
            }
        }
        WriteResult::Wrote(taken)
    }

    pub(super) fn read(
        &mut self,
        now: Instant,
        registry: &Registry,
        process: u32,
        room: Room,
        marks: &mut Marks,
    ) -> ReadResult {
        let wanted = self.appetite().min(room.bytes.max(1));
        let mut arrived = 0;
        for segment in self.arrived(now) {
            arrived += segment.bytes.len();
            if arrived >= wanted {
                break;
            }
        }
        if arrived > 0 {
            let most = self.shape.piece(arrived.min(wanted), &mut self.rng);
            let (bytes, carried) = self.gather(now, most, marks);
            return install(bytes, carried, registry, process, room.attachments, marks);
        }
        if self.reset_has_come(now) && !self.reset_told {
            self.reset_told = true;
            if !self.ended_before_reset() {
                count(marks, "reset_read");
                return ReadResult::Reset;
            }
        }
        let ended = self.finished.is_some_and(|at| at <= now);
        if ended || self.reset_told {
            ReadResult::End
        } else {
            ReadResult::Blocked
        }
    }

    /// What a write by the end that reads this lane meets before anything else.
    pub(super) fn write_error(&mut self, now: Instant) -> Option<WriteResult> {
        if !self.reset_has_come(now) {
            return None;
        }
        // On a unix socket a write sees only that the peer is gone; the reset waits for the read.
        let told = self.reset_told || self.kind != StreamKind::Tcp || self.ended_before_reset();
        if told {
            return Some(WriteResult::BrokenPipe);
        }
        self.reset_told = true;
        Some(WriteResult::Reset)
    }

    /// The end of file follows what was written.
    pub(super) fn finish(&mut self, now: Instant) {
        if self.finished.is_none() && !(self.kind == StreamKind::Tcp && self.reset.is_some()) {
            self.finished = Some(self.arrival(now));
        }
    }

    /// The reader closes. Whether it leaves anything unread.
    pub(super) fn close_reader(&mut self, marks: &mut Marks) -> bool {
        self.reader_closed = true;
        self.charged = 0;
        let unread = core::mem::take(&mut self.segments);
        for segment in unread
            .iter()
            .filter(|segment| !segment.attachments.is_empty())
        {
            debug_assert_eq!(self.kind, StreamKind::Unix, "{segment:?}");
            count(marks, "attachments_closed_unread");
        }
        !unread.is_empty()
    }

    /// The peer's kernel answers with a reset. What arrives after it is lost.
    pub(super) fn reset_by_peer(&mut self, now: Instant) {
        if self.kind == StreamKind::Pipe || self.reset.is_some() {
            return;
        }
        let at = now + self.shape.travel(self.kind, &mut self.rng);
        self.lose_after(at);
    }

    /// The network between the ends is gone.
    pub(super) fn cut(&mut self, now: Instant) {
        if self.kind == StreamKind::Tcp && self.reset.is_none_or(|at| at > now) {
            self.lose_after(now);
        }
    }

    pub(super) fn hold(&mut self, now: Instant, until: Instant) {
        if self.kind != StreamKind::Tcp {
            return;
        }
        // What has arrived stays where it is: the reader may have seen it.
        let arrivals = self.segments.iter_mut().map(|segment| &mut segment.arrives);
        let signals = self.finished.iter_mut().chain(self.reset.iter_mut());
        for at in arrivals.chain(signals).filter(|at| **at > now) {
            *at = until.max(*at);
        }
        self.last_arrival = self.last_arrival.max(until);
    }

    pub(super) fn readable(&self, now: Instant) -> bool {
        self.arrived(now).next().is_some()
            || self.finished.is_some_and(|at| at <= now)
            || self.reset_has_come(now)
    }

    pub(super) fn writable(&self, now: Instant) -> bool {
        if self.reader_closed || self.finished.is_some() {
            return true;
        }
        let buffer = self.shape.buffer(self.kind);
        let room = match self.kind {
            StreamKind::Pipe => self.segments.len() < self.pages(),
            StreamKind::Tcp => self.charged + self.charged / 2 <= buffer,
            StreamKind::Unix => self.charged * 4 <= buffer,
        };
        room && self.blocked_until <= now
    }

    /// Two bytes tell a partial write from a whole one.
    pub(super) fn appetite(&self) -> usize {
        if self.shape.dribble { 2 } else { usize::MAX }
    }

    pub(super) fn is_broken(&self, now: Instant) -> bool {
        self.reset_has_come(now)
    }

    pub(super) fn next_change(&self, now: Instant) -> Option<Instant> {
        let first = self
            .segments
            .partition_point(|segment| segment.arrives <= now);
        let arrival = self.segments.get(first).map(|segment| segment.arrives);
        let changes = [arrival, self.finished, self.reset, Some(self.blocked_until)];
        changes.into_iter().flatten().filter(|at| *at > now).min()
    }

    pub(super) fn answers_with_reset(&self) -> bool {
        self.written_after_close
    }

    pub(super) fn reader_has_closed(&self) -> bool {
        self.reader_closed
    }

    pub(super) fn unread(&self) -> usize {
        self.segments
            .iter()
            .map(|segment| segment.bytes.len())
            .sum()
    }

    fn write_to_closed(&mut self, len: usize) -> WriteResult {
        if self.kind != StreamKind::Tcp {
            return WriteResult::BrokenPipe;
        }
        // The writer cannot know yet: its kernel takes the bytes, and the answer to them is a reset.
        self.written_after_close = true;
        WriteResult::Wrote(len)
    }

    fn blocks_now(&mut self, now: Instant) -> bool {
        if self.shape.blocks == 0 || !self.rng.chance(self.shape.blocks) {
            return false;
        }
        self.blocked_until = now + Duration::from_nanos(self.rng.range(1_000..=200_000));
        true
    }

    /// Unix: segments up to the size of the buffer, the last of which may overshoot it. Attachments
    /// stay with the first.
    fn queue(&mut self, now: Instant, bytes: &[u8], attachments: &[&FakeFd]) -> usize {
        let buffer = self.shape.buffer(self.kind);
        let largest = SEGMENT_BYTES.min((buffer / 2).saturating_sub(64)).max(1);
        let mut taken = 0;
        while taken < bytes.len() && self.charged < buffer {
            let size = largest.min(bytes.len() - taken);
            let lent = if taken == 0 { attachments } else { &[] };
            let copies = lent.iter().map(|fd| fd.duplicate(Owner::InFlight));
            let copies = copies.collect();
            self.append(
                now,
                &bytes[taken..taken + size],
                copies,
                size + SEGMENT_OVERHEAD,
            );
            taken += size;
        }
        taken
    }

    /// TCP: as many bytes as there is room for, each piece with a travel time of its own.
    fn send(&mut self, now: Instant, bytes: &[u8]) -> usize {
        let buffer = self.shape.buffer(self.kind);
        let taken = bytes.len().min(buffer.saturating_sub(self.charged));
        let mut sent = 0;
        while sent < taken {
            let size = self.shape.piece(taken - sent, &mut self.rng);
            let arrives = self.arrival(now);
            self.append(arrives, &bytes[sent..sent + size], Vec::new(), size);
            sent += size;
        }
        taken
    }

    /// Pipe: what is beyond whole pages joins the last page if it fits there; the rest takes pages of
    /// its own.
    fn fill_pages(&mut self, now: Instant, bytes: &[u8]) -> usize {
        let beyond = bytes.len() % PAGE;
        let mut taken = 0;
        if let Some(last) = self.segments.back_mut()
            && beyond > 0
            && last.filled + beyond <= PAGE
        {
            let mut joined = BytesMut::from(&last.bytes[..]);
            joined.extend_from_slice(&bytes[..beyond]);
            last.bytes = joined.freeze();
            last.filled += beyond;
            taken = beyond;
        }
        while taken < bytes.len() && self.segments.len() < self.pages() {
            let size = PAGE.min(bytes.len() - taken);
            self.append(now, &bytes[taken..taken + size], Vec::new(), 0);
            taken += size;
        }
        taken
    }

    fn append(&mut self, arrives: Instant, bytes: &[u8], attachments: Vec<FakeFd>, charge: usize) {
        self.charged += charge;
        self.segments.push_back(Segment {
            bytes: Bytes::copy_from_slice(bytes),
            attachments,
            arrives,
            charge,
            filled: bytes.len(),
        });
    }

    /// Takes up to `most` bytes that have arrived. Bytes before an attachment-bearing segment are
    /// merged with it, nothing after it is; a set goes with the first byte taken of its segment.
    fn gather(&mut self, now: Instant, most: usize, marks: &mut Marks) -> (BytesMut, Vec<FakeFd>) {
        let mut bytes = BytesMut::new();
        let mut carried = Vec::new();
        while bytes.len() < most {
            let Some(front) = self.segments.front_mut().filter(|s| s.arrives <= now) else {
                break;
            };
            if !front.attachments.is_empty() {
                if !carried.is_empty() {
                    count(marks, "two_sets_kept_apart");
                    break;
                }
                if !bytes.is_empty() {
                    count(marks, "plain_bytes_merged_before_attachments");
                }
                carried = core::mem::take(&mut front.attachments);
            }
            let size = front.bytes.len().min(most - bytes.len());
            bytes.extend_from_slice(&front.bytes[..size]);
            front.bytes.advance(size);
            if !front.bytes.is_empty() {
                if !carried.is_empty() {
                    count(marks, "attachment_segment_split");
                }
                break;
            }
            self.charged -= front.charge;
            self.segments.pop_front();
            if !carried.is_empty() {
                break;
            }
        }
        (bytes, carried)
    }

    fn arrived(&self, now: Instant) -> impl Iterator<Item = &Segment> {
        self.segments
            .iter()
            .take_while(move |segment| segment.arrives <= now)
    }

    fn arrival(&mut self, now: Instant) -> Instant {
        let travel = self.shape.travel(self.kind, &mut self.rng);
        self.last_arrival = self.last_arrival.max(now + travel);
        self.last_arrival
    }

    fn lose_after(&mut self, at: Instant) {
        self.reset = Some(at);
        self.segments.retain(|segment| segment.arrives <= at);
        self.charged = self.segments.iter().map(|segment| segment.charge).sum();
        if self.finished.is_some_and(|finished| finished > at) {
            self.finished = None;
        }
    }

    fn reset_has_come(&self, now: Instant) -> bool {
        self.reset.is_some_and(|at| at <= now)
    }

    /// A TCP connection whose end of file came before the reset shows only the end of file.
    fn ended_before_reset(&self) -> bool {
        match (self.kind, self.finished, self.reset) {
            (StreamKind::Tcp, Some(finished), Some(reset)) => finished <= reset,
            _ => false,
        }
    }

    fn pages(&self) -> usize {
        (self.shape.buffer(self.kind) / PAGE).max(1)
    }
}

/// Puts as many attachments into the reader's table as fit there and in its control buffer. The rest
/// is closed by the kernel, and only the flag tells.
fn install(
    bytes: BytesMut,
    carried: Vec<FakeFd>,
    registry: &Registry,
    process: u32,
    control: usize,
    marks: &mut Marks,
) -> ReadResult {
    let mut attachments = Vec::new();
    let mut truncated = false;
    for (taken, in_flight) in carried.into_iter().enumerate() {
        if taken >= control || registry.room(process) == 0 {
            truncated = true;
            break;
        }
        attachments.push(in_flight.duplicate(Owner::Process(process)));
    }
    if truncated {
        count(marks, "attachments_truncated");
    }
    ReadResult::Data {
        bytes,
        attachments,
        truncated,
    }
}
