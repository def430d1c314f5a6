//! One small blocking interface to every driver, so that a scenario is written once.
//!
//! It is as wide as the scenarios need and no wider: values are dynamic, handlers are plain
//! functions, and whatever waits gives up after [`PATIENCE`] with a word on what never came.

mod blocking;
mod calling;
mod failure;
mod how;
mod poll;
mod smol;

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use switchboard_os::Stream;
use switchboard_os::app::Answered;
use switchboard_os::engine::Side;
use switchboard_proto::codec::Value;
use switchboard_proto::fault::Fault;
use switchboard_proto::{Config, MessageId, Peer, PeerId, Sender};

pub use failure::{Failure, Why};
pub use how::How;

/// No wait of a test is longer; what takes this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a handler says: a value or a fault, or nothing at all, ever.
pub type Verdict = Option<Result<Value, Fault>>;

/// A handler.
pub type Handle = Box<dyn Fn(&dyn Call, Value) -> Verdict + Send + Sync>;

/// Waits for the outcome of a request.
pub type Outcome<'a> = Box<dyn FnOnce() -> Result<Value, Failure> + 'a>;

/// What a handler knows of its message.
pub trait Call {
    /// The peer that the message came to, in the message's namespace.
    fn app(&self) -> &dyn App;
    /// Who sent it.
    fn from(&self) -> Sender;
    /// In which namespace it came.
    fn namespace(&self) -> String;
    /// The next descriptor that came with it.
    fn take_fd(&self) -> Option<OwnedFd>;
    /// Sends one along with the reply.
    fn attach(&self, descriptor: OwnedFd);
}

/// One peer, in one namespace, under any driver.
pub trait App {
    /// The same peer in another namespace.
    ///
    /// # Errors
    ///
    /// The driver's words on why the name cannot be one.
    fn ns(&self, name: &str) -> Result<Box<dyn App>, String>;

    /// Calls the handler for each event and request of the name, for as long as the peer lives. It
    /// must not wait.
    ///
    /// # Errors
    ///
    /// The driver's words on why it was not registered.
    fn on(&self, name: &str, handle: Handle) -> Result<(), String>;

    /// As [`App::on`], for a handler that waits for other peers.
    ///
    /// # Errors
    ///
    /// As [`App::on`].
    fn on_waiting(&self, name: &str, handle: Handle) -> Result<(), String>;

    /// As [`App::on`], for one message only.
    ///
    /// # Errors
    ///
    /// As [`App::on`].
    fn once(&self, name: &str, handle: Handle) -> Result<(), String>;

    /// Says that every handler of this namespace is registered.
    fn ready(&self);

    /// Asks, and waits for the outcome.
    ///
    /// # Errors
    ///
    /// Why there is no reply.
    fn request(&self, name: &str, value: &Value, how: How) -> Result<Value, Failure>;

    /// As [`App::request`], with the descriptors that come with the reply.
    ///
    /// # Errors
    ///
    /// As there.
    fn request_with_fds(
        &self,
        name: &str,
        value: &Value,
        how: How,
    ) -> Result<Answered<Value>, Failure>;

    /// Asks; what is returned waits for the outcome.
    ///
    /// # Errors
    ///
    /// Why it was not accepted.
    fn begin(&self, name: &str, value: &Value, how: How) -> Result<Outcome<'_>, Failure>;

    /// Tells, and waits for room and for the receipt that was asked for.
    ///
    /// # Errors
    ///
    /// Why it was not sent, or did not arrive.
    fn emit(&self, name: &str, value: &Value, how: How) -> Result<MessageId, Failure>;

    /// Whether the peer is attached to a hub, or is one.
    fn is_connected(&self) -> bool;

    /// Leaves.
    fn close(&self);

    /// The peer's id.
    fn id(&self) -> Option<PeerId>;

    /// Who is there.
    fn peers(&self) -> Vec<Peer>;

    /// Sets the deadline of requests that give none.
    fn set_default_deadline(&self, deadline: Duration);

    /// Takes over a connection to a child or to the parent.
    fn adopt(&self, stream: Stream, side: Side);

    /// Goes on with whatever the driver has to do until the condition holds.
    ///
    /// # Panics
    ///
    /// It did not within [`PATIENCE`]; `what` says what never came.
    fn until(&self, what: &str, condition: &mut dyn FnMut() -> bool);

    /// Waits until everything accepted is taken, at most this long; what is not.
    fn drain(&self, within: Duration) -> Vec<MessageId>;

    /// Runs handlers for as long as the process lives.
    fn serve(&self) -> !;
}

impl fmt::Debug for dyn App + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "App({:?})", self.id())
    }
}

/// The drivers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// A board in a poll loop of the test's own.
    Poll,
    /// The blocking handle.
    Blocking,
    /// The async peer, on smol's executor.
    Smol,
}

/// Where a member finds its hub.
#[derive(Debug)]
pub enum Way {
    /// At an address.
    Address(String),
    /// At the other end of a connection that is there already.
    Over(Stream),
}

impl Driver {
    /// The hub at an address; also the address, with the real port.
    pub fn listen(self, address: &str, config: Config) -> (Box<dyn App>, String) {
        match self {
            Self::Poll => poll::listen(address, config),
            Self::Blocking => blocking::listen(address, config),
            Self::Smol => smol::listen(address, config),
        }
    }

    /// A member with a name. Not yet attached.
    pub fn join(self, way: Way, name: Option<&str>, config: Config) -> Box<dyn App> {
        match self {
            Self::Poll => poll::join(way, name, config),
            Self::Blocking => blocking::join(way, name, config),
            Self::Smol => smol::join(way, name, config),
        }
    }

    /// Its name, for the environment of a child.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Blocking => "blocking",
            Self::Smol => "smol",
        }
    }

    /// The driver of this name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Poll, Self::Blocking, Self::Smol]
            .into_iter()
            .find(|driver| driver.as_str() == name)
    }
}
