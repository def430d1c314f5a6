//! Accepting connections at an address.

mod error;
mod publish;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, sockopt};

use crate::{Address, FileId, Kind, Stream, peer_uid, sys};

pub use error::ListenError;
use publish::Published;

/// How long to leave a listener unpolled after [`Accept::Exhausted`].
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that takes connections at an [`Address`]. No method waits.
///
/// A Unix-domain listener holds the lock file `<path>.lock` beside its socket for as long as it
/// lives. Whoever holds that lock may put a socket at the path, so a file that a killed process left
/// behind is replaced, and a living listener never is. The drop deletes both files, unless somebody
/// replaced them.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    id: FileId,
    kind: Kind,
    address: Address,
    published: Option<Published>,
    /// Given up to get one more descriptor when there are none.
    reserve: Option<OwnedFd>,
    stats: ListenerStats,
}

/// What the defaults of [`Listener::bind`] are, and their reasons.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListenOptions {
    /// How many connections may wait to be accepted: 1,024, as many as a large application has
    /// processes, so that all of them can come back at once. The kernel cuts it to
    /// `net.core.somaxconn`.
    pub backlog: u16,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { backlog: 1024 }
    }
}

/// What a [`Listener::accept`] found.
#[derive(Debug)]
#[must_use]
pub enum Accept {
    /// A connection.
    Accepted(Accepted),
    /// A connection of another user, which was closed.
    Refused {
        /// Whose.
        uid: u32,
    },
    /// No connection waits; poll.
    Blocked,
    /// The process or the system is out of descriptors or memory. The listener stays readable, so
    /// polling it would spin: leave it alone for [`ACCEPT_PAUSE`].
    Exhausted {
        /// A connection was accepted on the reserve and closed at once, so that its peer sees the
        /// end instead of waiting for nothing.
        shed: bool,
        /// What ran out.
        error: io::Error,
    },
    /// The listener is unusable.
    Failed(io::Error),
}

/// A new connection.
#[derive(Debug)]
pub struct Accepted {
    /// The connection, non-blocking and close-on-exec.
    pub stream: Stream,
    /// Who is at the other end.
    pub peer: Peer,
}

/// Who is at the other end of an accepted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process of this machine, of the same user as ours.
    Local {
        /// Its user id: the effective one of this process.
        uid: u32,
    },
    /// Whoever reached the TCP port.
    Remote(SocketAddr),
}

/// What became of the connections, since the listener was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerStats {
    /// Handed out.
    pub accepted: u64,
    /// Closed because they belong to another user.
    pub refused: u64,
    /// Closed for want of descriptors.
    pub shed: u64,
    /// Gone before they were accepted, or while they were.
    pub aborted: u64,
}

impl Listener {
    /// Listens at the address, with the default [`ListenOptions`].
    ///
    /// # Errors
    ///
    /// [`ListenError::InUse`] while another listener lives there; the others say what to change.
    pub fn bind(address: &Address) -> Result<Self, ListenError> {
        Self::bind_with(address, &ListenOptions::default())
    }

    /// Listens at the address.
    ///
    /// A Unix-domain socket appears at its path only when it is listening, with mode 0600: it is
    /// made under another name in the same directory and renamed. A TCP listener takes port 0 for
    /// any free port, see [`Listener::local_address`], and takes over a port that the last process
    /// left in `TIME_WAIT`. For what may block see [`Address::resolve`].
    ///
    /// # Errors
    ///
    /// As [`Listener::bind`].
    pub fn bind_with(address: &Address, options: &ListenOptions) -> Result<Self, ListenError> {
        let backlog = i32::from(options.backlog);
        match address {
            Address::Unix(path) => {
                let (socket, published) = publish::publish(path, backlog)?;
                Self::assemble(socket, Kind::Unix, address.clone(), Some(published))
            }
            Address::Tcp(host) => {
                let (socket, at) = bind_tcp(address, backlog)?;
                let local = Address::from(at);
                let local = if host.is_remote_allowed() {
                    local.allow_remote()
                } else {
                    local
                };
                Self::assemble(socket, Kind::Tcp, local, None)
            }
        }
    }

    /// Takes the next connection that waits.
    ///
    /// On a Unix-domain socket its user must be ours. Connections that ended while they waited are
    /// counted and passed over.
    pub fn accept(&mut self) -> Accept {
        if self.reserve.is_none() {
            self.reserve = reserve().ok();
        }
        loop {
            match sys::accept(&self.socket) {
                Ok(socket) => {
                    if let Some(accept) = self.admit(socket) {
                        return accept;
                    }
                }
                Err(Errno::AGAIN) => return Accept::Blocked,
                Err(Errno::INTR) => {}
                // accept(2): errors of the new connection, not of the listener.
                Err(Errno::CONNABORTED | Errno::PROTO) => self.stats.aborted += 1,
                Err(errno @ (Errno::MFILE | Errno::NFILE)) => return self.shed(errno),
                Err(errno @ (Errno::NOBUFS | Errno::NOMEM)) => {
                    return Accept::Exhausted {
                        shed: false,
                        error: errno.into(),
                    };
                }
                Err(errno) => return Accept::Failed(errno.into()),
            }
        }
    }

    /// Where it listens: for TCP with the real port and address.
    pub fn local_address(&self) -> &Address {
        &self.address
    }

    /// Whether connections to the address still come here: the socket and the lock file at the
    /// path are ours, and this process is the one that bound them. The kernel tells nobody when a
    /// name is replaced, so look from time to time (each second); who finds `false` must stop
    /// acting as the one listener. Of TCP always true.
    pub fn is_current(&self) -> bool {
        self.published.as_ref().is_none_or(Published::is_current)
    }

    /// The file behind the descriptor, for [`is_own_descriptor`](crate::is_own_descriptor).
    pub fn identity(&self) -> &FileId {
        &self.id
    }

    /// What became of the connections so far.
    pub fn stats(&self) -> ListenerStats {
        self.stats
    }

    fn assemble(
        socket: OwnedFd,
        kind: Kind,
        address: Address,
        published: Option<Published>,
    ) -> Result<Self, ListenError> {
        let io = |source| ListenError::Io {
            address: address.to_string(),
            doing: "prepare",
            source,
        };
        let id = FileId::of(&socket).map_err(io)?;
        let reserve = Some(reserve().map_err(io)?);
        let stats = ListenerStats::default();
        Ok(Self {
            socket,
            id,
            kind,
            address,
            published,
            reserve,
            stats,
        })
    }

    /// `None` where the connection cannot even be examined: it ended in this moment.
    fn admit(&mut self, socket: OwnedFd) -> Option<Accept> {
        let peer = match examine(&socket, self.kind) {
            Ok(Ok(peer)) => peer,
            Ok(Err(Stranger { uid })) => {
                self.stats.refused += 1;
                return Some(Accept::Refused { uid });
            }
            Err(_) => {
                self.stats.aborted += 1;
                return None;
            }
        };
        match Stream::accepted(socket, self.kind) {
            Ok(stream) => {
                self.stats.accepted += 1;
                Some(Accept::Accepted(Accepted { stream, peer }))
            }
            Err(_) => {
                self.stats.aborted += 1;
                None
            }
        }
    }

    /// Out of descriptors: spends the reserve on the connection that waits, and closes it.
    fn shed(&mut self, errno: Errno) -> Accept {
        self.reserve = None;
        let accepted = sys::accept(&self.socket);
        let (shed, empty) = (accepted.is_ok(), matches!(accepted, Err(Errno::AGAIN)));
        self.stats.shed += u64::from(shed);
        // Before the reserve is taken again: this is the descriptor it needs.
        drop(accepted);
        self.reserve = reserve().ok();
        if empty {
            // Linux looks for a free number before it looks into the queue.
            return Accept::Blocked;
        }
        Accept::Exhausted {
            shed,
            error: errno.into(),
        }
    }
}

impl AsFd for Listener {
    /// The descriptor to poll for reading.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A connection of another user.
struct Stranger {
    uid: u32,
}

fn examine(socket: &OwnedFd, kind: Kind) -> io::Result<Result<Peer, Stranger>> {
    if kind == Kind::Unix {
        let uid = peer_uid(socket)?;
        let ours = uid == crate::credentials::own_uid();
        return Ok(if ours {
            Ok(Peer::Local { uid })
        } else {
            Err(Stranger { uid })
        });
    }
    // A peer that has gone already is accepted all the same: the first read will say it.
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let peer = rustix::net::getpeername(socket).ok().flatten();
    let at = peer
        .and_then(|peer| SocketAddr::try_from(peer).ok())
        .unwrap_or(unknown);
    Ok(Ok(Peer::Remote(at)))
}

/// A descriptor worth nothing but its number. A socket needs no file system and no device.
fn reserve() -> io::Result<OwnedFd> {
    sys::stream_socket(AddressFamily::UNIX)
}

/// The first of the host's addresses that takes a listener.
fn bind_tcp(address: &Address, backlog: i32) -> Result<(OwnedFd, SocketAddr), ListenError> {
    let mut last = None;
    for at in address.resolve()? {
        match bind_tcp_at(at, backlog) {
            Ok(bound) => return Ok(bound),
            Err(error) => last = Some(error),
        }
    }
    let source = last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
    let address = address.to_string();
    Err(match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address, pid: None },
        io::ErrorKind::PermissionDenied => ListenError::Denied { address },
        _ => ListenError::Io {
            address,
            doing: "bind",
            source,
        },
    })
}

fn bind_tcp_at(at: SocketAddr, backlog: i32) -> io::Result<(OwnedFd, SocketAddr)> {
    let family = if at.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = sys::stream_socket(family)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &at)?;
    rustix::net::listen(&socket, backlog)?;
    let local = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
    Ok((socket, local))
}
