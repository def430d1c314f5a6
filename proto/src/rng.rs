//! Randomness from a seed: the same seed gives the same choices, on every machine.

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014). Good
/// enough for jitter and instance numbers; nothing secret is drawn from it.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// A stream of its own for each purpose, so that one use more does not shift the others.
    pub(crate) fn new(seed: &[u8; 32], purpose: u64) -> Self {
        let mut state = purpose;
        for word in seed.chunks_exact(8) {
            let mut raw = [0; 8];
            raw.copy_from_slice(word);
            state = mix(state ^ u64::from_le_bytes(raw)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        }
        Self(state)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
