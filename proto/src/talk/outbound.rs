//! The sending half of a conversation: numbers, retention, and how a path begins.
//!
//! A frame gets its number when it is first committed to a link, so sequence order is wire order.
//! A number once given is always sent again after a path's end, as a void if its message was given
//! up meanwhile. What is released is only what the receiver's node has said it holds.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use super::draft::{Draft, DraftPool};
use super::first_contact::FirstContact;
use super::log::Log;
use super::run::Run;
use super::send_flow::{Next, SendFlow};
use crate::id::{InstanceId, MessageId};
use crate::run_map::RunMap;
use crate::time::Instant;
use crate::wire::flow::NO_FLOW;
use crate::wire::{Header, Kind, MarkBody, VoidBody, limits};

/// How far a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// The receiver cannot be reached now.
    Down,
    /// A path has begun; the question for the mark is still to be sent.
    Begins,
    /// The question is sent; nothing else goes until it is answered over the same path.
    Asked,
    Ready,
}

/// The addresses that every frame of the conversation carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) source: InstanceId,
    pub(crate) destination: InstanceId,
}

#[derive(Debug)]
pub(crate) struct Outbound<F> {
    pub(super) ends: Ends,
    pub(super) log: Log<F>,
    pub(super) run: Run<F>,
    pub(super) path: Path,
    pub(super) path_number: u32,
    /// Frames that need no credit of a flow: receipts, refusals, cancels, ends of large messages.
    pub(super) urgent: VecDeque<Box<Draft<F>>>,
    pub(super) flows: RunMap<u32, SendFlow<F>>,
    /// Flows that may commit something, in turn.
    pub(super) turn: VecDeque<u32>,
    /// Flows that have to say that they are blocked.
    pub(super) blocked: Vec<u32>,
    pub(super) first_contact: FirstContact,
    /// How many handles the receiver's node may be not known to hold.
    attached_most: usize,
    /// Flows whose next frame waits until handles before it have arrived.
    pub(super) held_back: Vec<u32>,
    /// Messages that want a receipt, by the sequence of the frame that ends them.
    pub(super) receipts: BTreeMap<u64, MessageId>,
    /// Longer frames travel in slices.
    pub(super) slice_above: usize,
    pub(super) loopback: bool,
    /// Messages of the application that wait, and frames of the node's own: replies, receipts,
    /// refusals, cancels, voids.
    messages: Amount,
    own: Amount,
    /// When events that are not committed are over.
    pub(super) expiries: BTreeSet<(Instant, MessageId)>,
}

/// Bytes, and how many things they belong to. The parts of a whole that count nothing by themselves
/// have no bytes here either.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Amount {
    bytes: u64,
    count: u64,
}

impl Amount {
    pub(super) fn add(&mut self, charge: u32) {
        self.bytes += u64::from(charge);
        self.count += u64::from(charge > 0);
    }

    pub(super) fn sub(&mut self, charge: u32) {
        self.bytes -= u64::from(charge);
        self.count -= u64::from(charge > 0);
    }
}

/// The receiver says that it holds what was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MarkOfUnsent;

impl<F> Outbound<F> {
    /// `loopback`: the other end is this very node, so handles are moved into the plan.
    pub(crate) fn new(
        ends: Ends,
        attached_most: usize,
        slice_above: usize,
        loopback: bool,
    ) -> Self {
        Self {
            ends,
            log: Log::new(),
            run: Run::new(),
            path: Path::Down,
            path_number: 0,
            urgent: VecDeque::new(),
            flows: RunMap::new(),
            turn: VecDeque::new(),
            blocked: Vec::new(),
            first_contact: FirstContact::whole(),
            attached_most,
            held_back: Vec::new(),
            receipts: BTreeMap::new(),
            slice_above,
            loopback,
            messages: Amount::default(),
            own: Amount::default(),
            expiries: BTreeSet::new(),
        }
    }

    /// Bytes and messages in the send buffer: accepted, and not yet held by the receiver's node.
    pub(crate) fn buffered(&self) -> (u64, u64) {
        (self.messages.bytes, self.messages.count)
    }

    /// Bytes and frames of the node's own that the receiver's node is not known to hold.
    pub(crate) fn own_frames(&self) -> (u64, u64) {
        (self.own.bytes, self.own.count)
    }

    pub(super) fn amount(&mut self, counts: u8) -> &mut Amount {
        match counts {
            0 => &mut self.own,
            _ => &mut self.messages,
        }
    }

    /// Handles of messages that the receiver's node is not known to hold.
    pub(crate) fn attachments(&self) -> usize {
        let waiting = self.flows.values().flat_map(|flow| flow.queue.iter());
        let waiting = waiting.map(|draft| draft.attachment_count());
        self.log.handles() + waiting.sum::<usize>()
    }

    /// Whether the message is not known to be taken.
    pub(crate) fn holds(&self, id: MessageId) -> bool {
        self.unsettled().any(|held| held == id)
    }

    /// Whether the next frame has attachments, so that it must be the first of a plan.
    pub(crate) fn attaches_next(&self) -> bool {
        if self.path != Path::Ready {
            return false;
        }
        if let Some(attaches) = self.log.unsent() {
            return attaches;
        }
        let Some(id) = self.turn.front() else {
            return false;
        };
        let front = self.flows.get(*id).and_then(|flow| flow.queue.front());
        let attaches = front.is_some_and(|draft| draft.attachments.is_some());
        attaches && self.urgent.is_empty() && self.run.frames.is_empty()
    }

    /// Whether nothing waits to be sent, held or taken by the other side, and every receipt that
    /// was asked for has come.
    pub(crate) fn is_settled(&self) -> bool {
        self.log.is_empty()
            && self.run.frames.is_empty()
            && self.urgent.is_empty()
            && self.receipts.is_empty()
            && self.flows.values().all(SendFlow::is_settled)
    }

    /// The messages that are not known to be taken, for what a shutdown did not deliver.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = MessageId> + '_ {
        let flows = self.flows.values().flat_map(|flow| {
            let waiting = flow.queue.iter().map(|draft| draft.id);
            flow.unconfirmed().chain(waiting)
        });
        flows.chain(self.receipts.values().copied())
    }

    /// Whether `fill` would put something into a plan.
    pub(crate) fn wants_write(&self) -> bool {
        match self.path {
            Path::Down | Path::Asked => false,
            Path::Begins => true,
            Path::Ready => {
                !self.run.frames.is_empty()
                    || self.log.unsent().is_some()
                    || !self.urgent.is_empty() && self.log.uncredited() < limits::UNCREDITED
                    || !self.turn.is_empty()
                    || !self.blocked.is_empty()
            }
        }
    }

    /// Accepts a frame for its flow, or, with flow 0, one that needs no credit. The caller has
    /// checked the caps.
    pub(crate) fn enqueue(&mut self, draft: Box<Draft<F>>) {
        self.amount(draft.counts).add(draft.charge);
        if let Some(deadline) = draft.expiry() {
            self.expiries.insert((deadline, draft.id));
        }
        let id = draft.flow;
        if id == 0 {
            self.urgent.push_back(draft);
            return;
        }
        let slice_above = self.slice_above;
        let flow = self
            .flows
            .get_or_insert_with(id, || SendFlow::new(id, 0, slice_above));
        flow.queue.push_back(draft);
        if flow.queue.len() == 1 {
            self.consider(id);
        }
    }

    /// Longer frames travel in slices from now on: more is known of the receiver.
    pub(crate) fn set_slice_above(&mut self, slice_above: usize, pool: &mut DraftPool<F>) {
        if core::mem::replace(&mut self.slice_above, slice_above) == slice_above {
            return;
        }
        self.part_run(pool);
        let ids: Vec<u32> = self.flows.keys().collect();
        for id in ids {
            if let Some(flow) = self.flows.get_mut(id) {
                flow.set_slice_above(slice_above);
            }
            self.consider(id);
        }
    }

    /// Opens the flow of a reply with the credit that its request brought. What does not fit into
    /// that travels in slices.
    pub(crate) fn open_reply_flow(&mut self, id: u32, credit: u64) {
        self.close_reply_flow(id);
        let slice_above = self.slice_above.min(credit as usize);
        self.flows
            .insert(id, SendFlow::new(id, credit, slice_above));
    }

    /// Ends the flow of a reply that will not come. Returns how many handles are dropped with it.
    pub(crate) fn close_reply_flow(&mut self, id: u32) -> u64 {
        let Some(flow) = self.flows.remove(id) else {
            return 0;
        };
        self.turn.retain(|waiting| *waiting != id);
        let mut dropped = 0;
        for draft in flow.queue {
            self.amount(draft.counts).sub(draft.charge);
            dropped += draft.attachment_count() as u64;
        }
        dropped
    }

    /// A path begins: nothing is sent on it before the question for the mark is answered, except
    /// where nothing was ever sent.
    pub(crate) fn path_begins(&mut self) {
        self.path_number += 1;
        self.path = match self.log.high() {
            0 => Path::Ready,
            _ => Path::Begins,
        };
        self.blocked.clear();
        let ids: Vec<u32> = self.flows.keys().collect();
        for id in ids {
            if let Some(flow) = self.flows.get_mut(id) {
                flow.forget_said();
            }
            self.consider(id);
        }
    }

    /// The receiver cannot be reached until a path begins.
    pub(crate) fn path_ends(&mut self) {
        self.path = Path::Down;
    }

    /// The receiver's mark: releases what it holds, moves limits, and answers the question.
    pub(crate) fn on_mark(
        &mut self,
        mark: &MarkBody,
        answer: bool,
        pool: &mut DraftPool<F>,
    ) -> Result<(), MarkOfUnsent> {
        if mark.received > self.log.high() {
            return Err(MarkOfUnsent);
        }
        self.release(mark.received, pool);
        for credit in &mark.credits {
            if let Some(flow) = self.flows.get_mut(credit.flow) {
                flow.on_credit(credit);
                self.consider(credit.flow);
            }
        }
        let counts = answer && mark.path == self.path_number;
        if counts && matches!(self.path, Path::Asked | Path::Ready) {
            self.log.rewind();
            self.path = Path::Ready;
        }
        Ok(())
    }

    /// The receiver asks for credit that is not used; it comes back as a void that costs it.
    pub(crate) fn on_reclaim(&mut self, id: u32, limit: u64, pool: &mut DraftPool<F>) {
        // What stands in the run waits in its flow, too: a void that went before it would count as
        // it when it is taken.
        self.part_run(pool);
        let given = self
            .flows
            .get_mut(id)
            .and_then(|flow| flow.give_back(limit));
        if let Some(cost) = given {
            self.enqueue_void(id, cost, 0, pool);
        }
    }

    /// Puts a flow in turn, or makes it say that it is blocked.
    pub(super) fn consider(&mut self, id: u32) {
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        match flow.next(&self.first_contact) {
            Next::Idle => {}
            Next::Whole { .. } | Next::Slice { .. } => {
                if !flow.in_turn {
                    flow.in_turn = true;
                    self.turn.push_back(id);
                }
            }
            Next::Blocked(blocked) => {
                if flow.must_say(blocked) && !self.blocked.contains(&id) {
                    self.blocked.push(id);
                }
            }
        }
    }

    fn release(&mut self, received: u64, pool: &mut DraftPool<F>) {
        while let Some(released) = self.log.release(received, pool) {
            self.amount(released.counts.into()).sub(released.charge);
        }
        self.consider_held_back();
    }

    /// Whether so many handles more may be on their way. One frame always may.
    pub(super) fn can_send_handles(&self, count: usize) -> bool {
        count == 0 || self.log.handles() == 0 || self.log.handles() + count <= self.attached_most
    }

    pub(super) fn consider_held_back(&mut self) {
        for id in core::mem::take(&mut self.held_back) {
            self.consider(id);
        }
    }

    pub(super) fn enqueue_void(&mut self, flow: u32, cost: u64, bits: u8, pool: &mut DraftPool<F>) {
        let mut draft = pool.take(NO_FLOW);
        let mut header = Header::new(Kind::VOID, self.ends.source, self.ends.destination);
        header.flow = flow;
        header.flags = bits;
        header.encode(8, &mut draft.head);
        VoidBody { cost }.encode(&mut draft.head);
        draft.charge = draft.len() as u32;
        self.enqueue(draft);
    }
}
