//! What requests and events have in common while they are put together and wait.

use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll};

use switchboard_proto::codec::{CodecId, Encode};
use switchboard_proto::outgoing::{IntoTargets, Receivers};
use switchboard_proto::{Message, Target};

use crate::error::{NotSent, Reason};
use crate::ops::{OpId, Progress};
use crate::peer::Peer;
use crate::shared::Shared;

/// A message while it is put together. The first thing that is wrong with it is kept for its end.
#[derive(Debug)]
pub(crate) struct Draft {
    message: Message<OwnedFd>,
    receivers: Receivers,
    wrong: Option<Reason>,
}

impl Draft {
    pub(crate) fn new<M: Encode + ?Sized>(peer: &Peer, name: &str, data: &M) -> Self {
        let codecs = &peer.shared().codecs;
        let encoded = codecs.encode(peer.namespace(), name, None, data);
        let (codec, payload, wrong) = match encoded {
            Ok(encoded) => (encoded.codec, encoded.payload, None),
            Err(error) => (CodecId::RAW, bytes::Bytes::new(), Some(error.into())),
        };
        let message = Message {
            target: Target::Listeners,
            namespace: peer.namespace_id(),
            event: Cow::Owned(name.to_owned()),
            codec: codec.0,
            payload,
            attachments: Vec::new(),
        };
        Self {
            message,
            receivers: Receivers::new(),
            wrong,
        }
    }

    /// One that came back.
    pub(crate) fn again(message: Message<OwnedFd>) -> Self {
        let mut receivers = Receivers::new();
        // A target that was one is one.
        let wrong = receivers.add(&message.target).err().map(Reason::Target);
        if let Target::Many(audience) = &message.target {
            receivers.except(&audience.except);
            if audience.include_self {
                receivers.include_self();
            }
        }
        Self {
            message,
            receivers,
            wrong,
        }
    }

    pub(crate) fn to(&mut self, targets: impl IntoTargets) {
        if let Err(error) = self.receivers.add(&targets) {
            self.wrong.get_or_insert(Reason::Target(error));
        }
    }

    pub(crate) fn receivers(&mut self) -> &mut Receivers {
        &mut self.receivers
    }

    pub(crate) fn attach(&mut self, descriptor: OwnedFd) {
        self.message.attachments.push(descriptor);
    }

    pub(crate) fn finish(
        mut self,
        target: fn(Receivers) -> Target,
    ) -> Result<Message<OwnedFd>, NotSent> {
        if let Some(reason) = self.wrong {
            return Err(NotSent::unmade(reason, self.message.attachments));
        }
        self.message.target = target(self.receivers);
        Ok(self.message)
    }
}

/// A message that was submitted and that somebody waits for. Dropping it gives the message up.
#[derive(Debug)]
pub(crate) struct Pending {
    shared: Arc<Shared>,
    op: Option<OpId>,
}

impl Pending {
    pub(crate) fn new(shared: Arc<Shared>, op: OpId) -> Self {
        Self {
            shared,
            op: Some(op),
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Progress> {
        let Some(op) = self.op else {
            // Polled again after its end, which a future need not bear; it never ends again.
            return Poll::Pending;
        };
        let (progress, waker) = self.shared.look(|state| state.ops.poll(op, cx.waker()));
        drop(waker);
        match progress {
            Some(progress) => {
                self.op = None;
                Poll::Ready(progress)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(op) = self.op {
            let left = self.shared.with(|state| {
                let crate::shared::State { ops, engine, .. } = state;
                ops.abandon(op, engine)
            });
            drop(left);
        }
    }
}
