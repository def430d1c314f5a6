//! Control bodies off the hot path: CBOR maps with integer keys. Unknown keys are skipped.
//!
//! Each key is written once, in rising order, and a value that is `None` has no key: encoding what
//! was decoded gives the same bytes, less the keys that this version does not know.

mod attach;
mod declare;
mod hello;
mod known;
mod link;
mod roster;

pub use attach::{Attach, AttachRefusal, AttachRefused, Attached, Detach};
pub use declare::{Declare, Declared, NamespaceDeclaration};
pub use hello::Hello;
pub use known::{Known, KnownMore, KnownPeer};
pub use link::{Close, Ping, Returned};
pub use roster::{RosterGone, RosterPeer, RosterUpdate};
