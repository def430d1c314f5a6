//! Bytes of queued frames, first in and first out, in chunks that queues share.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::link::tx::COPY_MAX;
use crate::wire::Header;

/// Bytes of a chunk. Several of the largest frames that are copied fit, so that what their ends
/// waste stays small.
const CHUNK: usize = 16 * 1024;
const _: () = assert!(CHUNK >= 2 * (Header::LEN + COPY_MAX));

/// How many free chunks are kept for the next burst.
const POOL_MAX: usize = 4;

/// Chunks that no spool uses.
#[derive(Debug, Default)]
pub(super) struct Pool {
    free: Vec<Vec<u8>>,
}

/// A queue of frames' bytes. Each frame lies in one piece; neighbours mostly do together.
#[derive(Debug, Default)]
pub(super) struct Spool {
    chunks: VecDeque<Vec<u8>>,
    /// How many chunks have been given back before the first of `chunks`.
    released: u64,
    /// How much of the first chunk has been taken.
    taken: usize,
}

/// Where a frame lies in a spool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
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
    pub(super) fn bytes(&self) -> usize {
        self.free.iter().map(Vec::capacity).sum()
    }
}

impl Spool {
    /// Copies a frame to the end.
    pub(super) fn append(&mut self, frame: &[u8], pool: &mut Pool) -> Place {
        let roomy = |chunk: &Vec<u8>| chunk.capacity() - chunk.len() >= frame.len();
        let mut last = match self.chunks.pop_back() {
            Some(last) if roomy(&last) => last,
            full => {
                self.chunks.extend(full);
                pool.take()
            }
        };
        let place = Place {
            chunk: self.released + self.chunks.len() as u64,
            at: last.len(),
            len: frame.len(),
        };
        last.extend_from_slice(frame);
        self.chunks.push_back(last);
        place
    }

    /// A frame that has been appended, unless it has been taken.
    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut [u8]> {
        let index = usize::try_from(place.chunk.checked_sub(self.released)?).ok()?;
        if index == 0 && place.at < self.taken {
            return None;
        }
        self.chunks
            .get_mut(index)?
            .get_mut(place.at..place.at + place.len)
    }

    /// The next bytes that lie in one piece: whole frames.
    pub(super) fn front(&self) -> &[u8] {
        self.chunks
            .front()
            .map_or(&[], |chunk| &chunk[self.taken..])
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Takes bytes of [`Spool::front`] away.
    pub(super) fn skip(&mut self, len: usize, pool: &mut Pool) {
        self.taken += len;
        let used_up = |chunk: &Vec<u8>| chunk.len() == self.taken;
        if self.chunks.front().is_some_and(used_up)
            && let Some(chunk) = self.chunks.pop_front()
        {
            pool.give(chunk);
            self.released += 1;
            self.taken = 0;
        }
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
