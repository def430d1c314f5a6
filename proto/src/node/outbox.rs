//! What waits for a receiver that is not there yet, and what all receivers together may hold up.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::id::{InstanceId, MessageId};
use crate::message::{Message, Target};
use crate::time::Instant;

/// Messages without a receiver so far, by target, in the order of their acceptance.
#[derive(Debug)]
pub(super) struct Outbox<F> {
    parked: BTreeMap<Target, Parking<F>>,
    /// Bytes in all send buffers, parked ones included.
    total: u64,
    /// Whether something changed that parked messages wait for.
    retry: bool,
    /// Targets that were refused for the sake of all buffers together: no relief of their own would
    /// be told to them.
    short: BTreeSet<Target>,
    /// Whether a parked message waits for room in all buffers together.
    short_parked: bool,
    /// Instances for which a parked message waits for room: what is accepted for them later, by
    /// whatever target, waits behind it.
    held_back: BTreeSet<InstanceId>,
    /// When parked events are over. Copies of one event count apart.
    expiries: BTreeMap<(Instant, MessageId), usize>,
}

#[derive(Debug)]
struct Parking<F> {
    queue: VecDeque<Parked<F>>,
    bytes: u64,
    /// Whether a message was refused as full.
    refused: bool,
}

/// A message that waits for its target.
#[derive(Debug)]
pub(super) struct Parked<F> {
    pub(super) id: MessageId,
    pub(super) message: Message<F>,
    pub(super) how: How,
}

impl<F> Parked<F> {
    /// When it is over, of an event that has a time of its own.
    pub(super) fn expiry(&self) -> Option<(Instant, MessageId)> {
        let at = self.how.deadline.filter(|_| !self.how.request)?;
        Some((at, self.id))
    }
}

/// What a message is, for the frame that will carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct How {
    pub(super) request: bool,
    /// Flag bits of its frame: which receipt is wanted.
    pub(super) bits: u8,
    pub(super) deadline: Option<Instant>,
    pub(super) queue_attachments: bool,
}

impl<F> Outbox<F> {
    pub(super) fn new() -> Self {
        Self {
            parked: BTreeMap::new(),
            total: 0,
            retry: false,
            short: BTreeSet::new(),
            short_parked: false,
            held_back: BTreeSet::new(),
            expiries: BTreeMap::new(),
        }
    }

    /// Bytes accepted and not yet held by their receivers' nodes.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Counts what a conversation's send buffer gained.
    #[inline]
    pub(super) fn grew(&mut self, bytes: u64) {
        self.total += bytes;
    }

    /// Whether nothing waits for a target, nor behind what does.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.parked.is_empty() && self.held_back.is_empty()
    }

    /// Counts what a conversation's send buffer lost or gained.
    pub(super) fn released(&mut self, before: (u64, u64), after: (u64, u64)) {
        self.total = self.total + after.0 - before.0;
    }

    /// Bytes and messages that wait for a target.
    pub(super) fn waiting(&self, target: &Target) -> (u64, u64) {
        self.parked.get(target).map_or((0, 0), |parking| {
            (parking.bytes, parking.queue.len() as u64)
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }

    /// Takes a message; `first` before those that were accepted later.
    pub(super) fn park(&mut self, parked: Parked<F>, first: bool) {
        if let Some(expiry) = parked.expiry() {
            *self.expiries.entry(expiry).or_insert(0) += 1;
        }
        let size = size_of(&parked.message);
        self.total += size;
        let target = parked.message.target.clone();
        let parking = self.parked.entry(target).or_insert_with(|| Parking {
            queue: VecDeque::new(),
            bytes: 0,
            refused: false,
        });
        parking.bytes += size;
        match first {
            true => parking.queue.push_front(parked),
            false => parking.queue.push_back(parked),
        }
        self.retry |= first;
    }

    /// Remembers a target that was refused because all buffers together are full.
    pub(super) fn refuse_total(&mut self, target: &Target) {
        if !self.short.contains(target) {
            self.short.insert(target.clone());
        }
    }

    /// A parked message waits for room: what is accepted later for the same instance does too.
    pub(super) fn hold_back(&mut self, instance: InstanceId, in_total: bool) {
        self.held_back.insert(instance);
        self.short_parked |= in_total;
    }

    /// Whether what is for this instance has to wait behind a parked message.
    pub(super) fn holds_back(&self, instance: InstanceId) -> bool {
        self.held_back.contains(&instance)
    }

    /// Whether somebody waits for room in all buffers together.
    #[inline]
    pub(super) fn is_short(&self) -> bool {
        self.short_parked || !self.short.is_empty()
    }

    /// The targets that [`Outbox::refuse_total`] remembers, once no more than `half` is buffered.
    pub(super) fn relieved(&mut self, half: u64) -> Option<BTreeSet<Target>> {
        if self.total > half || !self.is_short() {
            return None;
        }
        self.retry |= core::mem::take(&mut self.short_parked);
        Some(core::mem::take(&mut self.short))
    }

    pub(super) fn refuse_full(&mut self, target: &Target) {
        if let Some(parking) = self.parked.get_mut(target) {
            parking.refused = true;
        }
    }

    /// Takes a message out that was given up. With it, whether senders wait for its room.
    pub(super) fn remove(&mut self, id: MessageId) -> Option<Parked<F>> {
        let (target, at) = self.parked.iter().find_map(|(target, parking)| {
            let at = parking.queue.iter().position(|parked| parked.id == id)?;
            Some((target.clone(), at))
        })?;
        let parking = self.parked.get_mut(&target)?;
        let parked = parking.queue.remove(at)?;
        let size = size_of(&parked.message);
        parking.bytes -= size;
        self.total -= size;
        self.retry = true;
        if parking.queue.is_empty() && !parking.refused {
            self.parked.remove(&target);
        }
        self.does_not_expire(&parked);
        Some(parked)
    }

    fn does_not_expire(&mut self, parked: &Parked<F>) {
        let Some(expiry) = parked.expiry() else {
            return;
        };
        if let Some(copies) = self.expiries.get_mut(&expiry) {
            *copies -= 1;
            if *copies == 0 {
                self.expiries.remove(&expiry);
            }
        }
    }

    /// When the first parked event is over.
    pub(super) fn first_expiry(&self) -> Option<Instant> {
        self.expiries.keys().next().map(|(at, _)| *at)
    }

    /// The next event that is over by now.
    pub(super) fn take_expired(&mut self, now: Instant) -> Option<Parked<F>> {
        let (at, id) = *self.expiries.keys().next()?;
        (at <= now).then(|| self.remove(id)).flatten()
    }

    /// The next message for a target.
    pub(super) fn pop(&mut self, target: &Target) -> Option<Parked<F>> {
        let parking = self.parked.get_mut(target)?;
        let parked = parking.queue.pop_front()?;
        let size = size_of(&parked.message);
        parking.bytes -= size;
        self.total -= size;
        self.does_not_expire(&parked);
        Some(parked)
    }

    /// Targets of which half of the room is free again after a refusal; each once.
    pub(super) fn sendable(&mut self, half: u64) -> Vec<Target> {
        let mut told = Vec::new();
        for (target, parking) in &mut self.parked {
            if parking.refused && parking.bytes <= half {
                parking.refused = false;
                told.push(target.clone());
            }
        }
        self.parked
            .retain(|_, parking| !parking.queue.is_empty() || parking.refused);
        told
    }

    pub(super) fn pop_any(&mut self) -> Option<Parked<F>> {
        loop {
            let target = self.parked.keys().next()?.clone();
            let parked = self.pop(&target);
            if self.waiting(&target).1 == 0 {
                self.parked.remove(&target);
            }
            if parked.is_some() {
                return parked;
            }
        }
    }

    /// The message that waits longest for this target.
    pub(super) fn front(&self, target: &Target) -> Option<MessageId> {
        Some(self.parked.get(target)?.queue.front()?.id)
    }

    /// The targets for which something waits, by the message that waits longest.
    pub(super) fn fronts(&self) -> BTreeSet<(MessageId, Target)> {
        let targets = self.parked.keys();
        targets
            .filter_map(|target| Some((self.front(target)?, target.clone())))
            .collect()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = MessageId> + '_ {
        let all = self.parked.values().flat_map(|parking| &parking.queue);
        all.map(|parked| parked.id)
    }

    pub(super) fn must_retry(&self) -> bool {
        self.retry && !self.parked.is_empty()
    }

    /// Everything is tried anew: who still has to wait will say so again.
    pub(super) fn retrying(&mut self) {
        self.held_back.clear();
        self.short_parked = false;
    }

    pub(super) fn retried(&mut self) {
        self.retry = false;
    }

    /// Something changed that parked messages may wait for.
    pub(super) fn retry_soon(&mut self) {
        self.retry = true;
    }
}

/// Fields of the body beside names and payload: those of a request, which has most.
const FIELDS: usize = 8 + 4 + 4 + 1 + 1 + 1;

/// What a parked message counts: its parts as they would travel, but for the namespace's name.
pub(super) fn size_of<F>(message: &Message<F>) -> u64 {
    let parts = message.event.len() + message.payload.len();
    (crate::wire::Header::LEN + FIELDS + parts) as u64
}
