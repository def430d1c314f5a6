//! Events to a worker that does not exist yet.

use anyhow::{Result, ensure};
use serde::Serialize;

use super::stage::Stage;
use super::words::{HEARD, NOTE, Note};
use crate::args::Transport;

/// How many events are sent.
const EVENTS: u64 = 1000;

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Late {
    /// Events sent before the worker was started.
    pub sent: u64,
    /// Bytes that waited for it.
    pub waited_bytes: u64,
    /// Events that it got.
    pub arrived: u64,
    /// Of those: what had come before.
    pub duplicated: u64,
    /// Of those: what came when another one was due.
    pub reordered: u64,
}

/// Sends the events to the name, starts a worker of that name, and asks it.
///
/// # Errors
///
/// The worker did not get them all, in order.
pub fn run(stage: &mut Stage, name: &str) -> Result<Late> {
    ensure!(stage.up(name).is_none(), "{name} is there already");
    for n in 0..EVENTS {
        let note = Note {
            n,
            filler: String::new(),
        };
        stage.board().emit(NOTE, &note).to(name).send()?;
    }
    let waited_bytes = stage.board().buffered();
    ensure!(waited_bytes > 0, "nothing waits for {name}");
    stage.start(name, Transport::Unix)?;
    stage.wait_up(&[name])?;
    let own = super::own_key(stage)?;
    // Behind the events: first in, first out.
    let seen = stage.ask(HEARD, &own, name)?;
    ensure!(
        seen.count == EVENTS,
        "{name} heard {} of {EVENTS}",
        seen.count
    );
    Ok(Late {
        sent: EVENTS,
        waited_bytes,
        arrived: seen.count,
        duplicated: seen.duplicated,
        reordered: seen.reordered,
    })
}
