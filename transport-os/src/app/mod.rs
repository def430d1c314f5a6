//! What the handles of all drivers have in common: what a handler is told and answers with, what a
//! message is while it is put together, and what a reply brings.
//!
//! An application meets these under the names of its driver; a driver uses the functions here.

mod cancel;
mod cx;
mod draft;
mod handler;
mod reply;
mod setup;
mod words;

pub use cancel::{Cancel, Cancelled};
pub use cx::{Circumstances, Cx, cx};
pub use draft::{Draft, NotMade, Wrong};
pub use handler::{OfContext, OfMessage, RegisterError, answer, guard, read};
pub use reply::{Answered, FromReply};
pub use setup::{BadName, Setup};

/// The handle of a driver, as far as what handlers are given needs it.
pub trait Host: Clone {
    /// Which codecs there are.
    fn codecs(&self) -> &switchboard_proto::codec::CodecTable;

    /// Its namespace, as people write it: `_` is the default one.
    fn namespace(&self) -> &str;
}
