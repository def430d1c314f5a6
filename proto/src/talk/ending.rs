//! How what was accepted ends: told, taken back, given up, or left over.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::draft::{Draft, DraftPool};
use super::outbound::Outbound;
use crate::id::MessageId;
use crate::message::Target;
use crate::time::Instant;
use crate::wire::{Kind, flags};

/// What ends with the receiver's instance.
#[derive(Debug)]
pub(crate) struct Leftover<F> {
    /// Never handed to a link.
    pub(crate) uncommitted: VecDeque<Box<Draft<F>>>,
    /// Messages that were handed to a link and not known to be taken.
    pub(crate) unconfirmed: Vec<MessageId>,
}

/// How a message was given up.
#[derive(Debug)]
pub(crate) enum GivenUp<F> {
    /// No byte of it was ever handed to a link: it comes back whole.
    NeverCommitted(Box<Draft<F>>),
    /// It may have arrived.
    Committed,
    /// It is not here: it went long ago, or never was.
    Unknown,
}

impl<F> Outbound<F> {
    /// The message that a receipt names by the sequence of its last frame.
    pub(crate) fn receipt(&mut self, of: u64, last: bool) -> Option<MessageId> {
        if !last {
            return self.receipts.get(&of).copied();
        }
        let message = self.receipts.remove(&of)?;
        // Its fate is told with this: should the receiver end before its credit says so too, the
        // message must not be called unconfirmed.
        for flow in self.flows.values_mut() {
            flow.forget(message);
        }
        Some(message)
    }

    /// The message of a frame that a hub returned unwritten, if this was its first transmission:
    /// only then is it certain that no other copy is on its way.
    pub(crate) fn returned(&self, sequence: u64) -> Option<MessageId> {
        self.log.sent_once(sequence)
    }

    /// An event is committed, or will not be: when it is over is no concern any more.
    pub(super) fn does_not_expire(&mut self, at: Instant, id: MessageId) {
        self.expiries.remove(&(at, id));
    }

    /// When the first event that is not committed is over.
    pub(crate) fn first_expiry(&self) -> Option<Instant> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// The next event that is over by now.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<MessageId> {
        let due = self.first_expiry().is_some_and(|at| at <= now);
        let (_, id) = due.then(|| self.expiries.pop_first()).flatten()?;
        Some(id)
    }

    /// Takes back a message of which no byte was handed to a link.
    pub(crate) fn withdraw(
        &mut self,
        id: MessageId,
        pool: &mut DraftPool<F>,
    ) -> Option<Box<Draft<F>>> {
        self.part_run_of(id, pool);
        let (flow, at) = self.waiting(id)?;
        let begun = at == 0 && self.flows.get(flow)?.slicing.is_some();
        if begun {
            return None;
        }
        match self.give_up_waiting(flow, at, pool) {
            GivenUp::NeverCommitted(draft) => Some(draft),
            GivenUp::Committed | GivenUp::Unknown => None,
        }
    }

    fn waiting(&self, id: MessageId) -> Option<(u32, usize)> {
        self.flows.iter().find_map(|(flow, state)| {
            let at = state.queue.iter().position(|draft| draft.id == id)?;
            Some((flow, at))
        })
    }

    /// Ends a message wherever it is: what was committed is sent as a void from now on.
    pub(crate) fn give_up(&mut self, id: MessageId, pool: &mut DraftPool<F>) -> GivenUp<F> {
        self.part_run_of(id, pool);
        if let Some((flow, at)) = self.waiting(id) {
            return self.give_up_waiting(flow, at, pool);
        }
        match self.void_logged(id, pool) {
            true => GivenUp::Committed,
            false => GivenUp::Unknown,
        }
    }

    /// Messages meant for this target that are not committed, not even in part.
    pub(crate) fn waiting_for<'a>(
        &'a self,
        target: &'a Target,
    ) -> impl Iterator<Item = MessageId> + 'a {
        let queued = self.flows.values().flat_map(move |flow| {
            let begun = usize::from(flow.slicing.is_some());
            let waiting = flow.queue.iter().skip(begun);
            let waiting = waiting.filter(move |draft| draft.target.as_ref() == Some(target));
            waiting.map(|draft| draft.id)
        });
        self.run.waiting_for(target).chain(queued)
    }

    fn give_up_waiting(&mut self, id: u32, at: usize, pool: &mut DraftPool<F>) -> GivenUp<F> {
        let Some(flow) = self.flows.get_mut(id) else {
            return GivenUp::Unknown;
        };
        let begun = at == 0 && flow.slicing.is_some();
        let asked = at == 0 && flow.room_is_asked();
        let Some(draft) = flow.queue.remove(at) else {
            return GivenUp::Unknown;
        };
        if begun || asked {
            // The receiver may hold slices or a reservation: this void frees both.
            flow.end_large();
            self.enqueue_void(id, 0, flags::LAST, pool);
        }
        self.amount(draft.counts).sub(draft.charge);
        if let Some(expiry) = draft.expiry() {
            self.does_not_expire(expiry, draft.id);
        }
        self.consider(id);
        if begun {
            self.void_logged(draft.id, pool);
            return GivenUp::Committed;
        }
        GivenUp::NeverCommitted(draft)
    }

    /// The receiver's instance has ended: what was never committed comes back, what was is named.
    pub(crate) fn end(mut self, pool: &mut DraftPool<F>) -> Leftover<F> {
        self.part_run(pool);
        let mut leftover = Leftover {
            uncommitted: VecDeque::new(),
            unconfirmed: Vec::new(),
        };
        for flow in self.flows.into_values() {
            leftover.unconfirmed.extend(flow.unconfirmed());
            let begun = flow.slicing.is_some();
            for (at, draft) in flow.queue.into_iter().enumerate() {
                match at == 0 && begun {
                    // A request that is begun has its own outcome.
                    true if draft.kind() == Kind::EVENT => leftover.unconfirmed.push(draft.id),
                    true => {}
                    false => leftover.uncommitted.push_back(draft),
                }
            }
        }
        leftover.unconfirmed.extend(self.receipts.into_values());
        leftover.unconfirmed.sort_unstable();
        leftover.unconfirmed.dedup();
        leftover
    }

    fn void_logged(&mut self, id: MessageId, pool: &mut DraftPool<F>) -> bool {
        let found = self.log.void(id, pool);
        if found {
            self.consider_held_back();
            self.receipts.retain(|_, message| *message != id);
            for flow in self.flows.values_mut() {
                flow.forget(id);
            }
        }
        found
    }
}
