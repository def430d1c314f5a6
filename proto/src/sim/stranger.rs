//! Somebody who connects to the hub and does not speak the protocol.

use alloc::vec::Vec;

use super::kernel::{End, Kernel, ReadResult, Room, WriteResult};
use crate::time::Instant;

/// A connection of a stranger: it says its bytes as fast as they are taken, and leaves when it is
/// shown the door.
#[derive(Debug)]
pub(super) struct Stranger {
    end: End,
    says: Vec<u8>,
}

/// What a stranger did in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Nothing,
    Something,
    Left,
}

impl Stranger {
    pub(super) fn new(end: End, says: Vec<u8>) -> Self {
        Self { end, says }
    }

    pub(super) fn act(&mut self, now: Instant, kernel: &mut Kernel) -> Act {
        let mut act = Act::Nothing;
        if let WriteResult::Wrote(said @ 1..) = kernel.write(now, self.end, &self.says, &[]) {
            self.says.drain(..said);
            act = Act::Something;
        }
        // What the hub sends it is of no interest to it.
        match kernel.read(now, self.end, 0, Room::FULL) {
            ReadResult::Blocked => act,
            ReadResult::Data { .. } => Act::Something,
            ReadResult::End | ReadResult::Reset => {
                kernel.close(now, self.end);
                Act::Left
            }
        }
    }
}
