//! What a member does for the instances behind it: it speaks for them to the hub, and tells them
//! what the hub tells it. Who they are, and whether they live, only the hub says.
//!
//! What an instance wants said is at most one frame of each kind: the later replaces the earlier or
//! is merged with it, and it is taken when the link to the hub has room. So a child that never
//! stops asking costs no memory, and a hub that does not read none either.
//!
//! While the hub is lost, everybody waits: who was attached is told so, asks anew, and that wish is
//! passed on when the hub is found again.

#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::hub::declarations::DeclareLimits;
use crate::hub::roster::HubRoster;
use crate::id::{InstanceId, LinkId};
use crate::wire::{
    Attach, AttachRefusal, AttachRefused, Attached, Declare, Declared, Detach, KnownMore,
};

/// How many instances may live behind the children of one member: as many as a hub takes from all.
const BEHIND_MAX: usize = 4096;
/// How many may come over one link: a quarter of that, so that a child with many of its own leaves
/// room for those of its siblings. The siblings themselves always have theirs.
const LINK_MAX: usize = BEHIND_MAX / 4;
/// What a child may have to say of others before the hub has heard it, in bytes: more than an honest
/// one can know.
const KNOWN_MAX: usize = 1 << 20;

/// A member that speaks for others.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    children: BTreeMap<InstanceId, Child>,
    /// Those that have something to say to the hub, the first one first.
    speaking: VecDeque<InstanceId>,
    /// Attached, but this node's roster does not show it yet: it is told nothing before.
    untold: BTreeSet<InstanceId>,
    /// What the children are told; from the first child on.
    roster: Option<HubRoster>,
    /// Whether this node is attached to the hub itself.
    attached: bool,
}

/// One instance behind this node.
#[derive(Debug)]
struct Child {
    link: LinkId,
    /// The last attachment that it asked for.
    attach: Attach,
    place: Place,
    stage: Stage,
    /// Whether a hub has ever attached it over this node.
    was_attached: bool,
    /// Whether the hub of now has, also where it has asked again since: it holds it for attached
    /// here until it is told otherwise.
    held: bool,
    /// The slice of a declaration that is not said yet.
    declare: Option<Declare>,
    /// The slice that is not acknowledged.
    declaring: Option<(u64, u32)>,
    /// What it knows of others and is not said yet, and how many bytes that was.
    known: VecDeque<KnownMore>,
    known_bytes: usize,
    /// Whether it stands in [`Relay::speaking`].
    speaks: bool,
}

/// Where an instance lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the other end of its link.
    Here,
    /// Behind the process there, which speaks for it.
    Behind,
    /// As [`Place::Behind`], and has no other way: it ends with that process.
    Tied,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its wish to be attached is not said yet.
    Waiting,
    /// The hub has been asked.
    Asked,
    /// It is attached.
    Attached,
    /// It was attached when the hub was lost, and has not asked again.
    Lost,
    /// It has left, which is not said yet.
    Leaving { gone: bool },
}

/// What the hub is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Up {
    Attach(Attach),
    Declare(Declare),
    Known(KnownMore),
    Detach(Detach),
}

/// What an instance that asks to be attached leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// The hub is asked, or will be.
    Passed {
        /// The instance came over this link before.
        moved_from: Option<LinkId>,
    },
    /// It gets this answer.
    Refused(AttachRefused),
}

/// A declaration is beyond what its sender may have under way. A fault of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Impatient;

/// Asking and answering.
impl Relay {
    /// An instance asks to be attached over a link that carries so many attachments of a message, and
    /// at whose other end is the `speaker`, if that one is attached.
    pub(crate) fn attach(
        &mut self,
        link: LinkId,
        attach: Attach,
        attachments: u8,
        speaker: Option<InstanceId>,
    ) -> Asking {
        let instance = attach.instance;
        let refused = |reason| {
            Asking::Refused(AttachRefused {
                instance,
                counter: attach.counter,
                reason,
                generation: Default::default(),
            })
        };
        let before = self.children.get(&instance);
        if before.is_some_and(|child| attach.counter < child.attach.counter) {
            return refused(AttachRefusal::Outdated);
        }
        if before.is_none() && self.is_full(link, &attach) {
            return refused(AttachRefusal::TooManyPeers);
        }
        let here = before.filter(|child| !matches!(child.stage, Stage::Leaving { .. }));
        let moved_from = here.map(|child| child.link).filter(|old| *old != link);
        let speaks = before.is_some_and(|child| child.speaks);
        let was_attached = before.is_some_and(|child| child.was_attached);
        let held = before.is_some_and(|child| child.held);
        self.untell(instance);
        let place = match (attach.relayed, attach.tied) {
            (false, _) => Place::Here,
            (true, false) => Place::Behind,
            (true, true) => Place::Tied,
        };
        // For the hub it is tied to this node, so all on the way from here must be.
        let speaker = speaker.and_then(|speaker| self.children.get(&speaker));
        let tied = place == Place::Here || speaker.is_some_and(|speaker| speaker.attach.tied);
        let child = Child {
            link,
            place,
            attach: Attach {
                attachments: attach.attachments.min(attachments),
                relayed: true,
                tied: attach.tied && tied,
                ..attach
            },
            stage: Stage::Waiting,
            was_attached,
            held,
            declare: None,
            declaring: None,
            known: VecDeque::new(),
            known_bytes: 0,
            speaks,
        };
        self.children.insert(instance, child);
        self.speak(instance);
        Asking::Passed { moved_from }
    }

    fn is_full(&self, link: LinkId, attach: &Attach) -> bool {
        let alike = self.children.values();
        let alike = alike.filter(|child| child.is_here() != attach.relayed);
        let over = alike.clone().filter(|child| child.link == link).count();
        over >= LINK_MAX || attach.relayed && alike.count() >= BEHIND_MAX
    }

    /// The hub has attached an instance. Its link, and whether it lives behind a process of its own.
    pub(crate) fn attached(&mut self, answer: &Attached) -> Option<(LinkId, bool)> {
        let child = self.children.get_mut(&answer.instance)?;
        let asked = child.stage == Stage::Asked && child.attach.counter == answer.counter;
        if !asked {
            return None;
        }
        child.stage = Stage::Attached;
        child.was_attached = true;
        child.held = true;
        if child.is_here() {
            self.untold.insert(answer.instance);
        }
        Some((child.link, !child.is_here()))
    }

    /// The hub has not attached an instance, which is forgotten with that, unless the hub has it by
    /// an earlier attachment. Its link, and whether it is forgotten.
    pub(crate) fn refused(&mut self, answer: &AttachRefused) -> Option<(LinkId, bool)> {
        let child = self.children.get_mut(&answer.instance)?;
        let asked = child.stage == Stage::Asked && child.attach.counter == answer.counter;
        if !asked {
            return None;
        }
        let (link, told) = (child.link, child.is_here());
        if !child.held || answer.reason == AttachRefusal::Fenced {
            self.forget(answer.instance);
            return Some((link, true));
        }
        child.stage = Stage::Attached;
        if let Some(roster) = self.roster.as_mut().filter(|_| told) {
            roster.subscribe(answer.instance);
        }
        Some((link, false))
    }

    /// An instance declares what it offers.
    pub(crate) fn declare(&mut self, declare: &Declare) -> Result<(), Impatient> {
        let Some(child) = self.children.get_mut(&declare.instance) else {
            return Ok(());
        };
        if child.stage != Stage::Attached {
            // It will declare itself anew once it is attached again.
            return Ok(());
        }
        if child.declaring.is_some() {
            return Err(Impatient);
        }
        child.declaring = Some((declare.version, declare.slice));
        child.declare = Some(declare.clone());
        self.speak(declare.instance);
        Ok(())
    }

    /// The hub has a slice of a declaration. The link of its sender.
    pub(crate) fn declared(&mut self, answer: &Declared) -> Option<LinkId> {
        let child = self.children.get_mut(&answer.instance)?;
        let slice = (answer.version, answer.slice);
        child.declaring.take_if(|said| *said == slice)?;
        Some(child.link)
    }

    /// An instance knows of others from the hubs before, which took so many bytes to say.
    pub(crate) fn known(&mut self, said: &KnownMore, bytes: usize) -> Result<(), Impatient> {
        let Some(child) = self.children.get_mut(&said.instance) else {
            return Ok(());
        };
        if child.stage != Stage::Attached {
            return Ok(());
        }
        child.known_bytes += bytes;
        if child.known_bytes > KNOWN_MAX {
            return Err(Impatient);
        }
        child.known.push_back(said.clone());
        self.speak(said.instance);
        Ok(())
    }

    /// An instance is not behind this node any more. Whether a hub may hold it for living that will
    /// not be told here.
    pub(crate) fn leave(&mut self, instance: InstanceId, gone: bool) -> bool {
        self.untell(instance);
        let Some(child) = self.children.get_mut(&instance) else {
            return false;
        };
        match child.stage {
            Stage::Waiting | Stage::Lost if !child.held => {
                let known = child.was_attached;
                self.forget(instance);
                return known;
            }
            Stage::Leaving { gone: before } => {
                child.stage = Stage::Leaving {
                    gone: gone || before,
                };
            }
            Stage::Waiting | Stage::Asked | Stage::Attached | Stage::Lost => {
                child.stage = Stage::Leaving { gone };
                child.hush();
                self.speak(instance);
            }
        }
        false
    }

    /// Forgets an instance of which the hub is to be told nothing: it knows.
    pub(crate) fn forget(&mut self, instance: InstanceId) {
        self.untell(instance);
        if self
            .children
            .remove(&instance)
            .is_some_and(|child| child.speaks)
        {
            self.speaking.retain(|other| *other != instance);
        }
    }

    /// An instance has come to the hub over another link, by this attachment. Whether that is later than
    /// the last over this node: then the instance is not behind it any more, and is forgotten.
    pub(crate) fn moved(&mut self, instance: InstanceId, counter: u64) -> bool {
        let child = self.children.get(&instance);
        let moved = child.is_some_and(|child| counter > child.attach.counter);
        if moved {
            self.forget(instance);
        }
        moved
    }

    /// The next thing that the hub is to be told.
    pub(crate) fn next_up(&mut self) -> Option<Up> {
        if !self.attached {
            return None;
        }
        while let Some(instance) = self.speaking.front().copied() {
            let said = self.children.get_mut(&instance).and_then(Child::say);
            if let Some(up) = said {
                if matches!(up, Up::Detach(_)) {
                    self.forget(instance);
                }
                return Some(up);
            }
            self.speaking.pop_front();
            if let Some(child) = self.children.get_mut(&instance) {
                child.speaks = false;
            }
        }
        None
    }

    fn speak(&mut self, instance: InstanceId) {
        if let Some(child) = self.children.get_mut(&instance)
            && !core::mem::replace(&mut child.speaks, true)
        {
            self.speaking.push_back(instance);
        }
    }
}

/// The hub found and lost.
impl Relay {
    /// This node is attached: everybody who waits is passed on.
    pub(crate) fn hub_found(&mut self) {
        self.attached = true;
    }

    /// The hub is lost. Those who were attached and have to be told, with their links; and those who
    /// have ended without the hub having heard of it.
    pub(crate) fn hub_lost(&mut self) -> (Vec<(InstanceId, LinkId)>, Vec<InstanceId>) {
        self.attached = false;
        self.untold.clear();
        if self.roster.is_some() {
            self.roster = Some(HubRoster::new(DeclareLimits::default(), false));
        }
        self.speaking.clear();
        let (mut told, mut ended) = (Vec::new(), Vec::new());
        let mut waiting = Vec::new();
        self.children.retain(|instance, child| {
            child.speaks = false;
            child.held = false;
            child.hush();
            match child.stage {
                Stage::Leaving { gone } => {
                    ended.extend(gone.then_some(*instance));
                    return false;
                }
                Stage::Attached => {
                    child.stage = Stage::Lost;
                    // One that speaks for it hears of the loss itself, and tells it.
                    told.extend(child.is_here().then_some((*instance, child.link)));
                }
                // Who speaks for it asks for it again, if it still lives then.
                Stage::Asked | Stage::Waiting if !child.is_here() => child.stage = Stage::Lost,
                Stage::Asked | Stage::Waiting => {
                    // The hub that was asked may have told others before its end.
                    child.attach.elder |= child.stage == Stage::Asked;
                    child.stage = Stage::Waiting;
                    waiting.push(*instance);
                }
                Stage::Lost => {}
            }
            true
        });
        for instance in waiting {
            self.speak(instance);
        }
        (told, ended)
    }

    /// Those that came over a link, and where each lives.
    pub(crate) fn over(&self, link: LinkId) -> Vec<(InstanceId, Place)> {
        let leaving = |child: &Child| matches!(child.stage, Stage::Leaving { .. });
        let all = self.children.iter();
        all.filter(|(_, child)| child.link == link && !leaving(child))
            .map(|(instance, child)| (*instance, child.place))
            .collect()
    }

    /// How many attachments of one message an instance takes that came over a link of this node.
    pub(crate) fn attachments(&self, instance: InstanceId) -> Option<u8> {
        let child = self.children.get(&instance)?;
        Some(child.attach.attachments)
    }

    /// What may be under way, by its own word, to an instance that came over a link of this node.
    pub(crate) fn allowance(&self, instance: InstanceId) -> Option<u64> {
        let attach = &self.children.get(&instance)?.attach;
        Some(attach.budget.saturating_add(attach.reserve))
    }
}

/// What the children are told.
impl Relay {
    /// There will be children: from now on what the hub tells is kept for them too.
    pub(crate) fn begin_to_tell(&mut self, roster: HubRoster) {
        self.roster = Some(roster);
    }

    /// The roster of the children; `None` where there never was one.
    pub(crate) fn roster(&mut self) -> Option<&mut HubRoster> {
        self.roster.as_mut()
    }

    /// The hub's word on an instance has come: who has waited for the word on itself is told from
    /// now on. Earlier it would miss itself, or those who came between.
    pub(crate) fn seen(&mut self, instance: InstanceId, attachment: u64) {
        let Some(child) = self.children.get(&instance) else {
            return;
        };
        let Some(roster) = &mut self.roster else {
            return;
        };
        if attachment >= child.attach.counter && self.untold.remove(&instance) {
            roster.subscribe(instance);
        }
    }

    fn untell(&mut self, instance: InstanceId) {
        self.untold.remove(&instance);
        if let Some(roster) = &mut self.roster {
            roster.unsubscribe(instance);
        }
    }
}

impl Child {
    /// Whether it lives at the other end of its link.
    fn is_here(&self) -> bool {
        self.place == Place::Here
    }

    /// What this one wants said next.
    fn say(&mut self) -> Option<Up> {
        let instance = self.attach.instance;
        match self.stage {
            Stage::Waiting => {
                self.stage = Stage::Asked;
                return Some(Up::Attach(self.attach.clone()));
            }
            Stage::Leaving { gone } => {
                return Some(Up::Detach(Detach {
                    instance,
                    gone,
                    moved: None,
                }));
            }
            Stage::Asked | Stage::Lost => return None,
            Stage::Attached => {}
        }
        if let Some(known) = self.known.pop_front() {
            if self.known.is_empty() {
                self.known_bytes = 0;
            }
            return Some(Up::Known(known));
        }
        self.declare.take().map(Up::Declare)
    }

    /// What it wanted said means nothing to the next hub.
    fn hush(&mut self) {
        self.declare = None;
        self.declaring = None;
        self.known.clear();
        self.known_bytes = 0;
    }
}
