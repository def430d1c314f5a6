//! What holds for every descriptor that is passed to another process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// The most descriptors in one message: the kernel's `SCM_MAX_FD` on Linux (254 is `EINVAL`).
pub const MAX_ATTACHMENTS: usize = 253;

/// The file behind a descriptor, the same for all its duplicates, in this process and in others.
///
/// It tells sockets and pipes apart (the two ends of a pipe have one identity). Event, timer and
/// poll descriptors all share one, the kernel's anonymous inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The identity of what this descriptor refers to.
    ///
    /// # Errors
    ///
    /// What `fstat` says; for a valid descriptor of a local file nothing.
    pub fn of(descriptor: impl AsFd) -> io::Result<Self> {
        Ok(Self::from_stat(&rustix::fs::fstat(descriptor)?))
    }

    /// The identity of what stands at the path itself, not of what a symbolic link there points to.
    ///
    /// # Errors
    ///
    /// What `lstat` says, [`io::ErrorKind::NotFound`] above all.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::from_stat(&rustix::fs::lstat(path)?))
    }

    // The fields' types differ between platforms; their bits are all that is compared.
    #[allow(clippy::unnecessary_cast)]
    pub(crate) fn from_stat(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
        }
    }
}

/// Whether a descriptor that is about to be attached is one of our own links, which must not be
/// sent: a socket that lies in its own queue keeps itself alive, and only the kernel's garbage
/// collector ends that. Duplicates are recognised too.
///
/// `own` are the links' identities, as [`Stream::identities`](crate::Stream::identities) and
/// [`Listener::identity`](crate::Listener::identity) give them.
///
/// # Errors
///
/// What `fstat` says of the descriptor.
pub fn is_own_descriptor<'a>(
    descriptor: BorrowedFd<'_>,
    own: impl IntoIterator<Item = &'a FileId>,
) -> io::Result<bool> {
    let id = FileId::of(descriptor)?;
    Ok(own.into_iter().any(|link| *link == id))
}
