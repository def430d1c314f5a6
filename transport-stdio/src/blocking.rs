//! A child without a node of the application's own: it gets one, which the waiting caller drives.

use std::ops::Deref;
use std::time::Duration;

use switchboard_mio::{BlockingEmit, BlockingRequest, Board, JoinError, Peer};
use switchboard_proto::codec::{Decode, Encode};
use switchboard_proto::name::{CallName, EventName};

use crate::child::Child;
use crate::event::ChildEvent;
use crate::spawn::{Spawn, StartError};

/// A child with a node of its own, whose hub this process is: the parent is peer 1, the child
/// peer 2.
///
/// Nothing happens behind its back: who waits drives the node, and while nobody does, nothing is
/// read of the child and no restart is made. [`Peer::spawn`] on [`ChildPeer::peer`] starts a thread
/// that is always there. Dropping it ends the child as [`Spawn::on_drop`] says.
#[derive(Debug)]
pub struct ChildPeer {
    // Before the node, so that the child is ended and not abandoned.
    child: Child,
    peer: Peer,
}

impl Spawn {
    /// Starts the child with a node of its own, and waits until its process runs: a millisecond.
    ///
    /// # Errors
    ///
    /// Why it could not be started, the program above all.
    pub fn spawn(self) -> Result<ChildPeer, StartError> {
        let board = Board::builder().alone()?;
        let peer = board.blocking();
        let child = self.spawn_on(&peer)?;
        child.shared().wait_for_start()?;
        Ok(ChildPeer { child, peer })
    }
}

/// The node of a child process, whose hub is the parent that started it: for a Rust program that is
/// started by [`Spawn`]. Call it first thing in `main`; see [`switchboard_mio::Builder::parent`].
///
/// # Errors
///
/// [`JoinError::Parent`] where there is no parent, as in a program started by hand.
pub fn parent() -> Result<Peer, JoinError> {
    Board::parent().map(Board::blocking)
}

impl ChildPeer {
    /// The node: for handlers, events, states, and all that is not said here.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The child alone.
    pub fn child(&self) -> &Child {
        &self.child
    }

    /// A request to the child: `child.request("area", &(3.0, 4.0)).wait()`. It waits for a child that
    /// is being started, within its deadline, and is refused at once when there will be none; why
    /// not, [`Child::last_exit`] says.
    pub fn request<'m, M, R>(
        &self,
        name: impl CallName<M, R>,
        value: &'m M,
    ) -> BlockingRequest<'m, M, R>
    where
        M: Encode + ?Sized,
        R: Decode,
    {
        self.peer.request(name, value).to(&self.child)
    }

    /// An event to the child: `child.emit("moved", &(3.0, 4.0)).wait()`.
    pub fn emit<'m, M>(&self, name: impl EventName<M>, value: &'m M) -> BlockingEmit<'m, M>
    where
        M: Encode + ?Sized,
    {
        self.peer.emit(name, value).to(&self.child)
    }

    /// The next thing that happens to the child, at most this far away; drives the node meanwhile.
    pub fn wait_event(&self, within: Duration) -> Option<ChildEvent> {
        let mut found = None;
        self.peer.wait_until(within, || {
            found = self.child.next_event();
            found.is_some() || self.child.is_over()
        });
        found
    }

    /// Waits until the child has ended and is started no more, at most this long; drives the node
    /// meanwhile. Whether it has. [`Child::last_exit`] says how.
    pub fn wait_end(&self, within: Duration) -> bool {
        self.peer.wait_until(within, || self.child.is_over())
    }
}

impl Deref for ChildPeer {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}
