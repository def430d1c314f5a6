//! Data to stdout, talk to stderr.

use std::io::{self, Write};

use serde::Serialize;

/// Writes one line of data to stdout, at once: a reader in a pipe wants it now.
///
/// # Errors
///
/// What the system says; a reader that has gone away is `BrokenPipe`, no panic.
pub fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes bytes of data to stdout as they are, and a newline.
///
/// # Errors
///
/// As [`line`].
pub fn raw_line(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes an object to stdout, on one line.
///
/// # Errors
///
/// As [`line`].
pub fn object<T: Serialize>(value: &T) -> io::Result<()> {
    line(&serde_json::to_string(value)?)
}

/// Says something to the person at the terminal. Where nobody hears it, the work goes on.
pub fn talk(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
