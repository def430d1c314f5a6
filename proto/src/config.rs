//! Every limit and interval as plain data, each with its default and the reason for it.

mod check;

use core::time::Duration;

use serde::{Deserialize, Serialize};

pub use check::{ConfigError, ConfigValue};

pub(crate) use check::LEAST_BUDGET;

use crate::id::PeerName;
use crate::wire::limits;

/// Whether a node is the hub of its application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Attaches to a hub.
    #[default]
    Member,
    /// Is the hub: the one place that forwards, and that gives out ids.
    Hub,
}

/// The configuration of a node. Plain data; `Config::default()` is what most applications want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Whether this node is the hub. Default: a member.
    pub role: Role,
    /// The name under which the peer wants to be known, and found again after a restart.
    pub name: Option<PeerName>,
    /// Whether a newcomer that asks for the same name, and says so too, takes it over. Default: no.
    pub handover: bool,
    /// Cost in bytes that all senders together may have under way to this node and unread in it.
    /// Default 8 MiB: enough to keep a fast local link busy, small enough for dozens of processes.
    pub receive_budget: u64,
    /// What every open flow may always hold of it, so that one that is unread never stops another.
    /// Default 1 KiB: one small message.
    pub flow_floor: u64,
    /// The credit with which a flow starts. It doubles each time its sender is blocked. Default
    /// 64 KiB: one full write.
    pub first_window: u64,
    /// Cost in bytes set aside for replies under way to this node. Default 16 MiB: a reply must
    /// never wait for unread events.
    pub reply_reserve: u64,
    /// What each request takes of the reserve. Default 16 KiB; a larger reply travels in slices.
    pub reply_credit: u32,
    /// The largest message this node accepts, in bytes. Default 16 MiB.
    pub message_cap: u64,
    /// Bytes of large messages being put together, for all senders; one pair has at most a
    /// quarter. Default 64 MiB: four messages of the largest size.
    pub reassembly_cap: u64,
    /// Bytes that may wait for one receiver. Default 8 MiB, as its budget.
    pub send_buffer: u64,
    /// Messages that may wait for one receiver. Default 65,536.
    pub send_messages: u64,
    /// Bytes that may wait for all receivers together. Default 64 MiB.
    pub send_buffer_total: u64,
    /// Requests of this node to one peer without an outcome. Default 1,024; at most 1,500.
    pub pending_requests: usize,
    /// Namespaces that the application opens. Default 1,024, which is the most: every member holds
    /// the list of every other.
    pub namespaces: usize,
    /// Names with a request handler in all namespaces together, and likewise names with a listener.
    /// Default 1,024, which is the most, as of namespaces; who needs more listens to all events.
    pub names: usize,
    /// Namespaces that others have named while this node was not ready, and that are not open. What
    /// is sent to further ones is refused as full. Default 256: they are apart from `namespaces`, so
    /// that strangers cannot use those up.
    pub unopened_namespaces: usize,
    /// Bytes of answers that may wait for the other end of a link to read them. Beyond, a link that
    /// goes on asking is closed. Default 1 MiB: thousands of answers; honest peers wait for one before
    /// they ask again.
    pub answers: usize,
    /// Attachments of one message, sent or accepted; on a hub also of one that it passes on. Peers
    /// tell each other, so that a message with more than its receiver or the hub takes is refused
    /// where it is sent. Default 16; at most 128.
    pub attachments: u8,
    /// Attachments on their way to one receiver. Default 64: descriptors in flight count against
    /// the sender's own limit in the kernel. At most 128, which a hub holds of one sender for one
    /// receiver.
    pub attachments_pair: usize,
    /// How long a request may take where the caller does not say. Default 10 s.
    pub deadline: Duration,
    /// When a namespace counts as ready although the application never said so, after the
    /// attachment. Default 1 s.
    pub ready_after: Duration,
    /// How long a lost network link may take to come back before its peers are gone. Default 5 s. For
    /// so long a member that was attached dials at least every quarter of it, whatever
    /// [`reconnect`](Self::reconnect) says, so that no loss of up to three quarters costs it its life.
    pub detach_grace: Duration,
    /// How long a name stays bound to its id after its holder's death. Default 10 min.
    pub name_memory: Duration,
    /// How long a new hub waits to hear of members of an earlier one before it says that its roster
    /// is complete: until then a request that nobody handles waits. Default 2 s; a parent whose only
    /// members are its own children sets zero. Nobody's life depends on it.
    pub complete_grace: Duration,
    /// How long a member of an earlier hub may take to come to a new one after another member has
    /// named it, before it is gone for all. Default 8 s. It must be above the longest delay of
    /// [`reconnect`](Self::reconnect), jitter included, by a second: a member that lives dials at
    /// least that often. Where members reconnect more slowly, it is the hub's that must be longer.
    pub return_grace: Duration,
    /// How long a peer may take for its first frame. Default 2 s: it is sent at once.
    pub hello_deadline: Duration,
    /// How long a begun frame may take on a network link for each 4 KiB of it, however it trickles.
    /// Default 5 s: a link that is slower carries nothing in useful time.
    pub frame_deadline: Duration,
    /// How long a network link may be silent before it counts as lost. Default 10 s, four missed
    /// keepalives.
    pub lease: Duration,
    /// When a silent network link is probed. Default 2.5 s.
    pub keepalive: Duration,
    /// How long a mark may wait for more to cover. Default 25 ms.
    pub mark_delay: Duration,
    /// How lost links are dialled again.
    pub reconnect: Reconnect,
}

impl Config {
    /// Whether a message of `size` bytes fits the buffer of its receiver, which holds so many bytes
    /// and messages, and all buffers together.
    #[inline]
    pub(crate) fn takes(&self, (bytes, messages): (u64, u64), total: u64, size: u64) -> bool {
        bytes + size <= self.send_buffer
            && messages < self.send_messages
            && total + size <= self.send_buffer_total
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            role: Role::Member,
            name: None,
            handover: false,
            receive_budget: 8 << 20,
            flow_floor: 1024,
            first_window: 64 << 10,
            reply_reserve: 16 << 20,
            reply_credit: 16 << 10,
            message_cap: 16 << 20,
            reassembly_cap: 64 << 20,
            send_buffer: 8 << 20,
            send_messages: 65_536,
            send_buffer_total: 64 << 20,
            pending_requests: 1024,
            namespaces: limits::NAMESPACES,
            names: limits::NAMES,
            unopened_namespaces: 256,
            answers: 1 << 20,
            attachments: limits::ATTACHMENTS,
            attachments_pair: 64,
            deadline: Duration::from_secs(10),
            ready_after: Duration::from_secs(1),
            detach_grace: Duration::from_secs(5),
            name_memory: Duration::from_secs(600),
            complete_grace: Duration::from_secs(2),
            return_grace: Duration::from_secs(8),
            hello_deadline: Duration::from_secs(2),
            frame_deadline: Duration::from_secs(5),
            lease: Duration::from_secs(10),
            keepalive: Duration::from_millis(2500),
            mark_delay: Duration::from_millis(25),
            reconnect: Reconnect::default(),
        }
    }
}

/// How a lost link is dialled again. The delay grows from `first` by `factor` up to `max`, each
/// shortened or lengthened by up to `jitter` percent, so that many members do not come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reconnect {
    /// Whether to dial again at all. Default: yes.
    pub enabled: bool,
    /// The first delay. Default 50 ms.
    pub first: Duration,
    /// What each further delay is multiplied by. Default 2.
    pub factor: u32,
    /// The longest delay. Default 5 s; after a loss at first less, see [`Config::detach_grace`].
    pub max: Duration,
    /// By how many percent a delay varies. Default 25.
    pub jitter: u32,
    /// After how long to give up. Default: never.
    pub give_up: Option<Duration>,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            enabled: true,
            first: Duration::from_millis(50),
            factor: 2,
            max: Duration::from_secs(5),
            jitter: 25,
            give_up: None,
        }
    }
}

impl Reconnect {
    /// Always the same delay.
    pub fn fixed(delay: Duration) -> Self {
        Self {
            first: delay,
            factor: 1,
            max: delay,
            jitter: 0,
            ..Self::default()
        }
    }

    /// Never again: the first loss is final.
    pub fn never() -> Self {
        Self {
            enabled: false,
            ..Self::default()
        }
    }

    /// The delay before the attempt with this number, counted from 0; `dice` is random.
    pub(crate) fn delay(&self, attempt: u32, dice: u64) -> Duration {
        let factor = u64::from(self.factor).saturating_pow(attempt.min(63));
        let first = self.first.as_nanos() as u64;
        let max = self.max.as_nanos() as u64;
        let delay = first.saturating_mul(factor).min(max);
        let spread = delay / 100 * u64::from(self.jitter);
        let low = delay - spread;
        Duration::from_nanos(low + dice % (2 * spread + 1))
    }
}
