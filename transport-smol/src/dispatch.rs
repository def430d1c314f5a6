//! One message in the hands of those that are called for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use smallvec::SmallVec;
use switchboard_os::Attachment;
use switchboard_os::app::{Arrived, NOBODY, Order, cx, guard, weigh};
use switchboard_proto::{Answer, Ticket};

use crate::cx::Cx;
use crate::handler::Running;
use crate::peer::Peer;
use crate::service::{Callee, Job, Run};
use crate::shared::Handle;

/// Calls the handlers of one message in the order of their registration; each is called when those
/// before it have returned or wait for something. Its own end is that of the last.
pub(crate) struct Dispatch {
    /// Goes with what came of the message.
    cx: Option<Cx>,
    message: Arc<Arrived>,
    steps: SmallVec<[Step; 2]>,
    ticket: Option<Ticket>,
    order: Option<Order>,
    answer: Option<Answer<Attachment>>,
}

enum Step {
    Waits(Arc<Callee>),
    Runs(Running),
    Over,
}

/// What came of a message.
pub(crate) struct Done {
    pub(crate) ticket: Option<Ticket>,
    pub(crate) answer: Answer<Attachment>,
    pub(crate) order: Option<Order>,
    /// Keeps the peer until the answer is given, also where this was its last handle. Not to be
    /// dropped under the lock.
    pub(crate) cx: Option<Cx>,
}

impl Dispatch {
    pub(crate) fn new(handle: &Arc<Handle>, job: Job) -> Self {
        let peer = Peer::of(Arc::clone(handle), job.namespace, job.shown);
        let calls = job.calls.into_iter();
        Self {
            cx: Some(cx(peer, Arc::clone(&job.message))),
            message: job.message,
            steps: calls.map(|(_, callee)| Step::Waits(callee)).collect(),
            ticket: job.ticket,
            order: job.order,
            answer: None,
        }
    }

    fn add(&mut self, answer: Answer<Attachment>) {
        self.answer = Some(weigh(self.answer.take(), answer));
    }

    /// Calls one; what it is to be waited for comes back, or what it has answered.
    fn begin(&self, callee: &Callee) -> Result<Running, Option<Answer<Attachment>>> {
        // One that an earlier one of this message has taken out is not called.
        if callee.is_removed() {
            return Err(None);
        }
        match &callee.run {
            Run::Handler(handler) => {
                // It goes with the end, after which nobody is called.
                let cx = self.cx.clone().ok_or(None)?;
                guard(|| handler.start(cx)).map_err(Some)
            }
            Run::Stream(queue) => {
                if let Some(reader) = queue.push(Arc::clone(&self.message)) {
                    reader.wake();
                }
                Err(Some(Answer::nothing()))
            }
        }
    }
}

impl Future for Dispatch {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Done> {
        let this = &mut *self;
        for at in 0..this.steps.len() {
            if let Step::Waits(callee) = &this.steps[at] {
                let callee = Arc::clone(callee);
                this.steps[at] = match this.begin(&callee) {
                    Ok(running) => Step::Runs(running),
                    Err(answer) => {
                        answer.into_iter().for_each(|answer| this.add(answer));
                        Step::Over
                    }
                };
            }
            let Step::Runs(running) = &mut this.steps[at] else {
                continue;
            };
            match guard(|| running.as_mut().poll(cx)) {
                Ok(Poll::Pending) => continue,
                Ok(Poll::Ready(answer)) | Err(answer) => this.add(answer),
            }
            let over = std::mem::replace(&mut this.steps[at], Step::Over);
            if let Err(panicked) = guard(|| drop(over)) {
                this.add(panicked);
            }
        }
        if this.steps.iter().any(|step| matches!(step, Step::Runs(_))) {
            return Poll::Pending;
        }
        Poll::Ready(Done {
            ticket: this.ticket,
            answer: this.answer.take().unwrap_or(NOBODY),
            order: this.order.take(),
            cx: this.cx.take(),
        })
    }
}
