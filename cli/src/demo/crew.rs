//! The workers as processes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use switchboard_mio::Board;
use switchboard_os::process::{Child as PlainChild, Signal, SpawnSpec, Stderr};
use switchboard_stdio::{Backoff, Channel, Child as SupervisedChild, Restart, Spawn};

use crate::args::Transport;

/// How long a process that is to end may take.
const ENDING: Duration = Duration::from_secs(5);

/// What all workers are started from.
#[derive(Debug)]
pub struct Plan {
    exe: PathBuf,
    address: String,
    log: PathBuf,
}

/// One worker. Dropping it ends its process.
#[derive(Debug)]
pub struct Worker {
    /// The name by which it is reached.
    pub name: String,
    /// How it is connected.
    pub transport: Transport,
    process: Process,
}

#[derive(Debug)]
enum Process {
    /// It joins by the hub's address, as a program that somebody else started would.
    Plain(PlainChild),
    /// It is connected by what it inherits, and started again when it fails.
    Supervised(SupervisedChild),
}

/// Starts and reaps a process: the thread that does so, and what it holds, stays from then on.
///
/// # Errors
///
/// The program cannot be started.
pub fn warm_up() -> Result<()> {
    let exe = std::env::current_exe().context("finding this program")?;
    // Over pipes, what it prints goes there.
    let spec = SpawnSpec::new(exe).channel(Channel::Pipes).arg("--version");
    let spec = spec.stderr(Stderr::Null);
    let mut child = spec.spawn()?;
    await_exit(&mut child).context("switchboard --version")
}

impl Plan {
    /// Workers of the hub at this address, which write down their jobs in this file.
    ///
    /// # Errors
    ///
    /// This program cannot find itself.
    pub fn new(address: String, log: &Path) -> Result<Self> {
        Ok(Self {
            exe: std::env::current_exe().context("finding this program")?,
            address,
            log: log.to_owned(),
        })
    }

    /// Starts a worker. Does not wait until it is there.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start(&self, board: &mut Board, name: &str, transport: Transport) -> Result<Worker> {
        let mut args = vec!["__demo-worker", "--name", name];
        if transport == Transport::Unix {
            args.extend(["--join", &self.address]);
        }
        let process = match transport {
            Transport::Socketpair => {
                Process::Supervised(self.supervise(board, name, &args, Channel::Socketpair)?)
            }
            Transport::Pipe => {
                Process::Supervised(self.supervise(board, name, &args, Channel::Pipes)?)
            }
            Transport::Unix | Transport::Tcp => {
                let spec = SpawnSpec::new(&self.exe).args(&args);
                let spec = spec.arg("--log").arg(&self.log).stderr(Stderr::Inherit);
                Process::Plain(spec.spawn().with_context(|| format!("starting {name}"))?)
            }
        };
        Ok(Worker {
            name: name.to_owned(),
            transport,
            process,
        })
    }

    fn supervise(
        &self,
        board: &mut Board,
        name: &str,
        args: &[&str],
        channel: Channel,
    ) -> Result<SupervisedChild> {
        // A restart at once, for who is watching.
        let backoff = Backoff {
            first: Duration::from_millis(20),
            ..Backoff::default()
        };
        Spawn::new(&self.exe)
            .args(args)
            .arg("--log")
            .arg(&self.log)
            .name(name)
            .channel(channel)
            .restart(Restart::on_failure(5).with_backoff(backoff))
            .spawn_on(board)
            .with_context(|| format!("starting {name}"))
    }
}

impl Worker {
    /// The id of its process, if one runs.
    pub fn pid(&self) -> Option<u32> {
        match &self.process {
            Process::Plain(child) => Some(child.id()),
            Process::Supervised(child) => child.pid(),
        }
    }

    /// Suspends the process, or lets it go on. Only for workers that joined by the address.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match &self.process {
            Process::Plain(child) => Ok(child.signal(signal)?),
            Process::Supervised(child) => anyhow::bail!("{} is supervised", child.name()),
        }
    }

    /// The supervision, where there is one.
    pub fn supervised(&self) -> Option<&SupervisedChild> {
        match &self.process {
            Process::Supervised(child) => Some(child),
            Process::Plain(_) => None,
        }
    }

    /// Waits until its process, which was told to end, has done so.
    ///
    /// # Errors
    ///
    /// It has not, or not well.
    pub fn gone(mut self) -> Result<()> {
        match &mut self.process {
            Process::Plain(child) => {
                await_exit(child).with_context(|| format!("the end of {}", self.name))
            }
            Process::Supervised(_) => Ok(()),
        }
    }
}

fn await_exit(child: &mut PlainChild) -> Result<()> {
    let until = Instant::now() + ENDING;
    let exit = loop {
        if let Some(exit) = child.try_reap() {
            break exit;
        }
        let left = until.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "still running after {ENDING:?}");
        let timeout = Timespec::try_from(left)?;
        // A signal that interrupts this is no reason to stop waiting, and the time is bounded.
        let _ = poll(&mut [PollFd::new(&*child, PollFlags::IN)], Some(&timeout));
    };
    ensure!(exit.success(), "it {exit}");
    Ok(())
}
