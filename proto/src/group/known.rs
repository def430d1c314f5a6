//! What this node has to tell a new hub of others, in parts that fit their frames.

use alloc::vec::Vec;

use super::Roster;
use crate::id::InstanceId;
use crate::wire::{Known, KnownPeer};

/// Bytes of the first part: with it an attachment, which is among the first frames of a link, stays
/// well below the 4 KiB that such a frame may have.
const FIRST: usize = 2560;
/// Bytes of each later part, as other slices of control.
const LATER: usize = 24 * 1024;
/// The latest deaths come first: they free names, and are contradicted soonest.
const LATEST: usize = 64;
/// What a pair of id and generation costs at most, and an instance.
const ENTRY_COST: usize = 9;
/// What a living peer costs at most, without its name.
const PEER_COST: usize = 26;

/// All that the node `own` knows of others. There is always a first part.
pub(crate) fn parts(roster: &Roster, own: InstanceId) -> Vec<Known> {
    let mut parts = Parts {
        done: Vec::new(),
        last: Known::default(),
        room: FIRST,
    };
    for instance in roster.gone_instances().take(LATEST) {
        parts.with(ENTRY_COST, |part| part.gone_instances.push(instance));
    }
    for peer in roster.peers().filter(|peer| peer.instance != own) {
        let name = peer.name.as_ref().map_or(0, |name| name.as_str().len());
        let known = KnownPeer {
            id: peer.id,
            generation: peer.generation,
            instance: peer.instance,
            name: peer.name.clone(),
        };
        parts.with(PEER_COST + name, |part| part.living.push(known));
    }
    for fence in roster.fences() {
        parts.with(ENTRY_COST, |part| part.gone.push(fence));
    }
    for instance in roster.gone_instances().skip(LATEST) {
        parts.with(ENTRY_COST, |part| part.gone_instances.push(instance));
    }
    parts.done.push(parts.last);
    parts.done
}

struct Parts {
    done: Vec<Known>,
    last: Known,
    room: usize,
}

impl Parts {
    /// Adds something that takes so many bytes.
    fn with(&mut self, cost: usize, add: impl FnOnce(&mut Known)) {
        if cost > self.room {
            self.done.push(core::mem::take(&mut self.last));
            self.room = LATER;
        }
        self.room -= cost;
        add(&mut self.last);
    }
}
