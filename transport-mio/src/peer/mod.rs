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

use switchboard_os::Attachment;
use switchboard_os::app::{
    self, ConnectionError, Former, RegisterError, Registration, SendError, Stats, Sub, sub,
};
use switchboard_os::engine::{Actor, Adopt, Side};
use switchboard_os::{Address, Stream};
use switchboard_proto::codec::{Decode, Encode, Value};
use switchboard_proto::name::{CallName, EventName, HandlerName};
use switchboard_proto::registry::SubId;
use switchboard_proto::{
    Generation, Hangup, InstanceId, LinkId, Message, MessageId, NameError, Names, NamespaceId,
    PeerId, SendOptions,
};

pub use cork::Cork;
pub use cx::Cx;
pub use handler::Handler;
pub use outgoing::{BlockingEmit, BlockingRequest, Pending};
pub use subs::{Events, Received, States};

use crate::board::{Board, MAIN};
use handler::{Callee, Run, erase};
use shared::{Inner, Serve, Shared, is_inside};

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

/// A registration. It does not keep the peer alive.
struct Place {
    shared: Weak<Shared>,
    namespace: NamespaceId,
    id: SubId,
    callee: Arc<Callee>,
}

/// What the registry made of one, and who gave way to it.
type Registered = (SubId, Former<Run>);

/// How a handler is registered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Always,
    Ordered,
    Once,
    Replacing,
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
    /// one: of several that are registered for one string by the first, and when that is taken out,
    /// by the next; [`Sub::answers_requests`] tells. A second one for a `Call` is refused, which
    /// [`Sub::refused`] tells.
    ///
    /// A handler's panic is a failure that the requester sees. Dropping the [`Sub`] takes it out;
    /// what is running finishes.
    pub fn on<M, R, S>(&self, name: impl HandlerName<M, R>, handler: impl Handler<M, R, S>) -> Sub
    where
        M: Decode + Send + 'static,
        R: Encode + Send + 'static,
        S: 'static,
    {
        self.register(&name, handler, How::Always)
    }

    /// As [`Peer::on`], for messages of one sender one after the other, however many threads serve:
    /// the next is begun when the handlers of the one before have returned. Those that wait count for
    /// the limit of handlers.
    pub fn on_ordered<M, R, S>(
        &self,
        name: impl HandlerName<M, R>,
        handler: impl Handler<M, R, S>,
    ) -> Sub
    where
        M: Decode + Send + 'static,
        R: Encode + Send + 'static,
        S: 'static,
    {
        self.register(&name, handler, How::Ordered)
    }

    /// As [`Peer::on`], for one message only, also when two arrive together.
    pub fn once<M, R, S>(&self, name: impl HandlerName<M, R>, handler: impl Handler<M, R, S>) -> Sub
    where
        M: Decode + Send + 'static,
        R: Encode + Send + 'static,
        S: 'static,
    {
        self.register(&name, handler, How::Once)
    }

    /// As [`Peer::on`], in the place of the handler that answers requests of the name now, which
    /// hears no events any more either. What that one has begun finishes.
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
        self.register(&name, handler, How::Replacing)
    }

    /// Every event of the namespace, one after the other, as dynamic [`Value`]s;
    /// [`Received::decode_as`] makes another type of one.
    pub fn events(&self) -> Events<Value> {
        Events::new(self, None)
    }

    /// The events of one name, one after the other.
    pub fn events_of<M: Decode>(&self, name: impl EventName<M>) -> Events<M> {
        Events::new(self, Some(name.name()))
    }

    /// The same peer in another namespace; `_` is the default one.
    ///
    /// # Errors
    ///
    /// The name is empty, longer than 255 bytes, contains NUL or starts with `$`.
    pub fn ns(&self, name: &str) -> Result<Self, NameError> {
        let shown: Arc<str> = name.into();
        let namespace = self.shared.operate(|inner| {
            let id = inner.board.ns(name)?;
            inner.service.opened(id, &shown, Names::default());
            Ok(id)
        })?;
        Ok(Self {
            namespace,
            shown,
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
        message: Message<Attachment>,
        options: SendOptions,
    ) -> Result<MessageId, SendError> {
        self.shared
            .operate(|inner| inner.board.resend(message, options))
    }

    /// Says that all handlers of this namespace are registered: what comes for other names in it
    /// is refused at once. Unsaid, that is assumed a second after the attachment. Others hear of it
    /// after this returns: see [`Peer::announced`].
    pub fn ready(&self) {
        let namespace = self.namespace;
        self.shared
            .operate(|inner| inner.board.ready_namespace(namespace));
    }

    /// Runs handlers in this thread, until the peer is [closed](Peer::close), or has
    /// [given up](crate::State::GaveUp) its hub, as a child that has lost its parent does. Several threads
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

    /// Waits until this peer is attached to a hub, at most this long; returns at once if it is.
    ///
    /// # Errors
    ///
    /// The hub refuses this peer, no further attempt is made, the time is over, or the peer was
    /// closed.
    pub fn connected(&self, within: Duration) -> Result<(), ConnectionError> {
        let until = Instant::now().checked_add(within);
        let verdict = self.wait(until, |inner| inner.verdict());
        verdict.unwrap_or_else(|| Err(self.shared.look(Inner::timed_out)))
    }

    /// Waits until the hub knows all that this peer has said that it handles, and that it is
    /// [ready](Peer::ready); at most this long. What this peer sends from then on comes to nobody
    /// before that news does; what it sent earlier may, so that an answer with descriptors is refused
    /// as to one that is not ready.
    ///
    /// # Errors
    ///
    /// As [`Peer::connected`].
    pub fn announced(&self, within: Duration) -> Result<(), ConnectionError> {
        let until = Instant::now().checked_add(within);
        let verdict = self.wait(until, |inner| match inner.verdict() {
            Some(Ok(())) => inner.board.is_announced().then_some(Ok(())),
            verdict => verdict,
        });
        verdict.unwrap_or_else(|| Err(self.shared.look(Inner::timed_out)))
    }

    /// Its id, once it is attached.
    pub fn id(&self) -> Option<PeerId> {
        self.identity().map(|(id, _)| id)
    }

    /// Its id and generation, once it is attached.
    pub fn identity(&self) -> Option<(PeerId, Generation)> {
        self.shared.look(|inner| inner.board.identity())
    }

    /// The namespace of this handle; `_` is the default one.
    pub fn namespace(&self) -> &str {
        &self.shown
    }

    /// The random identity of this life of the peer.
    pub fn instance(&self) -> InstanceId {
        self.shared.look(|inner| inner.board.instance())
    }

    /// Whether it is attached to a hub, or is one.
    pub fn is_connected(&self) -> bool {
        self.shared.look(|inner| inner.board.is_connected())
    }

    /// Where this peer listens, with the real port; `None` unless it is the hub.
    pub fn address(&self) -> Option<Address> {
        self.shared.look(|inner| inner.board.address().cloned())
    }

    /// Who is there now, as the roster of this peer says: this one and the hub included, by rising
    /// id.
    pub fn peers(&self) -> Vec<switchboard_proto::Peer> {
        self.shared
            .look(|inner| inner.board.roster().peers().cloned().collect())
    }

    /// News of this peer and of others, from now on. Ends when the peer is closed.
    pub fn state(&self) -> States {
        States::new(self)
    }

    /// How long a request waits for which the caller says nothing: of this namespace, or, from the
    /// default one, of every namespace without a time of its own. `Duration::MAX` means for ever;
    /// zero is ignored.
    pub fn set_default_deadline(&self, deadline: Duration) {
        let namespace = (self.namespace != MAIN).then_some(self.namespace);
        let set = |inner: &mut Inner| inner.board.set_default_deadline(namespace, deadline);
        self.shared.operate(set);
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

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.shared.look(|inner| Stats {
            handlers: inner.service.stats,
            ..inner.board.stats()
        })
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

    /// This peer in the namespace of a message.
    fn at(self, namespace: NamespaceId, shown: Arc<str>) -> Self {
        Self {
            namespace,
            shown,
            ..self
        }
    }

    fn register<M, R, S, N>(&self, name: &N, handler: impl Handler<M, R, S>, how: How) -> Sub
    where
        N: HandlerName<M, R>,
        M: Decode + Send + 'static,
        R: Encode + Send + 'static,
        S: 'static,
    {
        let run = Run::Handler(erase(handler));
        self.enlist(Callee::new(run, how == How::Ordered), |inner, callee| {
            let place = app::Place {
                namespace: self.namespace,
                name: name.as_name(),
                roles: match how {
                    How::Once => name.roles().once(),
                    _ => name.roles(),
                },
                replace: how == How::Replacing,
            };
            let callee = Arc::clone(callee);
            inner.registrations(|service, engine| service.register(engine, place, callee))
        })
    }

    /// Registers one who is called.
    fn enlist(
        &self,
        callee: Arc<Callee>,
        register: impl FnOnce(&mut Inner, &Arc<Callee>) -> Result<Registered, RegisterError>,
    ) -> Sub {
        let registered = self.shared.operate(|inner| register(inner, &callee));
        // What gave way is dropped here and not under the lock.
        sub(registered.map(|(id, former)| {
            drop(former);
            Place {
                shared: Arc::downgrade(&self.shared),
                namespace: self.namespace,
                id,
                callee,
            }
        }))
    }
}

impl Registration for Place {
    fn take_out(&self) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let former = shared.operate(|inner| {
            inner.registrations(|service, engine| {
                service.remove(engine, self.namespace, self.id, &self.callee)
            })
        });
        // Not under the lock: what a handler captured may do anything when it is dropped.
        drop(former);
    }

    fn answers(&self) -> bool {
        let shared = self.shared.upgrade();
        shared.is_some_and(|shared| shared.look(|inner| inner.service.answers(self.id)))
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
