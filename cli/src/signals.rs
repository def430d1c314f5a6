//! Ctrl-C, SIGTERM and SIGHUP as something to poll for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, anyhow};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{SigId, flag, low_level};
use switchboard_os::Advised;

use crate::end::{End, Failure};

/// A descriptor that becomes readable, and stays so, when one of them has come. From its making on
/// they no longer end the process: they are told here, so that what it made is put away. Its drop
/// gives them back.
#[derive(Debug)]
pub struct Signals {
    wake: UnixStream,
    last: Arc<AtomicUsize>,
    ids: Vec<SigId>,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// No descriptors left.
    pub fn new() -> Result<Self> {
        Self::register().map_err(|error| anyhow!("listening for Ctrl-C: {}", Advised(&error)))
    }

    fn register() -> io::Result<Self> {
        let (wake, write) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let last = Arc::new(AtomicUsize::new(0));
        let mut ids = Vec::new();
        let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
        for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
            // The number first: who wakes up finds it. All are small and positive.
            let number = signal.unsigned_abs() as usize;
            ids.push(flag::register_usize(signal, Arc::clone(&last), number)?);
            ids.push(low_level::pipe::register(signal, write.try_clone()?)?);
        }
        Ok(Self { wake, last, ids })
    }

    /// Whether a signal has come, as the error that ends the command.
    ///
    /// # Errors
    ///
    /// [`End::Signal`].
    pub fn check(&self) -> Result<(), Failure> {
        match self.last.load(Ordering::SeqCst) {
            0 => Ok(()),
            number => {
                let number = u8::try_from(number).unwrap_or(0);
                Err(Failure::new(End::Signal(number), "interrupted"))
            }
        }
    }
}

/// Whether this process was started with the signal ignored, as `nohup` does: then it stays so.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            low_level::unregister(id);
        }
    }
}
