//! One peer of an application for the length of a command.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use switchboard_mio::{
    Board, ConnectError, EngineFault, Incoming, JoinError, ListenError, NamespaceId, State,
};

use crate::args::{Global, Joining};
use crate::end::{End, Failure};
use crate::print;
use crate::signals::Signals;

/// How long the hub may take to greet, once it is reached.
const GREETING: Duration = Duration::from_secs(5);

/// How long the last words may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long a hub may take to know everybody: it waits 2 s for the members of an earlier one.
const EVERYBODY: Duration = Duration::from_secs(4);

/// A board with the loop around it, which also hears Ctrl-C.
#[derive(Debug)]
pub struct Session {
    /// The peer.
    pub board: Board,
    signals: Signals,
    quiet: bool,
}

impl Session {
    /// Joins the application at the address of the command line.
    ///
    /// # Errors
    ///
    /// [`End::Usage`] without an address, [`End::NoHub`] where nobody answers.
    pub fn join(global: &Global, joining: &Joining) -> Result<Self> {
        let Some(address) = &joining.address else {
            let message = "no address: give -a unix:/path or tcp://host:port, or set \
                           SWITCHBOARD_ADDRESS";
            return Err(Failure::new(End::Usage, message).into());
        };
        let signals = Signals::new()?;
        let board = Board::join(address).map_err(|error| refused(&error))?;
        let mut session = Self {
            board,
            signals,
            quiet: global.quiet,
        };
        session.connect(address, joining.wait)?;
        Ok(session)
    }

    /// A session around a board that is its own hub.
    ///
    /// # Errors
    ///
    /// No descriptors left.
    pub fn around(board: Board, quiet: bool) -> Result<Self> {
        let signals = Signals::new()?;
        Ok(Self {
            board,
            signals,
            quiet,
        })
    }

    /// The next thing that comes, or `None` at that time.
    ///
    /// # Errors
    ///
    /// [`End::Signal`] on Ctrl-C.
    pub fn next(&mut self, until: Option<Instant>) -> Result<Option<Incoming>> {
        loop {
            if let Some(incoming) = self.board.poll_incoming() {
                return Ok(Some(incoming));
            }
            self.signals.check()?;
            let left = until.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            self.sleep(left)?;
            self.board.drive()?;
        }
    }

    /// Waits until the roster names everybody, for as long as that can take. Whether it does.
    ///
    /// # Errors
    ///
    /// [`End::NoHub`] when the hub is lost meanwhile, [`End::Signal`] on Ctrl-C.
    pub fn everybody_known(&mut self) -> Result<bool> {
        let until = Instant::now() + EVERYBODY;
        let mut told = self.quiet;
        while !self.board.roster().is_complete() {
            let soon = Instant::now() + Duration::from_millis(500);
            match self.next(Some(soon.min(until)))? {
                Some(incoming) => lost(&incoming)?,
                None if Instant::now() >= until => return Ok(false),
                None if told => {}
                None => {
                    self.tell_if_incomplete();
                    told = true;
                }
            }
        }
        Ok(true)
    }

    /// Says why it takes so long, where that is because a hub that has just begun does not yet know
    /// who is there: whoever was with an earlier one may come back, and may be the one that is meant.
    pub fn tell_if_incomplete(&self) {
        if !self.quiet && !self.board.roster().is_complete() {
            print::talk("the hub has just begun, and waits for those who were there before");
        }
    }

    /// Opens a namespace of the command line.
    ///
    /// # Errors
    ///
    /// [`End::Usage`] for a name that cannot be one.
    pub fn namespace(&mut self, name: &str) -> Result<NamespaceId> {
        let opened = self.board.ns(name);
        opened.map_err(|error| Failure::new(End::Usage, format!("--ns {name:?}: {error}")).into())
    }

    /// Ends in good order: what was taken and sent is told before the connection closes.
    pub fn leave(mut self) {
        self.board.drain(GOODBYE);
        let until = Instant::now() + GOODBYE;
        // Ctrl-C or a lost hub ends it sooner; there is nobody left to tell then.
        while let Ok(Some(incoming)) = self.next(Some(until)) {
            if matches!(
                incoming,
                Incoming::Drained { .. } | Incoming::State(State::Disconnected(_))
            ) {
                break;
            }
        }
    }

    fn connect(&mut self, address: &str, wait: Option<Duration>) -> Result<()> {
        let begin = Instant::now();
        // A hub that is stopped takes the connection and says nothing.
        let until = begin.checked_add(wait.unwrap_or(GREETING));
        let mut last: Option<Arc<EngineFault>> = None;
        loop {
            match self.next(until)? {
                Some(Incoming::State(State::Connected { .. })) => return Ok(()),
                Some(Incoming::State(State::Fault(fault))) => match &*fault {
                    EngineFault::Connect(error) if error.is_permanent() => {
                        return Err(unreachable(error).into());
                    }
                    _ => last = Some(fault),
                },
                Some(Incoming::State(State::Disconnected(cause))) => {
                    let message = format!("the hub at {address} closed the connection: {cause}");
                    return Err(Failure::new(End::NoHub, message).into());
                }
                Some(_) => {}
                None => {
                    let why = last.map_or_else(
                        || format!("whoever listens at {address} does not answer as a hub"),
                        |fault| fault.to_string(),
                    );
                    return Err(Failure::new(End::NoHub, why).into());
                }
            }
            if let Some(fault) = &last
                && wait.is_none_or(|wait| begin.elapsed() >= wait)
            {
                let end = match &**fault {
                    // It is here that something ran out; the hub may well be there.
                    EngineFault::Connect(ConnectError::Io { .. }) => End::Failed,
                    _ => End::NoHub,
                };
                return Err(Failure::new(end, fault.to_string()).into());
            }
        }
    }

    fn sleep(&mut self, left: Option<Duration>) -> Result<()> {
        let timeout = [self.board.timeout(), left].into_iter().flatten().min();
        // A duration that the kernel cannot count is as good as none.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = [
            PollFd::new(&self.board, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(anyhow!(error).context("waiting")),
        }
    }
}

/// Why there is no board, with its exit code.
pub fn refused(error: &JoinError) -> Failure {
    match error {
        JoinError::Connect(error) => unreachable(error),
        JoinError::Address(error) => Failure::new(End::Usage, error.to_string()),
        JoinError::Listen(
            ListenError::Address(_)
            | ListenError::NoDirectory { .. }
            | ListenError::IsDirectory { .. }
            | ListenError::NotASocket { .. },
        ) => Failure::new(End::Usage, error.to_string()),
        error => Failure::new(End::Failed, error.to_string()),
    }
}

/// A fault that no waiting mends is no missing hub.
fn unreachable(error: &ConnectError) -> Failure {
    let end = match error {
        ConnectError::Address(_)
        | ConnectError::NoDirectory { .. }
        | ConnectError::IsDirectory { .. }
        | ConnectError::NotASocket { .. } => End::Usage,
        _ => End::Failed,
    };
    Failure::new(end, error.to_string())
}

/// The loss of the hub as the error that ends a command.
///
/// # Errors
///
/// [`End::NoHub`] where that is what came.
pub fn lost(incoming: &Incoming) -> Result<()> {
    match incoming {
        Incoming::State(State::Disconnected(cause)) => {
            let message = format!("the connection to the hub was lost: {cause}");
            Err(Failure::new(End::NoHub, message).into())
        }
        _ => Ok(()),
    }
}
