//! The raw side of a measurement: two processes, blocking reads and writes, and nothing else.
//!
//! - `call`: a message there and the same message back.
//! - `emit`: messages in one direction. One at a time, each is confirmed with a byte; more are
//!   written so many to a system call, and the reader counts them.
//! - `fds`: a message with a descriptor, confirmed with a byte.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use switchboard_os::process::{Channel, Child, SpawnSpec, Stderr, parent_channel};
use tempfile::TempDir;

use super::pin::{Pinned, go_to};
use super::raw_line::Line;
use super::samples::{Round, Samples};
use super::{PATIENCE, Side, work_name};
use crate::args::{Bench, BenchRaw, Transport, Work};
use crate::end::End;
use crate::scratch;
use crate::signals::Signals;

/// How many bytes may be on their way before the answer is read. Less than a pipe holds, so that
/// two blocking ends never wait for each other.
const AHEAD: usize = 32 * 1024;

/// What one system call moves.
const CHUNK: usize = 64 * 1024;

/// A message that begins with this is the last one of a round of events.
const LAST: u8 = 1;

/// This end and the other process.
#[derive(Debug)]
pub struct RawSide {
    line: Line,
    child: Child,
    _directory: Option<TempDir>,
}

impl RawSide {
    /// Starts the other process and connects.
    ///
    /// # Errors
    ///
    /// It does not come.
    pub fn start(args: &Bench, pinned: &Pinned) -> Result<Self> {
        let mut spec = SpawnSpec::new(std::env::current_exe()?)
            .args(["__bench-raw", work_name(args.work), "--size"])
            .arg(args.size.to_string())
            .args(pinned.words())
            .stderr(Stderr::Inherit);
        if args.transport == Transport::Pipe {
            spec = spec.channel(Channel::Pipes);
        }
        if args.concurrency == 1 {
            spec = spec.arg("--confirm");
        }
        let mut directory = None;
        let (child, line) = match args.transport {
            Transport::Unix => {
                let made = scratch::directory()?;
                let path = made.path().join("raw.sock");
                let listener = UnixListener::bind(&path)?;
                let address = format!("unix:{}", path.display());
                directory = Some(made);
                let child = spec.arg("--join").arg(address).spawn()?;
                await_readable(&listener)?;
                (child, Line::of_socket(listener.accept()?.0.into()))
            }
            Transport::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                let address = format!("tcp://{}", listener.local_addr()?);
                let child = spec.arg("--join").arg(address).spawn()?;
                await_readable(&listener)?;
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                (child, Line::of_socket(stream.into()))
            }
            Transport::Socketpair | Transport::Pipe => {
                let mut child = spec.spawn()?;
                let channel = child.take_channel().context("the channel of the child")?;
                (child, Line::of_channel(channel)?)
            }
        };
        Ok(Self {
            line,
            child,
            _directory: directory,
        })
    }

    /// Ends the other process.
    ///
    /// # Errors
    ///
    /// None; it is killed where it does not end.
    pub fn stop(self) -> Result<()> {
        drop(self.line);
        drop(self.child);
        Ok(())
    }

    fn calls(&self, args: &Bench, time: Duration, signals: &Signals) -> Result<Samples> {
        let size = args.size;
        let most = (AHEAD / size).clamp(1, args.concurrency as usize);
        let batch = vec![b'x'; most * size];
        let mut back = vec![0; CHUNK.max(size)];
        let mut samples = Samples::begin()?;
        let (mut under_way, mut partial) = (0, 0);
        let mut begins = std::collections::VecDeque::new();
        loop {
            let over = samples.is_over(time);
            if !over && under_way < most {
                let more = most - under_way;
                begins.push_back((Instant::now(), more));
                self.line.write_all(&batch[..more * size])?;
                under_way = most;
            }
            if under_way == 0 {
                return Ok(samples);
            }
            signals.check()?;
            let count = self.line.read(&mut back)?;
            ensure!(count > 0, "the other end is gone");
            partial += count;
            let mut done = partial / size;
            partial %= size;
            under_way -= done;
            while done > 0 {
                let (begin, left) = begins.front_mut().context("an answer to nothing")?;
                let now = done.min(*left);
                samples.record_many(*begin, now as u64);
                *left -= now;
                done -= now;
                if *left == 0 {
                    begins.pop_front();
                }
            }
        }
    }

    fn events(&self, args: &Bench, time: Duration, signals: &Signals) -> Result<Samples> {
        let size = args.size;
        let most = match args.concurrency {
            1 => 1,
            many => (CHUNK / size).clamp(1, many as usize),
        };
        let batch = vec![b'x'; most * size];
        let mut samples = Samples::begin()?;
        let mut sent = 0;
        while !samples.is_over(time) {
            signals.check()?;
            let begin = Instant::now();
            self.line.write_all(&batch)?;
            if args.concurrency == 1 {
                ensure!(self.line.read_exact(&mut [0])?, "the other end is gone");
            }
            samples.record_many(begin, most as u64);
            sent += most as u64;
        }
        let mut last = vec![b'x'; size];
        last[0] = LAST;
        self.line.write_all(&last)?;
        if args.concurrency == 1 {
            ensure!(self.line.read_exact(&mut [0])?, "the other end is gone");
        }
        let mut counted = [0; 8];
        ensure!(self.line.read_exact(&mut counted)?, "the other end is gone");
        samples.lost = sent - u64::from_le_bytes(counted);
        Ok(samples)
    }

    fn descriptors(&self, args: &Bench, time: Duration, signals: &Signals) -> Result<Samples> {
        let null = File::open("/dev/null")?;
        let message = vec![b'x'; args.size];
        let most = (AHEAD / args.size).clamp(1, args.concurrency as usize);
        let mut samples = Samples::begin()?;
        let mut begins = std::collections::VecDeque::new();
        let mut confirmed = [0; 64];
        loop {
            let over = samples.is_over(time);
            while !over && begins.len() < most {
                begins.push_back(Instant::now());
                self.line.send_with(&message, null.as_fd())?;
            }
            if begins.is_empty() {
                return Ok(samples);
            }
            signals.check()?;
            let count = self.line.read(&mut confirmed)?;
            ensure!(count > 0, "the other end is gone");
            for begin in begins.drain(..count) {
                samples.record(begin);
            }
        }
    }
}

impl Side for RawSide {
    fn round(&mut self, args: &Bench, time: Duration, signals: &Signals) -> Result<Round> {
        let samples = match args.work {
            Work::Call => self.calls(args, time, signals)?,
            Work::Emit => self.events(args, time, signals)?,
            Work::Fds => self.descriptors(args, time, signals)?,
        };
        Ok(samples.finish())
    }
}

/// The other process.
///
/// # Errors
///
/// What the system says.
pub fn run(args: &BenchRaw) -> Result<End> {
    go_to(args.processor);
    let line = match &args.join {
        Some(address) => Line::connect(address)?,
        None => Line::of_channel(parent_channel()?)?,
    };
    match args.work {
        Work::Call => echo(&line, args.size)?,
        Work::Emit => count(&line, args.size, args.confirm)?,
        Work::Fds => take(&line, args.size)?,
    }
    Ok(End::Done)
}

/// Gives back whole messages.
fn echo(line: &Line, size: usize) -> Result<()> {
    let mut buffer = vec![0; CHUNK.max(size)];
    let mut filled = 0;
    loop {
        let count = line.read(&mut buffer[filled..])?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        let whole = filled - filled % size;
        line.write_all(&buffer[..whole])?;
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
}

/// Counts messages, and tells the number after the last one of a round.
fn count(line: &Line, size: usize, confirm: bool) -> Result<()> {
    let mut buffer = vec![0; CHUNK.max(size)];
    let (mut filled, mut counted) = (0, 0_u64);
    loop {
        let count = line.read(&mut buffer[filled..])?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        let whole = filled - filled % size;
        for message in buffer[..whole].chunks_exact(size) {
            if confirm {
                line.write_all(&[1])?;
            }
            if message[0] == LAST {
                line.write_all(&counted.to_le_bytes())?;
                counted = 0;
            } else {
                counted += 1;
            }
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
}

/// Closes descriptors.
fn take(line: &Line, size: usize) -> Result<()> {
    let mut buffer = vec![0; size];
    while let Some(descriptor) = line.receive_with(&mut buffer)? {
        drop(descriptor);
        line.write_all(&[1])?;
    }
    Ok(())
}

/// Waits for the other process to connect.
fn await_readable(listener: &impl AsFd) -> Result<()> {
    let timeout = Timespec::try_from(PATIENCE)?;
    let ready = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&timeout))?;
    ensure!(
        ready > 0,
        "waited {PATIENCE:?} in vain for the other process to connect"
    );
    Ok(())
}
