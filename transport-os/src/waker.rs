//! Waking a driver that sleeps in its poll, from any thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// A descriptor that becomes readable when somebody calls [`Waker::wake`].
///
/// Wakes coalesce: until the driver calls [`Waker::clear`], the second and every later one costs an
/// atomic operation and no system call. Whatever was done before a `wake` is visible to who returns
/// from the `clear` that follows it.
///
/// The driver polls the descriptor for reading (level or edge), calls `clear`, and then looks at
/// what it may have been woken for, in this order; looking first would lose a wake.
#[derive(Debug)]
pub struct Waker {
    read: OwnedFd,
    /// The other end where the system has no eventfd.
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    write: OwnedFd,
    pending: AtomicBool,
}

impl Waker {
    /// A waker that nobody has woken.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE` or `ENOMEM`: there is no room for its descriptor.
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    pub fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let read = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            read,
            pending: AtomicBool::new(false),
        })
    }

    /// A waker that nobody has woken.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE` or `ENOMEM`: there is no room for its descriptors.
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    pub fn new() -> io::Result<Self> {
        let (read, write) = crate::sys::pipe()?;
        crate::sys::set_nonblocking(&read)?;
        crate::sys::set_nonblocking(&write)?;
        Ok(Self {
            read,
            write,
            pending: AtomicBool::new(false),
        })
    }

    /// Wakes the driver, now or when it next polls. Never blocks.
    ///
    /// # Errors
    ///
    /// None that a valid descriptor can give; were there one, the wake is not lost to the next
    /// call.
    pub fn wake(&self) -> io::Result<()> {
        if self.pending.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let written = rustix::io::retry_on_intr(|| rustix::io::write(self.write_fd(), &ONE));
        match written {
            // A full counter or pipe is readable, which is all that is wanted.
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(error) => {
                self.pending.store(false, Ordering::Release);
                Err(error.into())
            }
        }
    }

    /// Makes the descriptor unreadable until the next wake. Harmless when nobody woke.
    ///
    /// # Errors
    ///
    /// None that a valid descriptor can give.
    pub fn clear(&self) -> io::Result<()> {
        let mut sink = [0_u8; 64];
        let read = rustix::io::retry_on_intr(|| rustix::io::read(&self.read, &mut sink));
        // Read first, flag second. The other way round, a wake between the two would be swallowed
        // by the read and leave the flag up over an empty counter: no later wake would write. This
        // way it finds the flag up, does not write, and its work is seen, since this swap reads
        // what its swap wrote.
        self.pending.swap(false, Ordering::AcqRel);
        match read {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    fn write_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    fn write_fd(&self) -> BorrowedFd<'_> {
        self.write.as_fd()
    }
}

impl AsFd for Waker {
    /// The descriptor to poll for reading.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

/// An eventfd takes exactly eight bytes, a number in native order.
const ONE: [u8; 8] = 1_u64.to_ne_bytes();
