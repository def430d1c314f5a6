//! One link: cutting what it brings into frames with their attachments, planning what it writes,
//! and its life from the hello to the end. The three parts know nothing of each other.

pub(crate) mod bonds;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod life;
pub(crate) mod rx;
pub(crate) mod tx;

pub use life::Medium;
pub use tx::{WriteBatch, WriteMisuse, Written};
