//! A message that was given to the node, while somebody waits for it.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::lead::Lead;
use crate::ops::{OpId, Progress};
use crate::shared::Shared;

/// A message that was submitted and that somebody waits for. Dropping it gives the message up.
#[derive(Debug)]
pub(crate) struct Pending {
    shared: Arc<Shared>,
    op: Option<OpId>,
    lead: Lead,
}

impl Pending {
    pub(crate) fn new(shared: Arc<Shared>, op: OpId) -> Self {
        Self {
            shared,
            op: Some(op),
            lead: Lead::default(),
        }
    }

    /// Just submitted, with this waker: whoever is the first to wait begins to drive.
    pub(crate) fn begin(&mut self, cx: &mut Context<'_>) -> Poll<Progress> {
        match self.shared.take_lead(&mut self.lead, cx.waker()) {
            true => self.poll(cx),
            false => Poll::Pending,
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Progress> {
        let Some(op) = self.op else {
            // Polled again after its end, which a future need not bear; it never ends again.
            return Poll::Pending;
        };
        match self.shared.poll_op(op, &mut self.lead, cx.waker()) {
            Some(progress) => {
                self.op = None;
                Poll::Ready(progress)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.shared.leave_lead(&mut self.lead, false);
        if let Some(op) = self.op {
            let left = self.shared.with(|state| {
                let crate::shared::State { ops, engine, .. } = state;
                ops.abandon(op, engine)
            });
            drop(left);
        }
    }
}
