//! The signals a parent sends, and the names of those it reads in an exit.

/// A signal that a parent may send to its child or to the child's group.
///
/// An enumeration of our own, so that the crate below can change without changing this interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// `SIGTERM`: asks the process to end. It may be handled or ignored.
    Terminate,
    /// `SIGKILL`: ends the process. It can be neither handled nor ignored.
    Kill,
    /// `SIGINT`, what Ctrl-C sends.
    Interrupt,
    /// `SIGHUP`, by custom "read your configuration again".
    Hangup,
    /// `SIGQUIT`: ends the process with a core dump where those are enabled.
    Quit,
    /// `SIGUSR1`.
    User1,
    /// `SIGUSR2`.
    User2,
    /// `SIGSTOP`: suspends the process. It can be neither handled nor ignored.
    Stop,
    /// `SIGCONT`: resumes a suspended process.
    Continue,
}

impl Signal {
    pub(super) const fn to_rustix(self) -> rustix::process::Signal {
        use rustix::process::Signal as Os;
        match self {
            Self::Terminate => Os::TERM,
            Self::Kill => Os::KILL,
            Self::Interrupt => Os::INT,
            Self::Hangup => Os::HUP,
            Self::Quit => Os::QUIT,
            Self::User1 => Os::USR1,
            Self::User2 => Os::USR2,
            Self::Stop => Os::STOP,
            Self::Continue => Os::CONT,
        }
    }
}

/// The name of a signal number on this platform, for the signals that end a process.
pub(super) fn name(number: i32) -> Option<&'static str> {
    use rustix::process::Signal as Os;
    const NAMES: [(Os, &str); 18] = [
        (Os::HUP, "SIGHUP"),
        (Os::INT, "SIGINT"),
        (Os::QUIT, "SIGQUIT"),
        (Os::ILL, "SIGILL"),
        (Os::TRAP, "SIGTRAP"),
        (Os::ABORT, "SIGABRT"),
        (Os::BUS, "SIGBUS"),
        (Os::FPE, "SIGFPE"),
        (Os::KILL, "SIGKILL"),
        (Os::USR1, "SIGUSR1"),
        (Os::SEGV, "SIGSEGV"),
        (Os::USR2, "SIGUSR2"),
        (Os::PIPE, "SIGPIPE"),
        (Os::ALARM, "SIGALRM"),
        (Os::TERM, "SIGTERM"),
        (Os::XCPU, "SIGXCPU"),
        (Os::XFSZ, "SIGXFSZ"),
        (Os::SYS, "SIGSYS"),
    ];
    NAMES
        .iter()
        .find(|(signal, _)| signal.as_raw() == number)
        .map(|&(_, name)| name)
}
