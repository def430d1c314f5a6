//! One half of a pair of pipes, read or written without ever waiting and without touching flags
//! that others share.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::PIPE_BUF;

use super::{Read, Write, socket};
use crate::{FileId, sys};

/// One descriptor of the pair.
#[derive(Debug)]
pub(super) struct Pipe {
    fd: OwnedFd,
    id: FileId,
    method: Method,
}

/// Whose open file description it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Perhaps also another process's.
    Shared,
    /// Ours alone.
    Private,
}

/// How this descriptor is kept from blocking us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// `O_NONBLOCK` is set in the description, which is ours.
    Flag,
    /// Asked for in each call: `RWF_NOWAIT`.
    #[cfg(target_os = "linux")]
    PerCall,
    /// A poll before each call, and bounded writes.
    PollFirst,
    /// It is a socket: `MSG_DONTWAIT`.
    Socket,
}

impl Pipe {
    /// The half to read from; the descriptor comes back if it was not opened for reading.
    pub(super) fn reading(fd: OwnedFd, source: Source) -> Result<Self, (OwnedFd, io::Error)> {
        Self::adopt(fd, source, OFlags::WRONLY)
    }

    /// The half to write to; the descriptor comes back if it was not opened for writing.
    pub(super) fn writing(fd: OwnedFd, source: Source) -> Result<Self, (OwnedFd, io::Error)> {
        Self::adopt(fd, source, OFlags::RDONLY)
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn id(&self) -> &FileId {
        &self.id
    }

    pub(super) fn into_descriptor(self) -> OwnedFd {
        self.fd
    }

    pub(super) fn read(&mut self, window: &mut [u8]) -> Read {
        let read = match self.method {
            Method::Socket => return socket::receive(self.fd.as_fd(), window),
            #[cfg(target_os = "linux")]
            Method::PerCall => match self.read_per_call(window) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    return self.without_per_call().read(window);
                }
                read => read,
            },
            Method::PollFirst if !self.is_ready(PollFlags::IN) => return Read::Blocked,
            Method::PollFirst | Method::Flag => {
                retry_on_intr(|| rustix::io::read(&self.fd, &mut *window))
            }
        };
        match read {
            Ok(0) => Read::End { reset: false },
            Ok(bytes) => Read::Data {
                bytes,
                truncated: false,
                drained: false,
            },
            Err(Errno::AGAIN) => Read::Blocked,
            // A terminal whose other side was closed.
            Err(Errno::IO) if self.method == Method::PollFirst => Read::End { reset: true },
            Err(error) => Read::Failed(error.into()),
        }
    }

    /// The slices hold at least one byte, in the first of them.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> Write {
        let written = match self.method {
            Method::Socket => return socket::send(self.fd.as_fd(), slices, &[]),
            #[cfg(target_os = "linux")]
            Method::PerCall => match self.write_per_call(slices) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    return self.without_per_call().write(slices);
                }
                written => written,
            },
            Method::PollFirst if !self.is_ready(PollFlags::OUT) => return Write::Blocked,
            Method::PollFirst => {
                // Linux polls a pipe writable when a whole page is free, POSIX when PIPE_BUF bytes
                // are: a write no longer than that is taken at once.
                let first = &slices[0][..slices[0].len().min(PIPE_BUF)];
                retry_on_intr(|| rustix::io::write(&self.fd, first))
            }
            Method::Flag => retry_on_intr(|| rustix::io::writev(&self.fd, slices)),
        };
        match written {
            Ok(bytes) => Write::Wrote(bytes),
            Err(Errno::AGAIN) => Write::Blocked,
            Err(error) => Write::Failed(error.into()),
        }
    }

    fn adopt(fd: OwnedFd, source: Source, wrong: OFlags) -> Result<Self, (OwnedFd, io::Error)> {
        match examine(&fd, source, wrong) {
            Ok((id, method)) => Ok(Self { fd, id, method }),
            Err(error) => Err((fd, error)),
        }
    }

    fn is_ready(&self, interest: PollFlags) -> bool {
        let mut fds = [PollFd::new(&self.fd, interest)];
        // A failing poll (ENOMEM) says nothing about the pipe: not ready, the driver polls again.
        // An error or a hang-up on the pipe counts as ready: the call itself will say it.
        retry_on_intr(|| poll(&mut fds, Some(&Timespec::default()))).is_ok_and(|ready| ready > 0)
    }

    #[cfg(target_os = "linux")]
    fn read_per_call(&self, window: &mut [u8]) -> rustix::io::Result<usize> {
        use rustix::io::{ReadWriteFlags, preadv2};
        let mut slices = [io::IoSliceMut::new(window)];
        retry_on_intr(|| preadv2(&self.fd, &mut slices, NO_OFFSET, ReadWriteFlags::NOWAIT))
    }

    #[cfg(target_os = "linux")]
    fn write_per_call(&self, slices: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
        use rustix::io::{ReadWriteFlags, pwritev2};
        retry_on_intr(|| pwritev2(&self.fd, slices, NO_OFFSET, ReadWriteFlags::NOWAIT))
    }

    /// Before Linux 6.4, and for good on a pipe that somebody has spliced, the kernel answers
    /// EOPNOTSUPP.
    #[cfg(target_os = "linux")]
    fn without_per_call(&mut self) -> &mut Self {
        self.method = Method::PollFirst;
        self
    }
}

/// "Use the file's own position": preadv2(2) and pwritev2(2) are then as readv and writev.
#[cfg(target_os = "linux")]
const NO_OFFSET: u64 = u64::MAX;

fn examine(fd: &OwnedFd, source: Source, wrong: OFlags) -> io::Result<(FileId, Method)> {
    let access = rustix::fs::fcntl_getfl(fd)? & OFlags::RWMODE;
    if access == wrong {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let stat = rustix::fs::fstat(fd)?;
    let method = match (FileType::from_raw_mode(stat.st_mode), source) {
        (FileType::Directory, _) => return Err(io::ErrorKind::IsADirectory.into()),
        (FileType::Socket, _) => Method::Socket,
        (FileType::Fifo, Source::Private) => Method::Flag,
        #[cfg(target_os = "linux")]
        (FileType::Fifo, Source::Shared) => Method::PerCall,
        _ => Method::PollFirst,
    };
    match method {
        Method::Socket => sys::prepare_socket(fd)?,
        _ => sys::set_close_on_exec(fd)?,
    }
    if method == Method::Flag {
        sys::set_nonblocking(fd)?;
    }
    Ok((FileId::from_stat(&stat), method))
}
