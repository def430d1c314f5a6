//! What one instance may send to another before it has credit of a flow. It is part of the protocol,
//! as both ends count.

use crate::wire::limits;

/// What is left of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstContact {
    frames: u32,
    bytes: u64,
    attachments: u32,
}

impl FirstContact {
    /// All of it.
    pub(super) const fn whole() -> Self {
        Self {
            frames: limits::FIRST_CONTACT_FRAMES,
            bytes: limits::FIRST_CONTACT_BYTES,
            attachments: limits::FIRST_CONTACT_ATTACHMENTS,
        }
    }

    pub(super) fn fits(&self, cost: u64, attachments: usize) -> bool {
        self.frames > 0 && cost <= self.bytes && attachments <= self.attachments as usize
    }

    pub(super) fn take(&mut self, cost: u64, attachments: usize) {
        self.frames = self.frames.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(cost);
        self.attachments = self.attachments.saturating_sub(attachments as u32);
    }
}
