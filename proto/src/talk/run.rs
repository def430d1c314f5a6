//! The run of a conversation: small frames that nothing holds up but the link.
//!
//! Most messages are small, need no receipt, and go where the one before went, within the credit
//! that is there. Such a frame is written once, into the ring where it is kept, and goes to a plan
//! together with its neighbours, so that neither the plan nor the mark that releases it looks into
//! it again. Its credit is spent when it joins. Everything else, and everything that has to be
//! taken back before a link has it, is a draft in the queue of its flow.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::commit::stamp;
use super::draft::DraftPool;
use super::log::Frame;
use super::outbound::Outbound;
use super::ring::Ring;
use super::send_flow::SendFlow;
use crate::id::MessageId;
use crate::link::tx::{COPY_MAX, Transmitter};
use crate::message::Target;
use crate::time::Instant;
use crate::wire::flow::{MAX_FLOW, cost};
use crate::wire::{Header, ReplyBody};

/// Frames without a number, whose bytes are the last of the ring.
#[derive(Debug)]
pub(super) struct Run<F> {
    pub(super) frames: VecDeque<Frame<F>>,
    /// Bytes of all of them.
    bytes: usize,
    /// The number that stands in the first of them; those of the others follow. They are theirs
    /// once they are committed, unless another frame took them before.
    first: u64,
    /// The time for which the requests among them say how long they may take.
    stamped: Option<Instant>,
    /// For whom the application meant the messages among them.
    target: Option<Target>,
}

/// An event or a request that may join a run, as its frame will be.
pub(crate) struct Small<'a> {
    pub(crate) id: MessageId,
    pub(crate) flow: u32,
    pub(crate) target: &'a Target,
    /// The frame up to the payload, its length and number not written yet.
    pub(crate) head: &'a [u8],
    pub(crate) payload: &'a [u8],
    /// When it is over, of a request.
    pub(crate) deadline: Option<Instant>,
    pub(crate) request: bool,
}

/// No frame in a run is longer: payloads that are copied, the names, and the fields around them.
const LONGEST: usize = COPY_MAX + 1024;

/// Where the number of a request stands in its frame.
const REQUEST_AT: usize = Header::LEN;

impl<F> Run<F> {
    pub(super) const fn new() -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            first: 0,
            stamped: None,
            target: None,
        }
    }

    /// The messages among them, if they were meant for this target.
    pub(super) fn waiting_for<'a>(
        &'a self,
        target: &Target,
    ) -> impl Iterator<Item = MessageId> + use<'a, F> {
        let meant = self.target.as_ref() == Some(target);
        let ids = self.frames.iter().map(|frame| frame.id);
        ids.filter(move |id| meant && id.0 != 0)
    }

    fn holds(&self, id: MessageId) -> bool {
        self.frames.iter().any(|frame| frame.id == id)
    }
}

impl<F> Outbound<F> {
    /// Takes a message whose way is free but for the link; the caller has checked the caps. `None`
    /// if its flow has to see to it. Else how many bytes the send buffer holds more.
    #[inline]
    pub(crate) fn join_run(
        &mut self,
        now: Instant,
        small: &Small<'_>,
        pool: &mut DraftPool<F>,
    ) -> Option<u64> {
        let len = small.head.len() + small.payload.len();
        let run = &mut self.run;
        // Who is in turn comes first: a run goes before all turns, and would never let them in.
        let flow = self.flows.get(small.flow)?;
        if !self.turn.is_empty() || !flow.is_open(len) {
            return None;
        }
        if !run
            .target
            .as_ref()
            .is_some_and(|target| target.is(small.target))
        {
            if !run.frames.is_empty() {
                return None;
            }
            run.target = Some(small.target.clone());
        }
        self.extend_run(now, small, pool)
    }

    /// As [`Outbound::join_run`], right after a message for which the same was looked at and with
    /// no more than [`Outbound::credit_left`].
    #[inline]
    pub(crate) fn extend_run(
        &mut self,
        now: Instant,
        small: &Small<'_>,
        pool: &mut DraftPool<F>,
    ) -> Option<u64> {
        let len = small.head.len() + small.payload.len();
        let flow = self.flows.get_mut(small.flow)?;
        flow.charge(cost(len), false);
        if !small.request {
            flow.await_taken(small.id);
        }
        let deadline = small.deadline.unwrap_or(Instant::NEVER);
        let frame = Frame::in_ring(small.id, len as u32, deadline);
        let bytes = self.append_to_run(frame, pool, |out| {
            out.extend_from_slice(small.head);
            out.extend_from_slice(small.payload);
        });
        if small.request {
            bytes[REQUEST_AT..REQUEST_AT + 8].copy_from_slice(&small.id.0.to_be_bytes());
            stamp(bytes, deadline, now);
            self.run.stamped.get_or_insert(now);
        }
        self.amount(1).add(len as u32);
        Some(len as u64)
    }

    /// What the messages of a flow may cost together that join the run. Nothing where small ones
    /// may have to travel in slices.
    pub(crate) fn credit_left(&self, flow: u32) -> u64 {
        let flow = self.flows.get(flow);
        let flow = flow.filter(|flow| flow.is_open(LONGEST));
        flow.map_or(0, SendFlow::credit_left)
    }

    /// Takes a reply that is one frame, within the `credit` that its request brought. `false` if it
    /// needs a flow of its own.
    pub(crate) fn join_reply(
        &mut self,
        header: &Header,
        body: &ReplyBody<'_>,
        credit: u32,
        pool: &mut DraftPool<F>,
    ) -> bool {
        let len = Header::LEN + body.encoded_len();
        let fits = len <= self.slice_above && cost(len) <= credit.into();
        if !fits || !self.turn.is_empty() {
            return false;
        }
        let frame = Frame::in_ring(MessageId(0), len as u32, Instant::NEVER);
        self.append_to_run(frame, pool, |out| {
            header.encode(0, out);
            body.encode(out);
        });
        self.amount(0).add(len as u32);
        true
    }

    /// Writes a frame to the end of the run, with its length and number.
    #[inline]
    fn append_to_run(
        &mut self,
        frame: Frame<F>,
        pool: &mut DraftPool<F>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> &mut [u8] {
        let run = &mut self.run;
        if run.frames.is_empty() {
            run.first = self.log.last() + 1;
        }
        let number = run.first + run.frames.len() as u64;
        let len = frame.space;
        run.bytes += len as usize;
        run.frames.push_back(frame);
        let chunk = self.log.ring.chunk_for(len as usize, &mut pool.chunks);
        let start = chunk.len();
        write(chunk);
        let bytes = &mut chunk[start..];
        let length = len - Header::LENGTH_FIELD as u32;
        bytes[..Header::LENGTH_FIELD].copy_from_slice(&length.to_be_bytes());
        put_number(bytes, number);
        bytes
    }

    /// Commits as much of the run as the plan takes. `false` if that is not all of it.
    pub(super) fn commit_run(&mut self, now: Instant, tx: &mut Transmitter<F>) -> bool {
        let run = &mut self.run;
        if run.frames.is_empty() || tx.room() == 0 {
            return run.frames.is_empty();
        }
        let first = self.log.last() + 1;
        if run.first != first {
            number_anew(run, &mut self.log.ring, first);
        }
        if run.stamped.is_some_and(|at| at != now) {
            stamp_anew(run, &mut self.log.ring, now);
        }
        if run.bytes <= tx.room() {
            self.log.push_run(&mut run.frames, run.bytes, tx);
            run.bytes = 0;
            run.stamped = None;
            return true;
        }
        let mut len = 0;
        let fits = |frame: &&Frame<F>| {
            len += frame.space as usize;
            len <= tx.room()
        };
        let count = run.frames.iter().take_while(fits).count();
        let mut part: VecDeque<_> = run.frames.drain(..count).collect();
        let len = part.iter().map(|frame| frame.space as usize).sum();
        self.log.push_run(&mut part, len, tx);
        run.first += count as u64;
        run.bytes -= len;
        false
    }

    /// Makes drafts of the run if a message is in it, so that it can be taken out.
    pub(super) fn part_run_of(&mut self, id: MessageId, pool: &mut DraftPool<F>) {
        if self.run.holds(id) {
            self.part_run(pool);
        }
    }

    /// Lets replies in the run go before what needs no credit and is said from now on. A refusal that
    /// overtook the answer to the same request would end the flow that the answer comes on.
    pub(crate) fn answers_first(&mut self, pool: &mut DraftPool<F>) {
        self.part_run_of(MessageId(0), pool);
    }

    /// Puts what is in the run where it would be without it: events first into their flow, with
    /// their credit; frames of the node's own, which have theirs, among those that need none.
    pub(super) fn part_run(&mut self, pool: &mut DraftPool<F>) {
        let Run {
            frames,
            bytes,
            target,
            ..
        } = core::mem::replace(&mut self.run, Run::new());
        if bytes == 0 {
            return;
        }
        let mut drafts = VecDeque::new();
        let mut frames = frames.into_iter();
        self.log.ring.visit_last(bytes, |rest| {
            let Some(frame) = frames.next() else {
                return rest.len();
            };
            let len = frame.space as usize;
            let mut draft = pool.filled(frame.id, &rest[..len]);
            draft.deadline = Some(frame.deadline).filter(|at| *at != Instant::NEVER);
            drafts.push_back(draft);
            len
        });
        self.log.ring.drop_last(bytes, &mut pool.chunks);
        while let Some(mut draft) = drafts.pop_back() {
            if draft.flow > MAX_FLOW {
                self.urgent.push_front(draft);
                continue;
            }
            draft.target = target.clone();
            let id = draft.flow;
            if let Some(flow) = self.flows.get_mut(id) {
                flow.take_back(draft);
            }
            self.consider(id);
        }
    }
}

/// The run had to wait for its plan.
#[cold]
fn stamp_anew<F>(run: &mut Run<F>, ring: &mut Ring, now: Instant) {
    run.stamped = Some(now);
    let mut frames = run.frames.iter();
    ring.visit_last(run.bytes, |rest| match frames.next() {
        Some(frame) => {
            stamp(rest, frame.deadline, now);
            frame.space as usize
        }
        None => rest.len(),
    });
}

#[inline]
fn put_number(frame: &mut [u8], number: u64) {
    let at = Header::SEQUENCE_AT;
    frame[at..at + 8].copy_from_slice(&number.to_be_bytes());
}

/// Other frames were committed since the run began.
#[cold]
fn number_anew<F>(run: &mut Run<F>, ring: &mut Ring, first: u64) {
    run.first = first;
    let mut numbers = first..;
    let mut frames = run.frames.iter();
    ring.visit_last(run.bytes, |rest| {
        put_number(rest, numbers.next().unwrap_or_default());
        frames
            .next()
            .map_or(rest.len(), |frame| frame.space as usize)
    });
}
