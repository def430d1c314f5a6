//! What waits for the application in one namespace, in order: single messages, and runs of events
//! that lie as they came.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Item, ItemKind, Removal};
use crate::id::InstanceId;
use crate::message::{Payload, Receipt};
use crate::spool::{Pool, Spool};
use crate::talk::{Place, Row};
use crate::wire::Header;
use crate::wire::flow::{NO_FLOW, cost};

#[derive(Debug)]
pub(super) struct Queue<F> {
    entries: VecDeque<Entry<F>>,
    /// The frames of all runs in their order.
    spool: Spool,
    messages: usize,
}

#[derive(Debug)]
enum Entry<F> {
    One(Item<F>),
    Run(Events),
}

/// Events that one sender sent one after the other. They differ in nothing but their payloads, so
/// what is said of them here is said of all that are left.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    pub(crate) from: InstanceId,
    pub(crate) flow: u32,
    /// The place of the next one in its flow.
    pub(crate) index: u64,
    pub(crate) event: Arc<str>,
    pub(crate) codec: u8,
    /// Where the payload of each begins in its frame.
    pub(crate) payload_at: usize,
    pub(crate) left: u64,
    /// What those that are left cost.
    pub(crate) cost: u64,
}

impl<F> Queue<F> {
    pub(super) const fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            spool: Spool::new(),
            messages: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.messages
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.messages == 0
    }

    pub(super) fn push(&mut self, item: Item<F>) {
        self.messages += 1;
        self.entries.push_back(Entry::One(item));
    }

    /// How many bytes of a run are taken at once.
    pub(super) fn room_for_run(&self) -> usize {
        self.spool.room()
    }

    pub(super) fn push_run(&mut self, events: Events, frames: &[u8], pool: &mut Pool) {
        self.messages += events.left as usize;
        self.spool.append(frames, pool);
        self.entries.push_back(Entry::Run(events));
    }

    /// Whether the next message is a request. Where what is in front is a run of which nothing is
    /// left, one may follow it.
    pub(super) fn next_is_request(&self) -> bool {
        let mut left = self.entries.iter();
        let next = left.find(|entry| !matches!(entry, Entry::Run(events) if events.left == 0));
        matches!(next, Some(Entry::One(item)) if matches!(item.kind, ItemKind::Request { .. }))
    }

    /// The next message, if it is none of a run.
    pub(super) fn pop(&mut self) -> Option<Item<F>> {
        self.drop_ended();
        if let Entry::Run(_) = self.entries.front()? {
            return None;
        }
        match self.entries.pop_front() {
            Some(Entry::One(item)) => {
                self.messages -= 1;
                Some(item)
            }
            Some(Entry::Run(_)) | None => None,
        }
    }

    /// The run whose events are next.
    #[inline]
    pub(super) fn run_in_front<'a>(&'a mut self, pool: &'a mut Pool) -> Option<RunInFront<'a>> {
        self.drop_ended();
        match self.entries.front_mut()? {
            Entry::Run(events) => Some(RunInFront {
                len: Header::whole_len(self.spool.front()),
                events,
                spool: &mut self.spool,
                messages: &mut self.messages,
                pool,
            }),
            Entry::One(_) => None,
        }
    }

    /// A run of which nothing is left stays until somebody looks at what is behind it.
    #[inline]
    fn drop_ended(&mut self) {
        if let Some(Entry::Run(events)) = self.entries.front()
            && events.left == 0
        {
            self.entries.pop_front();
        }
    }

    /// Takes out what is to be removed of an instance.
    pub(super) fn remove(
        &mut self,
        from: InstanceId,
        what: Removal,
        pool: &mut Pool,
    ) -> Vec<Item<F>> {
        let mut removed = Vec::new();
        let mut before = core::mem::replace(self, Self::new());
        loop {
            before.drop_ended();
            match before.entries.front() {
                None => break,
                Some(Entry::One(_)) => match before.pop() {
                    Some(item) if item.from == from && what.means(&item) => removed.push(item),
                    other => other.into_iter().for_each(|item| self.push(item)),
                },
                Some(Entry::Run(events)) if events.from == from && what == Removal::All => {
                    if let Some(run) = before.run_in_front(pool) {
                        removed.push(run.item());
                        run.pass();
                    }
                }
                Some(Entry::Run(_)) => before.pass_run(self, pool),
            }
        }
        removed
    }

    /// Moves the run in front to the end of another queue.
    fn pass_run(&mut self, to: &mut Self, pool: &mut Pool) {
        let Some(Entry::Run(events)) = self.entries.pop_front() else {
            return;
        };
        let front = self.spool.front();
        let len = (0..events.left).fold(0, |at, _| at + Header::whole_len(&front[at..]));
        self.messages -= events.left as usize;
        to.push_run(events, &front[..len], pool);
        self.spool.skip(len, pool);
    }

    /// See [`Item::orphan`].
    pub(super) fn orphan(&mut self) {
        for entry in &mut self.entries {
            match entry {
                Entry::One(item) => item.orphan(),
                Entry::Run(events) => events.flow = NO_FLOW,
            }
        }
    }

    /// What everything costs that waits of an instance.
    pub(super) fn cost_of(&self, from: InstanceId) -> u64 {
        let costs = self.entries.iter().map(|entry| match entry {
            Entry::One(item) if item.from == from => item.place.cost,
            Entry::Run(events) if events.from == from => events.cost,
            _ => 0,
        });
        costs.sum()
    }
}

/// A run of which something is left, whose next frame begins the spool.
pub(crate) struct RunInFront<'a> {
    pub(crate) events: &'a mut Events,
    /// Bytes of that frame.
    len: usize,
    spool: &'a mut Spool,
    messages: &'a mut usize,
    pool: &'a mut Pool,
}

impl RunInFront<'_> {
    /// Where its next event stands in its flow.
    #[inline]
    pub(crate) fn row(&self) -> Row {
        Row {
            flow: self.events.flow,
            index: self.events.index,
            places: 1,
            cost: cost(self.len),
            on_credit: true,
        }
    }

    #[inline]
    pub(crate) fn payload(&self) -> Payload {
        Payload::copy_within(self.spool.front(), self.events.payload_at, self.len)
    }

    /// Takes its next event away.
    #[inline]
    pub(crate) fn pass(self) {
        self.events.index += 1;
        self.events.left -= 1;
        self.events.cost -= cost(self.len);
        *self.messages -= 1;
        self.spool.skip(self.len, self.pool);
    }

    fn item<F>(&self) -> Item<F> {
        let row = self.row();
        Item {
            from: self.events.from,
            // Nobody asked for a receipt, which alone would name it.
            sequence: 0,
            place: Place {
                flow: row.flow,
                index: row.index,
                cost: row.cost,
                on_credit: row.on_credit,
                room: 0,
            },
            event: self.events.event.clone(),
            codec: self.events.codec,
            payload: self.payload(),
            attachments: Vec::new(),
            lost: false,
            kind: ItemKind::Event(Receipt::None),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::wire::Kind;

    type Told = (InstanceId, Vec<u8>, u64);

    fn single(from: InstanceId, payload: &[u8], index: u64) -> Item<()> {
        Item {
            from,
            sequence: 0,
            place: Place {
                flow: 1,
                index,
                cost: 128,
                on_credit: true,
                room: 0,
            },
            event: "it".into(),
            codec: 0,
            payload: Payload::copy_from(payload),
            attachments: Vec::new(),
            lost: false,
            kind: ItemKind::Event(Receipt::None),
        }
    }

    fn run(from: InstanceId, payloads: &[Vec<u8>], index: u64) -> (Events, Vec<u8>) {
        let header = Header::new(Kind::EVENT, from, InstanceId(1));
        let mut frames = Vec::new();
        let mut total = 0;
        for payload in payloads {
            header.encode_with(|out| out.extend_from_slice(payload), &mut frames);
            total += cost(Header::LEN + payload.len());
        }
        let events = Events {
            from,
            flow: 1,
            index,
            event: "it".into(),
            codec: 0,
            payload_at: Header::LEN,
            left: payloads.len() as u64,
            cost: total,
        };
        (events, frames)
    }

    fn take(queue: &mut Queue<()>, pool: &mut Pool) -> Option<Told> {
        if let Some(run) = queue.run_in_front(pool) {
            let told = (run.events.from, run.payload().to_vec(), run.row().index);
            run.pass();
            return Some(told);
        }
        let item = queue.pop()?;
        Some((item.from, item.payload.to_vec(), item.place.index))
    }

    proptest! {
        #[test]
        fn runs_and_single_messages_come_in_the_order_in_which_they_went(
            steps in proptest::collection::vec((0u8..8, 1u64..4, 1usize..9, 0usize..3_000), 1..80),
        ) {
            let (mut queue, mut pool) = (Queue::new(), Pool::default());
            let mut model: VecDeque<Told> = VecDeque::new();
            let mut index = 0;
            for (at, (what, from, count, len)) in steps.into_iter().enumerate() {
                let from = InstanceId(from);
                match what {
                    0..3 => for _ in 0..count {
                        prop_assert_eq!(take(&mut queue, &mut pool), model.pop_front());
                    },
                    3 => {
                        let removed = queue.remove(from, Removal::All, &mut pool);
                        let (gone, left): (Vec<Told>, Vec<Told>) =
                            model.drain(..).partition(|told| told.0 == from);
                        model.extend(left);
                        let removed = removed.into_iter();
                        let removed = removed.map(|item| (item.from, item.payload.to_vec(), item.place.index));
                        prop_assert_eq!(removed.collect::<Vec<_>>(), gone);
                        prop_assert_eq!(queue.cost_of(from), 0);
                    }
                    4 => {
                        queue.push(single(from, &[at as u8; 5], index));
                        model.push_back((from, [at as u8; 5].to_vec(), index));
                        index += 1;
                    }
                    _ => {
                        let len = len.min(queue.room_for_run() / count - Header::LEN);
                        let payloads: Vec<Vec<u8>> =
                            (0..count).map(|one| [one as u8, at as u8].repeat(len / 2)).collect();
                        let (events, frames) = run(from, &payloads, index);
                        queue.push_run(events, &frames, &mut pool);
                        for payload in payloads {
                            model.push_back((from, payload, index));
                            index += 1;
                        }
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.is_empty(), model.is_empty());
            }
            while let Some(told) = model.pop_front() {
                prop_assert_eq!(take(&mut queue, &mut pool), Some(told));
            }
            prop_assert!(take(&mut queue, &mut pool).is_none() && queue.spool.is_empty());
        }
    }
}
