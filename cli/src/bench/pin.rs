//! On which processors the two processes of a side run.
//!
//! Left to itself, the scheduler puts two processes that wake each other on one processor or on two,
//! and changes its mind: for a round trip of a few microseconds that choice is most of the figure.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use crate::print;

/// Which processors are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Pin {
    /// Both processes on one processor
    Same,
    /// Each process on a processor of its own
    Split,
    /// Wherever the scheduler puts them
    None,
}

/// Where the processes are.
#[derive(Clone, Copy, Debug)]
pub struct Pinned {
    /// How, after all.
    pub how: Pin,
    here: usize,
    /// The processor of the other process.
    pub there: Option<usize>,
}

impl Pinned {
    /// Puts this process where it is to be, and with it those that it starts. To be called before
    /// there is another thread. What the system does not let it do it leaves, and says so.
    pub fn begin(wanted: Pin) -> Self {
        let none = Self {
            how: Pin::None,
            here: 0,
            there: None,
        };
        if wanted == Pin::None {
            return none;
        }
        let allowed = match system::allowed() {
            Ok(allowed) => allowed,
            Err(error) => {
                print::talk(&format!("not pinned to a processor: {error}"));
                return none;
            }
        };
        let (here, other) = match allowed[..] {
            [] => return none,
            [only] => (only, only),
            [first, second, ..] => (first, second),
        };
        if let Err(error) = system::pin(here) {
            print::talk(&format!("not pinned to processor {here}: {error}"));
            return none;
        }
        if wanted == Pin::Split && here == other {
            print::talk("there is one processor: both processes are on it");
        }
        let (how, there) = match wanted {
            Pin::Split if here != other => (Pin::Split, other),
            _ => (Pin::Same, here),
        };
        Self {
            how,
            here,
            there: Some(there),
        }
    }

    /// What the other process is started with.
    pub fn words(&self) -> Vec<String> {
        let there = self.there.filter(|_| self.how == Pin::Split);
        let words = there.map(|there| ["--processor".into(), there.to_string()]);
        words.into_iter().flatten().collect()
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let here = self.here;
        match (self.how, self.there) {
            (Pin::Same, _) => write!(f, "on processor {here}"),
            (Pin::Split, Some(there)) => write!(f, "on processors {here} and {there}"),
            _ => f.write_str("not pinned"),
        }
    }
}

/// The other process goes where it was told to. Where it cannot, it stays with the first.
pub fn go_to(processor: Option<usize>) {
    if let Some(processor) = processor
        && let Err(error) = system::pin(processor)
    {
        print::talk(&format!("not pinned to processor {processor}: {error}"));
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::io;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// In rising order.
    pub(super) fn allowed() -> io::Result<Vec<usize>> {
        let set = sched_getaffinity(None)?;
        let all = 0..CpuSet::MAX_CPU;
        Ok(all.filter(|processor| set.is_set(*processor)).collect())
    }

    pub(super) fn pin(processor: usize) -> io::Result<()> {
        let mut set = CpuSet::new();
        set.set(processor);
        Ok(sched_setaffinity(None, &set)?)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use std::io;

    pub(super) fn allowed() -> io::Result<Vec<usize>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn pin(_: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
