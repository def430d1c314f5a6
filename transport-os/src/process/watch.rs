//! A descriptor that becomes readable when a child ends.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::exit::Exit;
use super::signal::Signal;

/// Watches one child of this process, which nobody but the owner of this value reaps.
#[derive(Debug)]
pub(super) struct Watch {
    pid: Pid,
    means: Means,
}

#[derive(Debug)]
enum Means {
    /// The kernel's own: readable from the child's exit on, and never means another process.
    #[cfg(target_os = "linux")]
    PidFd(Arc<OwnedFd>),
    /// A thread that waits for the exit without reaping, and then closes the other end of this pipe.
    Thread(Arc<OwnedFd>),
}

/// What a child is doing, without reaping it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Running,
    /// It has ended and is not reaped: its pid and process group id are still its own.
    Ended(Exit),
}

impl Watch {
    /// Watches a child that has just been started and cannot have been reaped.
    pub(super) fn new(pid: Pid) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Ok(fd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            return Ok(Self {
                pid,
                means: Means::PidFd(Arc::new(fd)),
            });
        }
        // Older kernels have no pidfd, and some sandboxes forbid it.
        Self::with_thread(pid)
    }

    fn with_thread(pid: Pid) -> io::Result<Self> {
        let (read, write) = io::pipe()?;
        rustix::io::ioctl_fionbio(&read, true)?;
        std::thread::Builder::new()
            .name(format!("wait-{}", pid.as_raw_nonzero()))
            .stack_size(64 * 1024)
            .spawn(move || {
                let exit_left_in_place = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                while let Err(rustix::io::Errno::INTR) =
                    rustix::process::waitid(WaitId::Pid(pid), exit_left_in_place)
                {}
                drop(write);
            })?;
        Ok(Self {
            pid,
            means: Means::Thread(Arc::new(read.into())),
        })
    }

    /// What becomes readable, for a poller that may hold it longer than this value lives.
    pub(super) fn descriptor(&self) -> Arc<OwnedFd> {
        match &self.means {
            #[cfg(target_os = "linux")]
            Means::PidFd(fd) => Arc::clone(fd),
            Means::Thread(read) => Arc::clone(read),
        }
    }

    pub(super) fn condition(&self) -> Condition {
        self.wait(WaitIdOptions::NOWAIT)
    }

    /// Takes the exit status, if the child has ended; after that its pid may belong to another.
    pub(super) fn reap(&self) -> Option<Exit> {
        match self.wait(WaitIdOptions::empty()) {
            Condition::Running => None,
            Condition::Ended(exit) => Some(exit),
        }
    }

    /// Signals the child alone; it must not have been reaped.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match &self.means {
            #[cfg(target_os = "linux")]
            Means::PidFd(fd) => {
                rustix::process::pidfd_send_signal(fd, signal.to_rustix())?;
            }
            Means::Thread(_) => rustix::process::kill_process(self.pid, signal.to_rustix())?,
        }
        Ok(())
    }

    /// Signals every process in the group that the child leads; it must not have been reaped, for
    /// the child, be it dead, is what keeps the id of its group from being given to another.
    ///
    /// A group that is no more, because the child was the last in it and has left for another, is
    /// not an error: nobody is left to tell.
    pub(super) fn signal_group(&self, signal: Signal) -> io::Result<()> {
        // `kill(-1)` would mean everybody. Process 1 is nobody's child.
        debug_assert_ne!(self.pid, Pid::INIT);
        match rustix::process::kill_process_group(self.pid, signal.to_rustix()) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn wait(&self, how: WaitIdOptions) -> Condition {
        let id = match &self.means {
            #[cfg(target_os = "linux")]
            Means::PidFd(fd) => WaitId::PidFd(fd.as_fd()),
            Means::Thread(_) => WaitId::Pid(self.pid),
        };
        match rustix::process::waitid(id, how | WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(None) => Condition::Running,
            Ok(Some(status)) => Condition::Ended(Exit::from_status(&status)),
            // With these arguments, all that can fail is the search for the child: it has been
            // waited for by somebody else.
            Err(_) => Condition::Ended(Exit::Lost),
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.means {
            #[cfg(target_os = "linux")]
            Means::PidFd(fd) => fd.as_fd(),
            Means::Thread(read) => read.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn cat() -> (std::process::Child, Pid) {
        let child = Command::new("cat")
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        (child, pid)
    }

    fn readable_within(watch: &Watch, seconds: i64) -> bool {
        let mut fds = [PollFd::new(watch, PollFlags::IN)];
        poll(
            &mut fds,
            Some(&Timespec {
                tv_sec: seconds,
                tv_nsec: 0,
            }),
        )
        .unwrap()
            == 1
    }

    #[test]
    fn without_pidfds_a_thread_sees_the_exit_and_leaves_it_in_place() {
        let (mut child, pid) = cat();
        let watch = Watch::with_thread(pid).unwrap();
        assert!(!readable_within(&watch, 0));
        assert_eq!(watch.condition(), Condition::Running);
        drop(child.stdin.take());
        assert!(readable_within(&watch, 10));
        assert_eq!(watch.condition(), Condition::Ended(Exit::Code(0)));
        assert_eq!(watch.reap(), Some(Exit::Code(0)));
        assert_eq!(watch.reap(), Some(Exit::Lost));
    }

    #[test]
    fn without_pidfds_signals_reach_the_child_and_its_group() {
        for to_group in [false, true] {
            let (_child, pid) = cat();
            let watch = Watch::with_thread(pid).unwrap();
            if to_group {
                watch.signal_group(Signal::Kill).unwrap();
            } else {
                watch.signal(Signal::Kill).unwrap();
            }
            assert!(readable_within(&watch, 10));
            assert_eq!(
                watch.reap(),
                Some(Exit::Signal {
                    number: 9,
                    core_dumped: false
                })
            );
        }
    }

    #[test]
    fn an_exit_that_somebody_else_took_is_lost_and_not_running_forever() {
        let (mut child, pid) = cat();
        let watch = Watch::new(pid).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(readable_within(&watch, 10));
        assert_eq!(watch.reap(), Some(Exit::Lost));
    }
}
