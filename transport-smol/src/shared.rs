//! What a peer's handles and its driver share: the engine under one lock, and the rule how the lock
//! is used.
//!
//! An operation takes the lock once, tells the node, writes what came of it as far as the sockets
//! take it, and leaves. In a burst only the first message is written so; the rest is left to whoever
//! drives, see [`crate::lead`], whose next round writes it together. Nobody is woken and nothing of
//! the application runs or is dropped before the lock is free.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::task::Waker;
use std::time::Duration;

use smallvec::SmallVec;
use switchboard_os::Attachment;
use switchboard_os::app::{Connection, ConnectionError, State as PeerState};
use switchboard_os::engine::{Engine, EngineFault};
use switchboard_os::{Address, Clock};
use switchboard_proto::codec::CodecTable;
use switchboard_proto::{Event, Instant, MessageId, RequestId, Target};

use crate::ops::{Ending, Ops};
use crate::pump::Pump;
use crate::service::Service;
use crate::state::Watchers;
use crate::wakeups::Wakeups;

/// Messages that lie no further apart are a burst. A program that sends one now and then is slower.
const MOMENT: Duration = Duration::from_micros(50);

pub(crate) type Wakes = SmallVec<[Waker; 4]>;

pub(crate) struct Shared {
    state: Mutex<State>,
    /// Taken before the state, and never while that is held.
    pub(crate) pump: Mutex<Pump>,
    pub(crate) wakeups: Arc<Wakeups>,
    pub(crate) codecs: CodecTable,
    /// Where the hub listens.
    pub(crate) address: Option<Address>,
    /// For the peer in each `Cx`.
    handle: OnceLock<Weak<Handle>>,
}

/// What all clones of a peer hold together: with the last one the peer is closed.
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct State {
    pub(crate) engine: Engine,
    pub(crate) service: Service,
    pub(crate) ops: Ops,
    pub(crate) watchers: Watchers,
    pub(crate) connection: Connection,
    /// Who waits for the connection, or for the end of a drain.
    waiting: Vec<Waker>,
    /// How the drain ended.
    pub(crate) drained: Option<bool>,
    /// Whom to wake when the lock is free.
    wakes: Wakes,
    /// What the timer is set to.
    armed: Option<Instant>,
    /// When a message was last written in the thread that sent it, since the last round.
    written: Option<Instant>,
    pub(crate) closed: bool,
}

impl Shared {
    pub(crate) fn begin(
        engine: Engine,
        codecs: CodecTable,
        service: Service,
        address: Option<Address>,
    ) -> Arc<Handle> {
        let state = State {
            engine,
            service,
            ops: Ops::default(),
            watchers: Watchers::default(),
            connection: Connection::default(),
            waiting: Vec::new(),
            drained: None,
            wakes: Wakes::new(),
            armed: None,
            written: None,
            closed: false,
        };
        let wakeups = Arc::default();
        let shared = Arc::new(Self {
            state: Mutex::new(state),
            pump: Mutex::new(Pump::new(&wakeups)),
            wakeups,
            codecs,
            address,
            handle: OnceLock::new(),
        });
        let handle = Arc::new(Handle {
            shared: Arc::clone(&shared),
        });
        // It was made two lines above, so nobody has set it.
        let _ = shared.handle.set(Arc::downgrade(&handle));
        handle
    }

    /// Runs an operation and carries out what follows from it.
    pub(crate) fn with<R>(&self, operation: impl FnOnce(&mut State) -> R) -> R {
        self.carry_out(|state| {
            let result = operation(state);
            state.settle();
            result
        })
    }

    /// Gives a message to the node. A lone one is written at once, in this thread. One that follows
    /// closely on another waits for the next round, and so does what comes meanwhile.
    pub(crate) fn submit<R>(&self, give: impl FnOnce(&mut State) -> R) -> R {
        self.carry_out(|state| {
            let result = give(state);
            if !state.is_burst() {
                state.settle();
            }
            result
        })
    }

    fn carry_out<R>(&self, operation: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = operation(&mut state);
        let wakes = mem::take(&mut state.wakes);
        let (leader, driver) = (state.is_for_leader(), state.is_for_driver());
        drop(state);
        fire(wakes);
        if leader {
            self.wakeups.poke_leader();
        }
        if driver {
            self.wakeups.poke();
        }
        result
    }

    /// As [`Shared::with`], for whoever drives, who sees to the rest and wakes whom it concerns.
    pub(crate) fn drive<R>(&self, turn: impl FnOnce(&mut State) -> R) -> (R, Wakes) {
        let mut state = self.lock();
        let result = turn(&mut state);
        state.written = None;
        let wakes = mem::take(&mut state.wakes);
        (result, wakes)
    }

    /// Looks, and changes nothing that anybody has to know of.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.lock())
    }

    /// `None` where the last peer was dropped.
    pub(crate) fn handle(&self) -> Option<Arc<Handle>> {
        self.handle.get()?.upgrade()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| {
            // Nothing of the application runs under it, so a panic there is a defect of ours. It was
            // reported where it happened, and what it left behind is not used any further.
            self.state.clear_poison();
            let mut state = poisoned.into_inner();
            state.engine.give_up("a panic under the lock of a peer");
            state
        })
    }
}

impl State {
    pub(crate) fn now(&self) -> Instant {
        self.engine.now()
    }

    /// Writes what is to be written and spreads the news, until there is none.
    pub(crate) fn settle(&mut self) {
        loop {
            self.engine.flush();
            let Some(event) = self.engine.next_event() else {
                break;
            };
            self.spread(event);
            while let Some(event) = self.engine.next_event() {
                self.spread(event);
            }
        }
        while let Some(fault) = self.engine.next_fault() {
            self.connection.note_fault(&fault);
            let is_defect = matches!(fault, EngineFault::Defect { .. });
            self.tell(PeerState::Fault(Arc::new(fault)));
            if is_defect {
                self.close();
            }
        }
    }

    /// Ends the peer: others are told, and everything that waits gets its end.
    pub(crate) fn close(&mut self) {
        if mem::replace(&mut self.closed, true) {
            return;
        }
        let now = self.now();
        self.engine.unlisten();
        self.engine.node().close(now);
        self.settle();
        self.ops.refuse_all(&mut self.engine, &mut self.wakes);
        self.settle();
        // Each holds its descriptor until it is taken, and the driver may be gone, or takes its
        // duplicates out with its own end.
        while self.engine.next_source().is_some() {}
        self.connection_changed();
        self.wakes.extend(self.watchers.end());
        self.wakes.extend(self.service.end());
    }

    /// Whether the connection stands, or why it will not.
    pub(crate) fn connection(&self) -> Option<Result<(), ConnectionError>> {
        if self.closed {
            return Some(Err(ConnectionError::Closed));
        }
        self.connection.verdict(&self.engine)
    }

    /// Wakes this one when the connection, or the drain, has changed.
    pub(crate) fn wait(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|waiting| waiting.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }

    /// The deadline that is slept until from now on.
    pub(crate) fn arm(&mut self) -> Option<Instant> {
        self.armed = self.engine.deadline();
        self.armed
    }

    /// Whether the next round is to write what was just accepted, because another message was written
    /// in its sender's thread a moment ago, and no round lies between.
    fn is_burst(&mut self) -> bool {
        if self.engine.has_full_write() {
            return false;
        }
        // That of the message.
        let now = self.engine.node_ref().now();
        let moment = |written: Instant| now.saturating_since(written) < MOMENT;
        let follows = self.written.is_some_and(moment);
        if !follows {
            self.written = Some(now);
        }
        follows
    }

    /// Whether something is left that only the driver does.
    pub(crate) fn is_for_driver(&self) -> bool {
        self.closed || self.service.has_incoming()
    }

    /// Whether something is left for whoever leads.
    fn is_for_leader(&self) -> bool {
        // `None` is no deadline, so an earlier one cannot be told by comparing the options.
        let earlier = match (self.engine.deadline(), self.armed) {
            (Some(deadline), Some(armed)) => deadline < armed,
            (deadline, None) => deadline.is_some(),
            (None, Some(_)) => false,
        };
        earlier
            || self.engine.has_source_changes()
            || self.engine.has_more()
            || self.engine.has_unwritten()
    }

    fn tell(&mut self, state: PeerState) {
        self.wakes.extend(self.watchers.tell(&state));
    }

    fn connection_changed(&mut self) {
        self.wakes.extend(self.waiting.drain(..));
    }

    fn spread(&mut self, event: Event<Attachment>) {
        match event {
            Event::Incoming(namespace) => self.service.incoming(namespace),
            Event::Outcome { request, outcome } => {
                let RequestId(id) = request;
                let ending = Ending::Outcome(outcome);
                let _ = self.ops.end(MessageId(id), ending, &mut self.wakes);
            }
            Event::Fate { message, fate } => {
                let unasked = self.ops.end(message, Ending::Fate(fate), &mut self.wakes);
                if let Some(Ending::Fate(fate)) = unasked {
                    let fate = Arc::new(fate);
                    self.tell(PeerState::Fate { message, fate });
                }
            }
            Event::Cancelled(ticket) => self.wakes.extend(self.service.cancelled(ticket)),
            Event::Sendable(target) => self.sendable(&target),
            Event::Drained { clean } => {
                self.drained = Some(clean);
                self.connection_changed();
            }
            other => {
                let changed = self.connection.note(&other);
                if let Some(state) = PeerState::of(&other) {
                    self.tell(state);
                }
                if changed {
                    self.connection_changed();
                }
            }
        }
    }

    fn sendable(&mut self, target: &Target) {
        self.ops.sendable(target, &mut self.engine, &mut self.wakes);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.with(State::close);
    }
}

/// The time on the clock that every engine has.
pub(crate) fn clock_now() -> Instant {
    Instant::from_nanos(Clock.now())
}

pub(crate) fn fire(wakes: Wakes) {
    for waker in wakes {
        waker.wake();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
