//! `demo`: what the library does, shown with real processes and checked at every step.

mod census;
mod crew;
mod http;
mod kill;
mod late;
mod requests;
mod stage;
mod stopped;
mod table;
mod words;
pub mod worker;

use std::cell::Cell;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;
use switchboard_mio::{Address, Board};

use crate::args::{Demo, Global, Transport};
use crate::end::{self, End, Failure};
use crate::print;
use crate::scratch;
use crate::session::Session;
use census::Census;
use crew::Plan;
use stage::Stage;
use table::{Findings, Table};

/// Who plays.
const CREW: [(&str, Transport); 6] = [
    ("worker/1", Transport::Unix),
    ("worker/2", Transport::Unix),
    ("worker/3", Transport::Socketpair),
    ("worker/4", Transport::Socketpair),
    ("worker/5", Transport::Pipe),
    ("worker/6", Transport::Pipe),
];

/// Plays all acts and counts.
///
/// # Errors
///
/// Something is not as it must be.
pub fn run(global: &Global, _: &Demo) -> Result<End> {
    let begin = Instant::now();
    let story = Story {
        told: !global.json,
        quiet: global.json || global.quiet,
        begun: Cell::new(false),
    };
    let table = crew::warm_up()
        .and_then(|()| Census::take())
        .and_then(|before| {
            let found = play(&story)?;
            Ok((found, before, Census::take()?))
        })
        .and_then(|(found, before, after)| {
            let seconds = begin.elapsed().as_secs_f64();
            let table = Table::new(found, seconds, before, after);
            table.check().map(|()| table)
        });
    match table {
        Ok(table) if global.json => print::object(&table)?,
        Ok(table) => {
            story.act("Result")?;
            for line in table.lines() {
                print::line(&line)?;
            }
            print::line(&format!(
                "\nEverything held. It took {:.1} s.",
                table.seconds
            ))?;
        }
        Err(error) => return fail(global, error),
    }
    Ok(End::Done)
}

/// Says what did not hold.
fn fail(global: &Global, error: anyhow::Error) -> Result<End> {
    let is_fault = match error.downcast_ref::<Failure>() {
        Some(failure) => !matches!(failure.end, End::Done | End::Signal(_)),
        None => true,
    };
    if !is_fault || !global.json {
        return Err(error.context("the demonstration failed"));
    }
    print::object(&json!({ "ok": false, "error": end::text(&error) }))?;
    Ok(End::Failed)
}

/// What is told while it happens.
struct Story {
    told: bool,
    quiet: bool,
    begun: Cell<bool>,
}

impl Story {
    fn act(&self, title: &str) -> Result<()> {
        match self.told {
            true if self.begun.replace(true) => print::line(&format!("\n{title}")),
            true => print::line(title),
            false => Ok(()),
        }
    }

    fn say(&self, text: &str) -> Result<()> {
        match self.told {
            true => print::line(&format!("   {text}")),
            false => Ok(()),
        }
    }
}

/// The stage is gone when this returns, with or without an error: processes, directory, connections.
fn play(story: &Story) -> Result<Findings> {
    let directory = scratch::directory()?;
    let log = directory.path().join("jobs");
    let address = Address::unix(directory.path().join("hub.sock"))?.to_string();
    let board = Board::builder().name("hub").listen(&address)?;
    let session = Session::around(board, story.quiet)?;
    let mut stage = Stage::new(session, Plan::new(address, &log)?);
    stage.board().ready();

    start(&mut stage, story).context("starting the workers")?;
    let requests = ask(&mut stage, story).context("asking the workers")?;
    let http = hand_over(&mut stage, story).context("handing over a socket")?;
    let kill = kill(&mut stage, story, &log).context("killing a worker")?;
    let late = late(&mut stage, story).context("sending to a worker that is not there")?;
    let stopped = stopped(&mut stage, story).context("stopping a worker")?;

    let processes = stage.workers.len() as u64 + stage.restarts();
    stage.close().context("ending the workers")?;
    directory.close().context("removing the directory")?;
    Ok(Findings {
        requests,
        http,
        kill,
        late,
        stopped,
        processes,
    })
}

fn start(stage: &mut Stage, story: &Story) -> Result<()> {
    story.act("1. Six workers, each a process of its own")?;
    story.say(&format!(
        "this process, {}, is their hub",
        std::process::id()
    ))?;
    for (name, transport) in CREW {
        stage.start(name, transport)?;
    }
    stage.wait_up(&CREW.map(|(name, _)| name))?;
    for (name, transport) in CREW {
        let pid = stage.worker(name)?.pid().context("it does not run")?;
        let peer = stage.up(name).context("it is not up")?;
        let how = match transport {
            Transport::Unix => "joined by the address of a unix socket",
            Transport::Socketpair => "started with a socketpair",
            _ => "started with a pair of pipes",
        };
        let who = format!("{}#{}", peer.id, peer.generation);
        story.say(&format!("{name} is peer {who}, process {pid}, {how}"))?;
    }
    Ok(())
}

fn ask(stage: &mut Stage, story: &Story) -> Result<requests::Requests> {
    story.act("2. Ten thousand requests, each answer checked")?;
    let found = requests::run(stage, story.quiet)?;
    let rate = found.answered as f64 / found.took.as_secs_f64();
    story.say(&format!(
        "{} asked, {} answered rightly and once, in {:.2} s ({rate:.0} a second)",
        found.asked,
        found.answered,
        found.took.as_secs_f64()
    ))?;
    Ok(found)
}

fn hand_over(stage: &mut Stage, story: &Story) -> Result<http::Http> {
    story.act("3. A listening TCP socket moves to another process")?;
    let found = http::run(stage, "worker/5", "worker/3")?;
    let http::Http {
        address,
        pid,
        bytes,
    } = found;
    story.say("to worker/5: refused, as pipes carry no descriptors, and the socket came back")?;
    story.say(&format!("to worker/3: process {pid} has {address} now"))?;
    story.say(&format!(
        "GET http://{address}/ was answered by it, {bytes} bytes, each as expected"
    ))?;
    Ok(found)
}

fn kill(stage: &mut Stage, story: &Story, log: &Path) -> Result<kill::Kill> {
    story.act("4. kill -9 in the middle of a thousand requests")?;
    let found = kill::run(stage, "worker/4", log)?;
    story.say(&format!(
        "reply {}   failed {}   not run {}   unknown {}   (sum {})",
        found.reply, found.failed, found.not_run, found.unknown, found.requests
    ))?;
    story.say(&format!(
        "what the worker wrote down agrees: answered ones ran once, \"not run\" ones never, of \
         the unknown ones {} had begun",
        found.unknown_begun
    ))?;
    story.say(&format!(
        "worker/4 was peer {}, and is back as {}",
        found.before, found.after
    ))?;
    Ok(found)
}

fn late(stage: &mut Stage, story: &Story) -> Result<late::Late> {
    story.act("5. A thousand events to a worker that does not exist yet")?;
    let found = late::run(stage, "late/1")?;
    story.say(&format!(
        "{} events waited ({} bytes); late/1 was started and got {}, in order",
        found.sent, found.waited_bytes, found.arrived
    ))?;
    Ok(found)
}

fn stopped(stage: &mut Stage, story: &Story) -> Result<stopped::Stopped> {
    story.act("6. A worker that stands still (SIGSTOP) stops nobody else")?;
    let found = stopped::run(stage, "worker/2", "worker/1")?;
    story.say(&format!(
        "worker/2 stands: the hub could send it {} events of 8 KiB, worker/1 {}; then",
        found.accepted_of_hub, found.accepted_of_worker
    ))?;
    story.say(&format!("\"{}\", with the message back", found.refusal))?;
    story.say(&format!(
        "held for it at the hub: {} of at most {} bytes",
        found.held_bytes, found.cap_bytes
    ))?;
    story.say(&format!(
        "meanwhile the others asked each other {} times and got {} right answers",
        found.others_asked, found.others_answered
    ))?;
    story.say(&format!(
        "worker/2 goes on: {} events arrived, in order, none lost",
        found.arrived
    ))?;
    Ok(found)
}

/// This peer, as others see it in what it sends.
fn own_key(stage: &mut Stage) -> Result<String> {
    let identity = stage.board().identity();
    let (id, generation) = identity.ok_or_else(|| anyhow!("the hub has no identity"))?;
    Ok(format!("{id}#{generation}"))
}
