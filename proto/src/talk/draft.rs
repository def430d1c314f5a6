//! A frame on its way out, from the application's call until the receiver's node holds it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::ring::ChunkPool;
use crate::id::MessageId;
use crate::message::Target;
use crate::time::Instant;
use crate::wire::{Header, Kind, flags, flow};

/// A frame that goes from queue to queue in its box, and gets its number when it is committed.
#[derive(Debug)]
pub(crate) struct Draft<F> {
    /// The message or request it belongs to; 0 for the node's own frames.
    pub(crate) id: MessageId,
    /// The encoded frame, without the payload where that is a segment.
    pub(crate) head: Vec<u8>,
    /// The payload, where it is a segment.
    pub(crate) payload: Bytes,
    pub(crate) attachments: Option<Arc<Vec<F>>>,
    pub(crate) flow: u32,
    /// When the remaining time that travels in the frame is over.
    pub(crate) deadline: Option<Instant>,
    /// For whom the application meant it, so that it can go elsewhere while it is not committed.
    pub(crate) target: Option<Target>,
    /// Bytes counted against the send buffer until the receiver's node has the last of the message.
    /// Of a message in slices, the last one carries them.
    pub(crate) charge: u32,
    /// Messages counted likewise: 0 for the node's own frames.
    pub(crate) counts: u8,
}

impl<F> Draft<F> {
    /// Bytes of the whole frame.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.payload.len()
    }

    pub(crate) fn kind(&self) -> Kind {
        Kind(self.head[4])
    }

    pub(crate) fn flags(&self) -> u8 {
        self.head[Header::FLAGS_AT]
    }

    pub(crate) fn attachment_count(&self) -> usize {
        self.attachments.as_ref().map_or(0, |held| held.len())
    }

    /// When it is over if it is not committed before. A request's time is watched as a whole.
    pub(crate) fn expiry(&self) -> Option<Instant> {
        self.deadline.filter(|_| self.kind() == Kind::EVENT)
    }

    /// Bytes of the body, which is what travels in slices.
    pub(crate) fn body_len(&self) -> usize {
        self.len() - Header::LEN
    }

    /// Writes the length of the frame as it is now into its header.
    pub(crate) fn note_length(&mut self) {
        let length = (self.len() - Header::LENGTH_FIELD) as u32;
        self.head[..Header::LENGTH_FIELD].copy_from_slice(&length.to_be_bytes());
    }

    /// Replaces the frame by an empty one of the same number, flow and cost.
    pub(crate) fn make_void(&mut self) {
        if self.kind() == Kind::VOID {
            return;
        }
        let cost = flow::cost(self.len());
        let keep = match self.kind() {
            Kind::SLICE => flags::FIRST_CONTACT | flags::LAST,
            _ => flags::FIRST_CONTACT,
        };
        self.head.truncate(Header::LEN);
        self.head[4] = Kind::VOID.0;
        self.head[Header::FLAGS_AT] &= keep;
        self.head[6] = 0;
        self.head.extend_from_slice(&cost.to_be_bytes());
        self.payload = Bytes::new();
        self.attachments = None;
        self.deadline = None;
        self.note_length();
    }
}

/// Drafts that were released, so that the steady state allocates nothing.
#[derive(Debug)]
pub(crate) struct DraftPool<F> {
    #[expect(
        clippy::vec_box,
        reason = "boxes are what is kept: they go from queue to queue"
    )]
    free: Vec<Box<Draft<F>>>,
    pub(super) chunks: ChunkPool,
}

impl<F> DraftPool<F> {
    /// Enough for a full window of small frames; at most about 1.5 MiB.
    const KEEP: usize = 4096;
    /// A buffer that grew beyond this is not worth keeping.
    const KEEP_CAPACITY: usize = 1024;

    pub(crate) const fn new() -> Self {
        Self {
            free: Vec::new(),
            chunks: ChunkPool::new(),
        }
    }

    /// A draft with nothing in it, for a frame of this flow.
    pub(crate) fn take(&mut self, flow: u32) -> Box<Draft<F>> {
        let mut draft = self.free.pop().unwrap_or_else(blank);
        draft.flow = flow;
        draft
    }

    /// A draft of a frame that is encoded already; `id` is 0 for one of the node's own.
    pub(super) fn filled(&mut self, id: MessageId, frame: &[u8]) -> Box<Draft<F>> {
        let mut flow = [0; 4];
        flow.copy_from_slice(&frame[Header::FLOW_AT..Header::LEN]);
        let mut draft = self.take(u32::from_be_bytes(flow));
        draft.head.extend_from_slice(frame);
        draft.id = id;
        draft.charge = frame.len() as u32;
        draft.counts = u8::from(id.0 != 0);
        draft
    }

    pub(crate) fn give(&mut self, mut draft: Box<Draft<F>>) {
        if draft.head.capacity() > Self::KEEP_CAPACITY || self.free.len() >= Self::KEEP {
            return;
        }
        draft.head.clear();
        draft.id = MessageId(0);
        // Most have none, and what is not there costs more to replace than to look for.
        if !draft.payload.is_empty() {
            draft.payload = Bytes::new();
        }
        draft.attachments = None;
        draft.deadline = None;
        draft.target = None;
        draft.charge = 0;
        draft.counts = 0;
        self.free.push(draft);
    }
}

#[cold]
fn blank<F>() -> Box<Draft<F>> {
    Box::new(Draft {
        id: MessageId(0),
        head: Vec::with_capacity(192),
        payload: Bytes::new(),
        attachments: None,
        flow: flow::NO_FLOW,
        deadline: None,
        target: None,
        charge: 0,
        counts: 0,
    })
}
