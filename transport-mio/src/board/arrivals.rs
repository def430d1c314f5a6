//! What comes to a board, one after the other.

use std::sync::Arc;

use switchboard_os::Attachment;
use switchboard_os::app::State;
use switchboard_os::engine::EngineFault;
use switchboard_proto::{Delivery, DeliveryKind, Event, Outcome, RequestId};

use super::Board;
use crate::incoming::{Content, Incoming, IncomingEvent, IncomingRequest, ReplyOutcome};

impl Board {
    /// The next thing that came or happened. Take until `None`.
    pub fn poll_incoming(&mut self) -> Option<Incoming> {
        loop {
            if let Some(event) = self.next_event() {
                match self.translate(event) {
                    Some(incoming) => return Some(incoming),
                    None => continue,
                }
            }
            if let Some(fault) = self.engine.next_fault() {
                return Some(Incoming::State(State::Fault(Arc::new(fault))));
            }
            let Some(delivery) = self.next_delivery() else {
                if self.flush_pending() && self.has_incoming() {
                    continue;
                }
                return None;
            };
            let (content, kind) = Content::of(delivery, Arc::clone(&self.codecs));
            return Some(match kind {
                DeliveryKind::Request { ticket, remaining } => Incoming::Request(IncomingRequest {
                    content,
                    ticket,
                    remaining,
                    attached: Vec::new(),
                }),
                DeliveryKind::Event(ticket) => Incoming::Event(IncomingEvent { content, ticket }),
            });
        }
    }

    /// The next event of the node. News of messages are kept for [`Board::next_delivery`].
    pub(crate) fn next_event(&mut self) -> Option<Event<Attachment>> {
        loop {
            match self.engine.next_event()? {
                Event::Incoming(namespace) => self.fresh.push_back(namespace),
                event => return Some(event),
            }
        }
    }

    pub(crate) fn next_fault(&mut self) -> Option<EngineFault> {
        self.engine.next_fault()
    }

    /// The next message. Taking it allows its sender to send more.
    pub(crate) fn next_delivery(&mut self) -> Option<Delivery<Attachment>> {
        while let Some(&namespace) = self.fresh.front() {
            if self.engine.has_unwritten() && self.engine.must_flush(self.engine.now()) {
                // Whoever takes this one may need long for it.
                self.flush();
            }
            let delivery = self.engine.recv(namespace);
            if delivery.is_some() {
                self.unflushed = true;
                return delivery;
            }
            self.fresh.pop_front();
        }
        None
    }

    pub(crate) fn has_incoming(&self) -> bool {
        !self.fresh.is_empty() || self.engine.has_events()
    }

    /// In how many namespaces something waits to be taken.
    pub(crate) fn waiting_namespaces(&self) -> usize {
        self.fresh.len()
    }

    pub(crate) fn reply_outcome(
        &mut self,
        request: RequestId,
        outcome: Outcome<Attachment>,
    ) -> ReplyOutcome {
        ReplyOutcome {
            outcome,
            name: self.asked.remove(&request).unwrap_or_default(),
            codecs: Arc::clone(&self.codecs),
        }
    }

    /// `None`: it is for nobody but this board.
    fn translate(&mut self, event: Event<Attachment>) -> Option<Incoming> {
        Some(match event {
            Event::Outcome { request, outcome } => Incoming::Reply {
                id: request,
                outcome: self.reply_outcome(request, outcome),
            },
            Event::Fate { message, fate } => Incoming::Fate { id: message, fate },
            Event::Cancelled(ticket) => Incoming::Cancelled(ticket),
            Event::Sendable(target) => Incoming::Sendable(target),
            Event::Drained { clean } => Incoming::Drained { clean },
            other => Incoming::State(State::of(&other)?),
        })
    }
}
