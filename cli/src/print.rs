//! Data to stdout, talk to stderr.

use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;

use crate::end::{End, Failure};

/// Writes one line of data to stdout, at once: a reader in a pipe wants it now.
///
/// # Errors
///
/// What the system says. A reader that has had enough, as in `switchboard on hello | head -n 1`, is
/// the end of the command and no fault.
pub fn line(text: &str) -> Result<()> {
    raw_line(text.as_bytes())
}

/// Writes bytes of data to stdout as they are, and a newline.
///
/// # Errors
///
/// As [`line()`].
pub fn raw_line(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    let result = out
        .write_all(bytes)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    written(result)
}

/// What became of a write to stdout.
///
/// # Errors
///
/// As [`line()`].
pub fn written(result: io::Result<()>) -> Result<()> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(End::Done, "nobody reads stdout").into(),
        _ => anyhow::Error::new(error).context("writing to stdout"),
    })
}

/// Writes an object to stdout, on one line.
///
/// # Errors
///
/// As [`line()`].
pub fn object<T: Serialize>(value: &T) -> Result<()> {
    line(&serde_json::to_string(value)?)
}

/// Says something to the person at the terminal. Where nobody hears it, the work goes on.
pub fn talk(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
