//! What is promised, as simply as it can be said: who accepted which message, who got it, and what
//! the sender was told. The model knows nothing of links, frames or credit; it hears what the
//! applications see, and says where that breaks a promise.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::handle::Description;
use crate::time::Instant;

/// One life of one process. Never reused, unlike a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process(pub u32);

/// A message or request of a world, as the first bytes of its payload say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uid(pub u64);

/// What a node accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Who sends it.
    pub from: Process,
    /// For the process of which slot.
    pub to: usize,
    /// In which namespace.
    pub namespace: usize,
    /// Whether it asks for an outcome.
    pub request: bool,
    /// What rides with it.
    pub attachments: Vec<Description>,
    /// When its outcome is due.
    pub deadline: Option<Instant>,
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The handler's answer: the message whose payload it repeats.
    Reply(Uid),
    /// The handler's error.
    Failed,
    /// It was certainly not started.
    NotRun,
    /// It may have run.
    Unknown,
}

/// What became of a message, told to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was refused after it had been accepted, and was not delivered.
    Refused,
    /// Whether it was delivered is not known.
    Unconfirmed,
}

/// The reference model of one world.
#[derive(Debug, Default)]
pub struct Model {
    messages: BTreeMap<Uid, Message>,
    /// The last message taken, per sender, receiver and namespace.
    last: BTreeMap<(Process, Process, usize), Uid>,
    slots: BTreeMap<Process, usize>,
    started: BTreeMap<Process, Instant>,
    dead: BTreeSet<Process>,
    /// Processes that the network may have separated from the rest for too long.
    separated: BTreeSet<Process>,
    /// When a process died, or else was last separated. Who was not there yet at an earlier loss is
    /// surprised by the next one.
    lost: BTreeMap<Process, Instant>,
    /// When anybody was first told that a process is gone.
    declared: BTreeMap<Process, Instant>,
    /// When the first was told that the second is gone.
    told: BTreeMap<(Process, Process), Instant>,
    paused: BTreeMap<Process, Instant>,
    /// Who was given an identity, by which hub. No table outlives a hub: the next one may give again
    /// what nobody has told it of yet, and [`Model::answers_to`] sees that it takes it back.
    given: BTreeMap<(u64, u32, u32), Process>,
    /// Per observer, who it saw go by which identity, as its present instance.
    saw: BTreeMap<Process, BTreeSet<(u32, u32, Process)>>,
    /// Who was seen with it, one after the other.
    identities: BTreeMap<(u32, u32), Vec<Process>>,
    instances: BTreeMap<u64, Process>,
    /// Whether some process has been short of descriptors, so that attachments may be lost.
    short: bool,
    violations: Vec<String>,
    delivered: u64,
}

#[derive(Debug)]
struct Message {
    accepted: Accepted,
    at: Instant,
    taken: Option<Process>,
    outcome: Option<Outcome>,
    fate: Option<Fate>,
    receipt: bool,
    cancelled: bool,
    /// Where each of its attachments ended.
    arrived: usize,
    returned: usize,
    lost: bool,
    /// What rides with the reply to it.
    reply: Vec<Description>,
}

impl Message {
    fn about(&self) -> String {
        let Accepted { from, to, .. } = self.accepted;
        format!("from {from:?} to slot {to} at {:?}", self.at)
    }
}

impl Model {
    /// A model that has heard nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A process was started in a slot.
    pub fn started(&mut self, now: Instant, process: Process, slot: usize) {
        self.slots.insert(process, slot);
        self.started.insert(process, now);
    }

    /// A process died.
    pub fn died(&mut self, now: Instant, process: Process) {
        self.dead.insert(process);
        self.lost.insert(process, now);
    }

    /// The world has done to a process what may rightly have it declared gone while it lives.
    pub fn separated(&mut self, now: Instant, process: Process) {
        self.separated.insert(process);
        self.lost.insert(process, now);
    }

    /// A process was stopped, and goes on at `until`.
    pub fn paused(&mut self, process: Process, until: Instant) {
        self.paused.insert(process, until);
    }

    /// A process is short of descriptors: attachments may be lost, and the receiver be told so.
    pub fn short_of_descriptors(&mut self) {
        self.short = true;
    }

    /// A node accepted a message.
    pub fn accepted(&mut self, now: Instant, uid: Uid, accepted: Accepted) {
        let message = Message {
            accepted,
            at: now,
            taken: None,
            outcome: None,
            fate: None,
            receipt: false,
            cancelled: false,
            arrived: 0,
            returned: 0,
            lost: false,
            reply: Vec::new(),
        };
        if self.messages.insert(uid, message).is_some() {
            self.fail(format!("{uid:?} was accepted twice"));
        }
    }

    /// A node refused a message, and gave back what it was offered.
    pub fn refused(&mut self, uid: Uid, offered: &[Description], returned: &[Description]) {
        if offered != returned {
            self.fail(format!(
                "refused {uid:?}: offered {offered:?}, got back {returned:?}"
            ));
        }
    }

    /// An application took a message.
    pub fn taken(
        &mut self,
        by: Process,
        uid: Uid,
        namespace: usize,
        attachments: &[Description],
        lost: bool,
    ) {
        self.delivered += 1;
        let slot = self.slots.get(&by).copied();
        let Some(message) = self.messages.get_mut(&uid) else {
            return self.fail(format!("{by:?} took {uid:?}, which nobody sent"));
        };
        let mut wrong = Vec::new();
        if let Some(first) = message.taken.replace(by) {
            wrong.push(format!("was taken by {first:?} before"));
        }
        if Some(message.accepted.to) != slot || message.accepted.namespace != namespace {
            wrong.push(format!("came to slot {slot:?}, namespace {namespace}"));
        }
        if message.outcome == Some(Outcome::NotRun) || message.fate == Some(Fate::Refused) {
            wrong.push("was said not to have run".into());
        }
        if lost && !self.short {
            wrong.push("had lost attachments without a cause".into());
        }
        let sent = &message.accepted.attachments;
        let whole = if lost {
            sent.starts_with(attachments)
        } else {
            sent == attachments
        };
        if !whole || message.returned > 0 && !attachments.is_empty() {
            wrong.push(format!(
                "carried {sent:?}, brought {attachments:?}, lost: {lost}"
            ));
        }
        message.arrived = attachments.len();
        message.lost = lost;
        let pair = (message.accepted.from, by, namespace);
        if let Some(last) = self.last.insert(pair, uid).filter(|last| *last >= uid) {
            wrong.push(format!("came after {last:?}"));
        }
        for what in wrong {
            self.fail(format!("{uid:?} taken by {by:?} {what}"));
        }
    }

    /// A handler's reply was accepted, with these attachments.
    pub fn replied(&mut self, uid: Uid, attachments: Vec<Description>) {
        if let Some(message) = self.messages.get_mut(&uid) {
            message.reply = attachments;
        }
    }

    /// What a requester got with the reply.
    pub fn brought(&mut self, uid: Uid, attachments: &[Description], lost: bool) {
        let Some(message) = self.messages.get(&uid) else {
            return;
        };
        let sent = &message.reply;
        let whole = match lost {
            true => self.short && sent.starts_with(attachments),
            false => sent == attachments,
        };
        if !whole {
            self.fail(format!(
                "the reply to {uid:?} carried {sent:?}, brought {attachments:?}, lost: {lost}"
            ));
        }
    }

    /// A requester cancelled its request.
    pub fn cancelled(&mut self, uid: Uid) {
        if let Some(message) = self.messages.get_mut(&uid) {
            message.cancelled = true;
        }
    }

    /// A requester was told the outcome of its request.
    pub fn outcome(&mut self, now: Instant, process: Process, uid: Uid, outcome: Outcome) {
        let excuse = self.may_be_unknown(now, uid);
        let resumed = self.paused.get(&process).copied().unwrap_or_default();
        let Some(message) = self.messages.get_mut(&uid).filter(|m| m.accepted.request) else {
            return self.fail(format!(
                "{process:?} got an outcome of {uid:?}, which is no request"
            ));
        };
        let mut wrong = Vec::new();
        if let Some(first) = &message.outcome {
            wrong.push(format!("had the outcome {first:?} before"));
        }
        if message.accepted.from != process {
            wrong.push(format!("was told to {process:?}"));
        }
        match &outcome {
            Outcome::Reply(of) if *of != uid => wrong.push(format!("repeats {of:?}")),
            Outcome::Reply(_) | Outcome::Failed if message.taken.is_none() => {
                wrong.push("had run nowhere".into());
            }
            Outcome::NotRun if message.taken.is_some() => wrong.push("had run".into()),
            Outcome::Unknown if !excuse => wrong.push("had no cause".into()),
            _ => {}
        }
        // One turn of its own clock, and one put off after a jump of it.
        let late = Duration::from_millis(1);
        if let Some(deadline) = message.accepted.deadline
            && now > deadline.max(resumed) + late
        {
            wrong.push(format!("was due at {deadline:?} and came at {now:?}"));
        }
        message.outcome = Some(outcome.clone());
        let about = message.about();
        for what in wrong {
            self.fail(format!("{outcome:?} of {uid:?} {about}: {what}"));
        }
    }

    /// A sender was told what became of a message, and got attachments back.
    pub fn fate(&mut self, now: Instant, uid: Uid, fate: Fate, returned: &[Description]) {
        let excuse = self.may_be_unknown(now, uid);
        let Some(message) = self.messages.get_mut(&uid) else {
            return self.fail(format!("{fate:?} of {uid:?}, which nobody sent"));
        };
        let mut wrong = Vec::new();
        if let Some(first) = message.fate.replace(fate) {
            wrong.push(format!("was {first:?} before"));
        }
        if fate == Fate::Refused && message.taken.is_some() {
            wrong.push("had been taken".into());
        }
        if fate == Fate::Unconfirmed && !excuse {
            wrong.push("had no cause".into());
        }
        if message.receipt {
            wrong.push("had its receipt".into());
        }
        message.returned = returned.len();
        let back_whole = returned.is_empty() || returned == message.accepted.attachments;
        if !back_whole || message.arrived > 0 && !returned.is_empty() {
            wrong.push(format!("gave back {returned:?}"));
        }
        let about = message.about();
        for what in wrong {
            self.fail(format!("{fate:?} of {uid:?} {about}: {what}"));
        }
    }

    /// A sender got a receipt.
    pub fn receipt(&mut self, uid: Uid) {
        let Some(message) = self.messages.get_mut(&uid) else {
            return self.fail(format!("a receipt of {uid:?}, which nobody sent"));
        };
        let (taken, again) = (message.taken.is_some(), message.receipt);
        message.receipt = true;
        if !taken || again {
            self.fail(format!(
                "a receipt of {uid:?}: taken {taken}, had one {again}"
            ));
        }
    }

    /// A process was given an identity by the hub that is this instance.
    pub fn identity(&mut self, hub: u64, process: Process, id: u32, generation: u32) {
        let seen = self.identities.entry((id, generation)).or_default();
        if !seen.contains(&process) {
            seen.push(process);
        }
        let key = (hub, id, generation);
        let holder = *self.given.entry(key).or_insert(process);
        if holder != process {
            self.fail(format!(
                "{id}#{generation} of {holder:?} was given to {process:?}"
            ));
        }
    }

    /// A process goes on as a new instance, which knows nothing.
    pub fn forgets(&mut self, process: Process) {
        self.saw.remove(&process);
    }

    /// At a hub to which the `attached` have come, a process goes by this identity. None of them may
    /// ever have seen another by it or by a later one of the id.
    pub fn answers_to(&mut self, attached: &[Process], process: Process, id: u32, generation: u32) {
        let saw = attached.iter().filter_map(|who| self.saw.get(who));
        let later = (id, generation, Process(0))..(id + 1, 0, Process(0));
        let clash = saw
            .flat_map(|saw| saw.range(later.clone()))
            .find(|(_, _, other)| *other != process)
            .copied();
        if let Some((_, seen, other)) = clash {
            self.fail(format!(
                "{process:?} goes by {id}#{generation}, but {other:?} was {id}#{seen}"
            ));
        }
    }

    /// At rest, the ids of those who live and are connected differ.
    pub fn present_as(&mut self, ids: impl IntoIterator<Item = (Process, u32)>) {
        let mut seen = BTreeMap::new();
        for (process, id) in ids {
            if let Some(other) = seen.insert(id, process) {
                self.fail(format!("{other:?} and {process:?} both have the id {id}"));
            }
        }
    }

    /// Which process goes by an instance.
    pub fn process(&self, instance: u64) -> Option<Process> {
        self.instances.get(&instance).copied()
    }

    /// A process goes by this instance now.
    pub fn lives_as(&mut self, process: Process, instance: u64) {
        let holder = *self.instances.entry(instance).or_insert(process);
        if holder != process {
            self.fail(format!(
                "{holder:?} and {process:?} are both instance {instance:x}"
            ));
        }
    }

    /// A process sees an instance in its roster with this identity. What it thinks of itself counts
    /// for nothing: a hub begins before it has heard what its members know.
    pub fn seen(&mut self, by: Process, hub: u64, instance: u64, id: u32, generation: u32) {
        match self.instances.get(&instance).copied() {
            Some(process) if process == by => {}
            Some(process) => {
                let saw = self.saw.entry(by).or_default();
                saw.insert((id, generation, process));
                self.identity(hub, process, id, generation);
            }
            None => self.fail(format!(
                "{by:?} sees instance {instance:x}, which is nobody"
            )),
        }
    }

    /// A process was told that another is gone.
    pub fn gone(&mut self, now: Instant, observer: Process, subject: Process) {
        self.told.entry((observer, subject)).or_insert(now);
        self.declared.entry(subject).or_insert(now);
        if !self.dead.contains(&subject) && !self.separated.contains(&subject) {
            self.fail(format!(
                "{observer:?} holds {subject:?} for gone, which lives"
            ));
        }
    }

    /// As [`Model::gone`], where the observer knows only the identity. A stranger's is nobody's.
    pub fn gone_identity(&mut self, now: Instant, observer: Process, id: u32, generation: u32) {
        let seen = self.identities.get(&(id, generation));
        let seen = seen.map_or(&[][..], Vec::as_slice);
        let lost = seen.iter().find(|process| self.lost.contains_key(process));
        if let Some(subject) = lost.or(seen.last()) {
            self.gone(now, observer, *subject);
        }
    }

    /// The slot of the process that sent a message.
    pub fn slot_of_sender(&self, uid: Uid) -> Option<usize> {
        let message = self.messages.get(&uid)?;
        self.slots.get(&message.accepted.from).copied()
    }

    /// Attachments of messages that a living sender has handed over and nobody has been given yet. At
    /// rest no reply is under way: its requester has an outcome, or has ended.
    pub fn under_way(&self) -> Vec<Description> {
        let open = self.messages.values().filter(|message| {
            let told = message.outcome.is_some() || message.fate.is_some();
            message.taken.is_none() && !told && !self.dead.contains(&message.accepted.from)
        });
        open.flat_map(|message| message.accepted.attachments.iter().copied())
            .collect()
    }

    /// A promise that something else has seen broken.
    pub fn fail(&mut self, what: String) {
        self.violations.push(what);
    }

    /// What was broken so far.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// How many messages were taken.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// What is still open, of which nothing may be once the world has healed, settled and come to
    /// rest. `present` are the slots in which a process lives.
    pub fn open(&self, present: &BTreeSet<usize>) -> Vec<String> {
        let mut open = Vec::new();
        for (uid, message) in &self.messages {
            if self.dead.contains(&message.accepted.from) {
                continue;
            }
            let told = message.outcome.is_some() || message.fate.is_some();
            let here = present.contains(&message.accepted.to);
            if message.accepted.request && message.outcome.is_none() {
                open.push(format!("{uid:?} never had an outcome: {message:?}"));
            } else if !message.accepted.request && message.taken.is_none() && !told && here {
                open.push(format!(
                    "{uid:?} was neither taken nor given up: {message:?}"
                ));
            }
        }
        open
    }

    /// Whether something has happened that lets a sender not know: it had not yet been told of a loss
    /// in the receiver's slot when it sent, the deadline is over, or it called the message off or was
    /// itself cut off.
    fn may_be_unknown(&self, now: Instant, uid: Uid) -> bool {
        let Some(message) = self.messages.get(&uid) else {
            return false;
        };
        let Accepted { from, to, .. } = message.accepted;
        let born = self.started.get(&from).copied().unwrap_or_default();
        let lost = self.lost.iter().any(|(process, at)| {
            let told = self.told.get(&(from, *process));
            let unaware = told.is_none_or(|told| *told >= message.at);
            // Who was started after an end was noticed never has to be told of it.
            let noticed = match self.declared.get(process) {
                Some(declared) => (*at).max(*declared),
                None if self.dead.contains(process) => *at,
                None => Instant::from_nanos(u64::MAX),
            };
            self.slots.get(process) == Some(&to) && unaware && noticed >= born
        });
        let over = message.accepted.deadline.is_some_and(|at| at <= now);
        lost || over || message.cancelled || self.separated.contains(&from)
    }
}

#[cfg(test)]
mod tests;
