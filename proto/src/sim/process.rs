//! One simulated process: a node, its connections, its application, and the driver between them,
//! which does what a real one does and nothing else.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::app::{App, Stage};
use super::handle::{FakeFd, Registry};
use super::kernel::{End, Kernel, Marks, ReadResult, Room, StreamKind, WriteResult};
use super::model::{Model, Process};
use super::rng::Rng;
use crate::id::LinkId;
use crate::link::Written;
use crate::node::{Hangup, LinkConfig, Read};
use crate::output::{DialId, Output, Wake};
use crate::time::Instant;
use crate::trace::Recorder;

/// Bytes that a driver reads of one link in one turn, so that no link starves the others.
const READ_BUDGET: usize = 64 * 1024;
/// Outputs of one turn. A node that has more is in a loop.
const OUTPUT_BUDGET: usize = 200_000;

/// What all processes of a world share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) now: Instant,
    pub(super) kernel: Kernel,
    pub(super) registry: Registry,
    pub(super) model: Model,
    pub(super) marks: Marks,
    pub(super) dials: Vec<Dial>,
    pub(super) draws: Rng,
    pub(super) next_uid: u64,
}

/// An attempt to reach the hub, until it succeeds or fails.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dial {
    pub(super) at: Instant,
    pub(super) slot: usize,
    pub(super) process: Process,
    pub(super) dial: DialId,
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) slot: usize,
    pub(super) node: Recorder<FakeFd>,
    pub(super) app: App,
    lines: BTreeMap<LinkId, Line>,
    wake: Option<Wake>,
    /// When timers were fired since the node was last drained.
    fired: Option<Instant>,
    /// The process is stopped until then.
    pub(super) paused: Option<Instant>,
    /// Outputs until it dies, then where and after how long the next process starts.
    pub(super) fuse: Option<(u64, usize, Duration)>,
    /// How many outputs it has carried out.
    pub(super) outputs: u64,
    room: Room,
}

/// A connection of the process.
#[derive(Clone, Copy, Debug)]
struct Line {
    end: End,
    kind: StreamKind,
    blocked: bool,
    /// The end of its input has been told.
    ended: bool,
}

/// The process burned its fuse in the middle of a turn.
pub(super) struct Died;

impl Running {
    pub(super) fn new(process: Process, slot: usize, node: Recorder<FakeFd>, app: App) -> Self {
        Self {
            process,
            slot,
            node,
            app,
            lines: BTreeMap::new(),
            wake: None,
            fired: None,
            paused: None,
            fuse: None,
            outputs: 0,
            room: Room::FULL,
        }
    }

    /// Gives the node a connection.
    pub(super) fn connect(
        &mut self,
        shared: &mut Shared,
        end: End,
        kind: StreamKind,
        config: LinkConfig,
    ) {
        let link = self.node.add_link(shared.now, config);
        let line = Line {
            end,
            kind,
            blocked: false,
            ended: false,
        };
        if self.lines.insert(link, line).is_some() {
            shared.model.fail(format!("{link:?} was given twice"));
        }
    }

    /// One turn of the driver: read what has come, write where that has become possible, fire what is
    /// due, run the application, and carry out what the node asks. Whether anything happened.
    pub(super) fn turn(&mut self, shared: &mut Shared) -> Result<bool, Died> {
        if self.paused.is_some_and(|until| until > shared.now) {
            return Ok(false);
        }
        self.paused = None;
        let mut busy = self.read_all(shared);
        busy |= self.write_again(shared)?;
        busy |= self.fire(shared);
        busy |= self.drain(shared)?;
        busy |= self.app.run(&mut stage(shared), &mut self.node);
        busy |= self.drain(shared)?;
        Ok(busy)
    }

    /// When the process wants to run by itself.
    pub(super) fn next_time(&self, now: Instant) -> Option<Instant> {
        if let Some(until) = self.paused {
            return Some(until);
        }
        let wake = self.wake.map(|wake| wake.at);
        let times = [wake, self.app.next_time(now)];
        times.into_iter().flatten().min()
    }

    /// The connections of a kind.
    pub(super) fn ends(&self, kind: StreamKind) -> Vec<End> {
        let lines = self.lines.values().filter(|line| line.kind == kind);
        lines.map(|line| line.end).collect()
    }

    /// The process dies: its kernel closes what it had open.
    pub(super) fn die(self, shared: &mut Shared) {
        shared.model.died(shared.now, self.process);
        for line in self.lines.values() {
            shared.kernel.close(shared.now, line.end);
        }
    }

    fn read_all(&mut self, shared: &mut Shared) -> bool {
        let mut busy = false;
        let links: Vec<LinkId> = self.lines.keys().copied().collect();
        for link in links {
            let mut budget = READ_BUDGET;
            while budget > 0
                && let Some(line) = self.lines.get_mut(&link).filter(|line| !line.ended)
            {
                let (now, process) = (shared.now, self.process.0);
                match shared.kernel.read(now, line.end, process, self.room) {
                    ReadResult::Blocked => break,
                    ReadResult::Data {
                        bytes,
                        attachments,
                        truncated,
                    } => {
                        budget = budget.saturating_sub(bytes.len());
                        let read = Read {
                            bytes,
                            attachments,
                            truncated,
                        };
                        // A link that these bytes end is unknown from here on; `Close` follows.
                        line.ended = self.node.handle_read(now, link, read).is_err();
                    }
                    ReadResult::End => {
                        line.ended = true;
                        let _ = self.node.handle_hangup(now, link, Hangup::End);
                    }
                    ReadResult::Reset => {
                        line.ended = true;
                        let _ = self.node.handle_hangup(now, link, Hangup::Reset);
                    }
                }
                busy = true;
            }
        }
        busy
    }

    fn write_again(&mut self, shared: &mut Shared) -> Result<bool, Died> {
        let now = shared.now;
        let due = |(link, line): (&LinkId, &Line)| {
            let ready = line.blocked && shared.kernel.writable(now, line.end);
            ready.then_some(*link)
        };
        let links: Vec<LinkId> = self.lines.iter().filter_map(due).collect();
        for link in &links {
            self.write(shared, *link)?;
        }
        Ok(!links.is_empty())
    }

    fn fire(&mut self, shared: &mut Shared) -> bool {
        let due = self.wake.is_some_and(|wake| wake.at <= shared.now);
        if due {
            self.node.handle_timeout(shared.now);
            self.fired = Some(shared.now);
        }
        due
    }

    /// Carries out what the node asks until it asks for nothing. Whether it asked for anything.
    fn drain(&mut self, shared: &mut Shared) -> Result<bool, Died> {
        let mut asked = 0;
        loop {
            let output = self.node.poll();
            if !matches!(output, Output::Idle(_)) {
                self.burn()?;
            }
            match output {
                Output::Event(event) => {
                    self.app.event(&mut stage(shared), &mut self.node, event);
                }
                Output::Dial(dial) => self.dial(shared, dial),
                Output::Write(link) => self.write(shared, link)?,
                Output::Close(link) => {
                    if let Some(line) = self.lines.remove(&link) {
                        shared.kernel.close(shared.now, line.end);
                    }
                }
                Output::Idle(wake) => {
                    self.idle(shared, wake);
                    return Ok(asked > 0);
                }
            }
            asked += 1;
            if asked > OUTPUT_BUDGET {
                let what = format!("{:?} never comes to rest at {:?}", self.process, shared.now);
                shared.model.fail(what);
                return Ok(false);
            }
        }
    }

    /// After `handle_timeout(now)` the next deadline must be later than `now`: a driver that sleeps
    /// until a deadline that has passed never sleeps.
    fn idle(&mut self, shared: &mut Shared, wake: Option<Wake>) {
        let fired = self.fired.take();
        if let (Some(wake), Some(fired)) = (wake, fired)
            && wake.at <= fired
        {
            let what = format!("{:?} fired and wants {wake:?} again", self.process);
            shared.model.fail(what);
        }
        self.wake = wake;
    }

    fn dial(&mut self, shared: &mut Shared, dial: DialId) {
        let delay = Duration::from_nanos(shared.draws.range(20_000..=2_000_000));
        shared.dials.push(Dial {
            at: shared.now + delay,
            slot: self.slot,
            process: self.process,
            dial,
        });
    }

    /// Writes the committed plan of a link until it is gone or the kernel takes no more.
    fn write(&mut self, shared: &mut Shared, link: LinkId) -> Result<(), Died> {
        let Some(line) = self.lines.get_mut(&link) else {
            shared
                .model
                .fail(format!("{link:?} is to be written, but was closed"));
            return Ok(());
        };
        line.blocked = false;
        let end = line.end;
        while let Some(batch) = self.node.write_batch(link) {
            let most = shared.kernel.appetite(end);
            let mut bytes = Vec::new();
            for slice in batch.slices() {
                bytes.extend_from_slice(&slice[..slice.len().min(most - bytes.len())]);
            }
            let attachments: Vec<&FakeFd> = batch.attachments().iter().collect();
            let result = shared.kernel.write(shared.now, end, &bytes, &attachments);
            let written = match result {
                WriteResult::Wrote(count) => Written::Wrote(count),
                WriteResult::Blocked => Written::Blocked,
                WriteResult::TooManyReferences => Written::NoAttachmentRoom,
                WriteResult::BrokenPipe | WriteResult::Reset => Written::Failed,
                WriteResult::Invalid => {
                    let count = attachments.len();
                    let what = format!("{count} attachments over {end:?} are impossible");
                    shared.model.fail(what);
                    Written::Failed
                }
            };
            if let Err(error) = self.node.handle_written(shared.now, link, written) {
                shared.model.fail(format!("{:?}: {error}", self.process));
            }
            self.burn()?;
            if matches!(written, Written::Wrote(_)) {
                continue;
            }
            // After `NoAttachmentRoom` the node asks again by itself: no readiness tells when.
            if let Some(line) = self.lines.get_mut(&link) {
                line.blocked = written == Written::Blocked;
            }
            break;
        }
        Ok(())
    }

    /// One output nearer to the end of the fuse.
    fn burn(&mut self) -> Result<(), Died> {
        self.outputs += 1;
        match &mut self.fuse {
            Some((0, ..)) => Err(Died),
            Some((left, ..)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// What the application sees of the world.
pub(super) fn stage(shared: &mut Shared) -> Stage<'_> {
    Stage {
        now: shared.now,
        model: &mut shared.model,
        marks: &mut shared.marks,
        registry: &shared.registry,
        next_uid: &mut shared.next_uid,
    }
}
