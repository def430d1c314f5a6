//! The frames of a conversation that have a number, kept until the receiver's node holds them.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::commit::stamp;
use super::draft::{Draft, DraftPool};
use super::ring::Ring;
use crate::id::MessageId;
use crate::link::tx::Transmitter;
use crate::time::Instant;
use crate::wire::Header;
use crate::wire::flow::NO_FLOW;

#[derive(Debug)]
pub(super) struct Log<F> {
    /// Frames from `base + 1` on.
    frames: VecDeque<Frame<F>>,
    /// The bytes of those that are no drafts; behind them, of the run that has no numbers yet.
    pub(super) ring: Ring,
    /// The receiver's node holds everything up to here.
    base: u64,
    /// The next number to hand to a link on the present path.
    next: u64,
    /// The highest number ever handed to a link.
    high: u64,
    /// Handles of all frames.
    handles: usize,
    /// How many of them needed no credit.
    uncredited: u64,
}

/// A frame whose bytes lie in the ring, or one with more to it.
#[derive(Debug)]
pub(super) struct Frame<F> {
    /// The message that it belongs to; 0 for the node's own.
    pub(super) id: MessageId,
    /// When the time is over that travels in it.
    pub(super) deadline: Instant,
    /// Its bytes in the ring.
    pub(super) space: u32,
    /// Whether it was handed to a link more than once.
    again: bool,
    whole: Option<Box<Draft<F>>>,
}

impl<F> Frame<F> {
    /// A frame whose bytes lie in the ring.
    #[inline]
    pub(super) const fn in_ring(id: MessageId, space: u32, deadline: Instant) -> Self {
        Self {
            id,
            deadline,
            space,
            again: false,
            whole: None,
        }
    }

    fn is_attaching(&self) -> bool {
        let whole = self.whole.as_ref();
        whole.is_some_and(|draft| draft.attachments.is_some())
    }
}

/// A frame that the present path has not carried yet.
pub(super) enum Unsent<'a, F> {
    Whole(&'a mut Draft<F>),
    InRing(&'a [u8]),
}

/// What leaves the log, as the send buffer counts it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Released {
    pub(super) charge: u32,
    /// Whether it belonged to a message of the application.
    pub(super) counts: bool,
}

impl<F> Log<F> {
    pub(super) const fn new() -> Self {
        Self {
            frames: VecDeque::new(),
            ring: Ring::new(),
            base: 0,
            next: 1,
            high: 0,
            handles: 0,
            uncredited: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The number of the last frame that has one.
    #[inline]
    pub(super) fn last(&self) -> u64 {
        self.base + self.frames.len() as u64
    }

    /// The highest number ever handed to a link.
    pub(super) const fn high(&self) -> u64 {
        self.high
    }

    /// Handles that the receiver's node is not known to hold.
    pub(super) const fn handles(&self) -> usize {
        self.handles
    }

    /// Frames without credit that the receiver's node is not known to hold.
    pub(super) const fn uncredited(&self) -> u64 {
        self.uncredited
    }

    fn at(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.base + 1)?).ok()
    }

    /// The message of a frame that was handed to a link once only.
    pub(super) fn sent_once(&self, number: u64) -> Option<MessageId> {
        let frame = self.frames.get(self.at(number)?)?;
        (!frame.again).then_some(frame.id)
    }

    /// Gives a frame its number; [`Log::push`] follows.
    #[inline]
    pub(super) fn number(&self, frame: &mut Draft<F>) {
        let number = self.last() + 1;
        let at = Header::SEQUENCE_AT;
        frame.head[at..at + 8].copy_from_slice(&number.to_be_bytes());
    }

    /// Keeps a frame that is handed to a link for the first time.
    #[inline]
    pub(super) fn push(&mut self, draft: Box<Draft<F>>) {
        self.handles += draft.attachment_count();
        self.uncredited += u64::from(draft.flow == NO_FLOW);
        self.frames.push_back(Frame {
            id: draft.id,
            // The draft knows its own.
            deadline: Instant::NEVER,
            space: 0,
            again: false,
            whole: Some(draft),
        });
        self.all_sent();
    }

    /// Keeps frames that have their numbers, and lends them to a plan. Their bytes are the next of
    /// the ring, `len` in all.
    #[inline]
    pub(super) fn push_run(
        &mut self,
        frames: &mut VecDeque<Frame<F>>,
        len: usize,
        tx: &mut Transmitter<F>,
    ) {
        self.ring.send_run(len, |bytes| tx.push(bytes));
        match frames.len() {
            // One alone is not worth the search for how they lie.
            1 => self.frames.extend(frames.pop_front()),
            _ => self.frames.append(frames),
        }
        self.all_sent();
    }

    fn all_sent(&mut self) {
        self.high = self.last();
        self.next = self.high + 1;
    }

    /// Whether the present path has not carried all of them yet; if so, whether the next one has
    /// attachments.
    #[inline]
    pub(super) fn unsent(&self) -> Option<bool> {
        match self.next <= self.last() {
            true => Some(self.frames.get(self.at(self.next)?)?.is_attaching()),
            false => None,
        }
    }

    /// The frame of [`Log::unsent`], which is handed to a link now.
    pub(super) fn send_again(&mut self, now: Instant) -> Option<Unsent<'_, F>> {
        let at = self.at(self.next)?;
        let frame = self.frames.get_mut(at)?;
        frame.again |= self.next <= self.high;
        self.high = self.high.max(self.next);
        self.next += 1;
        // Its place in the ring stays its own also when it became a void.
        let bytes = self.ring.send(frame.space as usize);
        Some(match &mut frame.whole {
            Some(draft) => Unsent::Whole(draft),
            None => {
                stamp(bytes, frame.deadline, now);
                Unsent::InRing(bytes)
            }
        })
    }

    /// A path begins at which the receiver has said what it holds: all else goes again.
    pub(super) fn rewind(&mut self) {
        self.next = self.base + 1;
        self.ring.rewind();
    }

    /// The next frame that the receiver's node holds, having everything up to `received`.
    #[inline]
    pub(super) fn release(&mut self, received: u64, pool: &mut DraftPool<F>) -> Option<Released> {
        if self.base >= received {
            return None;
        }
        let frame = self.frames.pop_front()?;
        self.base += 1;
        self.next = self.next.max(self.base + 1);
        self.ring.release(frame.space as usize, &mut pool.chunks);
        Some(match frame.whole {
            None => Released {
                charge: frame.space,
                counts: frame.id.0 != 0,
            },
            Some(draft) => {
                self.handles -= draft.attachment_count();
                self.uncredited -= u64::from(draft.flow == NO_FLOW);
                let released = Released {
                    charge: draft.charge,
                    counts: draft.counts != 0,
                };
                pool.give(draft);
                released
            }
        })
    }

    /// Makes voids of the frames of a message. `false` if there are none.
    pub(super) fn void(&mut self, id: MessageId, pool: &mut DraftPool<F>) -> bool {
        let mut found = false;
        let mut before = 0;
        for frame in &mut self.frames {
            let space = frame.space as usize;
            if frame.id == id {
                let ring = &self.ring;
                let draft = frame
                    .whole
                    .get_or_insert_with(|| pool.filled(id, ring.peek(before, space)));
                self.handles -= draft.attachment_count();
                draft.make_void();
                found = true;
            }
            before += space;
        }
        found
    }
}
