//! What a handler knows of the message that it was called for.

use switchboard_os::app::Host;
use switchboard_proto::codec::CodecTable;

use crate::peer::Peer;

pub use switchboard_os::app::Cancelled;

/// The circumstances of one message; a handler that takes one is `async |cx: Cx, message: M| ..`.
pub type Cx = switchboard_os::app::Cx<Peer>;

impl Host for Peer {
    fn codecs(&self) -> &CodecTable {
        &self.shared().codecs
    }

    fn namespace(&self) -> &str {
        self.namespace()
    }
}
