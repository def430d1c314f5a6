//! The links of a node: bytes in, plans out, and how each one ends.

mod plans;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::{Node, Timer};
use crate::hub::egress::Egress;
use crate::id::{InstanceId, LinkId};
use crate::link::bonds::Bonds;
use crate::link::life::{Life, LifeAction, LifeConfig, Medium, State};
use crate::link::rx::Receiver;
use crate::link::tx::{Progress, Transmitter};
use crate::link::{WriteMisuse, Written};
use crate::output::{DialId, Event, Output};
use crate::time::Instant;
use crate::wire::{self, Close, CloseCode, Hello, Kind, Ping, limits};

/// How long a write waits after the kernel had no room for its descriptors (ETOOMANYREFS): other
/// processes of the user have to receive some first.
const ATTACHMENT_BACKOFF: Duration = Duration::from_millis(10);
/// How a link came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkOrigin {
    /// A listener accepted it.
    Accepted,
    /// A child process of this one is at its other end. It attaches as what a hub has accepted;
    /// where this node is a member, through it to the hub. It is given all the time it needs to
    /// come up: whoever started it knows whether it still lives.
    Child,
    /// This node dialled the hub.
    Dialled(DialId),
    /// It was there from the beginning: between a parent and its child.
    Inherited,
}

/// A connection that the driver has for the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkConfig {
    /// How it came to be.
    pub origin: LinkOrigin,
    /// What lies between its ends.
    pub medium: Medium,
    /// Whether it can carry attachments.
    pub attachments: bool,
}

/// What one read brought, as one value.
#[derive(Debug)]
pub struct Read<F> {
    /// The bytes.
    pub bytes: BytesMut,
    /// The attachments, in order.
    pub attachments: Vec<F>,
    /// Whether the kernel had to leave attachments out.
    pub truncated: bool,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hangup {
    /// End of file.
    End,
    /// The other end was closed with unread input, or the network said so.
    Reset,
    /// The process at the other end has exited.
    Exited,
    /// An error of this end.
    Failed,
}

/// The id names a link that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the link has ended")]
pub struct UnknownLink;

/// A write was reported that the node cannot account for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WriteError {
    /// The link has ended.
    #[error(transparent)]
    UnknownLink(#[from] UnknownLink),
    /// The report does not match what was lent.
    #[error(transparent)]
    Misuse(#[from] WriteMisuse),
}

#[derive(Debug)]
pub(super) struct Link<F> {
    pub(super) id: LinkId,
    pub(super) config: LinkConfig,
    /// Not there while what it brought is handled, and once nothing is heard of the link any more.
    rx: Option<Box<Receiver<F>>>,
    pub(super) tx: Transmitter<F>,
    pub(super) life: Life,
    /// Link-local frames that wait.
    control: Vec<u8>,
    /// How many bytes of them the other end has not asked for, but caused by what it had queued here
    /// within its bounds.
    unasked: usize,
    /// The instance at the other end, from its hello.
    pub(super) peer: Option<InstanceId>,
    /// The instances attached over it, where they attach to this node.
    pub(super) bonds: Bonds,
    pub(super) egress: Egress<F>,
    /// Conversations that have something to write.
    pub(super) ready: VecDeque<InstanceId>,
    /// Whether it stands in the queue of links that may have something to write.
    dirty: bool,
    /// Whether there may be something to write that the last plan has not taken, or that came
    /// while it was under way.
    left: bool,
    backoff: bool,
    /// The deadline for which its timer is set.
    armed: Option<Instant>,
    /// Data goes before control in the next plan, so that a frame with attachments, which must be
    /// the first of its plan, is not kept out for ever.
    data_first: bool,
    /// The control frames that wait tell somebody that it is attached.
    attaching: bool,
    egress_first: bool,
}

#[derive(Debug)]
pub(super) struct Links<F> {
    slots: Vec<Option<Link<F>>>,
    free: Vec<usize>,
    generation: u32,
    dirty: VecDeque<LinkId>,
}

/// Link-local frames that may wait before pings go unanswered, in bytes.
const PONGS_MAX: usize = 4 * 1024;

impl<F> Link<F> {
    pub(super) fn answers_pings(&self) -> bool {
        self.control.len() < PONGS_MAX
    }
}

impl<F> Links<F> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            generation: 0,
            dirty: VecDeque::new(),
        }
    }

    pub(super) fn get(&self, id: LinkId) -> Option<&Link<F>> {
        let link = self.slots.get(id.index())?.as_ref()?;
        (link.id == id).then_some(link)
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link<F>> {
        let link = self.slots.get_mut(id.index())?.as_mut()?;
        (link.id == id).then_some(link)
    }

    pub(super) fn ids(&self) -> Vec<LinkId> {
        self.slots.iter().flatten().map(|link| link.id).collect()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Link<F>> {
        self.slots.iter_mut().flatten()
    }

    /// Lets the link be asked for a plan.
    pub(super) fn touch(&mut self, id: LinkId) {
        if let Some(link) = self.get_mut(id)
            && !link.dirty
        {
            link.dirty = true;
            self.dirty.push_back(id);
        }
    }

    fn insert(&mut self, make: impl FnOnce(LinkId) -> Link<F>) -> LinkId {
        self.generation += 1;
        let index = self.free.pop().unwrap_or(self.slots.len());
        let id = LinkId {
            index: index as u32,
            generation: self.generation,
        };
        let link = make(id);
        match self.slots.get_mut(index) {
            Some(slot) => *slot = Some(link),
            None => self.slots.push(Some(link)),
        }
        id
    }

    fn remove(&mut self, id: LinkId) -> Option<Link<F>> {
        self.get(id)?;
        self.free.push(id.index());
        self.slots.get_mut(id.index())?.take()
    }
}

impl<F> Node<F> {
    /// Gives the node a connection. The link begins with this node's hello.
    pub fn add_link(&mut self, now: Instant, config: LinkConfig) -> LinkId {
        self.advance(now);
        let now = self.now;
        let hello_deadline = match config.origin {
            LinkOrigin::Child => Duration::MAX,
            _ => self.config.hello_deadline,
        };
        let life = LifeConfig {
            medium: config.medium,
            hello_deadline,
            lease: self.config.lease,
            keepalive: self.config.keepalive,
            frame_deadline: self.config.frame_deadline,
        };
        let own = self.me.instance;
        let id = self.links.insert(|id| Link {
            id,
            config,
            rx: Some(Box::new(Receiver::new())),
            tx: Transmitter::new(),
            life: Life::new(now, life, own),
            control: Vec::new(),
            unasked: 0,
            peer: None,
            bonds: Bonds::default(),
            egress: Egress::new(config.attachments),
            ready: VecDeque::new(),
            dirty: false,
            left: false,
            backoff: false,
            armed: None,
            data_first: false,
            attaching: false,
            egress_first: false,
        });
        let hello = Hello {
            version: crate::link::life::VERSION,
            features: 0,
            instance: own,
            epoch: self.uplink.epoch,
            name: self.me.name.clone(),
            budget: self.config.receive_budget,
            message_cap: self.config.message_cap,
            hub: self.hub.is_some() || config.origin == LinkOrigin::Child,
        };
        self.control(id, Kind::HELLO, |body| hello.encode(body));
        let to_hub = matches!(
            config.origin,
            LinkOrigin::Dialled(_) | LinkOrigin::Inherited
        );
        if to_hub && self.hub.is_none() {
            self.uplink_added(id, config.origin);
        } else if self.hub.is_none() && config.origin == LinkOrigin::Child {
            self.child_added();
        }
        self.rearm(id);
        if self.closed {
            self.close_link(id, CloseCode::Normal, "this node is closed");
        }
        id
    }

    /// What one read of a link brought.
    ///
    /// # Errors
    ///
    /// The link has ended; its attachments are dropped and counted.
    pub fn handle_read(
        &mut self,
        now: Instant,
        id: LinkId,
        read: Read<F>,
    ) -> Result<(), UnknownLink> {
        self.advance(now);
        let now = self.now;
        let Some(link) = self.links.get_mut(id) else {
            self.stats.attachments_dropped += read.attachments.len() as u64;
            return Err(UnknownLink);
        };
        link.life.received_bytes(now);
        let Some(mut rx) = link.rx.take() else {
            self.stats.attachments_dropped += read.attachments.len() as u64;
            return Ok(());
        };
        rx.push(read.bytes, read.attachments, read.truncated);
        let mut open = self.is_listening(id);
        while open {
            match rx.next() {
                Ok(Some(received)) => {
                    self.stats.frames += 1;
                    let header = received.frame.header;
                    let of_link = header.kind.is_link_local();
                    let lead = self.on_frame(id, received);
                    if of_link {
                        self.check_flooded(id);
                    }
                    if let Some(lead) = lead {
                        self.on_runs(lead, &header, &mut rx);
                    }
                    open = self.is_listening(id);
                    // What the link itself says opens it, and at a hub attaches instances.
                    if of_link && let Some(limit) = self.frame_limit(id) {
                        rx.set_limit(limit);
                        rx.set_attachment_limit(self.config.attachments);
                    }
                }
                Ok(None) => break,
                Err(fault) => {
                    let code = fault.close_code();
                    let code = self
                        .links
                        .get(id)
                        .map_or(code, |link| link.life.fault(code));
                    self.close_link(id, code, "the bytes are no frames");
                    open = false;
                }
            }
        }
        let half = rx.half_read();
        match self.links.get_mut(id).filter(|_| open) {
            Some(link) => {
                link.life.half_read(now, half);
                link.rx = Some(rx);
            }
            // Of a link that is being closed nothing is heard any more, so nothing is kept.
            None => self.drop_rx(Some(rx)),
        }
        self.rearm(id);
        Ok(())
    }

    /// Whether more answers wait for the other end than may.
    fn is_flooded(&self, id: LinkId) -> bool {
        let link = self.links.get(id);
        link.is_some_and(|link| link.control.len() - link.unasked > self.config.answers)
    }

    /// Ends a link whose other end causes more answers than it reads.
    pub(super) fn check_flooded(&mut self, id: LinkId) {
        if self.is_flooded(id) {
            let text = "it asks for more answers than it reads";
            self.close_link(id, CloseCode::WriteStalled, text);
        }
    }

    fn drop_rx(&mut self, rx: Option<Box<Receiver<F>>>) {
        if let Some(mut rx) = rx {
            rx.discard();
            self.stats.attachments_dropped += rx.dropped();
        }
    }

    fn is_listening(&self, id: LinkId) -> bool {
        let state = self.links.get(id).map(|link| link.life.state());
        matches!(state, Some(State::Greeting | State::Open))
    }

    /// Somebody was attached over the link by what another link has brought: what comes over it
    /// from now on may be as large as of others.
    pub(super) fn attached_from_afar(&mut self, id: LinkId) {
        let limit = self.frame_limit(id);
        let rx = self.links.get_mut(id).and_then(|link| link.rx.as_mut());
        if let (Some(limit), Some(rx)) = (limit, rx) {
            rx.set_limit(limit);
        }
    }

    /// The largest frame that the link may bring in its present state.
    fn frame_limit(&self, id: LinkId) -> Option<usize> {
        let link = self.links.get(id)?;
        let open = link.life.state() == State::Open;
        Some(match (open, self.leads_below(id)) {
            (false, _) => limits::HELLO,
            (true, true) if link.bonds.is_empty() => limits::UNAUTHENTICATED,
            (true, _) => limits::FRAME,
        })
    }

    /// Accounts for a write of the committed plan. After [`Written::Blocked`] the driver tries the
    /// same plan again when the connection takes bytes.
    ///
    /// # Errors
    ///
    /// The link has ended, or the report does not match what was lent.
    pub fn handle_written(
        &mut self,
        now: Instant,
        id: LinkId,
        result: Written,
    ) -> Result<(), WriteError> {
        self.advance(now);
        let now = self.now;
        let link = self.links.get_mut(id).ok_or(UnknownLink)?;
        match link.tx.written(result)? {
            Progress::Blocked => link.life.blocked(now),
            Progress::NoAttachmentRoom => {
                link.backoff = true;
                let until = now + ATTACHMENT_BACKOFF;
                self.timers.set(Timer::Backoff(id), Some(until));
            }
            Progress::Failed => self.write_failed(id),
            Progress::Partial => link.life.sent(now),
            Progress::Done => {
                link.life.sent(now);
                self.plan_done(id);
            }
        }
        self.rearm(id);
        Ok(())
    }

    /// The peer takes nothing more. What it said before that, why it closed above all, may still lie
    /// in the connection: the link ends with the hangup that follows it.
    fn write_failed(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        match link.life.state() {
            State::Closing { .. } => self.end_link(id, Hangup::Failed),
            _ => link.life.mute(self.now),
        }
    }

    fn plan_done(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let closing = matches!(link.life.state(), State::Closing { .. });
        if closing && link.control.is_empty() {
            self.end_link(id, Hangup::End);
        } else if link.left {
            self.links.touch(id);
        }
    }

    pub(super) fn end_backoff(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id) {
            link.backoff = false;
            if link.tx.batch().is_some() {
                self.outputs.push_back(Output::Write(id));
            }
        }
    }

    /// Ends one link in good order: its peer is told, and who was attached over it is gone. What
    /// the peer has not sent by now is not taken any more.
    ///
    /// # Errors
    ///
    /// The link has ended before.
    pub fn disconnect(&mut self, now: Instant, id: LinkId) -> Result<(), UnknownLink> {
        self.advance(now);
        self.links.get(id).ok_or(UnknownLink)?;
        self.close_link(id, CloseCode::Normal, "closed");
        Ok(())
    }

    /// Who is attached to this node over a link, by instance; nobody over one that has ended.
    pub fn attached_over(&self, id: LinkId) -> impl Iterator<Item = InstanceId> + '_ {
        let link = self.links.get(id).into_iter();
        link.flat_map(|link| link.bonds.attached())
    }

    /// A connection has ended; what was read of it before has been handled.
    ///
    /// # Errors
    ///
    /// The link has ended before.
    pub fn handle_hangup(
        &mut self,
        now: Instant,
        id: LinkId,
        cause: Hangup,
    ) -> Result<(), UnknownLink> {
        self.advance(now);
        self.links.get(id).ok_or(UnknownLink)?;
        self.end_link(id, cause);
        Ok(())
    }

    pub(super) fn link_timeout(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        link.armed = None;
        match link.life.timeout(self.now) {
            LifeAction::None => {}
            LifeAction::SendPing => {
                let nonce = self.now.as_nanos();
                self.control(id, Kind::PING, |body| Ping { nonce }.encode(body));
            }
            LifeAction::Close(code) => self.say_close(id, code, "a deadline passed"),
            LifeAction::Abandon => self.end_link(id, Hangup::Failed),
        }
        self.rearm(id);
    }

    pub(super) fn rearm(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let at = link.life.deadline();
        if core::mem::replace(&mut link.armed, at) != at {
            self.timers.set(Timer::Link(id), at);
        }
    }

    /// Queues a link-local frame.
    pub(super) fn control(&mut self, id: LinkId, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) {
        let source = self.me.instance;
        if let Some(link) = self.links.get_mut(id) {
            wire::frame(kind, source, InstanceId::NONE, body, &mut link.control);
            link.attaching |= kind == Kind::ATTACHED;
            self.links.touch(id);
        }
    }

    /// As [`Self::control`], of what the other end has not asked for.
    pub(super) fn control_unasked(
        &mut self,
        id: LinkId,
        kind: Kind,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let before = self.links.get(id).map_or(0, |link| link.control.len());
        self.control(id, kind, body);
        if let Some(link) = self.links.get_mut(id) {
            link.unasked += link.control.len() - before;
        }
    }

    /// Ends a link for a reason that its peer is told.
    pub(super) fn close_link(&mut self, id: LinkId, code: CloseCode, text: &str) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if link.life.close(self.now, code) {
            self.say_close(id, code, text);
            self.rearm(id);
        }
    }

    fn say_close(&mut self, id: LinkId, code: CloseCode, text: &str) {
        let close = Close {
            code: code.to_u16(),
            text: String::from(text),
        };
        self.control(id, Kind::CLOSE, |body| close.encode(body));
        let stranger = matches!(code, CloseCode::HelloExpected | CloseCode::HelloTimeout);
        self.stats.strangers += u64::from(stranger);
        self.emit(Event::LinkClosed {
            link: id,
            code,
            by_peer: false,
        });
        self.instances_of_link_end(id, Some(code), false);
    }

    /// The connection is over.
    pub(super) fn end_link(&mut self, id: LinkId, _cause: Hangup) {
        let said = match self.links.get(id).map(|link| link.life.state()) {
            Some(State::Closing { .. }) => true,
            Some(_) => false,
            None => return,
        };
        if !said {
            self.instances_of_link_end(id, None, false);
        }
        self.remove_link(id);
    }

    /// The peer closes the link in good order. What is committed is no use to it any more.
    pub(super) fn on_close(&mut self, id: LinkId, close: &Close) {
        let code = CloseCode::from_u16(close.code).unwrap_or(CloseCode::Normal);
        self.emit(Event::LinkClosed {
            link: id,
            code,
            by_peer: true,
        });
        self.instances_of_link_end(id, Some(code), true);
        self.remove_link(id);
    }

    fn remove_link(&mut self, id: LinkId) {
        let waiting = self.leave_turn(id, |_| true);
        let Some(mut link) = self.links.remove(id) else {
            return;
        };
        link.tx.discard();
        self.timers.set(Timer::Link(id), None);
        self.timers.set(Timer::Backoff(id), None);
        for instance in waiting {
            self.touch(instance);
        }
        for unwritten in link.egress.drain() {
            self.stats.detached_dropped += 1;
            self.stats.attachments_dropped += unwritten.attachment_count();
        }
        self.stats.attachments_dropped += link.egress.attachments_dropped();
        self.drop_rx(link.rx);
        self.outputs.push_back(Output::Close(id));
    }
}
