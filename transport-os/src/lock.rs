//! A file whose lock dies with its holder.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::FileId;
use crate::advice::Advised;

/// The exclusive lock of a file (`flock`), which the kernel releases when the process ends, however
/// it ends.
///
/// Held from [`FileLock::acquire`] until the drop. It is the *path* that is held: a lock of a file
/// that was deleted or replaced behind our back is no lock, see [`FileLock::is_current`].
///
/// `flock` belongs to the open file description, which a `fork` without `exec` shares: the child of
/// such a fork holds the lock too, until it ends. Its own drop neither unlocks nor deletes anything.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
    id: FileId,
    /// Who acquired it, to tell a forked copy.
    pid: u32,
}

/// Why a lock was not acquired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another holder, in this process or in another, lives.
    #[error("{} is locked by {}: it is free as soon as that one ends", path.display(), owner(*pid))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote as its process id: a hint for people, not an identity.
        pid: Option<u32>,
    },
    /// The directory does not exist.
    #[error("the directory of {} does not exist: create it", path.display())]
    NoDirectory {
        /// The lock file.
        path: PathBuf,
    },
    /// The lock file or its directory belongs to somebody else.
    #[error("permission to lock {} is denied: it belongs to another user", path.display())]
    Denied {
        /// The lock file.
        path: PathBuf,
    },
    /// A symbolic link, a directory, a device.
    #[error("{} is not a plain file: remove what stands there", path.display())]
    NotAFile {
        /// The lock file.
        path: PathBuf,
    },
    /// Anything else, such as a full disk or a file that is replaced all the time.
    #[error("locking {} failed: {}", path.display(), Advised(source))]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FileLock {
    /// Creates the file if need be (mode 0600), locks it, and writes this process's id into it.
    /// Never waits.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`] while another holder lives; the others mean that the path is no good.
    pub fn acquire(path: impl Into<PathBuf>) -> Result<Self, LockError> {
        let path = path.into();
        let io = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        for _ in 0..ATTEMPTS {
            let mut file = open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Held {
                        pid: read_pid(&mut file),
                        path,
                    });
                }
                Err(TryLockError::Error(source)) => return Err(io(source)),
            }
            let id = FileId::of(&file).map_err(io)?;
            // Between our open and our lock the last holder may have removed the file, and another
            // may have made a new one: then we hold a file that nobody will look at.
            if FileId::at(&path).is_ok_and(|at| at == id) {
                let pid = std::process::id();
                write_pid(&mut file, pid).map_err(io)?;
                return Ok(Self {
                    file,
                    path,
                    id,
                    pid,
                });
            }
        }
        Err(io(io::Error::other(
            "the file was replaced again and again",
        )))
    }

    /// The path that is held.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The locked file. Its first line is the holder's process id; what stands behind it is the
    /// holder's own.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether the lock still means something: the path leads to the locked file, and this process
    /// is the one that locked it, not a fork of it. Who finds `false` no longer holds anything and
    /// must stop acting as if.
    pub fn is_current(&self) -> bool {
        self.is_own() && FileId::at(&self.path).is_ok_and(|at| at == self.id)
    }

    /// Unlocks and deletes the file, if it is still the one that was locked. The next
    /// [`FileLock::acquire`] makes a new one; one that has the old file open notices.
    pub fn remove(self) {
        if self.is_current() {
            // Not deleted is no harm: the file alone says nothing, its lock does.
            let _ = rustix::fs::unlink(&self.path);
        }
    }

    /// Whether this process acquired it, and did not inherit it through a fork.
    pub(crate) fn is_own(&self) -> bool {
        self.pid == std::process::id()
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing is not enough where a forked child has the description open. In that child,
        // though, unlocking would take the lock from the parent.
        if self.is_own() {
            let _ = self.file.unlock();
        }
    }
}

/// Each lost attempt means that a holder came and went in the moment between two system calls.
const ATTEMPTS: usize = 64;

fn open(path: &Path) -> Result<File, LockError> {
    let path_buf = || path.to_owned();
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let file = match rustix::fs::open(path, flags | OFlags::NONBLOCK, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT | Errno::NOTDIR) => {
            return Err(LockError::NoDirectory { path: path_buf() });
        }
        Err(Errno::ACCESS | Errno::PERM) => return Err(LockError::Denied { path: path_buf() }),
        Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => {
            return Err(LockError::NotAFile { path: path_buf() });
        }
        Err(errno) => {
            return Err(LockError::Io {
                path: path_buf(),
                source: errno.into(),
            });
        }
    };
    match rustix::fs::fstat(&file) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => Ok(file),
        Ok(_) => Err(LockError::NotAFile { path: path_buf() }),
        Err(errno) => Err(LockError::Io {
            path: path_buf(),
            source: errno.into(),
        }),
    }
}

/// The first line, replaced; what the holder keeps behind it stays where it is.
fn write_pid(file: &mut File, pid: u32) -> io::Result<()> {
    file.rewind()?;
    // Padded to the longest number there is.
    writeln!(file, "{pid:<10}")
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut line = [0; 16];
    let length = file.read(&mut line).ok()?;
    let text = std::str::from_utf8(&line[..length]).ok()?;
    text.lines().next()?.trim().parse().ok()
}

fn owner(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}
