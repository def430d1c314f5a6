//! What the handles of all drivers have in common: what a handler is told and answers with, what a
//! message is while it is put together, and what a reply brings.
//!
//! An application meets these under the names of its driver; a driver uses the functions here.

mod arrived;
mod cancel;
mod connection;
mod cx;
mod draft;
mod error;
mod handler;
mod received;
mod reply;
mod service;
mod setup;
mod state;
mod stats;
mod sub;
mod words;

pub use arrived::Arrived;
pub use cancel::Cancelled;
pub use connection::{Connection, ConnectionError};
pub use cx::{Cx, cx};
pub use draft::{Draft, NotMade, Wrong};
pub use error::{JoinError, Reason, RequestError, SendError};
pub use handler::{NOBODY, OfContext, OfMessage, RegisterError, answer, guard, read, weigh};
pub use received::{Received, received};
pub use reply::{Answered, FromReply, read_outcome};
pub use service::{Callee, Former, Job, Order, Place, Service};
pub use setup::{BadName, Setup};
pub use state::{MOST_STATES, State};
pub use stats::{HandlerStats, Stats};
pub use sub::{Registration, Sub, sub};

/// The handle of a driver, as far as what handlers are given needs it.
pub trait Host: Clone {
    /// Which codecs there are.
    fn codecs(&self) -> &switchboard_proto::codec::CodecTable;

    /// Its namespace, as people write it: `_` is the default one.
    fn namespace(&self) -> &str;
}
