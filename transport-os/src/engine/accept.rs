//! Taking connections, without spinning where the system has run out of something.

use std::os::fd::{AsFd, BorrowedFd};

use switchboard_proto::{Instant, LinkOrigin};

use super::Engine;
use super::fault::{EngineFault, Faults};
use super::source::{Held, Interest, Owner, SourceId, SourceTable};
use crate::{ACCEPT_PAUSE, Accept, Address, FileId, ListenError, Listener};

/// How many connections one turn takes from one listener: a crowd that comes back after a restart
/// must not keep the links that stand from being read.
const PER_TURN: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Acceptor {
    slots: Vec<Option<Slot>>,
}

#[derive(Debug)]
struct Slot {
    listener: Listener,
    source: SourceId,
    ready: bool,
    /// It stays readable while nothing can be accepted, so it is left alone until then.
    paused: Option<Instant>,
}

impl Acceptor {
    pub(super) fn listen(
        &mut self,
        address: &Address,
        sources: &mut SourceTable,
    ) -> Result<Address, ListenError> {
        let listener = Listener::bind(address)?;
        let actual = listener.local_address().clone();
        let owner = Owner::Listener(self.slots.len());
        let source = sources.add(&listener, owner, Interest::READ);
        self.slots.push(Some(Slot {
            listener,
            source,
            ready: false,
            paused: None,
        }));
        Ok(actual)
    }

    pub(super) fn close(&mut self, sources: &mut SourceTable) {
        for slot in self.slots.iter_mut().filter_map(Option::take) {
            sources.remove(slot.source, Held::Listener(slot.listener.into()));
        }
    }

    pub(super) fn failed(
        &mut self,
        at: usize,
        error: std::io::Error,
        sources: &mut SourceTable,
        faults: &mut Faults,
    ) {
        if let Some(slot) = self.slots.get_mut(at).and_then(Option::take) {
            let address = slot.listener.local_address().clone();
            faults.push(EngineFault::ListenerClosed { address, error });
            sources.remove(slot.source, Held::Listener(slot.listener.into()));
        }
    }

    pub(super) fn ready(&mut self, at: usize) {
        if let Some(Some(slot)) = self.slots.get_mut(at) {
            slot.ready = true;
        }
    }

    pub(super) fn has_ready(&self) -> bool {
        let mut slots = self.slots.iter().flatten();
        slots.any(|slot| slot.ready && slot.paused.is_none())
    }

    pub(super) fn resumes_at(&self) -> Option<Instant> {
        let slots = self.slots.iter().flatten();
        slots.filter_map(|slot| slot.paused).min()
    }

    pub(super) fn descriptor(&self, at: usize) -> Option<BorrowedFd<'_>> {
        let slot = self.slots.get(at)?.as_ref()?;
        Some(slot.listener.as_fd())
    }

    pub(super) fn identities(&self) -> impl Iterator<Item = &FileId> {
        let slots = self.slots.iter().flatten();
        slots.map(|slot| slot.listener.identity())
    }

    /// The next connection of one listener; `None` when it has none now.
    fn next(&mut self, at: usize, now: Instant) -> Option<(Accept, &Address)> {
        let slot = self.slots.get_mut(at)?.as_mut()?;
        if slot.paused.is_some_and(|until| until > now) {
            return None;
        }
        slot.paused = None;
        if !slot.ready {
            return None;
        }
        let accept = slot.listener.accept();
        match accept {
            Accept::Blocked => slot.ready = false,
            // The kernel says again neither that it is readable nor what is wrong: an edge is
            // reported once, so `ready` stays.
            Accept::Exhausted { .. } | Accept::Failed(_) => slot.paused = Some(now + ACCEPT_PAUSE),
            Accept::Accepted(_) | Accept::Refused { .. } => {}
        }
        Some((accept, slot.listener.local_address()))
    }
}

impl Engine {
    pub(super) fn accept_ready(&mut self) {
        if !self.acceptor.slots.iter().flatten().any(|slot| slot.ready) {
            return;
        }
        let now = self.now();
        for at in 0..self.acceptor.slots.len() {
            for _ in 0..PER_TURN {
                match self.acceptor.next(at, now) {
                    None | Some((Accept::Blocked, _)) => break,
                    Some((Accept::Refused { .. }, _)) => self.stats.strangers += 1,
                    Some((Accept::Accepted(accepted), _)) => {
                        self.stats.accepted += 1;
                        self.add_stream(accepted.stream, LinkOrigin::Accepted);
                    }
                    Some((Accept::Exhausted { error, .. } | Accept::Failed(error), address)) => {
                        self.stats.accept_pauses += 1;
                        let address = address.clone();
                        self.faults
                            .push(EngineFault::AcceptPaused { address, error });
                        break;
                    }
                }
            }
        }
    }
}
