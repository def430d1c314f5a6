//! What a node sends to itself goes by the same rules as everything else, without a link.

use bytes::BytesMut;

use super::Node;
use crate::link::rx::Receiver;
use crate::link::tx::{Transmitter, Written};
use crate::wire::limits;

impl<F> Node<F> {
    /// Moves one plan of the conversation with itself. `true` if there was one.
    pub(super) fn run_loopback(&mut self) -> bool {
        // Asked with every poll, of a node that mostly has nothing to say to itself.
        if !core::mem::take(&mut self.loops) {
            return false;
        }
        let own = self.me.instance;
        let Some(talk) = self.talks.get_mut(own).filter(|talk| talk.queued) else {
            return false;
        };
        let mut tx = Transmitter::new();
        talk.fill(self.now, &mut tx, &mut self.pool);
        talk.queued = talk.wants_write();
        self.loops = talk.queued;
        if !tx.commit() {
            self.touch(own);
            return self.talks.get(own).is_some_and(|talk| talk.queued);
        }
        let mut rx = Receiver::new();
        rx.set_limit(limits::FRAME);
        rx.set_attachment_limit(self.config.attachments);
        let mut bytes = BytesMut::new();
        if let Some(batch) = tx.batch() {
            for slice in batch.slices() {
                bytes.extend_from_slice(slice);
            }
        }
        // The conversation moved its handles into the plan, so this is their only owner.
        let attachments = tx
            .take_attachments()
            .and_then(alloc::sync::Arc::into_inner)
            .unwrap_or_default();
        let written = tx.written(Written::Wrote(bytes.len()));
        debug_assert!(written.is_ok(), "the whole plan was copied");
        rx.push(bytes, attachments, false);
        while let Ok(Some(received)) = rx.next() {
            self.stats.frames += 1;
            let header = received.frame.header;
            if let Some(lead) = self.on_talk_frame(received) {
                self.on_runs(lead, &header, &mut rx);
            }
        }
        self.touch_now();
        self.touch(own);
        true
    }
}
