//! What the application takes, and what it has taken and not answered.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;
use slab::Slab;

use super::Node;
use crate::id::{InstanceId, NamespaceId, Ticket};
use crate::inbox::{Item, ItemKind, Removal};
use crate::message::{Delivery, DeliveryKind, Receipt, Sender};
use crate::output::Event;
use crate::talk::Draft;
use crate::wire::{Header, Kind, ReceiptBody, Refusal, RefusedBody};

/// What the application has taken and not answered.
#[derive(Debug)]
pub(super) struct Serving {
    slots: Slab<Taken>,
    serial: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    serial: u32,
    pub(super) from: InstanceId,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
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

    pub(super) fn get(&self, ticket: Ticket) -> Option<Taken> {
        let (at, serial) = place_of(ticket);
        let taken = self.slots.get(at)?;
        (taken.serial == serial).then_some(*taken)
    }

    pub(super) fn remove(&mut self, ticket: Ticket) {
        let (at, _) = place_of(ticket);
        if self.get(ticket).is_some() {
            self.slots.remove(at);
        }
    }

    /// Whether something of this instance was taken and not answered.
    pub(super) fn serves(&self, from: InstanceId) -> bool {
        self.slots.iter().any(|(_, taken)| taken.from == from)
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
    /// Whether [`Node::recv`] has a request next: only for that the time must be right. With an
    /// earlier one, events are taken as well.
    pub fn next_is_request(&self, namespace: NamespaceId) -> bool {
        self.inbox.next_is_request(namespace)
    }

    /// The next message of a namespace. Taking it gives its sender credit again.
    pub fn recv(
        &mut self,
        now: crate::time::Instant,
        namespace: NamespaceId,
    ) -> Option<Delivery<F>> {
        self.left = 0;
        self.pass_time(now);
        // Looked at first, so that what is returned is made in its place and not moved there.
        match self.inbox.run_in_front(namespace).is_some() {
            true => self.recv_of_run(namespace),
            false => self.recv_single(namespace),
        }
    }

    /// The next message of a namespace, if it is one of a run: what is the same for all of them was
    /// looked up when they came, so little is left to do.
    #[inline]
    fn recv_of_run(&mut self, namespace: NamespaceId) -> Option<Delivery<F>> {
        let run = self.inbox.run_in_front(namespace)?;
        let (from, row) = (run.events.from, run.row());
        let (event, codec) = (run.events.event.clone(), run.events.codec);
        let payload = run.payload();
        run.pass();
        self.inbox.took(from, row.cost);
        self.taken_of_run(from, row);
        self.stats.delivered += 1;
        Some(Delivery {
            from: self.sender(from),
            namespace,
            event,
            codec,
            payload,
            attachments: Vec::new(),
            attachments_lost: false,
            kind: DeliveryKind::Event(None),
        })
    }

    /// The next message of a namespace, where it is none of a run.
    fn recv_single(&mut self, namespace: NamespaceId) -> Option<Delivery<F>> {
        self.settle_tally();
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

    #[inline]
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

    /// Who that is, as the roster says now.
    #[inline]
    fn sender(&mut self, instance: InstanceId) -> Sender {
        let edition = self.roster.edition();
        match self.last_sender {
            Some((seen, sender)) if seen == edition && sender.instance == instance => sender,
            _ => self.look_up_sender(instance),
        }
    }

    #[cold]
    fn look_up_sender(&mut self, instance: InstanceId) -> Sender {
        let peer = self.roster.by_instance(instance);
        let sender = Sender {
            instance,
            peer: peer.map(|peer| (peer.id, peer.generation)),
        };
        self.last_sender = Some((self.roster.edition(), sender));
        sender
    }

    pub(super) fn send_receipt(&mut self, to: InstanceId, of: u64, level: u8) {
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

    /// One of the node's own frames: no message of the application.
    pub(super) fn draft(
        &mut self,
        header: Header,
        payload: Bytes,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Box<Draft<F>> {
        let mut draft = self.pool.take(header.flow);
        header.encode(0, &mut draft.head);
        body(&mut draft.head);
        draft.payload = payload;
        draft.note_length();
        draft.charge = draft.len() as u32;
        draft
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
        let queued = self.inbox.remove(from, Removal::Request(request));
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
        let queued = self.inbox.remove(from, Removal::Requests);
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

fn place_of(ticket: Ticket) -> (usize, u32) {
    let at = (ticket.0 & u64::from(u32::MAX)) as usize;
    (at, (ticket.0 >> 32) as u32)
}
