//! A board with a name, limits or handlers of its own.

use switchboard_os::app::{JoinError, Setup};
use switchboard_os::process::{ParentLink, parent_link};
use switchboard_os::{ToAddress, setup_words};
use switchboard_proto::Role;
use switchboard_proto::name::AnyName;

use crate::board::Board;

/// Puts a [`Board`] together.
///
/// A builder with a list of names ([`handle`](Self::handle), [`listen_to`](Self::listen_to))
/// makes a board that is ready from the start: requests for other names are refused at once.
/// Without one, say [`Board::ready`] when all names are declared.
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `join`, `listen` or `alone`"]
pub struct Builder {
    setup: Setup,
    requests: Vec<String>,
    listeners: Vec<String>,
    all_events: bool,
}

impl Builder {
    setup_words!();

    /// This board answers requests of this name.
    pub fn handle(mut self, name: impl AnyName) -> Self {
        self.requests.push(name.any_name().to_owned());
        self
    }

    /// This board listens to events of this name.
    pub fn listen_to(mut self, name: impl AnyName) -> Self {
        self.listeners.push(name.any_name().to_owned());
        self
    }

    /// This board listens to all events.
    pub fn listen_to_all(mut self) -> Self {
        self.all_events = true;
        self
    }

    /// Attaches to the hub at this address, now or when it is there, and again after every loss.
    /// Returns at once, not yet connected: [`State::Connected`](crate::State::Connected)
    /// follows.
    ///
    /// # Errors
    ///
    /// An address, name or limit that cannot be, or no descriptor left for the poller.
    pub fn join(mut self, address: impl ToAddress) -> Result<Board, JoinError> {
        let address = address.to_address()?;
        self.setup.config.role = Role::Member;
        let mut board = self.build()?;
        board.dial(address)?;
        Ok(board)
    }

    /// Becomes the hub at this address; [`Board::address`] has the real port.
    ///
    /// # Errors
    ///
    /// As [`Builder::join`], and why nobody can listen there now.
    pub fn listen(mut self, address: impl ToAddress) -> Result<Board, JoinError> {
        let address = address.to_address()?;
        self.setup.config.role = Role::Hub;
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
    pub fn alone(mut self) -> Result<Board, JoinError> {
        self.setup.config.role = Role::Hub;
        self.build()
    }

    /// A member whose hub is at the other end of a connection that is there already, such as a
    /// child of its parent.
    ///
    /// # Errors
    ///
    /// As [`Builder::join`].
    pub fn over(mut self, stream: switchboard_os::Stream) -> Result<Board, JoinError> {
        self.setup.config.role = Role::Member;
        let mut board = self.build()?;
        board.adopt(stream, switchboard_os::engine::Side::Parent);
        Ok(board)
    }

    /// A member whose hub is the parent process that started this one: takes the channel that it
    /// left, and the name that it gives, unless [`Builder::name`] was called. Call it first thing
    /// in `main`: if the channel is stdin and stdout, what prints from then on prints to stderr.
    ///
    /// When the parent is gone, [`State::GaveUp`](crate::State::GaveUp) is the last news, and
    /// [`Peer::serve`](crate::Peer::serve) returns.
    ///
    /// # Errors
    ///
    /// [`JoinError::Parent`] where there is no parent, as in a program started by hand; and as
    /// [`Builder::join`].
    pub fn parent(mut self) -> Result<Board, JoinError> {
        let ParentLink { stream, name } = parent_link()?;
        if let (None, Some(name)) = (&self.setup.name, name) {
            self.setup.config.name = Some(name);
        }
        self.over(stream)
    }

    fn build(mut self) -> Result<Board, JoinError> {
        self.setup.check_name()?;
        let mut board = Board::new(self.setup)?;
        if self.requests.is_empty() && self.listeners.is_empty() && !self.all_events {
            return Ok(board);
        }
        board.declare(crate::board::MAIN, |names| {
            names.handlers.extend(to_shared(&self.requests));
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
