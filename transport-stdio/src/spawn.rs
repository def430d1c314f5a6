//! Describing a child that is to be started and kept.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use switchboard_os::Seeds;
use switchboard_os::engine::Adopt;
use switchboard_os::process::{
    Channel, ENV_NAME, OnDrop, ParentDeath, SpawnError, SpawnSpec, Stderr,
};
use switchboard_proto::{PeerName, PeerNameError};

use crate::child::Child;
use crate::shared::Shared;
use crate::supervise::{Restart, StopLadder, Supervisor};
use crate::supervision::Supervision;

/// A child process that will be a peer of this application: what it is, how it is reached, and what
/// is done when it ends.
///
/// The child finds its channel with `stdio::parent()`, `Board::parent()` or `Peer::parent()`.
#[derive(Clone)]
#[must_use = "nothing is started before one of the `spawn` methods"]
pub struct Spawn {
    spec: SpawnSpec,
    stem: String,
    name: Option<String>,
    on_drop: OnDrop,
    restart: Restart,
    ladder: StopLadder,
    hello_within: Duration,
    lines_per_second: Option<u32>,
}

/// A child that could not be started, or not here.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The name that it shall have cannot be one.
    #[error("a child cannot be called {name:?}: {source}")]
    BadName {
        /// The name.
        name: String,
        /// Why not.
        source: PeerNameError,
    },
    /// The program could not be started. Only told by what waits for the start; otherwise it is
    /// [`ChildEvent::SpawnFailed`](crate::ChildEvent::SpawnFailed).
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// There is no room for another descriptor, or the system gives no randomness.
    #[error("cannot supervise a child: {0}")]
    Resources(#[from] io::Error),
    /// The child's own node cannot be made.
    #[cfg(feature = "blocking")]
    #[error("cannot make a node for the child: {0}")]
    Node(#[from] switchboard_mio::JoinError),
}

/// Numbers children that were given no name.
static UNNAMED: AtomicU64 = AtomicU64::new(1);

impl Spawn {
    /// A child that runs this program, looked up in `PATH` if it contains no slash.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let stem = Path::new(program).file_stem().unwrap_or(program);
        Self {
            spec: SpawnSpec::new(program),
            stem: stem.to_string_lossy().into_owned(),
            name: None,
            on_drop: OnDrop::default(),
            restart: Restart::default(),
            ladder: StopLadder::default(),
            hello_within: Duration::from_secs(10),
            lines_per_second: None,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.spec = self.spec.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.spec = self.spec.args(args);
        self
    }

    /// Sets a variable in the child's environment, which otherwise is the parent's. Those that
    /// announce the channel and the name cannot be set.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.spec = self.spec.env(name, value);
        self
    }

    /// Removes a variable from the child's environment.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.spec = self.spec.env_remove(name);
        self
    }

    /// Starts the child's environment from nothing instead of the parent's.
    pub fn env_clear(mut self) -> Self {
        self.spec = self.spec.env_clear();
        self
    }

    /// The child's working directory; by default the parent's. Give the program as an absolute path
    /// then: from where a relative one is looked up differs between platforms.
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.spec = self.spec.current_dir(directory);
        self
    }

    /// The name by which the child is reached, kept over restarts and with it the id. Default: the
    /// program's name and a number, `worker/1`. At most 64 bytes, without NUL and `#`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Over what parent and child talk. Default: a socketpair, which carries descriptors and leaves
    /// the child's stdin and stdout alone.
    pub fn channel(mut self, channel: Channel) -> Self {
        self.spec = self.spec.channel(channel);
        self
    }

    /// Where the child's stderr goes. Default: into a pipe, of which the last 8 KiB are told with
    /// the child's end.
    pub fn stderr(mut self, stderr: Stderr) -> Self {
        self.spec = self.spec.stderr(stderr);
        self
    }

    /// Tells each line of the child's stderr as an event, at most so many in a second; what is
    /// beyond is counted. Default: no lines. Needs [`Stderr::Piped`].
    pub fn stderr_lines(mut self, per_second: u32) -> Self {
        self.lines_per_second = Some(per_second);
        self
    }

    /// What is done when the child ends by itself. Default: it is not started again.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How much time the child is given at each step on the way to its end.
    pub fn stop_ladder(mut self, ladder: StopLadder) -> Self {
        self.ladder = ladder;
        self
    }

    /// Within what time of its start the child is to say hello; one that does not is ended.
    /// Default 10 s, the default deadline of a request: nothing waits for it longer than that.
    /// `Duration::MAX` waits for as long as it lives.
    pub fn hello_within(mut self, limit: Duration) -> Self {
        self.hello_within = limit;
        self
    }

    /// What happens to the child when the parent process dies. Default: the kernel kills it.
    pub fn parent_death(mut self, parent_death: ParentDeath) -> Self {
        self.spec = self.spec.parent_death(parent_death);
        self
    }

    /// What happens to the running child when its handle or the node is dropped. Default: its whole
    /// process group is killed.
    pub fn on_drop(mut self, on_drop: OnDrop) -> Self {
        self.on_drop = on_drop;
        self
    }

    /// The handle of the child, and the part that a node has to adopt, by which it is started:
    /// `supervision.adopt_into(&peer)`.
    ///
    /// # Errors
    ///
    /// [`StartError::BadName`], [`StartError::Resources`].
    pub fn prepare(self) -> Result<(Child, Supervision), StartError> {
        let name = self.peer_name()?;
        let seed = seed()?;
        let shared = Arc::new(Shared::new(name.clone())?);
        let spec = self.spec.env(ENV_NAME, name.as_str()).on_drop(self.on_drop);
        let supervisor = Supervisor::new(self.restart, self.ladder, seed);
        let supervision = Supervision::new(
            spec,
            supervisor,
            Arc::clone(&shared),
            self.hello_within,
            self.lines_per_second,
        );
        Ok((Child::new(shared, self.on_drop), supervision))
    }

    /// Starts the child as one more peer of the application of this node, be it the hub or a member:
    /// `spawn_on(&mut board)`, `spawn_on(&peer)`. Does not wait for the start, so a program that
    /// cannot be started is told as an event.
    ///
    /// # Errors
    ///
    /// [`StartError::BadName`], [`StartError::Resources`].
    pub fn spawn_on(self, node: impl Adopt) -> Result<Child, StartError> {
        let (child, supervision) = self.prepare()?;
        supervision.adopt_into(node);
        Ok(child)
    }

    fn peer_name(&self) -> Result<PeerName, StartError> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => self.default_name(),
        };
        PeerName::new(&name).ok_or(StartError::BadName {
            name,
            source: PeerNameError,
        })
    }

    fn default_name(&self) -> String {
        let number = UNNAMED.fetch_add(1, Ordering::Relaxed);
        let number = format!("/{number}");
        let mut name = String::new();
        for letter in self.stem.chars() {
            if name.len() + letter.len_utf8() + number.len() > PeerName::MAX {
                break;
            }
            let clean = !matches!(letter, '#' | '\0');
            name.push(if clean { letter } else { '_' });
        }
        name + &number
    }
}

/// For the jitter of restarts: children that were felled by one fault come back one by one.
fn seed() -> io::Result<u64> {
    let seeds = Seeds::from_system()?;
    let (bytes, _) = seeds.behaviour.split_at(8);
    Ok(bytes
        .iter()
        .fold(0, |seed, &byte| seed << 8 | u64::from(byte)))
}

impl fmt::Debug for Spawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawn")
            .field("spec", &self.spec)
            .field("name", &self.name)
            .field("restart", &self.restart)
            .field("ladder", &self.ladder)
            .finish_non_exhaustive()
    }
}

switchboard_os::debug_says!(StartError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_without_a_name_is_called_after_its_program_and_numbered() {
        let name = |program: &str| Spawn::new(program).peer_name().unwrap().to_string();
        let first = name("/opt/app/worker.bin");
        let (stem, number) = first.split_once('/').unwrap();
        assert_eq!(stem, "worker");
        let next = name("worker");
        assert!(
            next.strip_prefix("worker/")
                .unwrap()
                .parse::<u64>()
                .unwrap()
                > number.parse().unwrap()
        );
        assert!(name(&"ü".repeat(100)).len() <= PeerName::MAX);
        assert!(name("a#b").starts_with("a_b/"));
    }

    #[test]
    fn a_name_that_cannot_be_one_is_refused_and_named() {
        let error = Spawn::new("x").name("a#b").prepare().unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("a child cannot be called \"a#b\"")
        );
    }
}
