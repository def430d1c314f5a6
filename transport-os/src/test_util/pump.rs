//! An engine driven by poll(2), in the thread of its test.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use switchboard_proto::{Config, Delivery, Event, Names, NamespaceId};

use crate::Attachment;
use crate::engine::{Engine, Interest, SourceChange, SourceId};

/// An engine with what it waits for and what it said so far.
#[derive(Debug)]
pub struct Pump {
    /// The engine.
    pub engine: Engine,
    /// What it wants to be told of.
    pub sources: BTreeMap<SourceId, Interest>,
    /// What its node has said.
    pub events: Vec<Event<Attachment>>,
}

impl Pump {
    /// The only namespace of a pump.
    pub const NAMESPACE: NamespaceId = NamespaceId(0);

    /// A node that is ready: it handles these requests and hears every event.
    ///
    /// # Panics
    ///
    /// The configuration or a name is none.
    pub fn new(config: Config, handlers: &[&str]) -> Self {
        let mut engine = Engine::new(config).expect("a configuration that works");
        let now = engine.now();
        let namespace = engine.node().open(now, "_").expect("a name");
        assert_eq!(namespace, Self::NAMESPACE, "the first is the first");
        let mut names = Names {
            all_events: true,
            ..Names::default()
        };
        names.handlers = handlers.iter().map(|&name| name.into()).collect();
        let declared = engine.node().declare(now, namespace, names);
        declared.expect("names");
        engine.node().ready_all(now);
        engine.flush();
        Self {
            engine,
            sources: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// Takes what the engine wants to be told of.
    ///
    /// # Panics
    ///
    /// It adds what is there, or changes or removes what is not.
    pub fn register(&mut self) {
        for change in self.engine.sources() {
            match change {
                SourceChange::Added {
                    source, interest, ..
                } => {
                    assert!(self.sources.insert(source, interest).is_none());
                }
                SourceChange::Changed {
                    source, interest, ..
                } => {
                    assert!(self.sources.insert(source, interest).is_some());
                }
                SourceChange::Removed { source, .. } => {
                    assert!(self.sources.remove(&source).is_some());
                }
            }
        }
    }

    /// Waits, at most so long, and does what is to be done. Whether anything was, or is left.
    ///
    /// # Panics
    ///
    /// poll(2) fails.
    pub fn round(&mut self, within: Duration) -> bool {
        self.register();
        let wait = self.engine.timeout().map_or(within, |t| t.min(within));
        let mut any = false;
        for (source, flags) in self.poll(wait) {
            any = true;
            let end = PollFlags::HUP | PollFlags::ERR;
            let readable = flags.intersects(PollFlags::IN | end);
            let writable = flags.intersects(PollFlags::OUT | end);
            self.engine.ready(source, readable, writable);
        }
        let more = self.engine.turn().more;
        while let Some(event) = self.engine.next_event() {
            self.events.push(event);
        }
        self.register();
        any || more
    }

    /// The next message, with credit for its sender.
    pub fn recv(&mut self) -> Option<Delivery<Attachment>> {
        let now = self.engine.now();
        let delivery = self.engine.node().recv(now, Self::NAMESPACE);
        self.engine.flush();
        delivery
    }

    /// What is ready.
    fn poll(&self, wait: Duration) -> Vec<(SourceId, PollFlags)> {
        let mut fds: Vec<PollFd<'_>> = self
            .sources
            .iter()
            .map(|(id, want)| {
                let fd = self.engine.descriptor(*id).expect("a told source lives");
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::IN, want.readable);
                flags.set(PollFlags::OUT, want.writable);
                PollFd::from_borrowed_fd(fd, flags)
            })
            .collect();
        // Rounded up, so that a deadline is not polled for in a loop; without time, only a look.
        let wait = match wait.is_zero() {
            true => Timespec::default(),
            false => Timespec::try_from(wait + Duration::from_nanos(1)).expect("a short time"),
        };
        match poll(&mut fds, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
        let ready = self.sources.keys().zip(&fds);
        let ready = ready.map(|(id, fd)| (*id, fd.revents()));
        ready.filter(|(_, flags)| !flags.is_empty()).collect()
    }
}
