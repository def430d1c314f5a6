//! What one source has queued for the member, in order.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::control::{Asked, Control};
use super::quotas::Quotas;
use super::{ATTACHMENTS_MAX, Held, Overrun, UNCREDITED_MAX, Unwritten};
use crate::id::InstanceId;
use crate::link::tx::{COPY_MAX, Transmitter};
use crate::spool::{Place, Pool, Spool};
use crate::wire::{AskBody, Frame, Header, Kind, Run, flags, flow};

/// An idle lane keeps memory for this many entries.
const IDLE_ENTRIES: usize = 64;

/// What the lanes of a queue share.
#[derive(Debug, Default)]
pub(super) struct Stores {
    pub(super) pool: Pool,
    pub(super) quotas: Quotas,
    scratch: Vec<u8>,
}

/// The frames of one source.
pub(super) struct Lane<F> {
    entries: VecDeque<Entry<F>>,
    /// The copied bytes of all entries, in their order.
    spool: Spool,
    /// By destination: a link may lead to several.
    controls: BTreeMap<InstanceId, Control>,
    /// How many attachments are queued for those that get any.
    attached: BTreeMap<InstanceId, usize>,
    held: Held,
    /// Bytes that may be written in this turn.
    pub(super) deficit: usize,
    pub(super) in_round: bool,
}

enum Entry<F> {
    Frame(Queued<F>),
    /// Stands for the control frames of the conversation with that destination.
    Control(InstanceId),
    /// A frame of this many copied bytes that was taken back.
    Withdrawn(usize),
}

/// A frame, or a run of small ones that lie one after the other.
struct Queued<F> {
    destination: InstanceId,
    /// Of the first frame; those of a run rise by one.
    sequence: u64,
    frames: u64,
    cost: u64,
    kind: Kind,
    /// The account that is charged with it, if it uses credit.
    quota: Option<usize>,
    /// Bytes in the spool: the whole frames, or the header of a large one.
    copied: usize,
    /// The body of a large frame.
    payload: Option<Bytes>,
    attachments: Option<Arc<Vec<F>>>,
}

/// Why a lane has stopped to fill a plan.
pub(super) enum Served {
    /// The plan does not take its next frame.
    PlanFull,
    /// It has written what it may in this turn.
    QuantumSpent,
    /// It has nothing more.
    Empty,
}

/// Whether the kind is control of a conversation, for [`Lane::push_control`].
pub(super) const fn is_control(kind: Kind) -> bool {
    matches!(kind, Kind::MARK | Kind::BLOCKED | Kind::ASK | Kind::RECLAIM)
}

impl<F> Lane<F> {
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            spool: Spool::default(),
            controls: BTreeMap::new(),
            attached: BTreeMap::new(),
            held: Held::default(),
            deficit: 0,
            in_round: false,
        }
    }

    pub(super) const fn held(&self) -> Held {
        self.held
    }

    /// Whether the source may queue one more frame. One that uses credit is charged to the account
    /// that is returned.
    pub(super) fn admit(
        &self,
        frame: &Frame<'_>,
        attachments: usize,
        bound: impl FnOnce() -> u64,
        stores: &mut Stores,
    ) -> Result<Option<usize>, Overrun> {
        let cost = flow::cost(frame.whole().len());
        let destination = frame.header.destination;
        if attachments > 0 {
            let queued = self.attached.get(&destination).copied().unwrap_or(0);
            if queued + attachments > ATTACHMENTS_MAX {
                return Err(Overrun::Attachments);
            }
        }
        if frame.header.flow == flow::NO_FLOW {
            return self.admit_uncredited(cost).map(|()| None);
        }
        let quota = stores.quotas.of(destination, bound);
        match stores.quotas.charge(quota, cost) {
            true => Ok(Some(quota)),
            false => Err(Overrun::Credit),
        }
    }

    fn admit_uncredited(&self, cost: u64) -> Result<(), Overrun> {
        match self.held.uncredited + cost > UNCREDITED_MAX {
            true => Err(Overrun::Uncredited),
            false => Ok(()),
        }
    }

    /// Queues a frame that has been admitted.
    pub(super) fn push(
        &mut self,
        frame: &Frame<'_>,
        quota: Option<usize>,
        attachments: Vec<F>,
        lost: bool,
        stores: &mut Stores,
    ) {
        let whole = frame.whole();
        let large = whole.len() > Header::LEN + COPY_MAX;
        let copied = if large { &whole[..Header::LEN] } else { whole };
        if let Some(control) = self.controls.get_mut(&frame.header.destination)
            && let Some(asked) = &mut control.asked
        {
            asked.last = false;
        }
        let queued = Queued {
            destination: frame.header.destination,
            sequence: frame.header.sequence,
            frames: 1,
            cost: flow::cost(whole.len()),
            kind: frame.header.kind,
            quota,
            copied: copied.len(),
            payload: large.then(|| frame.share_body_from(0)),
            attachments: (!attachments.is_empty()).then(|| Arc::new(attachments)),
        };
        self.append(copied, lost, queued, &mut stores.pool);
    }

    /// How many bytes of a run are taken at once.
    pub(super) fn room_for_run(&self) -> usize {
        self.spool.room()
    }

    /// Queues a run that follows the frame with this header, which has just been queued and uses
    /// credit, and is charged to the same account.
    pub(super) fn push_run(&mut self, lead: &Header, run: &Run<'_>, quota: usize, pool: &mut Pool) {
        let place = self.spool.append(run.bytes, pool);
        let mut rest = self.spool.get_mut(place).unwrap_or_default();
        while let Some((frame, others)) = rest.split_at_mut_checked(Header::whole_len(rest))
            && !frame.is_empty()
        {
            forwarded(frame, false);
            rest = others;
        }
        let queued = Queued {
            destination: lead.destination,
            sequence: run.first,
            frames: run.frames,
            cost: run.cost,
            kind: lead.kind,
            quota: Some(quota),
            copied: run.bytes.len(),
            payload: None,
            attachments: None,
        };
        self.held.add(queued.held());
        self.entries.push_back(Entry::Frame(queued));
    }

    /// Queues a control frame of a conversation, or merges it with what waits of it.
    pub(super) fn push_control(
        &mut self,
        frame: &Frame<'_>,
        stores: &mut Stores,
    ) -> Result<(), Overrun> {
        let destination = frame.header.destination;
        let control = self.controls.entry(destination).or_default();
        if frame.header.kind == Kind::ASK {
            return self.push_ask(frame, &mut stores.pool);
        }
        control.merge(frame)?;
        if !control.queued {
            control.queued = true;
            self.entries.push_back(Entry::Control(destination));
        }
        Ok(())
    }

    /// Queues a question. It marks where a path begins, so it keeps its place among the frames of
    /// its conversation; but where none lies between it and the question before, only the later
    /// counts, and a question repeated is one question.
    fn push_ask(&mut self, frame: &Frame<'_>, pool: &mut Pool) -> Result<(), Overrun> {
        let AskBody { path } = AskBody::decode(frame.body()).map_err(Overrun::Malformed)?;
        let destination = frame.header.destination;
        // A question carries none. Should its sender announce some, the member must not wait for
        // them: it would take them for a fault of this link.
        let lost = frame.header.attachments > 0;
        let before = self.asked(destination);
        if let Some(before) = before
            && let Some(bytes) = self.spool.get_mut(before.place)
        {
            if before.path == path {
                return Ok(());
            }
            if before.last {
                bytes.copy_from_slice(frame.whole());
                forwarded(bytes, lost);
                self.note_asked(destination, Asked { path, ..before });
                return Ok(());
            }
        }
        self.admit_uncredited(flow::cost(frame.whole().len()))?;
        let queued = Queued {
            destination,
            sequence: 0,
            frames: 1,
            cost: flow::cost(frame.whole().len()),
            kind: Kind::ASK,
            quota: None,
            copied: frame.whole().len(),
            payload: None,
            attachments: None,
        };
        let place = self.append(frame.whole(), lost, queued, pool);
        let last = true;
        self.note_asked(destination, Asked { place, path, last });
        Ok(())
    }

    fn asked(&self, destination: InstanceId) -> Option<Asked> {
        self.controls.get(&destination)?.asked
    }

    fn note_asked(&mut self, destination: InstanceId, asked: Asked) {
        self.controls.entry(destination).or_default().asked = Some(asked);
    }

    fn append(&mut self, copied: &[u8], lost: bool, queued: Queued<F>, pool: &mut Pool) -> Place {
        let place = self.spool.append(copied, pool);
        if let Some(bytes) = self.spool.get_mut(place) {
            forwarded(bytes, lost);
        }
        self.held.add(queued.held());
        if let Some(attachments) = &queued.attachments {
            *self.attached.entry(queued.destination).or_default() += attachments.len();
        }
        self.entries.push_back(Entry::Frame(queued));
        place
    }

    /// Moves frames into the plan until one of the three reasons to stop.
    pub(super) fn serve(&mut self, tx: &mut Transmitter<F>, stores: &mut Stores) -> Served {
        // Neighbouring small frames are copied at once: `run` bytes of the spool are decided.
        let mut run = 0;
        let served = loop {
            match self.entries.front() {
                None => break Served::Empty,
                Some(Entry::Frame(next)) => {
                    let chunk_ends = run + next.copied > self.spool.front().len();
                    if run > 0 && (chunk_ends || next.stands_alone()) {
                        self.flush(&mut run, tx, &mut stores.pool);
                        continue;
                    }
                    let most = self.deficit.min(tx.room().saturating_sub(run));
                    if next.frames > 1 && next.copied > most {
                        self.split_front(run, most);
                        continue;
                    }
                    if next.len() > self.deficit {
                        break Served::QuantumSpent;
                    }
                    if !next.joins(tx, run) {
                        break Served::PlanFull;
                    }
                }
                Some(Entry::Withdrawn(_)) => self.flush(&mut run, tx, &mut stores.pool),
                Some(Entry::Control(destination)) => {
                    let destination = *destination;
                    self.flush(&mut run, tx, &mut stores.pool);
                    let scratch = &mut stores.scratch;
                    if let Some(stop) = self.serve_control(destination, tx, scratch) {
                        break stop;
                    }
                }
            }
            run += self.take_front(tx, stores);
        };
        self.flush(&mut run, tx, &mut stores.pool);
        if self.entries.is_empty() {
            self.entries.shrink_to(IDLE_ENTRIES);
        }
        served
    }

    /// Makes two of the run that is the first entry and lies `at` the front of the spool: the frames
    /// that fit into `most` bytes, at least one, and the rest.
    fn split_front(&mut self, at: usize, most: usize) {
        let Some(Entry::Frame(mut rest)) = self.entries.pop_front() else {
            return;
        };
        let bytes = self.spool.front().get(at..).unwrap_or_default();
        let mut first = rest.none();
        loop {
            let len = Header::whole_len(&bytes[first.copied..]);
            if first.frames > 0 && first.copied + len > most || rest.frames == 1 {
                break;
            }
            first.grow(len);
            rest.shrink(len);
        }
        self.entries.push_front(Entry::Frame(rest));
        self.entries.push_front(Entry::Frame(first));
    }

    /// Takes the first entry away. What is left to copy of it is returned.
    fn take_front(&mut self, tx: &mut Transmitter<F>, stores: &mut Stores) -> usize {
        let pool = &mut stores.pool;
        match self.entries.pop_front() {
            Some(Entry::Frame(queued)) => {
                self.deficit -= queued.len();
                self.held.sub(queued.held());
                queued.release(&mut stores.quotas);
                if !queued.stands_alone() {
                    return queued.copied;
                }
                forget_attached(&mut self.attached, &queued);
                if let Some(attachments) = queued.attachments {
                    tx.attach(attachments);
                }
                let head = &self.spool.front()[..queued.copied];
                tx.push_with_payload(head, queued.payload.unwrap_or_default());
                self.spool.skip(queued.copied, pool);
            }
            Some(Entry::Withdrawn(copied)) => self.spool.skip(copied, pool),
            Some(Entry::Control(_)) | None => {}
        }
        0
    }

    /// Moves the control frames of a conversation into the plan. Returns why not all of them.
    fn serve_control(
        &mut self,
        destination: InstanceId,
        tx: &mut Transmitter<F>,
        scratch: &mut Vec<u8>,
    ) -> Option<Served> {
        let control = self.controls.get_mut(&destination)?;
        loop {
            scratch.clear();
            if !control.peek(scratch) {
                control.queued = false;
                return None;
            }
            if scratch.len() > self.deficit {
                return Some(Served::QuantumSpent);
            }
            if !tx.fits(scratch.len()) {
                return Some(Served::PlanFull);
            }
            self.deficit -= scratch.len();
            tx.push(scratch);
            control.pop();
        }
    }

    fn flush(&mut self, run: &mut usize, tx: &mut Transmitter<F>, pool: &mut Pool) {
        if *run > 0 {
            tx.push(&self.spool.front()[..*run]);
            self.spool.skip(*run, pool);
            *run = 0;
        }
    }

    pub(super) fn wants_plan_start(&self) -> bool {
        let live = |entry: &&Entry<F>| !matches!(entry, Entry::Withdrawn(_));
        match self.entries.iter().find(live) {
            Some(Entry::Frame(next)) => next.attachments.is_some(),
            _ => false,
        }
    }

    /// Takes back everything that is queued for a destination. The bytes stay until their turn.
    pub(super) fn withdraw(
        &mut self,
        source: InstanceId,
        destination: InstanceId,
        returned: &mut Vec<Unwritten<F>>,
        quotas: &mut Quotas,
    ) {
        self.controls.remove(&destination);
        self.attached.remove(&destination);
        for entry in &mut self.entries {
            match entry {
                Entry::Frame(queued) if queued.destination == destination => {
                    self.held.sub(queued.held());
                    queued.release(quotas);
                    returned.extend(queued.unwritten(source));
                    *entry = Entry::Withdrawn(queued.copied);
                }
                Entry::Control(other) if *other == destination => *entry = Entry::Withdrawn(0),
                _ => {}
            }
        }
    }

    /// What the frames for a destination cost that use credit.
    pub(super) fn credited_for(&self, destination: InstanceId) -> u64 {
        let queued = self.entries.iter().filter_map(|entry| match entry {
            Entry::Frame(queued) if queued.destination == destination => Some(queued),
            _ => None,
        });
        queued.map(|queued| queued.held().credited).sum()
    }

    /// Gives back what the frames are charged with, as they will never be written.
    pub(super) fn release(&self, quotas: &mut Quotas) {
        for entry in &self.entries {
            if let Entry::Frame(queued) = entry {
                queued.release(quotas);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn idle_bytes(&self) -> usize {
        assert!(self.spool.is_empty());
        self.entries.capacity() * size_of::<Entry<F>>()
    }

    pub(super) fn into_unwritten(
        self,
        source: InstanceId,
    ) -> impl Iterator<Item = Unwritten<F>> + use<F> {
        self.entries
            .into_iter()
            .filter_map(|entry| match entry {
                Entry::Frame(queued) => Some(queued),
                Entry::Control(_) | Entry::Withdrawn(_) => None,
            })
            .flat_map(move |mut queued| queued.unwritten(source))
    }
}

impl<F> Queued<F> {
    fn len(&self) -> usize {
        self.copied + self.payload.as_ref().map_or(0, Bytes::len)
    }

    /// Whether it cannot be copied together with its neighbours.
    const fn stands_alone(&self) -> bool {
        self.payload.is_some() || self.attachments.is_some()
    }

    /// Whether the plan takes this frame after `run` more bytes.
    fn joins(&self, tx: &Transmitter<F>, run: usize) -> bool {
        if self.attachments.is_some() {
            return run == 0 && tx.can_attach();
        }
        if run == 0 {
            tx.fits(self.len())
        } else {
            run + self.len() <= tx.room()
        }
    }

    fn held(&self) -> Held {
        Held {
            frames: self.frames,
            bytes: self.len() as u64,
            credited: self.quota.map_or(0, |_| self.cost),
            uncredited: self.quota.map_or(self.cost, |_| 0),
            attachments: self.attachments.as_ref().map_or(0, |set| set.len()),
        }
    }

    fn release(&self, quotas: &mut Quotas) {
        if let Some(quota) = self.quota {
            quotas.release(quota, self.cost);
        }
    }

    /// The part of a run in front of it, with no frame yet.
    const fn none(&self) -> Self {
        Self {
            destination: self.destination,
            sequence: self.sequence,
            frames: 0,
            cost: 0,
            kind: self.kind,
            quota: self.quota,
            copied: 0,
            payload: None,
            attachments: None,
        }
    }

    /// A frame of `len` bytes is its last one now.
    const fn grow(&mut self, len: usize) {
        self.frames += 1;
        self.cost += flow::cost(len);
        self.copied += len;
    }

    /// A frame of `len` bytes is its first one no more.
    const fn shrink(&mut self, len: usize) {
        self.sequence += 1;
        self.frames -= 1;
        self.cost -= flow::cost(len);
        self.copied -= len;
    }

    fn unwritten(&mut self, source: InstanceId) -> impl Iterator<Item = Unwritten<F>> + use<F> {
        let (destination, sequence, kind) = (self.destination, self.sequence, self.kind);
        let mut attachments = self.attachments.take();
        (0..self.frames).map(move |at| Unwritten {
            source,
            destination,
            sequence: sequence + at,
            kind,
            attachments: attachments.take(),
        })
    }
}

/// The attachments of a frame are on their way.
fn forget_attached<F>(attached: &mut BTreeMap<InstanceId, usize>, queued: &Queued<F>) {
    let gone = queued.attachments.as_ref().map_or(0, |set| set.len());
    if let Some(count) = attached.get_mut(&queued.destination)
        && gone > 0
    {
        *count -= gone;
        if *count == 0 {
            attached.remove(&queued.destination);
        }
    }
}

/// Changes in a forwarded frame the only two things that a hub changes.
fn forwarded(bytes: &mut [u8], lost: bool) {
    bytes[Header::HOPS_AT] = bytes[Header::HOPS_AT].saturating_add(1);
    if lost {
        bytes[Header::FLAGS_AT] |= flags::ATTACHMENTS_LOST;
    }
}
