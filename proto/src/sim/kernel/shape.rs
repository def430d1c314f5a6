//! What the rules of a stream leave open: where reads and writes are cut, how long bytes travel, and
//! how large the buffers are.

use core::time::Duration;

use super::StreamKind;
use crate::sim::rng::Rng;

/// How one connection behaves within what a kernel may do. The default is the kindest kernel: nothing
/// is cut or delayed, and buffers have the size that Linux gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Shape {
    /// Into how many pieces a write or a read may be cut; 0 and 1 cut nothing.
    pub pieces: u8,
    /// Every read and every write moves a single byte.
    pub dribble: bool,
    /// How often in 1,000 a write finds no room although there is some.
    pub blocks: u32,
    /// Mean time on the way, in nanoseconds; drawn for each piece, order kept. TCP only.
    pub delay: u64,
    /// Bytes of the buffer of one direction; 0 for what Linux gives the kind.
    pub buffer: usize,
}

impl Shape {
    /// Nothing is cut, blocked or delayed.
    pub const KIND: Self = Self {
        pieces: 1,
        dribble: false,
        blocks: 0,
        delay: 0,
        buffer: 0,
    };

    /// A shape for one connection of a seeded world: mostly cut into up to 8 pieces, one in twenty
    /// byte by byte, half of them with small buffers.
    pub fn draw(rng: &mut Rng) -> Self {
        // Every field is drawn, used or not, so that changing one range does not shift the others.
        let (pieces, dribble) = (rng.range(1..=8) as u8, rng.chance(50));
        let (blocks, blocked) = (rng.range(0..=300) as u32, rng.chance(500));
        let delay = rng.range(50_000..=20_000_000);
        // Linux gives a socket no less than 4,608 bytes.
        let (buffer, small) = (rng.size(4_608..=32_768), rng.chance(500));
        Self {
            pieces,
            dribble,
            blocks: if blocked { blocks } else { 0 },
            delay,
            buffer: if small { buffer } else { 0 },
        }
    }

    /// Bytes of the buffer of one direction.
    pub(super) fn buffer(&self, kind: StreamKind) -> usize {
        match (self.buffer, kind) {
            (0, StreamKind::Pipe) => 64 * 1024,
            (0, StreamKind::Tcp) => 2_626_560,
            (0, StreamKind::Unix) => 212_992,
            (bytes, _) => bytes,
        }
    }

    /// How many of `bytes` go in one piece: at least one, if there is any.
    pub(super) fn piece(&self, bytes: usize, rng: &mut Rng) -> usize {
        if self.dribble {
            bytes.min(1)
        } else if self.pieces <= 1 || bytes <= 1 || rng.below(u64::from(self.pieces)) == 0 {
            bytes
        } else {
            rng.size(1..=bytes)
        }
    }

    /// How long a piece travels.
    pub(super) fn travel(&self, kind: StreamKind, rng: &mut Rng) -> Duration {
        match kind {
            StreamKind::Tcp if self.delay > 0 => rng.exponential(Duration::from_nanos(self.delay)),
            _ => Duration::ZERO,
        }
    }
}

impl Default for Shape {
    fn default() -> Self {
        Self::KIND
    }
}
