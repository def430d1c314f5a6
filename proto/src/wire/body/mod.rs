//! The bodies on the hot path: fixed fields and short strings, no CBOR.
//!
//! A body borrows from the frame it was read from, and nothing is allocated but its lists, each
//! after its count was checked against the bytes that are there. Every byte of a body has one
//! meaning: encoding what was decoded gives the same bytes.

mod credit;
mod message;
mod outcome;
mod path;
mod room;
mod slice;
mod stream;

pub use credit::{BlockedBody, Credit, MarkBody, ReclaimBody};
pub use message::{EventBody, ReplyBody, RequestBody};
pub(crate) use message::{RawEvent, RawNames, RawRequest};
pub use outcome::{CancelBody, FailedBody, ReceiptBody, RefusedBody};
pub use path::{AskBody, SwitchBody};
pub use room::{GapBody, GapRoom, RoomEventBody};
pub use slice::{SliceBody, SliceHead, VoidBody};
pub use stream::{StreamAbortBody, StreamEndBody};
