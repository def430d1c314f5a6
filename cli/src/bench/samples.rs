//! Times of single messages, and the best figures of several rounds.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

/// What happens in one round, while it does.
#[derive(Debug)]
pub struct Samples {
    times: Histogram<u64>,
    begin: Instant,
    /// Messages that did not do what they should.
    pub errors: u64,
    /// Messages that were accepted and did not arrive.
    pub lost: u64,
}

/// One round.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Messages.
    pub n: u64,
    /// See [`Samples::errors`].
    pub errors: u64,
    /// See [`Samples::lost`].
    pub lost: u64,
    /// Messages a second.
    pub rate: f64,
    /// Half of them took at most this long.
    pub p50_us: f64,
    /// All but one in a hundred took at most this long.
    pub p99_us: f64,
}

/// The best figures of several rounds, and the sum of what went wrong in all of them.
#[derive(Clone, Copy, Debug)]
pub struct Best(pub Round);

impl Samples {
    /// The round begins.
    ///
    /// # Errors
    ///
    /// None: the bounds make sense.
    pub fn begin() -> Result<Self> {
        Ok(Self {
            times: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            begin: Instant::now(),
            errors: 0,
            lost: 0,
        })
    }

    /// Whether the round has lasted so long.
    pub fn is_over(&self, time: Duration) -> bool {
        self.begin.elapsed() >= time
    }

    /// A message that began then is done now.
    pub fn record(&mut self, begin: Instant) {
        self.record_many(begin, 1);
    }

    /// So many messages, which began together then, are done now.
    pub fn record_many(&mut self, begin: Instant, count: u64) {
        let nanos = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.times.saturating_record_n(nanos, count);
    }

    /// The round is over: everything has arrived.
    pub fn finish(self) -> Round {
        let seconds = self.begin.elapsed().as_secs_f64();
        let at = |quantile| self.times.value_at_quantile(quantile) as f64 / 1000.0;
        let n = self.times.len();
        Round {
            n,
            errors: self.errors,
            lost: self.lost,
            rate: n as f64 / seconds,
            p50_us: at(0.5),
            p99_us: at(0.99),
        }
    }
}

impl Default for Best {
    fn default() -> Self {
        Self(Round {
            n: 0,
            errors: 0,
            lost: 0,
            rate: 0.0,
            p50_us: f64::INFINITY,
            p99_us: f64::INFINITY,
        })
    }
}

impl Best {
    /// Takes one more round.
    pub fn take(&mut self, round: Round) {
        let best = &mut self.0;
        best.errors += round.errors;
        best.lost += round.lost;
        if round.n > 0 {
            best.n += round.n;
            best.rate = best.rate.max(round.rate);
            best.p50_us = best.p50_us.min(round.p50_us);
            best.p99_us = best.p99_us.min(round.p99_us);
        }
    }
}
