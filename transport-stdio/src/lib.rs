//! Child processes as peers of a Switchboard application.
//!
//! So far: [`supervise`], the restart policy and the stop ladder as a state machine that is fed with
//! exits and time.

pub mod supervise;
