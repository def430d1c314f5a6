//! The commands that talk to a running application.

pub mod call;
pub mod emit;
pub mod hub;
pub mod on;
pub mod peers;
