//! Record and replay: what was done to a node, and proof that the same again gives the same.
//!
//! A node is a pure function of its calls. A [`Recorder`] is a node that writes them down, each
//! with a digest of what it gave back; [`replay`] feeds a fresh node with a [`Log`] and compares.
//! That is the flight recorder of a running process, the input of a fuzzer and the bug report that
//! can be run again.
//!
//! ```
//! use switchboard_proto::trace::{Log, Recorder, Recording, replay};
//! use switchboard_proto::{Config, Instant, Output, Seeds};
//!
//! let seeds = Seeds { behaviour: [7; 32] };
//! let start = Instant::ZERO;
//! let mut node: Recorder<u32> =
//!     Recorder::new(Config::default(), &seeds, start, Recording::All).unwrap();
//! node.open(start, "chat").unwrap();
//! while !matches!(node.poll(), Output::Idle(_)) {}
//!
//! let bytes = node.log().unwrap().encode();
//! let log = Log::decode(&bytes).unwrap();
//! assert_eq!(replay(&log).unwrap().steps, 2);
//! ```
//!
//! # What is in a log
//!
//! Everything that the node was given: the configuration, the behaviour seeds, names, payloads,
//! and the bytes that came over its links. Attachments are numbered in the order in which they
//! were handed in ([`Token`]); what they refer to is not in it, and neither is any key. Payloads
//! are in it as they are: look before you publish one.
//!
//! A log belongs to the version of this crate that made it.

mod digest;
mod input;
mod plain;
mod recorder;
mod replay;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

pub(crate) use plain::{byte_string, shared};

pub use input::{Input, MessageRecord, NamesRecord, Step, Token};
pub use recorder::{Recorder, Recording};
pub use replay::{Divergence, Replay, ReplayError, Replayer, replay};

use crate::config::Config;
use crate::node::Seeds;
use crate::time::Instant;

/// What was done to a node since its beginning, and digests of what it gave back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// [`Log::FORMAT`] of the version that made it.
    pub format: u32,
    /// The configuration of the node.
    pub config: Config,
    /// Its seeds.
    pub seeds: Seeds,
    /// When it began.
    pub start: Instant,
    /// Steps that were made before the first one here and are lost, because the recorder keeps a
    /// bounded number of bytes. Only a log without any can be replayed.
    pub skipped: u64,
    /// What was done, in order.
    pub steps: Vec<Step>,
}

impl Log {
    /// The present format. Another one is refused.
    pub const FORMAT: u32 = 1;

    /// How deep the CBOR of a log may nest. An audience among the targets of another one has 15
    /// levels, each further one four more.
    const DEPTH: usize = 64;

    /// The log as bytes: one CBOR map, with the names of this documentation as keys.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let written = ciborium::into_writer(self, &mut out);
        // A vector takes every write, and no type of a log refuses to be serialised.
        debug_assert!(written.is_ok(), "a log can always be written");
        out
    }

    /// Reads a log. Whatever the bytes are, this neither panics nor takes much more memory than
    /// they are long.
    ///
    /// # Errors
    ///
    /// The bytes are no log, or one of another format.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        let mut rest = bytes;
        let log: Self = ciborium::de::from_reader_with_recursion_limit(&mut rest, Self::DEPTH)
            .map_err(|error| LogError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(LogError::TrailingBytes(rest.len()));
        }
        if log.format != Self::FORMAT {
            return Err(LogError::Format(log.format));
        }
        Ok(log)
    }
}

/// Why bytes are no [`Log`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// They are not the CBOR of a log.
    #[error("the bytes are no log: {0}")]
    Malformed(String),
    /// The log ends before the bytes do.
    #[error("{0} bytes follow the end of the log")]
    TrailingBytes(usize),
    /// Another version made it.
    #[error("the log has format {0}, this version reads {expected}", expected = Log::FORMAT)]
    Format(u32),
}
