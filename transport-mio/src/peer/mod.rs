//! A handle for programs without an event loop: whoever waits drives the board.

mod cork;
mod cx;
mod handler;
mod outgoing;
mod pace;
mod shared;
mod subs;
mod task;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use std::{fmt, io};

use switchboard_os::Stream;
use switchboard_os::app::RegisterError;
use switchboard_os::engine::{Actor, Adopt, EngineStats, Side};
use switchboard_proto::codec::{Decode, Encode};
use switchboard_proto::name::{CallName, EventName, HandlerName};
use switchboard_proto::{
    Generation, Hangup, LinkId, Message, MessageId, NamespaceId, PeerId, SendOptions, Stats,
};

pub use cork::Cork;
pub use cx::Cx;
pub use handler::Handler;
pub use outgoing::{BlockingEmit, BlockingRequest, Pending};
pub use subs::{Events, Received, State, States, Sub};

use crate::board::{Board, MAIN};
use crate::error::{BoardError, SendError};
use handler::{Callee, erase};
use shared::{Inner, Roles, Serve, Shared, is_inside};

/// One peer of an application, for programs that block. Cheap to clone, and each clone can be used
/// from its own thread.
///
/// Nothing happens behind its back: the thread that waits (in [`BlockingRequest::wait`],
/// [`Peer::serve`], [`Events::next`] and the like) drives the board, one at a time; the others wait
/// for it and take over when it is done. While nobody waits nothing is read, and a TCP connection
/// is lost after its lease: call [`Peer::spawn`] for a thread that is always there.
///
/// Handlers run on threads that call [`Peer::serve`], and on those that wait inside of a handler,
/// so that two peers may call each other back. The drop of the last clone closes, without waiting.
#[derive(Clone)]
pub struct Peer {
    shared: Arc<Shared>,
    owner: Arc<Owner>,
    namespace: NamespaceId,
    /// The namespace as people write it.
    shown: Arc<str>,
}

/// Held by every handle and by nothing else: its drop is the last handle's.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.operate(Inner::close);
    }
}

impl Peer {
    /// Calls a handler for each message of the name: events for an `Event`, requests for a `Call`,
    /// both for a string. `peer.on(ADD, |(a, b)| Ok(a + b))`, or with a [`Cx`]:
    /// `peer.on("foo", |cx: Cx, text: String| ..)`; see [`Handler`].
    ///
    /// All handlers of an event are called, in the order of registration. A request is answered by
    /// one: of several that are registered for one string by the first, which
    /// [`Sub::answers_requests`] tells; a second one for a `Call` is refused, which [`Sub::refused`]
    /// tells.
    ///
    /// A handler's panic is a failure that the requester sees. Dropping the [`Sub`] takes it out;
    /// what is running finishes.
    pub fn on<M, R, S>(&self, name: impl HandlerName<M, R>, handler: impl Handler<M, R, S>) -> Sub
    where
        M: Decode + Send + 'static,
        R: Encode + Send + 'static,
        S: 'static,
    {
        self.register(&name, handler, false, false)
    }

    /// As [`Peer::on`], for one message only, also when two arrive together.
    pub fn once<M, R, S>(&self, name: impl HandlerName<M, R>, handler: impl Handler<M, R, S>) -> Sub
    where
        M: Decode + Send + 'static,
        R: Encode + Send + 'static,
        S: 'static,
    {
        self.register(&name, handler, true, false)
    }

    /// As [`Peer::on`], in the place of the handler that answers requests of the name now. What that
    /// one has begun finishes.
    pub fn replace<M, R, S>(
        &self,
        name: impl HandlerName<M, R>,
        handler: impl Handler<M, R, S>,
    ) -> Sub
    where
        M: Decode + Send + 'static,
        R: Encode + Send + 'static,
        S: 'static,
    {
        self.register(&name, handler, false, true)
    }

    /// The events of a name, or of the whole namespace with `None`, one after the other. Unread
    /// ones hold back what comes for this peer, beyond 1,024: drop what is not read.
    ///
    /// # Errors
    ///
    /// The name cannot be declared.
    pub fn events(&self, name: Option<&str>) -> Result<Events, RegisterError> {
        Events::new(self, name)
    }

    /// The same peer in another namespace; `_` is the default one.
    ///
    /// # Errors
    ///
    /// The name is empty, longer than 255 bytes, contains NUL or starts with `$`.
    pub fn ns(&self, name: &str) -> Result<Self, BoardError> {
        let namespace = self.shared.operate(|inner| inner.board.ns(name))?;
        Ok(Self {
            namespace,
            shown: name.into(),
            ..self.clone()
        })
    }

    /// A request, to be completed: `peer.request(ADD, &(2, 3)).to("worker/1").wait()`.
    pub fn request<'m, M, R>(
        &self,
        name: impl CallName<M, R>,
        value: &'m M,
    ) -> BlockingRequest<'m, M, R>
    where
        M: Encode + ?Sized,
        R: Decode,
    {
        BlockingRequest::new(self, name.to_name(), value)
    }

    /// An event, to be completed: `peer.emit("hello", "world").to(Everyone).wait()`.
    pub fn emit<'m, M>(&self, name: impl EventName<M>, value: &'m M) -> BlockingEmit<'m, M>
    where
        M: Encode + ?Sized,
    {
        BlockingEmit::new(self, name.to_name(), value)
    }

    /// `emit("message", value)`.
    pub fn send<'m, M: Encode + ?Sized>(&self, value: &'m M) -> BlockingEmit<'m, M> {
        BlockingEmit::new(self, "message".into(), value)
    }

    /// Lets what is sent from now on gather, to be written with few system calls when the returned
    /// value is dropped. Without it, everything is written at once, in the thread that sends it.
    ///
    /// ```no_run
    /// # let peer = switchboard_mio::Board::join("unix:/run/user/1000/demo.sock")?.blocking();
    /// let cork = peer.cork();
    /// let asked = (0..100).map(|n| peer.request("square", &n).send());
    /// let pending = asked.collect::<Result<Vec<_>, _>>()?;
    /// drop(cork);
    /// for reply in pending {
    ///     let square: u64 = reply.wait()?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cork(&self) -> Cork {
        Cork::new(&self.shared)
    }

    /// Sends a message that was refused before.
    ///
    /// # Errors
    ///
    /// Why it was not accepted, with the message.
    pub fn resend(
        &self,
        message: Message<std::os::fd::OwnedFd>,
        options: SendOptions,
    ) -> Result<MessageId, SendError> {
        self.shared
            .operate(|inner| inner.board.resend(message, options))
    }

    /// Says that all handlers of this namespace are registered: what comes for other names in it
    /// is refused at once. Unsaid, that is assumed a second after the attachment.
    pub fn ready(&self) {
        let namespace = self.namespace;
        self.shared
            .operate(|inner| inner.board.ready_namespace(namespace));
    }

    /// Runs handlers in this thread, until the peer is [closed](Peer::close), or has
    /// [given up](State::GaveUp) its hub, as a child that has lost its parent does. Several threads
    /// may serve; with one, messages are handled one after the other in the order of their arrival.
    pub fn serve(&self) {
        let ended = |inner: &mut Inner| inner.has_ended().then_some(());
        let _ = self
            .shared
            .wait_for(Some(&|| Some(self.clone())), None, ended);
    }

    /// As [`Peer::serve`], for this long.
    pub fn serve_for(&self, time: Duration) {
        let until = Instant::now().checked_add(time);
        let ended = |inner: &mut Inner| inner.has_ended().then_some(());
        let _ = self
            .shared
            .wait_for(Some(&|| Some(self.clone())), until, ended);
    }

    /// Starts a thread that serves until the peer is closed or its last handle is dropped.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub fn spawn(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let owner: Weak<Owner> = Arc::downgrade(&self.owner);
        let serve = move || {
            let peer = || {
                let owner = owner.upgrade()?;
                let shared = Arc::clone(&owner.0);
                Some(Self::of(shared, owner))
            };
            let ended = |inner: &mut Inner| inner.has_ended().then_some(());
            let _ = shared.wait_for(Some(&peer), None, ended);
        };
        let thread = std::thread::Builder::new().name("switchboard".into());
        thread.spawn(serve).map(drop)
    }

    /// Waits until this peer is attached to a hub, at most this long. Whether it is.
    pub fn connected(&self, within: Duration) -> bool {
        let until = Instant::now().checked_add(within);
        let look = |inner: &mut Inner| inner.board.is_connected().then_some(());
        self.wait(until, look).is_some()
    }

    /// Its id, once it is attached.
    pub fn id(&self) -> Option<PeerId> {
        self.identity().map(|(id, _)| id)
    }

    /// Its id and generation, once it is attached.
    pub fn identity(&self) -> Option<(PeerId, Generation)> {
        self.shared.look(|inner| inner.board.identity())
    }

    /// Whether it is attached to a hub, or is one.
    pub fn is_connected(&self) -> bool {
        self.shared.look(|inner| inner.board.is_connected())
    }

    /// Where this hub listens; `None` for a member.
    pub fn address(&self) -> Option<String> {
        self.shared
            .look(|inner| inner.board.address().map(ToString::to_string))
    }

    /// Everybody who is there, this peer included.
    pub fn peers(&self) -> Vec<switchboard_proto::Peer> {
        self.shared
            .look(|inner| inner.board.roster().peers().cloned().collect())
    }

    /// What happens to the connection and to other peers, from now on. The last 256 are kept for
    /// it.
    pub fn state(&self) -> States {
        States::new(self)
    }

    /// Sets the deadline of requests of this namespace that give none; zero is ignored.
    pub fn set_default_deadline(&self, deadline: Duration) {
        self.shared.operate(|inner| {
            inner
                .board
                .set_default_deadline(Some(self.namespace), deadline);
        });
    }

    /// Takes over a connection that is there already, as one more link of this peer.
    pub fn adopt(&self, stream: Stream, side: Side) -> LinkId {
        self.shared.operate(|inner| inner.board.adopt(stream, side))
    }

    /// Says that the process at the other end of an adopted connection has exited.
    pub fn hangup(&self, link: LinkId, cause: Hangup) {
        self.shared.operate(|inner| inner.board.hangup(link, cause));
    }

    /// Waits until something is so, at most this long. Whether it is. The condition is looked at
    /// whenever this thread has driven the board, under the lock of this peer: it must not use it.
    pub fn wait_until(&self, within: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let until = Instant::now().checked_add(within);
        self.wait(until, |_| condition().then_some(())).is_some()
    }

    /// Waits until everything that was accepted is taken by its receivers, at most this long.
    /// Returns what is not known to be.
    pub fn drain(&self, within: Duration) -> Vec<MessageId> {
        self.shared.operate(|inner| {
            inner.drained = false;
            inner.board.drain(within);
        });
        let done = |inner: &mut Inner| (inner.drained || inner.is_closed()).then_some(());
        let _ = self.wait(None, done);
        self.shared.look(|inner| inner.board.undelivered())
    }

    /// Ends in good order: others are told, requests end, nothing is accepted any more. All handles
    /// are closed, and [`Peer::serve`] returns. Does not wait.
    pub fn close(&self) {
        self.shared.operate(Inner::close);
    }

    /// Counters of the protocol.
    pub fn stats(&self) -> Stats {
        self.shared.look(|inner| *inner.board.stats())
    }

    /// Counters of the connections.
    pub fn engine_stats(&self) -> EngineStats {
        self.shared.look(|inner| *inner.board.engine_stats())
    }

    pub(crate) fn new(board: Board) -> Self {
        let shared = Arc::new(Shared::new(board));
        let owner = Arc::new(Owner(Arc::clone(&shared)));
        Self::of(shared, owner)
    }

    fn of(shared: Arc<Shared>, owner: Arc<Owner>) -> Self {
        Self {
            shared,
            owner,
            namespace: MAIN,
            shown: "_".into(),
        }
    }

    /// Waits for something. Inside of a handler of this peer it also runs other handlers: one of
    /// them may be what is waited for.
    fn wait<T>(
        &self,
        until: Option<Instant>,
        look: impl FnMut(&mut Inner) -> Option<T>,
    ) -> Option<T> {
        let handle = || Some(self.clone());
        let serve: Option<Serve<'_>> = if is_inside(&self.shared) {
            Some(&handle)
        } else {
            None
        };
        self.shared.wait_for(serve, until, look)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn namespace(&self) -> NamespaceId {
        self.namespace
    }

    fn shown(&self) -> &str {
        &self.shown
    }

    /// This peer in the namespace of a message.
    fn at(&self, namespace: NamespaceId, shown: Arc<str>) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            owner: Arc::clone(&self.owner),
            namespace,
            shown,
        }
    }

    fn register<M, R, S, N>(
        &self,
        name: &N,
        handler: impl Handler<M, R, S>,
        once: bool,
        replace: bool,
    ) -> Sub
    where
        N: HandlerName<M, R>,
        M: Decode + Send + 'static,
        R: Encode + Send + 'static,
        S: 'static,
    {
        let roles = Roles {
            events: N::EVENTS,
            requests: N::REQUESTS,
            replace,
        };
        let callee = Callee::Handler(erase(handler, once));
        let registered = self.shared.operate(|inner| {
            inner.register(self.namespace, &self.shown, name.as_name(), callee, roles)
        });
        // Here and not under the lock: what the former one captured may do anything when it is
        // dropped.
        let registered = registered.map(|(ids, answers, former)| {
            drop(former);
            (ids, answers)
        });
        Sub::new(&self.shared, self.namespace, registered)
    }
}

impl Adopt for &Peer {
    fn adopt(self, actor: Box<dyn Actor>) {
        self.shared.operate(|inner| inner.board.host(actor));
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}
