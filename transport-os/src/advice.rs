//! What to do about an error of the system that many calls give.

use std::fmt;
use std::io;

/// Shows an error of the system with what to do about it, where that is known: of what has run out,
/// what can be raised or freed.
#[derive(Clone, Copy, Debug)]
pub struct Advised<'a>(pub &'a io::Error);

impl fmt::Display for Advised<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        let advice = match rustix::io::Errno::from_io_error(error) {
            Some(rustix::io::Errno::MFILE) => {
                "raise this process's limit of open files (`ulimit -n`), or close what it does not need"
            }
            Some(rustix::io::Errno::NFILE) => {
                "the whole system has too many open files: raise `fs.file-max`, or end what holds them"
            }
            Some(rustix::io::Errno::NOMEM | rustix::io::Errno::NOBUFS) => {
                "the system is out of memory: end what holds it, and try again"
            }
            Some(rustix::io::Errno::NOSPC) => {
                "the disk is full: free some of it, or choose another directory"
            }
            Some(rustix::io::Errno::DQUOT) => {
                "this user's share of the disk is full: free some of it, or choose another directory"
            }
            Some(rustix::io::Errno::ROFS) => {
                "nothing can be written there: choose a directory on another file system"
            }
            Some(rustix::io::Errno::LOOP) => {
                "links lead in a circle: look where the directories of the path lead"
            }
            _ => return error.fmt(f),
        };
        write!(f, "{error}: {advice}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_can_do_something_about_says_what() {
        use rustix::io::Errno;
        for (errno, advice) in [
            (Errno::MFILE, "ulimit -n"),
            (Errno::NFILE, "fs.file-max"),
            (Errno::NOMEM, "out of memory"),
            (Errno::NOSPC, "choose another directory"),
            (Errno::DQUOT, "choose another directory"),
            (Errno::ROFS, "on another file system"),
            (Errno::LOOP, "links lead in a circle"),
        ] {
            let said = Advised(&io::Error::from(errno)).to_string();
            assert!(said.contains(advice), "{said}");
        }
    }
}
