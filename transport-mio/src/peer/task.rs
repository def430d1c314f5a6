//! One message on its way to its handlers.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use switchboard_os::Clock;
use switchboard_os::app::{Cancel, Circumstances, cx};
use switchboard_proto::codec::CodecId;
use switchboard_proto::registry::{Calls, Registry};
use switchboard_proto::wire::Refusal;
use switchboard_proto::{Answer, Delivery, DeliveryKind, Instant, NamespaceId, Payload, Ticket};

use super::Peer;
use super::handler::{AnyHandler, Callee};
use super::subs::Received;

/// What is left to be done for a message when it was taken out of the node.
pub(super) struct Task {
    namespace: NamespaceId,
    shown: Arc<str>,
    codec: CodecId,
    payload: Payload,
    handlers: Vec<Arc<dyn AnyHandler>>,
    circumstances: Circumstances,
    kind: DeliveryKind,
    queued: bool,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task")
            .field("circumstances", &self.circumstances)
            .finish_non_exhaustive()
    }
}

impl Task {
    /// Looks who is to be called, and gives those who only take events theirs.
    pub(super) fn new(
        delivery: Delivery<std::os::fd::OwnedFd>,
        now: Instant,
        shown: Arc<str>,
        registry: &mut Registry<Callee>,
    ) -> Self {
        let name = &*delivery.event;
        let (calls, until): (Calls<Callee>, _) = match delivery.kind {
            DeliveryKind::Event(_) => (registry.dispatch(&shown, name), None),
            DeliveryKind::Request { remaining, .. } => {
                let until = remaining.and_then(|remaining| now.checked_add(remaining));
                (registry.handle(&shown, name).into_iter().collect(), until)
            }
        };
        let payload = delivery.payload;
        let codec = CodecId(delivery.codec);
        let mut handlers = Vec::new();
        let mut queued = false;
        for (_, callee) in calls {
            match callee {
                Callee::Handler(handler) => handlers.push(handler),
                Callee::Queue(queue) => {
                    queued = true;
                    queue.push(Received {
                        from: delivery.from,
                        name: Arc::clone(&delivery.event),
                        codec,
                        payload: payload.clone(),
                    });
                }
            }
        }
        Self {
            namespace: delivery.namespace,
            shown,
            codec,
            payload,
            handlers,
            circumstances: Circumstances {
                from: delivery.from,
                name: delivery.event,
                descriptors: delivery.attachments,
                lost: delivery.attachments_lost,
                until,
                cancel: Arc::new(Cancel::default()),
            },
            kind: delivery.kind,
            queued,
        }
    }

    /// Whether something is to be run or answered.
    pub(super) fn has_calls(&self) -> bool {
        !self.handlers.is_empty() || self.ticket().is_some()
    }

    /// Whether a queue of events got one.
    pub(super) fn was_queued(&self) -> bool {
        self.queued
    }

    pub(super) fn ticket(&self) -> Option<Ticket> {
        match self.kind {
            DeliveryKind::Event(ticket) => ticket,
            DeliveryKind::Request { ticket, .. } => Some(ticket),
        }
    }

    pub(super) fn cancel_flag(&self) -> Option<(Ticket, Arc<Cancel>)> {
        let flag = Arc::clone(&self.circumstances.cancel);
        self.ticket().map(|ticket| (ticket, flag))
    }

    /// Whether all its handlers were quick when they were last called.
    pub(super) fn is_quick(&self) -> bool {
        self.handlers
            .iter()
            .all(|handler| handler.pace().is_quick())
    }

    /// Calls the handlers, in the order of their registration.
    pub(super) fn run(self, peer: &Peer) -> Answer<OwnedFd> {
        let cx = cx(peer.at(self.namespace, self.shown), self.circumstances);
        let request = matches!(self.kind, DeliveryKind::Request { .. });
        // An event that only a queue took was handled by that; a request that nobody has is not.
        let mut result = match request || !self.queued {
            true => Answer::NotRun(Refusal::NoHandler),
            false => Answer::nothing(),
        };
        let mut begin = Clock.now();
        for (at, handler) in self.handlers.iter().enumerate() {
            let answer = handler.call(&cx, self.codec, &self.payload);
            let end = Clock.now();
            handler.pace().took(end.saturating_sub(begin));
            begin = end;
            // The first failure of several listeners is what the sender is told.
            if at == 0 || matches!(result, Answer::Reply { .. }) {
                result = answer;
            }
        }
        result
    }
}
