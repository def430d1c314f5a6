//! The read side of one link: cuts bytes into frames and gives every frame its attachments.

#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use bytes::BytesMut;

use crate::wire::{CloseCode, Deframer, Frame, Header, Most, Run, WireError, flags, limits};

/// How many attachments a link holds for frames that are not whole yet, by default: of a frame that
/// is half read, and of the one that begins in the read which brings its end.
pub(crate) const MAX_UNCLAIMED: usize = 2 * limits::PAIR_ATTACHMENTS;

/// How much of a frame has to come within its deadline.
const PIECE: u64 = 4 * 1024;

/// Cuts what a link brings into frames, each with the attachments that rode on its first byte.
///
/// What the kernel gives: attachments arrive with the read that holds the first byte of the write
/// they were sent with. Plain bytes from before may be merged into that read and a short read may
/// split the write, but two writes with attachments are never merged. What the protocol adds: a
/// frame with attachments starts a write of its own. So the read that holds a frame's first byte
/// brings that frame's attachments, and nobody else's: a set that is short can never be filled
/// from the next one.
///
/// After a fault every later call gives the same fault, and nothing is held any more.
pub(crate) struct Receiver<F> {
    deframer: Deframer,
    claims: Claims<F>,
    fault: Option<RxFault>,
}

/// A whole frame with what belongs to it.
pub(crate) struct Received<'a, F> {
    pub(crate) frame: Frame<'a>,
    /// As many as the header says, or none.
    pub(crate) attachments: Vec<F>,
    /// Whether the frame had attachments that did not arrive. The frame itself is whole.
    pub(crate) lost: bool,
}

/// What a peer sent that ends the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RxFault {
    /// The bytes are no frames.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Attachments came that no frame announced, or fewer than announced although the kernel cut
    /// nothing off: from here on nobody knows whose they are.
    #[error("attachments that no frame announced, or fewer than announced")]
    AttachmentsUnclear,
}

impl RxFault {
    /// What the peer is told.
    pub(crate) const fn close_code(&self) -> CloseCode {
        match self {
            Self::Wire(WireError::Oversized { .. }) => CloseCode::FrameTooLarge,
            Self::Wire(_) => CloseCode::ProtocolViolation,
            Self::AttachmentsUnclear => CloseCode::AttachmentsUnclear,
        }
    }
}

impl<F> Receiver<F> {
    /// The receiver of a new link, with the limits of a hello.
    pub(crate) fn new() -> Self {
        Self::with_max_unclaimed(MAX_UNCLAIMED)
    }

    /// As [`Receiver::new`], holding at most `max_unclaimed` attachments at a time.
    pub(crate) fn with_max_unclaimed(max_unclaimed: usize) -> Self {
        Self {
            deframer: Deframer::new(),
            claims: Claims {
                handles: VecDeque::new(),
                reads: VecDeque::new(),
                received: 0,
                parsed: 0,
                dropped: 0,
                max_unclaimed,
                most: limits::ATTACHMENTS,
            },
            fault: None,
        }
    }

    /// Sets the largest frame in bytes, header included.
    pub(crate) const fn set_limit(&mut self, limit: usize) {
        self.deframer.set_limit(limit);
    }

    /// Sets how many attachments of a frame are taken. A frame with more comes without any, marked:
    /// its sender may have gone by what was so before, or by the limit of a hub between.
    pub(crate) const fn set_attachment_limit(&mut self, most: u8) {
        self.claims.most = most;
    }

    /// Takes what one read brought: its bytes, its attachments, and whether the kernel had to cut
    /// some of these off (`MSG_CTRUNC`). Each read must come alone: merging two would lose which
    /// bytes the attachments came with.
    pub(crate) fn push(
        &mut self,
        bytes: BytesMut,
        attachments: impl IntoIterator<Item = F>,
        truncated: bool,
    ) {
        let admitted = self.claims.admit(bytes.len(), attachments, truncated);
        if self.fault.is_some() {
            self.claims.drop_held();
            return;
        }
        self.deframer.push(bytes);
        if admitted.is_err() {
            self.fail(RxFault::AttachmentsUnclear);
        }
    }

    /// The next whole frame, or `None` if more must come first.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Received<'_, F>>, RxFault> {
        let Self {
            deframer,
            claims,
            fault,
        } = self;
        if let Some(fault) = fault {
            return Err(*fault);
        }
        let found = match deframer.next() {
            Ok(Some(frame)) => match claims.claim(&frame.header, frame.whole().len()) {
                Ok(Claimed { handles, lost }) => {
                    return Ok(Some(Received {
                        frame,
                        attachments: handles,
                        lost,
                    }));
                }
                Err(Unclear) => RxFault::AttachmentsUnclear,
            },
            Ok(None) => match claims.settle() {
                Ok(()) => return Ok(None),
                Err(Unclear) => RxFault::AttachmentsUnclear,
            },
            Err(error) => RxFault::Wire(error),
        };
        *fault = Some(found);
        claims.drop_held();
        Err(found)
    }

    /// The run that follows the frame returned last, which has no attachments, or the run returned
    /// last: see [`Deframer::run`].
    #[inline]
    pub(crate) fn run(&mut self, alike: usize, most: Most) -> Option<Run<'_>> {
        // Attachments that wait are for one of the frames that come next, which looks at them.
        if self.fault.is_some() || !self.claims.reads.is_empty() {
            return None;
        }
        let run = self.deframer.run(alike, most)?;
        self.claims.parsed += run.bytes.len() as u64;
        Some(run)
    }

    /// A number for the piece of a frame that is half read, if one is; its deadline runs as long as
    /// this stays the same, however many bytes trickle in. Each [`PIECE`] of a frame is one, or a
    /// large frame would end every slow link that tries to carry it. Meaningful once
    /// [`Receiver::next`] has returned `None`.
    pub(crate) fn half_read(&self) -> Option<u64> {
        let have = self.claims.received.checked_sub(self.claims.parsed)?;
        let begun = self.fault.is_none() && have > 0;
        // A frame is longer than the number of its pieces, so the next one begins beyond them all.
        begun.then_some(self.claims.parsed + have / PIECE)
    }

    /// Bytes that came and are not part of a frame that was returned.
    pub(crate) fn buffered(&self) -> usize {
        self.deframer.buffered()
    }

    /// Attachments that came and have not been claimed yet.
    pub(crate) fn unclaimed(&self) -> usize {
        self.claims.handles.len()
    }

    /// Attachments dropped since the link began: sets that came incomplete, and what a fault or
    /// the end of the link left over.
    pub(crate) const fn dropped(&self) -> u64 {
        self.claims.dropped
    }

    /// Drops what no frame has claimed, as the link has ended. It is counted.
    pub(crate) fn discard(&mut self) {
        self.claims.drop_held();
    }

    fn fail(&mut self, fault: RxFault) {
        self.fault = Some(fault);
        self.claims.drop_held();
    }
}

/// Attachments that wait for the frame that owns them.
struct Claims<F> {
    /// All that are held, in the order in which they came.
    handles: VecDeque<F>,
    /// Which reads brought them; only reads that brought any, or lost any.
    reads: VecDeque<ReadSet>,
    /// Bytes that came over the link's life.
    received: u64,
    /// Where the next frame begins.
    parsed: u64,
    dropped: u64,
    max_unclaimed: usize,
    /// Attachments of one frame that are taken.
    most: u8,
}

/// The attachments of one read.
struct ReadSet {
    start: u64,
    end: u64,
    /// How many of them are still held.
    left: usize,
    truncated: bool,
}

struct Claimed<F> {
    handles: Vec<F>,
    lost: bool,
}

/// The owner of attachments cannot be told.
struct Unclear;

impl<F> Claims<F> {
    fn admit(
        &mut self,
        len: usize,
        attachments: impl IntoIterator<Item = F>,
        truncated: bool,
    ) -> Result<(), Unclear> {
        let start = self.received;
        self.received += len as u64;
        let before = self.handles.len();
        let mut over = 0;
        for handle in attachments {
            if self.handles.len() < self.max_unclaimed {
                self.handles.push_back(handle);
            } else {
                over += 1;
            }
        }
        self.dropped += over;
        let left = self.handles.len() - before;
        if left > 0 || truncated {
            self.reads.push_back(ReadSet {
                start,
                end: self.received,
                left,
                truncated,
            });
        }
        // Reads that were cut off hold nothing, but a peer could pile them up within one frame.
        if over > 0 || self.reads.len() > self.max_unclaimed {
            return Err(Unclear);
        }
        Ok(())
    }

    /// Takes what belongs to the next frame, which is `len` bytes long.
    #[inline]
    fn claim(&mut self, header: &Header, len: usize) -> Result<Claimed<F>, Unclear> {
        self.settle()?;
        let first = self.parsed;
        self.parsed += len as u64;
        let wanted = usize::from(header.attachments);
        let mut claimed = Claimed {
            handles: Vec::new(),
            lost: header.flags & flags::ATTACHMENTS_LOST != 0,
        };
        // A hub that could not pass them on sent the frame without any: what came with this read
        // is somebody else's.
        if claimed.lost || wanted == 0 {
            return Ok(claimed);
        }
        let Some(read) = self.reads.front_mut().filter(|read| read.start <= first) else {
            return Err(Unclear);
        };
        if read.left >= wanted {
            read.left -= wanted;
            let own = self.handles.drain(..wanted);
            if header.attachments > self.most {
                claimed.lost = true;
                self.dropped += wanted as u64;
                drop(own);
            } else {
                claimed.handles.extend(own);
            }
        } else if read.truncated {
            // Which ones are missing is unknown, so the rest is of no use.
            claimed.lost = true;
            self.dropped += read.left as u64;
            self.handles.drain(..read.left);
            read.left = 0;
        } else {
            return Err(Unclear);
        }
        Ok(claimed)
    }

    /// Forgets reads in which no frame can begin any more. If one still has attachments, nobody
    /// owns them.
    #[inline]
    fn settle(&mut self) -> Result<(), Unclear> {
        while let Some(read) = self.reads.front().filter(|read| read.end <= self.parsed) {
            if read.left > 0 {
                return Err(Unclear);
            }
            self.reads.pop_front();
        }
        Ok(())
    }

    fn drop_held(&mut self) {
        self.dropped += self.handles.len() as u64;
        self.handles = VecDeque::new();
        self.reads = VecDeque::new();
    }
}

impl<F> fmt::Debug for Receiver<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("buffered", &self.buffered())
            .field("unclaimed", &self.unclaimed())
            .field("dropped", &self.dropped())
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}
