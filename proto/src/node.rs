//! One node: many links, one conversation for each remote instance, and the parts that decide.
//! The node itself only dispatches between them.

mod along;
mod answer;
mod breach;
mod control;
mod credit;
mod death;
mod dial;
mod encode;
mod expiry;
mod fan_out;
mod forward;
mod hub_side;
mod lateness;
mod links;
mod loopback;
mod outbox;
mod parked;
mod rebind;
mod receive;
mod relay_side;
mod request;
mod resolve;
mod room;
mod roster_news;
mod runs;
mod send;
mod serve;
mod taken;
mod talks;
mod uplink;

use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

use serde::{Deserialize, Serialize};

pub use links::{Hangup, LinkConfig, LinkOrigin, Read, UnknownLink, WriteError};

use crate::config::{Config, ConfigError, Role};
use crate::group::Roster;
use crate::id::{Generation, InstanceId, LinkId, NamespaceId, PeerId, PeerName, RequestId};
use crate::inbox::{DeclareError, Inbox, Limits, NameError, Names};
use crate::link::WriteBatch;
use crate::message::Sender;
use crate::output::{Event, Output, Wake};
use crate::relay::Relay;
use crate::rng::Rng;
use crate::stats::Stats;
use crate::talk::{Books, DraftPool, Ledger, Rooms};
use crate::time::Instant;
use crate::timers::Timers;
use along::Trodden;
use credit::Hungry;
use dial::Dial;
use encode::Stencil;
use hub_side::HubSide;
use links::Links;
use outbox::Outbox;
use request::Requests;
use serve::Serving;
use taken::Tally;
use talks::Talks;
use uplink::Uplink;

/// Where a node takes its choices from. The same seeds and inputs give the same outputs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seeds {
    /// For instance numbers and jitter.
    pub behaviour: [u8; 32],
}

impl core::fmt::Debug for Seeds {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Seeds(..)")
    }
}

/// How many deadlines pass in one turn at most. After a pause many are due at once, and between two
/// turns the driver reads: an answer that lies in a socket already is seen before its deadline.
const EXPIRIES: usize = 1024;

/// Who this node is.
#[derive(Debug)]
struct Me {
    instance: InstanceId,
    name: Option<PeerName>,
    identity: Option<(PeerId, Generation)>,
    /// Counts the attachments of this instance.
    counter: u64,
}

/// What a deadline is for. The order is the order in which equal deadlines fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Link(LinkId),
    Backoff(LinkId),
    Mark(InstanceId),
    Dial,
    Attach,
    Identity,
    /// Of a request.
    Request(RequestId),
    /// Of the events that wait in a conversation.
    Expiry(InstanceId),
    /// Of the events that wait for their target.
    Parked,
    Ready,
    Drain,
}

impl Timer {
    const fn reason(self) -> &'static str {
        match self {
            Self::Link(_) => "a link's hello, lease or keepalive",
            Self::Backoff(_) => "a write that waits for room for descriptors",
            Self::Mark(_) => "a mark that waits for more to cover",
            Self::Dial | Self::Attach => "the next attempt to reach the hub",
            Self::Identity => "a grace of the hub",
            Self::Request(_) => "the deadline of a request",
            Self::Expiry(_) | Self::Parked => "the end of an event's time",
            Self::Ready => "the end of the pending time",
            Self::Drain => "the end of a drain",
        }
    }
}

/// The protocol of one process, as a pure state machine.
///
/// - `handle_*` says what the world did; every one takes the time, which never runs backwards.
/// - [`Node::send`], [`Node::request`] and their like say what the application wants.
/// - [`Node::poll`] says what must happen next; call it until it is [`Output::Idle`], after every
///   input.
/// - Getters change nothing.
///
/// `F` is the handle of an attachment: `OwnedFd` in real transports, `Infallible` where there are
/// none. It is moved in, lent to a write, and moved out; it is never copied or lost.
#[derive(Debug)]
pub struct Node<F> {
    config: Config,
    now: Instant,
    rng: Rng,
    me: Me,
    links: Links<F>,
    talks: Talks<F>,
    /// Which link leads to an instance that attaches to this node. Everybody else is behind the
    /// uplink.
    routes: BTreeMap<InstanceId, LinkId>,
    books: Books,
    pool: DraftPool<F>,
    roster: Roster,
    hub: Option<HubSide>,
    uplink: Uplink,
    relay: Relay,
    dial: Dial,
    inbox: Inbox<F>,
    hungry: Hungry,
    serving: Serving,
    requests: Requests,
    outbox: Outbox<F>,
    timers: Timers<Timer>,
    /// The conversation that the last inputs were for, still to be seen to before the node is idle.
    touched: Option<InstanceId>,
    stencil: Stencil,
    trodden: Option<Trodden>,
    /// What may be sent there right after the last event, in cost. Nothing after any other input.
    left: u64,
    /// Whether the conversation of this node with itself has something to write.
    loops: bool,
    tally: Option<Tally>,
    /// Who sent what was taken last, and the edition of the roster that said so.
    last_sender: Option<(u64, Sender)>,
    outputs: VecDeque<Output<F>>,
    /// The wake that was announced last, to see how much later the driver really came.
    announced: Option<Instant>,
    /// By how much the driver was late since timers were last fired, if that was a jump.
    late: Duration,
    /// No wake is before this: timers that one turn left over are for a later turn.
    rest_at: Option<Instant>,
    draining: bool,
    /// Whether nothing more is accepted, because a drain has begun.
    winding_down: bool,
    closed: bool,
    stats: Stats,
}

impl<F> Node<F> {
    /// A node at the beginning of its life.
    ///
    /// # Errors
    ///
    /// A value of the configuration that cannot work, with the rule for it.
    pub fn new(config: Config, seeds: &Seeds, now: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        let mut rng = Rng::new(&seeds.behaviour, 1);
        let instance = InstanceId(rng.next_u64().max(1));
        let me = Me {
            instance,
            name: config.name.clone(),
            identity: None,
            counter: 0,
        };
        let books = Books {
            ledger: Ledger::new(config.receive_budget, config.flow_floor),
            rooms: Rooms::for_payloads(config.reassembly_cap),
        };
        let mut node = Self {
            now,
            rng,
            me,
            links: Links::new(),
            talks: Talks::new(),
            routes: BTreeMap::new(),
            books,
            pool: DraftPool::new(),
            roster: Roster::new(),
            hub: None,
            uplink: Uplink::default(),
            relay: Relay::default(),
            dial: Dial::default(),
            inbox: Inbox::new(Limits::of(&config)),
            hungry: Hungry::default(),
            serving: Serving::new(),
            requests: Requests::new(),
            outbox: Outbox::new(),
            timers: Timers::new(),
            touched: None,
            stencil: Stencil::new(),
            trodden: None,
            left: 0,
            loops: false,
            tally: None,
            last_sender: None,
            outputs: VecDeque::new(),
            announced: None,
            late: Duration::ZERO,
            rest_at: None,
            draining: false,
            winding_down: false,
            closed: false,
            stats: Stats::default(),
            config,
        };
        if node.config.role == Role::Hub {
            node.found();
        }
        Ok(node)
    }

    /// Fires what is due, at most 1,024 deadlines in one call: the next wake is then at once. Call it
    /// at the wake that [`Output::Idle`] named, after every ready link was read; calling it early does
    /// no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.notice_jump();
        let mut left = EXPIRIES;
        while left > 0
            && let Some(timer) = self.expired()
        {
            left -= 1;
            match timer {
                Timer::Link(link) => self.link_timeout(link),
                Timer::Backoff(link) => self.end_backoff(link),
                Timer::Mark(instance) => self.mark_due(instance),
                Timer::Dial => self.dial_due(),
                Timer::Attach => self.attach_due(),
                Timer::Identity => left -= self.identity_due(left),
                Timer::Request(id) => self.request_due(id),
                Timer::Expiry(instance) => self.expiry_due(instance),
                Timer::Parked => self.parked_due(),
                Timer::Ready => self.all_ready_due(),
                Timer::Drain => self.drain_due(),
            }
        }
        self.rest_at = (left == 0).then(|| self.now + Duration::from_nanos(1));
    }

    /// What must happen next.
    pub fn poll(&mut self) -> Output<F> {
        self.left = 0;
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return output;
            }
            self.settle_tally();
            self.tell_relieved();
            self.share_credit();
            self.touch_now();
            if self.outbox.must_retry() {
                self.retry_parked();
                continue;
            }
            if self.run_loopback() {
                continue;
            }
            if let Some(link) = self.next_plan() {
                self.stats.plans += 1;
                return Output::Write(link);
            }
            if self.outputs.is_empty() {
                break;
            }
        }
        self.check_drained();
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        self.see_lateness();
        let rest_at = self.rest_at;
        let wake = self.earliest().map(|(at, timer)| Wake {
            at: rest_at.map_or(at, |rest| at.max(rest)),
            reason: timer.reason(),
        });
        self.announced = wake.map(|wake| wake.at);
        Output::Idle(wake)
    }

    /// The deadline that comes next. Those of requests, which nearly all end before theirs, stand
    /// with the requests.
    fn earliest(&self) -> Option<(Instant, Timer)> {
        let request = self.requests.earliest();
        let request = request.map(|(at, id)| (at, Timer::Request(id)));
        match (self.timers.earliest(), request) {
            (Some(timer), Some(request)) => Some(timer.min(request)),
            (timer, request) => timer.or(request),
        }
    }

    /// The next deadline that is not later than now; it is cleared.
    fn expired(&mut self) -> Option<Timer> {
        let (_, timer) = self.earliest().filter(|(at, _)| *at <= self.now)?;
        match timer {
            Timer::Request(id) => self.requests.disarm(id),
            timer => self.timers.set(timer, None),
        }
        Some(timer)
    }

    /// The committed plan of a link: bytes, and attachments while nothing of it is written.
    pub fn write_batch(&self, link: LinkId) -> Option<WriteBatch<'_, F>> {
        self.links.get(link)?.tx.batch()
    }

    /// Opens a namespace, or finds it again. `_` is the default one.
    ///
    /// # Errors
    ///
    /// The name is empty, longer than 255 bytes, contains NUL or starts with `$`, or there are as
    /// many namespaces as there may be.
    pub fn open(&mut self, now: Instant, name: &str) -> Result<NamespaceId, NameError> {
        self.advance(now);
        let (id, new) = self.inbox.open(name)?;
        if new {
            self.pending_time_runs();
            self.declarations_changed();
        }
        Ok(id)
    }

    /// Says which names the application handles in a namespace, in place of what was said before.
    ///
    /// # Errors
    ///
    /// A name cannot be one, or there are too many. What was said before stands.
    pub fn declare(
        &mut self,
        now: Instant,
        namespace: NamespaceId,
        names: Names,
    ) -> Result<(), DeclareError> {
        self.advance(now);
        self.inbox.check(namespace, &names)?;
        if self.inbox.declare(namespace, names) {
            self.emit(Event::Incoming(namespace));
        }
        self.declarations_changed();
        Ok(())
    }

    /// Says that the names of a namespace are complete: what comes for another is refused.
    pub fn ready(&mut self, now: Instant, namespace: NamespaceId) {
        self.advance(now);
        let refused = self.inbox.ready(namespace);
        self.refuse_items(refused);
        self.declarations_changed();
    }

    /// Says that the list of namespaces is complete, and the names of each.
    pub fn ready_all(&mut self, now: Instant) {
        self.advance(now);
        self.all_ready_due();
    }

    fn all_ready_due(&mut self) {
        self.timers.set(Timer::Ready, None);
        if !self.inbox.is_pending() {
            return;
        }
        let refused = self.inbox.all_ready();
        self.refuse_items(refused);
        self.declarations_changed();
    }

    /// Sets the deadline of requests for which the caller gives none: of one namespace, or of all
    /// that have none of their own. Zero is ignored.
    pub fn set_default_deadline(&mut self, namespace: Option<NamespaceId>, deadline: Duration) {
        if deadline.is_zero() {
            return;
        }
        match namespace {
            Some(id) => {
                if let Some(namespace) = self.inbox.get_mut(id) {
                    namespace.deadline = Some(deadline);
                }
            }
            None => self.config.deadline = deadline,
        }
    }

    /// Who is there.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The id and generation of this node, once it is attached.
    pub fn identity(&self) -> Option<(PeerId, Generation)> {
        self.me.identity
    }

    /// The instance of this node.
    pub fn instance(&self) -> InstanceId {
        self.me.instance
    }

    /// Whether this node is attached to a hub, or is one.
    pub fn is_connected(&self) -> bool {
        self.hub.is_some() || self.uplink.is_attached()
    }

    /// Whether the hub knows all that this node has said so far that it handles, and whether it is
    /// ready. What is sent from then on comes to nobody before this news of its sender does; what was
    /// sent earlier may.
    pub fn is_announced(&self) -> bool {
        self.hub.is_some() || self.uplink.is_announced()
    }

    /// The latest time that it was told.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Bytes that wait to be held by their receivers' nodes, over all of them.
    pub fn buffered(&self) -> u64 {
        self.outbox.total()
    }

    /// Messages that wait for the application.
    pub fn unread(&self) -> usize {
        self.inbox.len()
    }

    /// Requests without an outcome.
    pub fn pending(&self) -> impl Iterator<Item = RequestId> + '_ {
        self.requests.ids()
    }

    fn emit(&mut self, event: Event<F>) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Something other than an event to be sent comes in: what was taken is counted before anything
    /// else looks at it.
    fn advance(&mut self, now: Instant) {
        self.left = 0;
        self.pass_time(now);
        self.settle_tally();
    }

    /// Takes the driver's time. It never runs backwards here.
    fn pass_time(&mut self, now: Instant) {
        if now < self.now {
            self.stats.clock_backwards += 1;
        } else {
            self.now = now;
        }
    }
}
