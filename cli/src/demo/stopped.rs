//! A worker that stands still, and all the others that do not.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use switchboard_mio::{Config, RequestId, SendError};
use switchboard_os::process::Signal;

use super::stage::Stage;
use super::words::{FLOOD, Flood, Flooded, GOSSIP, Gossip, HEARD, NOTE, Note};
use super::worker::came_back;

/// The weight of an event, in bytes.
const WEIGHT: usize = 8 * 1024;
/// How often each of the others asks each of the others.
const ROUNDS: u64 = 100;
/// As many rounds as have to end within the patience: it judges whether they go on, and not how fast
/// a busy machine is.
const BATCH: u64 = 10;

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Stopped {
    /// The most that may wait for one receiver at a sender, in bytes.
    pub cap_bytes: u64,
    /// What waited at the hub when it was refused more.
    pub held_bytes: u64,
    /// Events that the hub could send before that.
    pub accepted_of_hub: u64,
    /// Events that a worker could send to it before it was refused more.
    pub accepted_of_worker: u64,
    /// Requests that the others made of each other meanwhile.
    pub others_asked: u64,
    /// Those that were answered, rightly.
    pub others_answered: u64,
    /// Events that arrived when the worker went on.
    pub arrived: u64,
    /// Of those: what had come before.
    pub duplicated: u64,
    /// Of those: what came when another one was due.
    pub reordered: u64,
    /// Sent and not arrived.
    pub lost: u64,
    #[serde(skip)]
    /// The words of the refusal.
    pub refusal: String,
}

/// Stops `name`, lets the hub and `other` fill its buffers, has the rest talk, and lets it go on.
///
/// # Errors
///
/// More was held than may be, a message was lost, or the others were disturbed.
pub fn run(stage: &mut Stage, name: &str, other: &str) -> Result<Stopped> {
    let cap_bytes = Config::default().send_buffer;
    stage.worker(name)?.signal(Signal::Stop)?;
    let (accepted_of_hub, refused, refusal) = fill(stage, name)?;
    let held_bytes = stage.board().buffered();
    ensure!(
        held_bytes <= cap_bytes,
        "{held_bytes} bytes are held, and {cap_bytes} may be"
    );
    let flood = Flood {
        to: name.to_owned(),
        size: WEIGHT,
    };
    let flooded: Flooded = stage.ask(FLOOD, &flood, other)?;
    ensure!(
        flooded.given_back,
        "{other} did not get its message back with {:?}",
        flooded.refusal
    );
    let (others_asked, others_answered) = talk(stage, name)?;
    ensure!(
        others_asked == others_answered,
        "{others_answered} of {others_asked} requests among the others were answered"
    );

    let room = stage.room;
    stage.worker(name)?.signal(Signal::Continue)?;
    stage.wait("room in the buffer", |stage| Ok(stage.room > room))?;
    stage.board().emit(NOTE, &refused).to(name).send()?;
    let sent = accepted_of_hub + 1 + flooded.accepted;
    let own = super::own_key(stage)?;
    let keys = [own, key(stage, other)?];
    let mut heard = Vec::new();
    for (key, sent) in keys
        .into_iter()
        .zip([accepted_of_hub + 1, flooded.accepted])
    {
        heard.push(hear(stage, name, &key, sent)?);
    }
    let sum = |part: fn(&super::words::Seen) -> u64| heard.iter().map(part).sum::<u64>();
    let arrived = sum(|seen| seen.count);
    Ok(Stopped {
        cap_bytes,
        held_bytes,
        accepted_of_hub,
        accepted_of_worker: flooded.accepted,
        others_asked,
        others_answered,
        arrived,
        duplicated: sum(|seen| seen.duplicated),
        reordered: sum(|seen| seen.reordered),
        lost: sent.saturating_sub(arrived),
        refusal,
    })
}

/// Sends until one is refused. How many were not, the one that was, and with which words.
fn fill(stage: &mut Stage, name: &str) -> Result<(u64, Note, String)> {
    let filler = "x".repeat(WEIGHT);
    for n in 0.. {
        let note = Note {
            n,
            filler: filler.clone(),
        };
        match stage.board().emit(NOTE, &note).to(name).send() {
            Ok(_) => {}
            Err(error) => return refused(error, n, note),
        }
    }
    anyhow::bail!("nothing was ever refused")
}

fn refused(error: SendError, accepted: u64, note: Note) -> Result<(u64, Note, String)> {
    let words = error.to_string();
    ensure!(error.is_full(), "the event was refused: {words}");
    ensure!(
        came_back(error, &note),
        "the message did not come back with {words:?}"
    );
    Ok((accepted, note, words))
}

/// Has all others ask each other. How many requests that makes, and how many were answered.
fn talk(stage: &mut Stage, silent: &str) -> Result<(u64, u64)> {
    let names = stage.workers.iter().map(|worker| worker.name.clone());
    let names: Vec<String> = names.filter(|name| name != silent).collect();
    let (mut asked, mut answered) = (0, 0);
    for _ in 0..ROUNDS / BATCH {
        let (more_asked, more_answered) = talk_a_while(stage, &names)?;
        asked += more_asked;
        answered += more_answered;
    }
    Ok((asked, answered))
}

fn talk_a_while(stage: &mut Stage, names: &[String]) -> Result<(u64, u64)> {
    let mut asked = 0;
    let mut under_way: BTreeMap<RequestId, &String> = BTreeMap::new();
    for name in names {
        let peers = names.iter().filter(|other| *other != name).cloned();
        let gossip = Gossip {
            peers: peers.collect(),
            rounds: BATCH,
        };
        asked += gossip.peers.len() as u64 * BATCH;
        let request = stage.board().request(GOSSIP, &gossip).to(name.as_str());
        under_way.insert(request.send()?, name);
    }
    let mut answered = 0;
    stage.wait("the others to answer each other", |stage| {
        while let Some((id, outcome, _)) = stage.any_outcome() {
            let name = under_way.remove(&id).context("an outcome of no request")?;
            let right: u64 = outcome
                .decode()
                .with_context(|| format!("{name} could not ask the others"))?;
            answered += right;
        }
        Ok(under_way.is_empty())
    })?;
    Ok((asked, answered))
}

/// Waits until the worker has heard everything of a sender, and gives what it says.
fn hear(stage: &mut Stage, name: &str, key: &String, sent: u64) -> Result<super::words::Seen> {
    let until = std::time::Instant::now() + super::stage::PATIENCE;
    loop {
        let seen = stage.ask(HEARD, key, name)?;
        if seen.count >= sent || std::time::Instant::now() >= until {
            return Ok(seen);
        }
    }
}

fn key(stage: &Stage, name: &str) -> Result<String> {
    let peer = stage
        .up(name)
        .with_context(|| format!("{name} is not up"))?;
    Ok(format!("{}#{}", peer.id, peer.generation))
}
