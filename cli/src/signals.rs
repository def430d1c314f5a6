//! Ctrl-C and SIGTERM as something to poll for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{SigId, flag, low_level};

use crate::end::{End, Failure};

/// A descriptor that becomes readable, and stays so, when one of them has come. From its making on, Ctrl-C and SIGTERM no longer end the process: they are told here. Its drop
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
    pub fn new() -> io::Result<Self> {
        let (wake, write) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let last = Arc::new(AtomicUsize::new(0));
        let mut ids = Vec::new();
        for signal in [SIGINT, SIGTERM] {
            // The number first: who wakes up finds it. Both are small and positive.
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
