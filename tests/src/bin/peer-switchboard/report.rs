//! What is told on stdout, and until when.

use std::io::{self, Read, Write};

use rustix::time::{ClockId, clock_gettime};

/// How long each request took.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<u64>);

impl Latencies {
    pub(crate) fn add(&mut self, nanos: u64) {
        self.0.push(nanos);
    }

    pub(crate) fn report(mut self, begun: u64) -> io::Result<()> {
        let ended = now();
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let at = |percent: usize| self.0.get(last * percent / 100).copied().unwrap_or(0);
        let (middle, high, most) = (at(50), at(99), at(100));
        line(&format!(
            "{{\"n\":{},\"t0_ns\":{begun},\"t1_ns\":{ended},\"p50_ns\":{middle},\"p99_ns\":{high},\"max_ns\":{most}}}",
            self.0.len()
        ))
    }
}

/// The clock that all processes share, in nanoseconds.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // It counts from the start of the machine, so neither is negative.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Others can come.
pub(crate) fn ready() -> io::Result<()> {
    line("READY")
}

/// The sender's half of a one-way work.
pub(crate) fn begun(count: u64, at: u64) -> io::Result<()> {
    line(&format!("{{\"n\":{count},\"t0_ns\":{at}}}"))
}

/// The receiver's half of a one-way work.
pub(crate) fn ended(count: u64) -> io::Result<()> {
    line(&format!("{{\"n\":{count},\"t1_ns\":{}}}", now()))
}

/// Ends the process when whoever started it closes its stdin, or is no more.
pub(crate) fn exit_on_end_of_stdin() -> io::Result<()> {
    let watch = || {
        let mut buffer = [0; 64];
        while matches!(io::stdin().read(&mut buffer), Ok(1..)) {}
        std::process::exit(0)
    };
    std::thread::Builder::new().spawn(watch).map(drop)
}

fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
