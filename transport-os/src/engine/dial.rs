//! Reaching the hub when the node asks for it.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use switchboard_proto::{DialId, Instant, LinkOrigin};

use super::Engine;
use super::fault::EngineFault;
use super::source::{Held, Interest, Owner, SourceId, SourceTable};
use crate::{Address, ConnectError, Connected, Connecting, Stream};

/// How long a connection may take to stand. The kernel would try for two minutes, in which a hub
/// that came back could not be found.
const LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Dialler {
    pub(super) address: Option<Address>,
    attempt: Option<Attempt>,
    /// Why the first attempt cannot succeed.
    pub(super) impossible: Option<ConnectError>,
    begun: bool,
}

#[derive(Debug)]
struct Attempt {
    id: DialId,
    connecting: Connecting,
    /// `None` once the poller spoke. To look at the outcome may close the descriptor, so it is done
    /// in the next turn, when the driver has taken it out.
    source: Option<SourceId>,
    until: Instant,
}

impl Dialler {
    pub(super) fn ready(&mut self, sources: &mut SourceTable) {
        if let Some(attempt) = &mut self.attempt
            && let Some(source) = attempt.source.take()
        {
            sources.remove(source, Held::Elsewhere);
        }
    }

    /// Gives up the attempt that is under way; there is no address for another.
    pub(super) fn stop(&mut self, sources: &mut SourceTable) {
        self.address = None;
        if let Some(Attempt {
            connecting,
            source: Some(source),
            ..
        }) = self.attempt.take()
        {
            sources.remove(source, Held::Connecting(Arc::new(connecting)));
        }
    }

    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.attempt
            .as_ref()
            .map(|attempt| attempt.connecting.as_fd())
    }

    pub(super) fn has_more(&self) -> bool {
        let attempt = self.attempt.as_ref();
        attempt.is_some_and(|attempt| attempt.source.is_none())
    }

    pub(super) fn ends_at(&self) -> Option<Instant> {
        self.attempt.as_ref().map(|attempt| attempt.until)
    }
}

impl Engine {
    pub(super) fn begin_dial(&mut self, id: DialId) {
        self.stats.dials += 1;
        let now = self.now();
        let Some(address) = &self.dialler.address else {
            return self.node.dial_failed(now, id);
        };
        match Stream::connect(address) {
            Ok(connecting) => self.look(id, connecting, now + LIMIT),
            Err(error) => self.connect_failed(id, error),
        }
        self.dialler.begun = true;
    }

    pub(super) fn finish_dial(&mut self) {
        if self.dialler.attempt.is_none() {
            return;
        }
        let now = self.now();
        let late = |attempt: &Attempt| attempt.until <= now;
        if self.dialler.attempt.as_ref().is_some_and(late) {
            self.dialler.ready(&mut self.sources);
        }
        let ready = self
            .dialler
            .attempt
            .take_if(|attempt| attempt.source.is_none());
        match ready {
            None => {}
            Some(attempt) if self.sources.has_changes() => self.dialler.attempt = Some(attempt),
            Some(attempt) => self.look(attempt.id, attempt.connecting, attempt.until),
        }
    }

    /// Takes the connection if it stands, and else waits for it.
    fn look(&mut self, id: DialId, connecting: Connecting, until: Instant) {
        match connecting.finish() {
            Ok(Connected::Done(stream)) => {
                self.add_stream(stream, LinkOrigin::Dialled(id));
            }
            Ok(Connected::Pending(connecting) | Connected::Next(connecting)) => {
                if until <= self.now() {
                    // An attempt exists only where there is an address.
                    if let Some(address) = self.dialler.address.clone() {
                        self.dial_failed(id, EngineFault::ConnectTimeout { address });
                    }
                    return;
                }
                let interest = Interest::WRITE;
                let source = Some(self.sources.add(&connecting, Owner::Dial, interest));
                self.dialler.attempt = Some(Attempt {
                    id,
                    connecting,
                    source,
                    until,
                });
            }
            Err(error) => self.connect_failed(id, error),
        }
    }

    fn connect_failed(&mut self, id: DialId, error: ConnectError) {
        if !error.is_permanent() {
            return self.dial_failed(id, EngineFault::Connect(error));
        }
        if self.dialler.begun {
            self.faults.push(EngineFault::Connect(error));
        } else {
            self.dialler.impossible = Some(error);
        }
        let now = self.now();
        self.node.dial_impossible(now, id);
    }

    fn dial_failed(&mut self, id: DialId, fault: EngineFault) {
        self.faults.push(fault);
        let now = self.now();
        self.node.dial_failed(now, id);
    }
}
