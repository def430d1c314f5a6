//! What to do about an error of the system that many calls give.

use std::fmt;
use std::io;

/// An error of the system, with what to do about it where that is known.
#[derive(Debug)]
pub(crate) struct Advised<'a>(pub(crate) &'a io::Error);

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
            _ => return error.fmt(f),
        };
        write!(f, "{error}: {advice}")
    }
}
