//! Data to stdout, talk to stderr.

use std::io::{self, Write};

use anyhow::{Result, anyhow};
use serde::Serialize;
use switchboard_os::Advised;

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
        _ => anyhow!("writing to stdout: {}", Advised(&error)),
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
///
/// Others chose some of the words, and may not steer the terminal: only ends of lines stay as they
/// are.
pub fn talk(text: &str) {
    let lines = text.split('\n').map(visible);
    let text = lines.collect::<Vec<_>>().join("\n");
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Text on one line in which nothing steers a terminal: control characters are spelled out.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    shown
}
