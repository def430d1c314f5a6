//! Room for large messages: the whole size is reserved before the first slice, in the order in
//! which it was asked for, so that two half-received messages can never wait for each other.

use alloc::collections::{BTreeMap, VecDeque};

use crate::id::InstanceId;

/// What stands before the payload in the body of a message, at most: two names of 255 bytes, with
/// their lengths and a few numbers. A payload of the largest size must fit a share with them.
const HEAD: u64 = 1024;

/// The reassembly cap of a node and who holds how much of it, in bytes.
#[derive(Debug)]
pub(crate) struct Rooms {
    cap: u64,
    /// One pair holds at most this much, so that one sender that stops cannot hold all.
    share: u64,
    reserved: u64,
    pairs: BTreeMap<InstanceId, u64>,
    queue: VecDeque<Ask>,
}

/// A wish for room: the `number`-th large message of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) source: InstanceId,
    pub(crate) flow: u32,
    pub(crate) number: u32,
    pub(crate) size: u64,
}

impl Rooms {
    /// Of a size that holds so many bytes of payloads: four of them, a pair's share each, with what
    /// stands before them.
    pub(crate) fn for_payloads(cap: u64) -> Self {
        Self::new(cap.saturating_add(4 * HEAD))
    }

    pub(crate) fn new(cap: u64) -> Self {
        Self {
            cap,
            share: cap / 4,
            reserved: 0,
            pairs: BTreeMap::new(),
            queue: VecDeque::new(),
        }
    }

    /// Whether a pair may ever hold room for a message of this size.
    pub(crate) fn may_hold(&self, size: u64) -> bool {
        size <= self.share
    }

    /// Takes a wish down. `false` for one larger than a pair may ever hold: a fault of the sender,
    /// which knows the cap. A repeated wish changes nothing.
    pub(crate) fn ask(&mut self, ask: Ask) -> bool {
        if !self.may_hold(ask.size) {
            return false;
        }
        let known = |old: &Ask| (old.source, old.flow) == (ask.source, ask.flow);
        if !self.queue.iter().any(known) {
            self.queue.push_back(ask);
        }
        true
    }

    /// Whether somebody waits for room.
    pub(crate) fn is_asked(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The next wish that fits, reserved. Only the first wish of all whose pair has room may be
    /// granted; a pair that holds its share does not stop the others.
    pub(crate) fn grant(&mut self) -> Option<Ask> {
        let at = self.queue.iter().position(|ask| {
            let held = self.pairs.get(&ask.source).copied().unwrap_or(0);
            held + ask.size <= self.share
        })?;
        if self.reserved + self.queue[at].size > self.cap {
            return None;
        }
        let ask = self.queue.remove(at)?;
        self.reserved += ask.size;
        *self.pairs.entry(ask.source).or_insert(0) += ask.size;
        Some(ask)
    }

    /// Gives room back when its message is whole and taken, given up, or dead.
    pub(crate) fn free(&mut self, source: InstanceId, size: u64) {
        self.reserved -= size;
        if let Some(held) = self.pairs.get_mut(&source) {
            *held -= size;
            if *held == 0 {
                self.pairs.remove(&source);
            }
        }
    }

    /// Forgets the wishes of an instance that has ended; its rooms are freed one by one.
    pub(crate) fn forget(&mut self, source: InstanceId) {
        self.queue.retain(|ask| ask.source != source);
    }

    /// Forgets the wish for a message that was given up before it was granted. `true` if there was
    /// one.
    pub(crate) fn withdraw(&mut self, source: InstanceId, flow: u32) -> bool {
        let before = self.queue.len();
        self.queue
            .retain(|ask| (ask.source, ask.flow) != (source, flow));
        before != self.queue.len()
    }

    #[cfg(test)]
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: InstanceId = InstanceId(1);
    const B: InstanceId = InstanceId(2);

    fn ask(source: InstanceId, number: u32, size: u64) -> Ask {
        Ask {
            source,
            flow: number,
            number,
            size,
        }
    }

    #[test]
    fn room_is_given_in_the_order_of_asking_and_a_full_share_stops_only_its_pair() {
        let mut rooms = Rooms::new(100);
        assert!(
            !rooms.ask(ask(A, 1, 26)),
            "larger than a pair may ever hold"
        );
        assert!(rooms.ask(ask(A, 1, 25)));
        assert!(rooms.ask(ask(A, 2, 25)));
        assert!(rooms.ask(ask(B, 3, 20)));
        assert_eq!(rooms.grant(), Some(ask(A, 1, 25)));
        assert_eq!(rooms.grant(), Some(ask(B, 3, 20)));
        assert_eq!(rooms.grant(), None);
        rooms.free(A, 25);
        assert_eq!(rooms.grant(), Some(ask(A, 2, 25)));
        assert_eq!(rooms.reserved(), 45);
    }
}
