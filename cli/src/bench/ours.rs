//! The library's side of a measurement: the blocking handle, and a process at the other end.

use std::collections::VecDeque;
use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use switchboard_mio::{Board, Peer, PeerName, Pending, Raw, Receipt, SharedFd, Side as LinkSide};
use switchboard_os::process::{Channel, Child, SpawnSpec, Stderr};
use tempfile::TempDir;

use super::peer::{COUNT, ECHO, EVENT, NAME, TAKE};
use super::pin::Pinned;
use super::samples::{Round, Samples};
use super::{PATIENCE, Side};
use crate::args::{Bench, Transport, Work};
use crate::scratch;
use crate::signals::Signals;

/// This process as the hub, and one peer.
#[derive(Debug)]
pub struct Ours {
    peer: Peer,
    child: Child,
    payload: Raw,
    /// Events sent over all rounds.
    sent: u64,
    _directory: Option<TempDir>,
}

impl Ours {
    /// Starts the other process and waits until it is there.
    ///
    /// # Errors
    ///
    /// It does not come.
    pub fn start(args: &Bench, pinned: &Pinned) -> Result<Self> {
        let builder = Board::builder().name("bench");
        let mut directory = None;
        let board = match args.transport {
            Transport::Unix => {
                let made = scratch::directory()?;
                let address = format!("unix:{}/bench.sock", made.path().display());
                directory = Some(made);
                builder.listen(address)?
            }
            Transport::Tcp => builder.listen("tcp://127.0.0.1:0")?,
            Transport::Socketpair | Transport::Pipe => builder.alone()?,
        };
        let address = board.address().map(ToString::to_string);
        let peer = board.blocking();
        peer.ready();
        let mut spec = SpawnSpec::new(std::env::current_exe()?)
            .arg("__bench-peer")
            .args(pinned.words())
            .stderr(Stderr::Inherit);
        if let Some(address) = &address {
            spec = spec.arg("--join").arg(address);
        }
        if args.transport == Transport::Pipe {
            spec = spec.channel(Channel::Pipes);
        }
        let mut child = spec.spawn()?;
        if address.is_none() {
            let channel = child.take_channel().context("the channel of the child")?;
            peer.adopt(channel.into_stream()?, LinkSide::Child);
        }
        let ours = Self {
            peer,
            child,
            payload: Raw(Bytes::from(vec![b'x'; args.size])),
            sent: 0,
            _directory: directory,
        };
        ours.await_peer()?;
        Ok(ours)
    }

    /// Ends the other process.
    ///
    /// # Errors
    ///
    /// None; it is killed where it does not end.
    pub fn stop(self) -> Result<()> {
        self.peer.close();
        drop(self.child);
        Ok(())
    }

    fn await_peer(&self) -> Result<()> {
        let name = PeerName::new(NAME).context("a name")?;
        let until = Instant::now() + PATIENCE;
        loop {
            let peers = self.peer.peers();
            let there = peers.iter().find(|peer| peer.name.as_ref() == Some(&name));
            if there.is_some_and(|peer| peer.is_up && !peer.is_pending("")) {
                return Ok(());
            }
            ensure!(
                Instant::now() < until,
                "waited {PATIENCE:?} in vain for the other process"
            );
            self.peer.serve_for(Duration::from_millis(5));
        }
    }

    /// Requests, so many of them under way.
    fn requests(
        &self,
        args: &Bench,
        time: Duration,
        signals: &Signals,
        send: impl Fn() -> Result<Pending<Raw>>,
    ) -> Result<Samples> {
        let mut samples = Samples::begin()?;
        let mut under_way = VecDeque::new();
        let most = args.concurrency as usize;
        loop {
            let over = samples.is_over(time);
            let cork = self.peer.cork();
            while !over && under_way.len() < most {
                under_way.push_back((Instant::now(), send()?));
            }
            drop(cork);
            let Some((begin, pending)) = under_way.pop_front() else {
                return Ok(samples);
            };
            signals.check()?;
            self.record(args, begin, pending, &mut samples);
            // What came with it makes room for as many more, which then begin together.
            while under_way.front().is_some_and(|(_, next)| next.is_done()) {
                if let Some((begin, pending)) = under_way.pop_front() {
                    self.record(args, begin, pending, &mut samples);
                }
            }
        }
    }

    fn record(&self, args: &Bench, begin: Instant, pending: Pending<Raw>, samples: &mut Samples) {
        match pending.wait() {
            Ok(reply) if args.work == Work::Fds || reply == self.payload => samples.record(begin),
            _ => samples.errors += 1,
        }
    }

    fn calls(&self, args: &Bench, time: Duration, signals: &Signals) -> Result<Samples> {
        self.requests(args, time, signals, || {
            let request = self.peer.request::<_, Raw>(ECHO, &self.payload).to(NAME);
            request
                .deadline(PATIENCE)
                .send()
                .map_err(|e| anyhow!("{e}"))
        })
    }

    fn descriptors(&self, args: &Bench, time: Duration, signals: &Signals) -> Result<Samples> {
        let null = SharedFd::new(File::open("/dev/null")?);
        self.requests(args, time, signals, || {
            let request = self.peer.request::<_, Raw>(TAKE, &self.payload).to(NAME);
            let request = request.attach(&null).deadline(PATIENCE);
            request.send().map_err(|error| anyhow!("{error}"))
        })
    }

    /// Events: one at a time and each confirmed, or as many as there is room for.
    fn events(&mut self, args: &Bench, time: Duration, signals: &Signals) -> Result<Samples> {
        let mut samples = Samples::begin()?;
        let cork = (args.concurrency > 1).then(|| self.peer.cork());
        while !samples.is_over(time) {
            signals.check()?;
            let begin = Instant::now();
            let emit = self.peer.emit(EVENT, &self.payload).to(NAME);
            let sent = match args.concurrency {
                1 => emit.receipt(Receipt::Delivered).wait(),
                _ => emit.wait(),
            };
            match sent {
                Ok(_) => {
                    self.sent += 1;
                    samples.record(begin);
                }
                Err(_) => samples.errors += 1,
            }
        }
        drop(cork);
        let counted = self.peer.request::<_, u64>(COUNT, &()).to(NAME);
        let counted = counted.deadline(PATIENCE).wait()?;
        samples.lost = self.sent.saturating_sub(counted);
        self.sent = counted;
        Ok(samples)
    }
}

impl Side for Ours {
    fn round(&mut self, args: &Bench, time: Duration, signals: &Signals) -> Result<Round> {
        let samples = match args.work {
            Work::Call => self.calls(args, time, signals)?,
            Work::Emit => self.events(args, time, signals)?,
            Work::Fds => self.descriptors(args, time, signals)?,
        };
        Ok(samples.finish())
    }
}
