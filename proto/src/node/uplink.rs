//! A member's link to its hub: attaching, declaring, and what the hub says.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::forward::OVERRUN;
use super::hub_side::Parting;
use super::links::LinkOrigin;
use super::{Node, Timer};
use crate::group::declarations::Declarations;
use crate::group::known;
use crate::id::{InstanceId, LinkId, RequestId};
use crate::link::bonds::Bond;
use crate::link::life::Medium;
use crate::message::Outcome;
use crate::output::{Disconnect, Event};
use crate::wire::{
    Attach, AttachRefusal, AttachRefused, Attached, CloseCode, Declare, Declared, Detach, Hello,
    Kind, Known, KnownMore, NamespaceDeclaration, Refusal, Returned,
};

/// Bytes of names in one slice of a declaration; a slice has at most 32 KiB.
const DECLARE_SLICE: usize = 24 * 1024;

#[derive(Debug, Default)]
pub(super) struct Uplink {
    link: Option<LinkId>,
    attached: bool,
    /// The hub's instance, as long as it is not known to be gone.
    hub: Option<InstanceId>,
    pub(super) epoch: u64,
    /// Whom this instance has asked last for an attachment.
    asked: Option<InstanceId>,
    /// Whether it has asked another before.
    elder: bool,
    /// Counts the declarations of this instance.
    version: u64,
    /// Slices of the present declaration that are not acknowledged; the first one is under way.
    slices: VecDeque<Declare>,
    /// Whether what is under way is not what the application says now.
    outdated: bool,
    /// What the hub has to be told of others beyond what the attachment had room for.
    known: VecDeque<Known>,
}

impl Uplink {
    pub(super) fn link(&self) -> Option<LinkId> {
        self.link
    }

    /// The next attachment is that of another instance.
    pub(super) fn begin_anew(&mut self) {
        self.attached = false;
        self.asked = None;
        self.elder = false;
        self.version = 0;
        self.slices.clear();
        self.known.clear();
    }

    /// The next part of what the attachment had no room for, once this node is attached.
    pub(super) fn next_known(&mut self, own: InstanceId) -> Option<KnownMore> {
        let known = match self.attached {
            true => self.known.pop_front()?,
            false => return None,
        };
        Some(KnownMore {
            instance: own,
            more: !self.known.is_empty(),
            known,
        })
    }

    pub(super) fn is(&self, id: LinkId) -> bool {
        self.link == Some(id)
    }

    /// This instance has ended: if it was the hub, nobody is for now.
    pub(super) fn forget_hub(&mut self, ended: InstanceId) {
        self.hub.take_if(|hub| *hub == ended);
    }

    pub(super) fn is_attached(&self) -> bool {
        self.attached
    }

    /// Whether the hub has acknowledged all that this node declares now.
    pub(super) fn is_announced(&self) -> bool {
        self.attached && self.slices.is_empty() && !self.outdated
    }
}

impl<F> Node<F> {
    pub(super) fn uplink_added(&mut self, id: LinkId, origin: LinkOrigin) {
        if let LinkOrigin::Dialled(dial) = origin {
            self.dial_succeeded(dial);
        }
        if let Some(old) = self.uplink.link {
            self.uplink_lost(old, Some(CloseCode::Replaced), false);
            self.close_link(old, CloseCode::Replaced, "the hub was dialled again");
        }
        self.uplink.link = Some(id);
    }

    /// The hub's instance, for messages to it.
    pub(super) fn hub_instance(&self) -> Option<InstanceId> {
        match self.hub.is_some() {
            true => Some(self.me.instance),
            false => self.uplink.hub,
        }
    }

    /// The instance of the process that started this one; where none did, the hub's.
    pub(super) fn parent_instance(&self) -> Option<InstanceId> {
        let link = self.uplink.link.and_then(|id| self.links.get(id));
        match link.filter(|link| link.config.origin == LinkOrigin::Inherited) {
            Some(link) => link.peer,
            None => self.hub_instance(),
        }
    }

    /// How many attachments of one message can reach another instance from here.
    pub(super) fn attachments_to(&self, instance: InstanceId) -> u8 {
        let below = self.routes.get(&instance).copied();
        let way = below
            .or(self.uplink.link)
            .filter(|_| below.is_some() || self.hub.is_none());
        let link = way.and_then(|id| self.links.get(id));
        if link.is_some_and(|link| !link.config.attachments) {
            return 0;
        }
        // What the hub says of one behind this node counts the way over the hub.
        self.relay.attachments(instance).unwrap_or_else(|| {
            let peer = self.roster.by_instance(instance);
            peer.map_or(0, |peer| peer.attachments)
        })
    }

    pub(super) fn on_hello(&mut self, id: LinkId, hello: &Hello) {
        let now = self.now;
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if let Err(code) = link.life.hello(now, hello) {
            return self.close_link(id, code, "this hello cannot be accepted");
        }
        link.peer = Some(hello.instance);
        if self.uplink.is(id) {
            if !hello.hub {
                return self.close_link(id, CloseCode::ProtocolViolation, "this is no hub");
            }
            self.ask_attachment(id);
        }
    }

    /// This node has waited to be attached over the only link that it has.
    pub(super) fn attach_due(&mut self) {
        if let Some(id) = self.uplink.link.filter(|_| !self.uplink.attached) {
            self.ask_attachment(id);
        }
    }

    fn ask_attachment(&mut self, id: LinkId) {
        self.timers.set(Timer::Attach, None);
        self.me.counter += 1;
        let asks = self.links.get(id).and_then(|link| link.peer);
        let before = core::mem::replace(&mut self.uplink.asked, asks);
        self.uplink.elder |= before.is_some() && before != asks;
        let mut known = known::parts(&self.roster, self.me.instance);
        self.uplink.known = known.split_off(1).into();
        let attach = self.attach_frame(known.pop().unwrap_or_default());
        self.control(id, Kind::ATTACH, |body| attach.encode(body));
    }

    pub(super) fn attach_frame(&self, known: Known) -> Attach {
        let attachments = match self.uplink.link.and_then(|id| self.links.get(id)) {
            Some(link) if !link.config.attachments => 0,
            _ => self.config.attachments,
        };
        Attach {
            instance: self.me.instance,
            counter: self.me.counter,
            name: self.me.name.clone(),
            identity: self.me.identity,
            handover: self.config.handover,
            budget: self.config.receive_budget,
            reserve: self.config.reply_reserve,
            message_cap: self.config.message_cap,
            attachments,
            known,
            more: !self.uplink.known.is_empty(),
            relayed: false,
            tied: self.is_tied(),
            elder: self.uplink.elder,
        }
    }

    /// Whether this node has no other way to a hub than the link that was there from the beginning.
    fn is_tied(&self) -> bool {
        let link = self.uplink.link.and_then(|id| self.links.get(id));
        let inherited = link.is_some_and(|link| link.config.origin == LinkOrigin::Inherited);
        inherited && !self.dial.dials
    }

    pub(super) fn on_attached(&mut self, attached: &Attached) {
        if attached.instance != self.me.instance {
            return self.on_attached_below(attached);
        }
        if attached.counter != self.me.counter {
            return;
        }
        let changed = self.uplink.hub.is_some_and(|old| old != attached.hub);
        self.uplink.attached = true;
        self.uplink.hub = Some(attached.hub);
        self.uplink.epoch = self.uplink.epoch.max(attached.epoch);
        self.me.identity = Some((attached.id, attached.generation));
        self.dial_settled();
        if changed {
            self.emit(Event::HubChanged);
        }
        self.emit(Event::Connected {
            id: attached.id,
            generation: attached.generation,
            id_changed: attached.id_changed,
        });
        self.after_attachment();
        self.hub_found();
    }

    /// Says that an instance has ended, now or with the next attachment; once, however often a hub
    /// names it.
    pub(super) fn say_gone(&mut self, instance: InstanceId) {
        let mut unsaid = self.uplink.known.iter();
        if unsaid.any(|part| part.gone_instances.contains(&instance)) {
            return;
        }
        self.uplink.known.push_back(Known {
            gone_instances: [instance].into(),
            ..Known::default()
        });
        self.speak_up();
    }

    /// This node has its place: it says what it handles, and its pending time runs.
    pub(super) fn after_attachment(&mut self) {
        self.pending_time_runs();
        self.uplink.slices.clear();
        self.uplink.outdated = false;
        self.declare_now();
        self.outbox.retry_soon();
    }

    /// Where the application never says that it is ready, time does.
    pub(super) fn pending_time_runs(&mut self) {
        if self.is_connected() && self.inbox.is_pending() {
            let at = self.now + self.config.ready_after;
            self.timers.set(Timer::Ready, Some(at));
        }
    }

    /// What this node handles has changed.
    pub(super) fn declarations_changed(&mut self) {
        if self.hub.is_some() {
            self.declare_now();
        } else if self.uplink.attached {
            match self.uplink.slices.is_empty() {
                true => self.declare_now(),
                false => self.uplink.outdated = true,
            }
        }
    }

    fn declare_now(&mut self) {
        let pieces: Vec<NamespaceDeclaration> = self.inbox.declarations();
        let mut slices = Declarations::new(pieces).slices(DECLARE_SLICE);
        if slices.is_empty() {
            slices.push(Vec::new());
        }
        self.uplink.version += 1;
        let count = slices.len();
        let version = self.uplink.version;
        let instance = self.me.instance;
        let slices = slices
            .into_iter()
            .enumerate()
            .map(|(at, namespaces)| Declare {
                instance,
                version,
                slice: at as u32,
                last: at + 1 == count,
                namespaces,
            });
        if self.hub.is_some() {
            for slice in slices.collect::<Vec<_>>() {
                if let Some(hub) = &mut self.hub {
                    // Beyond the limits the earlier declaration stands; `check` refuses before.
                    let _ = hub.roster.declare(&slice);
                }
            }
            self.hub_changed();
        } else {
            self.uplink.slices = slices.collect();
            self.send_declaration();
        }
    }

    fn send_declaration(&mut self) {
        if let (Some(link), Some(slice)) = (self.uplink.link, self.uplink.slices.front().cloned()) {
            self.control(link, Kind::DECLARE, |body| slice.encode(body));
        }
    }

    pub(super) fn on_declared(&mut self, declared: &Declared) {
        if declared.instance != self.me.instance {
            return self.on_declared_below(declared);
        }
        let awaited = self.uplink.slices.front().is_some_and(|slice| {
            slice.version == declared.version && slice.slice == declared.slice
        });
        if !awaited {
            return;
        }
        self.uplink.slices.pop_front();
        if !self.uplink.slices.is_empty() {
            self.send_declaration();
        } else if core::mem::take(&mut self.uplink.outdated) {
            self.declare_now();
        } else {
            self.emit(Event::Announced);
        }
    }

    pub(super) fn on_attach_refused(&mut self, id: LinkId, refused: &AttachRefused) {
        if refused.instance != self.me.instance {
            return self.on_refused_below(refused);
        }
        if refused.counter != self.me.counter {
            return;
        }
        if refused.reason == AttachRefusal::Fenced {
            self.begin_anew();
            if !self.dial.dials {
                // This link is the only one there will be.
                return self.ask_attachment(id);
            }
        } else {
            self.emit(Event::AttachRefused(refused.reason));
            if refused.reason.may_pass() && !self.dial.dials && self.ask_again() {
                return;
            }
        }
        self.close_link(id, CloseCode::Normal, "refused");
    }

    /// The hub returns a frame that it could not deliver and of which no byte went on; or a relay has
    /// thrown away what somebody else sent to this node, which was too much.
    pub(super) fn on_returned(&mut self, returned: Returned) {
        if returned.destination == self.me.instance {
            return self.breach(returned.source, CloseCode::CreditOverrun, OVERRUN);
        }
        if returned.source != self.me.instance {
            return self.return_below(returned);
        }
        let Some(talk) = self.talks.get_mut(returned.destination) else {
            return;
        };
        let Some(message) = talk.out.returned(returned.sequence) else {
            return;
        };
        let request = RequestId(message.0);
        if self.requests.ids().any(|pending| pending == request) {
            let outcome = Outcome::NotRun {
                reason: Refusal::PeerGone,
                message: None,
            };
            self.finish(request, outcome);
        }
    }

    /// The links' ends, in one place: what it means for those who were reached over it.
    pub(super) fn instances_of_link_end(
        &mut self,
        id: LinkId,
        code: Option<CloseCode>,
        by_peer: bool,
    ) {
        if self.uplink.is(id) {
            return self.uplink_ended(id, code, by_peer);
        }
        // A goodbye of the peer is its end; so is, on one machine, an end without a word. Who closes
        // for another reason lives.
        let parting = match code {
            Some(CloseCode::Normal) if by_peer => Parting::Ended,
            Some(_) if by_peer => Parting::Returns,
            Some(_) => Parting::Expelled,
            None => Parting::Silent,
        };
        if self.hub.is_none() {
            return self.child_link_ended(id, parting);
        }
        let Some(link) = self.links.get(id) else {
            return;
        };
        let behind = parting.of_those_behind(link.config.medium);
        for instance in link.bonds.attached().collect::<Vec<_>>() {
            let parting = match self.bond(id, instance) {
                Some(Bond::Own) => parting,
                _ => behind,
            };
            self.lose_member(instance, parting);
        }
        self.hub_changed();
    }

    fn uplink_ended(&mut self, id: LinkId, code: Option<CloseCode>, by_peer: bool) {
        self.uplink_lost(id, code, by_peer);
        match self.dial.dials {
            true => self.dial_again(),
            false => self.emit(Event::GaveUp),
        }
    }

    /// Nothing comes from the hub any more, nor goes to it.
    fn uplink_lost(&mut self, id: LinkId, code: Option<CloseCode>, by_peer: bool) {
        let local = self
            .links
            .get(id)
            .is_some_and(|link| link.config.medium == Medium::Local);
        let peer = self.links.get(id).and_then(|link| link.peer);
        let goodbye = by_peer && code == Some(CloseCode::Normal);
        let died = match code {
            // A local link ends without a word only with the process at its other end.
            None => local,
            Some(_) => goodbye,
        };
        let died = peer.filter(|_| died);
        let was_attached = self.uplink.attached;
        self.uplink.link = None;
        self.lose_hub(died);
        if by_peer && code == Some(CloseCode::Fenced) {
            self.begin_anew();
        }
        if let Some(peer) = died {
            self.hold_for_gone(peer);
        }
        if was_attached {
            self.emit(Event::Disconnected(match code {
                None => Disconnect::Lost,
                Some(code) if by_peer => Disconnect::Closed(code),
                Some(code) => Disconnect::Fault(code),
            }));
        }
    }

    /// The node at the other end of the uplink says that it has lost the hub, or who is gone for
    /// it. The link stays: this node asks to be attached, and is as soon as the hub is found again.
    pub(super) fn on_set_aside(&mut self, id: LinkId, detach: Detach) {
        if detach.instance != self.me.instance {
            if detach.gone {
                self.hold_for_gone(detach.instance);
            } else if let Some(counter) = detach.moved {
                self.has_moved(detach.instance, counter);
            }
            return;
        }
        if !self.uplink.attached {
            return;
        }
        self.lose_hub(None);
        self.emit(Event::Disconnected(Disconnect::Lost));
        self.ask_attachment(id);
    }

    /// There is no way to the hub now. `died`: whose death was the cause.
    fn lose_hub(&mut self, died: Option<InstanceId>) {
        self.uplink.attached = false;
        self.uplink.slices.clear();
        self.timers.set(Timer::Ready, None);
        self.timers.set(Timer::Attach, None);
        self.all_paths_end();
        self.roster.hub_lost();
        self.hub_lost(died);
    }
}
