//! What the tests in simulated worlds share: how a plan is run, and what its processes do.
#![allow(dead_code, reason = "each test program uses its part")]

use switchboard_proto::sim::plan::{Handler, Plan, Work};
use switchboard_proto::sim::{Report, World};

pub(crate) const MILLI: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MILLI;

/// Runs a plan, in which every promise is kept.
#[track_caller]
pub(crate) fn run(plan: &Plan) -> Report {
    let report = World::new(plan.clone()).run();
    report.assert_kept(plan);
    report
}

/// How often a path was taken.
pub(crate) fn times(report: &Report, mark: &str) -> u64 {
    report.marks.get(mark).copied().unwrap_or(0)
}

/// Events of which the sender wants to hear nothing more.
pub(crate) fn plain(to: usize, bytes: usize, count: usize) -> Work {
    Work::Send {
        to,
        namespace: 0,
        bytes,
        attachments: 0,
        count,
        receipt: 0,
    }
}

/// Requests with the deadline that the node gives them.
pub(crate) fn request(to: usize, handler: Handler, bytes: usize, count: usize) -> Work {
    Work::Request {
        to,
        namespace: 1,
        handler,
        bytes,
        attachments: 0,
        count,
        deadline: None,
    }
}
