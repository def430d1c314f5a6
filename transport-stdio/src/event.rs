//! What happens to a child, and how it is told.

use std::fmt;
use std::time::Duration;

use switchboard_os::engine::LinkEnd;
use switchboard_os::process::{Exit, SpawnError};
use switchboard_proto::wire::CloseCode;
use switchboard_proto::{Generation, PeerId, PeerName};

use crate::stderr::StderrLine;
use crate::supervise::{Ending, GaveUp};

/// Something that happened to a child; see [`Child::next_event`](crate::Child::next_event). Its
/// `Display` is what to write into a log; that of [`Exited`] may have several lines.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChildEvent {
    /// Its process runs.
    Started {
        /// The process id.
        pid: u32,
        /// 1 for the first start, 2 for the first restart.
        attempt: u32,
    },
    /// It has said hello, and can be reached by its name.
    Attached {
        /// Its id.
        id: PeerId,
        /// Its generation, which rises with each restart.
        generation: Generation,
    },
    /// Its link has ended while its process still ran. It is no use without a link, so it is on
    /// its way to its end, and then restarted or not.
    Disconnected(Disconnected),
    /// A line of its stderr, where that was asked for.
    Stderr(StderrLine),
    /// Its process has ended, everything it wrote was read, and nothing of it is left.
    Exited(Exited),
    /// It could not be started.
    SpawnFailed(SpawnError),
    /// It could not be signalled: it runs under another user, by a set-user-id program.
    CannotSignal(String),
    /// It will be started again.
    Restarting {
        /// The number of the coming attempt.
        attempt: u32,
        /// In how long.
        after: Duration,
    },
    /// It will not be started again although the policy asks for it.
    GaveUp(GaveUp),
    /// The supervision is over; no event follows.
    Ended(Ending),
    /// The node that it was attached to is no more, and the supervision ended with it; no event
    /// follows. A process that still ran was killed with its group, unless
    /// [`Spawn::on_drop`](crate::Spawn::on_drop) said otherwise.
    Abandoned,
}

/// How the link to a running child has ended. Its `Display` is a sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disconnected {
    /// The child's name.
    pub name: PeerName,
    /// The process id.
    pub pid: u32,
    /// Why.
    pub cause: LinkFault,
    /// Whether it ever attached.
    pub attached: bool,
    /// What came first over a link by which nobody ever attached, at most 64 bytes; empty if the
    /// child did attach, or wrote nothing.
    pub first_bytes: Vec<u8>,
}

/// Why a link to a running child has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkFault {
    /// The child closed its end of the channel.
    Ended,
    /// The child said that it is done. One that never attached says so when the hub refuses it,
    /// because a living peer has its name.
    Goodbye,
    /// The child did not say hello within this time.
    NoHello(Duration),
    /// What came was not the protocol, or broke it.
    Protocol(CloseCode),
}

/// How a run of a child ended. Its `Display` says everything that is known of it, over several
/// lines where the child's stderr has several.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exited {
    /// The child's name.
    pub name: PeerName,
    /// The process id, which may be another process's by now.
    pub pid: u32,
    /// The number of the start that began this run.
    pub attempt: u32,
    /// How the process ended.
    pub exit: Exit,
    /// How long it ran.
    pub uptime: Duration,
    /// Whether it ever attached.
    pub attached: bool,
    /// What it sent that was no hello, at most 64 bytes, where it never attached.
    pub first_bytes: Vec<u8>,
    /// The last that it wrote to its stderr, at most 8 KiB.
    pub stderr_tail: String,
    /// How many bytes of its stderr came before those.
    pub stderr_dropped: u64,
}

impl LinkFault {
    pub(crate) fn of(end: &LinkEnd) -> Self {
        match end.code {
            None => Self::Ended,
            Some(CloseCode::Normal) if end.by_peer => Self::Goodbye,
            Some(code) => Self::Protocol(code),
        }
    }
}

impl fmt::Display for ChildEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { pid, attempt } => write!(f, "started as pid {pid}, attempt {attempt}"),
            Self::Attached { id, generation } => write!(f, "attached as peer {id}#{generation}"),
            Self::Disconnected(cut) => cut.fmt(f),
            Self::Stderr(line) => write!(f, "stderr of pid {}: {}", line.pid, line.text),
            Self::Exited(exited) => exited.fmt(f),
            Self::SpawnFailed(error) => error.fmt(f),
            Self::CannotSignal(why) => f.write_str(why),
            Self::Restarting { attempt, after } => {
                write!(f, "starts again in {after:?}, attempt {attempt}")
            }
            Self::GaveUp(why) => write!(f, "is not started again: {why}"),
            Self::Ended(_) => f.write_str("is supervised no more"),
            Self::Abandoned => f.write_str("is supervised no more: its node has ended"),
        }
    }
}

impl fmt::Display for Disconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}) ", self.name, self.pid)?;
        match self.cause {
            LinkFault::Ended => f.write_str("closed its channel and still runs")?,
            LinkFault::Goodbye if self.attached => f.write_str("said goodbye and still runs")?,
            LinkFault::Goodbye => f.write_str(
                "was refused: a living peer has its name; choose another, or wait for its end",
            )?,
            LinkFault::NoHello(within) => write!(
                f,
                "did not say hello within {within:?}; a child has to join by `parent()`, or needs \
                 longer (`hello_within`)"
            )?,
            LinkFault::Protocol(code) => write!(f, "does not keep to the protocol: {code}")?,
        }
        if !self.first_bytes.is_empty() {
            let shown = self.first_bytes.escape_ascii();
            write!(
                f,
                "; what it sent began with \"{shown}\", and only the protocol may go over its channel"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Exited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}) {}", self.name, self.pid, self.exit)?;
        if !self.attached {
            f.write_str(" and never said hello")?;
        }
        if !self.first_bytes.is_empty() {
            let shown = self.first_bytes.escape_ascii();
            write!(f, "; what it sent began with \"{shown}\"")?;
        }
        match self.stderr_tail.trim_end() {
            "" => Ok(()),
            tail => write!(f, "; its stderr ended with:\n{tail}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_in_words_what_happened() {
        let words = |event: ChildEvent| event.to_string();
        let attached = ChildEvent::Attached {
            id: PeerId(3),
            generation: Generation(7),
        };
        assert_eq!(words(attached), "attached as peer 3#7");
        let again = ChildEvent::Restarting {
            attempt: 2,
            after: Duration::from_millis(50),
        };
        assert_eq!(words(again), "starts again in 50ms, attempt 2");
        let gave_up = ChildEvent::GaveUp(GaveUp::NeverStarted);
        assert_eq!(words(gave_up), "is not started again: could not be started");
    }
}
