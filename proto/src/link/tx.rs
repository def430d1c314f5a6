//! The write side of one link: what the next write carries, and how much of it has gone.

#[cfg(test)]
mod tests;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

/// The most bytes that a plan gathers. Only a single frame that is larger by itself exceeds it.
pub(crate) const PLAN_MAX: usize = 64 * 1024;

/// Payloads above this many bytes are lent to the write where they lie; smaller ones are copied
/// next to their head, which costs less than one more slice in the system call.
pub(crate) const COPY_MAX: usize = 4 * 1024;

/// Gathers frames into a plan, lends the committed plan to the driver's writes, and accounts for
/// what they took.
///
/// A plan is built (`push*`, `attach`), committed, and then stays as it is until every byte of it
/// is written: a write that took a part must find the same rest again. Attachments belong to the
/// first frame of a plan, because the kernel passes them with the first byte of a write.
pub(crate) struct Transmitter<F> {
    plan: Plan<F>,
    committed: bool,
}

/// What one write will carry.
struct Plan<F> {
    /// Heads and small frames, one after the other.
    copied: Vec<u8>,
    /// The plan in order. Kept between plans for its memory, like `copied`.
    segments: Vec<Segment>,
    attachments: Option<Arc<Vec<F>>>,
    len: usize,
    written: usize,
}

enum Segment {
    /// These bytes of `Plan::copied`.
    Copied { start: usize, end: usize },
    /// A payload that is lent where it lies.
    Shared(Bytes),
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Written {
    /// The kernel took this many bytes, at least one, and with the first byte of the plan its
    /// attachments.
    Wrote(usize),
    /// Nothing was taken: the socket is full. Write again, attachments included, when it is
    /// writable.
    Blocked,
    /// Nothing was taken: too many attachments are in flight (`ETOOMANYREFS`). As
    /// [`Written::Blocked`], but the socket's readiness says nothing of when to try again.
    NoAttachmentRoom,
    /// The write failed for good.
    Failed,
}

/// A [`Written`] that cannot be true. A mistake of the driver; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum WriteMisuse {
    /// More bytes are reported than were lent.
    #[error("{wrote} bytes reported as written, but only {lent} were lent")]
    TooMuch {
        /// Bytes reported.
        wrote: usize,
        /// Bytes lent.
        lent: usize,
    },
    /// A write of zero bytes is reported. A write without bytes loses its attachments in silence;
    /// one that took none is [`Written::Blocked`].
    #[error("a write of zero bytes was reported")]
    Nothing,
    /// No write is under way.
    #[error("a write was reported, but none was asked for")]
    NotCommitted,
}

/// Where the plan stands after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a plan that is done makes room for the next, and a failed one ends the link"]
pub(crate) enum Progress {
    /// Every byte is written: the next plan may be built.
    Done,
    /// The rest is still lent.
    Partial,
    /// The socket is full; the rest is still lent.
    Blocked,
    /// Too many attachments are in flight; the plan is still lent.
    NoAttachmentRoom,
    /// The plan was given up: the link has ended.
    Failed,
}

impl<F> Transmitter<F> {
    pub(crate) const fn new() -> Self {
        Self {
            plan: Plan {
                copied: Vec::new(),
                segments: Vec::new(),
                attachments: None,
                len: 0,
                written: 0,
            },
            committed: false,
        }
    }

    /// Whether no plan is committed, so that one may be built.
    pub(crate) const fn is_idle(&self) -> bool {
        !self.committed
    }

    /// Whether nothing has been pushed since the last plan was done.
    pub(crate) const fn is_empty(&self) -> bool {
        self.plan.len == 0
    }

    /// Bytes of the plan.
    pub(crate) const fn len(&self) -> usize {
        self.plan.len
    }

    /// Bytes that the plan under construction still takes; none once it is committed.
    pub(crate) const fn room(&self) -> usize {
        if self.committed {
            0
        } else {
            PLAN_MAX.saturating_sub(self.plan.len)
        }
    }

    /// Whether a frame of `len` bytes may be pushed: it has room, or is the first of its plan and
    /// goes alone.
    pub(crate) const fn fits(&self, len: usize) -> bool {
        !self.committed && (self.is_empty() || len <= self.room())
    }

    /// Whether the next frame may have attachments: only the first of a plan may.
    pub(crate) const fn can_attach(&self) -> bool {
        !self.committed && self.is_empty()
    }

    /// Adds a frame, or several that lie next to each other, by copying.
    pub(crate) fn push(&mut self, frame: &[u8]) {
        self.push_encoded(|out| out.extend_from_slice(frame));
    }

    /// Adds a frame that `encode` appends to the plan's own buffer. It must only append.
    pub(crate) fn push_encoded(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        debug_assert!(!self.committed, "a committed plan does not change");
        let plan = &mut self.plan;
        let start = plan.copied.len();
        encode(&mut plan.copied);
        plan.cover(start);
    }

    /// Adds a frame whose payload lies elsewhere. Above [`COPY_MAX`] it is lent, else copied.
    pub(crate) fn push_with_payload(&mut self, head: &[u8], payload: Bytes) {
        self.push(head);
        if payload.len() <= COPY_MAX {
            self.push(&payload);
        } else {
            self.plan.len += payload.len();
            self.plan.segments.push(Segment::Shared(payload));
        }
    }

    /// Gives attachments to the first frame of the plan. Call it right before that frame is
    /// pushed, where [`Transmitter::can_attach`] says so.
    pub(crate) fn attach(&mut self, attachments: Arc<Vec<F>>) {
        debug_assert!(self.can_attach(), "attachments ride with the first frame");
        debug_assert!(self.plan.attachments.is_none(), "one frame, one set");
        if !attachments.is_empty() {
            self.plan.attachments = Some(attachments);
        }
    }

    /// Fixes the plan. `true` if there is something to write.
    pub(crate) const fn commit(&mut self) -> bool {
        self.committed = !self.is_empty();
        self.committed
    }

    /// What is to be written of the committed plan.
    pub(crate) fn batch(&self) -> Option<WriteBatch<'_, F>> {
        self.committed.then_some(WriteBatch { plan: &self.plan })
    }

    /// Takes the attachments of the committed plan out: for a plan that is handed over within the
    /// process, where nothing duplicates them and they move instead.
    pub(crate) fn take_attachments(&mut self) -> Option<Arc<Vec<F>>> {
        debug_assert!(self.committed, "a plan under construction keeps them");
        self.plan.attachments.take()
    }

    /// Accounts for a write.
    pub(crate) fn written(&mut self, result: Written) -> Result<Progress, WriteMisuse> {
        if !self.committed {
            return Err(WriteMisuse::NotCommitted);
        }
        match result {
            Written::Wrote(wrote) => self.advance(wrote),
            Written::Blocked => Ok(Progress::Blocked),
            Written::NoAttachmentRoom => Ok(Progress::NoAttachmentRoom),
            Written::Failed => {
                self.discard();
                Ok(Progress::Failed)
            }
        }
    }

    /// Forgets the plan, as the link has ended. What it carried is still held by whoever made it.
    pub(crate) fn discard(&mut self) {
        self.plan.reset();
        self.committed = false;
    }

    fn advance(&mut self, wrote: usize) -> Result<Progress, WriteMisuse> {
        let lent = self.plan.remaining();
        if wrote == 0 {
            return Err(WriteMisuse::Nothing);
        }
        if wrote > lent {
            return Err(WriteMisuse::TooMuch { wrote, lent });
        }
        // A write that takes any byte takes the attachments with it, however little it takes: the
        // kernel puts them into the buffer of the first byte. Lending them again would send them
        // twice.
        self.plan.attachments = None;
        self.plan.written += wrote;
        if wrote < lent {
            return Ok(Progress::Partial);
        }
        self.discard();
        Ok(Progress::Done)
    }
}

impl<F> Plan<F> {
    /// Makes what was appended to `copied` from `start` on part of the plan.
    fn cover(&mut self, start: usize) {
        let end = self.copied.len();
        self.len += end.saturating_sub(start);
        match self.segments.last_mut() {
            Some(Segment::Copied { end: last, .. }) => *last = end,
            _ => self.segments.push(Segment::Copied { start, end }),
        }
    }

    const fn remaining(&self) -> usize {
        self.len - self.written
    }

    /// Empties the plan and keeps its memory, unless one large frame made it unusual.
    fn reset(&mut self) {
        self.copied.clear();
        self.copied.shrink_to(PLAN_MAX);
        self.segments.clear();
        self.attachments = None;
        self.len = 0;
        self.written = 0;
    }

    fn bytes<'a>(&'a self, segment: &'a Segment) -> &'a [u8] {
        match segment {
            Segment::Copied { start, end } => &self.copied[*start..*end],
            Segment::Shared(payload) => payload,
        }
    }
}

/// What a driver is to write next: hand all slices and the attachments to one system call, then
/// report the result.
///
/// It stays the same until the result is reported. It is never empty, has no empty slice, and at
/// most a few dozen slices.
pub struct WriteBatch<'a, F> {
    plan: &'a Plan<F>,
}

impl<'a, F> WriteBatch<'a, F> {
    /// The bytes, in order.
    pub fn slices(&self) -> impl Iterator<Item = &'a [u8]> + use<'a, F> {
        let plan = self.plan;
        let mut skip = plan.written;
        plan.segments.iter().filter_map(move |segment| {
            let bytes = plan.bytes(segment);
            let skipped = skip.min(bytes.len());
            skip -= skipped;
            Some(&bytes[skipped..]).filter(|rest| !rest.is_empty())
        })
    }

    /// The attachments that must go with the first byte. They are lent, not given: the write
    /// duplicates them into the receiver.
    pub fn attachments(&self) -> &'a [F] {
        self.plan
            .attachments
            .as_ref()
            .map_or(&[], |attachments| attachments)
    }

    /// Bytes of all slices together.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub const fn len(&self) -> usize {
        self.plan.remaining()
    }
}

impl<F> Clone for WriteBatch<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for WriteBatch<'_, F> {}

impl<F> fmt::Debug for WriteBatch<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBatch")
            .field("len", &self.len())
            .field("attachments", &self.attachments().len())
            .finish()
    }
}

impl<F> fmt::Debug for Transmitter<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transmitter")
            .field("committed", &self.committed)
            .field("len", &self.plan.len)
            .field("written", &self.plan.written)
            .finish()
    }
}
