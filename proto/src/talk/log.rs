//! The frames of a conversation that have a number, kept until the receiver's node holds them.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::draft::Draft;
use crate::id::MessageId;
use crate::wire::Header;
use crate::wire::flow::NO_FLOW;

#[derive(Debug)]
pub(super) struct Log<F> {
    /// Frames from `base + 1` on.
    frames: VecDeque<Box<Draft<F>>>,
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

impl<F> Log<F> {
    pub(super) const fn new() -> Self {
        Self {
            frames: VecDeque::new(),
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

    pub(super) fn iter(&self) -> impl Iterator<Item = &Draft<F>> {
        self.frames.iter().map(|frame| &**frame)
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

    pub(super) fn get(&self, number: u64) -> Option<&Draft<F>> {
        self.frames.get(self.at(number)?).map(|frame| &**frame)
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
    pub(super) fn push(&mut self, frame: Box<Draft<F>>) {
        self.handles += frame.attachment_count();
        self.uncredited += u64::from(frame.flow == NO_FLOW);
        self.frames.push_back(frame);
        self.high = self.last();
        self.next = self.high + 1;
    }

    /// The next frame that the present path has not carried yet.
    #[inline]
    pub(super) fn unsent(&self) -> Option<&Draft<F>> {
        match self.next <= self.last() {
            true => self.get(self.next),
            false => None,
        }
    }

    /// The frame of [`Log::unsent`], which is handed to a link now.
    pub(super) fn send_again(&mut self) -> Option<&mut Draft<F>> {
        let at = self.at(self.next)?;
        let frame = self.frames.get_mut(at)?;
        frame.again |= self.next <= self.high;
        self.high = self.high.max(self.next);
        self.next += 1;
        Some(frame)
    }

    /// A path begins at which the receiver has said what it holds: all else goes again.
    pub(super) fn rewind(&mut self) {
        self.next = self.base + 1;
    }

    /// The next frame that the receiver's node holds, having everything up to `received`.
    pub(super) fn release(&mut self, received: u64) -> Option<Box<Draft<F>>> {
        if self.base >= received {
            return None;
        }
        let frame = self.frames.pop_front()?;
        self.base += 1;
        self.next = self.next.max(self.base + 1);
        self.handles -= frame.attachment_count();
        self.uncredited -= u64::from(frame.flow == NO_FLOW);
        Some(frame)
    }

    /// Makes voids of the frames of a message. `false` if there are none.
    pub(super) fn void(&mut self, id: MessageId) -> bool {
        let mut found = false;
        for frame in self.frames.iter_mut().filter(|frame| frame.id == id) {
            self.handles -= frame.attachment_count();
            frame.make_void();
            found = true;
        }
        found
    }
}
