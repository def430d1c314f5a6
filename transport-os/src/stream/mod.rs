//! A non-blocking stream of bytes, with descriptors beside them where the kernel can carry them.

mod connect;
mod pipe;
mod scratch;
mod socket;
mod unwanted;

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::BytesMut;
use rustix::net::{AddressFamily, Shutdown, SocketType, sockopt};

use crate::{FileId, MAX_ATTACHMENTS, sys};

pub use connect::{ConnectError, Connected, Connecting};
use pipe::{Pipe, Source};
pub use scratch::MAX_READ;

/// One connection, whatever it is made of: a Unix-domain socket, a TCP socket, or two pipes.
///
/// No method waits. Dropping closes.
#[derive(Debug)]
pub struct Stream {
    ends: Ends,
    kind: Kind,
}

#[derive(Debug)]
enum Ends {
    Socket { socket: OwnedFd, id: FileId },
    Pipes { read: Pipe, write: Option<Pipe> },
}

/// What a [`Stream`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A Unix-domain socket: the only one that carries attachments.
    Unix,
    /// A TCP socket.
    Tcp,
    /// One descriptor to read from and another to write to.
    Pipe,
}

/// What a [`Stream::read`] found.
#[derive(Debug)]
#[must_use]
pub enum Read {
    /// Bytes, appended to the buffer.
    Data {
        /// How many; at least one.
        bytes: usize,
        /// The kernel dropped attachments that belong to these bytes, for want of free descriptor
        /// numbers (`RLIMIT_NOFILE`) or because a security module refused one. Those it did pass,
        /// the first ones, were appended; how many are missing it does not say.
        truncated: bool,
        /// The socket is known to be empty: there is nothing to gain from another read before it
        /// polls readable again. Never said after attachments, where the kernel ends a read early,
        /// and never of pipes.
        drained: bool,
    },
    /// Nothing now; poll.
    Blocked,
    /// Nothing any more: all that the peer wrote was read.
    End {
        /// It closed with bytes of ours unread (`ECONNRESET`), or aborted. What it had written
        /// before was delivered first.
        reset: bool,
    },
    /// The connection is unusable.
    Failed(io::Error),
}

/// What a [`Stream::write`] did.
#[derive(Debug)]
#[must_use]
pub enum Write {
    /// That many bytes were taken, from the start of the slices, and with the first of them all
    /// the attachments: the rest is to be written **without** them.
    Wrote(usize),
    /// Nothing was taken, no attachment either; poll and write the same again.
    Blocked,
    /// Nothing was taken: too many descriptors of this user are in flight in sockets that nobody
    /// has read (`ETOOMANYREFS`; the limit is the value of `RLIMIT_NOFILE`). No poll tells when
    /// that ends: try again after a pause.
    NoAttachmentRoom,
    /// Nothing was taken. [`io::ErrorKind::BrokenPipe`] and `ConnectionReset`: the peer is gone.
    /// [`io::ErrorKind::InvalidInput`] and `Unsupported`: the caller's mistake, the stream is as it
    /// was.
    Failed(io::Error),
}

/// A descriptor that is not of the kind it was given for; it comes back with the error.
#[derive(Debug, thiserror::Error)]
#[error("the descriptor is no {expected}: {source}")]
pub struct AdoptError {
    expected: &'static str,
    source: io::Error,
    descriptors: Vec<OwnedFd>,
}

impl AdoptError {
    /// The descriptors that were refused, in the order they were given.
    pub fn into_descriptors(self) -> Vec<OwnedFd> {
        self.descriptors
    }
}

/// A connected pair of Unix-domain sockets: our stream, and the end for somebody else, such as a
/// child process.
///
/// Both are close-on-exec; the other end is blocking, as a program expects of what it inherits.
///
/// # Errors
///
/// `EMFILE`, `ENFILE` or `ENOMEM`: there is no room for the descriptors.
pub fn socketpair() -> io::Result<(Stream, OwnedFd)> {
    let (ours, theirs) = sys::socket_pair()?;
    Ok((Stream::of_socket(ours, Kind::Unix)?, theirs))
}

impl Stream {
    /// A connected Unix-domain stream socket. It becomes close-on-exec; its `O_NONBLOCK` flag,
    /// which others may share, is neither needed nor changed.
    ///
    /// # Errors
    ///
    /// It is no Unix-domain stream socket.
    pub fn unix(socket: OwnedFd) -> Result<Self, AdoptError> {
        Self::adopt_socket(socket, Kind::Unix)
    }

    /// A connected TCP socket, with its small writes sent at once (`TCP_NODELAY`). It becomes
    /// close-on-exec.
    ///
    /// # Errors
    ///
    /// It is no TCP socket.
    pub fn tcp(socket: OwnedFd) -> Result<Self, AdoptError> {
        Self::adopt_socket(socket, Kind::Tcp)
    }

    /// Two descriptors that may be shared with other processes, such as standard input and output:
    /// pipes, and also sockets (Node.js gives its children those) or terminals. They become
    /// close-on-exec.
    ///
    /// `O_NONBLOCK` lives in the open file description, so to set it here would set it in the shell
    /// that started us, and in every sibling; a private duplicate does not help. It is left alone:
    /// Linux takes the wish for each call (`RWF_NOWAIT`, for pipes since 6.4). Where it does not,
    /// each call polls first, reads what is there, and writes at most `PIPE_BUF` bytes, for which a
    /// pipe that polls writable has room. That can wait only if another process reads or writes the
    /// same pipe between the two calls.
    ///
    /// # Errors
    ///
    /// A descriptor that was open as the wrong half: not readable, or not writable.
    pub fn pipes(read: OwnedFd, write: OwnedFd) -> Result<Self, AdoptError> {
        Self::adopt_pipes(read, write, Source::Shared)
    }

    /// Two pipe ends that this process made itself and whose descriptions it shares with nobody
    /// (the child holds the *other* ends): they are made non-blocking and close-on-exec.
    ///
    /// # Errors
    ///
    /// A descriptor that was open as the wrong half: not readable, or not writable.
    pub fn private_pipes(read: OwnedFd, write: OwnedFd) -> Result<Self, AdoptError> {
        Self::adopt_pipes(read, write, Source::Private)
    }

    /// What the stream is made of.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether [`Stream::write`] takes descriptors.
    pub fn carries_attachments(&self) -> bool {
        self.kind == Kind::Unix
    }

    /// Takes no descriptors from the peer: the kernel refuses its write, so that none is ever under
    /// way whose closing could block this process. Nothing else about the stream changes; what a
    /// kernel without this lets through still arrives, for the reader to close.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] where the kernel cannot do that (Linux can from 6.16), or the
    /// stream is no Unix-domain socket.
    pub fn refuse_attachments(&self) -> io::Result<()> {
        match &self.ends {
            Ends::Socket { socket, .. } if self.kind == Kind::Unix => {
                unwanted::refuse(socket.as_fd())
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Appends what has arrived to `buf`, as much as its spare capacity holds and at most
    /// [`MAX_READ`] bytes; never allocates for it. The descriptors that came with these bytes are
    /// appended to `attachments`, in order; they are close-on-exec.
    ///
    /// A read can merge bytes of several writes, and brings the descriptors of at most one of them:
    /// which bytes they belong to is for the framing to say.
    ///
    /// `buf` without spare capacity is [`Read::Failed`] with [`io::ErrorKind::InvalidInput`].
    pub fn read<F: From<OwnedFd> + AsFd>(
        &mut self,
        buf: &mut BytesMut,
        attachments: &mut Vec<F>,
    ) -> Read {
        let room = buf.capacity() - buf.len();
        if room == 0 {
            return Read::Failed(misuse("the buffer has no spare capacity: reserve some"));
        }
        scratch::with(room, |window| {
            let read = match &mut self.ends {
                Ends::Socket { socket, .. } if self.kind == Kind::Unix => {
                    socket::receive_with_attachments(socket.as_fd(), window, attachments)
                }
                Ends::Socket { socket, .. } => socket::receive(socket.as_fd(), window),
                Ends::Pipes { read, .. } => read.read(window),
            };
            if let Read::Data { bytes, .. } = read {
                buf.extend_from_slice(&window[..bytes]);
            }
            read
        })
    }

    /// Writes as much of the slices as the kernel takes now, at most 1,024 of them (`IOV_MAX`),
    /// with the attachments beside the first byte. The attachments are duplicated into the socket;
    /// the caller may close its own as soon as this returns [`Write::Wrote`].
    ///
    /// Refused before any system call, with [`Write::Failed`]: attachments without a byte to carry
    /// them (the kernel would take them and drop them silently), more than [`MAX_ATTACHMENTS`], and
    /// any on a stream that [carries none](Stream::carries_attachments).
    pub fn write(&mut self, slices: &[IoSlice<'_>], attachments: &[BorrowedFd<'_>]) -> Write {
        if !attachments.is_empty() && !self.carries_attachments() {
            let what = "only Unix-domain sockets carry descriptors";
            return Write::Failed(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        if attachments.len() > MAX_ATTACHMENTS {
            return Write::Failed(misuse("more than 253 descriptors in one write"));
        }
        // From the first byte on, so that leading empty slices cannot use up the whole vector.
        let Some(first) = slices.iter().position(|slice| !slice.is_empty()) else {
            return match attachments {
                [] => Write::Wrote(0),
                _ => Write::Failed(misuse("descriptors need at least one byte to travel with")),
            };
        };
        let slices = &slices[first..slices.len().min(first + IOV_MAX)];
        match &mut self.ends {
            Ends::Socket { socket, .. } => socket::send(socket.as_fd(), slices, attachments),
            Ends::Pipes {
                write: Some(write), ..
            } => write.write(slices),
            Ends::Pipes { write: None, .. } => Write::Failed(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Says that nothing more will be written; reading goes on. The peer finds the end behind what
    /// was written before. A second call does nothing.
    ///
    /// Of pipes this closes the descriptor for writing: take it out of the poller first.
    ///
    /// # Errors
    ///
    /// What `shutdown` says; a peer that is already gone is no error.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        match &mut self.ends {
            Ends::Socket { socket, .. } => match rustix::net::shutdown(socket, Shutdown::Write) {
                Err(rustix::io::Errno::NOTCONN) | Ok(()) => Ok(()),
                Err(error) => Err(error.into()),
            },
            Ends::Pipes { write, .. } => {
                *write = None;
                Ok(())
            }
        }
    }

    /// The descriptor to poll for reading.
    ///
    /// A wrapper that sets `O_NONBLOCK` on what it is given (async-io's `Async::new`) must not get
    /// it where the stream was made by [`Stream::pipes`] or [`Stream::unix`].
    pub fn read_fd(&self) -> BorrowedFd<'_> {
        match &self.ends {
            Ends::Socket { socket, .. } => socket.as_fd(),
            Ends::Pipes { read, .. } => read.as_fd(),
        }
    }

    /// The descriptor to poll for writing: the same as [`Stream::read_fd`] for sockets, and `None`
    /// for pipes after [`Stream::shutdown_write`].
    pub fn write_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.ends {
            Ends::Socket { socket, .. } => Some(socket.as_fd()),
            Ends::Pipes { write, .. } => write.as_ref().map(Pipe::as_fd),
        }
    }

    /// The files behind the stream's descriptors: one for a socket, two for pipes (one after
    /// [`Stream::shutdown_write`]). For [`is_own_descriptor`](crate::is_own_descriptor).
    pub fn identities(&self) -> impl Iterator<Item = &FileId> {
        let (first, second) = match &self.ends {
            Ends::Socket { id, .. } => (id, None),
            Ends::Pipes { read, write } => (read.id(), write.as_ref().map(Pipe::id)),
        };
        std::iter::once(first).chain(second)
    }

    /// A socket that is known to be what `kind` says.
    fn of_socket(socket: OwnedFd, kind: Kind) -> io::Result<Self> {
        let id = FileId::of(&socket)?;
        Ok(Self {
            ends: Ends::Socket { socket, id },
            kind,
        })
    }

    /// What a listener accepted; the kernel made it as its listener is.
    pub(crate) fn accepted(socket: OwnedFd, kind: Kind) -> io::Result<Self> {
        if kind == Kind::Tcp {
            sys::set_no_delay(&socket)?;
        }
        Self::of_socket(socket, kind)
    }

    fn adopt_socket(socket: OwnedFd, kind: Kind) -> Result<Self, AdoptError> {
        match check_socket(&socket, kind) {
            Ok(id) => Ok(Self {
                ends: Ends::Socket { socket, id },
                kind,
            }),
            Err(source) => {
                let expected = if kind == Kind::Tcp {
                    "TCP socket"
                } else {
                    "Unix-domain stream socket"
                };
                Err(AdoptError {
                    expected,
                    source,
                    descriptors: vec![socket],
                })
            }
        }
    }

    fn adopt_pipes(read: OwnedFd, write: OwnedFd, source: Source) -> Result<Self, AdoptError> {
        let refuse = |expected, source, descriptors| AdoptError {
            expected,
            source,
            descriptors,
        };
        let read = match Pipe::reading(read, source) {
            Ok(read) => read,
            Err((fd, error)) => return Err(refuse("readable stream", error, vec![fd, write])),
        };
        match Pipe::writing(write, source) {
            Ok(write) => Ok(Self {
                ends: Ends::Pipes {
                    read,
                    write: Some(write),
                },
                kind: Kind::Pipe,
            }),
            Err((fd, error)) => Err(refuse(
                "writable stream",
                error,
                vec![read.into_descriptor(), fd],
            )),
        }
    }
}

/// The kernel's limit on Linux and every BSD; more slices are `EMSGSIZE` or `EINVAL`.
const IOV_MAX: usize = 1024;

fn check_socket(socket: &OwnedFd, kind: Kind) -> io::Result<FileId> {
    let family = rustix::net::getsockname(socket)?.address_family();
    let fits = match kind {
        Kind::Unix => family == AddressFamily::UNIX,
        Kind::Tcp => matches!(family, AddressFamily::INET | AddressFamily::INET6),
        Kind::Pipe => false,
    };
    if !fits || sockopt::socket_type(socket)? != SocketType::STREAM {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sys::prepare_socket(socket)?;
    if kind == Kind::Tcp {
        sys::set_no_delay(socket)?;
    }
    FileId::of(socket)
}

fn misuse(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
