//! One message on its way to its handlers.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use switchboard_os::Clock;
use switchboard_os::app::{Arrived, NOBODY, Order, cx, weigh};
use switchboard_proto::{Answer, NamespaceId, Ticket};

use super::Peer;
use super::handler::{Callee, Job, Run};

/// What is left to be done for a message when it was taken out of the node.
#[derive(Debug)]
pub(super) struct Task {
    namespace: NamespaceId,
    shown: Arc<str>,
    message: Arc<Arrived>,
    handlers: Vec<Arc<Callee>>,
    pub(super) ticket: Option<Ticket>,
    pub(super) order: Option<Order>,
    /// What those have answered that only take events.
    answer: Option<Answer<OwnedFd>>,
}

impl Task {
    /// Gives those who only take events theirs. Where nobody else is called, that is the answer, and
    /// nothing is left to be done.
    pub(super) fn new(job: Job) -> Result<Self, (Option<Ticket>, Answer<OwnedFd>)> {
        let mut handlers = Vec::new();
        let mut answer = None;
        for (_, callee) in job.calls {
            match &callee.run {
                Run::Handler(_) => handlers.push(callee),
                Run::Queue(queue) => {
                    queue.push(Arc::clone(&job.message));
                    answer = Some(Answer::nothing());
                }
            }
        }
        if handlers.is_empty() {
            return Err((job.ticket, answer.unwrap_or(NOBODY)));
        }
        Ok(Self {
            namespace: job.namespace,
            shown: job.shown,
            message: job.message,
            handlers,
            ticket: job.ticket,
            order: job.order,
            answer,
        })
    }

    /// Whether all its handlers were quick when they were last called.
    pub(super) fn is_quick(&self) -> bool {
        self.handlers.iter().all(|callee| match &callee.run {
            Run::Handler(handler) => handler.pace().is_quick(),
            Run::Queue(_) => true,
        })
    }

    /// Calls the handlers, in the order of their registration.
    pub(super) fn run(self, peer: &Peer) -> Answer<OwnedFd> {
        let cx = cx(peer.at(self.namespace, self.shown), self.message);
        let mut told = self.answer;
        let mut begin = Clock.now();
        for callee in self.handlers {
            let Run::Handler(handler) = &callee.run else {
                continue;
            };
            // One that was taken out since this message came, also by an earlier one of its
            // handlers, is not called.
            if callee.is_removed() {
                continue;
            }
            let answer = handler.call(&cx);
            let end = Clock.now();
            handler.pace().took(end.saturating_sub(begin));
            begin = end;
            told = Some(weigh(told, answer));
        }
        told.unwrap_or(NOBODY)
    }
}
