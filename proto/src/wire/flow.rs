//! Flows: what their numbers mean and what a frame costs.

/// The flow of frames that need no credit.
pub const NO_FLOW: u32 = 0;

/// The highest flow that a sender chooses for a namespace or a stream; they begin at 1.
pub const MAX_FLOW: u32 = 0x7fff_ffff;

/// The least that a frame costs. As the smallest messages cost this much, a credit in bytes bounds
/// their number too.
pub const LEAST_COST: u64 = 128;

/// What a sequenced frame of `len` bytes, header included, costs its flow.
pub const fn cost(len: usize) -> u64 {
    let len = len as u64;
    if len < LEAST_COST { LEAST_COST } else { len }
}

/// The flow of the replies to a request.
pub const fn reply_flow(request: u64) -> u32 {
    !MAX_FLOW | (request as u32 & MAX_FLOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_frames_cost_as_much_as_it_takes_to_bound_their_number() {
        assert_eq!(
            [0, 127, 128, 129, 1 << 20].map(cost),
            [128, 128, 128, 129, 1 << 20]
        );
    }

    #[test]
    fn replies_have_flows_of_their_own() {
        assert_eq!(reply_flow(0), 0x8000_0000);
        assert_eq!(reply_flow(1), 0x8000_0001);
        assert_eq!(reply_flow(0x8000_0001), 0x8000_0001);
        assert_eq!(reply_flow(u64::MAX), u32::MAX);
        assert!(reply_flow(7) > MAX_FLOW);
    }
}
