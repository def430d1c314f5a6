//! How a process ended.

use std::fmt;

use super::signal;

/// How a child ended. Its `Display` reads as an end of the sentence "the child ...", for example
/// `exited with code 3` or `was killed by SIGSEGV (core dumped)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exit {
    /// It returned this code from `main` or passed it to `exit`; 0 means success.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The number of the signal on this platform.
        number: i32,
        /// Whether the kernel wrote a core dump.
        core_dumped: bool,
    },
    /// It has ended, but nobody knows how: something else in this process took its status, either
    /// a `waitpid(-1)` or an ignored `SIGCHLD`, under which the kernel keeps none.
    Lost,
}

impl Exit {
    /// Whether the child said that all went well: code 0. A lost status is not a success.
    pub const fn success(self) -> bool {
        matches!(self, Self::Code(0))
    }

    /// The exit code, if it returned one.
    pub const fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            _ => None,
        }
    }

    /// The number of the signal that ended it, if one did.
    pub const fn signal(self) -> Option<i32> {
        match self {
            Self::Signal { number, .. } => Some(number),
            _ => None,
        }
    }

    pub(super) fn from_status(status: &rustix::process::WaitIdStatus) -> Self {
        if let Some(code) = status.exit_status() {
            Self::Code(code)
        } else if let Some(number) = status.terminating_signal() {
            Self::Signal {
                number,
                core_dumped: status.dumped(),
            }
        } else {
            // Only exits are waited for, and those two are all there are.
            Self::Lost
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal {
                number,
                core_dumped,
            } => {
                match signal::name(number) {
                    Some(name) => write!(f, "was killed by {name}")?,
                    None => write!(f, "was killed by signal {number}")?,
                }
                if core_dumped {
                    f.write_str(" (core dumped)")
                } else {
                    Ok(())
                }
            }
            Self::Lost => {
                f.write_str("ended, but its exit status was taken by another part of this process")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_reads_as_the_end_of_a_sentence() {
        assert_eq!(Exit::Code(3).to_string(), "exited with code 3");
        let killed = Exit::Signal {
            number: 9,
            core_dumped: false,
        };
        assert_eq!(killed.to_string(), "was killed by SIGKILL");
        let crashed = Exit::Signal {
            number: 11,
            core_dumped: true,
        };
        assert_eq!(crashed.to_string(), "was killed by SIGSEGV (core dumped)");
        let odd = Exit::Signal {
            number: 63,
            core_dumped: false,
        };
        assert_eq!(odd.to_string(), "was killed by signal 63");
    }

    #[test]
    fn only_code_zero_is_a_success() {
        assert!(Exit::Code(0).success());
        assert!(!Exit::Code(1).success());
        assert!(
            !Exit::Signal {
                number: 15,
                core_dumped: false
            }
            .success()
        );
        assert!(!Exit::Lost.success());
    }
}
