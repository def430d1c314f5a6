//! Reaching a listener, without waiting for it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, sockopt};

use super::{Kind, Stream};
use crate::advice::Advised;
use crate::credentials::own_uid;
use crate::{Address, AddressError, UnixPath, peer_uid, sys};

/// A connection under way. Poll its descriptor for writing, then call [`Connecting::finish`]; for
/// a Unix-domain address `finish` may be called at once.
///
/// There is no time limit in it beyond the kernel's (about two minutes for TCP): that is the
/// driver's to set; dropping gives up.
#[derive(Debug)]
pub struct Connecting {
    socket: OwnedFd,
    kind: Kind,
    /// As the user wrote it, for errors.
    address: String,
    /// What is left to try when this one fails.
    rest: VecDeque<SocketAddr>,
}

/// How far a connection is.
#[derive(Debug)]
#[must_use]
pub enum Connected {
    /// It stands.
    Done(Stream),
    /// Not yet; poll the same descriptor again.
    Pending(Connecting),
    /// This address failed and the host's next one is being tried: poll the **new** descriptor.
    Next(Connecting),
}

/// Why there is no connection, and what to do.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No socket file of that name: nobody has listened there yet.
    #[error("nothing is at {address}: start the hub, or check the path")]
    Absent {
        /// The address as written.
        address: String,
    },
    /// The directory of the socket does not exist.
    #[error(
        "there is no directory {directory} for {address}: check the path, or make the directory \
         with mode 0700"
    )]
    NoDirectory {
        /// The address as written.
        address: String,
        /// The directory.
        directory: String,
    },
    /// The path is that of a directory.
    #[error("{path} is a directory: add the name of the socket, as in unix:{path}/app.sock")]
    IsDirectory {
        /// The path.
        path: String,
    },
    /// Something else than a socket stands at the path.
    #[error(
        "{path} is not a socket: check the path, or give the one that the hub was started with"
    )]
    NotASocket {
        /// The path.
        path: String,
    },
    /// Nobody listens: the listener ended, or has not begun.
    #[error("nobody listens at {address}: start the hub, or try again when it is up")]
    Refused {
        /// The address as written.
        address: String,
    },
    /// A listener is there and its queue of waiting connections is full. Try again after a pause
    /// with jitter; it is not dead.
    #[error("{address} is busy, its queue of connections is full: try again in a moment")]
    Busy {
        /// The address as written.
        address: String,
    },
    /// The permissions of the socket or of a directory above it forbid it.
    #[error(
        "permission to connect to {address} is denied: it belongs to another user, or a directory \
         above it is closed"
    )]
    Denied {
        /// The address as written.
        address: String,
    },
    /// The listener runs as another user. Nothing was sent to it.
    #[error(
        "the listener at {address} belongs to user {uid}, and this process acts as user {own}: run \
         both as one user"
    )]
    ForeignUser {
        /// The address as written.
        address: String,
        /// The listener's user id.
        uid: u32,
        /// This process's effective user id.
        own: u32,
    },
    /// No route, or no answer within the kernel's time.
    #[error("{address} cannot be reached ({source}): check the host and the network")]
    Unreachable {
        /// The address as written.
        address: String,
        /// What the network said.
        source: io::Error,
    },
    /// Anything else, such as no free descriptor.
    #[error("connecting to {address} failed: {}", Advised(source))]
    Io {
        /// The address as written.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

impl ConnectError {
    /// Whether trying again helps only after somebody has changed something: a hub of another user,
    /// a closed or missing directory, an address that cannot be used. A hub that is not there yet
    /// comes.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Address(AddressError::Unresolvable { .. }) => false,
            Self::Address(_) | Self::NoDirectory { .. } => true,
            Self::IsDirectory { .. } | Self::NotASocket { .. } => true,
            Self::Denied { .. } | Self::ForeignUser { .. } => true,
            Self::Absent { .. } | Self::Refused { .. } | Self::Busy { .. } => false,
            Self::Unreachable { .. } | Self::Io { .. } => false,
        }
    }
}

impl Stream {
    /// Begins to connect. The descriptor is non-blocking and close-on-exec, TCP with `TCP_NODELAY`.
    ///
    /// Of a Unix-domain socket the outcome is known at once; that the listener belongs to the same
    /// user is checked before it is returned. For TCP see [`Address::resolve`], the only part that
    /// can block: with an IP address or `localhost` it does not.
    ///
    /// # Errors
    ///
    /// What is known at once; for the rest see [`Connecting::finish`].
    pub fn connect(address: &Address) -> Result<Connecting, ConnectError> {
        match address {
            Address::Unix(path) => connect_unix(path, address),
            Address::Tcp(_) => connect_tcp(address.resolve()?.into(), address.to_string(), None),
        }
    }
}

impl Connecting {
    /// Looks how far the connection is. Never waits; a call too early gives
    /// [`Connected::Pending`].
    ///
    /// # Errors
    ///
    /// Why the last address of the host could not be reached.
    pub fn finish(self) -> Result<Connected, ConnectError> {
        match self.outcome() {
            Ok(true) => {
                let address = self.address;
                Stream::of_socket(self.socket, self.kind)
                    .map(Connected::Done)
                    .map_err(|source| ConnectError::Io { address, source })
            }
            Ok(false) => Ok(Connected::Pending(self)),
            Err(error) => connect_tcp(self.rest, self.address, Some(error)).map(Connected::Next),
        }
    }

    /// Whether the connection stands.
    fn outcome(&self) -> Result<bool, ConnectError> {
        if self.kind == Kind::Unix {
            return Ok(true);
        }
        let fault = |errno| tcp_error(errno, &self.address);
        sockopt::socket_error(&self.socket)
            .map_err(fault)?
            .map_err(fault)?;
        let peer = match rustix::net::getpeername(&self.socket) {
            Ok(Some(peer)) => peer,
            Ok(None) | Err(Errno::NOTCONN) => return Ok(false),
            Err(errno) => return Err(fault(errno)),
        };
        // A port of the ephemeral range that nobody listens on can be chosen as our own: TCP then
        // connects to itself, and every byte comes back.
        let own = rustix::net::getsockname(&self.socket).map_err(fault)?;
        if own == peer {
            return Err(ConnectError::Refused {
                address: self.address.clone(),
            });
        }
        Ok(true)
    }
}

impl AsFd for Connecting {
    /// The descriptor to poll for writing.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn connect_unix(path: &UnixPath, address: &Address) -> Result<Connecting, ConnectError> {
    let address = address.to_string();
    let io = |source: io::Error| ConnectError::Io {
        address: address.clone(),
        source,
    };
    let socket = sys::stream_socket(AddressFamily::UNIX).map_err(io)?;
    let name = SocketAddrUnix::new(path.as_path()).map_err(|errno| io(errno.into()))?;
    if let Err(errno) = rustix::net::connect(&socket, &name) {
        return Err(unix_error(errno, path, address));
    }
    let (uid, own) = (peer_uid(&socket).map_err(io)?, own_uid());
    if uid != own {
        return Err(ConnectError::ForeignUser { address, uid, own });
    }
    Ok(Connecting {
        socket,
        kind: Kind::Unix,
        address,
        rest: VecDeque::new(),
    })
}

fn unix_error(errno: Errno, path: &UnixPath, address: String) -> ConnectError {
    match errno {
        Errno::NOENT | Errno::NOTDIR => match path.as_path().parent() {
            Some(directory) if !directory.is_dir() => ConnectError::NoDirectory {
                address,
                directory: directory.display().to_string(),
            },
            _ => ConnectError::Absent { address },
        },
        // connect(2) says so of a socket without a listener, and of what is no socket.
        Errno::CONNREFUSED => no_listener(path, address),
        // Only Linux tells a full queue from a dead listener.
        Errno::AGAIN => ConnectError::Busy { address },
        Errno::ACCESS | Errno::PERM => ConnectError::Denied { address },
        errno => ConnectError::Io {
            address,
            source: errno.into(),
        },
    }
}

/// What stands at the path, as nobody listens there.
fn no_listener(path: &UnixPath, address: String) -> ConnectError {
    let path = path.as_path();
    let shown = path.display().to_string();
    // Gone by now, or not to be looked at: then nobody listens, and no more is known.
    let kind = rustix::fs::stat(path).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match kind {
        Ok(FileType::Directory) => ConnectError::IsDirectory { path: shown },
        Ok(FileType::Socket) | Err(_) => ConnectError::Refused { address },
        Ok(_) => ConnectError::NotASocket { path: shown },
    }
}

/// Begins with the first address that does not fail at once; without one, the last error stands.
fn connect_tcp(
    mut rest: VecDeque<SocketAddr>,
    address: String,
    mut last: Option<ConnectError>,
) -> Result<Connecting, ConnectError> {
    while let Some(at) = rest.pop_front() {
        match begin_tcp(at) {
            Ok(socket) => {
                return Ok(Connecting {
                    socket,
                    kind: Kind::Tcp,
                    address,
                    rest,
                });
            }
            Err(errno) => last = Some(tcp_error(errno, &address)),
        }
    }
    Err(last.unwrap_or(ConnectError::Absent { address }))
}

fn begin_tcp(at: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if at.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let begin = || {
        let socket = sys::stream_socket(family)?;
        sys::set_no_delay(&socket)?;
        match rustix::net::connect(&socket, &at) {
            // After EINTR the connection goes on in the background, as after EINPROGRESS.
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket),
            Err(errno) => Err(io::Error::from(errno)),
        }
    };
    begin().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn tcp_error(errno: Errno, address: &str) -> ConnectError {
    let address = address.to_owned();
    match errno {
        Errno::CONNREFUSED | Errno::CONNRESET => ConnectError::Refused { address },
        Errno::ACCESS | Errno::PERM => ConnectError::Denied { address },
        Errno::TIMEDOUT | Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::ADDRNOTAVAIL => {
            ConnectError::Unreachable {
                address,
                source: errno.into(),
            }
        }
        errno => ConnectError::Io {
            address,
            source: errno.into(),
        },
    }
}

crate::debug_says!(ConnectError);
