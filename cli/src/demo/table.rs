//! The end of the demonstration: what is so, in numbers.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::census::Census;
use super::http::Http;
use super::kill::Kill;
use super::late::Late;
use super::requests::{Figures, Requests};
use super::stopped::Stopped;

/// Everything that was counted.
#[derive(Debug, Serialize)]
pub struct Table {
    /// Whether everything is as it must be. Always, or there is an error in its place.
    pub ok: bool,
    /// How long it all took.
    pub seconds: f64,
    /// Processes that were started, this one not counted.
    pub processes: u64,
    /// Requests to all workers.
    pub requests: u64,
    /// Their right answers.
    pub replies: u64,
    /// Of those, how fast, by transport.
    pub transports: BTreeMap<&'static str, Figures>,
    /// The socket that moved.
    pub http: HttpFigures,
    /// The worker that was killed.
    pub kill: Kill,
    /// The worker that came late.
    pub late: Late,
    /// The worker that stood still.
    pub stopped: Stopped,
    /// Messages that were accepted, had a living receiver, and did not arrive.
    pub lost: u64,
    /// Messages that arrived twice.
    pub duplicated: u64,
    /// Messages that arrived before an earlier one of their sender.
    pub reordered: u64,
    /// Descriptors that this process has and had not before.
    pub descriptors_left: i64,
    /// Children that this process has and had not before.
    pub children_left: i64,
}

/// What of [`Http`] is worth a number.
#[derive(Debug, Serialize)]
pub struct HttpFigures {
    /// Who answered.
    pub pid: u32,
    /// How many bytes, each as expected.
    pub bytes: usize,
}

/// What the acts have found.
#[derive(Debug)]
pub struct Findings {
    /// See [`mod@super::requests`].
    pub requests: Requests,
    /// See [`mod@super::http`].
    pub http: Http,
    /// See [`mod@super::kill`].
    pub kill: Kill,
    /// See [`mod@super::late`].
    pub late: Late,
    /// See [`mod@super::stopped`].
    pub stopped: Stopped,
    /// Processes that were started.
    pub processes: u64,
}

impl Table {
    /// Adds everything up.
    pub fn new(found: Findings, seconds: f64, before: Census, after: Census) -> Self {
        let Findings {
            requests,
            http,
            kill,
            late,
            stopped,
            processes,
        } = found;
        let transports = requests.by_transport.into_iter();
        Self {
            ok: true,
            seconds,
            processes,
            requests: requests.asked,
            replies: requests.answered,
            transports: transports
                .map(|(at, figures)| (at.name(), figures))
                .collect(),
            http: HttpFigures {
                pid: http.pid,
                bytes: http.bytes,
            },
            lost: (requests.asked - requests.answered) + (late.sent - late.arrived) + stopped.lost,
            duplicated: requests.duplicated + late.duplicated + stopped.duplicated + kill.ran_twice,
            reordered: requests.reordered + late.reordered + stopped.reordered,
            kill,
            late,
            stopped,
            descriptors_left: difference(after.descriptors, before.descriptors),
            children_left: difference(after.children, before.children),
        }
    }

    /// Whether everything is as it must be.
    ///
    /// # Errors
    ///
    /// What is not.
    pub fn check(&self) -> Result<()> {
        ensure!(self.lost == 0, "{} messages were lost", self.lost);
        ensure!(
            self.duplicated == 0,
            "{} messages came twice",
            self.duplicated
        );
        ensure!(
            self.reordered == 0,
            "{} messages came out of order",
            self.reordered
        );
        ensure!(
            self.descriptors_left == 0,
            "{} descriptors are left over",
            self.descriptors_left
        );
        ensure!(
            self.children_left == 0,
            "{} child processes are left over",
            self.children_left
        );
        Ok(())
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "   {:12}{:>10}{:>10}{:>10}{:>10}",
            "transport", "requests", "replies", "p50", "p99"
        )];
        for (name, figures) in &self.transports {
            lines.push(format!(
                "   {name:12}{:>10}{:>10}{:>7.0} us{:>7.0} us",
                figures.requests, figures.requests, figures.p50_us, figures.p99_us
            ));
        }
        lines.push(String::new());
        lines.push(format!(
            "   lost {}   duplicated {}   reordered {}   descriptors left over {}   children left \
             over {}",
            self.lost, self.duplicated, self.reordered, self.descriptors_left, self.children_left
        ));
        lines
    }
}

fn difference(after: usize, before: usize) -> i64 {
    after as i64 - before as i64
}
