//! The handle of a peer.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use switchboard_os::Attachment;
use switchboard_os::app::{
    self, ConnectionError, Draft, Former, RegisterError, Registration, SendError, Stats, Sub, sub,
};
use switchboard_os::engine::{Actor, Adopt, Side};
use switchboard_os::{Address, Stream};
use switchboard_proto::codec::{Decode, Encode, Value};
use switchboard_proto::name::{CallName, EventName, HandlerName};
use switchboard_proto::outgoing::Receivers;
use switchboard_proto::registry::{Roles, SubId};
use switchboard_proto::{
    Generation, Hangup, InstanceId, LinkId, Message, MessageId, NameError, Names, NamespaceId,
    PeerId, SendOptions, Target,
};

use crate::emit::{Emit, Sending};
use crate::events::Events;
use crate::handler::{Handler, erase};
use crate::ops::Submission;
use crate::queue::Queue;
use crate::request::Request;
use crate::service::{Callee, Run};
use crate::shared::{Handle, Shared, State};
use crate::state::States;

/// A peer of an application: one process that talks to the others, in one of its namespaces.
///
/// Clones are the same peer. With the last clone the peer is closed, as by [`Peer::close`]; a stream
/// of its events, a future of its requests and the [`Cx`](crate::Cx) of a running handler count as
/// clones, and so does one that a handler has captured. No drop waits, panics or needs an executor.
#[derive(Clone)]
pub struct Peer {
    handle: Arc<Handle>,
    namespace: NamespaceId,
    namespace_name: Arc<str>,
}

/// A registration. It does not keep the peer alive.
struct Place {
    shared: Arc<Shared>,
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

/// Talking.
impl Peer {
    /// Asks one peer, and waits for the one outcome. Awaiting the [`Request`] makes it.
    ///
    /// The name is a [`Call`](crate::Call), which fixes the types, or a string.
    ///
    /// # Errors
    ///
    /// Of the future: [`RequestError`](crate::RequestError), which says whether the handler ran.
    pub fn request<'a, M, R>(&'a self, name: impl CallName<M, R>, data: &'a M) -> Request<'a, M, R>
    where
        M: Encode + ?Sized,
        R: Decode,
    {
        Request::new(self, name.to_name(), data)
    }

    /// Sends an event. Awaiting the [`Emit`] sends it; without a target it goes to every other peer
    /// that listens for the name.
    ///
    /// # Errors
    ///
    /// Of the future: [`SendError`](crate::SendError), with what was not sent.
    pub fn emit<'a, M>(&'a self, name: impl EventName<M>, data: &'a M) -> Emit<'a, M>
    where
        M: Encode + ?Sized,
    {
        Emit::new(self, name.to_name(), data)
    }

    /// Sends the event `message`.
    ///
    /// # Errors
    ///
    /// As [`Peer::emit`].
    pub fn send<'a, M>(&'a self, data: &'a M) -> Emit<'a, M>
    where
        M: Encode + ?Sized,
    {
        self.emit("message", data)
    }

    /// Sends an event again that came back with an error, with its target and its descriptors.
    /// Awaiting the future sends it.
    ///
    /// # Errors
    ///
    /// As [`Peer::emit`].
    pub fn resend(&self, message: Message<Attachment>, options: SendOptions) -> Sending {
        Sending::new(self.clone(), Ok(Submission::Event(message, options)))
    }
}

/// Listening.
impl Peer {
    /// Calls a handler for each message of the name: events for an [`Event`](crate::Event), requests
    /// for a [`Call`](crate::Call), both for a string. See [`Handler`] for its two shapes.
    ///
    /// All handlers of an event are called, in the order of registration. A request is answered by
    /// one: of several that are registered for one string by the first, and when that is taken out,
    /// by the next; [`Sub::answers_requests`] tells. A second one for a `Call` is refused, which
    /// [`Sub::refused`] tells.
    ///
    /// Handlers run at the same time, up to the limit of the builder (64); each is begun in the order
    /// in which the messages came. A panic is the failure that the requester sees. A handler may call
    /// back, also whoever called it. One that works long without awaiting holds up this whole peer:
    /// move such work to a thread.
    pub fn on<M, R, S>(&self, name: impl HandlerName<M, R>, handler: impl Handler<M, R, S>) -> Sub
    where
        M: Decode + Send + 'static,
        R: Encode + Send + 'static,
        S: 'static,
    {
        self.register(&name, handler, How::Always)
    }

    /// As [`Peer::on`], for messages of one sender one after the other: the next is begun when the
    /// handlers of the one before have returned. Those that wait count for the limit of handlers.
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

    /// Every event of the namespace, as a stream of dynamic [`Value`]s;
    /// [`Received::decode_as`](crate::Received::decode_as) makes another type of one.
    pub fn events(&self) -> Events<Value> {
        self.stream(None)
    }

    /// The events of one name, as a stream.
    pub fn events_of<M: Decode>(&self, name: impl EventName<M>) -> Events<M> {
        self.stream(Some(name.name()))
    }

    /// Says that the handlers of this namespace are registered: a name that nobody has is refused at
    /// once from now on. Until then what has no handler is queued, for at most
    /// `Config::ready_after` (1 s) from the attachment on. A builder with handlers says it by itself.
    /// Others hear of it after this returns: see [`Peer::announced`].
    pub fn ready(&self) {
        self.shared().with(|state| {
            let now = state.now();
            state.engine.node().ready(now, self.namespace);
        });
    }
}

/// The peer itself and those around it.
impl Peer {
    /// The same peer in another namespace. `_` is the default one.
    ///
    /// # Errors
    ///
    /// The name is empty, longer than 255 bytes, contains NUL or starts with `$`, or 1,024 are open.
    pub fn ns(&self, name: &str) -> Result<Self, NameError> {
        let namespace_name: Arc<str> = name.into();
        let namespace = self.shared().with(|state| {
            let now = state.now();
            let id = state.engine.node().open(now, name)?;
            state.service.opened(id, &namespace_name, Names::default());
            Ok(id)
        })?;
        Ok(Self {
            handle: Arc::clone(&self.handle),
            namespace,
            namespace_name,
        })
    }

    /// The namespace of this handle; `_` is the default one.
    pub fn namespace(&self) -> &str {
        &self.namespace_name
    }

    /// The id of this peer, once it has been attached.
    pub fn id(&self) -> Option<PeerId> {
        self.identity().map(|(id, _)| id)
    }

    /// The id and the generation of this peer, once it has been attached.
    pub fn identity(&self) -> Option<(PeerId, Generation)> {
        self.shared()
            .look(|state| state.engine.node_ref().identity())
    }

    /// The random identity of this life of the peer.
    pub fn instance(&self) -> InstanceId {
        self.shared()
            .look(|state| state.engine.node_ref().instance())
    }

    /// Whether the peer is attached to a hub, or is one.
    pub fn is_connected(&self) -> bool {
        self.shared()
            .look(|state| !state.closed && state.engine.node_ref().is_connected())
    }

    /// Waits until the peer is attached to a hub; at once if it is.
    ///
    /// Cancel-safe: dropping the future changes nothing.
    ///
    /// # Errors
    ///
    /// The hub refuses this peer, no further attempt is made, or the peer was closed.
    pub async fn connected(&self) -> Result<(), ConnectionError> {
        poll_fn(|cx| {
            self.shared().look(|state| match state.connection() {
                Some(result) => Poll::Ready(result),
                None => {
                    state.wait(cx.waker());
                    Poll::Pending
                }
            })
        })
        .await
    }

    /// Waits until the hub knows all that this peer has said that it handles, and that it is
    /// [ready](Peer::ready). What it sends from then on comes to nobody before that news does; what it
    /// sent earlier may, so that an answer with descriptors is refused as to one that is not ready.
    ///
    /// Cancel-safe: dropping the future changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Peer::connected`].
    pub async fn announced(&self) -> Result<(), ConnectionError> {
        poll_fn(|cx| {
            self.shared().look(|state| match state.connection() {
                Some(Err(error)) => Poll::Ready(Err(error)),
                Some(Ok(())) if state.engine.node_ref().is_announced() => Poll::Ready(Ok(())),
                Some(Ok(())) | None => {
                    state.wait(cx.waker());
                    Poll::Pending
                }
            })
        })
        .await
    }

    /// News of this peer and of others, from now on. Ends when the peer is closed.
    pub fn state(&self) -> States {
        let queue = self.shared().look(|state| state.watchers.add());
        States::new(queue, self.clone())
    }

    /// Who is there now, as the roster of this peer says: this one and the hub included, by rising
    /// id.
    pub fn peers(&self) -> Vec<switchboard_proto::Peer> {
        self.shared()
            .look(|state| state.engine.node_ref().roster().peers().cloned().collect())
    }

    /// Where this peer listens, with the real port; `None` unless it is the hub.
    pub fn address(&self) -> Option<Address> {
        self.shared().address.clone()
    }

    /// How long a request waits for which the caller says nothing: of this namespace, or, from the
    /// default one, of every namespace without a time of its own. `Duration::MAX` means for ever;
    /// zero is ignored.
    pub fn set_default_deadline(&self, deadline: Duration) {
        let namespace = (self.namespace() != "_").then_some(self.namespace);
        self.shared().with(|state| {
            let mut node = state.engine.node();
            node.set_default_deadline(namespace, deadline);
        });
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.shared().look(|state| Stats {
            core: *state.engine.node_ref().stats(),
            io: *state.engine.stats(),
            handlers: state.service.stats,
        })
    }

    /// The peer of a child process, over the channel that its parent has left to it, with the driver
    /// on smol's global executor; attached when it returns. With handlers of its own a child begins
    /// with [`Builder::parent`](crate::Builder::parent).
    ///
    /// Cancel-safe: dropping the future ends the connection; the channel can be taken only once.
    ///
    /// # Errors
    ///
    /// The program was not started by such a parent, or the parent refuses it.
    #[cfg(feature = "smol")]
    pub async fn parent() -> Result<Self, crate::JoinError> {
        crate::Builder::parent()?.join().await
    }

    /// Takes over a connection that is there already, such as one to a child process.
    pub fn adopt(&self, stream: Stream, side: Side) -> LinkId {
        self.shared().with(|state| state.engine.adopt(stream, side))
    }

    /// Ends a connection of [`Peer::adopt`], because the process at its other end has exited. What
    /// it still holds is read first.
    pub fn hangup(&self, link: LinkId, cause: Hangup) {
        self.shared().with(|state| state.engine.hangup(link, cause));
    }

    /// Accepts nothing more, and waits until everything that was accepted has been taken by its
    /// receivers and every request has its outcome, but no longer than `within`. Returns what is not
    /// known to be taken: nothing, if all went well. [`Peer::close`] comes after.
    ///
    /// Cancel-safe: the drain goes on, and can be awaited again.
    pub async fn drain(&self, within: Duration) -> Vec<MessageId> {
        self.shared().with(|state| {
            state.drained = None;
            let now = state.now();
            state.engine.node().drain(now, within);
        });
        poll_fn(|cx| {
            self.shared().look(|state| {
                if state.drained.is_some() || state.closed {
                    return Poll::Ready(state.engine.node_ref().undelivered());
                }
                state.wait(cx.waker());
                Poll::Pending
            })
        })
        .await
    }

    /// Leaves: the others are told, requests end, streams end, handlers that run are dropped, no
    /// attempt to reach the hub is made any more. At once; who wants everything delivered drains
    /// before.
    pub fn close(&self) {
        self.shared().with(State::close);
    }
}

impl Peer {
    pub(crate) fn of(handle: Arc<Handle>, namespace: NamespaceId, name: Arc<str>) -> Self {
        Self {
            handle,
            namespace,
            namespace_name: name,
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// A message of this peer's namespace, whole.
    pub(crate) fn make<M: Encode + ?Sized>(
        &self,
        draft: Draft<'_, M>,
        target: fn(Receivers) -> Target,
    ) -> Result<Message<Attachment>, SendError> {
        let codecs = &self.shared().codecs;
        let made = draft.into_message(codecs, self.namespace, self.namespace(), target);
        made.map_err(SendError::from)
    }

    /// Registers one who is called.
    fn enlist(
        &self,
        callee: Arc<Callee>,
        register: impl FnOnce(&mut State, &Arc<Callee>) -> Result<Registered, RegisterError>,
    ) -> Sub {
        let registered = self.shared().with(|state| register(state, &callee));
        // What gave way is dropped here and not under the lock.
        sub(registered.map(|(id, former)| {
            drop(former);
            Place {
                shared: Arc::clone(self.shared()),
                namespace: self.namespace,
                id,
                callee,
            }
        }))
    }

    fn register<M, R, S, N>(&self, name: &N, handler: impl Handler<M, R, S>, how: How) -> Sub
    where
        N: HandlerName<M, R>,
        M: Decode + Send + 'static,
        R: Encode + Send + 'static,
        S: 'static,
    {
        let run = Run::Handler(erase(handler));
        self.enlist(Callee::new(run, how == How::Ordered), |state, callee| {
            let place = app::Place {
                namespace: self.namespace,
                name: name.as_name(),
                roles: match how {
                    How::Once => name.roles().once(),
                    _ => name.roles(),
                },
                replace: how == How::Replacing,
            };
            let State {
                service, engine, ..
            } = state;
            service.register(engine, place, Arc::clone(callee))
        })
    }

    fn stream<M>(&self, name: Option<&str>) -> Events<M> {
        let queue = Queue::new();
        let run = Run::Stream(queue.clone());
        let sub = self.enlist(Callee::new(run, false), |state, callee| {
            let State {
                service, engine, ..
            } = state;
            let callee = Arc::clone(callee);
            let registered = match name {
                Some(name) => {
                    let place = app::Place {
                        namespace: self.namespace,
                        name,
                        roles: Roles::EVENTS,
                        replace: false,
                    };
                    service.register(engine, place, callee)
                }
                None => {
                    let id = service.listen_all(engine, self.namespace, callee);
                    id.map(|id| (id, None))
                }
            }?;
            service.add_stream(self.namespace, queue.clone());
            Ok(registered)
        });
        Events::new(queue, sub, self.clone())
    }
}

impl Registration for Place {
    fn take_out(&self) {
        let former = self.shared.with(|state| {
            let State {
                service, engine, ..
            } = state;
            service.remove(engine, self.namespace, self.id, &self.callee)
        });
        drop(former);
    }

    fn answers(&self) -> bool {
        self.shared.look(|state| state.service.answers(self.id))
    }
}

/// Children and the like live in the peer's driver.
impl Adopt for &Peer {
    fn adopt(self, actor: Box<dyn Actor>) {
        self.shared().with(|state| state.engine.host(actor));
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("instance", &self.instance())
            .field("namespace", &self.namespace_name)
            .finish_non_exhaustive()
    }
}
