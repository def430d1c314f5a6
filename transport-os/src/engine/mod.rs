//! The pump that every driver shares: it moves bytes and descriptors between a [`Node`] and its
//! connections, and tells the driver what to wait for.
//!
//! It makes no decision of the protocol, has no thread and never waits. A driver does three things
//! around it, in a circle:
//!
//! 1. registers in its poller what [`Engine::sources`] says;
//! 2. waits, at most [`Engine::timeout`], and reports what is ready with [`Engine::ready`];
//! 3. calls [`Engine::turn`], and takes what came with [`Engine::next_event`] and `Node::recv`.
//!
//! After an operation on the node in between, [`Engine::flush`] writes what it caused, at once and
//! in the caller's thread.

#![allow(
    clippy::result_large_err,
    reason = "a refusal gives the whole message back"
)]

mod accept;
mod actor;
mod defect;
mod dial;
mod fault;
mod links;
mod source;
mod unwritten;

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use bytes::BytesMut;
use switchboard_proto::{
    Answer, Config, Delivery, Event, Failure, Hangup, Instant, LinkId, Message, MessageId,
    NamespaceId, Node, Output, ReplyError, ReplyRefusal, RequestId, RequestOptions,
    Seeds as NodeSeeds, SendError, SendOptions, SendRefusal, Ticket,
};

use crate::{Address, Attachment, Clock, ConnectError, ListenError, Seeds, Stream};
use accept::Acceptor;
use actor::Actors;
pub use actor::{Actor, Adopt, LinkEnd, Next, Stage};
pub use defect::NodeMut;
#[cfg(feature = "test-util")]
pub use defect::fail_next_turn;
use dial::Dialler;
use fault::Faults;
pub use fault::{EngineError, EngineFault, EngineStats};
use links::Links;
use source::Owner;
use source::SourceTable;
pub use source::{Interest, SourceChange, SourceId, Sources};
use unwritten::Unwritten;

/// Which end of an inherited connection the other process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A child of this process: it attaches to this node, and where this is a member through it to
    /// the hub.
    Child,
    /// The parent of this process: this node attaches to it.
    Parent,
}

/// What is left after a [`Engine::turn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a driver that sleeps while more is left misses it: an edge is reported once"]
pub struct Turn {
    /// Something can go on without waiting: call `turn` again before sleeping, after a look at the
    /// poller.
    pub more: bool,
    /// When the next turn is due, even if nothing becomes ready.
    pub deadline: Option<Instant>,
}

/// A node with its connections.
///
/// Dropping closes them without a word; [`Node::close`] and [`Engine::flush`] before it say goodbye.
#[derive(Debug)]
pub struct Engine {
    node: Node<Attachment>,
    /// Whether a call of the node has panicked, so that it may be in any state.
    is_defective: bool,
    clock: Clock,
    sources: SourceTable,
    links: Links,
    acceptor: Acceptor,
    dialler: Dialler,
    actors: Actors,
    /// Whether descriptors may come over its links.
    takes_attachments: bool,
    events: VecDeque<Event<Attachment>>,
    faults: Faults,
    stats: EngineStats,
    /// What the node said last.
    wake: Option<Instant>,
    unwritten: Unwritten,
    /// What the kernel reads into; its parts go to the node, and its memory comes back.
    buffer: BytesMut,
}

impl Engine {
    /// A node without connections, seeded by the system.
    ///
    /// # Errors
    ///
    /// A value of the configuration that cannot work, or a system without entropy.
    pub fn new(config: Config) -> Result<Self, EngineError> {
        let seeds = Seeds::from_system().map_err(EngineError::Entropy)?;
        let clock = Clock;
        let now = Instant::from_nanos(clock.now());
        let seeds = NodeSeeds {
            behaviour: seeds.behaviour,
        };
        Ok(Self {
            takes_attachments: config.attachments > 0,
            node: Node::new(config, &seeds, now)?,
            is_defective: false,
            clock,
            sources: SourceTable::default(),
            links: Links::default(),
            acceptor: Acceptor::default(),
            dialler: Dialler::default(),
            actors: Actors::default(),
            events: VecDeque::new(),
            faults: Faults::default(),
            stats: EngineStats::default(),
            wake: None,
            unwritten: Unwritten::default(),
            buffer: BytesMut::new(),
        })
    }

    /// Takes connections at the address, beside those where it already does. Returns the address
    /// as others can join it: of TCP with the real port.
    ///
    /// The node should be the hub ([`Config::role`]); members refuse what attaches to them.
    ///
    /// # Errors
    ///
    /// As [`Listener::bind`](crate::Listener::bind).
    pub fn listen(&mut self, address: &Address) -> Result<Address, ListenError> {
        self.acceptor.listen(address, &mut self.sources)
    }

    /// Stops taking connections; those that stand stay.
    pub fn unlisten(&mut self) {
        self.acceptor.close(&mut self.sources);
    }

    /// Begins to reach the hub at this address, now and after every loss, by the rules of
    /// [`Config::reconnect`]. What goes wrong is told by [`Engine::next_fault`].
    ///
    /// # Errors
    ///
    /// What is known at once and [does not pass](ConnectError::is_permanent). Such a fault that comes
    /// later ends the attempts too (`Event::GaveUp`), until this node has been attached once.
    pub fn join(&mut self, address: Address) -> Result<(), ConnectError> {
        self.dialler.address = Some(address);
        let now = self.now();
        self.node().dial(now);
        self.flush();
        self.dialler.impossible.take().map_or(Ok(()), Err)
    }

    /// Whether the hub is reached by dialling, and not over a connection that was there already.
    pub fn dials(&self) -> bool {
        self.dialler.address.is_some()
    }

    /// Takes over a connection that is there already, such as one to a child process.
    pub fn adopt(&mut self, stream: Stream, side: Side) -> LinkId {
        let origin = match side {
            Side::Child => switchboard_proto::LinkOrigin::Child,
            Side::Parent => switchboard_proto::LinkOrigin::Inherited,
        };
        let link = self.add_stream(stream, origin);
        self.flush();
        link
    }

    /// Says that the process at the other end has exited, or that the link is to end. What the
    /// connection still holds is read first, up to 1 MiB; then the node is told. Nothing happens if
    /// the link has ended already.
    pub fn hangup(&mut self, link: LinkId, cause: Hangup) {
        self.links.end_soon(link, cause);
    }

    /// The time of the engine's clock, as the node's methods want it.
    pub fn now(&self) -> Instant {
        Instant::from_nanos(self.clock.now())
    }

    /// The next message of a namespace, as [`Node::recv`]. Events are taken without a look at the
    /// clock, which would cost as much as many a handler does: [`Node::now`] tells the time of it.
    pub fn recv(&mut self, namespace: NamespaceId) -> Option<Delivery<Attachment>> {
        let now = match self.node.next_is_request(namespace) {
            true => self.now(),
            false => self.node.now(),
        };
        self.node().recv(now, namespace)
    }

    /// The node. Call [`Engine::flush`] after what changes something.
    pub fn node(&mut self) -> NodeMut<'_> {
        NodeMut::new(&mut self.node, &mut self.is_defective)
    }

    /// The node, to look at.
    pub fn node_ref(&self) -> &Node<Attachment> {
        &self.node
    }

    /// What a poller reported of a source. Reports of a source that was removed, or that are not
    /// true, do no harm. Nothing is read or written before the next [`Engine::turn`].
    pub fn ready(&mut self, source: SourceId, readable: bool, writable: bool) {
        match self.sources.owner(source) {
            Some(Owner::Link(link)) => self.links.ready(link, readable, writable),
            Some(Owner::PipeWrite(link)) => self.links.ready(link, false, readable || writable),
            Some(Owner::Listener(at)) => self.acceptor.ready(at),
            Some(Owner::Dial) => self.dialler.ready(&mut self.sources),
            Some(Owner::Actor(key)) => self.actors.ready(key),
            None => {}
        }
    }

    /// As [`Engine::ready`], where the poller says that the other end is closed or that there is an
    /// error (`EPOLLRDHUP`, `EPOLLHUP`, `EPOLLERR`). **An edge-triggered poller must call this**: the
    /// end can come in the same event as the last bytes, and after it no further edge does, so the
    /// link is read until its end even where the socket is known to hold no more bytes.
    pub fn closed(&mut self, source: SourceId) {
        self.ready(source, true, true);
        if let Some(Owner::Link(link)) = self.sources.owner(source) {
            self.links.read_to_end(link);
        }
    }

    /// The poller did not take the descriptor of a source. Regular files (`EPERM` from epoll) never
    /// block and count as always ready; any other error ends the link, closes the listener or fails
    /// the attempt to connect.
    pub fn refused(&mut self, source: SourceId, error: std::io::Error) {
        let pollable = error.kind() != std::io::ErrorKind::PermissionDenied;
        match self.sources.owner(source) {
            Some(Owner::Link(link) | Owner::PipeWrite(link)) if pollable => {
                self.links.end_soon(link, Hangup::Failed);
            }
            Some(Owner::Link(link) | Owner::PipeWrite(link)) => self.links.never_blocks(link),
            Some(Owner::Listener(at)) => {
                let sources = &mut self.sources;
                self.acceptor.failed(at, error, sources, &mut self.faults);
            }
            Some(Owner::Dial) => self.dialler.ready(&mut self.sources),
            Some(Owner::Actor(key)) => self.actors.unpolled(key),
            None => {}
        }
    }

    /// Does what can be done without waiting: accepts and connects, reads every ready link (at most
    /// 64 KiB or 32 times each, so that one that never stops sending starves nobody), writes what
    /// came of it, and fires what is due.
    ///
    /// Poll without waiting before it, if time may have passed since the last poll: deadlines fire
    /// after the ready links were read, so that an answer that lies in a socket is seen before its
    /// deadline, but only links that were reported are read.
    ///
    /// A panic in it, which is a defect of this library, ends this node and nothing else: see
    /// [`EngineFault::Defect`].
    pub fn turn(&mut self) -> Turn {
        self.contain(|engine| {
            engine.accept_ready();
            engine.finish_dial();
            engine.retry_writes();
            engine.read_ready();
            #[cfg(feature = "test-util")]
            defect::fail_if_told();
            engine.carry_out();
            engine.run_actors();
            let now = engine.now();
            if engine.wake.is_some_and(|at| at <= now) {
                engine.node.handle_timeout(now);
                engine.carry_out();
            }
        });
        Turn {
            more: self.has_more(),
            deadline: self.deadline(),
        }
    }

    /// Carries out what the node asks for, until it asks for nothing: writes plans as far as the
    /// kernel takes them, closes, dials, collects events. Reads nothing and fires no deadline.
    pub fn flush(&mut self) {
        self.contain(Self::carry_out);
    }

    fn carry_out(&mut self) {
        self.unwritten = Unwritten::default();
        loop {
            match self.node.poll() {
                Output::Event(event) => {
                    self.actors.hear(&event, &self.node);
                    self.events.push_back(event);
                }
                Output::Write(link) => self.write_link(link),
                Output::Close(link) => {
                    let first_bytes = self.links.close(link, &mut self.sources);
                    self.actors.link_ended(link, first_bytes);
                }
                Output::Dial(dial) => self.begin_dial(dial),
                Output::Idle(wake) => {
                    self.wake = wake.map(|wake| wake.at);
                    return;
                }
            }
        }
    }

    /// Sends an event, after [`Engine::check_attachments`]. Does not write yet: that is
    /// [`Engine::flush`], once for as many messages as there are.
    ///
    /// # Errors
    ///
    /// As [`Node::send`], and [`SendRefusal::OwnDescriptor`].
    pub fn send(
        &mut self,
        message: Message<Attachment>,
        options: SendOptions,
    ) -> Result<MessageId, SendError<Attachment>> {
        let message = self.check_attachments(message)?;
        // Of what is gathered, only what expires is measured against the clock.
        let now = match self.has_unwritten() && options.expires.is_none() {
            true => self.node.now(),
            false => self.now(),
        };
        let size = message.payload.len();
        let id = self.node().send(now, message, options)?;
        self.unwritten.add(now, size);
        Ok(id)
    }

    /// Makes a request, after [`Engine::check_attachments`]. Does not write yet, as
    /// [`Engine::send`].
    ///
    /// # Errors
    ///
    /// As [`Node::request`], and [`SendRefusal::OwnDescriptor`].
    pub fn request(
        &mut self,
        message: Message<Attachment>,
        options: RequestOptions,
    ) -> Result<RequestId, SendError<Attachment>> {
        let message = self.check_attachments(message)?;
        let (now, size) = (self.now(), message.payload.len());
        let id = self.node().request(now, message, options)?;
        self.unwritten.add(now, size);
        Ok(id)
    }

    /// Answers, as [`Node::reply`]. Does not write yet, as [`Engine::send`].
    ///
    /// # Errors
    ///
    /// As [`Node::reply`], and [`SendRefusal::OwnDescriptor`] as what is wrong with its attachments.
    pub fn reply(
        &mut self,
        ticket: Ticket,
        answer: Answer<Attachment>,
    ) -> Result<(), ReplyError<Attachment>> {
        if self.has_own(answer.attachments()) {
            let reason = ReplyRefusal::Attachments(SendRefusal::OwnDescriptor);
            return Err(ReplyError { reason, answer });
        }
        let size = match &answer {
            Answer::Reply { payload, .. } => payload.len(),
            Answer::Failed(_) | Answer::NotRun(_) => 0,
        };
        let now = self.now();
        self.node.reply(now, ticket, answer)?;
        self.unwritten.add(now, size);
        Ok(())
    }

    /// Whether a message was accepted since the last flush.
    pub fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Whether as much was accepted since the last flush as one write takes, 64 KiB. To let more
    /// gather saves nothing.
    pub fn has_full_write(&self) -> bool {
        self.unwritten.is_full()
    }

    /// Whether what was accepted since the last flush must not wait for more: it is a
    /// [full write](Engine::has_full_write), or the first of it waits for 50 us.
    pub fn must_flush(&self, now: Instant) -> bool {
        self.unwritten.is_full() || self.unwritten.is_old(now)
    }

    /// Answers for a handler that has returned and is not asked again: a reply whose attachments
    /// cannot go becomes a failure that says why, and they are closed and counted. `false` if nobody
    /// waits for the answer any more.
    pub fn reply_or_fail(&mut self, ticket: Ticket, answer: Answer<Attachment>) -> bool {
        match self.reply(ticket, answer) {
            Ok(()) => true,
            Err(ReplyError {
                reason: ReplyRefusal::Attachments(reason),
                answer,
            }) => {
                self.stats.replies_without_descriptors += 1;
                drop(answer);
                let message = format!("the handler ran, but its reply cannot be sent: {reason}");
                let failure = Failure {
                    message,
                    ..Failure::default()
                };
                self.reply(ticket, Answer::Failed(failure)).is_ok()
            }
            Err(_) => false,
        }
    }

    /// Refuses a message with a descriptor that is one of this node's own connections or listeners:
    /// a socket that lies in its own queue keeps itself alive.
    ///
    /// # Errors
    ///
    /// [`SendRefusal::OwnDescriptor`], with the message.
    pub fn check_attachments(
        &self,
        message: Message<Attachment>,
    ) -> Result<Message<Attachment>, SendError<Attachment>> {
        match self.has_own(&message.attachments) {
            false => Ok(message),
            true => Err(SendError {
                reason: SendRefusal::OwnDescriptor,
                message,
            }),
        }
    }

    fn has_own(&self, attachments: &[Attachment]) -> bool {
        attachments.iter().any(|attachment| {
            let mut own = self.links.identities().chain(self.acceptor.identities());
            // A descriptor that cannot be looked at is the kernel's to refuse.
            attachment
                .file()
                .is_some_and(|file| own.any(|id| *id == file))
        })
    }

    /// The next thing that happened, in order.
    pub fn next_event(&mut self) -> Option<Event<Attachment>> {
        self.events.pop_front()
    }

    /// Whether [`Engine::next_event`] has something.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next thing that went wrong outside of the protocol, such as an address where nobody
    /// listens. The last 16 are kept.
    pub fn next_fault(&mut self) -> Option<EngineFault> {
        self.faults.next()
    }

    /// What to register in the poller, change and take out, in this order. A connection that is to
    /// be closed stays open until the item after its `Removed` is asked for, or the iterator is
    /// dropped: handle each item before the next.
    pub fn sources(&mut self) -> Sources<'_> {
        self.sources.changes()
    }

    /// The next of [`Engine::sources`], for a driver that needs the engine in between. A removed
    /// connection stays open until the next call.
    pub fn next_source(&mut self) -> Option<SourceChange> {
        self.sources.next_change()
    }

    /// The descriptor of a source: from its `Added` on, until the engine gives it up, which its
    /// `Removed` tells.
    pub fn descriptor(&self, source: SourceId) -> Option<BorrowedFd<'_>> {
        match self.sources.owner(source)? {
            Owner::Link(link) => self.links.stream(link).map(Stream::read_fd),
            Owner::PipeWrite(link) => self.links.stream(link)?.write_fd(),
            Owner::Listener(at) => self.acceptor.descriptor(at),
            Owner::Dial => self.dialler.descriptor(),
            Owner::Actor(key) => self.actors.descriptor(key, source),
        }
    }

    /// Whether [`Engine::sources`] has something to say; it can after every call that may write.
    pub fn has_source_changes(&self) -> bool {
        self.sources.has_changes()
    }

    /// Whether something can go on without waiting.
    pub fn has_more(&self) -> bool {
        self.links.has_ready()
            || self.acceptor.has_ready()
            || self.dialler.has_more()
            || self.actors.has_ready()
    }

    /// When the next turn is due, even if nothing becomes ready. An operation can make it earlier:
    /// then a driver that sleeps has to be woken.
    pub fn deadline(&self) -> Option<Instant> {
        let all = [
            self.wake,
            self.acceptor.resumes_at(),
            self.dialler.ends_at(),
            self.actors.next_due(),
        ];
        all.into_iter().flatten().min()
    }

    /// How long the driver may wait: zero while something can go on, `None` for as long as nothing
    /// becomes ready.
    pub fn timeout(&self) -> Option<Duration> {
        if self.has_more() {
            return Some(Duration::ZERO);
        }
        let at = self.deadline()?;
        Some(at.saturating_since(self.now()))
    }

    /// Counters of what the node does not see.
    pub fn stats(&self) -> &EngineStats {
        &self.stats
    }
}
