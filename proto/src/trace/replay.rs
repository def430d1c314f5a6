//! The same inputs again, and whether the same came of them.

use super::digest::Digest;
use super::{Log, Token};
use crate::config::ConfigError;
use crate::node::Node;
use crate::output::Output;

/// What a replay has shown.
#[derive(Debug)]
pub struct Replay {
    /// Steps that were made; each gave what it gave when it was recorded.
    pub steps: usize,
    /// One digest over all of them, to compare runs with each other.
    pub digest: u64,
    /// The node as it is after the last one.
    pub node: Node<Token>,
}

/// The first step of a log that gave something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// Its index in [`Log::steps`].
    pub step: usize,
    /// The digest that was recorded.
    pub recorded: u64,
    /// The digest that came now.
    pub replayed: u64,
}

/// Why a log was not replayed to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The beginning is missing, as the recorder kept a bounded number of bytes.
    #[error("the first {skipped} steps are missing: record all to replay")]
    Incomplete {
        /// How many steps are missing.
        skipped: u64,
    },
    /// The configuration is one that no node accepts.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A step gave something else than when it was recorded: the log was changed, or is of another
    /// version, or the node is not the pure function that it must be.
    #[error("step {} gave {:016x}, recorded was {:016x}", .0.step, .0.replayed, .0.recorded)]
    Diverged(Divergence),
}

/// Replays a log step by step, so that one may look at the node in between.
#[derive(Debug)]
pub struct Replayer<'l> {
    log: &'l Log,
    node: Node<Token>,
    at: usize,
    digest: Digest,
}

impl<'l> Replayer<'l> {
    /// A fresh node before the first step.
    ///
    /// # Errors
    ///
    /// The beginning of the log is missing, or its configuration is refused.
    pub fn new(log: &'l Log) -> Result<Self, ReplayError> {
        if log.skipped > 0 {
            return Err(ReplayError::Incomplete {
                skipped: log.skipped,
            });
        }
        Ok(Self {
            log,
            node: Node::new(log.config.clone(), &log.seeds, log.start)?,
            at: 0,
            digest: Digest::new(),
        })
    }

    /// The node as it is now.
    pub fn node(&self) -> &Node<Token> {
        &self.node
    }

    /// The index of the next step.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Makes the next step; `see` gets what the node asks for. `false` at the end of the log.
    ///
    /// # Errors
    ///
    /// The step gave something else than when it was recorded.
    pub fn step(&mut self, see: &mut dyn FnMut(&Output<Token>)) -> Result<bool, Divergence> {
        let Some(step) = self.log.steps.get(self.at) else {
            return Ok(false);
        };
        let mut digest = Digest::new();
        for _ in 0..step.times {
            step.input.apply(&mut self.node, &mut digest, see);
        }
        let replayed = digest.value();
        if replayed != step.digest {
            return Err(Divergence {
                step: self.at,
                recorded: step.digest,
                replayed,
            });
        }
        core::hash::Hasher::write_u64(&mut self.digest, replayed);
        self.at += 1;
        Ok(true)
    }
}

/// Replays a whole log on a fresh node.
///
/// # Errors
///
/// The log cannot be replayed, or a step gave something else than when it was recorded; the first
/// one is named.
pub fn replay(log: &Log) -> Result<Replay, ReplayError> {
    let mut replayer = Replayer::new(log)?;
    while replayer.step(&mut |_| ()).map_err(ReplayError::Diverged)? {}
    Ok(Replay {
        steps: replayer.at,
        digest: replayer.digest.value(),
        node: replayer.node,
    })
}
