//! What the application sends: accepted into a bounded buffer, or refused whole.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::Node;
use super::along::is_small;
use super::fan_out::is_for_many;
use super::outbox::{How, Parked};
use super::resolve::Way;
use crate::id::{InstanceId, MessageId, RequestId};
use crate::message::{
    Audience, Message, Receipt, RequestOptions, SendError, SendOptions, SendRefusal, Target,
};
use crate::talk::Draft;
use crate::time::Instant;
use crate::wire::{flags, is_name};

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
        self.pass_time(now);
        if let Some(id) = self.send_next(&message, &options) {
            return Ok(id);
        }
        self.left = 0;
        self.settle_tally();
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
        match self.send_along(&message, &how) {
            Some(id) => Ok(id),
            None => self.send_by_all_rules(message, how, options),
        }
    }

    fn send_by_all_rules(
        &mut self,
        mut message: Message<F>,
        how: How,
        options: SendOptions,
    ) -> Result<MessageId, SendError<F>> {
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
        let id = match self.send_along(&message, &how) {
            Some(id) => id,
            None => self.accept(message, how)?,
        };
        Ok(RequestId(id.0))
    }

    pub(super) fn refuse<T>(
        &mut self,
        reason: SendRefusal,
        message: Message<F>,
    ) -> Result<T, SendError<F>> {
        self.stats.refused += 1;
        Err(SendError { reason, message })
    }

    pub(super) fn accept(
        &mut self,
        message: Message<F>,
        how: How,
    ) -> Result<MessageId, SendError<F>> {
        if let Err(reason) = self.check(&message) {
            return self.refuse(reason, message);
        }
        let way = self.way(&message, how);
        let (instance, room) = match &way {
            Way::To(instance) => (Some(*instance), self.check_room(*instance, &message, how)),
            Way::Later(_) | Way::Wait
                if !message.attachments.is_empty() && !how.queue_attachments =>
            {
                (None, Err(SendRefusal::AttachmentsNotReady))
            }
            Way::Later(_) | Way::Wait => (None, self.check_parking(&message)),
            Way::Refuse(reason) => (None, Err(reason.clone())),
        };
        if let Err(reason) = room {
            self.refused_for_now(instance, &message, &reason);
            return self.refuse(reason, message);
        }
        let id = self.admit(how);
        match way {
            Way::To(instance) => {
                self.remember_way(&message.target, instance);
                self.bind(instance, id, message, how);
            }
            Way::Later(instance) => {
                self.outbox.hold_back(instance, false);
                self.park(Parked { id, message, how }, false);
            }
            _ => self.park(Parked { id, message, how }, false),
        }
        Ok(id)
    }

    /// Gives an accepted message its number. From here on it has a fate.
    pub(super) fn admit(&mut self, how: How) -> MessageId {
        self.stats.accepted += 1;
        let id = self.requests.next_id();
        if how.request {
            self.requests.begin(id, how.deadline);
        }
        id
    }

    /// What can be judged of the message alone.
    pub(super) fn check(&self, message: &Message<F>) -> Result<(), SendRefusal> {
        if self.closed || self.winding_down {
            return Err(SendRefusal::Closed);
        }
        if !self.stencil.is_named(message.namespace, &message.event) {
            self.check_names(message)?;
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

    fn check_names(&self, message: &Message<F>) -> Result<(), SendRefusal> {
        if self.inbox.name(message.namespace).is_none() {
            return Err(SendRefusal::UnknownNamespace);
        }
        match is_name(&message.event) {
            true => Ok(()),
            false => Err(SendRefusal::BadName),
        }
    }

    /// Which instance the message is for, as far as this node can know.
    pub(super) fn way(&mut self, message: &Message<F>, how: How) -> Way {
        // What was accepted before goes first, also where it was for the same peer by another name.
        if self.outbox.must_retry() {
            self.retry_parked();
        }
        if self.outbox.waiting(&message.target).1 > 0 {
            return Way::Wait;
        }
        match self.resolve(message, how) {
            Way::To(instance) if self.outbox.holds_back(instance) => Way::Later(instance),
            way => way,
        }
    }

    /// Puts the message into the conversation with an instance. It is committed when a link takes
    /// it; until then it can still go elsewhere.
    pub(super) fn bind(
        &mut self,
        instance: InstanceId,
        id: MessageId,
        message: Message<F>,
        how: How,
    ) {
        if how.request {
            let credit = self.config.reply_credit;
            self.requests.bind(id, Some(instance));
            let talk = self.talk(instance);
            talk.begin_request(id, credit);
            self.requests.reserved += u64::from(credit);
        }
        if is_small(&message, &how) {
            self.fit_stencil(instance, &message, &how);
            if self.join_run(instance, id, &message, &how) {
                return self.touch_later(instance);
            }
        }
        let draft = self.encode(instance, id, message, how);
        let expires = draft.expiry().is_some();
        self.enqueue(instance, draft);
        if expires {
            self.arm_expiry(instance);
        }
        self.touch_later(instance);
    }

    /// Hands a frame to its conversation and counts it.
    pub(super) fn enqueue(&mut self, instance: InstanceId, draft: Box<Draft<F>>) {
        if self.talk(instance).broken {
            self.stats.broken_dropped += 1;
            self.stats.attachments_dropped += draft.attachment_count() as u64;
            return;
        }
        self.with_out(instance, |out, _| out.enqueue(draft));
    }
}
