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
//! - [`plan`]: what happens in a world, written out so that it can be kept and shrunk.
//! - [`draw`]: plans drawn from a seed.
//! - [`model`]: what is promised, as simply as it can be said.
//! - [`world`]: runs a plan and reports which promises were broken.

mod app;
pub mod draw;
pub mod handle;
pub mod kernel;
pub mod model;
pub mod plan;
mod process;
pub mod rng;
mod stranger;
pub mod world;

pub use plan::Plan;
pub use world::{Report, World};
