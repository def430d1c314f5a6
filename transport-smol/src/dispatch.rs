//! One message in the hands of those that are called for it.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use smallvec::SmallVec;
use switchboard_os::app::{cx, guard};
use switchboard_proto::codec::CodecId;
use switchboard_proto::{Answer, Payload, Ticket};

use crate::cx::Cx;
use crate::events::Arrived;
use crate::handler::Running;
use crate::peer::Peer;
use crate::service::{Entry, Job, OrderKey, Run};
use crate::shared::Handle;

/// Calls the handlers of one message in the order of their registration; each is called when those
/// before it have returned or wait for something. Its own end is that of the last.
pub(crate) struct Dispatch {
    cx: Cx,
    codec: CodecId,
    payload: Payload,
    steps: SmallVec<[Step; 2]>,
    ticket: Option<Ticket>,
    order: Option<OrderKey>,
    answer: Option<Answer<OwnedFd>>,
}

enum Step {
    Waits(Entry),
    Runs(Running),
    Over,
}

/// What came of a message.
pub(crate) struct Done {
    pub(crate) ticket: Option<Ticket>,
    pub(crate) answer: Answer<OwnedFd>,
    pub(crate) order: Option<OrderKey>,
    /// Keeps the peer until the answer is given, also where this was its last handle. Not to be
    /// dropped under the lock.
    pub(crate) cx: Cx,
}

impl Dispatch {
    pub(crate) fn new(handle: &Arc<Handle>, job: Job) -> Self {
        let peer = Peer::of(Arc::clone(handle), job.namespace, job.namespace_name);
        Self {
            cx: cx(peer, job.of),
            codec: job.codec,
            payload: job.payload,
            steps: job.calls.into_iter().map(Step::Waits).collect(),
            ticket: job.ticket,
            order: job.order,
            answer: None,
        }
    }

    /// A failure stands whatever the others return.
    fn add(&mut self, answer: Answer<OwnedFd>) {
        if !matches!(self.answer, Some(Answer::Failed(_))) {
            self.answer = Some(answer);
        }
    }

    fn begin(&self, entry: &Entry) -> Result<Option<Running>, Answer<OwnedFd>> {
        let registered = &*entry.0;
        // One that an earlier one of this message has removed is not called; a `once` has left the
        // registry for this very call.
        if registered.removed.load(Ordering::Acquire) {
            return Ok(None);
        }
        match &registered.run {
            Run::Handler(handler) => {
                guard(|| Some(handler.start(self.cx.clone(), self.codec, &self.payload)))
            }
            Run::Stream(queue) => {
                let reader = queue.push(Arrived {
                    cx: self.cx.clone(),
                    codec: self.codec,
                    payload: self.payload.clone(),
                });
                if let Some(reader) = reader {
                    reader.wake();
                }
                Ok(None)
            }
        }
    }
}

impl Future for Dispatch {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Done> {
        let this = &mut *self;
        for at in 0..this.steps.len() {
            if let Step::Waits(entry) = &this.steps[at] {
                let entry = entry.clone();
                this.steps[at] = match this.begin(&entry) {
                    Ok(Some(running)) => Step::Runs(running),
                    Ok(None) => Step::Over,
                    Err(panicked) => {
                        this.add(panicked);
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
            answer: this.answer.take().unwrap_or_else(Answer::nothing),
            order: this.order.take(),
            cx: this.cx.clone(),
        })
    }
}
