//! The bytes of small frames, one after the other, from their acceptance until the receiver's node
//! holds them.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Bytes of a chunk. No frame is cut by the end of one: those that lie here are far smaller.
const CHUNK: usize = 16 * 1024;

/// Bytes of the chunk that a ring begins with, if they are enough. A node may have a few frames
/// under way to each of thousands.
const FIRST: usize = 1024;

/// Frames in chunks. They come in at the end, are handed to a link in order, and leave at the
/// front. Whoever owns the ring knows their lengths.
#[derive(Debug)]
pub(super) struct Ring {
    chunks: VecDeque<Vec<u8>>,
    /// Bytes of the first chunk that are released.
    released: usize,
    /// Where the frames begin that the present path has not carried.
    unsent: Place,
}

/// A chunk, counted from the first one, and a place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    chunk: usize,
    at: usize,
}

impl Place {
    const START: Self = Self { chunk: 0, at: 0 };
}

/// Chunks that were released, so that the steady state allocates nothing.
#[derive(Debug)]
pub(crate) struct ChunkPool {
    first: Vec<Vec<u8>>,
    others: Vec<Vec<u8>>,
}

impl ChunkPool {
    /// Two megabytes, a window of one receiver; and a quarter of that in small ones.
    const KEEP: usize = 128;
    const KEEP_FIRST: usize = 512;

    pub(super) const fn new() -> Self {
        Self {
            first: Vec::new(),
            others: Vec::new(),
        }
    }

    #[cold]
    fn take(&mut self, size: usize) -> Vec<u8> {
        let free = match size {
            FIRST => &mut self.first,
            _ => &mut self.others,
        };
        free.pop().unwrap_or_else(|| Vec::with_capacity(size))
    }

    fn give(&mut self, mut chunk: Vec<u8>) {
        let (free, keep) = match chunk.capacity() < CHUNK {
            true => (&mut self.first, Self::KEEP_FIRST),
            false => (&mut self.others, Self::KEEP),
        };
        if free.len() < keep {
            chunk.clear();
            free.push(chunk);
        }
    }
}

impl Ring {
    pub(super) const fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            released: 0,
            unsent: Place::START,
        }
    }

    /// The chunk that takes a frame of `len` bytes at its end.
    #[inline]
    pub(super) fn chunk_for(&mut self, len: usize, pool: &mut ChunkPool) -> &mut Vec<u8> {
        debug_assert!(len <= CHUNK, "longer frames lie elsewhere");
        let last = self.chunks.back();
        if last.is_none_or(|last| last.capacity() - last.len() < len) {
            let size = match self.chunks.is_empty() && len <= FIRST {
                true => FIRST,
                false => CHUNK,
            };
            self.chunks.push_back(pool.take(size));
        }
        let last = self.chunks.len() - 1;
        &mut self.chunks[last]
    }

    /// The first frame has left; it had `len` bytes.
    #[inline]
    pub(super) fn release(&mut self, len: usize, pool: &mut ChunkPool) {
        if len == 0 {
            return;
        }
        self.released += len;
        let released = Place {
            chunk: 0,
            at: self.released,
        };
        self.unsent = self.unsent.max(released);
        if self
            .chunks
            .front()
            .is_some_and(|first| first.len() == self.released)
        {
            self.drop_first(pool);
        }
    }

    #[cold]
    fn drop_first(&mut self, pool: &mut ChunkPool) {
        if let Some(first) = self.chunks.pop_front() {
            pool.give(first);
        }
        self.released = 0;
        self.unsent = match self.unsent.chunk.checked_sub(1) {
            Some(chunk) => Place {
                chunk,
                at: self.unsent.at,
            },
            None => Place::START,
        };
    }

    /// Nothing of what lies here was carried by the present path.
    pub(super) fn rewind(&mut self) {
        self.unsent = Place {
            chunk: 0,
            at: self.released,
        };
    }

    /// The next frame that the present path has not carried, of `len` bytes.
    pub(super) fn send(&mut self, len: usize) -> &mut [u8] {
        if len == 0 {
            return &mut [];
        }
        let Place { chunk, at } = self.next_place();
        self.unsent.at += len;
        match self.chunks.get_mut(chunk) {
            Some(bytes) => &mut bytes[at..at + len],
            None => &mut [],
        }
    }

    /// Lends the frames that the present path has not carried, `len` bytes in all, as they lie next
    /// to each other.
    pub(super) fn send_run(&mut self, mut len: usize, mut lend: impl FnMut(&[u8])) {
        while len > 0 {
            let Place { chunk, at } = self.next_place();
            let Some(bytes) = self.chunks.get(chunk) else {
                return;
            };
            let end = bytes.len().min(at + len);
            lend(&bytes[at..end]);
            len -= end - at;
            self.unsent.at = end;
        }
    }

    /// A place at the end of a chunk is the beginning of the next, once there is one.
    fn next_place(&mut self) -> Place {
        let Place { chunk, at } = self.unsent;
        let ends = self
            .chunks
            .get(chunk)
            .is_some_and(|bytes| bytes.len() == at);
        if ends && chunk + 1 < self.chunks.len() {
            self.unsent = Place {
                chunk: chunk + 1,
                at: 0,
            };
        }
        self.unsent
    }

    /// Where the last `len` bytes begin.
    fn tail(&self, mut len: usize) -> Place {
        for (chunk, bytes) in self.chunks.iter().enumerate().rev() {
            if len <= bytes.len() {
                return Place {
                    chunk,
                    at: bytes.len() - len,
                };
            }
            len -= bytes.len();
        }
        Place::START
    }

    /// Visits the last frames, `len` bytes in all, to change them or to read them. `visit` says how
    /// long the frame is that begins where it looks.
    pub(super) fn visit_last(&mut self, len: usize, mut visit: impl FnMut(&mut [u8]) -> usize) {
        let Place { chunk, mut at } = self.tail(len);
        for bytes in self.chunks.iter_mut().skip(chunk) {
            while at < bytes.len() {
                at += visit(&mut bytes[at..]);
            }
            at = 0;
        }
    }

    /// The last frames, `len` bytes in all, are not here any more.
    pub(super) fn drop_last(&mut self, len: usize, pool: &mut ChunkPool) {
        let Place { chunk, at } = self.tail(len);
        // A chunk of which nothing is left goes, too.
        let keep = chunk + usize::from(at > 0);
        while self.chunks.len() > keep {
            self.chunks
                .pop_back()
                .into_iter()
                .for_each(|chunk| pool.give(chunk));
        }
        if let Some(last) = self.chunks.get_mut(chunk) {
            last.truncate(at);
        }
        let end = match self.chunks.back() {
            Some(last) => Place {
                chunk: keep - 1,
                at: last.len(),
            },
            None => Place::START,
        };
        self.unsent = self.unsent.min(end);
        if keep == 1 && self.released == end.at {
            self.drop_first(pool);
        }
    }

    /// The frame of `len` bytes that lies `before` bytes after the first one.
    pub(super) fn peek(&self, mut before: usize, len: usize) -> &[u8] {
        let mut at = self.released;
        for bytes in &self.chunks {
            let here = bytes.len() - at;
            if before < here {
                return &bytes[at + before..at + before + len];
            }
            before -= here;
            at = 0;
        }
        &[]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame that is its number, repeated.
    fn frame(number: usize, len: usize) -> Vec<u8> {
        alloc::vec![number as u8; len]
    }

    proptest! {
        #[test]
        fn frames_leave_and_go_again_as_they_came(
            steps in proptest::collection::vec((0u8..9, 1usize..5000), 1..300),
        ) {
            let (mut ring, mut pool) = (Ring::new(), ChunkPool::new());
            let mut held: VecDeque<Vec<u8>> = VecDeque::new();
            let (mut unsent, mut count) = (0, 0);
            for (what, len) in steps {
                match what {
                    0..4 => {
                        count += 1;
                        let frame = frame(count, len);
                        ring.chunk_for(len, &mut pool).extend_from_slice(&frame);
                        held.push_back(frame);
                    }
                    4 if unsent < held.len() => {
                        let next = &held[unsent];
                        prop_assert_eq!(&*ring.send(next.len()), &next[..]);
                        unsent += 1;
                    }
                    5 => {
                        let rest = held.range(unsent..).flatten().copied().collect::<Vec<u8>>();
                        let mut lent = Vec::new();
                        ring.send_run(rest.len(), |bytes| lent.extend_from_slice(bytes));
                        prop_assert_eq!(lent, rest);
                        unsent = held.len();
                    }
                    6 => if let Some(first) = held.pop_front() {
                        ring.release(first.len(), &mut pool);
                        unsent = unsent.saturating_sub(1);
                    },
                    7 => {
                        ring.rewind();
                        unsent = 0;
                    }
                    _ => {
                        let keep = unsent + (held.len() - unsent) / 2;
                        let last = held.range(keep..).map(Vec::len).sum();
                        let mut frames = held.range(keep..);
                        ring.visit_last(last, |rest| {
                            let next = frames.next().unwrap();
                            assert_eq!(&rest[..next.len()], &next[..]);
                            next.len()
                        });
                        prop_assert!(frames.next().is_none());
                        ring.drop_last(last, &mut pool);
                        held.truncate(keep);
                    }
                }
                let mut before = 0;
                for frame in &held {
                    prop_assert_eq!(ring.peek(before, frame.len()), &frame[..]);
                    before += frame.len();
                }
                prop_assert_eq!(held.is_empty(), ring.chunks.is_empty());
            }
        }
    }
}
