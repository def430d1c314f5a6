//! A node that writes down what is done to it.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::hash::Hash;
use core::ops::Deref;
use core::time::Duration;

use bytes::Bytes;

use super::digest::{self, Digest};
use super::{Input, Log, MessageRecord, NamesRecord, Step, Token};
use crate::config::{Config, ConfigError};
use crate::id::{LinkId, MessageId, NamespaceId, PeerName, RequestId, Ticket};
use crate::inbox::{DeclareError, NameError, Names};
use crate::link::Written;
use crate::message::{
    Answer, Delivery, Message, ReplyError, RequestOptions, SendError, SendOptions,
};
use crate::node::{Hangup, LinkConfig, Node, Read, Seeds, UnknownLink, WriteError};
use crate::output::{DialId, Output};
use crate::time::Instant;

/// What a [`Recorder`] keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recording {
    /// Nothing. Each call costs one branch more than that of the node.
    #[default]
    Off,
    /// The last steps that fit into this many bytes of memory, for people to read. Once something
    /// was lost, the log cannot be replayed.
    Last(usize),
    /// Everything. Memory grows with every call and every byte that passes.
    All,
}

/// A [`Node`] that writes down what is done to it, with the calls of the node.
///
/// It offers the calls that change a node; all others it lends from the node inside, which nobody
/// can change behind its back.
#[derive(Debug)]
pub struct Recorder<F> {
    node: Node<F>,
    tape: Option<Box<Tape>>,
}

/// What has been written down.
#[derive(Debug)]
struct Tape {
    config: Config,
    seeds: Seeds,
    start: Instant,
    steps: VecDeque<Step>,
    /// Bytes of memory that the steps take.
    size: usize,
    most: usize,
    skipped: u64,
    tokens: u64,
}

impl<F> Deref for Recorder<F> {
    type Target = Node<F>;

    fn deref(&self) -> &Node<F> {
        &self.node
    }
}

impl<F> Recorder<F> {
    /// A node at the beginning of its life, recorded from then on.
    ///
    /// # Errors
    ///
    /// As [`Node::new`].
    pub fn new(
        config: Config,
        seeds: &Seeds,
        now: Instant,
        recording: Recording,
    ) -> Result<Self, ConfigError> {
        let most = match recording {
            Recording::Off => None,
            Recording::Last(bytes) => Some(bytes),
            Recording::All => Some(usize::MAX),
        };
        let tape = most.map(|most| {
            Box::new(Tape {
                config: config.clone(),
                seeds: seeds.clone(),
                start: now,
                steps: VecDeque::new(),
                size: 0,
                most,
                skipped: 0,
                tokens: 0,
            })
        });
        let node = Node::new(config, seeds, now)?;
        Ok(Self { node, tape })
    }

    /// A copy of what was recorded so far; `None` where nothing is.
    pub fn log(&self) -> Option<Log> {
        let tape = self.tape.as_ref()?;
        Some(Log {
            format: Log::FORMAT,
            config: tape.config.clone(),
            seeds: tape.seeds.clone(),
            start: tape.start,
            skipped: tape.skipped,
            steps: tape.steps.iter().cloned().collect(),
        })
    }

    /// Ends the recording and frees its memory. It cannot begin again in this node's life.
    pub fn stop(&mut self) {
        self.tape = None;
    }

    /// Writes an input down, before the call that it stands for.
    fn note(&mut self, input: impl FnOnce(&mut Tape) -> Input) {
        if let Some(tape) = &mut self.tape {
            let input = input(tape);
            tape.begin(input);
        }
    }

    /// Adds what the call gave back.
    fn gave(&mut self, fold: impl FnOnce(&mut Digest, &Node<F>)) {
        if let Some(tape) = &mut self.tape
            && let Some(step) = tape.steps.back_mut()
        {
            let mut digest = Digest::resume(step.digest);
            fold(&mut digest, &self.node);
            step.digest = digest.value();
        }
    }
}

/// The calls of [`Node`], under the same names.
impl<F> Recorder<F> {
    /// As [`Node::poll`].
    pub fn poll(&mut self) -> Output<F> {
        self.note(|_| Input::Poll);
        let output = self.node.poll();
        self.gave(|digest, node| digest::output(digest, node, &output));
        output
    }

    /// As [`Node::handle_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.note(|_| Input::HandleTimeout { now });
        self.node.handle_timeout(now);
    }

    /// As [`Node::open`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open(&mut self, now: Instant, name: &str) -> Result<NamespaceId, NameError> {
        self.note(|_| Input::Open {
            now,
            name: String::from(name),
        });
        let opened = self.node.open(now, name);
        self.gave(|digest, _| opened.ok().hash(digest));
        opened
    }

    /// As [`Node::declare`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn declare(
        &mut self,
        now: Instant,
        namespace: NamespaceId,
        names: Names,
    ) -> Result<(), DeclareError> {
        self.note(|_| Input::Declare {
            now,
            namespace,
            names: NamesRecord::new(&names),
        });
        let declared = self.node.declare(now, namespace, names);
        self.gave(|digest, _| declared.is_ok().hash(digest));
        declared
    }

    /// As [`Node::ready`].
    pub fn ready(&mut self, now: Instant, namespace: NamespaceId) {
        self.note(|_| Input::Ready { now, namespace });
        self.node.ready(now, namespace);
    }

    /// As [`Node::ready_all`].
    pub fn ready_all(&mut self, now: Instant) {
        self.note(|_| Input::ReadyAll { now });
        self.node.ready_all(now);
    }

    /// As [`Node::set_default_deadline`].
    pub fn set_default_deadline(&mut self, namespace: Option<NamespaceId>, deadline: Duration) {
        self.note(|_| Input::SetDefaultDeadline {
            namespace,
            deadline,
        });
        self.node.set_default_deadline(namespace, deadline);
    }

    /// As [`Node::add_link`].
    pub fn add_link(&mut self, now: Instant, config: LinkConfig) -> LinkId {
        self.note(|_| Input::AddLink { now, config });
        let id = self.node.add_link(now, config);
        self.gave(|digest, _| id.hash(digest));
        id
    }

    /// As [`Node::handle_read`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn handle_read(
        &mut self,
        now: Instant,
        link: LinkId,
        read: Read<F>,
    ) -> Result<(), UnknownLink> {
        self.note(|tape| Input::HandleRead {
            now,
            link,
            bytes: Bytes::copy_from_slice(&read.bytes),
            attachments: tape.number(read.attachments.len()),
            truncated: read.truncated,
        });
        let result = self.node.handle_read(now, link, read);
        self.gave(|digest, _| result.is_ok().hash(digest));
        result
    }

    /// As [`Node::handle_written`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn handle_written(
        &mut self,
        now: Instant,
        link: LinkId,
        result: Written,
    ) -> Result<(), WriteError> {
        self.note(|_| Input::HandleWritten { now, link, result });
        let accounted = self.node.handle_written(now, link, result);
        self.gave(|digest, _| accounted.hash(digest));
        accounted
    }

    /// As [`Node::handle_hangup`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn handle_hangup(
        &mut self,
        now: Instant,
        link: LinkId,
        cause: Hangup,
    ) -> Result<(), UnknownLink> {
        self.note(|_| Input::HandleHangup { now, link, cause });
        let result = self.node.handle_hangup(now, link, cause);
        self.gave(|digest, _| result.is_ok().hash(digest));
        result
    }

    /// As [`Node::disconnect`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn disconnect(&mut self, now: Instant, link: LinkId) -> Result<(), UnknownLink> {
        self.note(|_| Input::Disconnect { now, link });
        let result = self.node.disconnect(now, link);
        self.gave(|digest, _| result.is_ok().hash(digest));
        result
    }

    /// As [`Node::refuse_waiting`].
    pub fn refuse_waiting(&mut self, now: Instant, name: &PeerName) {
        self.note(|_| Input::RefuseWaiting {
            now,
            name: name.clone(),
        });
        self.node.refuse_waiting(now, name);
    }

    /// As [`Node::send`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send(
        &mut self,
        now: Instant,
        message: Message<F>,
        options: SendOptions,
    ) -> Result<MessageId, SendError<F>> {
        self.note(|tape| Input::Send {
            now,
            message: tape.message(&message),
            options,
        });
        let sent = self.node.send(now, message, options);
        self.gave(|digest, _| digest::sent(digest, &sent));
        sent
    }

    /// As [`Node::request`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn request(
        &mut self,
        now: Instant,
        message: Message<F>,
        options: RequestOptions,
    ) -> Result<RequestId, SendError<F>> {
        self.note(|tape| Input::Request {
            now,
            message: tape.message(&message),
            options,
        });
        let made = self.node.request(now, message, options);
        self.gave(|digest, _| digest::sent(digest, &made));
        made
    }

    /// As [`Node::reply`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn reply(
        &mut self,
        now: Instant,
        ticket: Ticket,
        answer: Answer<F>,
    ) -> Result<(), ReplyError<F>> {
        self.note(|tape| Input::Reply {
            now,
            ticket,
            answer: tape.answer(&answer),
        });
        let replied = self.node.reply(now, ticket, answer);
        self.gave(|digest, _| digest::replied(digest, &replied));
        replied
    }

    /// As [`Node::cancel`].
    pub fn cancel(&mut self, now: Instant, request: RequestId) {
        self.note(|_| Input::Cancel { now, request });
        self.node.cancel(now, request);
    }

    /// As [`Node::recall`].
    pub fn recall(&mut self, now: Instant, message: MessageId) -> bool {
        self.note(|_| Input::Recall { now, message });
        let recalled = self.node.recall(now, message);
        self.gave(|digest, _| recalled.hash(digest));
        recalled
    }

    /// As [`Node::recv`].
    pub fn recv(&mut self, now: Instant, namespace: NamespaceId) -> Option<Delivery<F>> {
        self.note(|_| Input::Recv { now, namespace });
        let delivery = self.node.recv(now, namespace);
        self.gave(|digest, _| digest::delivery(digest, delivery.as_ref()));
        delivery
    }

    /// As [`Node::dial`].
    pub fn dial(&mut self, now: Instant) {
        self.note(|_| Input::Dial { now });
        self.node.dial(now);
    }

    /// As [`Node::dial_impossible`].
    pub fn dial_impossible(&mut self, now: Instant, id: DialId) {
        self.note(|_| Input::DialImpossible { now, id });
        self.node.dial_impossible(now, id);
    }

    /// As [`Node::dial_failed`].
    pub fn dial_failed(&mut self, now: Instant, id: DialId) {
        self.note(|_| Input::DialFailed { now, id });
        self.node.dial_failed(now, id);
    }

    /// As [`Node::drain`].
    pub fn drain(&mut self, now: Instant, within: Duration) {
        self.note(|_| Input::Drain { now, within });
        self.node.drain(now, within);
    }

    /// As [`Node::close`].
    pub fn close(&mut self, now: Instant) {
        self.note(|_| Input::Close { now });
        self.node.close(now);
    }
}

impl Tape {
    /// Begins a step, or goes on with the run that the last one is.
    fn begin(&mut self, input: Input) {
        if let Some(last) = self.steps.back_mut()
            && last.times < Step::MOST
            && input.comes_in_runs()
            && last.input == input
        {
            last.times += 1;
            return;
        }
        self.size = self.size.saturating_add(size_of::<Step>() + input.heap());
        self.steps.push_back(Step {
            input,
            times: 1,
            digest: Digest::new().value(),
        });
        // The last one stays, whatever its size: its digest is still to come.
        while self.size > self.most && self.steps.len() > 1 {
            if let Some(lost) = self.steps.pop_front() {
                self.size -= size_of::<Step>() + lost.input.heap();
                self.skipped += 1;
            }
        }
    }

    /// Numbers attachments that are handed in.
    fn number(&mut self, count: usize) -> Vec<Token> {
        let first = self.tokens;
        self.tokens += count as u64;
        (first..self.tokens).map(Token).collect()
    }

    fn message<F>(&mut self, message: &Message<F>) -> Box<MessageRecord> {
        Box::new(MessageRecord {
            target: message.target.clone(),
            namespace: message.namespace,
            event: String::from(&*message.event),
            codec: message.codec,
            payload: message.payload.clone(),
            attachments: self.number(message.attachments.len()),
        })
    }

    fn answer<F>(&mut self, answer: &Answer<F>) -> Box<Answer<Token>> {
        Box::new(match answer {
            Answer::Reply {
                codec,
                payload,
                attachments,
            } => Answer::Reply {
                codec: *codec,
                payload: payload.clone(),
                attachments: self.number(attachments.len()),
            },
            Answer::Failed(failure) => Answer::Failed(failure.clone()),
            Answer::NotRun(reason) => Answer::NotRun(*reason),
        })
    }
}
