//! Descriptors that nobody wants are best refused where they are sent.

use std::io;
use std::os::fd::BorrowedFd;

/// Has the kernel refuse what a peer attaches to what it writes to this Unix-domain socket: its
/// write fails with `EPERM`, and nothing of it arrives.
///
/// # Errors
///
/// [`io::ErrorKind::Unsupported`] where the kernel cannot (Linux can from 6.16).
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code)]
pub(super) fn refuse(socket: BorrowedFd<'_>) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    /// `asm-generic/socket.h` since 6.16, which most architectures use; libc has no name for it.
    /// Where a kernel has another option under the number, or none, it is not a switch of a
    /// Unix-domain socket, and the call fails and changes nothing.
    const SO_PASSRIGHTS: libc::c_int = 83;
    let off: libc::c_int = 0;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is borrowed and so open for the length of the call, and the pointer is
    // to a live, aligned integer of the size that is given; setsockopt(2) only reads it.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const off).cast(),
            length,
        )
    };
    match answer {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            error => Err(error),
        },
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn refuse(_: BorrowedFd<'_>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
