//! Frames on their way to somebody else: a hub passes them between its members, a relay between
//! its children and its hub. Both check that the source is attached over the link, count the hop,
//! and queue the frame for the next link.

use alloc::vec::Vec;

use super::Node;
use super::runs::Lead;
use crate::group::Roster;
use crate::hub::egress::{Overrun, Unwritten};
use crate::id::{InstanceId, LinkId};
use crate::link::bonds::Bond;
use crate::link::rx::Received;
use crate::output::Event;
use crate::relay::Relay;
use crate::wire::{CloseCode, Header, Kind, Returned, limits};

/// What somebody did of whom more is queued than can have been allowed.
pub(super) const OVERRUN: &str = "more was sent than the receiver allows";

impl<F> Node<F> {
    /// A frame of a conversation came over a link on which others attach to this node.
    pub(super) fn on_frame_from_below(
        &mut self,
        id: LinkId,
        received: Received<'_, F>,
    ) -> Option<Lead> {
        let header = received.frame.header;
        let carried = received.attachments.len() as u64;
        match self.bond(id, header.source) {
            Some(Bond::Own | Bond::Relayed) => {}
            Some(Bond::Left) => {
                // It was under way when its source left; whoever sent it asks anew.
                self.stats.detached_dropped += 1;
                self.stats.attachments_dropped += carried;
                return None;
            }
            None => {
                self.stats.attachments_dropped += carried;
                self.close_link(
                    id,
                    CloseCode::ForgedSource,
                    "the source is not attached over this link",
                );
                return None;
            }
        }
        if header.destination == self.me.instance {
            return self.on_talk_frame(received);
        }
        if header.hops >= limits::HOPS {
            return self.drop_far_travelled(received);
        }
        match self.next_link(header.destination) {
            Some(to) => self.pass_on(to, received),
            None => {
                self.stats.attachments_dropped += carried;
                self.cannot_forward(id, &header);
                None
            }
        }
    }

    /// A frame of a conversation came from the hub. It is for this node or for somebody behind it.
    pub(super) fn on_frame_from_above(&mut self, received: Received<'_, F>) -> Option<Lead> {
        let header = received.frame.header;
        if header.destination == self.me.instance {
            return self.on_talk_frame(received);
        }
        if header.hops >= limits::HOPS {
            return self.drop_far_travelled(received);
        }
        match self.routes.get(&header.destination).copied() {
            Some(to) => self.pass_on(to, received),
            None => {
                self.stats.gone_dropped += 1;
                self.stats.attachments_dropped += received.attachments.len() as u64;
                None
            }
        }
    }

    /// It has gone over more links than there can be between two instances: it goes in circles.
    fn drop_far_travelled(&mut self, received: Received<'_, F>) -> Option<Lead> {
        self.stats.hops_dropped += 1;
        self.stats.attachments_dropped += received.attachments.len() as u64;
        None
    }

    /// The link over which frames from below go on. Two children of one relay meet there: the way
    /// is short, and it stays the same for as long as both are attached over it, so their frames
    /// keep their order.
    ///
    /// Who is there beyond the relay, the hub judges. Its word on a sender may come after the frames
    /// of that one, and what answers them is said once: dropped here, nobody would ask for it again.
    fn next_link(&self, destination: InstanceId) -> Option<LinkId> {
        let below = self.routes.get(&destination).copied();
        if below.is_some() || self.hub.is_some() || self.roster.is_gone(destination) {
            return below;
        }
        self.uplink.link()
    }

    /// Queues a frame for the link that leads to its destination.
    fn pass_on(&mut self, to: LinkId, received: Received<'_, F>) -> Option<Lead> {
        let Received {
            frame,
            attachments,
            lost,
        } = received;
        let header = frame.header;
        let mut attachments = attachments;
        // Where more is queued than can have been allowed, the one who sent most of it goes, and
        // the frame that came last gets its second chance.
        for _ in 0..2 {
            let Self {
                links,
                roster,
                routes,
                relay,
                ..
            } = self;
            let Some(link) = links.get_mut(to) else {
                self.stats.attachments_dropped += attachments.len() as u64;
                return None;
            };
            let bound = || {
                let senders = routes.len().max(roster.len());
                egress_bound(senders, allowance(roster, relay, header.destination))
            };
            let Err(refused) = link.egress.push(&frame, attachments, lost, bound) else {
                self.stats.forwarded += 1;
                self.links.touch(to);
                return Some(Lead::Passing(to));
            };
            let blamed = match refused.why {
                Overrun::Credit => link.egress.heaviest(header.destination),
                _ => None,
            };
            let blamed = blamed.unwrap_or(header.source);
            let dropped = link.egress.drop_between(blamed, header.destination);
            self.stats.overrun_dropped += dropped.len() as u64;
            self.drop_unwritten(&dropped);
            self.overran(blamed, header.destination, refused.why);
            attachments = refused.attachments;
            if blamed == header.source {
                break;
            }
        }
        self.stats.overrun_dropped += 1;
        self.stats.attachments_dropped += attachments.len() as u64;
        None
    }

    /// An instance has sent more than its receiver allows.
    fn overran(&mut self, source: InstanceId, destination: InstanceId, why: Overrun) {
        if self.routes.contains_key(&source) {
            return self.expel(source, why.close_code(), OVERRUN);
        }
        // It is behind the hub, so its link is not this node's to close. The receiver is told, which
        // would else wait for what was dropped here.
        self.emit(Event::PeerFault {
            instance: source,
            rule: OVERRUN,
        });
        self.on_returned(Returned {
            source,
            destination,
            sequence: 0,
        });
    }

    fn cannot_forward(&mut self, id: LinkId, header: &Header) {
        let known = match &self.hub {
            Some(hub) => hub.identities.identity(header.destination).is_some(),
            None => self.roster.by_instance(header.destination).is_some(),
        };
        if known {
            self.stats.detached_dropped += 1;
            return;
        }
        self.stats.gone_dropped += 1;
        if matches!(header.kind, Kind::REQUEST | Kind::SLICE) {
            let returned = Returned {
                source: header.source,
                destination: header.destination,
                sequence: header.sequence,
            };
            self.control(id, Kind::RETURNED, |body| returned.encode(body));
            self.check_flooded(id);
        }
    }

    /// An instance is not attached over its link any more. What was queued for it comes back.
    pub(super) fn forget_route(&mut self, instance: InstanceId) -> Vec<Unwritten<F>> {
        let Some(id) = self.routes.remove(&instance) else {
            return Vec::new();
        };
        self.rebound();
        self.leave_turn(id, |other| other == instance);
        let Some(link) = self.links.get_mut(id) else {
            return Vec::new();
        };
        link.bonds.unbind(instance);
        link.egress.take_returned(instance)
    }

    /// What was queued for an instance that may come back: its senders will ask anew.
    pub(super) fn drop_unwritten(&mut self, unwritten: &[Unwritten<F>]) {
        let handles = unwritten.iter().map(Unwritten::attachment_count);
        self.stats.attachments_dropped += handles.sum::<u64>();
    }

    /// What was never written to an instance that has ended: requests are returned, so that their
    /// senders know that they were not run.
    pub(super) fn give_back_unwritten(&mut self, unwritten: &[Unwritten<F>]) {
        self.stats.gone_dropped += unwritten.len() as u64;
        self.drop_unwritten(unwritten);
        for frame in unwritten.iter().filter(|frame| frame.may_be_request()) {
            if let Some(back) = self.routes.get(&frame.source).copied() {
                let returned = Returned {
                    source: frame.source,
                    destination: frame.destination,
                    sequence: frame.sequence,
                };
                self.control_unasked(back, Kind::RETURNED, |body| returned.encode(body));
            }
        }
    }

    /// An instance has ended: what is queued of it goes nowhere any more.
    pub(super) fn purge(&mut self, source: InstanceId) {
        for link in self.links.iter_mut() {
            let purged = link.egress.purge(source);
            self.stats.gone_dropped += purged.frames;
        }
    }

    /// The number of senders has changed, and with it what their first contact may add up to.
    pub(super) fn rebound(&mut self) {
        let Self {
            links,
            routes,
            roster,
            relay,
            ..
        } = self;
        let senders = routes.len().max(roster.len());
        for link in links.iter_mut() {
            let bound = |instance| egress_bound(senders, allowance(roster, relay, instance));
            link.egress.rebound(bound);
        }
    }

    /// Takes conversations out of the turn of a link. They stand in no turn then.
    pub(super) fn leave_turn(
        &mut self,
        id: LinkId,
        leaves: impl Fn(InstanceId) -> bool,
    ) -> Vec<InstanceId> {
        let Some(link) = self.links.get_mut(id) else {
            return Vec::new();
        };
        let mut left = Vec::new();
        link.ready.retain(|instance| {
            let leaves = leaves(*instance);
            left.extend(leaves.then_some(*instance));
            !leaves
        });
        for instance in &left {
            if let Some(talk) = self.talks.get_mut(*instance) {
                talk.queued = false;
            }
        }
        left
    }
}

/// What an instance allows to be under way to it, by its own word.
fn allowance(roster: &Roster, relay: &Relay, instance: InstanceId) -> u64 {
    let told = roster.allowance(instance);
    told.or_else(|| relay.allowance(instance)).unwrap_or(0)
}

/// What can be under way to an instance: what it allows, and the first contact of everybody.
fn egress_bound(senders: usize, allowance: u64) -> u64 {
    let first_contact = (senders as u64 + 64).saturating_mul(limits::FIRST_CONTACT_BYTES);
    allowance.saturating_add(first_contact)
}
