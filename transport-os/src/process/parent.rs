//! The channel to the parent, ready for an engine.

use std::env;
use std::io;

use switchboard_proto::PeerName;

use super::channel::ChannelEnd;
use super::inherited::{InheritError, parent_channel};
use crate::{AdoptError, Stream};

/// The variable by which a parent tells a child under which name it is known.
pub const ENV_NAME: &str = "SWITCHBOARD_NAME";

/// The child's end of the channel to its parent.
#[derive(Debug)]
pub struct ParentLink {
    /// To be adopted by the engine as the link to the parent
    /// ([`Side::Parent`](crate::engine::Side::Parent)).
    pub stream: Stream,
    /// The name that the parent gives this process, for
    /// [`Config::name`](switchboard_proto::Config::name).
    pub name: Option<PeerName>,
}

/// Takes the channel to the parent that started this process; see
/// [`take_parent_channel`](super::take_parent_channel) for what happens to stdin and stdout.
///
/// # Errors
///
/// [`InheritError::NoParent`] if the program was started by hand, and else what stands in the way.
pub fn parent_link() -> Result<ParentLink, InheritError> {
    let adopted = match parent_channel()? {
        ChannelEnd::Socket(socket) => Stream::unix(socket),
        // The other half of each description is the parent's, but this half may be a sibling's too.
        ChannelEnd::Pipes { read, write } => Stream::pipes(read, write),
    };
    let stream = adopted.map_err(io::Error::other)?;
    // A name that cannot be one is no reason to fail: the hub gives an id in any case.
    let name = env::var(ENV_NAME).ok();
    let name = name.and_then(|name| PeerName::new(&name));
    Ok(ParentLink { stream, name })
}

impl ChannelEnd {
    /// The parent's end of the channel to a child, as [`Child::take_channel`] gives it, as a stream.
    ///
    /// # Errors
    ///
    /// None that a channel as it was made can give; the descriptors come back.
    ///
    /// [`Child::take_channel`]: super::Child::take_channel
    pub fn into_stream(self) -> Result<Stream, AdoptError> {
        match self {
            Self::Socket(socket) => Stream::unix(socket),
            Self::Pipes { read, write } => Stream::private_pipes(read, write),
        }
    }
}
