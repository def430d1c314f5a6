//! Messages of this peer that somebody waits for: for room in a buffer, or for their end.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::task::Waker;

use slab::Slab;
use switchboard_os::Attachment;
use switchboard_os::engine::Engine;
use switchboard_proto::{
    Fate, Message, MessageId, Outcome, Receipt, RequestId, RequestOptions, SendError, SendOptions,
    SendRefusal, Target,
};

use crate::shared::Wakes;

/// A message on its way to the node.
#[derive(Debug)]
pub(crate) enum Submission {
    Event(Message<Attachment>, SendOptions),
    Request(Message<Attachment>, RequestOptions),
}

/// How a message that was accepted has ended.
#[derive(Debug)]
pub(crate) enum Ending {
    Outcome(Outcome<Attachment>),
    Fate(Fate<Attachment>),
}

/// What became of a submission.
#[derive(Debug)]
pub(crate) enum Submitted {
    /// Accepted, and nothing more is to be known.
    Done(MessageId),
    /// Something is to come.
    Waits(OpId),
    Refused(SendError<Attachment>),
}

/// What a future that waits finds.
#[derive(Debug)]
pub(crate) enum Progress {
    Accepted(MessageId),
    Refused(SendError<Attachment>),
    Ended(MessageId, Ending),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpId(usize);

#[derive(Debug, Default)]
pub(crate) struct Ops {
    slots: Slab<Op>,
    by_message: HashMap<MessageId, usize>,
    /// Those for which there was no room, by target, first come first served.
    backlog: BTreeMap<Target, VecDeque<Waiting>>,
}

#[derive(Debug)]
struct Op {
    stage: Stage,
    waker: Option<Waker>,
}

#[derive(Debug)]
enum Stage {
    /// In the backlog of this target.
    Backlog(Target),
    Sent(MessageId),
    Over(Progress),
}

#[derive(Debug)]
struct Waiting {
    slot: usize,
    submission: Submission,
}

/// What an abandoned operation leaves behind, for the caller to drop when no lock is held.
#[derive(Debug)]
#[expect(dead_code, reason = "held for their drop alone")]
pub(crate) struct Abandoned {
    op: Op,
    submission: Option<Submission>,
}

impl Ops {
    /// Gives a message to the node. Where there is no room it waits behind those that do already,
    /// if somebody `waits`, and is refused otherwise. Who waits is woken when there is something to
    /// know, and need not look before.
    pub(crate) fn submit(
        &mut self,
        engine: &mut Engine,
        submission: Submission,
        waits: Option<&Waker>,
    ) -> Submitted {
        let target = submission.target();
        if let Some(queue) = self.backlog.get(target) {
            let Some(waker) = waits else {
                return Submitted::Refused(submission.refused_behind(queue.len()));
            };
            let target = target.clone();
            return Submitted::Waits(self.queue(target, submission, waker));
        }
        let follow = submission.has_end();
        let mark = submission.options();
        match submission.give(engine) {
            Ok(id) if follow => {
                let slot = self.slots.insert(Op {
                    stage: Stage::Sent(id),
                    waker: waits.cloned(),
                });
                self.by_message.insert(id, slot);
                Submitted::Waits(OpId(slot))
            }
            Ok(id) => Submitted::Done(id),
            Err(error) => match waits {
                Some(waker) if is_full(&error) => {
                    let target = error.message.target.clone();
                    let submission = mark.with(error.message);
                    Submitted::Waits(self.queue(target, submission, waker))
                }
                _ => Submitted::Refused(error),
            },
        }
    }

    /// Gives an event to the node, which nobody waits for: not for room, and not for a receipt.
    pub(crate) fn send_now(
        &mut self,
        engine: &mut Engine,
        message: Message<Attachment>,
        options: SendOptions,
    ) -> Result<MessageId, SendError<Attachment>> {
        match self.backlog.get(&message.target) {
            Some(queue) => {
                let waiting = queue.len();
                Err(Submission::Event(message, options).refused_behind(waiting))
            }
            None => engine.send(message, options),
        }
    }

    /// What there is to know; else this one is woken.
    pub(crate) fn poll(&mut self, id: OpId, waker: &Waker) -> (Option<Progress>, Option<Waker>) {
        let Some(op) = self.slots.get_mut(id.0) else {
            return (None, None);
        };
        if matches!(op.stage, Stage::Over(_)) {
            let op = self.slots.remove(id.0);
            let Stage::Over(progress) = op.stage else {
                return (None, op.waker);
            };
            return (Some(progress), op.waker);
        }
        let same = op.waker.as_ref().is_some_and(|old| old.will_wake(waker));
        let replaced = match same {
            true => None,
            false => op.waker.replace(waker.clone()),
        };
        (None, replaced)
    }

    /// Whoever waits for this one looks by itself in a moment, and need not be woken.
    pub(crate) fn quiet(&mut self, id: OpId) -> Option<Waker> {
        self.slots.get_mut(id.0)?.waker.take()
    }

    /// The future was dropped: a message that waits for room is never sent, a request is cancelled.
    pub(crate) fn abandon(&mut self, id: OpId, engine: &mut Engine) -> Option<Abandoned> {
        let op = self.slots.try_remove(id.0)?;
        let mut submission = None;
        match &op.stage {
            Stage::Backlog(target) => {
                if let Some(queue) = self.backlog.get_mut(target) {
                    let at = queue.iter().position(|waiting| waiting.slot == id.0);
                    submission = at.and_then(|at| queue.remove(at)).map(|one| one.submission);
                    if queue.is_empty() {
                        self.backlog.remove(target);
                    }
                }
            }
            Stage::Sent(message) => {
                self.by_message.remove(message);
                let now = engine.now();
                // Of an event there is no such request, and nothing happens.
                engine.node().cancel(now, RequestId(message.0));
            }
            Stage::Over(_) => {}
        }
        Some(Abandoned { op, submission })
    }

    /// A message has ended. What nobody waits for comes back.
    pub(crate) fn end(
        &mut self,
        message: MessageId,
        ending: Ending,
        wakes: &mut Wakes,
    ) -> Option<Ending> {
        let Some(slot) = self.by_message.remove(&message) else {
            return Some(ending);
        };
        self.over(slot, Progress::Ended(message, ending), wakes);
        None
    }

    /// There is room for this target: those that wait are sent, in their order, as far as it goes.
    pub(crate) fn sendable(&mut self, target: &Target, engine: &mut Engine, wakes: &mut Wakes) {
        let Some(mut queue) = self.backlog.remove(target) else {
            return;
        };
        while let Some(Waiting { slot, submission }) = queue.pop_front() {
            let follow = submission.has_end();
            let mark = submission.options();
            match submission.give(engine) {
                Ok(id) if follow => {
                    self.by_message.insert(id, slot);
                    if let Some(op) = self.slots.get_mut(slot) {
                        op.stage = Stage::Sent(id);
                    }
                }
                Ok(id) => self.over(slot, Progress::Accepted(id), wakes),
                Err(error) if is_full(&error) => {
                    let submission = mark.with(error.message);
                    queue.push_front(Waiting { slot, submission });
                    break;
                }
                Err(error) => self.over(slot, Progress::Refused(error), wakes),
            }
        }
        if !queue.is_empty() {
            self.backlog.insert(target.clone(), queue);
        }
    }

    /// The node is closed and refuses what waits, each with its reason.
    pub(crate) fn refuse_all(&mut self, engine: &mut Engine, wakes: &mut Wakes) {
        let targets: Vec<Target> = self.backlog.keys().cloned().collect();
        for target in targets {
            self.sendable(&target, engine, wakes);
        }
    }

    fn queue(&mut self, target: Target, submission: Submission, waker: &Waker) -> OpId {
        let slot = self.slots.insert(Op {
            stage: Stage::Backlog(target.clone()),
            waker: Some(waker.clone()),
        });
        let waiting = Waiting { slot, submission };
        self.backlog.entry(target).or_default().push_back(waiting);
        OpId(slot)
    }

    fn over(&mut self, slot: usize, progress: Progress, wakes: &mut Wakes) {
        if let Some(op) = self.slots.get_mut(slot) {
            op.stage = Stage::Over(progress);
            wakes.extend(op.waker.take());
        }
    }
}

/// How to make a submission of a message that came back.
#[derive(Clone, Copy, Debug)]
enum Options {
    Event(SendOptions),
    Request(RequestOptions),
}

impl Options {
    fn with(self, message: Message<Attachment>) -> Submission {
        match self {
            Self::Event(options) => Submission::Event(message, options),
            Self::Request(options) => Submission::Request(message, options),
        }
    }
}

impl Submission {
    fn target(&self) -> &Target {
        match self {
            Self::Event(message, _) | Self::Request(message, _) => &message.target,
        }
    }

    fn options(&self) -> Options {
        match self {
            Self::Event(_, options) => Options::Event(*options),
            Self::Request(_, options) => Options::Request(*options),
        }
    }

    /// Whether something is to be known after it was accepted.
    fn has_end(&self) -> bool {
        match self {
            Self::Event(_, options) => options.receipt != Receipt::None,
            Self::Request(..) => true,
        }
    }

    fn give(self, engine: &mut Engine) -> Result<MessageId, SendError<Attachment>> {
        match self {
            Self::Event(message, options) => engine.send(message, options),
            Self::Request(message, options) => {
                engine.request(message, options).map(|id| MessageId(id.0))
            }
        }
    }

    fn refused_behind(self, waiting: usize) -> SendError<Attachment> {
        let (Self::Event(message, _) | Self::Request(message, _)) = self;
        let reason = SendRefusal::Full {
            limit: "messages that wait before it",
            value: waiting as u64,
        };
        SendError { reason, message }
    }
}

fn is_full(error: &SendError<Attachment>) -> bool {
    matches!(error.reason, SendRefusal::Full { .. })
}
