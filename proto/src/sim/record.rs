//! A node whose inputs are written down, with a digest of everything it gave back. The same inputs,
//! fed to a fresh node, must give the same digest.

use alloc::borrow::Cow;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;

use bytes::{Bytes, BytesMut};

use super::handle::{Description, FakeFd, Owner, Registry};
use crate::config::{Config, ConfigError};
use crate::id::{LinkId, MessageId, NamespaceId, RequestId, Ticket};
use crate::inbox::Names;
use crate::link::{WriteBatch, Written};
use crate::message::{Answer, Delivery, Message, RequestOptions, SendError, SendOptions, Target};
use crate::node::{Hangup, LinkConfig, Node, Read, Seeds};
use crate::output::{DialId, Output};
use crate::time::Instant;

/// A node with its recording.
#[derive(Debug)]
pub struct Recorded {
    node: Node<FakeFd>,
    inputs: Vec<Input>,
    /// Links whose plan has not been looked at yet.
    fresh: BTreeSet<LinkId>,
    digest: Digest,
}

/// How a recording begins, and all that followed.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The node's configuration.
    pub config: Config,
    /// Its seeds.
    pub seeds: Seeds,
    /// When it was made.
    pub start: Instant,
    /// Every call that could change it.
    pub inputs: Vec<Input>,
    /// Of everything that the calls returned.
    pub digest: u64,
}

/// One call of a node.
#[derive(Clone, Debug)]
#[allow(
    missing_docs,
    reason = "the variants and fields are named after the calls they record"
)]
pub enum Input {
    AddLink(Instant, LinkConfig),
    Read(Instant, LinkId, Bytes, Vec<Token>, bool),
    Written(Instant, LinkId, Written),
    Hangup(Instant, LinkId, Hangup),
    Timeout(Instant),
    Dial(Instant),
    DialFailed(Instant, DialId),
    Open(Instant, String),
    Declare(Instant, NamespaceId, Names),
    Ready(Instant, NamespaceId),
    ReadyAll(Instant),
    Send(Instant, Parts, SendOptions),
    Request(Instant, Parts, RequestOptions),
    Reply(Instant, Ticket, Answer),
    Cancel(Instant, RequestId),
    Recv(Instant, NamespaceId),
    Poll,
    Batch(LinkId),
}

/// An attachment as a recording holds it.
pub type Token = (Description, Owner);

/// A message as a recording holds it.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are those of `Message`")]
pub struct Parts {
    pub target: Target,
    pub namespace: NamespaceId,
    pub event: Cow<'static, str>,
    pub codec: u8,
    pub payload: Bytes,
    pub attachments: Vec<Token>,
}

impl Recorded {
    /// As `Node::new`.
    pub fn new(config: Config, seeds: &Seeds, start: Instant) -> Result<Self, ConfigError> {
        Ok(Self {
            node: Node::new(config, seeds, start)?,
            inputs: Vec::new(),
            fresh: BTreeSet::new(),
            digest: Digest::default(),
        })
    }

    /// As `Node::add_link`.
    pub fn add_link(&mut self, now: Instant, config: LinkConfig) -> LinkId {
        self.inputs.push(Input::AddLink(now, config));
        let link = self.node.add_link(now, config);
        self.digest.note(&link);
        link
    }

    /// As `Node::handle_read`.
    pub fn read(&mut self, now: Instant, link: LinkId, read: Read<FakeFd>) {
        self.inputs.push(Input::Read(
            now,
            link,
            Bytes::copy_from_slice(&read.bytes),
            tokens(&read.attachments),
            read.truncated,
        ));
        let result = self.node.handle_read(now, link, read);
        self.digest.note(&result);
    }

    /// As `Node::handle_written`.
    pub fn written(&mut self, now: Instant, link: LinkId, written: Written) {
        self.inputs.push(Input::Written(now, link, written));
        let result = self.node.handle_written(now, link, written);
        self.digest.note(&result);
    }

    /// As `Node::handle_hangup`.
    pub fn hangup(&mut self, now: Instant, link: LinkId, cause: Hangup) {
        self.inputs.push(Input::Hangup(now, link, cause));
        let result = self.node.handle_hangup(now, link, cause);
        self.digest.note(&result);
    }

    /// As `Node::handle_timeout`.
    pub fn timeout(&mut self, now: Instant) {
        self.inputs.push(Input::Timeout(now));
        self.node.handle_timeout(now);
    }

    /// As `Node::dial`.
    pub fn dial(&mut self, now: Instant) {
        self.inputs.push(Input::Dial(now));
        self.node.dial(now);
    }

    /// As `Node::dial_failed`.
    pub fn dial_failed(&mut self, now: Instant, dial: DialId) {
        self.inputs.push(Input::DialFailed(now, dial));
        self.node.dial_failed(now, dial);
    }

    /// As `Node::open`.
    pub fn open(&mut self, now: Instant, name: &str) -> Option<NamespaceId> {
        self.inputs.push(Input::Open(now, name.into()));
        let result = self.node.open(now, name);
        self.digest.note(&result);
        result.ok()
    }

    /// As `Node::declare`.
    pub fn declare(&mut self, now: Instant, namespace: NamespaceId, names: Names) {
        self.inputs
            .push(Input::Declare(now, namespace, names.clone()));
        let result = self.node.declare(now, namespace, names);
        self.digest.note(&result);
    }

    /// As `Node::ready`.
    pub fn ready(&mut self, now: Instant, namespace: NamespaceId) {
        self.inputs.push(Input::Ready(now, namespace));
        self.node.ready(now, namespace);
    }

    /// As `Node::ready_all`.
    pub fn ready_all(&mut self, now: Instant) {
        self.inputs.push(Input::ReadyAll(now));
        self.node.ready_all(now);
    }

    /// As `Node::send`.
    pub fn send(
        &mut self,
        now: Instant,
        message: Message<FakeFd>,
        options: SendOptions,
    ) -> Result<MessageId, SendError<FakeFd>> {
        self.inputs
            .push(Input::Send(now, Parts::of(&message), options));
        let result = self.node.send(now, message, options);
        self.digest.note(&result);
        result
    }

    /// As `Node::request`.
    pub fn request(
        &mut self,
        now: Instant,
        message: Message<FakeFd>,
        options: RequestOptions,
    ) -> Result<RequestId, SendError<FakeFd>> {
        self.inputs
            .push(Input::Request(now, Parts::of(&message), options));
        let result = self.node.request(now, message, options);
        self.digest.note(&result);
        result
    }

    /// As `Node::reply`. Whether the ticket was still good.
    pub fn reply(&mut self, now: Instant, ticket: Ticket, answer: Answer) -> bool {
        self.inputs.push(Input::Reply(now, ticket, answer.clone()));
        let result = self.node.reply(now, ticket, answer);
        self.digest.note(&result);
        result.is_ok()
    }

    /// As `Node::cancel`.
    pub fn cancel(&mut self, now: Instant, request: RequestId) {
        self.inputs.push(Input::Cancel(now, request));
        self.node.cancel(now, request);
    }

    /// As `Node::recv`.
    pub fn recv(&mut self, now: Instant, namespace: NamespaceId) -> Option<Delivery<FakeFd>> {
        self.inputs.push(Input::Recv(now, namespace));
        let result = self.node.recv(now, namespace);
        self.digest.note(&result);
        if let Some(delivery) = &result {
            self.digest.bytes(&delivery.payload);
        }
        result
    }

    /// As `Node::poll`.
    pub fn poll(&mut self) -> Output<FakeFd> {
        self.inputs.push(Input::Poll);
        let output = self.node.poll();
        self.digest.note(&output);
        if let Output::Write(link) = &output {
            self.fresh.insert(*link);
        }
        output
    }

    /// As `Node::write_batch`; what it lends first is part of the digest.
    pub fn write_batch(&mut self, link: LinkId) -> Option<WriteBatch<'_, FakeFd>> {
        self.inputs.push(Input::Batch(link));
        let batch = self.node.write_batch(link);
        self.digest.note(&batch);
        // The rest after a partial write is the same bytes; all of them again for each byte that the
        // kernel takes would be quadratic.
        if self.fresh.remove(&link) {
            for slice in batch.iter().flat_map(WriteBatch::slices) {
                self.digest.bytes(slice);
            }
        }
        batch
    }

    /// The node, to look at.
    pub fn node(&self) -> &Node<FakeFd> {
        &self.node
    }

    /// Of everything so far.
    pub fn digest(&self) -> u64 {
        self.digest.hash
    }

    /// The recording, for [`Recording::replay`].
    pub fn recording(&self, config: Config, seeds: Seeds, start: Instant) -> Recording {
        Recording {
            config,
            seeds,
            start,
            inputs: self.inputs.clone(),
            digest: self.digest.hash,
        }
    }

    fn feed(&mut self, registry: &Registry, input: Input) {
        let stand_ins = |tokens: Vec<Token>| -> Vec<FakeFd> {
            let stand_in = |(description, owner)| registry.stand_in(description, owner);
            tokens.into_iter().map(stand_in).collect()
        };
        match input {
            Input::AddLink(now, config) => {
                self.add_link(now, config);
            }
            Input::Read(now, link, bytes, attachments, truncated) => {
                let bytes = BytesMut::from(&bytes[..]);
                let attachments = stand_ins(attachments);
                let read = Read {
                    bytes,
                    attachments,
                    truncated,
                };
                self.read(now, link, read);
            }
            Input::Written(now, link, written) => self.written(now, link, written),
            Input::Hangup(now, link, cause) => self.hangup(now, link, cause),
            Input::Timeout(now) => self.timeout(now),
            Input::Dial(now) => self.dial(now),
            Input::DialFailed(now, dial) => self.dial_failed(now, dial),
            Input::Open(now, name) => {
                self.open(now, &name);
            }
            Input::Declare(now, namespace, names) => self.declare(now, namespace, names),
            Input::Ready(now, namespace) => self.ready(now, namespace),
            Input::ReadyAll(now) => self.ready_all(now),
            Input::Send(now, parts, options) => {
                drop(self.send(now, parts.message(stand_ins), options));
            }
            Input::Request(now, parts, options) => {
                drop(self.request(now, parts.message(stand_ins), options));
            }
            Input::Reply(now, ticket, answer) => {
                self.reply(now, ticket, answer);
            }
            Input::Cancel(now, request) => self.cancel(now, request),
            Input::Recv(now, namespace) => drop(self.recv(now, namespace)),
            Input::Poll => drop(self.poll()),
            Input::Batch(link) => {
                self.write_batch(link);
            }
        }
    }
}

impl Recording {
    /// Feeds the inputs to a fresh node, and returns the digest of what it gave back.
    ///
    /// # Errors
    ///
    /// The configuration does not even make a node.
    pub fn replay(&self) -> Result<u64, ConfigError> {
        self.replay_showing(|_, _| {})
    }

    /// As [`Recording::replay`], showing every input with what the node gave back, as text.
    ///
    /// # Errors
    ///
    /// The configuration does not even make a node.
    pub fn replay_showing(&self, mut show: impl FnMut(&Input, &str)) -> Result<u64, ConfigError> {
        let registry = Registry::new();
        let mut fresh = Recorded::new(self.config.clone(), &self.seeds, self.start)?;
        for input in &self.inputs {
            fresh.digest.last.clear();
            fresh.feed(&registry, input.clone());
            show(input, &fresh.digest.last);
        }
        Ok(fresh.digest())
    }
}

impl Parts {
    fn of(message: &Message<FakeFd>) -> Self {
        Self {
            target: message.target.clone(),
            namespace: message.namespace,
            event: message.event.clone(),
            codec: message.codec,
            payload: message.payload.clone(),
            attachments: tokens(&message.attachments),
        }
    }

    fn message(self, stand_ins: impl Fn(Vec<Token>) -> Vec<FakeFd>) -> Message<FakeFd> {
        Message {
            target: self.target,
            namespace: self.namespace,
            event: self.event,
            codec: self.codec,
            payload: self.payload,
            attachments: stand_ins(self.attachments),
        }
    }
}

fn tokens(attachments: &[FakeFd]) -> Vec<Token> {
    let tokens = attachments.iter().map(|fd| (fd.description(), fd.owner()));
    tokens.collect()
}

/// FNV-1a: not for safety, only to notice a difference.
#[derive(Debug)]
struct Digest {
    hash: u64,
    /// What was noted last.
    last: String,
}

impl Default for Digest {
    fn default() -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            last: String::new(),
        }
    }
}

impl Digest {
    fn note(&mut self, thing: &impl Debug) {
        let text = format!("{thing:?}");
        self.bytes(text.as_bytes());
        self.last = text;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
