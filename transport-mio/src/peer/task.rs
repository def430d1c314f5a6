//! One message on its way to its handlers.

use std::sync::Arc;

use switchboard_os::app::{Arrived, NOBODY, Order, cx, weigh};
use switchboard_os::{Attachment, Clock};
use switchboard_proto::registry::Calls;
use switchboard_proto::{Answer, NamespaceId, Ticket};

use super::Peer;
use super::handler::{Callee, Job, Run};

/// What is left to be done for a message when it was taken out of the node.
#[derive(Debug)]
pub(super) struct Task {
    namespace: NamespaceId,
    shown: Arc<str>,
    message: Arc<Arrived>,
    calls: Calls<Arc<Callee>>,
    pub(super) ticket: Option<Ticket>,
    pub(super) order: Option<Order>,
    /// Whether one has it already who only takes events.
    queued: bool,
}

impl Task {
    /// Gives those who only take events theirs. Where nobody else is called, that is the answer, and
    /// nothing is left to be done.
    pub(super) fn new(job: Job) -> Result<Self, (Option<Ticket>, Answer<Attachment>)> {
        let (mut handlers, mut queued) = (0, false);
        for (_, callee) in &job.calls {
            match &callee.run {
                Run::Handler(_) => handlers += 1,
                Run::Queue(queue) => {
                    queue.push(Arc::clone(&job.message));
                    queued = true;
                }
            }
        }
        if handlers == 0 {
            let answer = if queued { Answer::nothing() } else { NOBODY };
            return Err((job.ticket, answer));
        }
        Ok(Self {
            namespace: job.namespace,
            shown: job.shown,
            message: job.message,
            calls: job.calls,
            ticket: job.ticket,
            order: job.order,
            queued,
        })
    }

    /// Whether all its handlers were quick when they were last called.
    pub(super) fn is_quick(&self) -> bool {
        self.calls.iter().all(|(_, callee)| match &callee.run {
            Run::Handler(handler) => handler.pace().is_quick(),
            Run::Queue(_) => true,
        })
    }

    /// Calls the handlers, in the order of their registration.
    pub(super) fn run(self, peer: Peer) -> Answer<Attachment> {
        let cx = cx(peer.at(self.namespace, self.shown), self.message);
        let mut told = self.queued.then(Answer::nothing);
        // Where nobody waits for the answer, nobody asks how long it takes.
        let clock = || self.ticket.map(|_| Clock.now());
        let mut begin = clock();
        for (_, callee) in self.calls {
            let Run::Handler(handler) = &callee.run else {
                continue;
            };
            // One that was taken out since this message came, also by an earlier one of its
            // handlers, is not called.
            if callee.is_removed() {
                continue;
            }
            let answer = handler.call(&cx);
            let end = clock();
            if let (Some(begin), Some(end)) = (begin, end) {
                handler.pace().took(end.saturating_sub(begin));
            }
            begin = end;
            told = Some(weigh(told, answer));
        }
        told.unwrap_or(NOBODY)
    }
}
