//! Frames that have come: link-local ones to the parts of the link, others to their conversation
//! or, on a hub, on their way.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::Node;
use super::runs::Lead;
use crate::id::{InstanceId, LinkId, RequestId};
use crate::inbox::{Destination, Item, ItemKind};
use crate::link::rx::Received;
use crate::message::{Failure, Fate, Outcome, Payload, Receipt};
use crate::output::Event;
use crate::talk::inbound::Assembled;
use crate::talk::outbound::MarkOfUnsent;
use crate::talk::{Breach, Order, Place};
use crate::wire::flow::{MAX_FLOW, reply_flow};
use crate::wire::{
    AskBody, BlockedBody, CancelBody, CloseCode, FailedBody, Frame, Header, Kind, MarkBody,
    RawEvent, RawRequest, ReceiptBody, ReclaimBody, Refusal, RefusedBody, ReplyBody, SliceBody,
    VoidBody, WireError, flags,
};

/// Payloads up to this size are copied out of what was read, so that a kept message does not keep
/// a whole read alive.
const COPY_BELOW: usize = 4 * 1024;

/// A message's body with what came with it, whether it came in one frame or in slices.
struct Content<F> {
    from: InstanceId,
    sequence: u64,
    flags: u8,
    place: Place,
    attachments: Vec<F>,
    lost: bool,
}

/// Why a frame of a conversation is not as it must be.
struct Fault {
    code: CloseCode,
    rule: &'static str,
}

impl Fault {
    const fn new(rule: &'static str) -> Self {
        let code = CloseCode::ProtocolViolation;
        Self { code, rule }
    }
}

impl From<WireError> for Fault {
    fn from(_: WireError) -> Self {
        Self::new("a frame's body is not what its kind says")
    }
}

impl From<Breach> for Fault {
    fn from(breach: Breach) -> Self {
        match breach {
            Breach::Overrun => Self {
                code: CloseCode::CreditOverrun,
                rule: "more was sent than credit, first contact or room allow",
            },
            Breach::BadSlice => Self::new("a slice does not fit its message"),
            Breach::Absurd => Self::new("it asks for credit or room that nobody could ever have"),
        }
    }
}

impl<F> Node<F> {
    /// A frame came. What is returned may be said of those that follow it too.
    pub(super) fn on_frame(&mut self, id: LinkId, received: Received<'_, F>) -> Option<Lead> {
        let header = received.frame.header;
        let Some(link) = self.links.get_mut(id) else {
            self.stats.attachments_dropped += received.attachments.len() as u64;
            return None;
        };
        if let Err(code) = link.life.frame(header.kind) {
            self.stats.attachments_dropped += received.attachments.len() as u64;
            self.close_link(id, code, "this frame may not come now");
            return None;
        }
        if header.kind.is_link_local() {
            self.stats.attachments_dropped += received.attachments.len() as u64;
            self.on_control(id, &received.frame);
            return None;
        }
        if self.leads_below(id) {
            return self.on_frame_from_below(id, received);
        }
        if self.uplink.is(id) {
            return self.on_frame_from_above(received);
        }
        self.stats.attachments_dropped += received.attachments.len() as u64;
        self.close_link(id, CloseCode::ProtocolViolation, "no such peer here");
        None
    }

    /// A frame of a conversation with this node.
    pub(super) fn on_talk_frame(&mut self, received: Received<'_, F>) -> Option<Lead> {
        let header = &received.frame.header;
        let source = header.source;
        let carried = received.attachments.len() as u64;
        if self.roster.is_gone(source) {
            self.stats.gone_dropped += 1;
            self.stats.attachments_dropped += carried;
            return None;
        }
        let talk = self.talk(source);
        if talk.broken {
            // Who asks begins a path, and may not have heard that there is nothing to resume.
            talk.accuses |= header.kind == Kind::ASK;
            self.touch_later(source);
            self.stats.broken_dropped += 1;
            self.stats.attachments_dropped += carried;
            return None;
        }
        let result = match header.kind.is_sequenced() {
            true => self.on_sequenced(received),
            false => {
                self.stats.attachments_dropped += carried;
                self.on_unsequenced(&received.frame).map(|()| None)
            }
        };
        let lead = result.unwrap_or_else(|Fault { code, rule }| {
            self.breach(source, code, rule);
            None
        });
        self.touch_later(source);
        lead
    }

    fn on_unsequenced(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let header = &frame.header;
        let source = header.source;
        let body = frame.body();
        match header.kind {
            Kind::MARK if header.flags & flags::BROKEN != 0 => self.accused(source),
            Kind::MARK => {
                let mark = MarkBody::decode(body)?;
                self.on_mark(source, &mark, header.flags & flags::ANSWER != 0)?;
            }
            Kind::BLOCKED => {
                let blocked = BlockedBody::decode(body)?;
                self.on_blocked(source, header.flow, &blocked)?;
            }
            Kind::ASK => {
                let path = AskBody::decode(body)?.path;
                self.talk(source).inb.ask(path);
            }
            Kind::RECLAIM => {
                let limit = ReclaimBody::decode(body)?.limit;
                let Self {
                    talks,
                    pool,
                    outbox,
                    ..
                } = self;
                if let Some(talk) = talks.get_mut(source) {
                    let before = talk.out.buffered();
                    talk.out.on_reclaim(header.flow, limit, pool);
                    outbox.released(before, talk.out.buffered());
                }
            }
            _ => self.stats.unknown_kinds += 1,
        }
        Ok(())
    }

    fn on_mark(&mut self, source: InstanceId, mark: &MarkBody, answer: bool) -> Result<(), Fault> {
        let result = self.with_out(source, |out, pool| out.on_mark(mark, answer, pool));
        if let Some(Err(MarkOfUnsent)) = result {
            return Err(Fault::new("it acknowledged what was never sent"));
        }
        self.tell_sendable(source);
        Ok(())
    }

    fn on_sequenced(&mut self, received: Received<'_, F>) -> Result<Option<Lead>, Fault> {
        let Received {
            frame,
            attachments,
            lost,
        } = received;
        let header = &frame.header;
        let len = frame.whole().len();
        let Some(talk) = self.talks.get_mut(header.source) else {
            self.stats.attachments_dropped += attachments.len() as u64;
            return Ok(None);
        };
        let order = talk.inb.order(self.now, header, len);
        if order != Order::Next {
            match order {
                Order::Old => self.stats.duplicates += 1,
                _ => self.stats.gaps += 1,
            }
            self.stats.attachments_dropped += attachments.len() as u64;
            return Ok(None);
        }
        match header.kind {
            Kind::EVENT | Kind::REQUEST | Kind::REPLY | Kind::FAILED => {
                self.on_message(&frame, attachments, lost)
            }
            Kind::SLICE => self.on_slice(&frame, len, attachments, lost).map(|()| None),
            kind => {
                self.stats.attachments_dropped += attachments.len() as u64;
                match kind {
                    Kind::VOID => self.on_void(header, frame.body()),
                    _ => self.on_verdict(header, frame.body()),
                }
                .map(|()| None)
            }
        }
    }

    /// A message that came in one frame, which is the next of its conversation.
    fn on_message(
        &mut self,
        frame: &Frame<'_>,
        attachments: Vec<F>,
        lost: bool,
    ) -> Result<Option<Lead>, Fault> {
        let header = &frame.header;
        let len = frame.whole().len();
        let Self { talks, books, .. } = self;
        let Some(talk) = talks.get_mut(header.source) else {
            self.stats.attachments_dropped += attachments.len() as u64;
            return Ok(None);
        };
        if matches!(header.kind, Kind::REPLY | Kind::FAILED)
            && let Some(credit) = talk.inb.whole_reply(header, len)
        {
            self.requests.reserved -= credit;
            self.outbox.retry_soon();
            let content = Content {
                from: header.source,
                sequence: header.sequence,
                flags: header.flags,
                place: Place::default(),
                attachments,
                lost,
            };
            let payload = |len| payload(frame, len);
            let (kind, flow) = (header.kind, header.flow);
            return self
                .on_answer(kind, flow, true, content, frame.body(), payload)
                .map(|()| None);
        }
        let place = match talk.inb.admit(header, len, books) {
            Ok(place) => place,
            Err(breach) => {
                self.stats.attachments_dropped += attachments.len() as u64;
                return Err(breach.into());
            }
        };
        let content = Content {
            from: header.source,
            sequence: header.sequence,
            flags: header.flags,
            place,
            attachments,
            lost,
        };
        match header.kind {
            Kind::EVENT => self.on_event(content, frame),
            Kind::REQUEST => self.on_request(content, frame).map(|()| None),
            kind => {
                let payload = |len| payload(frame, len);
                self.on_answer(kind, header.flow, false, content, frame.body(), payload)
                    .map(|()| None)
            }
        }
    }

    fn on_slice(
        &mut self,
        frame: &Frame<'_>,
        len: usize,
        attachments: Vec<F>,
        lost: bool,
    ) -> Result<(), Fault> {
        let header = frame.header;
        let carried = attachments.len() as u64;
        let slice = SliceBody::decode(frame.body(), header.flags & flags::FIRST != 0);
        let slice = slice.inspect_err(|_| self.stats.attachments_dropped += carried)?;
        let Self { talks, books, .. } = self;
        let Some(talk) = talks.get_mut(header.source) else {
            self.stats.attachments_dropped += carried;
            return Ok(());
        };
        let whole = talk
            .inb
            .slice(&header, len, &slice, attachments, lost, books);
        if whole.is_err() || slice.first.is_none() {
            // Only the first slice hands them on.
            self.stats.attachments_dropped += carried;
        }
        let Some(whole) = whole? else {
            return Ok(());
        };
        // The wish for the next large message may have come before the end of this one.
        self.credit_is_free();
        self.on_assembled(&header, whole)
    }

    fn on_assembled(&mut self, header: &Header, whole: Assembled<F>) -> Result<(), Fault> {
        let content = Content {
            from: header.source,
            sequence: header.sequence,
            flags: whole.flags,
            place: whole.place,
            attachments: whole.attachments,
            lost: whole.lost,
        };
        let body = whole.body;
        match Kind(whole.kind) {
            Kind::EVENT => {
                let Ok(event) = RawEvent::cut(&body) else {
                    return Err(self.spoil(content));
                };
                let payload = body.slice(body.len() - event.payload.len()..);
                self.event_arrived(content, &event, payload.into())?;
                Ok(())
            }
            Kind::REQUEST => {
                let Ok(request) = RawRequest::cut(&body) else {
                    return Err(self.spoil(content));
                };
                let payload = body.slice(body.len() - request.payload.len()..);
                self.request_arrived(content, &request, payload.into())
            }
            kind @ (Kind::REPLY | Kind::FAILED) => {
                let payload = |len| body.slice(body.len() - len..).into();
                self.on_answer(kind, header.flow, false, content, &body, payload)
            }
            _ => Err(self.spoil(content)),
        }
    }

    /// A message whose body makes no sense: what it held is free again.
    fn spoil(&mut self, content: Content<F>) -> Fault {
        self.stats.attachments_dropped += content.attachments.len() as u64;
        self.taken(content.from, content.place);
        Fault::new("a frame's body is not what its kind says")
    }

    fn on_void(&mut self, header: &Header, body: &[u8]) -> Result<(), Fault> {
        let cost = VoidBody::decode(body)?.cost;
        let Self { talks, books, .. } = self;
        if let Some(talk) = talks.get_mut(header.source) {
            let dropped = talk.inb.void(header, cost, books)?;
            self.stats.attachments_dropped += dropped.len() as u64;
        }
        self.credit_is_free();
        Ok(())
    }

    fn on_event(&mut self, content: Content<F>, frame: &Frame<'_>) -> Result<Option<Lead>, Fault> {
        let Ok(event) = RawEvent::cut(frame.body()) else {
            return Err(self.spoil(content));
        };
        let payload = payload(frame, event.payload.len());
        let leads = content.leads_run();
        let to = self.event_arrived(content, &event, payload)?;
        Ok(leads.then_some(Lead::Events {
            to,
            codec: event.codec,
            alike: frame.whole().len() - event.payload.len(),
        }))
    }

    fn on_request(&mut self, content: Content<F>, frame: &Frame<'_>) -> Result<(), Fault> {
        let Ok(request) = RawRequest::cut(frame.body()) else {
            return Err(self.spoil(content));
        };
        let payload = payload(frame, request.payload.len());
        self.request_arrived(content, &request, payload)
    }

    fn event_arrived(
        &mut self,
        content: Content<F>,
        event: &RawEvent<'_>,
        payload: Payload,
    ) -> Result<Destination, Fault> {
        let receipt = match content.flags {
            bits if bits & flags::WANT_HANDLED != 0 => Receipt::Handled,
            bits if bits & flags::WANT_DELIVERED != 0 => Receipt::Delivered,
            _ => Receipt::None,
        };
        let Ok((to, name)) = self.inbox.find(event.names, false) else {
            return Err(self.spoil(content));
        };
        let item = content.item(name, event.codec, payload, ItemKind::Event(receipt));
        self.arrive(to, item);
        Ok(to)
    }

    fn request_arrived(
        &mut self,
        content: Content<F>,
        request: &RawRequest<'_>,
        payload: Payload,
    ) -> Result<(), Fault> {
        let Ok((to, name)) = self.inbox.find(request.names, true) else {
            return Err(self.spoil(content));
        };
        let deadline = match request.remaining {
            0 => None,
            millis => self
                .now
                .checked_add(Duration::from_millis(u64::from(millis))),
        };
        let kind = ItemKind::Request {
            request: request.request,
            deadline,
            reply_credit: request.reply_credit,
        };
        let item = content.item(name, request.codec, payload, kind);
        self.arrive(to, item);
        Ok(())
    }

    fn arrive(&mut self, to: Destination, item: Item<F>) {
        match self.inbox.arrive(to, item) {
            Ok(Some(id)) => self.emit(Event::Incoming(id)),
            Ok(None) => {}
            Err((item, reason)) => self.refuse_items([(item, reason)]),
        }
    }

    /// The answer to a request of this node. `ended` if its flow is so already.
    fn on_answer(
        &mut self,
        kind: Kind,
        flow: u32,
        ended: bool,
        content: Content<F>,
        body: &[u8],
        payload: impl FnOnce(usize) -> Payload,
    ) -> Result<(), Fault> {
        let (request, outcome) = match kind {
            Kind::REPLY => {
                let Ok(reply) = ReplyBody::decode(body) else {
                    return Err(self.spoil(content));
                };
                let outcome = Outcome::Reply {
                    codec: reply.codec,
                    payload: payload(reply.payload.len()),
                    attachments: content.attachments,
                    attachments_lost: content.lost,
                };
                (reply.request, outcome)
            }
            _ => {
                let Ok(failed) = FailedBody::decode(body) else {
                    return Err(self.spoil(content));
                };
                self.stats.attachments_dropped += content.attachments.len() as u64;
                let outcome = Outcome::Failed(Failure {
                    code: failed.code,
                    message: failed.message.into(),
                    detail: failed.detail.into(),
                });
                (failed.request, outcome)
            }
        };
        if !ended {
            self.taken(content.from, content.place);
        }
        if flow != reply_flow(request) {
            self.drop_outcome(outcome);
            return Err(Fault::new("an answer must use the flow of its request"));
        }
        if !ended {
            self.close_reply(content.from, flow);
        }
        self.finish_reply(content.from, RequestId(request), outcome);
        Ok(())
    }

    /// Frames that say what became of something this node sent, or that it is not wanted any more.
    fn on_verdict(&mut self, header: &Header, body: &[u8]) -> Result<(), Fault> {
        let from = header.source;
        match header.kind {
            Kind::REFUSED => {
                let refused = RefusedBody::decode(body)?;
                let reason = Refusal::from_u8(refused.reason).unwrap_or(Refusal::Closed);
                if header.flow > MAX_FLOW {
                    if header.flow != reply_flow(refused.of) {
                        return Err(Fault::new("an answer must use the flow of its request"));
                    }
                    self.close_reply(from, header.flow);
                    let outcome = Outcome::NotRun {
                        reason,
                        message: None,
                    };
                    self.finish_reply(from, RequestId(refused.of), outcome);
                } else if let Some(message) = self.talk(from).out.receipt(refused.of, true) {
                    let fate = Fate::Refused {
                        reason,
                        message: None,
                    };
                    self.emit(Event::Fate { message, fate });
                }
            }
            Kind::RECEIPT => {
                let receipt = ReceiptBody::decode(body)?;
                let fate = match receipt.level {
                    1 => Fate::Delivered,
                    2 => Fate::Handled,
                    _ => Fate::HandlerFailed,
                };
                if let Some(message) = self.talk(from).out.receipt(receipt.of, true) {
                    self.emit(Event::Fate { message, fate });
                }
            }
            Kind::CANCEL => {
                let request = CancelBody::decode(body)?.request;
                self.cancelled_by(from, request);
            }
            kind if kind.is_critical() => return Err(Fault::new("an unknown critical kind")),
            _ => self.stats.unknown_kinds += 1,
        }
        Ok(())
    }
}

/// The last `len` bytes of a frame's body.
fn payload(frame: &Frame<'_>, len: usize) -> Payload {
    let body = frame.body();
    let at = body.len() - len;
    match len <= COPY_BELOW {
        true => Payload::copy_from(&body[at..]),
        false => frame.share_body_from(at).into(),
    }
}

impl<F> Content<F> {
    /// Whether more of the kind that follow it may be taken with it: nothing but its payload is its
    /// own.
    fn leads_run(&self) -> bool {
        self.flags == 0 && self.place.on_credit && self.attachments.is_empty() && !self.lost
    }

    fn item(self, event: Arc<str>, codec: u8, payload: Payload, kind: ItemKind) -> Item<F> {
        Item {
            from: self.from,
            sequence: self.sequence,
            place: self.place,
            event,
            codec,
            payload,
            attachments: self.attachments,
            lost: self.lost,
            kind,
        }
    }
}
