//! Many messages, few system calls.

use std::sync::Arc;

use super::shared::Shared;

/// While it lives, what is sent through its peer, by any thread, is gathered; from
/// [`Peer::cork`](super::Peer::cork). It is written when the last one of the peer is dropped, when
/// 64 KiB have gathered, and when a thread waits for something with the peer.
#[derive(Debug)]
#[must_use = "dropping it writes what was gathered"]
pub struct Cork(Arc<Shared>);

impl Cork {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        shared.operate(|inner| inner.corks += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for Cork {
    fn drop(&mut self) {
        self.0.operate(|inner| inner.corks -= 1);
    }
}
