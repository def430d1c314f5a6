//! Seeded draws, split by purpose: taking one fault out of a plan, or one node out of a world, does
//! not shift what the others draw.

use core::ops::RangeInclusive;
use core::time::Duration;

/// A generator for one purpose (xoshiro256**). Equal seed and purpose give equal draws.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator of `seed` for a purpose, such as `"workload"`.
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self::numbered(seed, purpose, 0)
    }

    /// The generator of `seed` for one of several equal things, such as link 3.
    pub fn numbered(seed: u64, purpose: &str, number: u64) -> Self {
        // FNV-1a over the purpose: any fixed function would do, it only has to keep purposes apart.
        let label = purpose
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        let mut mix = seed ^ label.rotate_left(17) ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93);
        // Splitmix never yields four zeroes in a row, which is the one state xoshiro cannot leave.
        Self {
            state: core::array::from_fn(|_| splitmix(&mut mix)),
        }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let drawn = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        drawn
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product: no division, and a bias below 2^-32 for the small bounds of
        // a simulation.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number of the range.
    pub fn range(&mut self, range: RangeInclusive<u64>) -> u64 {
        let span = range.end().saturating_sub(*range.start());
        match span.checked_add(1) {
            Some(count) => range.start() + self.below(count),
            None => self.next_u64(),
        }
    }

    /// As [`Rng::range`], for sizes.
    pub fn size(&mut self, range: RangeInclusive<usize>) -> usize {
        self.range(*range.start() as u64..=*range.end() as u64) as usize
    }

    /// True in `permille` of 1,000 draws.
    pub fn chance(&mut self, permille: u32) -> bool {
        self.below(1000) < u64::from(permille)
    }

    /// An exponentially distributed time with this mean, at most 16 times the mean. Integer
    /// arithmetic only: floating point may differ between builds.
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        // Halvings until a draw has a set bit give a geometric number; the bits after it fill the
        // step linearly, which is close enough to the curve for delays.
        let draw = self.next_u64() | (1 << 44);
        let halvings = u64::from(draw.leading_zeros());
        let fraction = self.below(1 << 16);
        let mean_nanos = u64::try_from(mean.as_nanos()).unwrap_or(u64::MAX);
        // ln 2 is 45,426 / 65,536.
        let steps = (halvings << 16) + fraction;
        let scaled = (u128::from(mean_nanos) * u128::from(steps) * 45_426) >> 32;
        Duration::from_nanos(u64::try_from(scaled).unwrap_or(u64::MAX))
    }

    /// One of the things; `None` only of an empty slice.
    pub fn pick<'a, T>(&mut self, things: &'a [T]) -> Option<&'a T> {
        things.get(self.below(things.len() as u64) as usize)
    }

    /// 32 bytes, such as a node's seed.
    pub fn bytes32(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes());
        }
        bytes
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn draws(mut rng: Rng) -> Vec<u64> {
        (0..8).map(|_| rng.next_u64()).collect()
    }

    #[test]
    fn equal_seed_and_purpose_draw_the_same() {
        assert_eq!(draws(Rng::new(7, "a")), draws(Rng::new(7, "a")));
        assert_ne!(draws(Rng::new(7, "a")), draws(Rng::new(8, "a")));
    }

    #[test]
    fn purposes_and_numbers_are_independent_of_each_other() {
        assert_ne!(draws(Rng::new(7, "faults")), draws(Rng::new(7, "workload")));
        let one = Rng::numbered(7, "link", 1);
        assert_ne!(draws(one), draws(Rng::numbered(7, "link", 2)));
    }

    #[test]
    fn a_range_is_covered_to_both_ends_and_never_left() {
        let mut rng = Rng::new(1, "range");
        let drawn: Vec<u64> = (0..400).map(|_| rng.range(3..=6)).collect();
        for value in 3..=6 {
            assert!(drawn.contains(&value), "{value} was never drawn");
        }
        assert!(drawn.iter().all(|value| (3..=6).contains(value)));
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn exponential_times_have_about_the_asked_mean() {
        let mut rng = Rng::new(1, "delay");
        let mean = Duration::from_micros(100);
        let total: Duration = (0..20_000).map(|_| rng.exponential(mean)).sum();
        let average = total / 20_000;
        assert!(
            average > mean * 9 / 10 && average < mean * 11 / 10,
            "{average:?}"
        );
    }
}
