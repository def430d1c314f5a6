//! `bench`: the library and raw system calls do the same work, in turns.
//!
//! What one machine does in one minute is not what it does in the next, so a figure alone says
//! little: both sides run in the same minute, five rounds each, and the best of each figure counts.

mod ours;
pub mod peer;
pub mod pin;
pub mod raw;
mod raw_line;
mod samples;

use std::time::Duration;

use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::args::{Bench, Global, Transport, Work};
use crate::end::{End, Failure};
use crate::print;
use crate::signals::Signals;
use ours::Ours;
use pin::{Pin, Pinned};
use raw::RawSide;
use samples::{Best, Round};

/// How often each side has its turn.
const ROUNDS: u32 = 5;

/// Fewer bytes than this cannot hold the raw side's bookkeeping.
const SMALLEST: usize = 8;

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    work: &'static str,
    transport: &'static str,
    size: usize,
    concurrency: u32,
    pin: Pin,
    /// Messages of the library, over all rounds.
    n: u64,
    /// Messages that were refused, failed, or came back wrong.
    errors: u64,
    /// Messages that were accepted and did not arrive.
    lost: u64,
    /// Messages a second.
    rate: f64,
    p50_us: f64,
    p99_us: f64,
    raw_rate: f64,
    raw_p50_us: f64,
    raw_p99_us: f64,
    /// Our share of what raw system calls do: by the median at concurrency 1, else by the rate.
    ratio: f64,
}

/// Measures both sides.
///
/// # Errors
///
/// [`End::Usage`] for what cannot be measured, or a process that does not do its part.
pub fn run(global: &Global, args: &Bench) -> Result<End> {
    check(args)?;
    let pinned = Pinned::begin(args.pin);
    let signals = Signals::new()?;
    let mut ours = Ours::start(args, &pinned)?;
    let mut raw = RawSide::start(args, &pinned)?;
    let each = args.duration / (2 * ROUNDS);
    let progress = bar(global);
    let (mut best_ours, mut best_raw) = (Best::default(), Best::default());
    for _ in 0..ROUNDS {
        best_raw.take(raw.round(args, each, &signals)?);
        progress.inc(1);
        best_ours.take(ours.round(args, each, &signals)?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    raw.stop()?;
    ours.stop()?;
    let report = Report::new(args, &pinned, &best_ours, &best_raw)?;
    match global.json {
        true => print::object(&report)?,
        false => report.tell(&pinned, each)?,
    }
    Ok(match report.errors + report.lost {
        0 => End::Done,
        _ => End::Failed,
    })
}

/// How long one operation may take before the measurement is given up.
pub const PATIENCE: Duration = Duration::from_secs(10);

fn check(args: &Bench) -> Result<()> {
    let usage = |message: String| Err(Failure::new(End::Usage, message).into());
    let sockets = matches!(args.transport, Transport::Unix | Transport::Socketpair);
    if args.work == Work::Fds && !sockets {
        let name = args.transport.name();
        return usage(format!("--transport {name} carries no descriptors"));
    }
    if args.size < SMALLEST || args.size > 8 << 20 {
        return usage(format!("--size {}: from {SMALLEST} to 8388608", args.size));
    }
    if args.work == Work::Fds && args.concurrency > 48 {
        return usage("--concurrency: at most 48 descriptors are under way to one peer".into());
    }
    if args.duration < Duration::from_millis(50) || args.duration > Duration::from_secs(3600) {
        return usage("--duration: from 50ms to 1h".into());
    }
    Ok(())
}

impl Report {
    fn new(args: &Bench, pinned: &Pinned, ours: &Best, raw: &Best) -> Result<Self> {
        let (own, other) = (&ours.0, &raw.0);
        ensure!(own.n > 0 && other.n > 0, "nothing was done in any round");
        let ratio = match args.concurrency {
            1 => other.p50_us / own.p50_us,
            _ => own.rate / other.rate,
        };
        Ok(Self {
            work: work_name(args.work),
            transport: args.transport.name(),
            size: args.size,
            concurrency: args.concurrency,
            pin: pinned.how,
            n: own.n,
            errors: own.errors,
            lost: own.lost,
            rate: own.rate,
            p50_us: own.p50_us,
            p99_us: own.p99_us,
            raw_rate: other.rate,
            raw_p50_us: other.p50_us,
            raw_p99_us: other.p99_us,
            ratio,
        })
    }

    fn tell(&self, pinned: &Pinned, each: Duration) -> Result<()> {
        print::line(&format!(
            "{} over {}, {} bytes, {} under way, {pinned}, best of {ROUNDS} rounds of {} each",
            self.work,
            self.transport,
            self.size,
            self.concurrency,
            crate::duration::show(each)
        ))?;
        print::line(&format!(
            "{:14}{:>14}{:>12}{:>12}",
            "", "a second", "p50", "p99"
        ))?;
        for (name, rate, p50, p99) in [
            ("switchboard", self.rate, self.p50_us, self.p99_us),
            ("raw calls", self.raw_rate, self.raw_p50_us, self.raw_p99_us),
        ] {
            print::line(&format!("{name:14}{rate:>14.0}{p50:>9.1} us{p99:>9.1} us"))?;
        }
        print::line(&format!(
            "share of raw {:.2}   messages {}   errors {}   lost {}",
            self.ratio, self.n, self.errors, self.lost
        ))?;
        Ok(())
    }
}

/// As it is written on the command line.
pub const fn work_name(work: Work) -> &'static str {
    match work {
        Work::Call => "call",
        Work::Emit => "emit",
        Work::Fds => "fds",
    }
}

/// On stderr, and only where that is a terminal.
fn bar(global: &Global) -> ProgressBar {
    if global.json || global.quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(u64::from(2 * ROUNDS));
    match ProgressStyle::with_template("[{bar:30}] round {pos} of {len}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// One side's turn.
trait Side {
    /// Does the work for so long.
    fn round(&mut self, args: &Bench, time: Duration, signals: &Signals) -> Result<Round>;
}
