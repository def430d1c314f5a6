//! The engine's descriptors in async-io's reactor.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_io::Async;
use switchboard_os::engine::{Engine, Interest, SourceChange, SourceId};

use crate::wakeups::{Key, KeyWaker, Wakeups};

/// A change, with what it needs of the engine: it is carried out without the lock.
#[derive(Debug)]
pub(crate) enum Change {
    Added(SourceId, Interest, io::Result<OwnedFd>),
    Changed(SourceId, Interest),
    Removed(SourceId),
}

/// What the reactor said of a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) source: SourceId,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// By the number of the source.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    table: Vec<Option<Registered>>,
}

#[derive(Debug)]
struct Registered {
    /// A duplicate: the reactor wants an owner, and the connection itself is the engine's. Nothing
    /// is read or written through it.
    io: Async<OwnedFd>,
    interest: Interest,
    key: Arc<KeyWaker>,
    waker: Waker,
}

/// Takes the engine's changes, each new descriptor as a duplicate.
pub(crate) fn collect(engine: &mut Engine, changes: &mut Vec<Change>) {
    while let Some(change) = engine.next_source() {
        match change {
            SourceChange::Added {
                source, interest, ..
            } => {
                if let Some(descriptor) = engine.descriptor(source) {
                    let copy = descriptor.try_clone_to_owned();
                    changes.push(Change::Added(source, interest, copy));
                }
            }
            SourceChange::Changed {
                source, interest, ..
            } => changes.push(Change::Changed(source, interest)),
            // The engine's descriptor closes at the next call, the duplicate when this is applied.
            SourceChange::Removed { source, .. } => changes.push(Change::Removed(source)),
        }
    }
}

impl Sources {
    /// Carries out a change and begins to wait. Where the reactor does not take a descriptor, the
    /// engine has to know.
    pub(crate) fn apply(
        &mut self,
        change: Change,
        wakeups: &Arc<Wakeups>,
    ) -> Result<(), (SourceId, io::Error)> {
        let source = match change {
            Change::Added(source, interest, descriptor) => {
                let io = descriptor
                    .and_then(Async::new_nonblocking)
                    .map_err(|error| (source, error))?;
                let key = KeyWaker::new(Key::Source(source), wakeups);
                let waker = Waker::from(Arc::clone(&key));
                if self.table.len() <= source.index() {
                    self.table.resize_with(source.index() + 1, || None);
                }
                self.table[source.index()] = Some(Registered {
                    io,
                    interest,
                    key,
                    waker,
                });
                source
            }
            Change::Changed(source, interest) => {
                if let Some(registered) = self.get(source) {
                    registered.interest = interest;
                }
                source
            }
            Change::Removed(source) => {
                if let Some(slot) = self.table.get_mut(source.index()) {
                    *slot = None;
                }
                return Ok(());
            }
        };
        self.arm(source).map_err(|error| (source, error))
    }

    /// Waits for the source again, after what it reported was dealt with: before that, the reactor
    /// would report the same once more.
    pub(crate) fn arm(&mut self, source: SourceId) -> io::Result<()> {
        let Some(registered) = self.get(source) else {
            return Ok(());
        };
        registered.key.looked_at();
        let report = registered.look()?;
        if report.0 || report.1 {
            // It was ready already: looked at with the next that the driver takes.
            registered.waker.wake_by_ref();
        }
        Ok(())
    }

    /// What the reactor says of a source that woke the driver.
    pub(crate) fn report(&mut self, source: SourceId) -> Option<Report> {
        let registered = self.get(source)?;
        registered.key.looked_at();
        // An error of the reactor shows as readiness: the engine's own read or write then says more.
        let (readable, writable) = registered.look().unwrap_or((true, true));
        (readable || writable).then_some(Report {
            source,
            readable,
            writable,
        })
    }

    fn get(&mut self, source: SourceId) -> Option<&mut Registered> {
        self.table.get_mut(source.index())?.as_mut()
    }
}

impl Registered {
    /// Whether it is readable and writable; what it is not, the reactor waits for from now on.
    fn look(&self) -> io::Result<(bool, bool)> {
        let mut cx = Context::from_waker(&self.waker);
        let mut is_ready = |wanted: bool, poll: fn(&Async<OwnedFd>, &mut Context<'_>) -> Ready| {
            if !wanted {
                return Ok(false);
            }
            match poll(&self.io, &mut cx) {
                Poll::Ready(done) => done.map(|()| true),
                Poll::Pending => Ok(false),
            }
        };
        let readable = is_ready(self.interest.readable, Async::poll_readable)?;
        let writable = is_ready(self.interest.writable, Async::poll_writable)?;
        Ok((readable, writable))
    }
}

type Ready = Poll<io::Result<()>>;
