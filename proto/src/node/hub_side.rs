//! What only a hub does: it attaches members, passes frames on, and tells who is there.

use alloc::vec::Vec;

use super::links::Link;
use super::{Node, Timer};
use crate::config::Config;
use crate::hub::declarations::DeclareLimits;
use crate::hub::egress::{Overrun, Unwritten};
use crate::hub::identity::{
    Assignment, GoneCause, IdentityConfig, IdentityEffect, IdentityTable, Loss,
};
use crate::hub::roster::HubRoster;
use crate::id::{Generation, InstanceId, LinkId, PeerId};
use crate::link::life::Medium;
use crate::link::rx::Received;
use crate::link::tx::Transmitter;
use crate::output::{Event, Output};
use crate::wire::{
    self, Attach, Attached, CloseCode, Declare, Detach, Header, Kind, Known, KnownMore, Returned,
    RosterGone, limits,
};

/// Roster updates stop for a plan beyond this, so that data gets its share of the link.
const ROSTER_SHARE: usize = 16 * 1024;

/// What is known of an instance that has left its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parting {
    /// It said that it has ended, or this node has ended it.
    Ended,
    /// It said something else, so that it lives: it may come back.
    Returns,
    /// It said nothing.
    Silent,
}

#[derive(Debug)]
pub(super) struct HubSide {
    pub(super) identities: IdentityTable,
    pub(super) roster: HubRoster,
    pub(super) epoch: u64,
}

impl<F> Node<F> {
    /// Begins to be the hub.
    pub(super) fn found(&mut self) {
        let config = IdentityConfig {
            name_binding: self.config.name_memory,
            completion_grace: self.config.complete_grace,
            return_grace: self.config.return_grace,
            ..IdentityConfig::default()
        };
        let name = self.me.name.clone();
        let identities = IdentityTable::found(self.now, config, self.me.instance, name.clone());
        let complete = identities.is_complete();
        let mut roster = HubRoster::new(DeclareLimits::default(), complete);
        let given = Assignment {
            id: PeerId(1),
            generation: Generation(1),
            name,
            id_changed: false,
            resumed: false,
            replaced: None,
        };
        self.me.counter = 1;
        roster.attached(&self.attach_frame(Known::default()), &given);
        roster.subscribe(self.me.instance);
        self.me.identity = Some((given.id, given.generation));
        self.hub = Some(HubSide {
            identities,
            roster,
            epoch: 1,
        });
        self.emit(Event::Connected {
            id: given.id,
            generation: given.generation,
            id_changed: false,
        });
        self.after_attachment();
        self.hub_changed();
    }

    /// The hub's roster has changed: tells this node and every member.
    pub(super) fn hub_changed(&mut self) {
        let Some(hub) = &mut self.hub else {
            return;
        };
        let mut gone = Vec::new();
        while let Some(effect) = hub.identities.poll() {
            match effect {
                IdentityEffect::Gone { peer, cause } => {
                    hub.roster.gone(peer);
                    let code = match cause {
                        GoneCause::Replaced => CloseCode::Replaced,
                        _ => CloseCode::Fenced,
                    };
                    gone.push((peer, code));
                }
                IdentityEffect::Raised {
                    instance,
                    id,
                    generation,
                } => {
                    hub.roster.identified(instance, id, generation);
                    if instance == self.me.instance {
                        // An earlier hub had this identity: its members have said so by now.
                        self.me.identity = Some((id, generation));
                        self.outputs.push_back(Output::Event(Event::Connected {
                            id,
                            generation,
                            id_changed: false,
                        }));
                    }
                }
            }
        }
        hub.roster.set_complete(hub.identities.is_complete());
        let deadline = hub.identities.deadline();
        self.timers.set(Timer::Identity, deadline);
        for (peer, code) in gone {
            self.member_gone(peer, code);
        }
        let own = self.me.instance;
        while let Some(update) = self
            .hub
            .as_mut()
            .and_then(|hub| hub.roster.next_update(own))
        {
            self.apply_roster(&update);
        }
        let waiting: Vec<InstanceId> = match &self.hub {
            Some(hub) => hub.roster.waiting().collect(),
            None => Vec::new(),
        };
        for member in waiting {
            if let Some(link) = self.routes.get(&member) {
                self.links.touch(*link);
            }
        }
    }

    /// Nobody could reach this hub for a while: nobody is gone for that.
    pub(super) fn put_off_graces(&mut self) {
        if let Some(hub) = &mut self.hub {
            hub.identities.put_off(self.now, self.config.detach_grace);
            let deadline = hub.identities.deadline();
            self.timers.set(Timer::Identity, deadline);
        }
    }

    /// Ends at most so many graces; says how many.
    pub(super) fn identity_due(&mut self, most: usize) -> usize {
        let Some(hub) = &mut self.hub else {
            return 0;
        };
        let ended = hub.identities.timeout(self.now, most);
        self.hub_changed();
        ended
    }

    /// A link brings an instance.
    pub(super) fn on_attach(&mut self, id: LinkId, attach: &Attach) {
        let Some(local) = self
            .links
            .get(id)
            .map(|link| link.config.medium == Medium::Local)
        else {
            return;
        };
        let Some(hub) = &mut self.hub else {
            return self.close_link(id, CloseCode::ProtocolViolation, "this is no hub");
        };
        match hub.identities.attach(self.now, attach, local) {
            Ok(given) => self.attach_member(id, attach, &given),
            Err(refusal) => {
                match refusal.answer(attach) {
                    Some(answer) => {
                        self.control(id, Kind::ATTACH_REFUSED, |body| answer.encode(body));
                    }
                    None => {
                        self.close_link(id, CloseCode::Replaced, "a later attachment is in use")
                    }
                }
                self.hub_changed();
            }
        }
    }

    fn attach_member(&mut self, id: LinkId, attach: &Attach, given: &Assignment) {
        let instance = attach.instance;
        if let Some(old) = self.routes.insert(instance, id).filter(|old| *old != id) {
            if let Some(link) = self.links.get_mut(old) {
                link.instances.remove(&instance);
                link.ready.retain(|ready| *ready != instance);
            }
            if let Some(talk) = self.talks.get_mut(instance) {
                talk.queued = false;
            }
            self.close_link(
                old,
                CloseCode::Replaced,
                "the instance came over another link",
            );
        }
        let own = self.me.instance;
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        link.instances.insert(instance);
        // What this hub does not accept itself it does not pass on.
        let attachments = match link.config.attachments {
            true => attach.attachments.min(self.config.attachments),
            false => 0,
        };
        let Some(hub) = &mut self.hub else {
            return;
        };
        let declared = Attach {
            attachments,
            ..attach.clone()
        };
        hub.roster.attached(&declared, given);
        hub.roster.subscribe(instance);
        let answer = Attached {
            instance,
            counter: attach.counter,
            id: given.id,
            generation: given.generation,
            hub: own,
            epoch: hub.epoch,
            id_changed: given.id_changed,
        };
        self.control(id, Kind::ATTACHED, |body| answer.encode(body));
        self.hub_changed();
        self.rebound();
    }

    /// A member unbinds an instance from its link.
    pub(super) fn on_detach(&mut self, id: LinkId, detach: Detach) {
        if self.routes.get(&detach.instance) == Some(&id) {
            let parting = match detach.gone {
                true => Parting::Ended,
                false => Parting::Returns,
            };
            self.lose_member(detach.instance, parting);
            self.hub_changed();
        }
    }

    pub(super) fn on_declare(&mut self, id: LinkId, declare: &Declare) {
        if self.routes.get(&declare.instance) != Some(&id) {
            return self.close_link(id, CloseCode::ForgedSource, "not attached over this link");
        }
        let Some(hub) = &mut self.hub else {
            return;
        };
        match hub.roster.declare(declare) {
            Ok(answer) => {
                self.control(id, Kind::DECLARED, |body| answer.encode(body));
                self.hub_changed();
            }
            Err(_) => self.close_link(
                id,
                CloseCode::ProtocolViolation,
                "the declaration is beyond its limits or out of order",
            ),
        }
    }

    pub(super) fn on_known(&mut self, id: LinkId, said: &KnownMore) {
        let by = said.instance;
        if self.routes.get(&by) != Some(&id) {
            return self.close_link(id, CloseCode::ForgedSource, "not attached over this link");
        }
        let Some(hub) = &mut self.hub else {
            return;
        };
        match hub.identities.known(self.now, by, &said.known, said.more) {
            Ok(()) => self.hub_changed(),
            Err(_) => self.close_link(
                id,
                CloseCode::ProtocolViolation,
                "no honest member can know this",
            ),
        }
    }

    /// A frame of a conversation that a member sends.
    pub(super) fn on_member_frame(&mut self, id: LinkId, received: Received<'_, F>) {
        let header = received.frame.header;
        let carried = received.attachments.len() as u64;
        if self.routes.get(&header.source) != Some(&id) {
            self.stats.attachments_dropped += carried;
            return self.close_link(
                id,
                CloseCode::ForgedSource,
                "the source is not attached over this link",
            );
        }
        if header.destination == self.me.instance {
            return self.on_talk_frame(received);
        }
        if header.hops >= limits::HOPS {
            self.stats.hops_dropped += 1;
            self.stats.attachments_dropped += carried;
            return;
        }
        let Some(to) = self.routes.get(&header.destination).copied() else {
            self.stats.attachments_dropped += carried;
            return self.cannot_forward(id, &header);
        };
        self.pass_on(id, to, received);
    }

    /// Queues a frame for the link that leads to its destination.
    fn pass_on(&mut self, from: LinkId, to: LinkId, received: Received<'_, F>) {
        let (source, destination) = {
            let header = &received.frame.header;
            (header.source, header.destination)
        };
        let Self {
            links,
            hub,
            routes,
            config,
            ..
        } = self;
        let Some(link) = links.get_mut(to) else {
            self.stats.attachments_dropped += received.attachments.len() as u64;
            return;
        };
        let bound = || {
            let hub = hub.as_ref();
            let allowance = hub.and_then(|hub| hub.roster.allowance(destination));
            egress_bound(config, routes.len(), allowance.unwrap_or_default())
        };
        let Received {
            frame,
            attachments,
            lost,
        } = received;
        let Err(refused) = link.egress.push(&frame, attachments, lost, bound) else {
            self.stats.forwarded += 1;
            return self.links.touch(to);
        };
        self.stats.attachments_dropped += refused.attachments.len() as u64;
        let code = refused.why.close_code();
        let blamed = match refused.why {
            Overrun::Credit => link.egress.heaviest(destination).unwrap_or(source),
            _ => source,
        };
        let guilty = self.routes.get(&blamed).copied().unwrap_or(from);
        self.close_link(guilty, code, "more was sent than the receiver allows");
    }

    fn cannot_forward(&mut self, id: LinkId, header: &Header) {
        let gone = self
            .hub
            .as_ref()
            .is_some_and(|hub| hub.identities.identity(header.destination).is_none());
        if !gone {
            self.stats.detached_dropped += 1;
            return;
        }
        self.stats.gone_dropped += 1;
        if matches!(header.kind, Kind::REQUEST | Kind::SLICE) {
            self.return_frame(id, header.source, header.destination, header.sequence);
        }
    }

    fn return_frame(
        &mut self,
        id: LinkId,
        source: InstanceId,
        destination: InstanceId,
        sequence: u64,
    ) {
        let returned = Returned {
            source,
            destination,
            sequence,
        };
        self.control(id, Kind::RETURNED, |body| returned.encode(body));
    }

    /// An instance that was attached over a link is not any more. What was queued for it is
    /// settled now, while the link's queue still exists.
    pub(super) fn lose_member(&mut self, instance: InstanceId, parting: Parting) {
        let grace = self.config.detach_grace;
        let now = self.now;
        let Some(hub) = &mut self.hub else {
            return;
        };
        let loss = match parting {
            Parting::Ended if hub.identities.gone(now, instance) => Loss::Gone,
            Parting::Ended => Loss::Unknown,
            Parting::Returns => hub.identities.away(now, instance, grace),
            Parting::Silent => hub.identities.detached(now, instance, grace),
        };
        let unwritten = self.forget_route(instance);
        match loss {
            Loss::Detached => {
                self.stats.detached_dropped += unwritten.len() as u64;
                self.drop_unwritten(&unwritten);
                if let Some(hub) = &mut self.hub {
                    hub.roster.detached(instance);
                }
                self.path_ends(instance);
            }
            // A death comes back as an effect of the identity table, for all causes alike.
            Loss::Gone | Loss::Unknown => self.give_back_unwritten(&unwritten),
        }
    }

    fn forget_route(&mut self, instance: InstanceId) -> Vec<Unwritten<F>> {
        let Some(id) = self.routes.remove(&instance) else {
            return Vec::new();
        };
        self.rebound();
        let Some(link) = self.links.get_mut(id) else {
            return Vec::new();
        };
        link.instances.remove(&instance);
        link.ready.retain(|ready| *ready != instance);
        if let Some(talk) = self.talks.get_mut(instance) {
            talk.queued = false;
        }
        let Some(link) = self.links.get_mut(id) else {
            return Vec::new();
        };
        link.egress.take_returned(instance)
    }

    fn drop_unwritten(&mut self, unwritten: &[Unwritten<F>]) {
        let handles = unwritten.iter().map(Unwritten::attachment_count);
        self.stats.attachments_dropped += handles.sum::<u64>();
    }

    /// What was never written to an instance that has ended: requests are returned, so that their
    /// senders know that they were not run.
    fn give_back_unwritten(&mut self, unwritten: &[Unwritten<F>]) {
        self.stats.gone_dropped += unwritten.len() as u64;
        self.drop_unwritten(unwritten);
        for frame in unwritten.iter().filter(|frame| frame.may_be_request()) {
            if let Some(back) = self.routes.get(&frame.source).copied() {
                self.return_frame(back, frame.source, frame.destination, frame.sequence);
            }
        }
    }

    /// The hub says for all that an instance has ended.
    fn member_gone(&mut self, peer: RosterGone, code: CloseCode) {
        let link = self.routes.get(&peer.instance).copied();
        let unwritten = self.forget_route(peer.instance);
        self.give_back_unwritten(&unwritten);
        for link in self.links.iter_mut() {
            let purged = link.egress.purge(peer.instance);
            self.stats.gone_dropped += purged.frames;
        }
        let empty = link.and_then(|id| self.links.get(id)).filter(|link| {
            // A link whose only instance is fenced has nothing more to say.
            link.instances.is_empty()
        });
        if let Some(id) = empty.map(|link| link.id) {
            self.close_link(id, code, "the instance is gone");
        }
    }

    /// The number of senders has changed, and with it what their first contact may add up to.
    fn rebound(&mut self) {
        let Self {
            hub: Some(hub),
            links,
            routes,
            config,
            ..
        } = self
        else {
            return;
        };
        let senders = routes.len();
        for link in links.iter_mut() {
            link.egress.rebound(|instance| {
                let allowance = hub.roster.allowance(instance);
                egress_bound(config, senders, allowance.unwrap_or_default())
            });
        }
    }

    /// Puts what the members of a link are to be told into its plan.
    pub(super) fn fill_roster(&mut self, id: LinkId) {
        let Self {
            hub: Some(hub),
            links,
            me,
            ..
        } = self
        else {
            return;
        };
        let Some(link) = links.get_mut(id) else {
            return;
        };
        let Link { instances, tx, .. } = link;
        for member in instances.iter() {
            let mut share = ROSTER_SHARE;
            while share > 0 && tx.room() > 0 {
                let Some(update) = hub.roster.next_update(*member) else {
                    break;
                };
                let before = tx.room();
                push_roster(tx, me.instance, &update);
                share = share.saturating_sub(before - tx.room());
            }
        }
    }
}

/// What an instance can have under way to it: what it allows by its own word (its budget, and its
/// reserve for replies), and the first contact of everybody.
fn egress_bound(config: &Config, senders: usize, allowance: u64) -> u64 {
    let first_contact = (senders as u64 + 64).saturating_mul(config.first_contact.bytes);
    allowance.saturating_add(first_contact)
}

fn push_roster<F>(tx: &mut Transmitter<F>, own: InstanceId, update: &wire::RosterUpdate) {
    tx.push_encoded(|out| {
        wire::frame(
            Kind::ROSTER,
            own,
            InstanceId::NONE,
            |body| update.encode(body),
            out,
        );
    });
}
