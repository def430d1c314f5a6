//! A directory for the sockets of a demonstration or a measurement.

use std::path::Path;

use anyhow::{Result, anyhow};
use switchboard_mio::Address;
use switchboard_os::Advised;
use tempfile::TempDir;

/// The longest name of a file that is put there.
const LONGEST: &str = "bench.sock";

/// A directory of its own, short enough for a socket's name. It goes with its owner, also where a
/// signal ends that; only after a `kill -9` it stays, where the system puts away what is old.
///
/// # Errors
///
/// It cannot be made, and which variable names another place.
pub fn directory() -> Result<TempDir> {
    let directory = made_in(&std::env::temp_dir())?;
    match Address::unix(directory.path().join(LONGEST)) {
        Ok(_) => Ok(directory),
        Err(_) => made_in(Path::new("/tmp")),
    }
}

fn made_in(at: &Path) -> Result<TempDir> {
    let made = tempfile::Builder::new()
        .prefix("switchboard-")
        .tempdir_in(at);
    made.map_err(|error| {
        anyhow!(
            "making a directory in {} failed: {}; TMPDIR names another place for it",
            at.display(),
            Advised(&error)
        )
    })
}
