//! Descriptors as they are given to a message: to be moved, or to stay.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::FileId;

/// A descriptor that goes with a message.
#[derive(Debug)]
pub enum Attachment {
    /// It belongs to the message: it is closed here when the receiver's process has it. All that
    /// arrive are of this kind.
    Moved(OwnedFd),
    /// The receiver gets a duplicate, and this one stays open.
    Shared(SharedFd),
}

/// A descriptor that goes with many messages and stays open here: a listener that several peers
/// shall accept from, a file that all shall read.
///
/// A clone is the same descriptor, which is closed with the last one; every message that it goes
/// with holds one until the receiver's process has its own. To send it costs no duplicate here, no
/// close, and no look at what it is: that was done once, by [`SharedFd::new`].
#[derive(Clone)]
pub struct SharedFd(Arc<Inner>);

struct Inner {
    descriptor: OwnedFd,
    /// The file behind it, which never changes while it is open. `None` where the kernel does not
    /// say.
    file: Option<FileId>,
}

/// What can be attached to a message: whatever owns a descriptor, which moves; a [`SharedFd`] or a
/// reference to one, which stays; and an [`Attachment`], as a refusal gives it back.
pub trait IntoAttachment {
    /// The attachment.
    fn into_attachment(self) -> Attachment;
}

impl Attachment {
    /// The descriptor by itself: the one that was moved, or a close-on-exec duplicate of the one that
    /// stays.
    ///
    /// # Errors
    ///
    /// Of a [`SharedFd`] only: there is no free descriptor number for a duplicate (`EMFILE`).
    pub fn into_owned(self) -> io::Result<OwnedFd> {
        match self {
            Self::Moved(descriptor) => Ok(descriptor),
            Self::Shared(shared) => shared.as_fd().try_clone_to_owned(),
        }
    }

    /// The file behind it, where the kernel says it.
    pub(crate) fn file(&self) -> Option<FileId> {
        match self {
            Self::Moved(descriptor) => FileId::of(descriptor).ok(),
            Self::Shared(shared) => shared.0.file,
        }
    }
}

impl SharedFd {
    /// Lets this descriptor be attached again and again.
    pub fn new(descriptor: impl Into<OwnedFd>) -> Self {
        let descriptor = descriptor.into();
        let file = FileId::of(&descriptor).ok();
        Self(Arc::new(Inner { descriptor, file }))
    }
}

impl AsFd for Attachment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Moved(descriptor) => descriptor.as_fd(),
            Self::Shared(shared) => shared.as_fd(),
        }
    }
}

impl From<OwnedFd> for Attachment {
    fn from(descriptor: OwnedFd) -> Self {
        Self::Moved(descriptor)
    }
}

impl AsFd for SharedFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.descriptor.as_fd()
    }
}

impl fmt::Debug for SharedFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedFd").field(&self.0.descriptor).finish()
    }
}

impl<T: Into<OwnedFd>> IntoAttachment for T {
    fn into_attachment(self) -> Attachment {
        Attachment::Moved(self.into())
    }
}

// Beside the one above these can stand because the types are ours and never become an `OwnedFd`.
impl IntoAttachment for SharedFd {
    fn into_attachment(self) -> Attachment {
        Attachment::Shared(self)
    }
}

impl IntoAttachment for &SharedFd {
    fn into_attachment(self) -> Attachment {
        Attachment::Shared(self.clone())
    }
}

impl IntoAttachment for Attachment {
    fn into_attachment(self) -> Attachment {
        self
    }
}
