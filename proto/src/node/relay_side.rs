//! What a member does whose own children attach through it: it passes their wishes to the hub and
//! the answers back, and tells them who is there.

use alloc::vec::Vec;

use super::Node;
use super::hub_side::Parting;
use super::links::LinkOrigin;
use crate::group::{Presence, RosterChange};
use crate::hub::declarations::DeclareLimits;
use crate::hub::roster::HubRoster;
use crate::id::{InstanceId, LinkId};
use crate::link::bonds::Bond;
use crate::link::tx::Transmitter;
use crate::relay::{Asking, Place, Up};
use crate::wire::{
    self, Attach, AttachRefusal, AttachRefused, Attached, CloseCode, Declare, Declared, Detach,
    Kind, KnownMore, NamespaceDeclaration, Returned, RosterPeer,
};

/// What the hub is told for others stops for a plan beyond this, so that data gets its share of the
/// link.
const UP_SHARE: usize = 16 * 1024;

impl<F> Node<F> {
    /// Whether others attach to this node over the link.
    pub(super) fn leads_below(&self, id: LinkId) -> bool {
        let child = self
            .links
            .get(id)
            .is_some_and(|link| link.config.origin == LinkOrigin::Child);
        self.hub.is_some() || child
    }

    /// This member gets a link to a child.
    pub(super) fn child_added(&mut self) {
        if self.relay.roster().is_some() {
            return;
        }
        let peers = self.roster.peers().map(|peer| peer.instance);
        let known: Vec<InstanceId> = peers.collect();
        let complete = self.roster.is_complete();
        let mut told = HubRoster::new(DeclareLimits::default(), complete);
        for instance in known {
            if let Some((peer, declared)) = self.retold(instance) {
                told.put(peer, declared);
            }
        }
        self.relay.begin_to_tell(told);
    }

    /// A peer as this node tells it to its children, and what it has declared.
    fn retold(
        &self,
        instance: InstanceId,
    ) -> Option<(RosterPeer, Option<Vec<NamespaceDeclaration>>)> {
        let (mut peer, declared) = self.roster.retell(instance)?;
        // Attachments may not come this far, or not go on from here.
        peer.attachments = match instance == self.me.instance {
            true => self.config.attachments,
            false => self.attachments_to(instance).min(self.config.attachments),
        };
        Some((peer, declared))
    }

    /// A child, or one behind it, asks to be attached.
    pub(super) fn on_attach_below(&mut self, id: LinkId, attach: Attach) {
        let (instance, counter) = (attach.instance, attach.counter);
        let link = self.links.get(id);
        let speaker = link.and_then(|link| link.bonds.own().next());
        let carries = match link.is_some_and(|link| link.config.attachments) {
            true => self.config.attachments,
            false => 0,
        };
        let asking = match instance == self.me.instance || instance.is_none() {
            true => Asking::Refused(AttachRefused {
                instance,
                counter: attach.counter,
                reason: AttachRefusal::Invalid,
                generation: Default::default(),
            }),
            false => self.relay.attach(id, attach, carries, speaker),
        };
        match asking {
            Asking::Refused(answer) => {
                self.control(id, Kind::ATTACH_REFUSED, |body| answer.encode(body));
            }
            Asking::Passed { moved_from } => {
                if let Some(old) = moved_from {
                    self.moved_away(old, instance, counter);
                }
                self.routes.insert(instance, id);
                self.speak_up();
            }
        }
    }

    /// An instance came over another link than the one it had, by this attachment.
    pub(super) fn moved_away(&mut self, old: LinkId, instance: InstanceId, counter: u64) {
        let bond = self.bond(old, instance);
        self.drop_route(instance);
        match bond {
            Some(Bond::Own) => {
                let text = "the instance came over another link";
                self.close_link(old, CloseCode::Replaced, text);
            }
            // Who spoke for it, and may have heard nothing of it, goes on passing frames its way.
            Some(Bond::Relayed) => {
                let detach = Detach {
                    instance,
                    gone: false,
                    moved: Some(counter),
                };
                self.control(old, Kind::DETACH, |body| detach.encode(body));
            }
            Some(Bond::Left) | None => {}
        }
    }

    /// The hub says that an instance behind this node came over another link.
    pub(super) fn has_moved(&mut self, instance: InstanceId, counter: u64) {
        if self.relay.moved(instance, counter)
            && let Some(old) = self.routes.get(&instance).copied()
        {
            self.moved_away(old, instance, counter);
        }
    }

    /// The hub's answer to what an instance behind this one asked.
    pub(super) fn on_attached_below(&mut self, answer: &Attached) {
        let Some((id, relayed)) = self.relay.attached(answer) else {
            return;
        };
        if let Some(link) = self.links.get_mut(id) {
            link.bonds.bind(answer.instance, relayed);
        }
        self.attached_from_afar(id);
        self.control(id, Kind::ATTACHED, |body| answer.encode(body));
        self.rebound();
        let peer = self.roster.by_instance(answer.instance);
        if let Some(peer) = peer.filter(|peer| peer.presence == Presence::Attached) {
            self.relay.seen(peer.instance, peer.attachment);
            self.tell_below();
        }
    }

    pub(super) fn on_refused_below(&mut self, answer: &AttachRefused) {
        if let Some((id, forgotten)) = self.relay.refused(answer) {
            if forgotten {
                self.drop_route(answer.instance);
            }
            self.control(id, Kind::ATTACH_REFUSED, |body| answer.encode(body));
        }
    }

    pub(super) fn on_declare_below(&mut self, id: LinkId, declare: &Declare) {
        match self.bond(id, declare.instance) {
            None => self.close_link(id, CloseCode::ForgedSource, "not attached over this link"),
            Some(Bond::Left) => {}
            Some(_) => match self.relay.declare(declare) {
                Ok(()) => self.speak_up(),
                Err(_) => {
                    let text = "a slice came before the last one was acknowledged";
                    self.close_link(id, CloseCode::ProtocolViolation, text);
                }
            },
        }
    }

    pub(super) fn on_declared_below(&mut self, answer: &Declared) {
        if let Some(id) = self.relay.declared(answer) {
            self.control(id, Kind::DECLARED, |body| answer.encode(body));
        }
    }

    /// The hub returns a frame that came from below, or what was for somebody below was thrown away.
    pub(super) fn return_below(&mut self, returned: Returned) {
        let Returned {
            source,
            destination,
            ..
        } = returned;
        let below = self.routes.get(&source).or(self.routes.get(&destination));
        if let Some(id) = below.copied() {
            self.control(id, Kind::RETURNED, |body| returned.encode(body));
            self.check_flooded(id);
        }
    }

    pub(super) fn on_known_below(&mut self, id: LinkId, said: &KnownMore, bytes: usize) {
        match self.relay.known(said, bytes) {
            Ok(()) => self.speak_up(),
            Err(_) => {
                let text = "nobody knows so much of others";
                self.close_link(id, CloseCode::ProtocolViolation, text);
            }
        }
    }

    /// An instance behind this node has ended, or has lost its link and may come back.
    pub(super) fn lose_child(&mut self, instance: InstanceId, gone: bool) {
        self.drop_route(instance);
        self.purge(instance);
        self.path_ends(instance);
        let unsaid = self.relay.leave(instance, gone);
        self.speak_up();
        if gone && unsaid {
            // The hub does not know that it was here: it hears of it from this node.
            self.hold_for_gone(instance);
            self.say_gone(instance);
        }
    }

    fn drop_route(&mut self, instance: InstanceId) {
        let unwritten = self.forget_route(instance);
        self.stats.detached_dropped += unwritten.len() as u64;
        self.drop_unwritten(&unwritten);
    }

    /// This node knows by itself that an instance has ended.
    pub(super) fn hold_for_gone(&mut self, instance: InstanceId) {
        self.uplink.forget_hub(instance);
        if let Some(change) = self.roster.declare_gone(instance) {
            self.on_roster_change(change);
        }
    }

    /// A link to a child is over. On one machine that is the end of the process there. Those behind it
    /// may live on and come back, unless they had no other way.
    pub(super) fn child_link_ended(&mut self, id: LinkId, parting: Parting) {
        let Some(medium) = self.links.get(id).map(|link| link.config.medium) else {
            return;
        };
        let behind = parting.of_those_behind(medium);
        for (instance, place) in self.relay.over(id) {
            let gone = match place {
                Place::Here => parting.is_end(medium),
                Place::Tied => behind == Parting::Orphaned,
                Place::Behind => false,
            };
            self.lose_child(instance, gone);
        }
    }

    /// This node is attached: whoever waits behind it is passed on.
    pub(super) fn hub_found(&mut self) {
        self.relay.hub_found();
        self.speak_up();
    }

    /// The hub is lost, and `gone` says whether it has ended: whoever is attached through this node
    /// is told.
    pub(super) fn hub_lost(&mut self, gone: Option<InstanceId>) {
        let (told, ended) = self.relay.hub_lost();
        for (instance, id) in told {
            if let Some(instance) = gone {
                let detach = Detach {
                    instance,
                    gone: true,
                    moved: None,
                };
                self.control(id, Kind::DETACH, |body| detach.encode(body));
            }
            let detach = Detach {
                instance,
                gone: false,
                moved: None,
            };
            self.control(id, Kind::DETACH, |body| detach.encode(body));
        }
        for link in self.links.iter_mut() {
            let bound: Vec<InstanceId> = link.bonds.attached().collect();
            for instance in bound {
                link.bonds.unbind(instance);
            }
            for unwritten in link.egress.drain() {
                self.stats.detached_dropped += 1;
                self.stats.attachments_dropped += unwritten.attachment_count();
            }
        }
        for instance in ended {
            self.hold_for_gone(instance);
        }
    }

    /// Repeats to the children whether the hub says that everybody is named.
    pub(super) fn retell_completeness(&mut self) {
        let complete = self.roster.is_complete();
        if self.hub.is_none()
            && let Some(roster) = self.relay.roster()
        {
            roster.set_complete(complete);
            self.tell_below();
        }
    }

    /// Repeats to the children what the hub says.
    pub(super) fn retell(&mut self, change: &RosterChange) {
        let instance = match change {
            RosterChange::Attached { instance, .. }
            | RosterChange::Detached { instance }
            | RosterChange::Up { instance }
            | RosterChange::Identified { instance, .. }
            | RosterChange::Changed { instance } => *instance,
            RosterChange::Gone { peer, .. } => {
                if let Some(roster) = self.relay.roster() {
                    roster.gone(*peer);
                    self.tell_below();
                }
                return;
            }
            RosterChange::Completed | RosterChange::Resurrected { .. } => return,
        };
        if self.relay.roster().is_none() {
            return;
        }
        let Some((peer, declared)) = self.retold(instance) else {
            return;
        };
        let attachment = peer.attached.then_some(peer.attachment);
        let Some(roster) = self.relay.roster() else {
            return;
        };
        roster.put(peer, declared);
        if let Some(attachment) = attachment {
            self.relay.seen(instance, attachment);
        }
        self.tell_below();
    }

    /// Somebody attached through this node is gone, as the hub says.
    pub(super) fn child_gone(&mut self, instance: InstanceId) {
        let link = self.routes.get(&instance).copied();
        let bond = link.and_then(|id| self.bond(id, instance));
        if let (Some(id), Some(bond @ (Bond::Own | Bond::Relayed))) = (link, bond) {
            self.relay.forget(instance);
            let unwritten = self.forget_route(instance);
            self.give_back_unwritten(&unwritten);
            if bond == Bond::Own {
                self.close_link(id, CloseCode::Fenced, "the instance is gone");
            }
        }
        if let Some(link) = self.uplink.link().and_then(|id| self.links.get_mut(id)) {
            let unwritten = link.egress.take_returned(instance);
            self.give_back_unwritten(&unwritten);
        }
        self.purge(instance);
    }

    pub(super) fn bond(&self, id: LinkId, instance: InstanceId) -> Option<Bond> {
        self.links.get(id)?.bonds.of(instance)
    }

    pub(super) fn speak_up(&mut self) {
        if let Some(id) = self.uplink.link() {
            self.links.touch(id);
        }
    }

    fn tell_below(&mut self) {
        let Self {
            relay,
            routes,
            links,
            ..
        } = self;
        let Some(roster) = relay.roster() else {
            return;
        };
        for member in roster.waiting() {
            if let Some(link) = routes.get(&member) {
                links.touch(*link);
            }
        }
    }

    /// Puts what the hub is to be told of others, and for others, into the plan of the link to it.
    pub(super) fn fill_up(&mut self, id: LinkId) {
        let Self {
            relay,
            links,
            uplink,
            me,
            ..
        } = self;
        let Some(link) = links.get_mut(id).filter(|_| uplink.is(id)) else {
            return;
        };
        let floor = link.tx.room().saturating_sub(UP_SHARE);
        let mut next = || {
            let known = uplink.next_known(me.instance).map(Up::Known);
            known.or_else(|| relay.next_up())
        };
        while link.tx.room() > floor
            && let Some(up) = next()
        {
            push_up(&mut link.tx, me.instance, &up);
        }
    }
}

fn push_up<F>(tx: &mut Transmitter<F>, own: InstanceId, up: &Up) {
    let mut push = |kind, source, body: &dyn Fn(&mut Vec<u8>)| {
        tx.push_encoded(|out| wire::frame(kind, source, InstanceId::NONE, body, out));
    };
    match up {
        Up::Attach(attach) => push(Kind::ATTACH, own, &|body| attach.encode(body)),
        Up::Declare(declare) => push(Kind::DECLARE, own, &|body| declare.encode(body)),
        Up::Known(known) => push(Kind::KNOWN, own, &|body| known.encode(body)),
        Up::Detach(detach) => push(Kind::DETACH, own, &|body| detach.encode(body)),
    }
}
