//! What the application answers.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::Node;
use super::serve::What;
use crate::id::{InstanceId, Ticket};
use crate::message::{Answer, Failure, ReplyError, ReplyRefusal, SendRefusal};
use crate::time::Instant;
use crate::wire::{FailedBody, Header, Kind, Refusal, RefusedBody, ReplyBody, flags, flow};

impl<F> Node<F> {
    /// Answers a request, or an event whose sender wants to know that it was handled.
    ///
    /// Attachments of a reply wait for the requester as long as the reply does, ready or not: who
    /// asked is there to take them. They count as `Config::attachments` and `attachments_pair` say;
    /// beyond the latter the reply waits until the requester's node has what went before. An event
    /// brings no answer back, so those of its answer are dropped and counted.
    ///
    /// # Errors
    ///
    /// It was answered before, or its requester has ended; or its attachments cannot reach the
    /// requester, and then it can be answered again without. The answer comes back whole.
    pub fn reply(
        &mut self,
        now: Instant,
        ticket: Ticket,
        answer: Answer<F>,
    ) -> Result<(), ReplyError<F>> {
        self.advance(now);
        let Some(taken) = self.serving.get(ticket) else {
            let reason = ReplyRefusal::Stale;
            return Err(ReplyError { reason, answer });
        };
        if let (What::Request { .. }, Err(reason)) =
            (taken.what, self.check_answer(taken.from, &answer))
        {
            let reason = ReplyRefusal::Attachments(reason);
            return Err(ReplyError { reason, answer });
        }
        self.serving.remove(ticket);
        match taken.what {
            What::Event(sequence) => {
                let level = match &answer {
                    Answer::Reply { .. } => 2,
                    Answer::Failed(_) | Answer::NotRun(_) => 3,
                };
                self.stats.attachments_dropped += answer.attachments().len() as u64;
                self.send_receipt(taken.from, sequence, level);
            }
            What::Request { request, credit } => {
                self.send_answer(taken.from, request, credit, answer);
            }
        }
        self.touch_later(taken.from);
        Ok(())
    }

    fn check_answer(&self, to: InstanceId, answer: &Answer<F>) -> Result<(), SendRefusal> {
        match answer.attachments().len() {
            0 => Ok(()),
            _ if to == self.me.instance => Ok(()),
            count => self.check_carriage(to, count),
        }
    }

    fn send_answer(&mut self, to: InstanceId, request: u64, credit: u32, answer: Answer<F>) {
        match answer {
            Answer::Reply {
                codec,
                payload,
                attachments,
            } => {
                let too_large = self
                    .roster
                    .by_instance(to)
                    .is_some_and(|peer| payload.len() as u64 > peer.message_cap);
                if too_large {
                    self.stats.attachments_dropped += attachments.len() as u64;
                    let failure = Failure {
                        code: 0,
                        message: String::from("the reply is larger than the requester accepts"),
                        detail: String::new(),
                    };
                    return self.send_failure(to, request, credit, &failure);
                }
                let inline = payload.len() <= crate::link::tx::COPY_MAX;
                if inline
                    && attachments.is_empty()
                    && self.answer_along(to, request, credit, codec, &payload)
                {
                    return;
                }
                let body = ReplyBody {
                    request,
                    codec,
                    payload: if inline { &payload } else { &[] },
                };
                let rest = match inline {
                    true => Bytes::new(),
                    false => payload.clone(),
                };
                let encode = |head: &mut Vec<u8>| body.encode(head);
                self.push_answer(
                    to,
                    (request, credit),
                    Kind::REPLY,
                    rest,
                    attachments,
                    encode,
                );
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
        let encode = |head: &mut Vec<u8>| body.encode(head);
        let of = (request, credit);
        self.push_answer(to, of, Kind::FAILED, Bytes::new(), Vec::new(), encode);
    }

    /// Lets a small reply join what waits for nothing but the link.
    fn answer_along(
        &mut self,
        to: InstanceId,
        request: u64,
        credit: u32,
        codec: u8,
        payload: &[u8],
    ) -> bool {
        let Some(talk) = self.talks.get_mut(to).filter(|talk| !talk.broken) else {
            return false;
        };
        let mut header = Header::new(Kind::REPLY, self.me.instance, to);
        header.flags = flags::LAST;
        header.flow = flow::reply_flow(request);
        let body = ReplyBody {
            request,
            codec,
            payload,
        };
        talk.out.join_reply(&header, &body, credit, &mut self.pool)
    }

    /// Opens the flow of an answer, with the credit that its request brought, and puts it in.
    fn push_answer(
        &mut self,
        to: InstanceId,
        (request, credit): (u64, u32),
        kind: Kind,
        payload: Bytes,
        attachments: Vec<F>,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut header = Header::new(kind, self.me.instance, to);
        header.flags = flags::LAST;
        header.attachments = attachments.len() as u8;
        header.flow = flow::reply_flow(request);
        let mut draft = self.draft(header, payload, body);
        draft.attachments = (!attachments.is_empty()).then(|| Arc::new(attachments));
        self.with_out(to, |out, _| {
            out.open_reply_flow(header.flow, u64::from(credit));
        });
        self.enqueue(to, draft);
    }

    /// Says that a request was not run.
    pub(super) fn send_refusal(&mut self, to: InstanceId, request: u64, reason: Refusal) {
        let id = flow::reply_flow(request);
        let dropped = self.with_out(to, |out, pool| {
            out.answers_first(pool);
            out.close_reply_flow(id)
        });
        self.stats.attachments_dropped += dropped.unwrap_or_default();
        let mut header = Header::new(Kind::REFUSED, self.me.instance, to);
        header.flow = id;
        let body = RefusedBody {
            of: request,
            reason: reason.to_u8(),
            detail: 0,
        };
        self.push_urgent(header, |head| body.encode(head));
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
