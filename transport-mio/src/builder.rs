//! A board with a name, limits or handlers of its own.

use switchboard_os::Address;
use switchboard_os::process::{ParentLink, parent_link};
use switchboard_proto::codec::CodecTable;
use switchboard_proto::name::{CallName, EventName};
use switchboard_proto::{Config, PeerName, Role};

use crate::board::Board;
use crate::error::BoardError;

/// Puts a [`Board`] together.
///
/// A builder with a list of names ([`handle`](Self::handle), [`listen_to`](Self::listen_to))
/// makes a board that is ready from the start: requests for other names are refused at once.
/// Without one, say [`Board::ready`] when all names are declared.
#[derive(Debug)]
#[must_use = "a builder does nothing until `join`, `listen` or `alone`"]
pub struct Builder {
    config: Config,
    most_handlers: usize,
    name: Option<String>,
    codecs: CodecTable,
    handlers: Vec<String>,
    listeners: Vec<String>,
    all_events: bool,
}

/// How many handlers of one peer run at the same time.
const HANDLERS: usize = 64;

impl Default for Builder {
    fn default() -> Self {
        Self {
            config: Config::default(),
            most_handlers: HANDLERS,
            name: None,
            codecs: CodecTable::default(),
            handlers: Vec::new(),
            listeners: Vec::new(),
            all_events: false,
        }
    }
}

impl Builder {
    /// The name under which this peer wants to be known, and found again after a restart: 1 to 64
    /// bytes without NUL and `#`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Every limit and interval. The role and, if [`Builder::name`] was called, the name are set by
    /// the builder.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Which codecs there are and which is used where.
    pub fn codecs(mut self, codecs: CodecTable) -> Self {
        self.codecs = codecs;
        self
    }

    /// How many handlers of the [blocking](Board::blocking) handle run at the same time, over all
    /// threads that serve, and how many lie on one thread's stack because each waits for the next;
    /// at least 1. Default 64. What comes beyond waits in the receive budget, and its senders with
    /// it.
    pub fn handlers(mut self, most: usize) -> Self {
        self.most_handlers = most.max(1);
        self
    }

    /// This board answers requests of this name.
    pub fn handle<M: ?Sized, R>(mut self, name: impl CallName<M, R>) -> Self {
        self.handlers.push(name.name().to_owned());
        self
    }

    /// This board listens to events of this name.
    pub fn listen_to<M: ?Sized>(mut self, name: impl EventName<M>) -> Self {
        self.listeners.push(name.name().to_owned());
        self
    }

    /// This board listens to all events.
    pub fn listen_to_all(mut self) -> Self {
        self.all_events = true;
        self
    }

    /// Attaches to the hub at this address, now or when it is there, and again after every loss.
    /// Returns at once, not yet connected: [`Incoming::Connected`](crate::Incoming::Connected)
    /// follows.
    ///
    /// # Errors
    ///
    /// An address, name or limit that cannot be, or no descriptor left for the poller.
    pub fn join(mut self, address: impl AsRef<str>) -> Result<Board, BoardError> {
        let address: Address = address.as_ref().parse()?;
        self.config.role = Role::Member;
        let mut board = self.build()?;
        board.dial(address);
        Ok(board)
    }

    /// Becomes the hub at this address; [`Board::address`] has the real port.
    ///
    /// # Errors
    ///
    /// As [`Builder::join`], and why nobody can listen there now.
    pub fn listen(mut self, address: impl AsRef<str>) -> Result<Board, BoardError> {
        let address: Address = address.as_ref().parse()?;
        self.config.role = Role::Hub;
        let mut board = self.build()?;
        board.listen_at(&address)?;
        Ok(board)
    }

    /// Becomes a hub without an address, for peers over connections that are
    /// [adopted](Board::adopt), such as child processes.
    ///
    /// # Errors
    ///
    /// As [`Builder::join`].
    pub fn alone(mut self) -> Result<Board, BoardError> {
        self.config.role = Role::Hub;
        self.build()
    }

    /// A member whose hub is at the other end of a connection that is there already, such as a
    /// child of its parent.
    ///
    /// # Errors
    ///
    /// As [`Builder::join`].
    pub fn over(mut self, stream: switchboard_os::Stream) -> Result<Board, BoardError> {
        self.config.role = Role::Member;
        let mut board = self.build()?;
        board.adopt(stream, switchboard_os::engine::Side::Parent);
        Ok(board)
    }

    /// A member whose hub is the parent process that started this one: takes the channel that it
    /// left, and the name that it gives, unless [`Builder::name`] was called. Call it first thing
    /// in `main`: if the channel is stdin and stdout, what prints from then on prints to stderr.
    ///
    /// When the parent is gone, [`Incoming::GaveUp`](crate::Incoming::GaveUp) is the last news, and
    /// [`Peer::serve`](crate::Peer::serve) returns.
    ///
    /// # Errors
    ///
    /// [`BoardError::Parent`] where there is no parent, as in a program started by hand; and as
    /// [`Builder::join`].
    pub fn parent(mut self) -> Result<Board, BoardError> {
        let ParentLink { stream, name } = parent_link()?;
        if let (None, Some(name)) = (&self.name, name) {
            self.config.name = Some(name);
        }
        self.over(stream)
    }

    fn build(mut self) -> Result<Board, BoardError> {
        if let Some(name) = self.name.take() {
            let checked = PeerName::new(&name).ok_or(BoardError::BadName(name))?;
            self.config.name = Some(checked);
        }
        let mut board = Board::new(self.config, self.codecs, self.most_handlers)?;
        if self.handlers.is_empty() && self.listeners.is_empty() && !self.all_events {
            return Ok(board);
        }
        board.declare(crate::board::MAIN, |names| {
            names.handlers.extend(to_shared(&self.handlers));
            names.listeners.extend(to_shared(&self.listeners));
            names.all_events |= self.all_events;
        })?;
        board.ready();
        Ok(board)
    }
}

fn to_shared(names: &[String]) -> impl Iterator<Item = std::sync::Arc<str>> + '_ {
    names.iter().map(|name| name.as_str().into())
}
