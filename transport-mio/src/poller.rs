//! The board's own poller: one descriptor for all of its sources.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Poll, Registry, Token, Waker};
use switchboard_os::engine::{Engine, Interest, SourceChange, SourceId};

/// How many reports one call of the kernel brings; the poller is asked again when that many came.
const BATCH: usize = 256;
/// No source has this number.
const WAKE: Token = Token(usize::MAX);

/// What waits. A blocking handle takes it out of the board while it does, so that others can use
/// the board meanwhile.
#[derive(Debug)]
pub(crate) struct Poller {
    poll: Poll,
    events: Events,
}

/// What changes what is waited for, from any thread, also while the poller waits.
#[derive(Debug)]
pub(crate) struct Handle {
    registry: Registry,
    waker: Arc<Waker>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<(Self, Handle)> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Arc::new(Waker::new(&registry, WAKE)?);
        let events = Events::with_capacity(BATCH);
        Ok((Self { poll, events }, Handle { registry, waker }))
    }

    /// Waits. A signal ends the wait early, which does no harm.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            result => result,
        }
    }

    /// Tells the engine what the last wait brought, and asks on until the kernel has no more: an
    /// edge that is left there would keep no outer poller awake, and a small batch would favour
    /// the busy sources.
    pub(crate) fn report(&mut self, engine: &mut Engine) -> io::Result<()> {
        loop {
            let mut count = 0;
            for event in &self.events {
                count += 1;
                if event.token() != WAKE {
                    report(event, engine);
                }
            }
            self.events.clear();
            if count < BATCH {
                return Ok(());
            }
            self.wait(Some(Duration::ZERO))?;
        }
    }
}

impl Handle {
    /// Carries out what the engine wants to wait for.
    pub(crate) fn update(&self, engine: &mut Engine) {
        while let Some(change) = engine.next_source() {
            let (source, result) = match change {
                SourceChange::Added {
                    source,
                    fd,
                    interest,
                } => (source, self.add(source, fd, interest)),
                SourceChange::Changed {
                    source,
                    fd,
                    interest,
                } => (source, self.change(source, fd, interest)),
                SourceChange::Removed { fd, .. } => {
                    // It is not there only if the poller never took it.
                    let _ = self.registry.deregister(&mut SourceFd(&fd));
                    continue;
                }
            };
            if let Err(error) = result {
                engine.refused(source, error);
            }
        }
    }

    /// Ends the present or the next wait.
    pub(crate) fn wake(&self) {
        // It fails only where its descriptor does not work, and then nothing here does.
        let _ = self.waker.wake();
    }

    fn add(&self, source: SourceId, fd: RawFd, interest: Interest) -> io::Result<()> {
        let token = Token(source.index());
        self.registry
            .register(&mut SourceFd(&fd), token, wanted(interest))
    }

    fn change(&self, source: SourceId, fd: RawFd, interest: Interest) -> io::Result<()> {
        let token = Token(source.index());
        self.registry
            .reregister(&mut SourceFd(&fd), token, wanted(interest))
    }
}

impl AsFd for Handle {
    /// The registry is a duplicate of the poller's descriptor, and polls as that does.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.registry.as_fd()
    }
}

fn wanted(interest: Interest) -> mio::Interest {
    match (interest.readable, interest.writable) {
        (true, true) => mio::Interest::READABLE | mio::Interest::WRITABLE,
        (false, true) => mio::Interest::WRITABLE,
        _ => mio::Interest::READABLE,
    }
}

fn report(event: &Event, engine: &mut Engine) {
    let source = SourceId::from_index(event.token().0);
    if event.is_read_closed() || event.is_write_closed() || event.is_error() {
        engine.closed(source);
    } else {
        engine.ready(source, event.is_readable(), event.is_writable());
    }
}
