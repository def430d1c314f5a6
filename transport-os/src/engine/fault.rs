//! What can go wrong outside of the protocol, and what is counted there.

use std::collections::VecDeque;
use std::io;

use switchboard_proto::ConfigError;

use crate::advice::Advised;
use crate::{Address, ConnectError};

/// Why there is no engine.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A value of the configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system gave no randomness, without which two nodes could have one identity.
    #[error("the system gives no random bytes: {0}")]
    Entropy(io::Error),
}

/// Something that went wrong, and from which the engine goes on by itself, save for a
/// [`Defect`](EngineFault::Defect).
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum EngineFault {
    /// The hub could not be reached; the node decides when to try again.
    #[error(transparent)]
    Connect(ConnectError),
    /// The hub did not answer in time; the node decides when to try again.
    #[error("{address} did not answer within 5 s: look whether its process is stopped")]
    ConnectTimeout {
        /// The address.
        address: Address,
    },
    /// Connections at this address are not accepted for a moment: something ran out.
    #[error("accepting at {address} pauses for 100 ms: {}", Advised(error))]
    AcceptPaused {
        /// The address.
        address: Address,
        /// What the system said.
        error: io::Error,
    },
    /// This library failed. The node is over: its connections are closed, so that its peers see it
    /// end as they would see the process end; requests end as `Unknown`, other messages as
    /// unconfirmed, and further ones are refused as `Closed`. Other nodes of the process go on.
    #[error(
        "a defect in this library has ended this peer: {what}; please report it, and make the peer \
         anew"
    )]
    Defect {
        /// What the panic said.
        what: String,
    },
    /// The listener cannot be used any more.
    #[error(
        "the listener at {address} is closed: {}; listen again",
        Advised(error)
    )]
    ListenerClosed {
        /// The address.
        address: Address,
        /// What the system said.
        error: io::Error,
    },
}

/// What the engine has done since it began. Plain totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineStats {
    /// Calls of `read` on connections.
    pub reads: u64,
    /// Calls of `write` on connections.
    pub writes: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections of other users, closed.
    pub strangers: u64,
    /// Times that accepting paused because something ran out.
    pub accept_pauses: u64,
    /// Attempts to reach the hub.
    pub dials: u64,
    /// Replies of handlers that became failures, because their descriptors could not go.
    pub replies_without_descriptors: u64,
}

/// The last faults; older ones give way, so that nobody has to take them.
#[derive(Debug, Default)]
pub(super) struct Faults(VecDeque<EngineFault>);

impl Faults {
    const KEPT: usize = 16;

    pub(super) fn push(&mut self, fault: EngineFault) {
        if self.0.len() == Self::KEPT {
            self.0.pop_front();
        }
        self.0.push_back(fault);
    }

    pub(super) fn next(&mut self) -> Option<EngineFault> {
        self.0.pop_front()
    }
}

crate::debug_says!(EngineError, EngineFault);
