//! The randomness that a node is born with.

use std::fmt;
use std::io;

/// Two independent seeds of 32 random bytes from the system.
///
/// Neither `Clone` nor `Copy`: two nodes with one seed would have the same instance and the same
/// keys.
pub struct Seeds {
    /// For what the node chooses: ids, jitter, the order of ties. May be recorded, so that a run
    /// can be replayed.
    pub behaviour: [u8; 32],
    /// For keys. Never recorded, never shown.
    pub secret: [u8; 32],
}

impl Seeds {
    /// Draws both from the system's generator.
    ///
    /// # Errors
    ///
    /// Only where the system has no entropy source at all (`getrandom` refused by a sandbox and no
    /// `/dev/urandom`). Early at boot it waits until the kernel's pool is ready.
    pub fn from_system() -> io::Result<Self> {
        let mut seeds = Self {
            behaviour: [0; 32],
            secret: [0; 32],
        };
        getrandom::fill(&mut seeds.behaviour).map_err(io::Error::other)?;
        getrandom::fill(&mut seeds.secret).map_err(io::Error::other)?;
        Ok(seeds)
    }
}

impl fmt::Debug for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seeds").finish_non_exhaustive()
    }
}
