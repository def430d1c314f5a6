//! An event that was taken one by one.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use switchboard_proto::Sender;
use switchboard_proto::codec::{CodecError, Decode};

use super::{Arrived, Cx, Host, cx};

/// One event of a peer's `events`, which carries an `M`.
pub struct Received<P, M> {
    cx: Cx<P>,
    types: PhantomData<fn() -> M>,
}

/// An event that came to this peer.
pub fn received<P, M>(peer: P, message: Arc<Arrived>) -> Received<P, M> {
    Received {
        cx: cx(peer, message),
        types: PhantomData,
    }
}

impl<P: Host, M: Decode> Received<P, M> {
    /// The value.
    ///
    /// # Errors
    ///
    /// It is of another type, or in a codec that this peer does not have.
    pub fn decode(&self) -> Result<M, CodecError> {
        self.decode_as()
    }
}

impl<P: Host, M> Received<P, M> {
    /// The value as another type than that of `events`.
    ///
    /// # Errors
    ///
    /// As [`Received::decode`].
    pub fn decode_as<T: Decode>(&self) -> Result<T, CodecError> {
        self.cx.message.decode(self.cx.peer().codecs())
    }
}

impl<P, M> Received<P, M> {
    /// Who sent it.
    pub fn from(&self) -> Sender {
        self.cx.from()
    }

    /// The event's name.
    pub fn name(&self) -> &str {
        self.cx.name()
    }

    /// Its circumstances, with the descriptors that came with it.
    pub fn cx(&self) -> &Cx<P> {
        &self.cx
    }
}

impl<P, M> fmt::Debug for Received<P, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cx.message.fmt(f)
    }
}
