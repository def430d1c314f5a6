//! A message as a frame, and back where the frame was never committed.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::sync::Arc;

use bytes::Bytes;

use super::Node;
use super::outbox::How;
use crate::id::{InstanceId, MessageId};
use crate::link::tx::COPY_MAX;
use crate::message::Message;
use crate::talk::Draft;
use crate::wire::{EventBody, Header, Kind, RequestBody, flags};

impl<F> Node<F> {
    pub(super) fn encode(
        &mut self,
        instance: InstanceId,
        id: MessageId,
        message: Message<F>,
        how: How,
    ) -> Box<Draft<F>> {
        let mut draft = self.pool.take(message.namespace.0 + 1);
        let head = &mut draft.head;
        let kind = match how.request {
            true => Kind::REQUEST,
            false => Kind::EVENT,
        };
        let mut header = Header::new(kind, self.me.instance, instance);
        header.flags = how.bits;
        header.attachments = message.attachments.len() as u8;
        header.flow = draft.flow;
        header.encode(0, head);
        let inline = message.payload.len() <= COPY_MAX;
        let payload: &[u8] = if inline { &message.payload } else { &[] };
        let namespace = self.inbox.name(message.namespace).unwrap_or_default();
        match how.request {
            true => RequestBody {
                request: id.0,
                remaining: 0,
                reply_credit: self.config.reply_credit,
                namespace,
                event: &message.event,
                codec: message.codec,
                payload,
            }
            .encode(head),
            false => EventBody {
                namespace,
                event: &message.event,
                codec: message.codec,
                remaining: 0,
                payload,
            }
            .encode(head),
        }
        if !inline {
            draft.payload = message.payload;
        }
        if !message.attachments.is_empty() {
            draft.attachments = Some(Arc::new(message.attachments));
        }
        draft.note_length();
        draft.id = id;
        draft.charge = draft.len() as u32;
        draft.counts = 1;
        draft.deadline = how.deadline;
        draft.target = Some(message.target);
        draft
    }

    /// Rebuilds the message of a frame that was never committed.
    pub(super) fn decode(&self, draft: Box<Draft<F>>) -> Option<(MessageId, Message<F>, How)> {
        let target = draft.target?;
        let body = &draft.head[Header::LEN..];
        let request = Kind(draft.head[4]) == Kind::REQUEST;
        let (namespace, event, codec, inline) = match request {
            true => {
                let body = RequestBody::decode(body).ok()?;
                (body.namespace, body.event, body.codec, body.payload)
            }
            false => {
                let body = EventBody::decode(body).ok()?;
                (body.namespace, body.event, body.codec, body.payload)
            }
        };
        let payload = match draft.payload.is_empty() {
            true => Bytes::copy_from_slice(inline),
            false => draft.payload,
        };
        let message = Message {
            target,
            namespace: self.inbox.id_of(namespace)?,
            event: Cow::Owned(event.into()),
            codec,
            payload,
            attachments: draft
                .attachments
                .and_then(Arc::into_inner)
                .unwrap_or_default(),
        };
        let how = How {
            request,
            bits: draft.head[Header::FLAGS_AT] & (flags::WANT_DELIVERED | flags::WANT_HANDLED),
            deadline: draft.deadline,
            queue_attachments: true,
        };
        Some((draft.id, message, how))
    }
}
