//! Somebody who connects to the hub and does not speak the protocol, or speaks it to lie.

use alloc::vec::Vec;

use super::kernel::{End, Kernel, ReadResult, Room, WriteResult};
use super::rng::Rng;
use crate::group::Peer;
use crate::id::{Generation, InstanceId};
use crate::time::Instant;
use crate::wire::{self, Attach, Hello, Kind, Known, KnownPeer};

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

/// What a liar says: that it comes from an earlier hub, under which these have ended, and others had
/// their ids.
pub(super) fn lies<'p>(
    instance: InstanceId,
    of: impl Iterator<Item = &'p Peer>,
    draws: &mut Rng,
) -> Vec<u8> {
    let mut known = Known::default();
    for peer in of {
        known.gone_instances.push(peer.instance);
        known.living.push(KnownPeer {
            id: peer.id,
            generation: Generation(peer.generation.0 + 1),
            instance: InstanceId(draws.next_u64().max(1)),
            name: None,
        });
    }
    let hello = Hello {
        version: 1,
        features: 0,
        instance,
        epoch: 0,
        name: None,
        budget: 1 << 20,
        message_cap: 1 << 20,
        hub: false,
    };
    let attach = Attach {
        instance,
        counter: 9,
        name: None,
        identity: None,
        handover: false,
        budget: 1 << 20,
        reserve: 0,
        message_cap: 1 << 20,
        attachments: 0,
        known,
        more: false,
        relayed: false,
        tied: false,
        elder: true,
    };
    let mut says = Vec::new();
    let (own, link) = (instance, InstanceId::NONE);
    wire::frame(Kind::HELLO, own, link, |body| hello.encode(body), &mut says);
    wire::frame(
        Kind::ATTACH,
        own,
        link,
        |body| attach.encode(body),
        &mut says,
    );
    says
}
