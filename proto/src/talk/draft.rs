//! A frame on its way out, from the application's call until the receiver's node holds it.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::id::MessageId;
use crate::message::Target;
use crate::time::Instant;
use crate::wire::{Header, Kind, flags, flow};

/// A frame that has no sequence number yet.
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
}

/// A frame with its number, kept until the receiver's node has it.
#[derive(Debug)]
pub(crate) struct Logged<F> {
    pub(crate) id: MessageId,
    pub(crate) head: Vec<u8>,
    pub(crate) payload: Bytes,
    pub(crate) attachments: Option<Arc<Vec<F>>>,
    pub(crate) deadline: Option<Instant>,
    /// Bytes and messages given back to the send buffer when the frame is released. Of a message in
    /// slices, the last one carries them.
    pub(crate) charge: u32,
    pub(crate) counts: u8,
    /// Whether it was handed to a link more than once.
    pub(crate) again: bool,
    /// Whether it needed no credit.
    pub(crate) uncredited: bool,
}

impl<F> Logged<F> {
    pub(crate) fn attachment_count(&self) -> usize {
        self.attachments.as_ref().map_or(0, |held| held.len())
    }

    /// Replaces the frame by an empty one of the same number, flow and cost.
    pub(crate) fn make_void(&mut self) {
        let cost = match Kind(self.head[4]) {
            Kind::VOID => return,
            _ => flow::cost(self.head.len() + self.payload.len()),
        };
        let keep = flags::FIRST_CONTACT | flags::LAST;
        let slice = Kind(self.head[4]) == Kind::SLICE;
        self.head.truncate(Header::LEN);
        self.head[4] = Kind::VOID.0;
        self.head[Header::FLAGS_AT] &= if slice { keep } else { flags::FIRST_CONTACT };
        self.head[6] = 0;
        let length = (Header::LEN - Header::LENGTH_FIELD + 8) as u32;
        self.head[..4].copy_from_slice(&length.to_be_bytes());
        self.head.extend_from_slice(&cost.to_be_bytes());
        self.payload = Bytes::new();
        self.attachments = None;
        self.deadline = None;
    }
}

/// Buffers of frames that were released, so that the steady state allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    free: Vec<Vec<u8>>,
}

impl BufferPool {
    /// 4,096 small frames: enough for a full window of them, at most about 1 MiB.
    const KEEP: usize = 4096;
    /// A buffer that grew beyond this is not worth keeping.
    const KEEP_CAPACITY: usize = 1024;

    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_else(|| Vec::with_capacity(192))
    }

    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= Self::KEEP_CAPACITY && self.free.len() < Self::KEEP {
            buffer.clear();
            self.free.push(buffer);
        }
    }
}
