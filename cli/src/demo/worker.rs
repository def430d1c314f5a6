//! A worker of the demonstration: a process of its own, with the blocking handle.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use switchboard_mio::codec::{self, CodecId};
use switchboard_mio::{Board, Cx, Fault, Peer, RequestError, SendError, Sender};

use super::words::{
    Done, FAULT_CODE, FLOOD, Flood, Flooded, GOSSIP, Gossip, HEARD, JOB, Job, NOTE, Note, REPORT,
    SERVE_HTTP, Seen, WORK, Work,
};
use crate::args::DemoWorker;
use crate::end::End;

/// How long the hub may take to be there.
const ATTACHMENT: Duration = Duration::from_secs(10);
/// How often a worker looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);
/// What a job takes. It sleeps in place of working.
const JOB_TAKES: Duration = Duration::from_micros(100);

/// What came, by sender.
type Book = Arc<Mutex<BTreeMap<String, Seen>>>;

/// Works until its hub is gone.
///
/// # Errors
///
/// No hub, or no place to write down what was done.
pub fn run(args: &DemoWorker) -> Result<End> {
    let builder = Board::builder().name(&args.name);
    let board = match &args.join {
        Some(address) => builder.join(address),
        None => builder.parent(),
    };
    let peer = board.context("no way to the hub")?.blocking();
    answer(&peer, args)?;
    hear(&peer)?;
    peer.ready();
    peer.connected(ATTACHMENT)?;
    while peer.is_connected() {
        peer.serve_for(LOOK);
    }
    Ok(End::Done)
}

/// The requests.
fn answer(peer: &Peer, args: &DemoWorker) -> Result<()> {
    let by = args.name.clone();
    let asked = Book::default();
    let asked_too = Arc::clone(&asked);
    let work = move |cx: Cx, work: Work| {
        book(&asked)
            .entry(key(cx.from()))
            .or_default()
            .note(work.order);
        Ok(Done {
            square: work.n * work.n,
            order: work.order,
            by: by.clone(),
        })
    };
    let report = move |cx: Cx, (): ()| Ok(seen(&asked_too, &key(cx.from())));
    let log = OpenOptions::new().append(true).create(true).open(&args.log);
    let log = log.with_context(|| format!("{}", args.log.display()))?;
    let name = args.name.clone();

    peer.on(WORK, work).forever();
    peer.on(REPORT, report).forever();
    let job = move |job: Job| run_job(&log, &job);
    peer.on(JOB, job).forever();
    let http = move |cx: Cx, (): ()| serve_http(&cx, name.clone());
    peer.on(SERVE_HTTP, http).forever();
    peer.on(GOSSIP, gossip).forever();
    peer.on(FLOOD, flood).forever();
    Ok(())
}

/// The events.
fn hear(peer: &Peer) -> Result<()> {
    let heard = Book::default();
    let heard_too = Arc::clone(&heard);
    let note = move |cx: Cx, note: Note| {
        book(&heard).entry(key(cx.from())).or_default().note(note.n);
        Ok(())
    };
    peer.on(NOTE, note).forever();
    let tell = move |from: String| Ok(seen(&heard_too, &from));
    peer.on(HEARD, tell).forever();
    Ok(())
}

fn key(sender: Sender) -> String {
    sender.to_string()
}

fn book(book: &Book) -> MutexGuard<'_, BTreeMap<String, Seen>> {
    // Counting cannot fail half-way.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seen(from: &Book, key: &str) -> Seen {
    book(from).get(key).cloned().unwrap_or_default()
}

/// Writes the number down first: a job that is in the file has begun, whatever happened then. What
/// `write` has taken is the kernel's and survives the death of the process.
fn run_job(mut log: &File, job: &Job) -> Result<u64, Fault> {
    log.write_all(&job.n.to_le_bytes())?;
    thread::sleep(JOB_TAKES);
    match job.n % 10 {
        9 => Err(Fault::new("every tenth job fails").with_code(FAULT_CODE)),
        _ => Ok(job.n),
    }
}

fn serve_http(cx: &Cx, name: String) -> Result<u32, Fault> {
    let Some(descriptor) = cx.take_fd() else {
        return Err(Fault::new("no listener came with the request"));
    };
    let listener = TcpListener::from(descriptor);
    // Answering must not wait for a browser; a worker that is stopped takes the thread with it.
    thread::Builder::new().spawn(move || {
        let served = listener
            .accept()
            .and_then(|(stream, _)| serve_one(stream, &name));
        if let Err(error) = served {
            eprintln!("{name}: serving HTTP failed: {error}");
        }
    })?;
    Ok(std::process::id())
}

fn serve_one(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && request.len() < 8192 {
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    stream.write_all(super::http::response(name, std::process::id()).as_bytes())
}

/// Asks from inside of a handler, while others may ask this worker.
fn gossip(cx: Cx, gossip: Gossip) -> Result<u64, Fault> {
    let mut right = 0;
    for order in 0..gossip.rounds {
        for name in &gossip.peers {
            let work = Work { n: order, order };
            let asked = cx.peer().request(WORK, &work).to(name.as_str()).wait();
            let done: Done = asked.map_err(|error: RequestError| fault(name, &error))?;
            right += u64::from(done.square == order * order && done.by == *name);
        }
    }
    Ok(right)
}

fn fault(name: &str, error: &RequestError) -> Fault {
    Fault::new(format!("asking {name}: {error}"))
}

/// Sends until one is refused, and looks whether that one came back as it was.
fn flood(cx: Cx, flood: Flood) -> Result<Flooded, Fault> {
    let filler = "x".repeat(flood.size);
    for n in 0.. {
        let note = Note {
            n,
            filler: filler.clone(),
        };
        let sent = cx.peer().emit(NOTE, &note).to(flood.to.as_str()).send();
        match sent {
            Ok(_) => {}
            Err(error) if error.is_full() => {
                return Ok(Flooded {
                    accepted: n,
                    refusal: error.to_string(),
                    given_back: came_back(error, &note),
                });
            }
            Err(error) => return Err(Fault::new(error.to_string())),
        }
    }
    Err(Fault::new("nothing was ever refused"))
}

/// Whether a refusal gives back the note that was to be sent.
pub fn came_back(error: SendError, note: &Note) -> bool {
    let message = error.into_message();
    message.is_some_and(|message| {
        let decoded = codec::decode::<Note>(CodecId(message.codec), &message.payload);
        decoded.is_ok_and(|back| back == *note)
    })
}
