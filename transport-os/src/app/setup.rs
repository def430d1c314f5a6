//! What a peer is told before it begins, whichever driver turns it.

use switchboard_proto::codec::CodecTable;
use switchboard_proto::{Config, PeerName};

/// How many handlers of one peer run at the same time, if nothing else is said.
const HANDLERS: usize = 64;

/// What every builder asks for.
#[derive(Debug)]
pub struct Setup {
    /// Limits and intervals.
    pub config: Config,
    /// The name, not yet looked at.
    pub name: Option<String>,
    /// Which codecs there are, and which is used where.
    pub codecs: CodecTable,
    /// How many handlers run at the same time.
    pub handlers: usize,
}

/// The string can be no peer's name.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} can be no peer's name: write 1 to 64 bytes without NUL and `#`")]
pub struct BadName(pub String);

impl Setup {
    /// Puts the name into the configuration.
    ///
    /// # Errors
    ///
    /// It can be none.
    pub fn check_name(&mut self) -> Result<(), BadName> {
        if let Some(name) = self.name.take() {
            let checked = PeerName::new(&name);
            self.config.name = Some(checked.ok_or(BadName(name))?);
        }
        Ok(())
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: Config::default(),
            name: None,
            codecs: CodecTable::new(),
            handlers: HANDLERS,
        }
    }
}

crate::debug_says!(BadName);
