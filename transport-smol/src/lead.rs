//! Who drives: leader and followers.
//!
//! The first future that waits for a message of its own takes the lead: what the sockets say wakes
//! it and nobody else, and it reads and writes for the whole peer in its own task. So a reply that is
//! waited for goes through no other task. Further ones wait to be told. When nobody leads, the driver
//! does; handlers are always run by the driver.
//!
//! A leader can be a future that somebody holds and does not poll. So while there is one, the driver
//! looks after it every few milliseconds, and relieves it when it was not polled meanwhile, also where
//! it merely waits for long.

use std::sync::{MutexGuard, PoisonError, TryLockError};
use std::task::Waker;

use crate::ops::{OpId, Progress};
use crate::pump::{Pump, Said};
use crate::shared::{Shared, State, fire};

/// Rounds in one poll; after them the executor has its turn.
pub(crate) const ROUNDS: usize = 16;

/// The share of one future in the lead.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Lead {
    /// It may take it.
    #[default]
    Free,
    Has(u64),
    /// It was relieved.
    Past,
}

impl Shared {
    /// What there is to know of an operation; else the waker is woken when there is. Drives the peer
    /// where nobody else does.
    pub(crate) fn poll_op(&self, op: OpId, lead: &mut Lead, waker: &Waker) -> Option<Progress> {
        let mut more = self.take_lead(lead, waker);
        for _ in 0..ROUNDS {
            let pump = if more { self.try_pump() } else { None };
            let Some(pump) = pump else {
                // Nothing to do, or another one does it, who looks again when it is done.
                let (progress, replaced) = self.look(|state| state.ops.poll(op, waker));
                drop(replaced);
                return self.leaving(progress, lead, false);
            };
            let quiet = |state: &mut State| drop(state.ops.quiet(op));
            let poll = |state: &mut State| state.ops.poll(op, waker);
            let (said, (progress, replaced)) = self.round(pump, quiet, poll);
            drop(replaced);
            if said.for_driver {
                self.wakeups.poke();
            }
            more = said.more || self.wakeups.has_io();
            if progress.is_some() {
                return self.leaving(progress, lead, more);
            }
            if !more {
                return None;
            }
        }
        waker.wake_by_ref();
        None
    }

    /// The lead goes to whoever is next.
    pub(crate) fn leave_lead(&self, lead: &mut Lead, more: bool) {
        if let Lead::Has(token) = std::mem::replace(lead, Lead::Past) {
            self.wakeups.leave(token, more);
        }
    }

    /// Waits until nobody makes a round, which takes no longer than that.
    pub(crate) fn pump(&self) -> MutexGuard<'_, Pump> {
        // A panic in a round gave the peer up; what is left in here are lists.
        self.pump.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` while somebody makes a round.
    pub(crate) fn try_pump(&self) -> Option<MutexGuard<'_, Pump>> {
        match self.pump.try_lock() {
            Ok(pump) => Some(pump),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// One round; then others may make theirs, and those are woken whom it concerns.
    pub(crate) fn round<R>(
        &self,
        mut pump: MutexGuard<'_, Pump>,
        before: impl FnOnce(&mut State),
        after: impl FnOnce(&mut State) -> R,
    ) -> (Said, R) {
        let (said, result, wakes) = pump.round(self, before, after);
        if said.closed {
            pump.end();
        }
        drop(pump);
        fire(wakes);
        (said, result)
    }

    /// Takes or keeps the lead, where that is possible. Whether there is something to do.
    pub(crate) fn take_lead(&self, lead: &mut Lead, waker: &Waker) -> bool {
        let token = match *lead {
            Lead::Free => None,
            Lead::Has(token) => Some(token),
            Lead::Past => return false,
        };
        match self.wakeups.lead(token, waker) {
            Some((led, work)) if token.is_none() => {
                let Some(mut pump) = self.try_pump() else {
                    // Without its lock nobody can be told to look after the leader.
                    self.wakeups.leave(led, false);
                    return false;
                };
                pump.watch_leader();
                *lead = Lead::Has(led);
                work
            }
            Some((_, work)) => work,
            None => {
                if token.is_some() {
                    *lead = Lead::Past;
                }
                false
            }
        }
    }

    fn leaving(&self, progress: Option<Progress>, lead: &mut Lead, more: bool) -> Option<Progress> {
        if progress.is_some() {
            self.leave_lead(lead, more);
        }
        progress
    }
}
