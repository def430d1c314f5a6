//! What only a hub does: it attaches members, passes frames on, and tells who is there.

use alloc::vec::Vec;

use super::links::Link;
use super::{Node, Timer};
use crate::hub::declarations::DeclareLimits;
use crate::hub::identity::{
    Assignment, GoneCause, IdentityConfig, IdentityEffect, IdentityTable, Loss,
};
use crate::hub::roster::HubRoster;
use crate::id::{Generation, InstanceId, LinkId, PeerId};
use crate::link::bonds::Bond;
use crate::link::life::Medium;
use crate::link::tx::Transmitter;
use crate::output::{Event, Output};
use crate::wire::{
    self, Attach, AttachRefusal, Attached, CloseCode, Declare, Detach, Kind, Known, KnownMore,
    RosterGone,
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
    /// This node has closed its link.
    Expelled,
    /// Who spoke for it has ended.
    Orphaned,
}

impl Parting {
    /// Whether it is the end of the instance. Over the network only its own word is.
    pub(super) fn is_end(self, medium: Medium) -> bool {
        match self {
            Self::Ended => true,
            Self::Returns | Self::Orphaned => false,
            Self::Silent | Self::Expelled => medium == Medium::Local,
        }
    }

    /// What it means for those behind an instance that has left a link over this medium. They are
    /// orphaned only where its process is known to have ended: what this node closes tells nothing
    /// of that, and over the network neither does silence.
    pub(super) fn of_those_behind(self, medium: Medium) -> Self {
        match self {
            Self::Ended => Self::Orphaned,
            Self::Silent if medium == Medium::Local => Self::Orphaned,
            Self::Silent | Self::Returns | Self::Expelled | Self::Orphaned => Self::Returns,
        }
    }
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
        let Some(link) = self.links.get(id) else {
            return;
        };
        // The end of a link is the end of the process at its other end, and of no other.
        let local = link.config.medium == Medium::Local && !attach.relayed;
        let Some(hub) = &mut self.hub else {
            return;
        };
        match hub.identities.attach(self.now, attach, local) {
            Ok(given) => self.attach_member(id, attach, &given),
            Err(refusal) => {
                let answer = refusal.answer(attach);
                if answer.reason == AttachRefusal::Outdated && !attach.relayed {
                    let text = "a later attachment is in use";
                    self.close_link(id, CloseCode::Replaced, text);
                } else {
                    self.control(id, Kind::ATTACH_REFUSED, |body| answer.encode(body));
                }
                self.hub_changed();
            }
        }
    }

    fn attach_member(&mut self, id: LinkId, attach: &Attach, given: &Assignment) {
        let instance = attach.instance;
        if let Some(old) = self.routes.get(&instance).copied().filter(|old| *old != id) {
            self.moved_away(old, instance, attach.counter);
        }
        self.routes.insert(instance, id);
        let own = self.me.instance;
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        link.bonds.bind(instance, attach.relayed);
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
        if !attach.relayed {
            // Who speaks for it tells it.
            hub.roster.subscribe(instance);
        }
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
        if self.routes.get(&detach.instance) != Some(&id) {
            return;
        }
        if self.hub.is_some() {
            let parting = match detach.gone {
                true => Parting::Ended,
                false => Parting::Returns,
            };
            self.lose_member(detach.instance, parting);
            self.hub_changed();
        } else {
            self.lose_child(detach.instance, detach.gone);
        }
    }

    pub(super) fn on_declare(&mut self, id: LinkId, declare: &Declare) {
        let Some(bond) = self.speaker(id, declare.instance) else {
            return;
        };
        let Some(hub) = &mut self.hub else {
            return;
        };
        let (code, text) = (
            CloseCode::ProtocolViolation,
            "the declaration is beyond its limits or out of order",
        );
        match hub.roster.declare(declare) {
            Ok(answer) => {
                self.control(id, Kind::DECLARED, |body| answer.encode(body));
                self.hub_changed();
            }
            // It is not the fault of who speaks for it.
            Err(_) if bond == Bond::Relayed => self.expel(declare.instance, code, text),
            Err(_) => self.close_link(id, code, text),
        }
    }

    /// An instance that is attached over the link knows of others from the hubs before.
    pub(super) fn on_known(&mut self, id: LinkId, said: &KnownMore, bytes: usize) {
        let Some(bond) = self.speaker(id, said.instance) else {
            return;
        };
        let Some(hub) = &mut self.hub else {
            return self.on_known_below(id, said, bytes);
        };
        let by = said.instance;
        let (code, text) = (
            CloseCode::ProtocolViolation,
            "no honest member can know this",
        );
        match hub.identities.known(self.now, by, &said.known, said.more) {
            Ok(()) => self.hub_changed(),
            Err(_) if bond == Bond::Relayed => self.expel(by, code, text),
            Err(_) => self.close_link(id, code, text),
        }
    }

    /// How an instance that says something over a link is attached there. Who never was forges its
    /// name, which ends the link; what is still under way of one that has left is let go.
    fn speaker(&mut self, id: LinkId, instance: InstanceId) -> Option<Bond> {
        let bond = self.bond(id, instance);
        if bond.is_none() {
            let text = "not attached over this link";
            self.close_link(id, CloseCode::ForgedSource, text);
        }
        bond.filter(|bond| *bond != Bond::Left)
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
            Parting::Silent | Parting::Expelled => hub.identities.detached(now, instance, grace),
            Parting::Orphaned => hub.identities.orphaned(now, instance, grace),
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

    /// The hub says for all that an instance has ended.
    fn member_gone(&mut self, peer: RosterGone, code: CloseCode) {
        let link = self.routes.get(&peer.instance).copied();
        let bond = link.and_then(|id| self.bond(id, peer.instance));
        let unwritten = self.forget_route(peer.instance);
        self.give_back_unwritten(&unwritten);
        self.purge(peer.instance);
        if let (Some(id), Some(Bond::Own)) = (link, bond) {
            // Without its own instance nobody speaks for those that it has brought.
            self.close_link(id, code, "the instance is gone");
        }
    }

    /// Puts what the members of a link are to be told into its plan.
    pub(super) fn fill_roster(&mut self, id: LinkId) {
        let Self {
            hub,
            relay,
            links,
            me,
            ..
        } = self;
        let teller = match hub {
            Some(hub) => Some(&mut hub.roster),
            None => relay.roster(),
        };
        let (Some(roster), Some(link)) = (teller, links.get_mut(id)) else {
            return;
        };
        let Link { bonds, tx, .. } = link;
        // Those behind them are told by who speaks for them.
        for member in bonds.own() {
            let mut share = ROSTER_SHARE;
            while share > 0 && tx.room() > 0 {
                let Some(update) = roster.next_update(member) else {
                    break;
                };
                let before = tx.room();
                push_roster(tx, me.instance, &update);
                share = share.saturating_sub(before - tx.room());
            }
        }
    }
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
