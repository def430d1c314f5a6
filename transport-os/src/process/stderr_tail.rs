//! The last words of a child: a bounded memory of its stderr.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::AsFd;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;

/// The last bytes that a child wrote to its stderr, so that its end can be reported with its own
/// words ("exited with code 1: thread 'main' panicked at ...").
///
/// The memory is bounded (8 KiB by default) and the pipe is read whatever comes, so a child that
/// floods its stderr is never blocked by its parent and costs the parent no more than the bound.
/// What falls out is counted, and falls out by whole lines where a line fits the bound.
#[derive(Clone)]
pub struct StderrTail {
    kept: VecDeque<u8>,
    capacity: usize,
    seen: u64,
}

/// What one [`StderrTail::read_from`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailRead {
    /// The pipe is empty for now: wait until it is readable.
    Drained,
    /// The budget of the turn is used up, and there may be more to read: come back without waiting.
    More,
    /// Every writer has closed the pipe; there will be no more. A grandchild that inherited the
    /// pipe is a writer too, so this is no sign of the child's end, nor does that imply this.
    End,
}

impl StderrTail {
    /// The default bound in bytes: a few screens of text, enough for a panic with its backtrace.
    pub const DEFAULT_CAPACITY: usize = 8 * 1024;

    /// The most that one [`read_from`](Self::read_from) takes, in bytes: what a Linux pipe holds by
    /// default, so that an ordinary burst is taken in one turn and a flood cannot keep the caller.
    pub const READ_BUDGET: usize = 64 * 1024;

    /// A memory of at most `capacity` bytes. With 0 everything is read, counted and forgotten.
    pub fn new(capacity: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            capacity,
            seen: 0,
        }
    }

    /// Reads what is there, at most [`READ_BUDGET`](Self::READ_BUDGET) bytes, from a non-blocking
    /// pipe as [`Child::take_stderr`](super::Child::take_stderr) gives it.
    ///
    /// # Errors
    ///
    /// What `read` reports, except "would block" and "interrupted", which are not errors here.
    pub fn read_from(&mut self, pipe: impl AsFd) -> io::Result<TailRead> {
        let mut chunk = Vec::with_capacity(4096);
        let mut budget = Self::READ_BUDGET;
        while budget > 0 {
            chunk.clear();
            match rustix::io::read(&pipe, spare_capacity(&mut chunk)) {
                Ok(0) => return Ok(TailRead::End),
                Ok(count) => {
                    self.push(&chunk);
                    budget = budget.saturating_sub(count);
                }
                Err(Errno::INTR) => {}
                Err(error) if error == Errno::AGAIN || error == Errno::WOULDBLOCK => {
                    return Ok(TailRead::Drained);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(TailRead::More)
    }

    /// Adds bytes, dropping the oldest lines to stay within the bound.
    pub fn push(&mut self, bytes: &[u8]) {
        self.seen = self.seen.saturating_add(bytes.len() as u64);
        // Of a piece larger than the bound only its end can stay.
        let (gone, fits) = bytes.split_at(bytes.len().saturating_sub(self.capacity));
        let excess = (self.kept.len() + fits.len()).saturating_sub(self.capacity);
        let last_gone = match gone.last() {
            Some(byte) => Some(byte),
            None => excess.checked_sub(1).and_then(|last| self.kept.get(last)),
        };
        let cut_inside_line = last_gone.is_some_and(|&byte| byte != b'\n');
        self.kept.drain(..excess);
        self.kept.extend(fits);
        if cut_inside_line {
            self.drop_partial_first_line();
        }
    }

    /// The text kept, with what is not UTF-8 replaced.
    pub fn text(&self) -> String {
        let (front, back) = self.kept.as_slices();
        let whole: Cow<'_, [u8]> = if back.is_empty() {
            front.into()
        } else {
            [front, back].concat().into()
        };
        String::from_utf8_lossy(&whole).into_owned()
    }

    /// How many bytes are kept now; never more than the bound.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// How many bytes have been read and are no longer kept.
    pub fn dropped(&self) -> u64 {
        self.seen - self.kept.len() as u64
    }

    /// Drops the rest of a line whose beginning is gone. A single line longer than the bound has no
    /// later line to give way to, and half of it says more than nothing.
    fn drop_partial_first_line(&mut self) {
        if let Some(end) = self.kept.iter().position(|&byte| byte == b'\n')
            && end + 1 < self.kept.len()
        {
            self.kept.drain(..=end);
        }
    }
}

impl Default for StderrTail {
    fn default() -> Self {
        Self::new(Self::DEFAULT_CAPACITY)
    }
}

impl fmt::Debug for StderrTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StderrTail")
            .field("text", &self.text())
            .field("capacity", &self.capacity)
            .field("dropped", &self.dropped())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_kept_as_it_was() {
        let mut tail = StderrTail::new(64);
        tail.push(b"one\n");
        tail.push(b"two");
        assert_eq!(tail.text(), "one\ntwo");
        assert_eq!(tail.dropped(), 0);
    }

    #[test]
    fn old_lines_fall_out_whole_and_are_counted() {
        let mut tail = StderrTail::new(10);
        tail.push(b"first\n");
        tail.push(b"second\n");
        assert_eq!(tail.text(), "second\n");
        assert_eq!(tail.dropped(), 6);
    }

    #[test]
    fn a_cut_that_falls_between_two_lines_costs_no_line() {
        let mut tail = StderrTail::new(8);
        tail.push(b"ab\ncd\n");
        tail.push(b"ef\ngh");
        assert_eq!(tail.text(), "cd\nef\ngh");
    }

    #[test]
    fn of_one_endless_line_the_end_is_kept() {
        let mut tail = StderrTail::new(8);
        for _ in 0..1000 {
            tail.push(b"0123456789");
            assert!(tail.len() <= 8);
        }
        assert_eq!(tail.text(), "23456789");
        assert_eq!(tail.dropped(), 10_000 - 8);
    }

    #[test]
    fn a_piece_larger_than_the_bound_leaves_whole_lines_of_its_end() {
        let mut tail = StderrTail::new(9);
        tail.push(b"aaaa\nbbbb\ncccc\ndddd\n");
        assert_eq!(tail.text(), "dddd\n");
        assert_eq!(tail.dropped(), 15);
    }

    #[test]
    fn a_bound_of_zero_keeps_nothing_and_counts_all() {
        let mut tail = StderrTail::new(0);
        tail.push(b"text\nmore");
        assert!(tail.is_empty());
        assert_eq!(tail.dropped(), 9);
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_replaced() {
        let mut tail = StderrTail::default();
        tail.push(b"ok \xff\n");
        assert_eq!(tail.text(), "ok \u{fffd}\n");
    }
}
