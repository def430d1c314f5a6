//! What the application takes, and what it answers.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use slab::Slab;

use super::Node;
use crate::id::{InstanceId, MessageId, NamespaceId, Ticket};
use crate::inbox::{Item, ItemKind};
use crate::message::{Answer, Delivery, DeliveryKind, Failure, Receipt, Sender};
use crate::output::Event;
use crate::talk::{Draft, Place};
use crate::wire::{
    FailedBody, Header, Kind, ReceiptBody, Refusal, RefusedBody, ReplyBody, flags, flow,
};

/// The ticket was answered before, or its requester has ended: the answer is dropped and counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody waits for this answer any more: it was given before, or its requester has ended")]
pub struct StaleTicket;

/// What the application has taken and not answered.
#[derive(Debug)]
pub(super) struct Serving {
    slots: Slab<Taken>,
    serial: u32,
}

#[derive(Debug)]
struct Taken {
    serial: u32,
    from: InstanceId,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// An event whose sender wants to know that it was handled, by its sequence.
    Event(u64),
    Request {
        request: u64,
        credit: u32,
    },
}

impl Serving {
    pub(super) fn new() -> Self {
        Self {
            slots: Slab::new(),
            serial: 0,
        }
    }

    fn insert(&mut self, from: InstanceId, what: What) -> Ticket {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let at = self.slots.insert(Taken { serial, from, what });
        Ticket(u64::from(serial) << 32 | at as u64)
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Taken> {
        let at = (ticket.0 & u64::from(u32::MAX)) as usize;
        let serial = (ticket.0 >> 32) as u32;
        self.slots.get(at).filter(|taken| taken.serial == serial)?;
        self.slots.try_remove(at)
    }

    fn of(&self, from: InstanceId) -> Vec<(Ticket, Option<u64>)> {
        let all = self.slots.iter().filter(|(_, taken)| taken.from == from);
        all.map(|(at, taken)| {
            let ticket = Ticket(u64::from(taken.serial) << 32 | at as u64);
            let request = match taken.what {
                What::Request { request, .. } => Some(request),
                What::Event(_) => None,
            };
            (ticket, request)
        })
        .collect()
    }
}

impl<F> Node<F> {
    /// The next message of a namespace. Taking it gives its sender credit again.
    pub fn recv(
        &mut self,
        now: crate::time::Instant,
        namespace: NamespaceId,
    ) -> Option<Delivery<F>> {
        self.advance(now);
        loop {
            let item = self.inbox.next(namespace)?;
            if let ItemKind::Request {
                deadline: Some(deadline),
                ..
            } = item.kind
                && deadline <= self.now
            {
                // Its requester has given it up by now: work that nobody waits for is not begun.
                self.refuse_items([(item, Refusal::Expired)]);
                continue;
            }
            self.taken(item.from, item.place);
            return Some(self.deliver(namespace, item));
        }
    }

    fn deliver(&mut self, namespace: NamespaceId, item: Item<F>) -> Delivery<F> {
        self.stats.delivered += 1;
        let kind = match item.kind {
            ItemKind::Event(Receipt::None) => DeliveryKind::Event(None),
            ItemKind::Event(Receipt::Delivered) => {
                self.send_receipt(item.from, item.sequence, 1);
                DeliveryKind::Event(None)
            }
            ItemKind::Event(Receipt::Handled) => {
                let what = What::Event(item.sequence);
                DeliveryKind::Event(Some(self.serving.insert(item.from, what)))
            }
            ItemKind::Request {
                request,
                deadline,
                reply_credit,
            } => DeliveryKind::Request {
                ticket: self.serving.insert(
                    item.from,
                    What::Request {
                        request,
                        credit: reply_credit,
                    },
                ),
                remaining: deadline.map(|deadline| deadline.saturating_since(self.now)),
            },
        };
        Delivery {
            from: self.sender(item.from),
            namespace,
            event: item.event,
            codec: item.codec,
            payload: item.payload,
            attachments: item.attachments,
            attachments_lost: item.lost,
            kind,
        }
    }

    fn sender(&self, instance: InstanceId) -> Sender {
        let peer = self.roster.by_instance(instance);
        Sender {
            instance,
            peer: peer.map(|peer| (peer.id, peer.generation)),
        }
    }

    /// Answers a request, or an event whose sender wants to know that it was handled.
    ///
    /// # Errors
    ///
    /// It was answered before, or its requester has ended. The answer is dropped.
    pub fn reply(
        &mut self,
        now: crate::time::Instant,
        ticket: Ticket,
        answer: Answer,
    ) -> Result<(), StaleTicket> {
        self.advance(now);
        let taken = self.serving.remove(ticket).ok_or(StaleTicket)?;
        match taken.what {
            What::Event(sequence) => {
                let level = match answer {
                    Answer::Reply { .. } => 2,
                    Answer::Failed(_) | Answer::NotRun(_) => 3,
                };
                self.send_receipt(taken.from, sequence, level);
            }
            What::Request { request, credit } => {
                self.send_answer(taken.from, request, credit, answer);
            }
        }
        self.touch(taken.from);
        Ok(())
    }

    fn send_answer(&mut self, to: InstanceId, request: u64, credit: u32, answer: Answer) {
        match answer {
            Answer::Reply { codec, payload } => {
                let too_large = self
                    .roster
                    .by_instance(to)
                    .is_some_and(|peer| payload.len() as u64 > peer.message_cap);
                if too_large {
                    let failure = Failure {
                        code: 0,
                        message: String::from("the reply is larger than the requester accepts"),
                        detail: String::new(),
                    };
                    return self.send_failure(to, request, credit, &failure);
                }
                let inline = payload.len() <= crate::link::tx::COPY_MAX;
                let body = ReplyBody {
                    request,
                    codec,
                    payload: if inline { &payload } else { &[] },
                };
                let rest = if inline {
                    Bytes::new()
                } else {
                    payload.clone()
                };
                self.push_answer(to, request, Kind::REPLY, rest, |head| body.encode(head));
            }
            Answer::Failed(failure) => self.send_failure(to, request, credit, &failure),
            Answer::NotRun(reason) => self.send_refusal(to, request, reason),
        }
    }

    /// The texts of a failure are cut to what the request's credit carries in one frame.
    fn send_failure(&mut self, to: InstanceId, request: u64, credit: u32, failure: &Failure) {
        let room = (credit as usize).saturating_sub(Header::LEN + 64);
        let message = cut(&failure.message, room);
        let detail = cut(&failure.detail, room - message.len());
        let body = FailedBody {
            request,
            code: failure.code,
            message,
            detail,
        };
        self.push_answer(to, request, Kind::FAILED, Bytes::new(), |head| {
            body.encode(head);
        });
    }

    fn push_answer(
        &mut self,
        to: InstanceId,
        request: u64,
        kind: Kind,
        payload: Bytes,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut header = Header::new(kind, self.me.instance, to);
        header.flags = flags::LAST;
        header.flow = flow::reply_flow(request);
        self.push_frame(header, payload, body);
    }

    fn send_refusal(&mut self, to: InstanceId, request: u64, reason: Refusal) {
        let id = flow::reply_flow(request);
        self.with_out(to, |out, _| out.close_reply_flow(id));
        let mut header = Header::new(Kind::REFUSED, self.me.instance, to);
        header.flow = id;
        let body = RefusedBody {
            of: request,
            reason: reason.to_u8(),
            detail: 0,
        };
        self.push_urgent(header, |head| body.encode(head));
    }

    fn send_receipt(&mut self, to: InstanceId, of: u64, level: u8) {
        let header = Header::new(Kind::RECEIPT, self.me.instance, to);
        let body = ReceiptBody { of, level };
        self.push_urgent(header, |head| body.encode(head));
        self.touch(to);
    }

    /// Queues a frame that needs no credit of its flow.
    pub(super) fn push_urgent(&mut self, header: Header, body: impl FnOnce(&mut Vec<u8>)) {
        let mut draft = self.draft(header, Bytes::new(), body);
        draft.flow = 0;
        self.enqueue(header.destination, draft);
    }

    fn push_frame(&mut self, header: Header, payload: Bytes, body: impl FnOnce(&mut Vec<u8>)) {
        let draft = self.draft(header, payload, body);
        self.enqueue(header.destination, draft);
    }

    /// One of the node's own frames: no message of the application.
    fn draft(
        &mut self,
        header: Header,
        payload: Bytes,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Draft<F> {
        let mut head = self.pool.take();
        header.encode(0, &mut head);
        body(&mut head);
        let length = (head.len() + payload.len() - Header::LENGTH_FIELD) as u32;
        head[..Header::LENGTH_FIELD].copy_from_slice(&length.to_be_bytes());
        Draft {
            id: MessageId(0),
            charge: (head.len() + payload.len()) as u32,
            counts: 0,
            head,
            payload,
            attachments: None,
            flow: header.flow,
            deadline: None,
            target: None,
        }
    }

    /// The application has taken what stands there, or never will: its credit is free again.
    pub(super) fn taken(&mut self, from: InstanceId, place: Place) {
        let Self { talks, books, .. } = self;
        match talks.get_mut(from) {
            Some(talk) => {
                talk.inb.take(place, books);
                self.touch(from);
            }
            None => self.take_departed(from, place),
        }
        if place.room > 0 || !self.outbox.starving.is_empty() {
            self.serve_starving();
        }
    }

    /// Refuses messages that nobody here handles, or that come too late.
    pub(super) fn refuse_items(&mut self, items: impl IntoIterator<Item = (Item<F>, Refusal)>) {
        for (item, reason) in items {
            self.stats.refused_arrivals += 1;
            self.stats.attachments_dropped += item.attachments.len() as u64;
            self.taken(item.from, item.place);
            if self.talks.get(item.from).is_none() {
                continue;
            }
            match item.kind {
                ItemKind::Event(Receipt::None) => {}
                ItemKind::Event(_) => {
                    let header = Header::new(Kind::REFUSED, self.me.instance, item.from);
                    let body = RefusedBody {
                        of: item.sequence,
                        reason: reason.to_u8(),
                        detail: 0,
                    };
                    self.push_urgent(header, |head| body.encode(head));
                }
                ItemKind::Request { request, .. } => {
                    self.send_refusal(item.from, request, reason);
                }
            }
            self.touch(item.from);
        }
    }

    /// The requester does not want the answer any more.
    pub(super) fn cancelled_by(&mut self, from: InstanceId, request: u64) {
        let queued = self.inbox.remove(|item| {
            item.from == from
                && matches!(item.kind, ItemKind::Request { request: it, .. } if it == request)
        });
        let was_queued = !queued.is_empty();
        self.refuse_items(queued.into_iter().map(|item| (item, Refusal::Cancelled)));
        let running = self.serving.of(from).into_iter();
        let running: Vec<Ticket> = running
            .filter(|(_, of)| *of == Some(request))
            .map(|(ticket, _)| ticket)
            .collect();
        if running.is_empty() && !was_queued {
            // It never came, or was answered: either way the requester may close its books.
            self.send_refusal(from, request, Refusal::Cancelled);
        }
        for ticket in running {
            self.emit(Event::Cancelled(ticket));
        }
    }

    /// The requester has ended: nobody waits for its answers.
    pub(super) fn requester_gone(&mut self, from: InstanceId) {
        let queued = self
            .inbox
            .remove(|item| item.from == from && matches!(item.kind, ItemKind::Request { .. }));
        for item in queued {
            self.stats.gone_dropped += 1;
            self.stats.attachments_dropped += item.attachments.len() as u64;
            self.taken(item.from, item.place);
        }
        for (ticket, request) in self.serving.of(from) {
            self.serving.remove(ticket);
            if request.is_some() {
                self.emit(Event::Cancelled(ticket));
            }
        }
    }
}

/// The longest beginning of a text with at most so many bytes.
fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
