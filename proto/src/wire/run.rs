//! Frames that follow another one and are like it: a busy sender's, one after the other.

use super::{Header, flow};

/// Whole frames that lie one after the other. They are as the frame before them was but for their
/// lengths, their payloads and their sequence numbers, of which each is the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) bytes: &'a [u8],
    /// The sequence number of the first.
    pub(crate) first: u64,
    pub(crate) frames: u64,
    /// What all of them cost.
    pub(crate) cost: u64,
    /// The last one begins here.
    pub(super) last: usize,
}

/// Where a run ends at the latest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    /// Bytes of all frames.
    pub(crate) bytes: usize,
    /// What all frames cost.
    pub(crate) cost: u64,
    /// Bytes of one frame.
    pub(super) frame: usize,
}

impl Most {
    pub(crate) const fn new(bytes: usize, cost: u64) -> Self {
        let frame = bytes;
        Self { bytes, cost, frame }
    }
}

/// Cuts the run that follows `lead`, a whole frame, off the beginning of `rest`. Its frames begin
/// with the same `alike` bytes, at least a header.
pub(super) fn cut<'a>(lead: &[u8], rest: &'a [u8], alike: usize, most: Most) -> Option<Run<'a>> {
    let (lead_header, lead_body) = lead.get(..alike)?.split_first_chunk::<{ Header::LEN }>()?;
    let lead_header = Fields::of(lead_header);
    let rest = &rest[..rest.len().min(most.bytes)];
    let mut next = lead_header.sequence;
    let mut run = Run {
        bytes: &[],
        first: next.wrapping_add(1),
        frames: 0,
        cost: 0,
        last: 0,
    };
    let mut at = 0;
    while let Some((header, body)) = rest[at..].split_first_chunk::<{ Header::LEN }>() {
        let header = Fields::of(header);
        let len = header.length as usize + Header::LENGTH_FIELD;
        next = next.wrapping_add(1);
        let is_next = header.sequence == next && header.fixed == lead_header.fixed;
        let fits = len >= alike && len <= most.frame.min(rest.len() - at);
        if !is_next || !fits || !body.starts_with(lead_body) {
            break;
        }
        let cost = run.cost + flow::cost(len);
        if cost > most.cost {
            break;
        }
        run.cost = cost;
        run.frames += 1;
        run.last = at;
        at += len;
    }
    run.bytes = &rest[..at];
    (at > 0).then_some(run)
}

/// A header as it stands on the wire, by what may differ within a run.
struct Fields {
    length: u32,
    sequence: u64,
    fixed: Fixed,
}

/// Kind, flags, attachments, hops, source and destination; and the flow.
type Fixed = (u32, u128, u32);

impl Fields {
    #[inline]
    fn of(raw: &[u8; Header::LEN]) -> Self {
        // The length of every part is that of its array.
        let word = |at: usize| u32::from_be_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        Self {
            length: word(0),
            sequence: long(Header::SEQUENCE_AT),
            fixed: (
                word(4),
                u128::from(long(8)) << 64 | u128::from(long(16)),
                word(32),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::id::InstanceId;
    use crate::wire::Kind;

    const WIDE: Most = Most::new(64 * 1024, u64::MAX);

    fn frame(sequence: u64, body: &[u8]) -> Vec<u8> {
        let mut header = Header::new(Kind::EVENT, InstanceId(7), InstanceId(9));
        header.sequence = sequence;
        header.flow = 3;
        let mut out = Vec::new();
        header.encode(body.len(), &mut out);
        out.extend_from_slice(body);
        out
    }

    fn frames(rest: &[Vec<u8>], most: Most) -> u64 {
        let lead = frame(5, b"name:first");
        let rest = rest.concat();
        let run = cut(&lead, &rest, Header::LEN + 5, most);
        run.map_or(0, |run| {
            assert!(run.cost <= most.cost && run.bytes.len() <= most.bytes);
            run.frames
        })
    }

    #[test]
    fn a_run_goes_on_while_the_next_number_has_the_same_names_and_header() {
        let next = [frame(6, b"name:"), frame(7, b"name:a longer one")];
        assert_eq!(frames(&next, WIDE), 2);
        assert_eq!(frames(&[frame(7, b"name:"), frame(8, b"name:")], WIDE), 0);
        assert_eq!(frames(&[frame(6, b"name:"), frame(6, b"name:")], WIDE), 1);
        assert_eq!(frames(&[frame(6, b"game:"), frame(7, b"name:")], WIDE), 0);
        assert_eq!(frames(&[frame(6, b"name")], WIDE), 0);
        for at in 4..Header::LEN {
            let mut other = frame(7, b"name:");
            other[at] ^= 1;
            assert_eq!(frames(&[frame(6, b"name:"), other], WIDE), 1, "byte {at}");
        }
    }

    #[test]
    fn a_run_ends_at_its_bounds_and_before_what_is_not_whole() {
        let next: Vec<_> = (6..16)
            .map(|at| frame(at, &[b"name:", &[0; 100][..]].concat()))
            .collect();
        let len = next[0].len();
        assert_eq!(frames(&next, Most::new(3 * len, u64::MAX)), 3);
        assert_eq!(frames(&next, Most::new(3 * len - 1, u64::MAX)), 2);
        assert_eq!(frames(&next, Most::new(64 * 1024, 4 * len as u64)), 4);
        assert_eq!(frames(&next, Most::new(64 * 1024, 4 * len as u64 - 1)), 3);
        let most = Most {
            frame: len - 1,
            ..WIDE
        };
        assert_eq!(frames(&next, most), 0);
        for left in 0..len {
            let part = next[1][..left].to_vec();
            assert_eq!(frames(&[next[0].clone(), part], WIDE), 1, "{left} bytes");
        }
        // A length that is less than a header's.
        let mut short = frame(7, b"name:");
        short[..4].copy_from_slice(&[0; 4]);
        assert_eq!(frames(&[frame(6, b"name:"), short], WIDE), 1);
    }
}
