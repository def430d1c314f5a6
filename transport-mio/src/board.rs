//! A node that lives inside the caller's own event loop.

mod arrivals;
mod source;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use switchboard_os::Attachment;
use switchboard_os::app::{Draft, HandlerStats, JoinError, SendError, Service, Setup, Stats};
use switchboard_os::engine::{Actor, Adopt, Engine, Side};
use switchboard_os::{Address, ConnectError, ListenError, Stream, ToAddress};
use switchboard_proto::codec::{CodecTable, Encode};
use switchboard_proto::name::{AnyName, CallName, EventName};
use switchboard_proto::outgoing::Receivers;
use switchboard_proto::{
    Answer, DeclareError, Generation, Hangup, InstanceId, LinkId, Message, MessageId, NameError,
    Names, NamespaceId, PeerId, RequestId, RequestOptions, Roster, SendOptions, Target, Ticket,
};

use crate::builder::Builder;
use crate::error::UnknownTicket;
use crate::outgoing::{Emit, Request};
use crate::peer::Peer;
use crate::poller::{Handle, Poller};

/// The default namespace, which every board opens first.
pub(crate) const MAIN: NamespaceId = NamespaceId(0);

/// One peer of an application, driven by the caller. See the [crate's page](crate) for the loop
/// around it.
///
/// It is a [`mio::event::Source`] and [`AsFd`](std::os::fd::AsFd): one descriptor, to be polled for reading, that is
/// the same as long as the board lives, whatever connections come and go inside. No method waits.
///
/// What is sent and answered is gathered, so that a burst costs few system calls: it is written by
/// [`Board::timeout`], before the caller waits, by [`Board::drive`], when
/// [`Board::poll_incoming`] has no more, and as soon as there are 64 KiB of it. An answer does not
/// wait for more than 50 us while others are taken. Before a long computation, [`Board::flush`].
#[derive(Debug)]
pub struct Board {
    pub(crate) engine: Engine,
    pub(crate) codecs: Arc<CodecTable>,
    /// How many handlers of a blocking handle run at once.
    pub(crate) handlers: usize,
    pub(crate) handle: Handle,
    /// Out of its place while a blocking handle waits.
    pub(crate) poller: Option<Poller>,
    address: Option<Address>,
    spaces: Vec<Space>,
    /// Namespaces in which something waits, each once.
    fresh: VecDeque<NamespaceId>,
    /// Something was sent or taken, and what follows from it is not written yet.
    unflushed: bool,
    /// The names of requests that are under way, for codecs that look at them.
    asked: BTreeMap<RequestId, Cow<'static, str>>,
}

#[derive(Debug)]
struct Space {
    id: NamespaceId,
    shown: Arc<str>,
    names: Names,
}

impl Board {
    /// Attaches to the hub at `unix:/absolute/path` or `tcp://host:port`; see [`Builder::join`].
    ///
    /// # Errors
    ///
    /// As [`Builder::join`].
    pub fn join(address: impl ToAddress) -> Result<Self, JoinError> {
        Self::builder().join(address)
    }

    /// Becomes the hub at `unix:/absolute/path` or `tcp://host:port`; see [`Builder::listen`].
    ///
    /// # Errors
    ///
    /// As [`Builder::listen`].
    pub fn listen(address: impl ToAddress) -> Result<Self, JoinError> {
        Self::builder().listen(address)
    }

    /// The board of a child process, whose hub is the parent that started it; see
    /// [`Builder::parent`].
    ///
    /// # Errors
    ///
    /// As [`Builder::parent`].
    pub fn parent() -> Result<Self, JoinError> {
        Self::builder().parent()
    }

    /// A board with a name, limits or handlers of its own.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Makes a blocking handle of it.
    pub fn blocking(self) -> Peer {
        Peer::new(self)
    }

    /// Does what can be done without waiting, within a budget. Call it when the descriptor is
    /// readable, and when the [timeout](Board::timeout) is over; calling it more often does no
    /// harm.
    ///
    /// # Errors
    ///
    /// What the system says of the board's own poller; for a valid one nothing.
    pub fn drive(&mut self) -> io::Result<()> {
        if let Some(poller) = &mut self.poller {
            poller.wait(Some(Duration::ZERO))?;
            poller.report(&mut self.engine)?;
        }
        self.turn();
        Ok(())
    }

    /// How long the caller may wait for the descriptor: zero while something is left to do or to
    /// take with [`Board::poll_incoming`], `None` for as long as nothing comes. Ask anew before
    /// every wait: this also writes what was gathered.
    pub fn timeout(&mut self) -> Option<Duration> {
        self.flush_pending();
        match self.has_incoming() {
            true => Some(Duration::ZERO),
            false => self.engine.timeout(),
        }
    }

    /// Writes what was gathered, as far as the connections take it; the rest is written when they
    /// take more. Only needed before the caller does something else for long.
    pub fn flush(&mut self) {
        self.unflushed = false;
        self.engine.flush();
        if self.engine.has_source_changes() {
            self.handle.update(&mut self.engine);
        }
    }

    /// A request, to be completed and sent: `board.request(ADD, &(2, 3)).to("worker/1").send()`.
    pub fn request<'m, M, R>(
        &mut self,
        name: impl CallName<M, R>,
        value: &'m M,
    ) -> Request<'_, 'm, M>
    where
        M: Encode + ?Sized,
    {
        Request::new(self, name.to_name(), value)
    }

    /// An event, to be completed and sent: `board.emit("moved", &(1, 2)).to(Everyone).send()`.
    pub fn emit<'m, M>(&mut self, name: impl EventName<M>, value: &'m M) -> Emit<'_, 'm, M>
    where
        M: Encode + ?Sized,
    {
        Emit::new(self, name.to_name(), value)
    }

    /// Sends a message that was refused before, or put together elsewhere.
    ///
    /// # Errors
    ///
    /// Why it was not accepted, with the message.
    pub fn resend(
        &mut self,
        message: Message<Attachment>,
        options: SendOptions,
    ) -> Result<MessageId, SendError> {
        let sent = self.engine.send(message, options);
        self.gather();
        Ok(sent?)
    }

    /// Makes a request of a message that was refused before, or put together elsewhere.
    ///
    /// # Errors
    ///
    /// Why it was not accepted, with the message.
    pub fn request_message(
        &mut self,
        message: Message<Attachment>,
        options: RequestOptions,
    ) -> Result<RequestId, SendError> {
        let name = message.event.clone();
        let asked = self.engine.request(message, options);
        if let Ok(id) = asked {
            self.asked.insert(id, name);
        }
        self.gather();
        Ok(asked?)
    }

    /// Cancels a request. Its outcome follows all the same; what has begun can see that it is not
    /// wanted any more.
    pub fn cancel(&mut self, request: RequestId) {
        let now = self.engine.now();
        self.engine.node().cancel(now, request);
        self.gather();
    }

    /// Opens a namespace, or finds it again; `_` is the default one.
    ///
    /// # Errors
    ///
    /// The name is empty, longer than 255 bytes, contains NUL or starts with `$`.
    pub fn ns(&mut self, name: &str) -> Result<NamespaceId, NameError> {
        let now = self.engine.now();
        let id = self.engine.node().open(now, name)?;
        if !self.spaces.iter().any(|space| space.id == id) {
            self.spaces.push(Space {
                id,
                shown: name.into(),
                names: Names::default(),
            });
        }
        self.flush();
        Ok(id)
    }

    /// Says that this board answers requests of a name.
    ///
    /// # Errors
    ///
    /// The name cannot be one, or there are more than a peer may declare.
    pub fn handle(
        &mut self,
        namespace: NamespaceId,
        name: impl AnyName,
    ) -> Result<(), DeclareError> {
        self.declare(namespace, |names| {
            names.handlers.insert(name.any_name().into());
        })
    }

    /// Says that this board listens to events of a name.
    ///
    /// # Errors
    ///
    /// As [`Board::handle`].
    pub fn listen_to(
        &mut self,
        namespace: NamespaceId,
        name: impl AnyName,
    ) -> Result<(), DeclareError> {
        self.declare(namespace, |names| {
            names.listeners.insert(name.any_name().into());
        })
    }

    /// Says that all names are declared: what comes for others is refused at once. Unsaid, that is
    /// assumed a second after the attachment.
    pub fn ready(&mut self) {
        let now = self.engine.now();
        self.engine.node().ready_all(now);
        self.flush();
    }

    /// Says that all names of one namespace are declared.
    pub(crate) fn ready_namespace(&mut self, namespace: NamespaceId) {
        let now = self.engine.now();
        self.engine.node().ready(now, namespace);
        self.flush();
    }

    /// Takes over a connection that is there already, as one more link of this peer.
    pub fn adopt(&mut self, stream: Stream, side: Side) -> LinkId {
        let link = self.engine.adopt(stream, side);
        self.flush();
        link
    }

    /// Says that the process at the other end of an adopted connection has exited. What the
    /// connection still holds is read first.
    pub fn hangup(&mut self, link: LinkId, cause: Hangup) {
        self.engine.hangup(link, cause);
    }

    /// Lets something live in the loop of this board, such as the supervision of a child process.
    pub fn host(&mut self, actor: Box<dyn Actor>) {
        self.engine.host(actor);
        self.flush();
    }

    /// Where this hub listens, with the real port. `None` for a member.
    pub fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }

    /// Its id, once it is attached.
    pub fn id(&self) -> Option<PeerId> {
        self.engine.node_ref().identity().map(|(id, _)| id)
    }

    /// Its id and generation, once it is attached.
    pub fn identity(&self) -> Option<(PeerId, Generation)> {
        self.engine.node_ref().identity()
    }

    /// The random identity of this life of the peer.
    pub fn instance(&self) -> InstanceId {
        self.engine.node_ref().instance()
    }

    /// Whether it is attached to a hub, or is one.
    pub fn is_connected(&self) -> bool {
        self.engine.node_ref().is_connected()
    }

    /// Whether the hub knows all that this peer has said that it handles, and that it is ready:
    /// [`State::Announced`](crate::State::Announced) comes when it does. What is sent from then on
    /// comes to nobody before that news does.
    pub fn is_announced(&self) -> bool {
        self.engine.node_ref().is_announced()
    }

    /// Who is there.
    pub fn roster(&self) -> &Roster {
        self.engine.node_ref().roster()
    }

    /// Counters. Those of the handlers are of a [`Peer`], a board has none.
    pub fn stats(&self) -> Stats {
        Stats {
            core: *self.engine.node_ref().stats(),
            io: *self.engine.stats(),
            handlers: HandlerStats::default(),
        }
    }

    /// Sets the deadline of requests that give none; zero is ignored.
    pub fn set_default_deadline(&mut self, namespace: Option<NamespaceId>, deadline: Duration) {
        self.engine.node().set_default_deadline(namespace, deadline);
    }

    /// Reports with [`Incoming::Drained`](crate::Incoming::Drained) when everything that was accepted is taken by its
    /// receivers, or when the time is over.
    pub fn drain(&mut self, within: Duration) {
        let now = self.engine.now();
        self.engine.node().drain(now, within);
        self.flush();
    }

    /// Bytes that wait to be held by their receivers' nodes, over all of them.
    pub fn buffered(&self) -> u64 {
        self.engine.node_ref().buffered()
    }

    /// Messages and requests that are not known to be taken.
    pub fn undelivered(&self) -> Vec<MessageId> {
        self.engine.node_ref().undelivered()
    }

    /// Ends in good order: peers are told, requests end, nothing is accepted any more. What the
    /// kernel does not take at once is written by further [`Board::drive`]s, for at most a second.
    pub fn close(&mut self) {
        let now = self.engine.now();
        self.engine.node().close(now);
        self.engine.unlisten();
        self.flush();
    }

    pub(crate) fn new(setup: Setup) -> Result<Self, JoinError> {
        let (poller, handle) = Poller::new()?;
        let mut board = Self {
            engine: Engine::new(setup.config)?,
            codecs: Arc::new(setup.codecs),
            handlers: setup.handlers,
            handle,
            poller: Some(poller),
            address: None,
            spaces: Vec::new(),
            fresh: VecDeque::new(),
            unflushed: false,
            asked: BTreeMap::new(),
        };
        let main = board.ns("_")?;
        debug_assert_eq!(main, MAIN, "the first namespace is the first");
        Ok(board)
    }

    /// Who is called, for a blocking handle: nobody yet, and the names of this board stay declared.
    pub(crate) fn service<R>(&self) -> Service<R> {
        let mut service = Service::default();
        for space in &self.spaces {
            service.opened(space.id, &space.shown, space.names.clone());
        }
        service
    }

    pub(crate) fn dial(&mut self, address: Address) -> Result<(), ConnectError> {
        self.engine.join(address)?;
        self.flush();
        Ok(())
    }

    pub(crate) fn listen_at(&mut self, address: &Address) -> Result<(), ListenError> {
        self.address = Some(self.engine.listen(address)?);
        self.flush();
        Ok(())
    }

    pub(crate) fn declare(
        &mut self,
        namespace: NamespaceId,
        change: impl FnOnce(&mut Names),
    ) -> Result<(), DeclareError> {
        let mut space = self.spaces.iter_mut().find(|space| space.id == namespace);
        let mut names = space
            .as_mut()
            .map_or_else(Names::default, |space| space.names.clone());
        change(&mut names);
        let now = self.engine.now();
        self.engine.node().declare(now, namespace, names.clone())?;
        if let Some(space) = space {
            space.names = names;
        }
        self.flush();
        Ok(())
    }

    /// The namespace as people write it.
    pub(crate) fn shown_namespace(&self, id: NamespaceId) -> &Arc<str> {
        // The default one was opened with the board and is the first.
        let space = self.spaces.iter().find(|space| space.id == id);
        &space.unwrap_or(&self.spaces[0]).shown
    }

    pub(crate) fn encode<M: Encode + ?Sized>(
        &self,
        draft: Draft<'_, M>,
        namespace: NamespaceId,
        target: impl FnOnce(Receivers) -> Target,
    ) -> Result<Message<Attachment>, SendError> {
        let shown = self.shown_namespace(namespace);
        Ok(draft.into_message(&self.codecs, namespace, shown, target)?)
    }

    pub(crate) fn reply(
        &mut self,
        ticket: Ticket,
        answer: Answer<Attachment>,
    ) -> Result<(), switchboard_proto::ReplyError<Attachment>> {
        let replied = self.engine.reply(ticket, answer);
        self.gather();
        replied
    }

    /// Answers for a handler that has returned.
    pub(crate) fn answer(
        &mut self,
        ticket: Ticket,
        answer: Answer<Attachment>,
    ) -> Result<(), UnknownTicket> {
        let answered = self.engine.reply_or_fail(ticket, answer);
        self.gather();
        answered.then_some(()).ok_or(UnknownTicket)
    }

    /// One turn of the engine, and what it changes in the poller.
    pub(crate) fn turn(&mut self) {
        self.unflushed = false;
        let _ = self.engine.turn();
        self.handle.update(&mut self.engine);
    }

    /// Leaves it for later to write what an operation caused, while there is room for more.
    pub(crate) fn gather(&mut self) {
        self.unflushed = true;
        if self.engine.has_full_write() {
            self.flush();
        }
    }

    /// Writes what was gathered. Whether there was anything.
    pub(crate) fn flush_pending(&mut self) -> bool {
        let pending = self.unflushed;
        if pending {
            self.flush();
        }
        pending
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.close();
    }
}

impl Adopt for &mut Board {
    fn adopt(self, actor: Box<dyn Actor>) {
        self.host(actor);
    }
}
