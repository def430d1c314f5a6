//! Why a listener was not made.

use std::io;
use std::path::PathBuf;

use crate::AddressError;
use crate::advice::Advised;

/// Why nothing listens at the address now, and what to do.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The address cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Another listener lives there.
    #[error(
        "{address} is in use{}: join it instead of listening, stop it, or choose another address",
        by(*pid)
    )]
    InUse {
        /// The address as written.
        address: String,
        /// The process that listens, where it can be known: a hint for people.
        pid: Option<u32>,
    },
    /// The directory of the socket does not exist. It is not created: its owner and mode decide who
    /// may take the name.
    #[error("the directory {} does not exist: create it with mode 0700", directory.display())]
    NoDirectory {
        /// The directory.
        directory: PathBuf,
    },
    /// Other users could replace or delete the socket in this directory.
    #[error(
        "the directory {} is not safe for a socket, {why}: use a directory of your own with mode \
         0700",
        directory.display()
    )]
    UnsafeDirectory {
        /// The directory.
        directory: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The path is that of a directory.
    #[error(
        "{} is a directory: add the name of the socket, as in unix:{}/app.sock",
        path.display(),
        path.display()
    )]
    IsDirectory {
        /// The path.
        path: PathBuf,
    },
    /// Something else stands at the path; it is never deleted.
    #[error("{} is not a socket: remove what stands there, or choose another path", path.display())]
    NotASocket {
        /// The path, of the socket or of its lock file.
        path: PathBuf,
    },
    /// Permission to make the socket or its lock file, or to take the port, is missing.
    #[error(
        "permission to listen at {address} is denied: choose a directory of your own, or a port \
         from 1024 on"
    )]
    Denied {
        /// The address as written.
        address: String,
    },
    /// Anything else, such as a full disk or no free descriptor.
    #[error("listening at {address} failed, to {doing}: {}", Advised(source))]
    Io {
        /// The address as written.
        address: String,
        /// The step that failed.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

fn by(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}"))
        .unwrap_or_default()
}

crate::debug_says!(ListenError);
