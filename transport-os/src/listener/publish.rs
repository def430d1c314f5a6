//! Putting a Unix-domain socket at its path, so that the path never leads to a socket that does
//! not listen, and never away from a living one.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix};

use super::ListenError;
use crate::credentials::own_uid;
use crate::{FileId, FileLock, LockError, UnixPath, sys};

/// A socket file and the right to it.
#[derive(Debug)]
pub(super) struct Published {
    path: PathBuf,
    file: FileId,
    /// An option only so that the drop can end it.
    lock: Option<FileLock>,
}

impl Published {
    pub(super) fn is_current(&self) -> bool {
        self.lock.as_ref().is_some_and(FileLock::is_current)
            && FileId::at(&self.path).is_ok_and(|at| at == self.file)
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        // Not in a forked child, and not what somebody else put there.
        if lock.is_own() && FileId::at(&self.path).is_ok_and(|at| at == self.file) {
            // What cannot be deleted is a dead name, which the next listener replaces.
            let _ = rustix::fs::unlink(&self.path);
        }
        lock.remove();
    }
}

/// Binds and listens under a private name, then takes the public one.
pub(super) fn publish(path: &UnixPath, backlog: i32) -> Result<(OwnedFd, Published), ListenError> {
    let public = path.as_path();
    check_directory(path.directory())?;
    let lock = FileLock::acquire(lock_path(public)).map_err(|error| refused(public, error))?;
    match take_name(path, backlog) {
        Ok((socket, file)) => {
            let published = Published {
                path: public.to_owned(),
                file,
                lock: Some(lock),
            };
            Ok((socket, published))
        }
        Err(error) => {
            // Nobody listens here for whom it would stand.
            lock.remove();
            Err(error)
        }
    }
}

/// Takes the public name, whose lock is held.
fn take_name(path: &UnixPath, backlog: i32) -> Result<(OwnedFd, FileId), ListenError> {
    let public = path.as_path();
    let io = |doing, source| failed(public, doing, source);
    check_public_name(public)?;

    // One private name for each public one, not a random one: what a process that was killed here
    // left behind is in the way of the next, who may delete it, since it holds the lock.
    let private = path.directory().join(private_name(public));
    match rustix::fs::unlink(&private) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(io("clear its private name", errno.into())),
    }
    let socket = sys::stream_socket(AddressFamily::UNIX).map_err(|e| io("make a socket", e))?;
    // Before bind, which makes the file with this mode less the umask: it is never wider.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| io("set its mode", errno.into()))?;
    bind(&socket, &private).map_err(|error| io("bind", error))?;

    let published = rustix::net::listen(&socket, backlog)
        .map_err(io::Error::from)
        .and_then(|()| FileId::at(&private))
        .and_then(|file| Ok((file, rustix::fs::rename(&private, public)?)));
    match published {
        Ok((file, ())) => Ok((socket, file)),
        Err(error) => {
            let _ = rustix::fs::unlink(&private);
            Err(io("take the name", error))
        }
    }
}

fn lock_path(public: &Path) -> PathBuf {
    let mut path = public.as_os_str().to_owned();
    path.push(".lock");
    PathBuf::from(path)
}

/// Twenty bytes, whatever the length of the public name (FNV-1a).
fn private_name(public: &Path) -> String {
    let name = public.file_name().unwrap_or_default();
    let hash = name
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!(".sb-{hash:016x}")
}

/// Binds at a path that may be longer than a socket address holds.
fn bind(socket: &OwnedFd, private: &Path) -> io::Result<()> {
    if private.as_os_str().len() <= UnixPath::MAX {
        rustix::net::bind(socket, &SocketAddrUnix::new(private)?)?;
        return Ok(());
    }
    bind_through_directory(socket, private)
}

/// A path relative to a directory that is held open, in the form that `bind` takes.
#[cfg(target_os = "linux")]
fn bind_through_directory(socket: &OwnedFd, private: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    use rustix::fs::OFlags;

    let (Some(directory), Some(name)) = (private.parent(), private.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty())?;
    let link = format!("/proc/self/fd/{}", directory.as_raw_fd());
    rustix::net::bind(socket, &SocketAddrUnix::new(Path::new(&link).join(name))?)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn bind_through_directory(_: &OwnedFd, _: &Path) -> io::Result<()> {
    let what =
        "the directory is too long for the socket's private name (20 bytes): use a shorter one";
    Err(io::Error::new(io::ErrorKind::InvalidFilename, what))
}

/// Who can write to the directory can replace the socket, so it must be ours or the system's. A
/// group may have it, as many a umask makes it: both ends check each other's user id, so what a
/// member of the group could do is to disturb, not to impersonate.
fn check_directory(directory: &Path) -> Result<(), ListenError> {
    let owned = || directory.to_owned();
    let stat = match rustix::fs::stat(directory) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR) => {
            return Err(ListenError::NoDirectory { directory: owned() });
        }
        Err(Errno::ACCESS) => {
            return Err(ListenError::Denied {
                address: format!("unix:{}", directory.display()),
            });
        }
        Err(errno) => return Err(failed(directory, "look at the directory", errno.into())),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(ListenError::NoDirectory { directory: owned() });
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    let why = if stat.st_uid != own_uid() && stat.st_uid != 0 {
        "it belongs to another user"
    } else if mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX) {
        "everyone can write to it"
    } else if mode.contains(Mode::WGRP)
        && !mode.contains(Mode::SVTX)
        && stat.st_gid != rustix::process::getegid().as_raw()
    {
        // The primary group is most often the user's own, and then its umask is 002.
        "the members of another group can write to it"
    } else {
        return Ok(());
    };
    Err(ListenError::UnsafeDirectory {
        directory: owned(),
        why,
    })
}

/// What stands at the path, now that we hold its lock: nothing, a dead socket, or something of
/// somebody who knows nothing of locks.
fn check_public_name(public: &Path) -> Result<(), ListenError> {
    match rustix::fs::lstat(public) {
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(failed(public, "look at the path", errno.into())),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Socket => {}
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            return Err(ListenError::IsDirectory {
                path: public.to_owned(),
            });
        }
        Ok(_) => {
            return Err(ListenError::NotASocket {
                path: public.to_owned(),
            });
        }
    }
    let io = |source| failed(public, "try the socket at the path", source);
    let probe = sys::stream_socket(AddressFamily::UNIX).map_err(io)?;
    let name = SocketAddrUnix::new(public).map_err(|errno| io(errno.into()))?;
    let address = format!("unix:{}", public.display());
    match rustix::net::connect(&probe, &name) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        // A queue that is full, or a socket of another type: somebody lives there.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => {
            Err(ListenError::InUse { address, pid: None })
        }
        Err(Errno::ACCESS | Errno::PERM) => Err(ListenError::Denied { address }),
        Err(errno) => Err(io(errno.into())),
    }
}

fn refused(public: &Path, error: LockError) -> ListenError {
    let address = format!("unix:{}", public.display());
    match error {
        LockError::Held { pid, .. } => ListenError::InUse { address, pid },
        LockError::NoDirectory { path } => ListenError::NoDirectory {
            directory: path.parent().unwrap_or(Path::new("/")).to_owned(),
        },
        LockError::Denied { .. } => ListenError::Denied { address },
        LockError::NotAFile { path } => ListenError::NotASocket { path },
        LockError::Io { source, .. } => ListenError::Io {
            address,
            doing: "lock",
            source,
        },
    }
}

fn failed(path: &Path, doing: &'static str, source: io::Error) -> ListenError {
    let address = format!("unix:{}", path.display());
    match source.kind() {
        io::ErrorKind::PermissionDenied => ListenError::Denied { address },
        _ => ListenError::Io {
            address,
            doing,
            source,
        },
    }
}
