//! Committing frames of a conversation to a link's plan: numbers, resends, slices.

use alloc::boxed::Box;

use super::draft::{Draft, DraftPool};
use super::log::Unsent;
use super::outbound::{Ends, Outbound, Path};
use super::send_flow::{Next, Slicing};
use crate::id::MessageId;
use crate::link::tx::{COPY_MAX, Transmitter};
use crate::time::Instant;
use crate::wire::flow::cost;
use crate::wire::{self, AskBody, Header, Kind, SliceBody, SliceHead, flags, limits};

/// Where the remaining milliseconds stand in the body of a request.
const REQUEST_REMAINING_AT: usize = Header::LEN + 8;

/// How much one flow commits before the next has its turn.
const QUANTUM: usize = 64 * 1024;

impl<F> Outbound<F> {
    /// Fills a plan with what may go now, until the plan is full or nothing is left.
    pub(crate) fn fill(&mut self, now: Instant, tx: &mut Transmitter<F>, pool: &mut DraftPool<F>) {
        match self.path {
            Path::Down | Path::Asked => return,
            Path::Begins => return self.ask(tx),
            Path::Ready => {}
        }
        if !self.send_again(now, tx) {
            return;
        }
        self.say_blocked(tx);
        while tx.room() > 0 && self.log.uncredited() < limits::UNCREDITED {
            let Some(draft) = self.urgent.pop_front() else {
                break;
            };
            self.commit(now, draft, tx);
        }
        if !self.commit_run(now, tx) {
            // What waits in a flow behind the run must not go before its rest.
            return;
        }
        while tx.room() > 0 {
            let Some(id) = self.turn.front().copied() else {
                break;
            };
            if !self.commit_flow(now, id, tx, pool) {
                break;
            }
        }
        // A flow may have used up its credit just now.
        self.say_blocked(tx);
    }

    fn ask(&mut self, tx: &mut Transmitter<F>) {
        let path = self.path_number;
        let Ends {
            source,
            destination,
        } = self.ends;
        let body = AskBody { path };
        tx.push_encoded(|out| {
            wire::frame(Kind::ASK, source, destination, |out| body.encode(out), out);
        });
        self.path = Path::Asked;
    }

    /// Sends what the present path has not carried yet. `false` if the plan cannot take it all.
    fn send_again(&mut self, now: Instant, tx: &mut Transmitter<F>) -> bool {
        while let Some(attaches) = self.log.unsent() {
            if tx.room() == 0 || attaches && !tx.can_attach() {
                return false;
            }
            match self.log.send_again(now) {
                Some(Unsent::Whole(frame)) => {
                    stamp_remaining(frame, now);
                    lend(frame, self.loopback, tx);
                }
                Some(Unsent::InRing(bytes)) => tx.push(bytes),
                None => {}
            }
        }
        true
    }

    #[inline]
    fn say_blocked(&mut self, tx: &mut Transmitter<F>) {
        if !self.blocked.is_empty() {
            self.say_who_is_blocked(tx);
        }
    }

    #[cold]
    fn say_who_is_blocked(&mut self, tx: &mut Transmitter<F>) {
        while let Some(id) = self.blocked.pop() {
            let Some(flow) = self.flows.get_mut(id) else {
                continue;
            };
            let Next::Blocked(blocked) = flow.next(&self.first_contact) else {
                flow.forget_said();
                continue;
            };
            let mut header = Header::new(Kind::BLOCKED, self.ends.source, self.ends.destination);
            header.flow = id;
            tx.push_encoded(|out| header.encode_with(|body| blocked.encode(body), out));
        }
    }

    /// Lets one flow commit for one turn. `false` if the plan cannot take its next frame.
    fn commit_flow(
        &mut self,
        now: Instant,
        id: u32,
        tx: &mut Transmitter<F>,
        pool: &mut DraftPool<F>,
    ) -> bool {
        let mut left = QUANTUM;
        loop {
            let Some(flow) = self.flows.get(id) else {
                self.turn.pop_front();
                return true;
            };
            let next = flow.next(&self.first_contact);
            let handles = flow
                .queue
                .front()
                .map_or(0, |front| front.attachment_count());
            let sends = matches!(next, Next::Whole { .. } | Next::Slice { .. });
            if sends && (tx.room() == 0 || handles > 0 && !tx.can_attach()) {
                return false;
            }
            if sends && !self.can_send_handles(handles) {
                self.leave_turn(id);
                self.hold_back(id);
                return true;
            }
            let size = match next {
                Next::Whole { first_contact } => self.commit_whole(now, id, first_contact, tx),
                Next::Slice { bytes } => self.commit_slice(now, id, bytes, tx, pool),
                Next::Idle | Next::Blocked(_) => {
                    self.leave_turn(id);
                    self.consider(id);
                    return true;
                }
            };
            left = left.saturating_sub(size);
            if left == 0 {
                self.turn.rotate_left(1);
                return true;
            }
        }
    }

    /// The flow whose turn it is has nothing for this turn any more.
    fn leave_turn(&mut self, id: u32) {
        self.turn.pop_front();
        if let Some(flow) = self.flows.get_mut(id) {
            flow.in_turn = false;
        }
    }

    /// The next frame of a flow waits until the receiver's node has handles that went before.
    fn hold_back(&mut self, id: u32) {
        if !self.held_back.contains(&id) {
            self.held_back.push(id);
        }
    }

    fn commit_whole(
        &mut self,
        now: Instant,
        id: u32,
        first_contact: bool,
        tx: &mut Transmitter<F>,
    ) -> usize {
        let Some(flow) = self.flows.get_mut(id) else {
            return 0;
        };
        let Some(mut draft) = flow.queue.pop_front() else {
            return 0;
        };
        let size = draft.len();
        let cost = cost(size);
        flow.charge(cost, first_contact);
        if first_contact {
            self.first_contact.take(cost, draft.attachment_count());
            draft.head[Header::FLAGS_AT] |= flags::FIRST_CONTACT;
        }
        if draft.kind() == Kind::EVENT {
            flow.await_taken(draft.id);
        }
        let expiry = draft.expiry();
        let ends_flow = flow.is_reply() && draft.flags() & flags::LAST != 0;
        self.want_receipt(draft.kind(), draft.flags(), draft.id);
        if let Some(expiry) = expiry {
            self.does_not_expire(expiry, draft.id);
        }
        self.commit(now, draft, tx);
        if ends_flow {
            self.flows.remove(id);
        }
        size
    }

    fn want_receipt(&mut self, kind: Kind, bits: u8, id: MessageId) {
        let wanted = bits & (flags::WANT_DELIVERED | flags::WANT_HANDLED) != 0;
        if kind == Kind::EVENT && wanted {
            self.receipts.insert(self.log.last() + 1, id);
        }
    }

    fn commit_slice(
        &mut self,
        now: Instant,
        id: u32,
        bytes: usize,
        tx: &mut Transmitter<F>,
        pool: &mut DraftPool<F>,
    ) -> usize {
        let Some(flow) = self.flows.get_mut(id) else {
            return 0;
        };
        let offset = flow.slicing.map_or(0, |slicing| slicing.offset);
        let Some(front) = flow.queue.front_mut() else {
            return 0;
        };
        let last = offset + bytes == front.body_len();
        if offset == 0 {
            stamp_remaining(front, now);
        }
        let mut slice = cut(front, self.ends, offset, bytes, last, pool);
        slice.attachments = front.attachments.take();
        if last {
            (slice.charge, slice.counts) = (front.charge, front.counts);
        }
        let (kind, bits, message) = (front.kind(), front.flags(), front.id);
        let expiry = front.expiry().filter(|_| offset == 0);
        let size = slice.len();
        flow.charge(cost(size), false);
        flow.slicing = Some(Slicing {
            offset: offset + bytes,
        });
        let mut ends_flow = false;
        if last {
            if let Some(done) = flow.queue.pop_front() {
                pool.give(done);
            }
            flow.end_large();
            if kind == Kind::EVENT {
                flow.await_taken(message);
            }
            ends_flow = flow.is_reply() && bits & flags::LAST != 0;
            self.want_receipt(kind, bits, message);
        }
        if let Some(expiry) = expiry {
            self.does_not_expire(expiry, message);
        }
        self.commit(now, slice, tx);
        if ends_flow {
            self.flows.remove(id);
        }
        size
    }

    /// Gives the frame its number and lends it to the plan.
    fn commit(&mut self, now: Instant, mut draft: Box<Draft<F>>, tx: &mut Transmitter<F>) {
        self.log.number(&mut draft);
        stamp_remaining(&mut draft, now);
        lend(&mut draft, self.loopback, tx);
        self.log.push(draft);
    }
}

fn lend<F>(frame: &mut Draft<F>, loopback: bool, tx: &mut Transmitter<F>) {
    let attachments = match loopback {
        true => frame.attachments.take(),
        false => frame.attachments.clone(),
    };
    if let Some(attachments) = attachments {
        tx.attach(attachments);
    }
    match frame.payload.is_empty() {
        true => tx.push(&frame.head),
        false => tx.push_with_payload(&frame.head, frame.payload.clone()),
    }
}

/// Writes how long a request may still take at the moment it goes out. The least is 1 ms: 0 means
/// no limit, and the sender's own timer decides what is over.
fn stamp_remaining<F>(draft: &mut Draft<F>, now: Instant) {
    if let Some(deadline) = draft.deadline
        && draft.kind() == Kind::REQUEST
    {
        stamp(&mut draft.head, deadline, now);
    }
}

/// As [`stamp_remaining`], of an encoded request.
#[inline]
pub(super) fn stamp(frame: &mut [u8], deadline: Instant, now: Instant) {
    if deadline == Instant::NEVER {
        return;
    }
    let millis = deadline.saturating_since(now).as_millis();
    let millis = u32::try_from(millis).unwrap_or(u32::MAX).max(1);
    let at = REQUEST_REMAINING_AT;
    frame[at..at + 4].copy_from_slice(&millis.to_be_bytes());
}

/// One slice of a message's body.
fn cut<F>(
    draft: &Draft<F>,
    ends: Ends,
    offset: usize,
    bytes: usize,
    last: bool,
    pool: &mut DraftPool<F>,
) -> Box<Draft<F>> {
    let inner_head = &draft.head[Header::LEN..];
    let from_head = inner_head.len().saturating_sub(offset).min(bytes);
    // A slice may end within the fields before the payload.
    let payload_from = offset.saturating_sub(inner_head.len());
    let payload = draft
        .payload
        .slice(payload_from..payload_from + (bytes - from_head));
    let start = offset.min(inner_head.len());
    let body = SliceBody {
        first: (offset == 0).then(|| SliceHead {
            total: draft.body_len() as u64,
            kind: draft.kind().0,
            flags: draft.flags(),
        }),
        bytes: &inner_head[start..start + from_head],
    };
    let mut slice = pool.take(draft.flow);
    slice.id = draft.id;
    slice_header(draft, ends, offset == 0, last).encode(0, &mut slice.head);
    body.encode(&mut slice.head);
    match payload.len() <= COPY_MAX {
        true => slice.head.extend_from_slice(&payload),
        false => slice.payload = payload,
    }
    slice.note_length();
    slice
}

fn slice_header<F>(draft: &Draft<F>, ends: Ends, first: bool, last: bool) -> Header {
    let mut header = Header::new(Kind::SLICE, ends.source, ends.destination);
    header.flow = draft.flow;
    if first {
        header.flags |= flags::FIRST;
        header.attachments = draft.attachment_count() as u8;
    }
    if last {
        header.flags |= flags::LAST;
    }
    header
}
