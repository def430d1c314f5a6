//! The same scenarios over every transport under every driver.
//!
//! Each scenario is a function that takes a [`Setting`]; [`over_all!`] makes a test of it for each.
//! The worker of a scenario is this program again, in the role that the scenario names.

#![allow(
    clippy::disallowed_methods,
    reason = "a worker ends with a code of its own"
)]

mod clusterphone;
mod families;
mod frames;
mod hub;
mod pairs;
mod peers;
mod roles;
mod settings;
mod topics;

use switchboard_tests::{enter_role, run_before_main};

run_before_main!(enter);

fn enter() {
    enter_role(roles::play);
}
