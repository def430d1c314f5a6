//! A message as a frame, and back where the frame was never committed.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::Node;
use super::outbox::How;
use crate::id::{InstanceId, MessageId, NamespaceId};
use crate::link::tx::COPY_MAX;
use crate::message::Message;
use crate::talk::Draft;
use crate::wire::{EventBody, Header, Kind, RequestBody, flags};

/// Where the number of a request stands in its frame.
const REQUEST_AT: usize = Header::LEN;

/// The head of the last message's frame, its names included. Messages come in runs, and the head of
/// the next one is mostly the same.
#[derive(Debug)]
pub(super) struct Stencil {
    head: Vec<u8>,
    source: InstanceId,
    to: InstanceId,
    namespace: Option<NamespaceId>,
    event: String,
    /// The event's name where the application gave it as a constant: the same constant need not be
    /// read again.
    constant: Option<&'static str>,
    codec: u8,
    request: bool,
    /// What a message counts beside its payload.
    room: u64,
}

impl Stencil {
    pub(super) const fn new() -> Self {
        Self {
            head: Vec::new(),
            source: InstanceId::NONE,
            to: InstanceId::NONE,
            namespace: None,
            event: String::new(),
            constant: None,
            codec: 0,
            request: false,
            room: 0,
        }
    }

    /// The frame up to the payload.
    #[inline]
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// What a message with this head takes of the send buffer at most, beside its payload.
    #[inline]
    pub(super) fn room(&self) -> u64 {
        self.room
    }

    /// Whether the last message had these names, which are known to be good then.
    #[inline]
    #[expect(
        clippy::ptr_arg,
        reason = "a constant is known by the place where it lies"
    )]
    pub(super) fn is_named(&self, namespace: NamespaceId, event: &Cow<'static, str>) -> bool {
        let same = match (event, self.constant) {
            (Cow::Borrowed(event), Some(constant)) if core::ptr::eq(*event, constant) => true,
            _ => self.event == **event,
        };
        same && self.namespace == Some(namespace)
    }

    /// Whether it is that of an event like this one, whose name is a constant, to whom the last
    /// message went.
    #[inline]
    pub(super) fn is_of<F>(&self, message: &Message<F>) -> bool {
        let Cow::Borrowed(event) = &message.event else {
            return false;
        };
        let same = self
            .constant
            .is_some_and(|constant| core::ptr::eq(*event, constant));
        same && !self.request
            && self.codec == message.codec
            && self.namespace == Some(message.namespace)
    }

    #[inline]
    pub(super) fn fits<F>(
        &self,
        source: InstanceId,
        to: InstanceId,
        message: &Message<F>,
        how: &How,
    ) -> bool {
        self.to == to
            && self.source == source
            && (self.codec, self.request) == (message.codec, how.request)
            && self.is_named(message.namespace, &message.event)
    }
}

impl<F> Node<F> {
    /// Makes the stencil that of this message.
    #[inline]
    pub(super) fn fit_stencil(&mut self, to: InstanceId, message: &Message<F>, how: &How) {
        if !self.stencil.fits(self.me.instance, to, message, how) {
            self.cut_stencil(to, message, how);
        }
    }

    /// A frame for its flow to see to.
    pub(super) fn encode(
        &mut self,
        instance: InstanceId,
        id: MessageId,
        message: Message<F>,
        how: How,
    ) -> Box<Draft<F>> {
        self.fit_stencil(instance, &message, &how);
        let mut draft = self.pool.take(message.namespace.0 + 1);
        let head = &mut draft.head;
        head.extend_from_slice(&self.stencil.head);
        head[Header::FLAGS_AT] = how.bits;
        head[Header::ATTACHMENTS_AT] = message.attachments.len() as u8;
        if how.request {
            head[REQUEST_AT..REQUEST_AT + 8].copy_from_slice(&id.0.to_be_bytes());
        }
        let inline = message.payload.len() <= COPY_MAX;
        if inline {
            head.extend_from_slice(&message.payload);
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

    #[cold]
    fn cut_stencil(&mut self, to: InstanceId, message: &Message<F>, how: &How) {
        let room = self.charge_of(message) - message.payload.len() as u64;
        let stencil = &mut self.stencil;
        stencil.source = self.me.instance;
        stencil.to = to;
        stencil.namespace = Some(message.namespace);
        stencil.codec = message.codec;
        stencil.request = how.request;
        let head = &mut stencil.head;
        head.clear();
        let kind = match how.request {
            true => Kind::REQUEST,
            false => Kind::EVENT,
        };
        let mut header = Header::new(kind, self.me.instance, to);
        header.flow = message.namespace.0 + 1;
        header.encode(0, head);
        let namespace = self.inbox.name(message.namespace).unwrap_or_default();
        match how.request {
            true => RequestBody {
                request: 0,
                remaining: 0,
                reply_credit: self.config.reply_credit,
                namespace,
                event: &message.event,
                codec: message.codec,
                payload: &[],
            }
            .encode(head),
            false => EventBody {
                namespace,
                event: &message.event,
                codec: message.codec,
                remaining: 0,
                payload: &[],
            }
            .encode(head),
        }
        stencil.room = room;
        stencil.event.clear();
        stencil.event.push_str(&message.event);
        stencil.constant = match message.event {
            Cow::Borrowed(event) => Some(event),
            Cow::Owned(_) => None,
        };
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
