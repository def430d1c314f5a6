//! Parts beside the node that live in the same loop: something with descriptors, deadlines and
//! links of its own, such as the supervision of a child process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;
use switchboard_proto::wire::CloseCode;
use switchboard_proto::{
    Event, Generation, Hangup, Instant, LinkId, LinkOrigin, Node, PeerId, PeerName, UnknownLink,
};

use super::Engine;
use super::source::{Held, Interest, Owner, SourceId, SourceTable};
use crate::{Attachment, Stream};

/// How often an actor is asked that has a descriptor which the poller did not take.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Something that shares the engine's loop. It never waits and never blocks: its turn comes again
/// when there is something to do.
///
/// It runs in the driver's turn, often under the driver's lock, so it must not call back into the
/// driver or run the application's code.
pub trait Actor: fmt::Debug + Send {
    /// Does what can be done now. Called once when it is [hosted](Engine::host), and then whenever
    /// one of its descriptors became readable, one of its links ended or got a peer, or the time
    /// came that it asked for; sometimes for nothing.
    ///
    /// Pollers may report an edge once: read what is readable until it is empty, or answer
    /// [`Next::Again`].
    fn turn(&mut self, stage: &mut Stage<'_>) -> Next;
}

/// When the next turn of an [`Actor`] shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When something happens, or at this time.
    Wait(Option<Instant>),
    /// As soon as others had theirs.
    Again,
    /// Never: it is dropped, and with it what it watches and its links.
    Done,
}

/// Where [`Board`s and `Peer`s](Engine) take an actor: what every driver offers.
///
/// It is implemented for what the driver's handle is used by (`&mut Board`, `&Peer`), so that
/// `supervision.adopt_into(&mut board)` reads the same with each.
pub trait Adopt {
    /// Lets the actor live in the loop of this node. What it brings attaches to the application:
    /// to this node if it is the hub, and through it if it is a member.
    fn adopt(self, actor: Box<dyn Actor>);
}

/// How a link of an actor has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEnd {
    /// The link.
    pub link: LinkId,
    /// What the end that closed it said; `None` if the connection ended without a word.
    pub code: Option<CloseCode>,
    /// Whether the other end said it.
    pub by_peer: bool,
    /// Whether somebody was attached over it, be it so shortly that nobody heard of a peer.
    pub attached: bool,
    /// The first bytes that came over it, at most [`LinkEnd::FIRST_BYTES`]: they tell what a
    /// program says that does not speak the protocol.
    pub first_bytes: Vec<u8>,
}

impl LinkEnd {
    /// How much is kept of the beginning of a link.
    pub const FIRST_BYTES: usize = 64;
}

/// A descriptor that an actor and the driver's poller share.
#[derive(Clone)]
pub(super) struct Watched(Arc<dyn AsFd + Send + Sync>);

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_fd().fmt(f)
    }
}

#[derive(Debug, Default)]
pub(super) struct Actors {
    slots: Slab<Slot>,
    /// Those whose turn it is: each once.
    ready: VecDeque<usize>,
    due: BTreeSet<(Instant, usize)>,
    links: BTreeMap<LinkId, Hosted>,
}

#[derive(Debug)]
struct Slot {
    /// `None` during its turn.
    actor: Option<Box<dyn Actor>>,
    ready: bool,
    due: Option<Instant>,
    sources: BTreeMap<SourceId, Watched>,
    /// Whether the poller refused one of its descriptors.
    unpolled: bool,
    ended: VecDeque<LinkEnd>,
}

#[derive(Debug)]
struct Hosted {
    actor: usize,
    closed: Option<(CloseCode, bool)>,
    attached: bool,
}

impl Actors {
    pub(super) fn ready(&mut self, key: usize) {
        if let Some(slot) = self.slots.get_mut(key)
            && !slot.ready
        {
            slot.ready = true;
            self.ready.push_back(key);
        }
    }

    pub(super) fn unpolled(&mut self, key: usize) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.unpolled = true;
            self.ready(key);
        }
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(super) fn descriptor(&self, key: usize, source: SourceId) -> Option<BorrowedFd<'_>> {
        let watched = self.slots.get(key)?.sources.get(&source)?;
        Some(watched.0.as_fd())
    }

    /// What the node tells everybody, for those whom it concerns.
    pub(super) fn hear<F>(&mut self, event: &Event<F>, node: &Node<F>) {
        match event {
            Event::LinkClosed {
                link,
                code,
                by_peer,
            } => {
                if let Some(hosted) = self.links.get_mut(link) {
                    hosted.closed = Some((*code, *by_peer));
                }
            }
            Event::PeerUp { id, .. } => {
                let Some(peer) = node.roster().by_id(*id) else {
                    return;
                };
                let over = |link: LinkId| node.attached_over(link).any(|i| i == peer.instance);
                let mut links = self.links.iter();
                let brought = links.find(|(link, _)| over(**link));
                if let Some(actor) = brought.map(|(_, hosted)| hosted.actor) {
                    self.ready(actor);
                }
            }
            _ => {}
        }
    }

    /// A link is over, and these were its first bytes.
    pub(super) fn link_ended(&mut self, link: LinkId, first_bytes: Vec<u8>) {
        let Some(hosted) = self.links.remove(&link) else {
            return;
        };
        if let Some(slot) = self.slots.get_mut(hosted.actor) {
            slot.ended.push_back(LinkEnd {
                link,
                code: hosted.closed.map(|(code, _)| code),
                by_peer: hosted.closed.is_some_and(|(_, by_peer)| by_peer),
                attached: hosted.attached,
                first_bytes,
            });
            self.ready(hosted.actor);
        }
    }

    /// Sees over which links somebody is attached by now. A process can answer a request and end before
    /// its declarations are in, and is then never announced as a peer.
    fn see_attached<F>(&mut self, node: &Node<F>) {
        let mut seen = Vec::new();
        for (link, hosted) in self.links.iter_mut().filter(|(_, hosted)| !hosted.attached) {
            if node.attached_over(*link).next().is_some() {
                hosted.attached = true;
                seen.push(hosted.actor);
            }
        }
        for actor in seen {
            self.ready(actor);
        }
    }

    fn insert(&mut self, actor: Box<dyn Actor>) -> usize {
        self.slots.insert(Slot {
            actor: Some(actor),
            ready: false,
            due: None,
            sources: BTreeMap::new(),
            unpolled: false,
            ended: VecDeque::new(),
        })
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(at, key)) = self.due.first() {
            if at > now {
                return;
            }
            self.due.pop_first();
            if let Some(slot) = self.slots.get_mut(key) {
                slot.due = None;
            }
            self.ready(key);
        }
    }

    /// Takes the actor out for its turn.
    fn begin(&mut self) -> Option<(usize, Box<dyn Actor>)> {
        let key = self.ready.pop_front()?;
        let slot = self.slots.get_mut(key)?;
        slot.ready = false;
        Some((key, slot.actor.take()?))
    }

    /// Puts it back with the time of its next turn.
    fn wait(&mut self, key: usize, actor: Box<dyn Actor>, until: Option<Instant>) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        slot.actor = Some(actor);
        if slot.due == until {
            return;
        }
        if let Some(old) = slot.due.take() {
            self.due.remove(&(old, key));
        }
        if let Some(at) = until {
            slot.due = Some(at);
            self.due.insert((at, key));
        }
    }

    /// Forgets all of them. Their links are for the caller to end.
    pub(super) fn remove_all(&mut self, sources: &mut SourceTable) {
        let keys: Vec<usize> = self.slots.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.remove(key, sources);
        }
    }

    /// Forgets an actor that is done. Its links are for the caller to end.
    fn remove(&mut self, key: usize, sources: &mut SourceTable) -> Vec<LinkId> {
        let slot = self.slots.remove(key);
        if let Some(due) = slot.due {
            self.due.remove(&(due, key));
        }
        self.ready.retain(|ready| *ready != key);
        for (source, watched) in slot.sources {
            sources.remove(source, Held::Watched(watched));
        }
        let own = |hosted: &mut Hosted| hosted.actor == key;
        let links = self.links.iter_mut();
        let links: Vec<LinkId> = links
            .filter_map(|(link, hosted)| own(hosted).then_some(*link))
            .collect();
        self.links.retain(|_, hosted| !own(hosted));
        links
    }
}

impl Engine {
    /// Lets an actor live in this loop, and gives it its first turn.
    pub fn host(&mut self, actor: Box<dyn Actor>) {
        let key = self.actors.insert(actor);
        self.actors.ready(key);
        self.contain(Self::run_actors);
    }

    /// Gives a turn to each actor that has something to do.
    pub(super) fn run_actors(&mut self) {
        if self.actors.slots.is_empty() {
            return;
        }
        let now = self.now();
        self.actors.see_attached(&self.node);
        self.actors.expire(now);
        for _ in 0..self.actors.ready.len() {
            let Some((key, mut actor)) = self.actors.begin() else {
                continue;
            };
            let mut stage = Stage { engine: self, key };
            match actor.turn(&mut stage) {
                Next::Wait(until) => {
                    let until = self.not_later_than_a_look(key, until);
                    self.actors.wait(key, actor, until);
                }
                Next::Again => {
                    self.actors.wait(key, actor, None);
                    self.actors.ready(key);
                }
                Next::Done => {
                    for link in self.actors.remove(key, &mut self.sources) {
                        self.links.end_soon(link, Hangup::Exited);
                    }
                }
            }
            self.carry_out();
        }
    }

    fn not_later_than_a_look(&self, key: usize, until: Option<Instant>) -> Option<Instant> {
        let slot = self.actors.slots.get(key);
        let look = slot
            .filter(|slot| slot.unpolled && !slot.sources.is_empty())
            .map(|_| self.now() + LOOK_AGAIN);
        [until, look].into_iter().flatten().min()
    }
}

/// What an actor may do in its turn.
#[derive(Debug)]
pub struct Stage<'a> {
    engine: &'a mut Engine,
    key: usize,
}

impl Stage<'_> {
    /// The time of the engine's clock.
    pub fn now(&self) -> Instant {
        self.engine.now()
    }

    /// The node, to look at.
    pub fn node(&self) -> &Node<Attachment> {
        self.engine.node_ref()
    }

    /// Has turns come when this becomes readable, until [`Stage::unwatch`].
    pub fn watch(&mut self, descriptor: Arc<dyn AsFd + Send + Sync>) -> SourceId {
        let owner = Owner::Actor(self.key);
        let source = self.engine.sources.add(&*descriptor, owner, Interest::READ);
        if let Some(slot) = self.engine.actors.slots.get_mut(self.key) {
            slot.sources.insert(source, Watched(descriptor));
        }
        source
    }

    /// Watches no more. The driver closes its side of the descriptor soon after.
    pub fn unwatch(&mut self, source: SourceId) {
        let slot = self.engine.actors.slots.get_mut(self.key);
        if let Some(watched) = slot.and_then(|slot| slot.sources.remove(&source)) {
            self.engine.sources.remove(source, Held::Watched(watched));
        }
    }

    /// Makes a connection to a child process a link of the node. Its end is told by
    /// [`Stage::next_end`].
    pub fn adopt(&mut self, stream: Stream) -> LinkId {
        let link = self.engine.add_stream(stream, LinkOrigin::Child);
        self.engine.links.keep_beginning(link);
        let actor = self.key;
        let hosted = Hosted {
            actor,
            closed: None,
            attached: false,
        };
        self.engine.actors.links.insert(link, hosted);
        link
    }

    /// Ends a link when what it holds is read; see [`Engine::hangup`].
    pub fn hangup(&mut self, link: LinkId, cause: Hangup) {
        self.engine.hangup(link, cause);
    }

    /// Ends a link at once; what it still holds is not read. Nothing happens if it has ended.
    pub fn drop_link(&mut self, link: LinkId, cause: Hangup) {
        let now = self.now();
        let _ = self.engine.node.handle_hangup(now, link, cause);
    }

    /// Whether nothing of this node's is under way with those that are attached over the link; see
    /// [`Node::is_settled_with`].
    pub fn is_settled(&self, link: LinkId) -> bool {
        let node = self.node();
        let mut attached = node.attached_over(link);
        attached.all(|instance| node.is_settled_with(instance))
    }

    /// Ends a link in good order; see [`Node::disconnect`].
    ///
    /// # Errors
    ///
    /// The link has ended before.
    pub fn disconnect(&mut self, link: LinkId) -> Result<(), UnknownLink> {
        let now = self.now();
        self.engine.node.disconnect(now, link)
    }

    /// Says that nobody will come by this name; see [`Node::refuse_waiting`].
    pub fn refuse_waiting(&mut self, name: &PeerName) {
        let now = self.now();
        self.engine.node.refuse_waiting(now, name);
    }

    /// The first peer that has come up over a link, if there is one.
    pub fn peer(&self, link: LinkId) -> Option<(PeerId, Generation)> {
        let node = self.node();
        let mut attached = node.attached_over(link);
        attached.find_map(|instance| {
            let peer = node.roster().by_instance(instance)?;
            Some((peer.id, peer.generation))
        })
    }

    /// The next link of this actor that has ended; each is told once.
    pub fn next_end(&mut self) -> Option<LinkEnd> {
        let slot = self.engine.actors.slots.get_mut(self.key)?;
        slot.ended.pop_front()
    }
}
