//! The application of a simulated process: it takes what is delivered, answers as its handlers say,
//! and tells the model all that it sees.

mod answers;

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use answers::Answering;

use super::handle::{Description, FakeFd, Registry};
use super::kernel::Marks;
use super::model::{Accepted, Fate, Model, Outcome, Process, Uid};
use super::plan::{Handler, Intake, NodePlan, Work};
use crate::id::{MessageId, NamespaceId, PeerId, PeerName, RequestId};
use crate::inbox::Names;
use crate::message::{self, Answer, Delivery, DeliveryKind, Message, Receipt};
use crate::message::{RequestOptions, SendError, SendOptions, SendRefusal, Target};
use crate::output::Event;
use crate::time::Instant;
use crate::trace::Recorder;

/// The namespaces that every process opens.
const NAMESPACES: [&str; 2] = ["_", "topic"];
/// The default deadline of `Config`.
const DEADLINE: Duration = Duration::from_secs(10);
/// The event of the world's sends.
const EVENT: &str = "news";

/// What an application shares with its world.
pub(super) struct Stage<'a> {
    pub(super) now: Instant,
    pub(super) model: &'a mut Model,
    pub(super) marks: &'a mut Marks,
    pub(super) registry: &'a Registry,
    pub(super) next_uid: &'a mut u64,
}

#[derive(Debug)]
pub(super) struct App {
    process: Process,
    slot: usize,
    namespaces: Vec<NamespaceId>,
    intake: Intake,
    next_take: Instant,
    /// Work that the node refused as full, and what came after it.
    backlog: VecDeque<Job>,
    backlog_waits: bool,
    requests: BTreeMap<RequestId, Uid>,
    messages: BTreeMap<MessageId, Uid>,
    /// Answers that wait for the outcome of a request of our own.
    asked_back: BTreeMap<RequestId, Answering>,
    late: VecDeque<(Instant, Answering)>,
    /// Descriptors that the application holds.
    held: Vec<FakeFd>,
    /// Its node will never be attached again, and nothing is left to it but to end.
    gave_up: bool,
    digest: Vec<String>,
}

/// One message of a piece of work.
#[derive(Clone, Debug)]
struct Job {
    to: usize,
    namespace: usize,
    bytes: usize,
    attachments: usize,
    kind: JobKind,
}

#[derive(Clone, Copy, Debug)]
enum JobKind {
    Event(Receipt),
    Request(Handler, Option<Duration>),
}

impl App {
    /// Opens the namespaces and declares what the application handles.
    pub(super) fn start(
        stage: &mut Stage<'_>,
        process: Process,
        slot: usize,
        plan: &NodePlan,
        node: &mut Recorder<FakeFd>,
    ) -> Self {
        let now = stage.now;
        let mut namespaces = Vec::new();
        let handlers = Handler::ALL
            .into_iter()
            .filter(|one| *one != Handler::Absent);
        let names = Names {
            handlers: handlers.map(|one| one.name().into()).collect(),
            listeners: [EVENT.into()].into(),
            all_events: false,
        };
        for name in NAMESPACES {
            // Both names are valid by the rules of `Node::open`.
            namespaces.extend(node.open(now, name));
        }
        for namespace in &namespaces {
            if let Err(error) = node.declare(now, *namespace, names.clone()) {
                stage.model.fail(format!("{process:?}: {error}"));
            }
            node.ready(now, *namespace);
        }
        node.ready_all(now);
        Self {
            process,
            slot,
            namespaces,
            intake: plan.intake,
            next_take: now,
            backlog: VecDeque::new(),
            backlog_waits: false,
            requests: BTreeMap::new(),
            messages: BTreeMap::new(),
            asked_back: BTreeMap::new(),
            late: VecDeque::new(),
            held: Vec::new(),
            gave_up: false,
            digest: Vec::new(),
        }
    }

    /// Does a piece of work.
    pub(super) fn work(&mut self, stage: &mut Stage<'_>, node: &mut Recorder<FakeFd>, work: &Work) {
        match work {
            Work::Send {
                to,
                namespace,
                bytes,
                attachments,
                count,
                receipt,
            } => {
                let receipt = match receipt {
                    0 => Receipt::None,
                    1 => Receipt::Delivered,
                    _ => Receipt::Handled,
                };
                let kind = JobKind::Event(receipt);
                self.queue(*count, *to, *namespace, *bytes, *attachments, kind);
            }
            Work::Request {
                to,
                namespace,
                handler,
                bytes,
                attachments,
                count,
                deadline,
            } => {
                let kind = JobKind::Request(*handler, deadline.map(Duration::from_nanos));
                self.queue(*count, *to, *namespace, *bytes, *attachments, kind);
            }
            Work::Cancel => self.cancel(stage, node),
            Work::Take(intake) => self.set_intake(stage.now, *intake),
        }
        self.send_backlog(stage, node);
    }

    /// Takes deliveries as the intake allows, and gives late answers. Whether anything was done.
    pub(super) fn run(&mut self, stage: &mut Stage<'_>, node: &mut Recorder<FakeFd>) -> bool {
        let mut busy = self.answer_late(stage, node);
        for at in 0..self.namespaces.len() {
            while self.may_take(stage.now) {
                let Some(delivery) = node.recv(stage.now, self.namespaces[at]) else {
                    break;
                };
                if let Intake::Slow(nanos) = self.intake {
                    self.next_take = stage.now + Duration::from_nanos(nanos);
                }
                self.take(stage, node, at, delivery);
                busy = true;
            }
        }
        busy
    }

    /// When the application wants to act again by itself.
    pub(super) fn next_time(&self, now: Instant) -> Option<Instant> {
        let late = self.late.front().map(|(at, ..)| *at);
        // Once the time has come, whatever is delivered is taken in the turn that brings it.
        let slow = matches!(self.intake, Intake::Slow(_)) && self.next_take > now;
        let take = slow.then_some(self.next_take);
        [late, take].into_iter().flatten().min()
    }

    /// Takes everything at once from now on.
    pub(super) fn set_intake(&mut self, now: Instant, intake: Intake) {
        self.intake = intake;
        self.next_take = now;
    }

    /// Something that the node tells.
    pub(super) fn event(
        &mut self,
        stage: &mut Stage<'_>,
        node: &mut Recorder<FakeFd>,
        event: Event<FakeFd>,
    ) {
        let now = stage.now;
        match event {
            Event::Connected { .. } => {
                stage.model.lives_as(self.process, node.instance().0);
            }
            Event::Fenced => stage.model.forgets(self.process),
            Event::GaveUp => {
                count(stage.marks, "gave_up");
                self.gave_up = true;
            }
            Event::PeerUp { id, generation } | Event::PeerChanged { id, generation, .. } => {
                // The hub always has the first id.
                let hub = node.roster().by_id(PeerId(1));
                let peer = node.roster().by_id(id);
                if let (Some(hub), Some(peer)) = (hub, peer)
                    && peer.generation == generation
                {
                    let (hub, instance) = (hub.instance.0, peer.instance.0);
                    let by = self.process;
                    stage.model.seen(by, hub, instance, id.0, generation.0);
                }
            }
            Event::PeerGone { id, generation } => {
                stage
                    .model
                    .gone_identity(now, self.process, id.0, generation.0);
            }
            Event::Outcome { request, outcome } => self.outcome(stage, node, request, outcome),
            Event::Fate { message, fate } => self.fate(stage, message, fate),
            Event::Sendable(_) => {
                self.backlog_waits = false;
                self.send_backlog(stage, node);
            }
            Event::PeerFault { instance, rule } => {
                let what = format!("{:?} sees {instance} break the rule {rule}", self.process);
                stage.model.fail(what);
            }
            _ => {}
        }
    }

    /// What the application holds.
    pub(super) fn held(&self) -> impl Iterator<Item = Description> {
        self.held.iter().map(FakeFd::description)
    }

    /// Whether its node has said, since this was last asked, that it will never be attached again.
    pub(super) fn has_given_up(&mut self) -> bool {
        core::mem::take(&mut self.gave_up)
    }

    /// How much work could not be handed to the node, and for which slot the first of it is.
    pub(super) fn backlog(&self) -> Option<(usize, usize)> {
        let first = self.backlog.front()?;
        Some((self.backlog.len(), first.to))
    }

    /// What the application saw, in order, without times.
    pub(super) fn transcript(&self) -> &[String] {
        &self.digest
    }

    fn queue(
        &mut self,
        count: usize,
        to: usize,
        namespace: usize,
        bytes: usize,
        attachments: usize,
        kind: JobKind,
    ) {
        let job = Job {
            to,
            namespace: namespace % NAMESPACES.len(),
            bytes: bytes.max(8),
            attachments,
            kind,
        };
        self.backlog.extend(core::iter::repeat_n(job, count));
    }

    fn send_backlog(&mut self, stage: &mut Stage<'_>, node: &mut Recorder<FakeFd>) {
        while !self.backlog_waits
            && let Some(job) = self.backlog.pop_front()
        {
            if self.send(stage, node, &job).is_err() {
                self.backlog_waits = true;
                self.backlog.push_front(job);
            }
        }
    }

    /// Hands one message to the node. `Err` if the node was full; other refusals are final.
    fn send(
        &mut self,
        stage: &mut Stage<'_>,
        node: &mut Recorder<FakeFd>,
        job: &Job,
    ) -> Result<Option<RequestId>, ()> {
        *stage.next_uid += 1;
        let uid = Uid(*stage.next_uid);
        let message = self.message(stage, job, uid);
        let offered = descriptions(&message.attachments);
        let mut accepted = Accepted {
            from: self.process,
            to: job.to,
            namespace: job.namespace,
            request: false,
            attachments: offered.clone(),
            deadline: None,
        };
        if let JobKind::Request(_, deadline) = job.kind {
            accepted.request = true;
            accepted.deadline = stage.now.checked_add(deadline.unwrap_or(DEADLINE));
        }
        match self.hand_over(stage.now, node, message, job.kind, uid) {
            Ok(request) => {
                stage.model.accepted(stage.now, uid, accepted);
                Ok(request)
            }
            Err(error) => {
                let returned = descriptions(&error.message.attachments);
                stage.model.refused(uid, &offered, &returned);
                if matches!(error.reason, SendRefusal::Full { .. }) {
                    count(stage.marks, "app_full");
                    return Err(());
                }
                count(stage.marks, "app_refused");
                self.note(format!("refused {uid:?}: {}", error.reason));
                Ok(None)
            }
        }
    }

    fn message(&self, stage: &Stage<'_>, job: &Job, uid: Uid) -> Message<FakeFd> {
        let create = |_| stage.registry.create(self.process.0);
        let event = match job.kind {
            JobKind::Event(_) => EVENT,
            JobKind::Request(handler, _) => handler.name(),
        };
        Message {
            target: target(job.to),
            namespace: self.namespaces[job.namespace],
            event: Cow::Borrowed(event),
            codec: 0,
            payload: payload(uid, job.bytes),
            attachments: (0..job.attachments).map(create).collect(),
        }
    }

    fn hand_over(
        &mut self,
        now: Instant,
        node: &mut Recorder<FakeFd>,
        message: Message<FakeFd>,
        kind: JobKind,
        uid: Uid,
    ) -> Result<Option<RequestId>, SendError<FakeFd>> {
        match kind {
            JobKind::Event(receipt) => {
                let options = SendOptions {
                    receipt,
                    queue_attachments: true,
                    ..SendOptions::default()
                };
                let id = node.send(now, message, options)?;
                self.messages.insert(id, uid);
                Ok(None)
            }
            JobKind::Request(_, deadline) => {
                let options = RequestOptions {
                    deadline,
                    queue_attachments: true,
                };
                let id = node.request(now, message, options)?;
                self.requests.insert(id, uid);
                Ok(Some(id))
            }
        }
    }

    fn cancel(&mut self, stage: &mut Stage<'_>, node: &mut Recorder<FakeFd>) {
        let Some((&request, &uid)) = self.requests.first_key_value() else {
            return;
        };
        stage.model.cancelled(uid);
        count(stage.marks, "app_cancelled");
        node.cancel(stage.now, request);
    }

    fn may_take(&self, now: Instant) -> bool {
        match self.intake {
            Intake::Eager => true,
            Intake::Slow(_) => self.next_take <= now,
            Intake::Stopped => false,
        }
    }

    fn take(
        &mut self,
        stage: &mut Stage<'_>,
        node: &mut Recorder<FakeFd>,
        namespace: usize,
        delivery: Delivery<FakeFd>,
    ) {
        let Some(uid) = parse(&delivery.payload) else {
            let what = format!("{:?} took a payload that nobody sent", self.process);
            return stage.model.fail(what);
        };
        let attachments = descriptions(&delivery.attachments);
        let lost = delivery.attachments_lost;
        self.note(format!("took {uid:?} of {namespace}, lost: {lost}"));
        stage
            .model
            .taken(self.process, uid, namespace, &attachments, lost);
        if lost {
            count(stage.marks, "app_attachments_lost");
        }
        self.held.extend(delivery.attachments);
        let bytes = delivery.payload.to_bytes();
        match delivery.kind {
            DeliveryKind::Event(None) => {}
            DeliveryKind::Event(Some(ticket)) => {
                if node.reply(stage.now, ticket, Answer::nothing()).is_err() {
                    count(stage.marks, "app_reply_stale");
                }
            }
            DeliveryKind::Request { ticket, .. } => {
                let answering = Answering {
                    ticket,
                    bytes,
                    attachments: attachments.len(),
                };
                self.handle(stage, node, &delivery.event, uid, answering);
            }
        }
    }

    fn outcome(
        &mut self,
        stage: &mut Stage<'_>,
        node: &mut Recorder<FakeFd>,
        request: RequestId,
        outcome: message::Outcome<FakeFd>,
    ) {
        let Some(uid) = self.requests.remove(&request) else {
            let what = format!(
                "{:?} got an outcome of {request:?}, not pending",
                self.process
            );
            return stage.model.fail(what);
        };
        let (seen, mark) = match &outcome {
            message::Outcome::Reply { payload, .. } => match parse(payload) {
                Some(of) => (Outcome::Reply(of), "outcome_reply"),
                None => return stage.model.fail(format!("{uid:?} has a reply of nobody")),
            },
            message::Outcome::Failed(_) => (Outcome::Failed, "outcome_failed"),
            message::Outcome::NotRun { .. } => (Outcome::NotRun, "outcome_not_run"),
            message::Outcome::Unknown(_) => (Outcome::Unknown, "outcome_unknown"),
        };
        self.note(format!("{uid:?} {seen:?}"));
        count(stage.marks, mark);
        stage.model.outcome(stage.now, self.process, uid, seen);
        if let message::Outcome::Reply {
            attachments,
            attachments_lost,
            ..
        } = outcome
        {
            if !attachments.is_empty() {
                count(stage.marks, "app_reply_attachments");
            }
            let brought = descriptions(&attachments);
            stage.model.brought(uid, &brought, attachments_lost);
            self.held.extend(attachments);
        }
        if let Some(answering) = self.asked_back.remove(&request) {
            self.reply(stage, node, answering);
        }
    }

    fn fate(&mut self, stage: &mut Stage<'_>, id: MessageId, fate: message::Fate<FakeFd>) {
        let Some(uid) = self.messages.get(&id).copied() else {
            let what = format!("{:?} got a fate of {id:?}, not sent", self.process);
            return stage.model.fail(what);
        };
        self.note(format!("{uid:?} {}", name_of(&fate)));
        count(stage.marks, name_of(&fate));
        match fate {
            message::Fate::Delivered | message::Fate::Handled | message::Fate::HandlerFailed => {
                stage.model.receipt(uid);
            }
            message::Fate::Refused { message, .. } => {
                let returned = message.map_or(Vec::new(), |m| descriptions(&m.attachments));
                stage.model.fate(stage.now, uid, Fate::Refused, &returned);
            }
            message::Fate::NotAccepted { .. } => {
                stage.model.fate(stage.now, uid, Fate::Refused, &[]);
            }
            message::Fate::Unconfirmed => {
                stage.model.fate(stage.now, uid, Fate::Unconfirmed, &[]);
            }
        }
    }

    fn note(&mut self, what: String) {
        self.digest.push(what);
    }
}

/// The name of the process in a slot.
pub(super) fn name(slot: usize) -> Option<PeerName> {
    PeerName::new(&format!("n{slot}"))
}

fn target(slot: usize) -> Target {
    // "n" and a number is a valid name; the default keeps this total.
    name(slot).map_or(Target::Hub, Target::Named)
}

/// A payload that says which message it is, and whose every byte follows from that.
fn payload(uid: Uid, len: usize) -> Bytes {
    let filler = (8..len).map(|at| (uid.0 as u8).wrapping_add(at as u8));
    uid.0.to_be_bytes().into_iter().chain(filler).collect()
}

fn parse(bytes: &[u8]) -> Option<Uid> {
    let uid = Uid(u64::from_be_bytes(*bytes.first_chunk()?));
    (payload(uid, bytes.len()) == bytes).then_some(uid)
}

fn descriptions(fds: &[FakeFd]) -> Vec<Description> {
    fds.iter().map(FakeFd::description).collect()
}

fn name_of(fate: &message::Fate<FakeFd>) -> &'static str {
    match fate {
        message::Fate::Delivered => "fate_delivered",
        message::Fate::Handled => "fate_handled",
        message::Fate::HandlerFailed => "fate_handler_failed",
        message::Fate::Refused { .. } => "fate_refused",
        message::Fate::NotAccepted { .. } => "fate_not_accepted",
        message::Fate::Unconfirmed => "fate_unconfirmed",
    }
}

fn count(marks: &mut Marks, mark: &'static str) {
    *marks.entry(mark).or_default() += 1;
}
