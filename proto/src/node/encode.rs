//! A message as a frame, and back where the frame was never committed.

use alloc::borrow::Cow;
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
    ) -> Draft<F> {
        let mut head = self.pool.take();
        let kind = match how.request {
            true => Kind::REQUEST,
            false => Kind::EVENT,
        };
        let mut header = Header::new(kind, self.me.instance, instance);
        header.flags = how.bits;
        header.attachments = message.attachments.len() as u8;
        header.flow = message.namespace.0 + 1;
        header.encode(0, &mut head);
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
            .encode(&mut head),
            false => EventBody {
                namespace,
                event: &message.event,
                codec: message.codec,
                remaining: 0,
                payload,
            }
            .encode(&mut head),
        }
        let rest = if inline {
            Bytes::new()
        } else {
            message.payload
        };
        let length = (head.len() + rest.len() - Header::LENGTH_FIELD) as u32;
        head[..Header::LENGTH_FIELD].copy_from_slice(&length.to_be_bytes());
        let attached = !message.attachments.is_empty();
        Draft {
            id,
            charge: (head.len() + rest.len()) as u32,
            counts: 1,
            head,
            payload: rest,
            attachments: attached.then(|| Arc::new(message.attachments)),
            flow: header.flow,
            deadline: how.deadline,
            target: Some(message.target),
        }
    }

    /// Rebuilds the message of a frame that was never committed.
    pub(super) fn decode(&self, draft: Draft<F>) -> Option<(MessageId, Message<F>, How)> {
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
