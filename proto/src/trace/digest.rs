//! What a node gives back, as one number: equal outputs have equal digests on every machine.

use core::hash::{Hash, Hasher};
use core::mem::discriminant;

use crate::message::{Delivery, Fate, Message, Outcome, ReplyError, SendError};
use crate::node::Node;
use crate::output::{Event, Output};

/// FNV-1a with 64 bits: simple, the same everywhere, and good at telling runs apart. It resists no
/// attacker, and need not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digest(u64);

impl Digest {
    pub(super) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(super) const fn value(self) -> u64 {
        self.0
    }

    /// Goes on from the digest of what came before.
    pub(super) const fn resume(value: u64) -> Self {
        Self(value)
    }
}

// The provided methods write integers as the machine has them: a log may be replayed on another.
impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn write_u16(&mut self, value: u16) {
        self.write(&value.to_le_bytes());
    }

    fn write_u32(&mut self, value: u32) {
        self.write(&value.to_le_bytes());
    }

    fn write_u64(&mut self, value: u64) {
        self.write(&value.to_le_bytes());
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_i32(&mut self, value: i32) {
        self.write(&value.to_le_bytes());
    }

    fn write_isize(&mut self, value: isize) {
        self.write(&(value as i64).to_le_bytes());
    }
}

/// What `poll` gave; of a plan, its bytes and the number of its attachments too.
pub(super) fn output<F>(digest: &mut Digest, node: &Node<F>, output: &Output<F>) {
    discriminant(output).hash(digest);
    match output {
        Output::Event(it) => event(digest, it),
        Output::Dial(id) => id.hash(digest),
        Output::Close(link) => link.hash(digest),
        Output::Idle(wake) => wake.map(|wake| (wake.at, wake.reason)).hash(digest),
        Output::Write(link) => {
            link.hash(digest);
            let Some(batch) = node.write_batch(*link) else {
                return;
            };
            batch.len().hash(digest);
            batch.attachments().len().hash(digest);
            for slice in batch.slices() {
                digest.write(slice);
            }
        }
    }
}

fn event<F>(digest: &mut Digest, event: &Event<F>) {
    discriminant(event).hash(digest);
    match event {
        Event::Connected {
            id,
            generation,
            id_changed,
        } => (id, generation, id_changed).hash(digest),
        Event::Disconnected(why) => why.hash(digest),
        Event::Reconnecting { attempt, after } => (attempt, after).hash(digest),
        Event::AttachRefused(why) => why.hash(digest),
        Event::PeerChanged {
            id,
            generation,
            was,
        } => (id, generation, was).hash(digest),
        Event::PeerUp { id, generation }
        | Event::PeerDetached { id, generation }
        | Event::PeerGone { id, generation } => (id, generation).hash(digest),
        Event::Incoming(namespace) => namespace.hash(digest),
        Event::Outcome { request, outcome } => {
            request.hash(digest);
            outcome_of(digest, outcome);
        }
        Event::Fate { message, fate } => {
            message.hash(digest);
            fate_of(digest, fate);
        }
        Event::Cancelled(ticket) => ticket.hash(digest),
        Event::Sendable(target) => target.hash(digest),
        Event::LinkClosed {
            link,
            code,
            by_peer,
        } => (link, code, by_peer).hash(digest),
        Event::PeerFault { instance, rule } => (instance, rule).hash(digest),
        Event::Jumped(late) => late.hash(digest),
        Event::Drained { clean } => clean.hash(digest),
        Event::HubChanged
        | Event::GaveUp
        | Event::Fenced
        | Event::RosterComplete
        | Event::Announced => {}
    }
}

fn outcome_of<F>(digest: &mut Digest, outcome: &Outcome<F>) {
    discriminant(outcome).hash(digest);
    match outcome {
        Outcome::Reply {
            codec,
            payload,
            attachments,
            attachments_lost,
        } => (codec, &payload[..], attachments.len(), attachments_lost).hash(digest),
        Outcome::Failed(failure) => failure.hash(digest),
        Outcome::NotRun { reason, message } => {
            reason.hash(digest);
            returned(digest, message.as_ref());
        }
        Outcome::Unknown(cause) => cause.hash(digest),
    }
}

fn fate_of<F>(digest: &mut Digest, fate: &Fate<F>) {
    discriminant(fate).hash(digest);
    match fate {
        Fate::Refused { reason, message } => {
            reason.hash(digest);
            returned(digest, message.as_ref());
        }
        Fate::NotAccepted { to, reason } => (to, reason).hash(digest),
        Fate::Delivered | Fate::Handled | Fate::HandlerFailed | Fate::Unconfirmed => {}
    }
}

fn returned<F>(digest: &mut Digest, message: Option<&Message<F>>) {
    message.is_some().hash(digest);
    if let Some(message) = message {
        let whom = (&message.target, message.namespace, &message.event);
        whom.hash(digest);
        let what = (message.codec, &message.payload[..]);
        what.hash(digest);
        message.attachments.len().hash(digest);
    }
}

/// What `recv` gave.
pub(super) fn delivery<F>(digest: &mut Digest, delivery: Option<&Delivery<F>>) {
    delivery.is_some().hash(digest);
    if let Some(delivery) = delivery {
        (delivery.from, delivery.namespace, &*delivery.event).hash(digest);
        (delivery.codec, &delivery.payload[..]).hash(digest);
        (delivery.attachments.len(), delivery.attachments_lost).hash(digest);
        delivery.kind.hash(digest);
    }
}

/// What `reply` gave.
pub(super) fn replied<F>(digest: &mut Digest, replied: &Result<(), ReplyError<F>>) {
    replied.is_ok().hash(digest);
    if let Err(error) = replied {
        error.reason.hash(digest);
    }
}

/// What `send` and `request` gave.
pub(super) fn sent<F, Id: Hash>(digest: &mut Digest, sent: &Result<Id, SendError<F>>) {
    sent.is_ok().hash(digest);
    match sent {
        Ok(id) => id.hash(digest),
        Err(error) => {
            error.reason.hash(digest);
            returned(digest, Some(&error.message));
        }
    }
}
