//! What a child shall be.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::child::Child;
use super::keeper;
use crate::advice::Advised;

/// How parent and child talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Channel {
    /// A unix socketpair on descriptor 3 of the child, announced by `SWITCHBOARD_FD=3`. It carries
    /// descriptors, and the child's stdout stays free for whatever it prints. The child's stdin is
    /// `/dev/null`: in a process group of its own, reading the terminal would suspend it.
    #[default]
    Socketpair,
    /// The child's stdin and stdout, announced by `SWITCHBOARD_STDIO=1`: for programs in languages
    /// where a line on stdin and a line on stdout are all there is to learn.
    Pipes,
}

/// Where a child's stderr goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Stderr {
    /// Into a pipe of this child alone, which the parent must read ([`Child::take_stderr`],
    /// [`StderrTail`](super::StderrTail)): a child whose stderr nobody reads stops at 64 KiB.
    #[default]
    Piped,
    /// To wherever the parent's goes. The lines of several children mix there.
    Inherit,
    /// Nowhere.
    Null,
}

/// What happens to a child whose parent process dies without stopping it.
///
/// The portable rule is that a child ends when its channel does; this is for the child that does
/// not. It works on Linux only, and ends where the child runs a program with the set-user-id bit or
/// capabilities of its own. What the child itself started by this crate ends in the same way with the
/// child, and so on down the line; what it started otherwise lives on, as nobody is left who would
/// sweep its group. The death that counts is that of
/// the process: children are started by a thread that lives as long as it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ParentDeath {
    /// The kernel kills it, whatever it ignores.
    #[default]
    Kill,
    /// The kernel sends it `SIGTERM`, which leaves it time to tidy up, or to live on.
    Terminate,
    /// It lives on.
    Survive,
}

/// What happens to a child that still runs when its [`Child`] is dropped. It is reaped in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnDrop {
    /// Its whole process group is killed.
    #[default]
    KillGroup,
    /// It is left alone. Its channel has ended, by which it may tell that it is no longer wanted.
    LeaveRunning,
}

/// A child that could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The program could not be executed: not found, no right to, not a program, bad working
    /// directory.
    #[error(
        "cannot start {}: {}; check its path, that it may be executed, and the working directory",
        .program.display(),
        Advised(source)
    )]
    Program {
        /// The program as it was named.
        program: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A channel, a pipe or the thread that starts children could not be made, mostly for lack of
    /// descriptors or memory.
    #[error("cannot start a child: {}", Advised(.0))]
    Resources(#[source] io::Error),
    /// This process is a fork of one that had children, and has not executed a program since. The
    /// thread that starts children did not come along, and the children are not its own.
    #[error(
        "cannot start a child in a forked process that has not executed a program: execute one \
         first, or start the child before the fork"
    )]
    Forked,
}

/// A description of a child process: program, arguments, environment and channel. It can be spawned
/// any number of times, which is what a restart does.
#[derive(Clone)]
pub struct SpawnSpec {
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(OsString, Option<OsString>)>,
    pub(super) clear_env: bool,
    pub(super) cwd: Option<PathBuf>,
    pub(super) channel: Channel,
    pub(super) stderr: Stderr,
    pub(super) parent_death: ParentDeath,
    pub(super) on_drop: OnDrop,
}

impl SpawnSpec {
    /// A child that runs this program, looked up in `PATH` if it contains no slash.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            clear_env: false,
            cwd: None,
            channel: Channel::default(),
            stderr: Stderr::default(),
            parent_death: ParentDeath::default(),
            on_drop: OnDrop::default(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable in the child's environment, which otherwise is the parent's. The variables
    /// that announce the channel cannot be set: the channel's own always win.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Removes a variable from the child's environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), None));
        self
    }

    /// Starts the child's environment from nothing instead of the parent's; what
    /// [`env`](Self::env) sets, before this or after, is all it gets beside its channel.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.clear_env = true;
        self
    }

    /// The child's working directory. Unset, it is the parent's. Whether a relative program path is
    /// then looked up from here or from the parent's differs between platforms: use an absolute one.
    #[must_use]
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.cwd = Some(directory.as_ref().to_owned());
        self
    }

    /// How parent and child talk; by default over a socketpair.
    #[must_use]
    pub fn channel(mut self, channel: Channel) -> Self {
        self.channel = channel;
        self
    }

    /// Where the child's stderr goes; by default into a pipe to the parent.
    #[must_use]
    pub fn stderr(mut self, stderr: Stderr) -> Self {
        self.stderr = stderr;
        self
    }

    /// What happens to the child when the parent dies; by default it is killed.
    #[must_use]
    pub fn parent_death(mut self, parent_death: ParentDeath) -> Self {
        self.parent_death = parent_death;
        self
    }

    /// What happens to the child when its handle is dropped; by default its group is killed.
    #[must_use]
    pub fn on_drop(mut self, on_drop: OnDrop) -> Self {
        self.on_drop = on_drop;
        self
    }

    /// Starts the child, in a process group of its own, with an empty signal mask and the default
    /// action for `SIGTERM`, `SIGCHLD` and `SIGPIPE`.
    ///
    /// Blocks the caller until the program has been executed or refused: about a millisecond, longer
    /// where its file comes over a network. All children of the process are started one after the
    /// other by one thread, which the first call creates.
    ///
    /// # Errors
    ///
    /// See [`SpawnError`]. Nothing remains of a child that could not be started.
    pub fn spawn(&self) -> Result<Child, SpawnError> {
        keeper::spawn(self)
    }

    /// Starts the child as [`spawn`](Self::spawn), without blocking the caller: `done` is called
    /// with the result, on the thread that starts children, which it must not keep from its work.
    ///
    /// # Errors
    ///
    /// That thread cannot be reached; `done` is dropped. Everything else is told to `done`.
    pub fn spawn_then(
        &self,
        done: impl FnOnce(Result<Child, SpawnError>) + Send + 'static,
    ) -> Result<(), SpawnError> {
        keeper::spawn_then(self, Box::new(done))
    }
}

/// Leaves out the values of the environment, where secrets are kept.
impl fmt::Debug for SpawnSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("SpawnSpec")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &names)
            .field("clear_env", &self.clear_env)
            .field("cwd", &self.cwd)
            .field("channel", &self.channel)
            .field("stderr", &self.stderr)
            .field("parent_death", &self.parent_death)
            .field("on_drop", &self.on_drop)
            .finish()
    }
}
