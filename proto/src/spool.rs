//! Bytes of queued frames, first in and first out, in chunks that queues share.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use crate::link::tx::COPY_MAX;
use crate::wire::Header;

/// Bytes of a chunk. Several of the largest frames that are copied fit, so that what their ends
/// waste stays small.
const CHUNK: usize = 16 * 1024;

/// The largest frame that is copied.
const FRAME_MAX: usize = Header::LEN + COPY_MAX;
const _: () = assert!(CHUNK >= 2 * FRAME_MAX);

/// How many free chunks are kept for the next burst.
const POOL_MAX: usize = 4;

/// Chunks that no spool uses.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Vec<Vec<u8>>,
}

/// A queue of frames' bytes. What is appended at once lies in one piece; neighbours mostly do too.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    /// The first chunk; without memory where there is none.
    first: Vec<u8>,
    rest: VecDeque<Vec<u8>>,
    /// How many chunks have been given back before the first.
    released: u64,
    /// How much of the first chunk has been taken.
    taken: usize,
}

/// Where a frame lies in a spool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    chunk: u64,
    at: usize,
    len: usize,
}

impl Pool {
    fn take(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK))
    }

    fn give(&mut self, mut chunk: Vec<u8>) {
        if self.free.len() < POOL_MAX {
            chunk.clear();
            self.free.push(chunk);
        }
    }
}

#[cfg(test)]
impl Pool {
    pub(crate) fn bytes(&self) -> usize {
        self.free.iter().map(Vec::capacity).sum()
    }
}

impl Spool {
    pub(crate) const fn new() -> Self {
        Self {
            first: Vec::new(),
            rest: VecDeque::new(),
            released: 0,
            taken: 0,
        }
    }

    /// How much may be appended at once: what is left of the last chunk, or all of the next where
    /// that is too little to bother.
    pub(crate) fn room(&self) -> usize {
        let last = self.rest.back().unwrap_or(&self.first);
        match last.capacity() - last.len() {
            left if left >= FRAME_MAX => left,
            _ => CHUNK,
        }
    }

    /// Copies a frame, or several, to the end: no more than [`Spool::room`] or the largest frame.
    pub(crate) fn append(&mut self, frames: &[u8], pool: &mut Pool) -> Place {
        let last = self.rest.back().unwrap_or(&self.first);
        if last.capacity() - last.len() < frames.len() {
            self.begin_chunk(pool);
        }
        let chunk = self.released + self.rest.len() as u64;
        let last = self.rest.back_mut().unwrap_or(&mut self.first);
        let place = Place {
            chunk,
            at: last.len(),
            len: frames.len(),
        };
        last.extend_from_slice(frames);
        place
    }

    #[cold]
    fn begin_chunk(&mut self, pool: &mut Pool) {
        match self.first.capacity() {
            0 => self.first = pool.take(),
            _ => self.rest.push_back(pool.take()),
        }
    }

    /// What has been appended, unless it has been taken.
    pub(crate) fn get_mut(&mut self, place: Place) -> Option<&mut [u8]> {
        let index = usize::try_from(place.chunk.checked_sub(self.released)?).ok()?;
        let chunk = match index.checked_sub(1) {
            None if place.at < self.taken => return None,
            None => &mut self.first,
            Some(index) => self.rest.get_mut(index)?,
        };
        chunk.get_mut(place.at..place.at + place.len)
    }

    /// The next bytes that lie in one piece: whole frames.
    #[inline]
    pub(crate) fn front(&self) -> &[u8] {
        &self.first[self.taken..]
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.capacity() == 0
    }

    /// Takes bytes of [`Spool::front`] away.
    #[inline]
    pub(crate) fn skip(&mut self, len: usize, pool: &mut Pool) {
        self.taken += len;
        if self.taken == self.first.len() && self.taken > 0 {
            self.release(pool);
        }
    }

    #[cold]
    fn release(&mut self, pool: &mut Pool) {
        let next = self.rest.pop_front().unwrap_or_default();
        pool.give(mem::replace(&mut self.first, next));
        self.released += 1;
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_found_where_it_lies_until_it_is_taken() {
        let (mut spool, mut pool) = (Spool::default(), Pool::default());
        let mut places: VecDeque<(u8, Place)> = VecDeque::new();
        for round in 0..200_u8 {
            for number in [round, !round] {
                places.push_back((number, spool.append(&[number; 3_000], &mut pool)));
            }
            if round % 4 != 0
                && let Some((number, place)) = places.pop_front()
            {
                assert_eq!(spool.front()[..3_000], [number; 3_000]);
                spool.skip(3_000, &mut pool);
                assert!(spool.get_mut(place).is_none());
            }
            for (number, place) in &places {
                assert_eq!(spool.get_mut(*place), Some(&mut [*number; 3_000][..]));
            }
        }
    }
}
