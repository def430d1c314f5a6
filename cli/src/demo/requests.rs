//! Requests to all workers, each answer checked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use switchboard_mio::RequestId;

use super::stage::Stage;
use super::words::{Done, REPORT, Seen, WORK, Work};
use crate::args::Transport;

/// How many requests are made, over all workers.
const REQUESTS: u64 = 10_000;
/// How many of them one worker has at a time.
const UNDER_WAY: usize = 4;

/// In nanoseconds; no answer takes longer than the wait for it.
const MINUTE: u64 = 60_000_000_000;

/// What came of it.
#[derive(Debug)]
pub struct Requests {
    /// How many were made.
    pub asked: u64,
    /// How many right answers came.
    pub answered: u64,
    /// How many the workers ran twice.
    pub duplicated: u64,
    /// How many the workers got out of order.
    pub reordered: u64,
    /// How long all took.
    pub took: Duration,
    /// By transport.
    pub by_transport: BTreeMap<Transport, Figures>,
}

/// The figures of one transport.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Requests, each with its right answer.
    pub requests: u64,
    /// Half of them took at most this long.
    pub p50_us: f64,
    /// All but one in a hundred took at most this long.
    pub p99_us: f64,
}

/// The conversation with one worker.
struct Lane {
    name: String,
    transport: Transport,
    order: u64,
    left: u64,
    under_way: usize,
}

/// A request that waits for its answer.
struct Flight {
    lane: usize,
    n: u64,
    order: u64,
    begin: Instant,
}

/// Makes the requests and checks the answers.
///
/// # Errors
///
/// A wrong answer, or none.
pub fn run(stage: &mut Stage, quiet: bool) -> Result<Requests> {
    let mut lanes = lanes(stage);
    let mut flights: BTreeMap<RequestId, Flight> = BTreeMap::new();
    let mut times = BTreeMap::new();
    for lane in &lanes {
        times.insert(lane.transport, Histogram::new_with_bounds(1, MINUTE, 3)?);
    }
    let progress = bar(quiet);
    let begin = Instant::now();
    let mut answered = 0;
    let mut n = 0;
    while answered < REQUESTS {
        for (at, lane) in lanes.iter_mut().enumerate() {
            while lane.left > 0 && lane.under_way < UNDER_WAY {
                let flight = ask(stage, lane, at, n)?;
                flights.insert(flight.0, flight.1);
                n += 1;
            }
        }
        let mut arrived = None;
        stage.wait("the next answer", |stage| {
            arrived = arrived.take().or_else(|| stage.any_outcome());
            Ok(arrived.is_some())
        })?;
        while let Some((id, outcome, at)) = arrived {
            let flight = flights.remove(&id);
            let Some(flight) = flight else {
                anyhow::bail!("an outcome came that nobody waits for");
            };
            let lane = &mut lanes[flight.lane];
            let done: Done = outcome.decode()?;
            let right = Done {
                square: flight.n * flight.n,
                order: flight.order,
                by: lane.name.clone(),
            };
            ensure!(done == right, "{done:?} came in place of {right:?}");
            let took = nanos(at - flight.begin);
            if let Some(times) = times.get_mut(&lane.transport) {
                times.saturating_record(took);
            }
            lane.under_way -= 1;
            answered += 1;
            progress.inc(1);
            arrived = stage.any_outcome();
        }
    }
    let took = begin.elapsed();
    progress.finish_and_clear();
    let seen = reports(stage, &lanes)?;
    ensure!(
        seen.count == REQUESTS,
        "the workers ran {} of {REQUESTS} requests",
        seen.count
    );
    Ok(Requests {
        asked: n,
        answered,
        duplicated: seen.duplicated,
        reordered: seen.reordered,
        took,
        by_transport: times
            .iter()
            .map(|(at, times)| (*at, figures(times)))
            .collect(),
    })
}

fn lanes(stage: &Stage) -> Vec<Lane> {
    let count = stage.workers.len() as u64;
    let share = |at: u64| REQUESTS / count + u64::from(at < REQUESTS % count);
    let workers = (0..).zip(&stage.workers);
    workers
        .map(|(at, worker)| Lane {
            name: worker.name.clone(),
            transport: worker.transport,
            order: 0,
            left: share(at),
            under_way: 0,
        })
        .collect()
}

fn ask(stage: &mut Stage, lane: &mut Lane, at: usize, n: u64) -> Result<(RequestId, Flight)> {
    let order = lane.order;
    let work = Work { n, order };
    let begin = Instant::now();
    let request = stage.board().request(WORK, &work).to(lane.name.as_str());
    let id = request.send()?;
    lane.order += 1;
    lane.left -= 1;
    lane.under_way += 1;
    let flight = Flight {
        lane: at,
        n,
        order,
        begin,
    };
    Ok((id, flight))
}

/// What the workers say that they saw.
fn reports(stage: &mut Stage, lanes: &[Lane]) -> Result<Seen> {
    let mut all = Seen::default();
    for lane in lanes {
        let seen = stage.ask(REPORT, &(), lane.name.as_str())?;
        all.count += seen.count;
        all.duplicated += seen.duplicated;
        all.reordered += seen.reordered;
    }
    Ok(all)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn figures(times: &Histogram<u64>) -> Figures {
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
    Figures {
        requests: times.len(),
        p50_us: at(0.5),
        p99_us: at(0.99),
    }
}

/// On stderr, and only where that is a terminal.
fn bar(quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(REQUESTS);
    match ProgressStyle::with_template("   [{bar:30}] {human_pos} of {human_len} requests") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
