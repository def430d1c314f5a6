//! Who is at the other end of a Unix-domain socket.

use std::io;
use std::os::fd::AsFd;

/// The user id of the process that connected, listened, or created the socketpair.
///
/// It is the only part of the kernel's answer that holds: the process id belongs to whoever made
/// the connection, who may be dead while another process uses it, so it is not even returned.
///
/// # Errors
///
/// What `getsockopt(SO_PEERCRED)` says; [`io::ErrorKind::Unsupported`] on a unix that has neither
/// that nor `getpeereid`.
pub fn peer_uid(socket: impl AsFd) -> io::Result<u32> {
    imp::peer_uid(socket.as_fd())
}

/// Whether the other end belongs to the user this process acts as (its effective user id).
///
/// # Errors
///
/// As [`peer_uid`].
pub fn same_user(socket: impl AsFd) -> io::Result<bool> {
    Ok(peer_uid(socket)? == own_uid())
}

pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use std::io;
    use std::os::fd::BorrowedFd;

    pub(super) fn peer_uid(socket: BorrowedFd<'_>) -> io::Result<u32> {
        Ok(rustix::net::sockopt::socket_peercred(socket)?.uid.as_raw())
    }
}

#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "openbsd",
    target_os = "netbsd"
))]
mod imp {
    use std::io;
    use std::os::fd::{AsRawFd, BorrowedFd};

    #[allow(unsafe_code)]
    pub(super) fn peer_uid(socket: BorrowedFd<'_>) -> io::Result<u32> {
        let (mut uid, mut gid) = (0, 0);
        // SAFETY: the descriptor is borrowed and so open for the length of the call, and both
        // pointers are to live, writable, aligned integers of the types that getpeereid(3) fills.
        let answer = unsafe { libc::getpeereid(socket.as_raw_fd(), &mut uid, &mut gid) };
        if answer == 0 {
            Ok(uid)
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "openbsd",
    target_os = "netbsd"
)))]
mod imp {
    use std::io;
    use std::os::fd::BorrowedFd;

    pub(super) fn peer_uid(_: BorrowedFd<'_>) -> io::Result<u32> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
