//! The channel between a parent and a child: its two ends, and how the child recognises its own.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use crate::sys;

/// The variable that names the descriptor of an inherited socket, in decimal.
pub(super) const ENV_FD: &str = "SWITCHBOARD_FD";
/// The variable that says that stdin and stdout are the channel, when it is `1`.
pub(super) const ENV_STDIO: &str = "SWITCHBOARD_STDIO";
/// The variable by which a child tells its channel from a namesake: the device and inode of each
/// descriptor of it. The environment reaches grandchildren and the channel does not, so without it
/// a grandchild with any socket on descriptor 3 would speak to that.
pub(super) const ENV_CHANNEL_ID: &str = "SWITCHBOARD_CHANNEL_ID";

/// The descriptor on which a child finds its socket.
pub(super) const CHILD_SOCKET_FD: RawFd = 3;

/// One end of the channel between a parent and a child.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChannelEnd {
    /// One end of a unix stream socketpair: carries descriptors and can be shut down by halves.
    Socket(OwnedFd),
    /// A pipe in each direction. Pipes carry no descriptors.
    Pipes {
        /// Where the other process's bytes come from.
        read: OwnedFd,
        /// Where bytes for the other process go. Closing it is the end of file for the other.
        write: OwnedFd,
    },
}

/// What an object in the kernel is known by while anybody holds it open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ObjectId {
    device: u64,
    inode: u64,
}

impl ObjectId {
    pub(super) fn of(fd: impl AsFd) -> rustix::io::Result<Self> {
        let stat = rustix::fs::fstat(fd)?;
        // The width of both fields differs between platforms.
        #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
        Ok(Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
        })
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, self.inode)
    }
}

/// The two ends of a new channel, before the child exists.
pub(super) struct NewChannel {
    /// Non-blocking. The flag is this end's alone: the ends of a pair are open files of their own.
    pub(super) parent: ChannelEnd,
    /// Blocking, as a program written against plain stdio expects.
    pub(super) child: ChannelEnd,
    /// The value of [`ENV_CHANNEL_ID`] for the child.
    pub(super) id: String,
}

impl NewChannel {
    pub(super) fn socketpair() -> io::Result<Self> {
        let (parent, child) = sys::socket_pair()?;
        rustix::io::ioctl_fionbio(&parent, true)?;
        let child = above_stdio(child)?;
        let id = ObjectId::of(&child)?.to_string();
        Ok(Self {
            parent: ChannelEnd::Socket(parent),
            child: ChannelEnd::Socket(child),
            id,
        })
    }

    pub(super) fn pipes() -> io::Result<Self> {
        let (child_read, parent_write) = io::pipe()?;
        let (parent_read, child_write) = io::pipe()?;
        rustix::io::ioctl_fionbio(&parent_read, true)?;
        rustix::io::ioctl_fionbio(&parent_write, true)?;
        let id = format!(
            "{},{}",
            ObjectId::of(&child_read)?,
            ObjectId::of(&child_write)?
        );
        let parent = ChannelEnd::Pipes {
            read: parent_read.into(),
            write: parent_write.into(),
        };
        let child = ChannelEnd::Pipes {
            read: child_read.into(),
            write: child_write.into(),
        };
        Ok(Self { parent, child, id })
    }
}

/// The same descriptor under a number above those of stdio. In a process that has closed its stdin,
/// a new descriptor may be number 0, and arranging the child's stdio would then overwrite it.
fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, CHILD_SOCKET_FD)?)
}
