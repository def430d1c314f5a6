//! What the tests with real children share: a node driven by poll(2) in the test's own thread, and
//! a test binary that starts itself in a role.
#![allow(dead_code, unreachable_pub)]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use switchboard_os::engine::{
    Actor, Adopt, Engine, Interest, NotTheHub, Side, SourceChange, SourceId,
};
use switchboard_os::process::{InheritError, parent_link};
use switchboard_proto::{
    Answer, Config, Delivery, DeliveryKind, Event, Message, MessageId, Names, NamespaceId, Outcome,
    RequestId, RequestOptions, Role, SendOptions, Target,
};
use switchboard_stdio::{Backoff, Child, ChildEvent, Exited, Restart, Spawn};

pub const MAIN: NamespaceId = NamespaceId(0);

/// The variable that makes a test binary a child of a test.
pub const ROLE: &str = "STDIO_TEST_ROLE";

/// No wait of a test is longer; what takes this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `$main(role)` instead of the tests if the binary was started in a role.
///
/// It happens before `main`, by an entry in `.init_array`, whose functions the loader of an ELF file
/// runs first: so the test harness prints nothing and takes no arguments.
#[macro_export]
macro_rules! run_role_before_main {
    ($main:path) => {
        #[used]
        #[unsafe(link_section = ".init_array")]
        static ROLE_BEFORE_MAIN: extern "C" fn() = {
            extern "C" fn enter() {
                if let Ok(role) = std::env::var($crate::support::ROLE) {
                    $main(&role);
                    std::process::exit(0);
                }
            }
            enter
        };
    };
}

/// A child that is this test binary in that role.
pub fn role(role: &str) -> Spawn {
    Spawn::new(std::env::current_exe().unwrap())
        .name("worker")
        .env(ROLE, role)
}

/// A restart after each failure, at once.
pub fn at_once(restarts: u32) -> Restart {
    Restart::on_failure(restarts).with_backoff(Backoff::fixed(Duration::from_millis(1)))
}

/// A node driven by poll(2).
#[derive(Debug)]
pub struct Pump {
    pub engine: Engine,
    sources: BTreeMap<SourceId, Interest>,
    pub events: Vec<Event<OwnedFd>>,
}

impl Pump {
    /// The parent: hub of its children.
    pub fn hub() -> Self {
        let mut config = Config::default();
        config.role = Role::Hub;
        config.complete_grace = Duration::ZERO;
        Self::new(config, &[])
    }

    /// The child: handles these requests and hears every event.
    pub fn child(handlers: &[&str]) -> Result<Self, InheritError> {
        let parent = parent_link()?;
        let mut config = Config::default();
        config.name = parent.name;
        let mut pump = Self::new(config, handlers);
        pump.engine.adopt(parent.stream, Side::Parent);
        Ok(pump)
    }

    pub fn new(config: Config, handlers: &[&str]) -> Self {
        let mut engine = Engine::new(config).unwrap();
        let now = engine.now();
        let namespace = engine.node().open(now, "_").unwrap();
        assert_eq!(namespace, MAIN);
        let names = Names {
            handlers: handlers.iter().map(|&name| name.into()).collect(),
            listeners: BTreeSet::new(),
            all_events: true,
        };
        engine.node().declare(now, namespace, names).unwrap();
        engine.node().ready_all(now);
        engine.flush();
        Self {
            engine,
            sources: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    fn register(&mut self) {
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

    /// How many descriptors it waits for.
    pub fn source_count(&mut self) -> usize {
        self.register();
        self.sources.len()
    }

    /// Waits, at most so long, and does what is to be done.
    pub fn round(&mut self, within: Duration) {
        self.register();
        let wait = self.engine.timeout().map_or(within, |t| t.min(within));
        let sources: Vec<_> = self.sources.iter().map(|(id, want)| (*id, *want)).collect();
        let ready = {
            let mut fds: Vec<PollFd<'_>> = sources
                .iter()
                .map(|(id, want)| {
                    let fd = self.engine.descriptor(*id).expect("a told source lives");
                    let mut flags = PollFlags::empty();
                    flags.set(PollFlags::IN, want.readable);
                    flags.set(PollFlags::OUT, want.writable);
                    PollFd::from_borrowed_fd(fd, flags)
                })
                .collect();
            // Rounded up, so that a deadline is not polled for in a loop.
            let wait = Timespec::try_from(wait + Duration::from_nanos(1)).unwrap();
            match poll(&mut fds, Some(&wait)) {
                Ok(_) => fds.iter().map(PollFd::revents).collect(),
                Err(rustix::io::Errno::INTR) => Vec::new(),
                Err(error) => panic!("{error}"),
            }
        };
        for ((id, _), flags) in sources.iter().zip(ready) {
            if !flags.is_empty() {
                let end = PollFlags::HUP | PollFlags::ERR;
                let readable = flags.intersects(PollFlags::IN | end);
                let writable = flags.intersects(PollFlags::OUT | end);
                self.engine.ready(*id, readable, writable);
            }
        }
        let _ = self.engine.turn();
        while let Some(event) = self.engine.next_event() {
            self.events.push(event);
        }
    }

    /// Goes on until there is what is asked for.
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let left = give_up.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "never came: {what}; {}", self.heard());
            self.round(left);
        }
    }

    /// What has happened so far, without payloads.
    fn heard(&self) -> String {
        let mut events = self.events.iter().map(|event| {
            let text = format!("{event:?}");
            text.chars().take(200).collect()
        });
        let first: Vec<String> = events.by_ref().take(20).collect();
        format!("{first:#?} and {} more", events.count())
    }

    pub fn recv(&mut self) -> Option<Delivery<OwnedFd>> {
        let now = self.engine.now();
        let delivery = self.engine.node().recv(now, MAIN);
        // Credit for what was taken.
        self.engine.flush();
        delivery
    }

    pub fn request(&mut self, to: &Child, event: &'static str, payload: &[u8]) -> RequestId {
        self.request_with(Target::Named(to.name().clone()), event, payload, Vec::new())
    }

    pub fn request_with(
        &mut self,
        target: Target,
        event: &'static str,
        payload: &[u8],
        attachments: Vec<OwnedFd>,
    ) -> RequestId {
        let options = RequestOptions {
            queue_attachments: true,
            ..RequestOptions::default()
        };
        let message = message(target, event, payload, attachments);
        let id = self.engine.request(message, options).unwrap();
        self.engine.flush();
        id
    }

    pub fn send(&mut self, target: Target, event: &'static str, payload: &[u8]) -> MessageId {
        let message = message(target, event, payload, Vec::new());
        let id = self.engine.send(message, SendOptions::default()).unwrap();
        self.engine.flush();
        id
    }

    pub fn answer(&mut self, delivery: &Delivery<OwnedFd>, payload: &[u8]) {
        let DeliveryKind::Request { ticket, .. } = delivery.kind else {
            return;
        };
        let answer = Answer::value(0, Bytes::copy_from_slice(payload));
        // Its requester may have ended by now.
        let _ = self.engine.reply(ticket, answer);
        self.engine.flush();
    }

    /// The outcome of a request, taken out of the events.
    pub fn take_outcome(&mut self, id: RequestId) -> Option<Outcome<OwnedFd>> {
        let is_it = |event: &Event<OwnedFd>| matches!(event, Event::Outcome { request, .. } if *request == id);
        let at = self.events.iter().position(is_it)?;
        match self.events.remove(at) {
            Event::Outcome { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    #[track_caller]
    pub fn outcome(&mut self, id: RequestId) -> Outcome<OwnedFd> {
        self.until("the outcome of a request", |pump| pump.take_outcome(id))
    }

    /// The payload of the reply to a request.
    #[track_caller]
    pub fn reply(&mut self, id: RequestId) -> Vec<u8> {
        match self.outcome(id) {
            Outcome::Reply { payload, .. } => payload.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// The next event of the child for which `pick` gives something.
    #[track_caller]
    pub fn child_event<T>(
        &mut self,
        what: &str,
        child: &Child,
        mut pick: impl FnMut(ChildEvent) -> Option<T>,
    ) -> T {
        self.until(what, |_| {
            while let Some(event) = child.next_event() {
                if let Some(found) = pick(event) {
                    return Some(found);
                }
            }
            None
        })
    }

    #[track_caller]
    pub fn exited(&mut self, child: &Child) -> Exited {
        self.child_event("the exit", child, |event| match event {
            ChildEvent::Exited(exited) => Some(exited),
            _ => None,
        })
    }

    #[track_caller]
    pub fn ended(&mut self, child: &Child) {
        self.child_event("the end", child, |event| {
            matches!(event, ChildEvent::Ended(_)).then_some(())
        });
    }

    /// Serves until the parent is gone.
    pub fn serve(&mut self, mut handler: impl FnMut(&mut Self, Delivery<OwnedFd>)) {
        self.serve_between(|pump| {
            while let Some(delivery) = pump.recv() {
                handler(pump, delivery);
            }
        });
    }

    /// Does this between all rounds, until the parent is gone.
    pub fn serve_between(&mut self, mut work: impl FnMut(&mut Self)) {
        loop {
            work(self);
            if self
                .events
                .iter()
                .any(|event| matches!(event, Event::GaveUp))
            {
                return;
            }
            self.events.clear();
            self.round(Duration::from_secs(3600));
        }
    }
}

impl Adopt for &mut Pump {
    fn adopt(self, actor: Box<dyn Actor>) -> Result<(), NotTheHub> {
        self.engine.host(actor)
    }
}

pub fn message(
    target: Target,
    event: &'static str,
    payload: &[u8],
    attachments: Vec<OwnedFd>,
) -> Message<OwnedFd> {
    Message {
        target,
        namespace: MAIN,
        event: Cow::Borrowed(event),
        codec: 0,
        payload: Bytes::copy_from_slice(payload),
        attachments,
    }
}

/// A child that answers every request with its payload.
pub fn echo() {
    let mut pump = Pump::child(&["echo"]).unwrap();
    pump.serve(|pump, delivery| pump.answer(&delivery, &delivery.payload.to_bytes()));
}

pub fn sleep_forever() -> ! {
    loop {
        std::thread::park();
    }
}

/// The children of this process, by pid and state, as the kernel lists them.
pub fn children() -> Vec<String> {
    let own = std::process::id();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let lists = tasks.filter_map(|task| {
        let tid = task.ok()?.file_name().into_string().ok()?;
        std::fs::read_to_string(format!("/proc/{own}/task/{tid}/children")).ok()
    });
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .map(String::from)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Waits until something is true that announces itself by no descriptor.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a process with this id exists, be it a zombie.
pub fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}
