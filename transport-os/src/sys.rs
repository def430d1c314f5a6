//! What the platforms do differently, in one place.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SendFlags, SocketType, sockopt};

/// No call waits, and none raises SIGPIPE (on Apple systems that is an option of the socket, see
/// [`prepare_socket`]).
#[cfg(not(target_vendor = "apple"))]
pub(crate) const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
#[cfg(target_vendor = "apple")]
pub(crate) const SEND: SendFlags = SendFlags::DONTWAIT;

/// A stream socket, non-blocking and close-on-exec from its first moment where the system can.
pub(crate) fn stream_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    #[cfg(not(target_vendor = "apple"))]
    let socket = {
        use rustix::net::SocketFlags;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        rustix::net::socket_with(family, SocketType::STREAM, flags, None)?
    };
    #[cfg(target_vendor = "apple")]
    let socket = {
        let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
        set_nonblocking(&socket)?;
        socket
    };
    prepare_socket(&socket)?;
    Ok(socket)
}

/// A connected pair, close-on-exec. Blocking: the other end may go to a program that expects that,
/// and ours is used with `MSG_DONTWAIT`.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{SocketFlags, socketpair};
    #[cfg(not(target_vendor = "apple"))]
    let flags = SocketFlags::CLOEXEC;
    #[cfg(target_vendor = "apple")]
    let flags = SocketFlags::empty();
    let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    prepare_socket(&pair.0)?;
    prepare_socket(&pair.1)?;
    Ok(pair)
}

/// Takes a connection off a listener's queue.
pub(crate) fn accept(listener: impl AsFd) -> rustix::io::Result<OwnedFd> {
    #[cfg(not(target_vendor = "apple"))]
    {
        use rustix::net::SocketFlags;
        rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
    }
    #[cfg(target_vendor = "apple")]
    {
        let socket = rustix::net::accept(listener)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
        sockopt::set_socket_nosigpipe(&socket, true)?;
        Ok(socket)
    }
}

/// A pipe, (read end, write end), close-on-exec.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let pair = rustix::pipe::pipe()?;
    set_close_on_exec(&pair.0)?;
    set_close_on_exec(&pair.1)?;
    Ok(pair)
}

/// What every socket of ours needs, also one that was inherited. The flag belongs to our
/// descriptor alone, not to the description that others may share.
pub(crate) fn prepare_socket(socket: impl AsFd) -> io::Result<()> {
    set_close_on_exec(&socket)?;
    #[cfg(target_vendor = "apple")]
    sockopt::set_socket_nosigpipe(&socket, true)?;
    Ok(())
}

pub(crate) fn set_close_on_exec(descriptor: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC)?)
}

/// Sets O_NONBLOCK in the open file description: only for descriptions that are ours alone.
pub(crate) fn set_nonblocking(descriptor: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(descriptor, true)?)
}

/// Sends small frames at once instead of waiting for the acknowledgement of the one before.
pub(crate) fn set_no_delay(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(socket, true)?)
}
