//! What the program was started with.

use std::error::Error;

use bytes::Bytes;
use switchboard_mio::Raw;
use switchboard_mio::name::{Call, Event};

/// Is answered with what it brings.
pub(crate) const ASK: Call<Raw, Raw> = Call::new("ask");
/// Is counted.
pub(crate) const TELL: Event<Raw> = Event::new("tell");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    Mio,
    /// The handle of mio's board that blocks.
    Blocking,
    Smol,
    /// The driver of smol's peer beside the program's own future, in one thread.
    Split,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Requests and replies, this many outstanding.
    Ask(usize),
    /// One way.
    Tell,
    /// Descriptors, this many outstanding.
    Descriptors(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Does nothing but be the hub.
    Hub,
    Server,
    Client,
}

#[derive(Clone, Debug)]
pub(crate) struct Args {
    pub(crate) driver: Driver,
    pub(crate) role: Role,
    pub(crate) work: Work,
    /// Whether the server is a member of a hub, and not the hub.
    pub(crate) through_hub: bool,
    pub(crate) address: String,
    pub(crate) count: u64,
    pub(crate) payload: Raw,
}

impl Args {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut driver = Driver::Mio;
        let mut role = None;
        let (mut work, mut place, mut transport) = (String::from("W1"), None, String::from("uds"));
        let mut count = 1000;
        while let Some(word) = words.next() {
            let value = words
                .next()
                .ok_or_else(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--driver" if value == "smol" => driver = Driver::Smol,
                "--driver" if value == "mio" => driver = Driver::Mio,
                "--driver" if value == "blocking" => driver = Driver::Blocking,
                "--driver" if value == "split" => driver = Driver::Split,
                "--role" => role = Some(value),
                "--work" => work = value,
                "--addr" => place = Some(value),
                "--n" => count = value.parse()?,
                "--transport" => transport = value,
                "--subs" | "--id" => {}
                _ => return Err(format!("cannot understand {word} {value}").into()),
            }
        }
        let role = match role.as_deref() {
            Some("hub") => Role::Hub,
            Some("server") => Role::Server,
            Some("client") => Role::Client,
            other => return Err(format!("no role of this program: {other:?}").into()),
        };
        let (kind, size) = match work.as_str() {
            "W1" | "W6a" => (Work::Ask(1), 64),
            "W2" | "W6b" => (Work::Ask(64), 64),
            "W3" => (Work::Tell, 64),
            "W4a" => (Work::Tell, 64 << 10),
            "W4b" => (Work::Tell, 1 << 20),
            "W7" => (Work::Descriptors(32), 64),
            other => return Err(format!("no work of this program: {other}").into()),
        };
        let payload: Vec<u8> = (0..=255).cycle().take(size).collect();
        Ok(Self {
            driver,
            role,
            work: kind,
            through_hub: work.starts_with("W6"),
            address: address(&transport, &place.ok_or("--addr is missing")?)?,
            count,
            payload: Raw::from(Bytes::from(payload)),
        })
    }

    /// Requests before those that are measured.
    pub(crate) fn warm_up(&self) -> u64 {
        (self.count / 10).min(1000)
    }
}

/// The place is a path that is free to use, and ends in the number of a free port.
fn address(transport: &str, place: &str) -> Result<String, Box<dyn Error>> {
    let port = place.rsplit('.').next().unwrap_or_default();
    match transport {
        "uds" => Ok(format!("unix:{place}.sock")),
        "tcp" => Ok(format!("tcp://127.0.0.1:{}", port.parse::<u16>()?)),
        other => Err(format!("no transport: {other}").into()),
    }
}
