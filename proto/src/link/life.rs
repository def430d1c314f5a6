//! The life of one link, from the hello to the end, and the deadlines by which its peer is judged.

#[cfg(test)]
mod tests;

use core::time::Duration;

use crate::id::InstanceId;
use crate::time::Instant;
use crate::wire::{CloseCode, Hello, Kind};

/// The version of the wire that this node speaks.
pub(crate) const VERSION: u16 = 1;

/// How long a link that is closing may take to write what it still holds.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// What lies between the two ends of a link, which decides what silence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Medium {
    /// One kernel: it reports the death of the other end at once, so silence is no reason to
    /// close. There is no lease.
    Local,
    /// A network, which may lose the other end without a word. A lease finds that out.
    Network,
}

/// The deadlines of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LifeConfig {
    /// What lies between the two ends.
    pub(crate) medium: Medium,
    /// From the link's beginning to the peer's hello: 2 s. A stranger costs no more than this.
    pub(crate) hello_deadline: Duration,
    /// How long nothing may be heard, or nothing be taken of what is written: 10 s. Network only.
    pub(crate) lease: Duration,
    /// After how much silence of our own a ping goes out: 2.5 s, so that a lease survives three
    /// lost ones. Network only.
    pub(crate) keepalive: Duration,
    /// From the first byte of a frame to its last: 5 s, however the bytes trickle in. On networks,
    /// and before the hello everywhere.
    pub(crate) frame_deadline: Duration,
}

/// The life of one link as a state machine. It sees that something came or went, never what, and
/// says when to ping and when to close.
///
/// A refusal ([`CloseCode`] as an error) changes nothing: the caller answers it with
/// [`Life::close`]. Only [`Life::timeout`] closes by itself.
#[derive(Debug)]
pub(crate) struct Life {
    config: LifeConfig,
    own: InstanceId,
    state: State,
    /// When the state began.
    since: Instant,
    /// When anything last came.
    received: Instant,
    /// When anything last went.
    sent: Instant,
    /// Since when a write waits for the peer to read.
    blocked: Option<Instant>,
    /// The frame that is half read, by where it begins, and since when.
    begun: Option<(u64, Instant)>,
    /// The peer is not judged before this.
    reprieve: Instant,
    /// Since when nothing can be written any more.
    mute: Option<Instant>,
}

/// Where a link is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Our hello is on its way; the peer's has not come.
    Greeting,
    /// Both hellos are there.
    Open,
    /// The `CLOSE` frame with this code is being written; what still comes is ignored.
    Closing {
        /// Why.
        code: CloseCode,
    },
    /// Over.
    Closed,
}

/// What a deadline asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a deadline passes once: what it asks for is not repeated"]
pub(crate) enum LifeAction {
    /// Nothing was due.
    None,
    /// Send a `PING`.
    SendPing,
    /// Tell the peer with a `CLOSE` of this code and write what there is; the link is
    /// [`State::Closing`].
    Close(CloseCode),
    /// The peer does not even take the `CLOSE`: end the connection without it.
    Abandon,
}

impl Life {
    /// A link that has just come up, of the node with the instance `own`.
    pub(crate) const fn new(now: Instant, config: LifeConfig, own: InstanceId) -> Self {
        Self {
            config,
            own,
            state: State::Greeting,
            since: now,
            received: now,
            sent: now,
            blocked: None,
            begun: None,
            reprieve: Instant::ZERO,
            mute: None,
        }
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    /// Bytes came.
    pub(crate) fn received_bytes(&mut self, now: Instant) {
        self.received = now;
    }

    /// What is half read once all whole frames have been taken, named by where it begins. The
    /// deadline of a frame runs from the first call that names it.
    pub(crate) fn half_read(&mut self, now: Instant, frame: Option<u64>) {
        self.begun = match (self.begun, frame) {
            (Some((same, since)), Some(frame)) if same == frame => Some((same, since)),
            (_, frame) => frame.map(|frame| (frame, now)),
        };
    }

    /// The kernel took bytes of a write, or the whole of it.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.sent = now;
        self.blocked = None;
    }

    /// The kernel took nothing of a write: the peer does not read.
    pub(crate) fn blocked(&mut self, now: Instant) {
        self.blocked.get_or_insert(now);
    }

    /// Nothing can be written any more. What still comes is heard, for as long as a closing takes.
    pub(crate) fn mute(&mut self, now: Instant) {
        self.mute.get_or_insert(now);
    }

    pub(crate) const fn is_mute(&self) -> bool {
        self.mute.is_some()
    }

    /// A frame came. Before the hello nothing else may.
    pub(crate) fn frame(&self, kind: Kind) -> Result<(), CloseCode> {
        match self.state {
            State::Greeting if kind == Kind::HELLO => Ok(()),
            State::Greeting => Err(CloseCode::HelloExpected),
            State::Open if kind == Kind::HELLO => Err(CloseCode::ProtocolViolation),
            State::Open => Ok(()),
            State::Closing { code } => Err(code),
            State::Closed => Err(CloseCode::Normal),
        }
    }

    /// What came is not what may come, for which the code stands. Who has not greeted may be anybody,
    /// and is told no more than that: it is no peer with a defect.
    pub(crate) const fn fault(&self, code: CloseCode) -> CloseCode {
        match self.state {
            State::Greeting => CloseCode::HelloExpected,
            _ => code,
        }
    }

    /// The peer's hello came. Opens the link, unless the peer speaks another version, has no
    /// instance, or is this very node.
    pub(crate) fn hello(&mut self, now: Instant, hello: &Hello) -> Result<(), CloseCode> {
        self.frame(Kind::HELLO)?;
        if hello.version != VERSION {
            return Err(CloseCode::VersionMismatch);
        }
        if hello.instance.is_none() || hello.instance == self.own {
            return Err(CloseCode::ProtocolViolation);
        }
        self.enter(now, State::Open);
        self.received = now;
        self.sent = now;
        Ok(())
    }

    /// Ends the link with this code. `true` if the peer is to be told; `false` if the end has
    /// begun before, whose code stands.
    pub(crate) fn close(&mut self, now: Instant, code: CloseCode) -> bool {
        let first = matches!(self.state, State::Greeting | State::Open);
        if first {
            self.enter(now, State::Closing { code });
        }
        first
    }

    #[cfg(test)]
    /// The connection is over: the last frame is written, the peer closed, or hung up.
    pub(crate) fn ended(&mut self, now: Instant) {
        self.enter(now, State::Closed);
    }

    /// Nobody could hear the peer until now, because this process was stopped: gives the peer
    /// `by` to be heard before any deadline judges it.
    pub(crate) fn reprieve(&mut self, now: Instant, by: Duration) {
        self.reprieve = now + by;
    }

    /// When [`Life::timeout`] wants to be called.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        // Within a machine the kernel says when a peer has ended, so an open link waits for nothing.
        let open = self.state == State::Open && self.mute.is_none();
        if open && self.config.medium == Medium::Local {
            return None;
        }
        earliest([
            self.verdict().map(|(at, _)| at),
            self.ping_at(),
            self.abandon_at(),
        ])
    }

    /// What is due. After it, [`Life::deadline`] is later than `now`.
    pub(crate) fn timeout(&mut self, now: Instant) -> LifeAction {
        let due = |at: Instant| at <= now;
        if let Some((at, code)) = self.verdict()
            && due(at)
        {
            self.enter(now, State::Closing { code });
            return LifeAction::Close(code);
        }
        if self.abandon_at().is_some_and(due) {
            self.enter(now, State::Closed);
            return LifeAction::Abandon;
        }
        if self.ping_at().is_some_and(due) {
            self.sent = now;
            return LifeAction::SendPing;
        }
        LifeAction::None
    }

    fn enter(&mut self, now: Instant, state: State) {
        self.state = state;
        self.since = now;
    }

    /// When the peer will have failed, and at what.
    fn verdict(&self) -> Option<(Instant, CloseCode)> {
        let greeting = self.state == State::Greeting;
        if !greeting && (self.state != State::Open || self.config.medium == Medium::Local) {
            return None;
        }
        let (silence, code) = if greeting {
            let at = self.since.checked_add(self.config.hello_deadline);
            (at, CloseCode::HelloTimeout)
        } else {
            let at = self.received.checked_add(self.config.lease);
            (at, CloseCode::LeaseExpired)
        };
        let frame = self
            .begun
            .and_then(|(_, since)| since.checked_add(self.config.frame_deadline));
        let write = self
            .blocked
            .and_then(|since| since.checked_add(self.config.lease));
        [
            (silence, code),
            (frame, CloseCode::WriteStalled),
            (write, CloseCode::WriteStalled),
        ]
        .into_iter()
        .filter_map(|(at, code)| Some((at?.max(self.reprieve), code)))
        .min_by_key(|(at, _)| *at)
    }

    fn ping_at(&self) -> Option<Instant> {
        let speaks = self.state == State::Open && self.mute.is_none();
        let pings = speaks && self.config.medium == Medium::Network;
        // A keepalive of zero would ask for the next ping in the very turn of the last.
        let keepalive = self.config.keepalive.max(Duration::from_nanos(1));
        pings.then(|| self.sent.checked_add(keepalive)).flatten()
    }

    fn abandon_at(&self) -> Option<Instant> {
        let closing = matches!(self.state, State::Closing { .. });
        let since = self.mute.or(closing.then_some(self.since))?;
        since.checked_add(LINGER)
    }
}

/// The earliest of the deadlines that are set. (`Option::min` would take `None` for the earliest.)
fn earliest(deadlines: impl IntoIterator<Item = Option<Instant>>) -> Option<Instant> {
    deadlines.into_iter().flatten().min()
}
