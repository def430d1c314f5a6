//! One message that has come.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use switchboard_proto::codec::{CodecError, CodecId, CodecTable, Decode};
use switchboard_proto::{Delivery, DeliveryKind, Instant, Payload, Sender, Ticket};

use super::cancel::Cancel;
use crate::Attachment;

/// One message that has come, as all who are called for it share it.
pub struct Arrived {
    pub(super) from: Sender,
    pub(super) name: Arc<str>,
    codec: CodecId,
    payload: Payload,
    /// Where there are any.
    descriptors: Mutex<Option<Box<Descriptors>>>,
    pub(super) lost: bool,
    /// How long the requester waits.
    pub(super) until: Option<Instant>,
    pub(super) cancel: Cancel,
}

#[derive(Default)]
struct Descriptors {
    /// Those that came and are not taken.
    came: VecDeque<Attachment>,
    /// Those that go with the reply.
    reply: Vec<Attachment>,
}

/// What a message wants, beside being heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wants {
    pub(super) request: bool,
    /// What an answer is for.
    pub(super) ticket: Option<Ticket>,
}

impl Arrived {
    pub(super) fn new(delivery: Delivery<Attachment>, now: Instant) -> (Arc<Self>, Wants) {
        let (request, ticket, remaining) = match delivery.kind {
            DeliveryKind::Event(ticket) => (false, ticket, None),
            DeliveryKind::Request { ticket, remaining } => (true, Some(ticket), remaining),
        };
        let came = delivery.attachments;
        let descriptors = (!came.is_empty()).then(|| {
            Box::new(Descriptors {
                came: came.into(),
                reply: Vec::new(),
            })
        });
        let arrived = Self {
            from: delivery.from,
            name: delivery.event,
            codec: CodecId(delivery.codec),
            payload: delivery.payload,
            descriptors: Mutex::new(descriptors),
            lost: delivery.attachments_lost,
            until: remaining.and_then(|remaining| now.checked_add(remaining)),
            cancel: Cancel::default(),
        };
        (Arc::new(arrived), Wants { request, ticket })
    }

    /// Its value.
    pub(super) fn decode<M: Decode>(&self, codecs: &CodecTable) -> Result<M, CodecError> {
        codecs.decode(self.codec, &self.name, &self.payload)
    }

    pub(super) fn take_fd(&self) -> Option<OwnedFd> {
        let came = self.descriptors().as_mut()?.came.pop_front()?;
        came.into_owned().ok()
    }

    pub(super) fn attach(&self, descriptor: Attachment) {
        let mut descriptors = self.descriptors();
        descriptors.get_or_insert_default().reply.push(descriptor);
    }

    pub(super) fn take_reply(&self) -> Vec<Attachment> {
        let mut descriptors = self.descriptors();
        let descriptors = descriptors.as_mut();
        descriptors.map_or_else(Vec::new, |descriptors| mem::take(&mut descriptors.reply))
    }

    fn descriptors(&self) -> MutexGuard<'_, Option<Box<Descriptors>>> {
        // Only moves run under it.
        let descriptors = self.descriptors.lock();
        descriptors.unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrived")
            .field("from", &self.from)
            .field("name", &self.name)
            .field("bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}
