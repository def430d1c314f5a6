//! What a node still has to write over one link on behalf of others: a hub to a member and those
//! behind it, a relay to its hub or to a child.

mod control;
mod lane;
mod quotas;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::{fmt, mem};

use slab::Slab;

use self::lane::{Lane, Served, Stores};
use self::quotas::Quotas;
use crate::id::InstanceId;
use crate::link::tx::Transmitter;
use crate::wire::{CloseCode, Frame, Header, Kind, Most, Run, WireError, flow, limits};

/// Bytes that one source may write before it is the next one's turn.
const QUANTUM: usize = 64 * 1024;

/// What one source may have queued here of frames that need no credit: twice what one may have on its way
/// without its receiver's mark, so that who keeps to that is never to blame.
const UNCREDITED_MAX: u64 = 2 * limits::UNCREDITED * flow::LEAST_COST;

/// How many attachments one source may have queued here for one destination. They are its own
/// charge, so a member that does not read cannot use up the hub's descriptors.
const ATTACHMENTS_MAX: usize = limits::PAIR_ATTACHMENTS;

/// The forward queue of a link.
///
/// Frames of one source leave in the order in which they came. Sources take turns by bytes, so
/// that one that sends much delays the others by no more than its quantum. Of marks, credit,
/// `BLOCKED` and `RECLAIM` of a conversation only the last totals are kept; they leave at the
/// place of the first of them, which is earlier than where they came and never later.
///
/// A link may lead to several instances. What may be queued for one is what it has given credit
/// for, and the queue refuses more: a source that overruns it has broken the protocol. So an
/// instance that does not read delays nobody but those who send to it.
pub(crate) struct Egress<F> {
    /// The other fields hold only keys of lanes that are in here, so indexing does not fail.
    lanes: Slab<Lane<F>>,
    by_source: BTreeMap<InstanceId, usize>,
    /// The lane of the last push, as frames come in runs.
    last: Option<(InstanceId, usize)>,
    /// Lanes that hold something, the one whose turn it is first.
    round: VecDeque<usize>,
    /// Whether the first of `round` has got the quantum of its turn.
    turn_begun: bool,
    stores: Stores,
    carries_attachments: bool,
    held: Held,
    attachments_dropped: u64,
}

/// What a queue, or one source's part of it, holds. Merged control frames are not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Frames.
    pub(crate) frames: u64,
    /// Bytes of these frames.
    pub(crate) bytes: u64,
    /// What those that use credit cost.
    pub(crate) credited: u64,
    /// What those that need none would cost.
    pub(crate) uncredited: u64,
    /// Attachments of these frames.
    pub(crate) attachments: usize,
}

/// A frame that was not queued, with what came with it. A fault of its source.
#[derive(Debug)]
pub(crate) struct Refused<F> {
    pub(crate) attachments: Vec<F>,
    pub(crate) why: Overrun,
}

/// Why a frame was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Overrun {
    #[error("the receiver has given no credit for the frame")]
    Credit,
    #[error("too many frames that need no credit")]
    Uncredited,
    #[error("too many attachments")]
    Attachments,
    #[error("credit for more flows than a pair may have")]
    Flows,
    #[error(transparent)]
    Malformed(WireError),
}

impl Overrun {
    /// What the source is told.
    pub(crate) const fn close_code(self) -> CloseCode {
        match self {
            Self::Credit => CloseCode::CreditOverrun,
            Self::Uncredited | Self::Attachments | Self::Flows | Self::Malformed(_) => {
                CloseCode::ProtocolViolation
            }
        }
    }
}

/// A frame of which no byte was handed to the link.
#[derive(Debug)]
pub(crate) struct Unwritten<F> {
    pub(crate) source: InstanceId,
    pub(crate) destination: InstanceId,
    pub(crate) sequence: u64,
    pub(crate) kind: Kind,
    pub(crate) attachments: Option<Arc<Vec<F>>>,
}

impl<F> Unwritten<F> {
    /// Whether this is a request, or a slice of what may be one: its sender wants to know that it
    /// was certainly never started.
    pub(crate) fn may_be_request(&self) -> bool {
        matches!(self.kind, Kind::REQUEST | Kind::SLICE)
    }
}

impl<F> Unwritten<F> {
    /// How many handles the frame had.
    pub(crate) fn attachment_count(&self) -> u64 {
        self.attachments.as_ref().map_or(0, |held| held.len()) as u64
    }
}

impl<F> Egress<F> {
    /// An empty queue of a link that carries attachments or does not.
    pub(crate) fn new(carries_attachments: bool) -> Self {
        Self {
            lanes: Slab::new(),
            by_source: BTreeMap::new(),
            last: None,
            round: VecDeque::new(),
            turn_begun: false,
            stores: Stores::default(),
            carries_attachments,
            held: Held::default(),
            attachments_dropped: 0,
        }
    }

    /// Sets anew what all credited frames for a destination together may cost: everything that it
    /// can have given credit for and the first contact of every sender. What is queued already
    /// stays.
    pub(crate) fn rebound(&mut self, bound: impl FnMut(InstanceId) -> u64) {
        self.stores.quotas.rebound(bound);
    }

    /// Queues a frame: counts its hop, and marks its attachments as lost if some were (`lost`) or
    /// the link cannot carry them. `bound` is asked for the bound of a destination that has none:
    /// see [`Egress::rebound`].
    pub(crate) fn push(
        &mut self,
        frame: &Frame<'_>,
        mut attachments: Vec<F>,
        lost: bool,
        bound: impl FnOnce() -> u64,
    ) -> Result<(), Refused<F>> {
        let header = &frame.header;
        let control = lane::is_control(header.kind);
        if !self.carries_attachments || lost || control {
            self.attachments_dropped += attachments.len() as u64;
            attachments.clear();
        }
        let lost = header.attachments > 0 && attachments.is_empty();
        let key = self.lane_of(header.source);
        let lane = &mut self.lanes[key];
        let before = lane.held();
        let pushed = match control {
            true => lane.push_control(frame, &mut self.stores),
            false => match lane.admit(frame, attachments.len(), bound, &mut self.stores) {
                Ok(quota) => {
                    lane.push(
                        frame,
                        quota,
                        mem::take(&mut attachments),
                        lost,
                        &mut self.stores,
                    );
                    Ok(())
                }
                Err(why) => Err(why),
            },
        };
        if let Err(why) = pushed {
            return Err(Refused { attachments, why });
        }
        self.held.exchange(before, lane.held());
        if !mem::replace(&mut lane.in_round, true) {
            self.round.push_back(key);
        }
        Ok(())
    }

    /// What a run may have at most that follows a frame with this header, which has just been
    /// queued. `None` where none may follow it.
    pub(crate) fn most_of_run(&mut self, lead: &Header) -> Option<Most> {
        if lead.attachments > 0 || lead.flow == flow::NO_FLOW || lane::is_control(lead.kind) {
            return None;
        }
        let (_, cost) = self.stores.quotas.rest(lead.destination)?;
        let key = self.lane_of(lead.source);
        Some(Most::new(self.lanes[key].room_for_run(), cost))
    }

    /// Queues a run that keeps to [`Egress::most_of_run`].
    pub(crate) fn push_run(&mut self, lead: &Header, run: &Run<'_>) {
        let Some((quota, _)) = self.stores.quotas.rest(lead.destination) else {
            return;
        };
        let fits = self.stores.quotas.charge(quota, run.cost);
        debug_assert!(fits, "a run is cut to what is left of the account");
        let key = self.lane_of(lead.source);
        let lane = &mut self.lanes[key];
        let before = lane.held();
        lane.push_run(lead, run, quota, &mut self.stores.pool);
        self.held.exchange(before, lane.held());
    }

    /// Moves frames into the plan under construction, until it is full or the queue is empty.
    /// A frame with attachments waits for the beginning of a plan.
    pub(crate) fn fill(&mut self, tx: &mut Transmitter<F>) {
        while let Some(&key) = self.round.front() {
            let lane = &mut self.lanes[key];
            if !mem::replace(&mut self.turn_begun, true) {
                lane.deficit += QUANTUM;
            }
            let before = lane.held();
            let served = lane.serve(tx, &mut self.stores);
            self.held.exchange(before, lane.held());
            match served {
                Served::PlanFull => break,
                Served::QuantumSpent => self.round.rotate_left(1),
                Served::Empty => {
                    lane.deficit = 0;
                    lane.in_round = false;
                    self.round.pop_front();
                }
            }
            self.turn_begun = false;
        }
        if self.round.is_empty() {
            self.stores.quotas.idle();
        }
    }

    /// Whether the next frame must be the first of its plan, because it has attachments. Whoever
    /// shares the link with this queue lets it begin a plan then, or it waits for ever.
    pub(crate) fn wants_plan_start(&self) -> bool {
        self.round
            .front()
            .is_some_and(|key| self.lanes[*key].wants_plan_start())
    }

    /// Drops everything of a source that has ended, and forgets the source.
    pub(crate) fn purge(&mut self, source: InstanceId) -> Held {
        self.last = None;
        let Some(key) = self.by_source.remove(&source) else {
            return Held::default();
        };
        let lane = self.lanes.remove(key);
        if self.round.front() == Some(&key) {
            self.turn_begun = false;
        }
        self.round.retain(|other| *other != key);
        lane.release(&mut self.stores.quotas);
        let held = lane.held();
        self.held.exchange(held, Held::default());
        self.attachments_dropped += held.attachments as u64;
        held
    }

    /// Takes back what is queued for one instance, which is not behind the link any more.
    pub(crate) fn take_returned(&mut self, destination: InstanceId) -> Vec<Unwritten<F>> {
        let mut returned = Vec::new();
        for (source, key) in &self.by_source {
            let lane = &mut self.lanes[*key];
            let before = lane.held();
            lane.withdraw(*source, destination, &mut returned, &mut self.stores.quotas);
            self.held.exchange(before, lane.held());
        }
        self.stores.quotas.close(destination);
        returned
    }

    /// Drops what one source has queued for one destination. What it has queued for others stays.
    pub(crate) fn drop_between(
        &mut self,
        source: InstanceId,
        destination: InstanceId,
    ) -> Vec<Unwritten<F>> {
        let mut dropped = Vec::new();
        if let Some(key) = self.by_source.get(&source) {
            let lane = &mut self.lanes[*key];
            let before = lane.held();
            lane.withdraw(source, destination, &mut dropped, &mut self.stores.quotas);
            self.held.exchange(before, lane.held());
        }
        dropped
    }

    /// The source that has most queued for a destination. Where more is queued than can have been
    /// allowed, it is the one to blame: nobody is given more than a part of what all have together.
    pub(crate) fn heaviest(&self, destination: InstanceId) -> Option<InstanceId> {
        let sources = self.by_source.iter();
        let costs =
            sources.map(|(source, key)| (self.lanes[*key].credited_for(destination), *source));
        let (cost, source) = costs.max()?;
        (cost > 0).then_some(source)
    }

    /// Empties the queue, as the link has ended or leads nowhere for now: all that was never written, by source and in
    /// order.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Unwritten<F>> + use<F> {
        let mut lanes = mem::take(&mut self.lanes);
        let by_source = mem::take(&mut self.by_source);
        self.last = None;
        self.round.clear();
        self.turn_begun = false;
        self.held = Held::default();
        self.stores.quotas = Quotas::default();
        by_source
            .into_iter()
            .flat_map(move |(source, key)| lanes.remove(key).into_unwritten(source))
    }

    #[cfg(test)]
    /// What is queued.
    pub(crate) const fn held(&self) -> Held {
        self.held
    }

    #[cfg(test)]
    /// What one source has queued here.
    pub(crate) fn held_of(&self, source: InstanceId) -> Held {
        self.by_source
            .get(&source)
            .map_or_else(Held::default, |key| self.lanes[*key].held())
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.round.is_empty()
    }

    /// Attachments that were dropped here: of frames whose link cannot carry them or that had lost
    /// some, and of sources that ended.
    pub(crate) const fn attachments_dropped(&self) -> u64 {
        self.attachments_dropped
    }

    fn lane_of(&mut self, source: InstanceId) -> usize {
        if let Some((last, key)) = self.last
            && last == source
        {
            return key;
        }
        let lanes = &mut self.lanes;
        let key = *self
            .by_source
            .entry(source)
            .or_insert_with(|| lanes.insert(Lane::new()));
        self.last = Some((source, key));
        key
    }
}

impl Held {
    fn add(&mut self, other: Self) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.credited += other.credited;
        self.uncredited += other.uncredited;
        self.attachments += other.attachments;
    }

    fn sub(&mut self, other: Self) {
        self.frames -= other.frames;
        self.bytes -= other.bytes;
        self.credited -= other.credited;
        self.uncredited -= other.uncredited;
        self.attachments -= other.attachments;
    }

    /// A part of this total was `before` and is `after`.
    fn exchange(&mut self, before: Self, after: Self) {
        self.add(after);
        self.sub(before);
    }
}

impl<F> fmt::Debug for Egress<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress")
            .field("held", &self.held)
            .field("sources", &self.by_source.len())
            .finish_non_exhaustive()
    }
}
