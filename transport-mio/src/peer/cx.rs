//! What a handler knows of the message that it was called for.

use switchboard_os::app::Host;
use switchboard_proto::codec::CodecTable;

use super::Peer;

/// The circumstances of one message; a handler that takes one is `|cx: Cx, message: M| ..`. It may
/// wait with [`Cx::peer`](switchboard_os::app::Cx::peer).
pub type Cx = switchboard_os::app::Cx<Peer>;

impl Host for Peer {
    fn codecs(&self) -> &CodecTable {
        &self.shared().codecs
    }

    fn namespace(&self) -> &str {
        self.namespace()
    }
}
