//! What the handlers of a simulated application do.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::{App, Job, JobKind, Stage, count, descriptions, parse};
use crate::id::Ticket;
use crate::message::{Answer, Failure, ReplyRefusal};
use crate::sim::handle::FakeFd;
use crate::sim::model::Uid;
use crate::sim::plan::Handler;
use crate::trace::Recorder;

/// What a late handler waits.
const LATE: Duration = Duration::from_millis(5);

/// A reply that is to be given.
#[derive(Clone, Debug)]
pub(super) struct Answering {
    pub(super) ticket: Ticket,
    /// What the request said, and the reply repeats.
    pub(super) bytes: Bytes,
    /// How many attachments the reply has: as many as the request brought.
    pub(super) attachments: usize,
}

impl App {
    /// Does what the handler of a request does.
    pub(super) fn handle(
        &mut self,
        stage: &mut Stage<'_>,
        node: &mut Recorder<FakeFd>,
        event: &str,
        uid: Uid,
        answering: Answering,
    ) {
        match Handler::named(event) {
            Some(Handler::Echo) => self.reply(stage, node, answering),
            Some(Handler::Fail) => fail(stage, node, answering.ticket),
            Some(Handler::Late) => self.late.push_back((stage.now + LATE, answering)),
            Some(Handler::Mute) => {}
            Some(Handler::AskBack) => {
                let job = Job {
                    to: stage.model.slot_of_sender(uid).unwrap_or(self.slot),
                    namespace: 0,
                    bytes: 8,
                    attachments: 0,
                    kind: JobKind::Request(Handler::Echo, None),
                };
                match self.send(stage, node, &job) {
                    Ok(Some(request)) => drop(self.asked_back.insert(request, answering)),
                    Ok(None) | Err(()) => fail(stage, node, answering.ticket),
                }
            }
            Some(Handler::Absent) | None => {
                let what = format!("{uid:?} came for `{event}`, which has no handler");
                stage.model.fail(what);
            }
        }
    }

    /// Gives the answers whose time has come. Whether there were any.
    pub(super) fn answer_late(
        &mut self,
        stage: &mut Stage<'_>,
        node: &mut Recorder<FakeFd>,
    ) -> bool {
        let mut busy = false;
        while let Some((at, ..)) = self.late.front()
            && *at <= stage.now
            && let Some((_, answering)) = self.late.pop_front()
        {
            self.reply(stage, node, answering);
            busy = true;
        }
        busy
    }

    /// Gives an answer; without its attachments if those cannot reach the requester.
    pub(super) fn reply(
        &mut self,
        stage: &mut Stage<'_>,
        node: &mut Recorder<FakeFd>,
        answering: Answering,
    ) {
        let Some(uid) = parse(&answering.bytes) else {
            let what = format!("{:?} answers a request that nobody made", self.process);
            return stage.model.fail(what);
        };
        let create = |_| stage.registry.create(self.process.0);
        let attachments: Vec<FakeFd> = (0..answering.attachments).map(create).collect();
        let offered = descriptions(&attachments);
        let answer = Answer::Reply {
            codec: 0,
            payload: answering.bytes.clone(),
            attachments,
        };
        let Err(refused) = node.reply(stage.now, answering.ticket, answer) else {
            return stage.model.replied(uid, offered);
        };
        let returned = descriptions(refused.answer.attachments());
        stage.model.refused(uid, &offered, &returned);
        match refused.reason {
            ReplyRefusal::Stale => count(stage.marks, "app_reply_stale"),
            ReplyRefusal::Attachments(_) => {
                count(stage.marks, "app_reply_without_attachments");
                let attachments = 0;
                self.reply(
                    stage,
                    node,
                    Answering {
                        attachments,
                        ..answering
                    },
                );
            }
        }
    }
}

fn fail(stage: &mut Stage<'_>, node: &mut Recorder<FakeFd>, ticket: Ticket) {
    let answer = Answer::Failed(Failure::default());
    if node.reply(stage.now, ticket, answer).is_err() {
        count(stage.marks, "app_reply_stale");
    }
}
