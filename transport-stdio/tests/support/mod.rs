//! What the tests with real children share: a node driven by poll(2) in the test's own thread, and
//! a test binary that starts itself in a role.
#![allow(dead_code, unreachable_pub, unused_imports)]

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use bytes::Bytes;
use switchboard_os::Attachment;
use switchboard_os::engine::{Actor, Adopt, Side};
use switchboard_os::process::{InheritError, parent_link};
pub use switchboard_os::test_util::{PATIENCE, eventually, sleep_forever};
use switchboard_proto::{
    Answer, Config, Delivery, DeliveryKind, Event, Message, MessageId, NamespaceId, Outcome,
    RequestId, RequestOptions, Role, SendOptions, Target,
};
use switchboard_stdio::StopLadder;
use switchboard_stdio::supervise::Ending;
use switchboard_stdio::{Backoff, Child, ChildEvent, Exited, Restart, Spawn};

pub const MAIN: NamespaceId = switchboard_os::test_util::Pump::NAMESPACE;

/// The variable that makes a test binary a child of a test.
pub const ROLE: &str = "STDIO_TEST_ROLE";

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

/// A node driven by poll(2), as parent or child.
#[derive(Debug)]
pub struct Pump(switchboard_os::test_util::Pump);

impl Deref for Pump {
    type Target = switchboard_os::test_util::Pump;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Pump {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
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
        Self(switchboard_os::test_util::Pump::new(config, handlers))
    }

    /// How many descriptors it waits for.
    pub fn source_count(&mut self) -> usize {
        self.register();
        self.sources.len()
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

    pub fn request(&mut self, to: &Child, event: &'static str, payload: &[u8]) -> RequestId {
        self.request_with(Target::Named(to.name().clone()), event, payload, Vec::new())
    }

    pub fn request_with(
        &mut self,
        target: Target,
        event: &'static str,
        payload: &[u8],
        attachments: Vec<Attachment>,
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

    pub fn answer(&mut self, delivery: &Delivery<Attachment>, payload: &[u8]) {
        let DeliveryKind::Request { ticket, .. } = delivery.kind else {
            return;
        };
        let answer = Answer::value(0, Bytes::copy_from_slice(payload));
        // Its requester may have ended by now.
        let _ = self.engine.reply(ticket, answer);
        self.engine.flush();
    }

    /// The outcome of a request, taken out of the events.
    pub fn take_outcome(&mut self, id: RequestId) -> Option<Outcome<Attachment>> {
        let is_it = |event: &Event<Attachment>| matches!(event, Event::Outcome { request, .. } if *request == id);
        let at = self.events.iter().position(is_it)?;
        match self.events.remove(at) {
            Event::Outcome { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    #[track_caller]
    pub fn outcome(&mut self, id: RequestId) -> Outcome<Attachment> {
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
    pub fn serve(&mut self, mut handler: impl FnMut(&mut Self, Delivery<Attachment>)) {
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
    fn adopt(self, actor: Box<dyn Actor>) {
        self.engine.host(actor);
    }
}

pub fn message(
    target: Target,
    event: &'static str,
    payload: &[u8],
    attachments: Vec<Attachment>,
) -> Message<Attachment> {
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

/// Whether a process with this id exists, be it a zombie.
pub fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// A ladder for tests that have to climb it.
pub fn short() -> StopLadder {
    StopLadder {
        finish_grace: Duration::from_millis(50),
        close_grace: Duration::from_millis(50),
        term_grace: Duration::from_millis(50),
        ..StopLadder::default()
    }
}

/// How the supervision of a child ends.
#[track_caller]
pub fn ending(pump: &mut Pump, child: &switchboard_stdio::Child) -> Ending {
    pump.child_event("the end", child, |event| match event {
        ChildEvent::Ended(ending) => Some(ending),
        _ => None,
    })
}

/// A program that is not ours, in a shell.
pub fn shell(script: &str) -> Spawn {
    Spawn::new("/bin/sh").arg("-c").arg(script).name("worker")
}
