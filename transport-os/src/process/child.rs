//! What a parent holds of a child.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::process::Pid;

use super::channel::ChannelEnd;
use super::exit::Exit;
use super::keeper::{self, Keeper};
use super::signal::Signal;
use super::spec::OnDrop;
use super::watch::{Condition, Watch};

/// A child process of this process, and the only right to reap it.
///
/// As a descriptor ([`AsFd`]) it becomes readable when the child ends, and stays so; it may be
/// polled, edge- or level-triggered, and must not be read. The end of the *process* is what it
/// tells: the channel and the stderr may stay open after it, where a grandchild holds them, and hold
/// bytes that the child wrote before it ended. Read both until they are empty, give them a moment's
/// grace, and then let go.
///
/// Dropping it closes the channel, does with a running child as its [`OnDrop`] says, and leaves the
/// reaping to a thread in the background. It does not block.
#[derive(Debug)]
pub struct Child {
    /// `None` once it has been reaped or handed over.
    watch: Option<Watch>,
    pid: Pid,
    exit: Option<Exit>,
    channel: Option<ChannelEnd>,
    stderr: Option<OwnedFd>,
    on_drop: OnDrop,
    keeper: Keeper,
}

/// A signal that was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// The child has been reaped, so its pid and its process group id may belong to others by now.
    #[error("the child has already ended and been reaped")]
    Reaped,
    /// This process is a fork of the parent, and the child is not its own.
    #[error("the child belongs to the process that this one was forked from")]
    Forked,
    /// The kernel refused: the child runs under another user, by a set-user-id program.
    #[error("cannot signal the child: {0}")]
    Refused(#[from] io::Error),
}

impl Child {
    pub(super) fn new(
        pid: Pid,
        watch: Watch,
        channel: ChannelEnd,
        stderr: Option<OwnedFd>,
        on_drop: OnDrop,
        keeper: Keeper,
    ) -> Self {
        Self {
            watch: Some(watch),
            pid,
            exit: None,
            channel: Some(channel),
            stderr,
            on_drop,
            keeper,
        }
    }

    /// The process id, which is also the id of its process group. Once the child has been reaped,
    /// it is a name in a log and no more: the kernel may have given it to another process.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// The parent's end of the channel, non-blocking and close-on-exec. `None` if it has been taken.
    pub fn take_channel(&mut self) -> Option<ChannelEnd> {
        self.channel.take()
    }

    /// The read end of the child's stderr, non-blocking and close-on-exec. `None` if it has been
    /// taken or is not [`Stderr::Piped`](super::Stderr::Piped).
    pub fn take_stderr(&mut self) -> Option<OwnedFd> {
        self.stderr.take()
    }

    /// What [`AsFd`] lends, to keep: for a poller that may hold it longer than this handle lives.
    pub fn exit_descriptor(&self) -> Arc<OwnedFd> {
        // The watch is taken by `drop` alone.
        self.watch
            .as_ref()
            .expect("a child has its watch until it is dropped")
            .descriptor()
    }

    /// Changes what happens when this handle is dropped while the child runs.
    pub fn set_on_drop(&mut self, on_drop: OnDrop) {
        self.on_drop = on_drop;
    }

    /// How the child ended, or `None` while it runs, without reaping it: until
    /// [`try_reap`](Self::try_reap), [`signal_group`](Self::signal_group) still reaches what is left
    /// of its group. Does not block.
    pub fn peek_exit(&self) -> Option<Exit> {
        if self.exit.is_some() {
            return self.exit;
        }
        match self.own_watch().ok()?.condition() {
            Condition::Running => None,
            Condition::Ended(exit) => Some(exit),
        }
    }

    /// How the child ended, or `None` while it runs. Reaps it, so that the kernel forgets it; asked
    /// again, it answers the same. Does not block.
    pub fn try_reap(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            self.exit = Some(self.own_watch().ok()?.reap()?);
        }
        self.exit
    }

    /// Signals the child alone. A child that has ended but is not reaped takes it without effect.
    ///
    /// # Errors
    ///
    /// See [`SignalError`].
    pub fn signal(&self, signal: Signal) -> Result<(), SignalError> {
        self.pinned_watch()?.signal(signal).map_err(Into::into)
    }

    /// Signals every process in the child's group: the child, and of its descendants all that have
    /// not left for a group of their own. Until the child is reaped this works also when the child
    /// itself has ended, and is the way to reach what it left behind. No other group can be meant.
    ///
    /// # Errors
    ///
    /// See [`SignalError`].
    pub fn signal_group(&self, signal: Signal) -> Result<(), SignalError> {
        self.pinned_watch()?
            .signal_group(signal)
            .map_err(Into::into)
    }

    /// The watch of a child that is ours to signal and wait for.
    fn own_watch(&self) -> Result<&Watch, SignalError> {
        if self.keeper.is_forked_copy() {
            return Err(SignalError::Forked);
        }
        match &self.watch {
            Some(watch) if self.exit.is_none() => Ok(watch),
            _ => Err(SignalError::Reaped),
        }
    }

    /// The watch of a child whose ids are certainly still its own.
    fn pinned_watch(&self) -> Result<&Watch, SignalError> {
        let watch = self.own_watch()?;
        match watch.condition() {
            Condition::Ended(Exit::Lost) => Err(SignalError::Reaped),
            _ => Ok(watch),
        }
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // The watch is taken by `drop` alone.
        self.watch
            .as_ref()
            .expect("a child has its watch until it is dropped")
            .as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A forked copy closes its descriptors and touches nothing: the process is the parent's.
        if self.exit.is_some() || self.keeper.is_forked_copy() {
            return;
        }
        if let Some(watch) = self.watch.take() {
            let leftover = keeper::Leftover::new(watch, self.on_drop);
            if let Some(leftover) = leftover.settle() {
                self.keeper.adopt(leftover);
            }
        }
    }
}
