//! The system calls that every Switchboard transport shares: non-blocking byte streams that carry
//! file descriptors, listeners that never leave a dead name behind, file locks that die with their
//! holder, a waker, a clock and seeds.
//!
//! There is no event loop here and no decision of the protocol: each call makes one step and
//! returns at once, with everything the kernel said about it. Drivers (mio, async-io, the stdio
//! transport) poll the descriptors and feed the core.
//!
//! What every part keeps:
//!
//! - **Nothing blocks.** Sockets are used with `MSG_DONTWAIT`, pipes with `RWF_NOWAIT`, so that the
//!   `O_NONBLOCK` flag of a description shared with another process is never touched. The two
//!   exceptions are said where they are: [`Address::resolve`] of a host name, and pipes of kernels
//!   before Linux 6.4, see [`Stream::pipes`].
//! - **Nothing leaks.** Every descriptor is close-on-exec from its first moment (one inherited from
//!   a parent: from its adoption), is an [`OwnedFd`](std::os::fd::OwnedFd), and comes back with the
//!   error that refuses it.
//! - **No signal kills.** Socket writes never raise SIGPIPE. Writes to a pipe whose reader is gone
//!   do, and rely on Rust's start-up code, which ignores that signal; a C program that hosts this
//!   library must ignore SIGPIPE itself.
//!
//! Applications use `switchboard-mio`, `switchboard-smol` or `switchboard-stdio`, which hand on what
//! they need of this crate. It is of use by itself to whoever writes another driver: [`engine`] holds
//! the node and its connections and leaves only the polling to the caller, [`app`] has the words that
//! all drivers share.
//!
//! Linux is complete and tested. Other unixes compile and are untested.

#![deny(unsafe_code)]

#[cfg(not(unix))]
compile_error!(
    "switchboard-os needs a unix: Unix-domain sockets, SCM_RIGHTS, flock and poll are what the \
     transports are made of"
);

mod address;
mod advice;
pub mod app;
mod attach;
mod attachments;
#[cfg(feature = "test-util")]
mod census;
mod clock;
mod credentials;
pub mod engine;
mod listener;
mod lock;
pub mod process;
mod seeds;
mod stream;
mod sys;
#[cfg(feature = "test-util")]
pub mod test_util;
mod waker;

pub use address::{Address, AddressError, TcpHost, ToAddress, UnixPath};
pub use advice::Advised;
pub use attach::{Attachment, IntoAttachment, SharedFd};
pub use attachments::{FileId, MAX_ATTACHMENTS, is_own_descriptor};
#[cfg(feature = "test-util")]
pub use census::open_descriptors;
pub use clock::Clock;
pub use credentials::{peer_uid, same_user};
pub use listener::{
    ACCEPT_PAUSE, Accept, Accepted, ListenError, ListenOptions, Listener, ListenerStats, Peer,
};
pub use lock::{FileLock, LockError};
pub use seeds::Seeds;
pub use stream::{
    AdoptError, ConnectError, Connected, Connecting, Kind, MAX_READ, Read, Stream, Write,
    socketpair,
};
pub use waker::Waker;

/// For the macros of [`app`], which stand in other crates.
#[doc(hidden)]
pub use switchboard_proto as __proto;
