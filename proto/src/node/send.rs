//! What the application sends: which instance it is for, whether there is room, and its end.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::outbox::{How, Parked, size_of};
use super::{Node, Timer};
use crate::group::{Peer, Presence};
use crate::id::{InstanceId, MessageId, RequestId};
use crate::link::tx::COPY_MAX;
use crate::message::{
    Audience, Fate, Message, Outcome, Receipt, RequestOptions, SendError, SendOptions, SendRefusal,
    Target, UnknownCause,
};
use crate::output::Event;
use crate::talk::{BufferPool, Draft, GivenUp, Outbound};
use crate::time::Instant;
use crate::wire::{CancelBody, EventBody, Header, Kind, Refusal, RequestBody, flags, flow, limits};

/// Requests of this node without an outcome, and ids.
#[derive(Debug)]
pub(super) struct Requests {
    pending: BTreeMap<u64, Pending>,
    next: u64,
    /// Credit for replies, set aside.
    pub(super) reserved: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// The instance that it is bound for, once it is in a conversation.
    pub(super) to: Option<InstanceId>,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            pending: BTreeMap::new(),
            next: 1,
            reserved: 0,
        }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = RequestId> + '_ {
        self.pending.keys().map(|id| RequestId(*id))
    }

    fn next_id(&mut self) -> MessageId {
        let id = self.next;
        self.next += 1;
        MessageId(id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// The request is bound to nobody again.
    pub(super) fn unbind(&mut self, id: MessageId) {
        if let Some(pending) = self.pending.get_mut(&id.0) {
            pending.to = None;
        }
    }

    pub(super) fn to(&self, instance: InstanceId) -> Vec<u64> {
        let all = self.pending.iter();
        all.filter(|(_, pending)| pending.to == Some(instance))
            .map(|(id, _)| *id)
            .collect()
    }
}

/// The limit that all receivers share.
const TOTAL: &str = "send_buffer_total";

/// Where a message can go now.
enum Way {
    To(InstanceId),
    Wait,
    Refuse(SendRefusal),
}

impl<F> Node<F> {
    /// Sends an event. `Ok` means accepted into a bounded buffer.
    ///
    /// # Errors
    ///
    /// The reason, with the whole message and its attachments.
    pub fn send(
        &mut self,
        now: Instant,
        message: Message<F>,
        options: SendOptions,
    ) -> Result<MessageId, SendError<F>> {
        self.advance(now);
        let deadline = options
            .expires
            .and_then(|after| self.now.checked_add(after));
        let how = How {
            request: false,
            bits: match options.receipt {
                Receipt::None => 0,
                Receipt::Delivered => flags::WANT_DELIVERED,
                Receipt::Handled => flags::WANT_HANDLED,
            },
            deadline,
            queue_attachments: options.queue_attachments,
        };
        let mut message = message;
        if options.include_self && matches!(message.target, Target::Everyone | Target::Listeners) {
            // Said in the target, so that it still holds when the message had to wait.
            message.target = Target::Many(Arc::new(Audience {
                targets: Vec::from([message.target]),
                except: Vec::new(),
                include_self: true,
            }));
        }
        match is_for_many(&message.target) {
            true => self.send_to_many(message, how),
            false => self.accept(message, how),
        }
    }

    /// Makes a request. It will have exactly one outcome.
    ///
    /// # Errors
    ///
    /// The reason, with the whole message and its attachments. A request that is refused here was
    /// never made and has no outcome.
    pub fn request(
        &mut self,
        now: Instant,
        message: Message<F>,
        options: RequestOptions,
    ) -> Result<RequestId, SendError<F>> {
        self.advance(now);
        let own = self
            .inbox
            .get_mut(message.namespace)
            .and_then(|namespace| namespace.deadline);
        let after = options.deadline.or(own).unwrap_or(self.config.deadline);
        if after.is_zero() {
            return self.refuse(SendRefusal::ZeroDeadline, message);
        }
        if is_for_many(&message.target) {
            return self.refuse(SendRefusal::NotOnePeer, message);
        }
        let how = How {
            request: true,
            bits: 0,
            deadline: match after {
                Duration::MAX => None,
                after => self.now.checked_add(after),
            },
            queue_attachments: options.queue_attachments,
        };
        let id = self.accept(message, how)?;
        Ok(RequestId(id.0))
    }

    fn refuse<T>(&mut self, reason: SendRefusal, message: Message<F>) -> Result<T, SendError<F>> {
        self.stats.refused += 1;
        Err(SendError { reason, message })
    }

    fn accept(&mut self, message: Message<F>, how: How) -> Result<MessageId, SendError<F>> {
        if let Err(reason) = self.check(&message) {
            return self.refuse(reason, message);
        }
        let way = self.way(&message, how);
        let room = match &way {
            Way::To(instance) => self.check_room(*instance, &message, how),
            Way::Wait if !message.attachments.is_empty() && !how.queue_attachments => {
                Err(SendRefusal::AttachmentsNotReady)
            }
            Way::Wait => self.check_parking(&message),
            Way::Refuse(reason) => Err(reason.clone()),
        };
        if let Err(reason) = room {
            return self.refuse(reason, message);
        }
        let id = self.requests.next_id();
        self.stats.accepted += 1;
        if how.request {
            self.requests.pending.insert(id.0, Pending { to: None });
        }
        self.set_deadline(id, how.deadline);
        match way {
            Way::To(instance) => self.bind(instance, id, message, how),
            _ => self.outbox.park(Parked { id, message, how }),
        }
        Ok(id)
    }

    fn set_deadline(&mut self, id: MessageId, deadline: Option<Instant>) {
        if deadline.is_some() {
            self.timers.set(Timer::Message(id), deadline);
        }
    }

    /// What can be judged of the message alone.
    fn check(&self, message: &Message<F>) -> Result<(), SendRefusal> {
        if self.closed || self.winding_down {
            return Err(SendRefusal::Closed);
        }
        if self.inbox.name(message.namespace).is_none() {
            return Err(SendRefusal::UnknownNamespace);
        }
        let name = message.event.as_bytes();
        if name.is_empty() || name.len() > limits::NAME || name.contains(&0) {
            return Err(SendRefusal::BadName);
        }
        let count = message.attachments.len();
        let most = usize::from(self.config.attachments);
        if count > most {
            return Err(SendRefusal::TooManyAttachments {
                count,
                limit: "attachments",
                value: most,
            });
        }
        Ok(())
    }

    /// Which instance the message is for, as far as this node can know.
    fn way(&self, message: &Message<F>, how: How) -> Way {
        if self.outbox.waiting(&message.target).1 > 0 {
            // What was accepted before goes first.
            return Way::Wait;
        }
        self.resolve(message, how)
    }

    fn resolve(&self, message: &Message<F>, how: How) -> Way {
        match self.resolve_target(message, how) {
            // Whether the next link to the hub carries attachments is not known before it is there.
            Way::To(instance)
                if !message.attachments.is_empty()
                    && instance != self.me.instance
                    && !self.is_connected() =>
            {
                Way::Wait
            }
            way => way,
        }
    }

    fn resolve_target(&self, message: &Message<F>, how: How) -> Way {
        let known = match &message.target {
            Target::Any => return self.resolve_any(message, how),
            Target::Hub | Target::Parent => match self.hub_instance() {
                Some(hub) => return Way::To(hub),
                None => return Way::Wait,
            },
            Target::Peer(id) => self.roster.by_id(*id),
            Target::Exact(id, generation) => {
                let peer = self.roster.by_id(*id);
                peer.filter(|peer| peer.generation == *generation)
            }
            Target::Named(name) => match self.roster.by_name(name) {
                Some(peer) => Some(peer),
                None => return Way::Wait,
            },
            Target::NamedExact(name, generation) => {
                let peer = self.roster.by_name(name);
                peer.filter(|peer| peer.generation == *generation)
            }
            Target::Everyone | Target::Listeners | Target::Many(_) => None,
        };
        match known {
            Some(peer) => self.reserve_way(peer.instance, how),
            None if self.roster.is_complete() => Way::Refuse(SendRefusal::NoSuchPeer),
            None => Way::Wait,
        }
    }

    fn resolve_any(&self, message: &Message<F>, how: How) -> Way {
        let namespace = self.inbox.name(message.namespace).unwrap_or_default();
        let best = self
            .roster
            .with_handler(namespace, &message.event)
            .map(|peer| {
                let pending = self.talks.get(peer.instance).map_or(0, |talk| talk.pending);
                (pending, peer.id, peer.instance)
            })
            .min();
        if let Some((_, _, instance)) = best {
            return self.reserve_way(instance, how);
        }
        match self.roster.is_without_handler(namespace, &message.event) {
            true => Way::Refuse(SendRefusal::NoHandler),
            false => Way::Wait,
        }
    }

    /// A request beyond the reserve for replies waits for earlier outcomes.
    fn reserve_way(&self, instance: InstanceId, how: How) -> Way {
        let credit = u64::from(self.config.reply_credit);
        let full = self.requests.reserved + credit > self.config.reply_reserve;
        match how.request && full {
            true => Way::Wait,
            false => Way::To(instance),
        }
    }

    /// Whether the receiver's buffer and limits have room for the message.
    fn check_room(
        &mut self,
        instance: InstanceId,
        message: &Message<F>,
        how: How,
    ) -> Result<(), SendRefusal> {
        self.check_attachments(instance, message, how)?;
        let size = self.charge_of(message);
        if let Some(peer) = self.roster.by_instance(instance)
            && message.payload.len() as u64 > peer.message_cap
        {
            return Err(SendRefusal::TooLarge {
                size: message.payload.len() as u64,
                limit: peer.message_cap,
            });
        }
        let (bytes, messages) = self
            .talks
            .get(instance)
            .map_or((0, 0), |talk| talk.out.buffered());
        let full = self.fullness(bytes, messages, size).or_else(|| {
            let pending = self.talks.get(instance).map_or(0, |talk| talk.pending);
            let most = self.config.pending_requests;
            (how.request && pending >= most).then_some(SendRefusal::Full {
                limit: "pending_requests",
                value: most as u64,
            })
        });
        match full {
            None => Ok(()),
            Some(full) if is_total(&full) => {
                self.outbox.refuse_total(&message.target);
                Err(full)
            }
            Some(full) => {
                let target = message.target.clone();
                let talk = self.talk(instance);
                if !talk.refused.contains(&target) {
                    talk.refused.push(target);
                }
                Err(full)
            }
        }
    }

    /// What a message takes of the send buffer at most.
    fn charge_of(&self, message: &Message<F>) -> u64 {
        let namespace = self.inbox.name(message.namespace).unwrap_or_default();
        size_of(message) + namespace.len() as u64
    }

    fn check_parking(&mut self, message: &Message<F>) -> Result<(), SendRefusal> {
        let (bytes, messages) = self.outbox.waiting(&message.target);
        match self.fullness(bytes, messages, self.charge_of(message)) {
            None => Ok(()),
            Some(full) if is_total(&full) => {
                self.outbox.refuse_total(&message.target);
                Err(full)
            }
            Some(full) => {
                self.outbox.refuse_full(&message.target);
                Err(full)
            }
        }
    }

    fn fullness(&self, bytes: u64, messages: u64, size: u64) -> Option<SendRefusal> {
        let config = &self.config;
        let rules = [
            (bytes + size, "send_buffer", config.send_buffer),
            (messages + 1, "send_messages", config.send_messages),
            (self.outbox.total() + size, TOTAL, config.send_buffer_total),
        ];
        // One message is always let through, or a small buffer could never carry a large one.
        let alone = |limit: &str| bytes == 0 && limit == "send_buffer";
        let (_, limit, value) = rules
            .into_iter()
            .find(|(would, limit, most)| would > most && !alone(limit))?;
        Some(SendRefusal::Full { limit, value })
    }

    fn check_attachments(
        &self,
        instance: InstanceId,
        message: &Message<F>,
        how: How,
    ) -> Result<(), SendRefusal> {
        if message.attachments.is_empty() || instance == self.me.instance {
            return Ok(());
        }
        let peer = self.roster.by_instance(instance);
        if !peer.is_some_and(|peer| peer.attachments) || !self.own_link_attaches(instance) {
            return Err(SendRefusal::AttachmentsUnsupported);
        }
        let namespace = self.inbox.name(message.namespace).unwrap_or_default();
        let ready = peer
            .is_some_and(|peer| peer.presence == Presence::Attached && !peer.is_pending(namespace));
        if !ready && !how.queue_attachments {
            return Err(SendRefusal::AttachmentsNotReady);
        }
        let most = self.config.attachments_pair;
        let under_way = self
            .talks
            .get(instance)
            .map_or(0, |talk| talk.out.attachments());
        let count = under_way + message.attachments.len();
        match count > most {
            true => Err(SendRefusal::TooManyAttachments {
                count,
                limit: "attachments_pair",
                value: most,
            }),
            false => Ok(()),
        }
    }

    /// Puts the message into the conversation with an instance. It is committed when a link takes
    /// it; until then it can still go elsewhere.
    fn bind(&mut self, instance: InstanceId, id: MessageId, message: Message<F>, how: How) {
        if how.request {
            let credit = self.config.reply_credit;
            self.requests.reserved += u64::from(credit);
            self.requests
                .pending
                .insert(id.0, Pending { to: Some(instance) });
            let talk = self.talk(instance);
            talk.pending += 1;
            talk.inb
                .open_reply_flow(flow::reply_flow(id.0), u64::from(credit));
        }
        let draft = self.encode(instance, id, message, how);
        self.enqueue(instance, draft);
        self.touch(instance);
    }

    /// Hands a frame to its conversation and counts it.
    pub(super) fn enqueue(&mut self, instance: InstanceId, draft: Draft<F>) {
        self.talk(instance);
        self.with_out(instance, |out, _| out.enqueue(draft));
    }

    fn encode(
        &mut self,
        instance: InstanceId,
        id: MessageId,
        message: Message<F>,
        how: How,
    ) -> Draft<F> {
        let mut head = self.pool.take();
        let kind = match how.request {
            true => Kind::REQUEST,
            false => Kind::EVENT,
        };
        let mut header = Header::new(kind, self.me.instance, instance);
        header.flags = how.bits;
        header.attachments = message.attachments.len() as u8;
        header.flow = message.namespace.0 + 1;
        header.encode(0, &mut head);
        let inline = message.payload.len() <= COPY_MAX;
        let payload: &[u8] = if inline { &message.payload } else { &[] };
        let namespace = self.inbox.name(message.namespace).unwrap_or_default();
        match how.request {
            true => RequestBody {
                request: id.0,
                remaining: 0,
                reply_credit: self.config.reply_credit,
                namespace,
                event: &message.event,
                codec: message.codec,
                payload,
            }
            .encode(&mut head),
            false => EventBody {
                namespace,
                event: &message.event,
                codec: message.codec,
                remaining: 0,
                payload,
            }
            .encode(&mut head),
        }
        let rest = if inline {
            Bytes::new()
        } else {
            message.payload
        };
        let length = (head.len() + rest.len() - Header::LENGTH_FIELD) as u32;
        head[..Header::LENGTH_FIELD].copy_from_slice(&length.to_be_bytes());
        let attached = !message.attachments.is_empty();
        Draft {
            id,
            charge: (head.len() + rest.len()) as u32,
            counts: 1,
            head,
            payload: rest,
            attachments: attached.then(|| Arc::new(message.attachments)),
            flow: header.flow,
            deadline: how.deadline,
            target: Some(message.target),
        }
    }

    /// Rebuilds the message of a frame that was never committed.
    pub(super) fn decode(&self, draft: Draft<F>) -> Option<(MessageId, Message<F>, How)> {
        let target = draft.target?;
        let body = &draft.head[Header::LEN..];
        let request = Kind(draft.head[4]) == Kind::REQUEST;
        let (namespace, event, codec, inline) = match request {
            true => {
                let body = RequestBody::decode(body).ok()?;
                (body.namespace, body.event, body.codec, body.payload)
            }
            false => {
                let body = EventBody::decode(body).ok()?;
                (body.namespace, body.event, body.codec, body.payload)
            }
        };
        let payload = match draft.payload.is_empty() {
            true => Bytes::copy_from_slice(inline),
            false => draft.payload,
        };
        let message = Message {
            target,
            namespace: self.inbox.id_of(namespace)?,
            event: Cow::Owned(event.into()),
            codec,
            payload,
            attachments: draft
                .attachments
                .and_then(Arc::into_inner)
                .unwrap_or_default(),
        };
        let how = How {
            request,
            bits: draft.head[Header::FLAGS_AT] & (flags::WANT_DELIVERED | flags::WANT_HANDLED),
            deadline: draft.deadline,
            queue_attachments: true,
        };
        Some((draft.id, message, how))
    }

    /// Whether the roster says who is there.
    fn knows_peers(&self) -> bool {
        self.is_connected() && self.roster.peers().next().is_some()
    }

    /// One message for each receiver. Those whose buffer is full go without, and are counted.
    fn send_to_many(&mut self, message: Message<F>, how: How) -> Result<MessageId, SendError<F>> {
        if let Err(reason) = self.check(&message) {
            return self.refuse(reason, message);
        }
        if !message.attachments.is_empty() {
            return self.refuse(SendRefusal::AttachmentsToMany, message);
        }
        if !self.knows_peers() {
            if let Err(reason) = self.check_parking(&message) {
                return self.refuse(reason, message);
            }
            let id = self.requests.next_id();
            self.stats.accepted += 1;
            self.set_deadline(id, how.deadline);
            self.outbox.park(Parked { id, message, how });
            return Ok(id);
        }
        self.stats.accepted += 1;
        let id = self.requests.next_id();
        self.set_deadline(id, how.deadline);
        self.fan_out(id, &message, how);
        Ok(id)
    }

    fn fan_out(&mut self, id: MessageId, message: &Message<F>, how: How) {
        let single = Audience {
            targets: Vec::from([message.target.clone()]),
            ..Audience::default()
        };
        let audience = match &message.target {
            Target::Many(audience) => audience,
            _ => &single,
        };
        for instance in self.receivers(audience, message) {
            let peer = self.roster.by_instance(instance).map(|peer| peer.id);
            let target = peer.map_or_else(|| Target::Hub, Target::Peer);
            let copy = copy_of(message, target);
            match self.check_room(instance, &copy, how) {
                Ok(()) => self.bind(instance, id, copy, how),
                Err(_) => self.stats.fanout_refused += 1,
            }
        }
        for target in &audience.targets {
            let alone = !matches!(target, Target::Everyone | Target::Listeners);
            if alone && !matches!(target, Target::Many(_) | Target::Any) {
                self.fan_out_absent(id, copy_of(message, target.clone()), how);
            }
        }
    }

    /// Everybody there whom an audience means, each once, in the order of ids.
    fn receivers(&self, audience: &Audience, message: &Message<F>) -> Vec<InstanceId> {
        let namespace = self.inbox.name(message.namespace).unwrap_or_default();
        let own = self.me.instance;
        let hub = self.hub_instance();
        let meant = |target: &Target, peer: &Peer| {
            let other = audience.include_self || peer.instance != own;
            match target {
                Target::Everyone => other,
                Target::Listeners => other && peer.listens(namespace, &message.event),
                Target::Hub | Target::Parent => hub == Some(peer.instance),
                Target::Peer(id) => {
                    let latest = self.roster.by_id(*id);
                    latest.is_some_and(|latest| latest.instance == peer.instance)
                }
                Target::Exact(id, generation) => (peer.id, peer.generation) == (*id, *generation),
                Target::Named(name) => peer.name.as_ref() == Some(name),
                Target::NamedExact(name, generation) => {
                    peer.name.as_ref() == Some(name) && peer.generation == *generation
                }
                Target::Any | Target::Many(_) => false,
            }
        };
        self.roster
            .peers()
            .filter(|peer| !audience.except.contains(&peer.id))
            .filter(|peer| audience.targets.iter().any(|target| meant(target, peer)))
            .map(|peer| peer.instance)
            .collect()
    }

    /// The copy for a peer of an audience that is not there now: it waits, or it is refused.
    fn fan_out_absent(&mut self, id: MessageId, copy: Message<F>, how: How) {
        match self.resolve(&copy, how) {
            Way::To(_) => {}
            Way::Wait => match self.check_parking(&copy) {
                Ok(()) => self.outbox.park(Parked {
                    id,
                    message: copy,
                    how,
                }),
                Err(_) => self.stats.fanout_refused += 1,
            },
            Way::Refuse(reason) => {
                let parked = Parked {
                    id,
                    message: copy,
                    how,
                };
                self.refuse_parked(parked, reason);
            }
        }
    }

    /// Tries messages again whose target may have come.
    pub(super) fn retry_parked(&mut self) {
        self.outbox.retried();
        for target in self.outbox.targets() {
            while let Some(parked) = self.outbox.pop(&target) {
                if is_for_many(&target) {
                    if self.knows_peers() {
                        self.fan_out(parked.id, &parked.message, parked.how);
                        continue;
                    }
                    self.outbox.park_first(parked);
                    break;
                }
                match self.resolve(&parked.message, parked.how) {
                    Way::Wait => {
                        self.outbox.park_first(parked);
                        break;
                    }
                    Way::Refuse(reason) => self.refuse_parked(parked, reason),
                    Way::To(instance) => {
                        match self.check_room(instance, &parked.message, parked.how) {
                            Ok(()) => {
                                self.bind(instance, parked.id, parked.message, parked.how);
                            }
                            Err(SendRefusal::Full { .. }) => {
                                self.outbox.park_first(parked);
                                break;
                            }
                            Err(reason) => self.refuse_parked(parked, reason),
                        }
                    }
                }
            }
        }
        self.outbox.retried();
        for target in self.outbox.sendable(self.config.send_buffer / 2) {
            self.emit(Event::Sendable(target));
        }
    }

    fn refuse_parked(&mut self, parked: Parked<F>, reason: SendRefusal) {
        let reason = match reason {
            SendRefusal::NoHandler => Refusal::NoHandler,
            SendRefusal::AttachmentsUnsupported => Refusal::AttachmentsUnsupported,
            SendRefusal::AttachmentsNotReady => Refusal::NotReady,
            SendRefusal::NoSuchPeer => Refusal::NoSuchPeer,
            _ => Refusal::Full,
        };
        self.end_uncommitted(parked.id, parked.message, parked.how, reason);
    }

    /// A message that no byte of ever left comes back whole.
    pub(super) fn end_uncommitted(
        &mut self,
        id: MessageId,
        message: Message<F>,
        how: How,
        reason: Refusal,
    ) {
        self.timers.set(Timer::Message(id), None);
        let message = Some(message);
        if how.request {
            self.finish(RequestId(id.0), Outcome::NotRun { reason, message });
        } else {
            let fate = Fate::Refused { reason, message };
            self.emit(Event::Fate { message: id, fate });
        }
    }

    /// Gives a request its one outcome. A second one is dropped and counted.
    pub(super) fn finish(&mut self, request: RequestId, outcome: Outcome<F>) {
        let Some(pending) = self.requests.pending.remove(&request.0) else {
            self.stats.late_replies += 1;
            if let Outcome::Reply { attachments, .. } = outcome {
                self.stats.attachments_dropped += attachments.len() as u64;
            }
            return;
        };
        self.timers.set(Timer::Message(MessageId(request.0)), None);
        if let Some(talk) = pending.to.and_then(|to| self.talks.get_mut(to)) {
            talk.pending -= 1;
        }
        self.stats.outcomes += 1;
        self.emit(Event::Outcome { request, outcome });
    }

    /// As [`Node::finish`], of an answer: it counts only from the instance that was asked.
    pub(super) fn finish_reply(
        &mut self,
        from: InstanceId,
        request: RequestId,
        outcome: Outcome<F>,
    ) {
        let asked = self.requests.pending.get(&request.0);
        match asked.is_none_or(|pending| pending.to == Some(from)) {
            true => self.finish(request, outcome),
            false => {
                if let Outcome::Reply { attachments, .. } = outcome {
                    self.stats.attachments_dropped += attachments.len() as u64;
                }
                self.breach(from, "it answered a request that was made of another");
            }
        }
    }

    /// The last frame of a reply has come: what was set aside for it is free.
    pub(super) fn close_reply(&mut self, from: InstanceId, flow: u32) {
        let Self { talks, books, .. } = self;
        if let Some(talk) = talks.get_mut(from) {
            self.requests.reserved -= talk.inb.close_reply_flow(flow, books);
            self.outbox.retry_soon();
        }
    }

    /// Cancels a request: it ends now, with [`Outcome::NotRun`] if no byte of it ever left. What
    /// was begun, the handler can see to be unwanted. A request that has its outcome is left alone.
    pub fn cancel(&mut self, now: Instant, request: RequestId) {
        self.advance(now);
        self.end_request(request, Refusal::Cancelled, UnknownCause::Cancelled);
    }

    /// Takes back an event of which no byte has left, for every receiver that it still waits for.
    /// `false` if there is none: a link has it, or it was never accepted.
    pub fn recall(&mut self, now: Instant, message: MessageId) -> bool {
        self.advance(now);
        self.withdraw_event(message, Refusal::Cancelled)
    }

    /// The time of a message is over.
    pub(super) fn message_due(&mut self, id: MessageId) {
        match self.requests.pending.contains_key(&id.0) {
            true => {
                self.end_request(RequestId(id.0), Refusal::Expired, UnknownCause::Deadline);
            }
            // One that was committed is on its way, or was taken: that is not for its time to say.
            false => {
                self.withdraw_event(id, Refusal::Expired);
            }
        }
    }

    fn end_request(&mut self, request: RequestId, reason: Refusal, cause: UnknownCause) {
        let id = MessageId(request.0);
        let Some(pending) = self.requests.pending.get(&request.0).copied() else {
            return;
        };
        let Some(instance) = pending.to else {
            if let Some(Parked { message, how, .. }) = self.outbox.remove(id) {
                self.end_uncommitted(id, message, how, reason);
            }
            return;
        };
        let given_up = self.with_out(instance, |out, pool| out.give_up(id, pool));
        match given_up {
            Some(GivenUp::NeverCommitted(draft)) => {
                self.close_reply(instance, flow::reply_flow(id.0));
                if let Some((id, message, how)) = self.decode(draft) {
                    self.end_uncommitted(id, message, how, reason);
                }
            }
            _ => {
                let header = Header::new(Kind::CANCEL, self.me.instance, instance);
                let body = CancelBody { request: id.0 };
                self.push_urgent(header, |head| body.encode(head));
                self.finish(request, Outcome::Unknown(cause));
            }
        }
        self.tell_sendable(instance);
        self.touch(instance);
    }

    fn withdraw_event(&mut self, id: MessageId, reason: Refusal) -> bool {
        if let Some(Parked { message, how, .. }) = self.outbox.remove(id) {
            self.end_uncommitted(id, message, how, reason);
            return true;
        }
        let holders: Vec<InstanceId> = self
            .talks
            .iter()
            .filter(|(_, talk)| talk.out.holds(id))
            .map(|(instance, _)| *instance)
            .collect();
        let mut any = false;
        for instance in holders {
            let draft = self.with_out(instance, |out, pool| out.withdraw(id, pool));
            if let Some((id, message, how)) = draft.flatten().and_then(|draft| self.decode(draft)) {
                self.end_uncommitted(id, message, how, reason);
                any = true;
            }
            self.tell_sendable(instance);
            self.touch(instance);
        }
        any
    }

    /// Changes the sending half of a conversation, and counts what that does to its buffer.
    pub(super) fn with_out<T>(
        &mut self,
        instance: InstanceId,
        change: impl FnOnce(&mut Outbound<F>, &mut BufferPool) -> T,
    ) -> Option<T> {
        let Self {
            talks,
            pool,
            outbox,
            ..
        } = self;
        let talk = talks.get_mut(instance)?;
        let before = talk.out.buffered();
        let result = change(&mut talk.out, pool);
        outbox.released(before, talk.out.buffered());
        Some(result)
    }

    /// Tells those that were refused for the sake of all when half of that is free.
    pub(super) fn tell_relieved(&mut self) {
        let half = self.config.send_buffer_total / 2;
        for target in self.outbox.relieved(half) {
            self.emit(Event::Sendable(target));
        }
    }

    /// Tells those that were refused when half of the buffer is free.
    pub(super) fn tell_sendable(&mut self, instance: InstanceId) {
        let half = (self.config.send_buffer / 2, self.config.send_messages / 2);
        let requests = self.config.pending_requests / 2;
        let Some(talk) = self.talks.get_mut(instance) else {
            return;
        };
        if talk.refused.is_empty() {
            return;
        }
        let (bytes, messages) = talk.out.buffered();
        if bytes > half.0 || messages > half.1 || talk.pending > requests {
            return;
        }
        for target in core::mem::take(&mut talk.refused) {
            self.emit(Event::Sendable(target));
        }
        self.outbox.retry_soon();
    }
}

/// Whether it was refused for the sake of all receivers together.
fn is_total(full: &SendRefusal) -> bool {
    matches!(full, SendRefusal::Full { limit, .. } if *limit == TOTAL)
}

fn is_for_many(target: &Target) -> bool {
    matches!(
        target,
        Target::Everyone | Target::Listeners | Target::Many(_)
    )
}

/// The same message for another target. One for many has no attachments.
fn copy_of<F>(message: &Message<F>, target: Target) -> Message<F> {
    Message {
        target,
        namespace: message.namespace,
        event: message.event.clone(),
        codec: message.codec,
        payload: message.payload.clone(),
        attachments: Vec::new(),
    }
}
