//! The child's side: finding the channel that the parent left, and keeping stray output out of it.

// An inherited descriptor has a number and no owner; to make it one is the whole point. Each block
// states what it leans on.
#![allow(unsafe_code)]

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Mutex;
use std::sync::PoisonError;

use rustix::fs::FileType;
use rustix::io::{Errno, FdFlags};

use super::channel::{CHILD_SOCKET_FD, ChannelEnd, ENV_CHANNEL_ID, ENV_FD, ENV_STDIO, ObjectId};

/// A channel to the parent that could not be taken.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum InheritError {
    /// The program was started by hand, or by something that gave it no channel.
    #[error(
        "this program works for a parent process and was not started by one: \
         start it through a Switchboard parent, which gives it a channel \
         (a socket named by SWITCHBOARD_FD, or stdin and stdout with SWITCHBOARD_STDIO=1)"
    )]
    NoParent,
    /// The channel has been taken before in this process. There is one, and one owner of it.
    #[error(
        "the channel to the parent process has already been taken: take it once, and share what it \
         became"
    )]
    AlreadyTaken,
    /// A variable that announces the channel has a value that means nothing.
    #[error(
        "the environment variable {name} is {value:?}, which names no channel: leave it to the parent \
         that starts this program"
    )]
    BadVariable {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// The announced descriptor is closed, or is not what a channel consists of.
    #[error(
        "descriptor {descriptor} is announced as the channel to the parent process, but is {found}"
    )]
    NotAChannel {
        /// The number of the descriptor.
        descriptor: i32,
        /// What was found there.
        found: &'static str,
    },
    /// The kernel refused to move the descriptors.
    #[error("cannot take the channel to the parent process: {0}")]
    Os(#[from] io::Error),
}

/// Whether the channel has been taken. A mutex, so that of two threads one gets it and the other
/// hears that it is gone.
static TAKEN: Mutex<bool> = Mutex::new(false);

/// The child's end of the channel to the parent that started it; `None` if no parent left one. The
/// descriptors are close-on-exec and blocking.
///
/// Call it first thing in `main`. If the channel is stdin and stdout, both are moved to descriptors
/// of their own, and their places are taken by `/dev/null` and by the stderr: from then on whatever
/// prints, in whatever library or language, prints to the stderr and cannot corrupt the channel.
/// What was printed before that call is already in it.
///
/// A process that merely inherited the announcing variables from an ancestor is told apart by the
/// identity of the descriptors and gets `None`, so the variables can stay in the environment.
///
/// # Errors
///
/// See [`InheritError`]; except after [`AlreadyTaken`](InheritError::AlreadyTaken) nothing has been
/// moved.
pub fn take_parent_channel() -> Result<Option<ChannelEnd>, InheritError> {
    let closed = secure_stdio()?;
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(announced) = Announced::from_env()? else {
        return Ok(None);
    };
    if *taken {
        return Err(InheritError::AlreadyTaken);
    }
    let end = match announced.kind {
        Kind::Socket(number) => take_socket(number, announced.ids.as_deref())?,
        Kind::Stdio => take_stdio(announced.ids.as_deref(), closed)?,
    };
    *taken = end.is_some();
    Ok(end)
}

/// The child's end of the channel to the parent, for a program that cannot do without:
/// [`take_parent_channel`] with the absence as an error that says how to start the program.
///
/// # Errors
///
/// See [`InheritError`].
pub fn parent_channel() -> Result<ChannelEnd, InheritError> {
    take_parent_channel()?.ok_or(InheritError::NoParent)
}

/// Opens `/dev/null` in the place of each of the descriptors 0, 1 and 2 that is closed, and says
/// which were. In a process started with one of them closed, the next descriptor opened would get
/// that number, and what prints would print into a socket.
///
/// # Errors
///
/// What opening `/dev/null` reports.
pub fn secure_stdio() -> io::Result<[bool; 3]> {
    let mut closed = [false; 3];
    for (number, was_closed) in (0..).zip(&mut closed) {
        // SAFETY: the number is only asked about, and a closed one answers with an error.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        if rustix::io::fcntl_getfd(borrowed) != Err(Errno::BADF) {
            continue;
        }
        *was_closed = true;
        let null = open_null()?;
        if null.as_raw_fd() == number {
            // The lowest closed number is what `open` returns: it is in place already, to stay.
            rustix::io::fcntl_setfd(&null, FdFlags::empty())?;
            let _ = null.into_raw_fd();
            continue;
        }
        match number {
            0 => rustix::stdio::dup2_stdin(&null)?,
            1 => rustix::stdio::dup2_stdout(&null)?,
            _ => rustix::stdio::dup2_stderr(&null)?,
        }
    }
    Ok(closed)
}

/// What the environment says about a channel.
struct Announced {
    kind: Kind,
    /// The identities of the channel's descriptors. Absent where the parent is a script, which
    /// cannot easily tell them.
    ids: Option<String>,
}

enum Kind {
    Socket(RawFd),
    Stdio,
}

impl Announced {
    fn from_env() -> Result<Option<Self>, InheritError> {
        let kind = if let Some(value) = variable(ENV_FD) {
            match value.parse() {
                Ok(number) if number >= CHILD_SOCKET_FD => Kind::Socket(number),
                _ => {
                    return Err(InheritError::BadVariable {
                        name: ENV_FD,
                        value,
                    });
                }
            }
        } else if let Some(value) = variable(ENV_STDIO) {
            if value != "1" {
                return Err(InheritError::BadVariable {
                    name: ENV_STDIO,
                    value,
                });
            }
            Kind::Stdio
        } else {
            return Ok(None);
        };
        Ok(Some(Self {
            kind,
            ids: variable(ENV_CHANNEL_ID),
        }))
    }
}

fn variable(name: &str) -> Option<String> {
    env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn take_socket(number: RawFd, ids: Option<&str>) -> Result<Option<ChannelEnd>, InheritError> {
    // SAFETY: the number is only asked about here, and a closed one answers with an error.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    if !is_announced(borrowed, ids) {
        return Ok(None);
    }
    match what_is(borrowed) {
        Found::Socket => {}
        found => return Err(found.refused(number)),
    }
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC).map_err(io::Error::from)?;
    // SAFETY: the descriptor is open, and it is ours to own: the parent put it there for whoever
    // takes the channel, and `TAKEN` lets that happen once.
    Ok(Some(ChannelEnd::Socket(unsafe {
        OwnedFd::from_raw_fd(number)
    })))
}

fn take_stdio(ids: Option<&str>, closed: [bool; 3]) -> Result<Option<ChannelEnd>, InheritError> {
    let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    let (id_in, id_out) = match ids.map(|ids| ids.split_once(',')) {
        None => (None, None),
        Some(Some((id_in, id_out))) => (Some(id_in), Some(id_out)),
        Some(None) => return Ok(None),
    };
    if !is_announced(stdin, id_in) || !is_announced(stdout, id_out) {
        return Ok(None);
    }
    for (fd, was_closed) in [(stdin, closed[0]), (stdout, closed[1])] {
        match what_is(fd) {
            _ if was_closed => return Err(Found::Nothing.refused(fd.as_raw_fd())),
            Found::Pipe | Found::Socket => {}
            found => return Err(found.refused(fd.as_raw_fd())),
        }
    }
    let null = open_null()?;
    let above_stdio = CHILD_SOCKET_FD;
    let read = rustix::io::fcntl_dupfd_cloexec(stdin, above_stdio).map_err(io::Error::from)?;
    let write = rustix::io::fcntl_dupfd_cloexec(stdout, above_stdio).map_err(io::Error::from)?;
    // Standard output first: it is the one through which a stray line would do harm.
    rustix::stdio::dup2_stdout(rustix::stdio::stderr()).map_err(io::Error::from)?;
    rustix::stdio::dup2_stdin(&null).map_err(io::Error::from)?;
    Ok(Some(ChannelEnd::Pipes { read, write }))
}

/// Whether this descriptor is the one that the announcement is about.
fn is_announced(fd: BorrowedFd<'_>, id: Option<&str>) -> bool {
    id.is_none_or(|id| ObjectId::of(fd).is_ok_and(|found| found.to_string() == id))
}

/// What a descriptor leads to, as far as it matters for a channel.
#[derive(Clone, Copy)]
enum Found {
    Nothing,
    Socket,
    Pipe,
    Terminal,
    Other,
}

impl Found {
    fn refused(self, descriptor: RawFd) -> InheritError {
        let found = match self {
            Self::Nothing => "closed",
            Self::Socket => "a socket",
            Self::Pipe => "a pipe",
            // Nobody but a person at a keyboard starts a program like this.
            Self::Terminal => return InheritError::NoParent,
            Self::Other => "a file or a device",
        };
        InheritError::NotAChannel { descriptor, found }
    }
}

fn what_is(fd: BorrowedFd<'_>) -> Found {
    let Ok(stat) = rustix::fs::fstat(fd) else {
        return Found::Nothing;
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => Found::Socket,
        FileType::Fifo => Found::Pipe,
        FileType::CharacterDevice if fd.is_terminal() => Found::Terminal,
        _ => Found::Other,
    }
}

fn open_null() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/null")
}

crate::debug_says!(InheritError);
