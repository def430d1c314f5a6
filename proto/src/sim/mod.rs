//! The deterministic world: several nodes, one virtual clock, and a fake kernel between them that
//! splits, merges, truncates and delays as Linux does.
//!
//! A seed compiles to an explicit plan, and the plan is what runs: the same plan gives the same run,
//! byte for byte, on every machine and build. Nothing in here reads a clock, draws entropy or starts
//! a thread.
//!
//! - [`rng`]: seeded draws, split by purpose.
//! - [`handle`]: [`handle::FakeFd`], a counted stand-in for a descriptor.
//! - [`kernel`]: byte streams between processes, by the rules measured on Linux.

pub mod handle;
pub mod kernel;
pub mod rng;
