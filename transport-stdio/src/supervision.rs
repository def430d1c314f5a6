//! The supervision of one child at work: it lives in the loop of a node, carries out what the
//! [`Supervisor`] decides, and tells it what happens.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use switchboard_os::engine::{Actor, Adopt, LinkEnd, Next, SourceId, Stage};
use switchboard_os::process::{self, Exit, Signal, SpawnSpec};
use switchboard_proto::{Hangup, Instant, LinkId};

use crate::event::{ChildEvent, Disconnected, Exited, LinkFault};
use crate::shared::{Shared, Wish};
use crate::stderr::{Left, Stderr, StderrLine};
use crate::supervise::{Action, StopSignal, Supervisor};

/// The part of a [`Child`](crate::Child) that belongs into the loop of a node: it starts the
/// process, makes the connection a link of the node, and sees what becomes of both.
///
/// The child is first started when it is adopted. Dropping it ends the process as
/// [`Spawn::on_drop`](crate::Spawn::on_drop) says.
#[must_use = "the child is started when a node adopts this"]
#[derive(Debug)]
pub struct Supervision {
    spec: SpawnSpec,
    supervisor: Supervisor,
    shared: Arc<Shared>,
    hello_within: Duration,
    lines_per_second: Option<u32>,
    begun: bool,
    attempt: u32,
    run: Option<Run>,
    /// Whether the link is closed as soon as nothing is under way over it.
    finishing: bool,
}

/// How often it is looked whether a child that is to stop has finished: nobody tells an actor of each
/// message that ends.
const FINISHED_LOOK: Duration = Duration::from_millis(5);

/// How long the end of a link waits for the exit of the process before it is told. The kernel closes
/// the descriptors of a process that ends before it says that it has ended.
const EXIT_FOLLOWS: Duration = Duration::from_millis(100);

/// One run of the child.
#[derive(Debug)]
struct Run {
    pid: u32,
    since: Instant,
    link: Option<LinkId>,
    attached: bool,
    first_bytes: Vec<u8>,
    /// The end of the link, and when it is told unless the process has ended by then.
    cut: Option<(Instant, Disconnected)>,
    hello_by: Option<Instant>,
    /// Whether that time passed without a hello.
    silent: bool,
    /// `None` once the exit was seen.
    exit_source: Option<SourceId>,
    exit: Option<(Exit, Duration)>,
    stderr: Option<Stderr>,
    stderr_source: Option<SourceId>,
}

impl Supervision {
    pub(crate) fn new(
        spec: SpawnSpec,
        supervisor: Supervisor,
        shared: Arc<Shared>,
        hello_within: Duration,
        lines_per_second: Option<u32>,
    ) -> Self {
        Self {
            spec,
            supervisor,
            shared,
            hello_within,
            lines_per_second,
            begun: false,
            attempt: 0,
            run: None,
            finishing: false,
        }
    }

    /// Lets it live in the loop of this node, and starts the child: `adopt_into(&mut board)`,
    /// `adopt_into(&peer)`. Does not wait for the start.
    pub fn adopt_into(self, node: impl Adopt) {
        node.adopt(Box::new(self));
    }

    fn begin(&mut self, stage: &mut Stage<'_>) {
        if !std::mem::replace(&mut self.begun, true) {
            stage.watch(Arc::clone(&self.shared.waker) as _);
            // It is started once, by this line.
            let _ = self.supervisor.start(stage.now());
        }
    }

    fn hear_wishes(&mut self, now: Instant) -> ControlFlow<()> {
        match self.shared.wish() {
            Wish::Run => {}
            Wish::Stop => self.supervisor.stop(now),
            Wish::Kill => self.supervisor.kill(now),
            Wish::Release => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn hear_start(&mut self, stage: &mut Stage<'_>) {
        let now = stage.now();
        let told = match self.shared.take_start() {
            None => return,
            Some(Ok(child)) => {
                let told = self.supervisor.handle_spawned(now);
                if told.is_ok() {
                    self.run_begins(stage, child);
                }
                told
            }
            Some(Err(error)) => {
                self.shared.tell(ChildEvent::SpawnFailed(error));
                self.supervisor.handle_spawn_failed(now)
            }
        };
        debug_assert!(told.is_ok(), "one start, one answer: {told:?}");
    }

    fn run_begins(&mut self, stage: &mut Stage<'_>, mut child: process::Child) {
        let now = stage.now();
        let pid = child.id();
        // Adopting cannot fail: the channel is as it was made. Without a link the child is ended.
        let stream = child.take_channel().and_then(|end| end.into_stream().ok());
        let link = stream.map(|stream| stage.adopt(stream));
        let lines = self.lines_per_second;
        let stderr = child.take_stderr().map(|pipe| Stderr::new(pipe, lines));
        let stderr_source = stderr
            .as_ref()
            .map(|stderr| stage.watch(stderr.pipe() as _));
        let exit_source = Some(stage.watch(child.exit_descriptor() as _));
        self.run = Some(Run {
            pid,
            since: now,
            link,
            attached: false,
            first_bytes: Vec::new(),
            cut: None,
            hello_by: now.checked_add(self.hello_within),
            silent: false,
            exit_source,
            exit: None,
            stderr,
            stderr_source,
        });
        self.shared.set_process(Some(child));
        self.shared.tell(ChildEvent::Started {
            pid,
            attempt: self.attempt,
        });
        if link.is_none() {
            self.supervisor.handle_link_closed(now);
        }
    }

    /// Reads what the child wrote to its stderr. Whether there may be more.
    fn hear_stderr(&mut self, stage: &mut Stage<'_>) -> bool {
        let now = stage.now();
        let Some(run) = &mut self.run else {
            return false;
        };
        let (Some(stderr), Some(source)) = (&mut run.stderr, run.stderr_source) else {
            return false;
        };
        let left = stderr.read(now, &mut teller(&self.shared, run.pid));
        if left == Left::End {
            stage.unwatch(source);
            run.stderr_source = None;
        }
        left == Left::More
    }

    /// The exit of the process, which is the end of the link as soon as that is read: its end of
    /// file may never come, where a grandchild holds the other end.
    fn hear_exit(&mut self, stage: &mut Stage<'_>) {
        let now = stage.now();
        let Some(run) = &mut self.run else {
            return;
        };
        let Some(source) = run.exit_source else {
            return;
        };
        let exit = self.shared.process().as_ref().and_then(|p| p.peek_exit());
        let Some(exit) = exit else {
            return;
        };
        // A pidfd stays readable; a poller that asks again and again must not see it again.
        stage.unwatch(source);
        run.exit_source = None;
        run.exit = Some((exit, now.saturating_since(run.since)));
        run.hello_by = None;
        let tail = match &mut run.stderr {
            Some(stderr) => {
                stderr.read_rest(now, &mut teller(&self.shared, run.pid));
                stderr.tail().text()
            }
            None => String::new(),
        };
        if let Some(link) = run.link {
            stage.hangup(link, Hangup::Exited);
        }
        let told = self.supervisor.handle_exited(now, exit, tail);
        debug_assert!(told.is_ok(), "a run has one exit: {told:?}");
    }

    fn hear_link(&mut self, stage: &mut Stage<'_>) {
        let now = stage.now();
        while let Some(end) = stage.next_end() {
            self.link_ended(now, end);
        }
        let Some(run) = &mut self.run else {
            return;
        };
        let Some(link) = run.link else {
            return;
        };
        if !run.attached
            && let Some((id, generation)) = stage.peer(link)
        {
            run.attached = true;
            run.hello_by = None;
            self.shared.tell(ChildEvent::Attached { id, generation });
        }
        if run.hello_by.is_some_and(|by| by <= now) {
            // Its process lives and may come to speak, but nobody waits for it any longer.
            stage.drop_link(link, Hangup::Failed);
            run.hello_by = None;
            run.silent = true;
        }
    }

    fn link_ended(&mut self, now: Instant, end: LinkEnd) {
        let Some(run) = &mut self.run else {
            return;
        };
        if run.link != Some(end.link) {
            return;
        }
        run.link = None;
        let cause = match run.silent {
            true => LinkFault::NoHello(self.hello_within),
            false => LinkFault::of(&end),
        };
        run.hello_by = None;
        run.attached |= end.attached;
        if !run.attached {
            run.first_bytes = end.first_bytes;
        }
        // Told to stop or ended already, its link is expected to end.
        if run.exit.is_none() && !self.supervisor.is_stopping() {
            let wait = match cause {
                LinkFault::Ended | LinkFault::Goodbye => EXIT_FOLLOWS,
                LinkFault::NoHello(_) | LinkFault::Protocol(_) => Duration::ZERO,
            };
            let cut = Disconnected {
                name: self.shared.name.clone(),
                pid: run.pid,
                cause,
                attached: run.attached,
                first_bytes: run.first_bytes.clone(),
            };
            run.cut = Some((now + wait, cut));
        }
        self.supervisor.handle_link_closed(now);
    }

    /// Tells the end of the link if that was put off until now.
    fn tell_cut(&mut self, now: Instant) {
        let Some(run) = &mut self.run else {
            return;
        };
        let due = |(at, _): &mut (Instant, Disconnected)| *at <= now;
        if run.exit.is_none()
            && let Some((_, cut)) = run.cut.take_if(due)
        {
            self.shared.tell(ChildEvent::Disconnected(cut));
        }
    }

    /// Carries out what the supervisor decided. Breaks when it is over.
    fn act(&mut self, stage: &mut Stage<'_>) -> ControlFlow<()> {
        while let Some(action) = self.supervisor.poll_action() {
            match action {
                Action::Spawn { attempt } => self.spawn(stage, attempt),
                Action::Finish => self.finishing = true,
                Action::CloseLink => {
                    self.finishing = false;
                    if let Some(link) = self.run.as_ref().and_then(|run| run.link) {
                        // It may have ended in this very turn, which is told in the next.
                        let _ = stage.disconnect(link);
                    }
                }
                Action::Signal(signal) => {
                    // An exit that follows is of our making, and this is why.
                    self.tell_cut(stage.now() + EXIT_FOLLOWS);
                    self.signal(signal);
                }
                Action::DropLink => {
                    if let Some(run) = &mut self.run
                        && let Some(link) = run.link.take()
                    {
                        stage.drop_link(link, Hangup::Exited);
                    }
                }
                Action::Reap => self.reap(stage),
                Action::Restarting { attempt, after, .. } => {
                    self.shared.tell(ChildEvent::Restarting { attempt, after });
                }
                Action::GaveUp(why) => self.shared.tell(ChildEvent::GaveUp(why)),
                Action::Ended(ending) => {
                    stage.refuse_waiting(&self.shared.name);
                    self.shared.tell(ChildEvent::Ended(ending));
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn spawn(&mut self, stage: &Stage<'_>, attempt: u32) {
        self.attempt = attempt;
        let shared = Arc::clone(&self.shared);
        let started = self
            .spec
            .spawn_then(move |result| shared.start_done(result));
        if let Err(error) = started {
            self.shared.tell(ChildEvent::SpawnFailed(error));
            let told = self.supervisor.handle_spawn_failed(stage.now());
            debug_assert!(told.is_ok(), "one start, one answer: {told:?}");
        }
    }

    fn signal(&self, signal: StopSignal) {
        let signal = match signal {
            StopSignal::Terminate => Signal::Terminate,
            StopSignal::Kill => Signal::Kill,
        };
        match self.shared.signal_group(signal) {
            // Where its status was taken by others, there is nobody left whom it is sure to mean.
            Ok(()) | Err(process::SignalError::Reaped) => {}
            Err(error) => {
                let text = error.to_string();
                self.shared.tell(ChildEvent::CannotSignal(text));
            }
        }
    }

    fn reap(&mut self, stage: &mut Stage<'_>) {
        if let Some(process) = &mut *self.shared.process() {
            // It has ended, so this does not wait.
            let _ = process.try_reap();
        }
        self.shared.set_process(None);
        self.finishing = false;
        let Some(run) = self.run.take() else {
            return;
        };
        for source in [run.exit_source, run.stderr_source].into_iter().flatten() {
            stage.unwatch(source);
        }
        let Some((exit, uptime)) = run.exit else {
            return;
        };
        let tail = run.stderr.as_ref().map(Stderr::tail);
        self.shared.tell(ChildEvent::Exited(Exited {
            name: self.shared.name.clone(),
            pid: run.pid,
            attempt: self.attempt,
            exit,
            uptime,
            attached: run.attached,
            first_bytes: run.first_bytes,
            stderr_tail: tail.map(|tail| tail.text()).unwrap_or_default(),
            stderr_dropped: tail.map_or(0, |tail| tail.dropped()),
        }));
    }

    /// Whether nothing is under way with a child that is to stop when it has finished.
    fn has_finished(&self, stage: &Stage<'_>) -> bool {
        let link = self.run.as_ref().and_then(|run| run.link);
        self.finishing && link.is_none_or(|link| stage.is_settled(link))
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        let run = self.run.as_ref();
        let hello_by = run.and_then(|run| run.hello_by);
        let cut = run.and_then(|run| run.cut.as_ref().map(|(at, _)| *at));
        let look = self.finishing.then(|| now + FINISHED_LOOK);
        let all = [self.supervisor.deadline(), hello_by, cut, look];
        all.into_iter().flatten().min()
    }
}

impl Actor for Supervision {
    fn turn(&mut self, stage: &mut Stage<'_>) -> Next {
        self.begin(stage);
        // Clear first, look second: what comes in between wakes once more.
        let _ = self.shared.waker.clear();
        // The start first: a wish to kill means the process that has just been started, too.
        self.hear_start(stage);
        if self.hear_wishes(stage.now()).is_break() {
            return Next::Done;
        }
        let more = self.hear_stderr(stage);
        self.hear_exit(stage);
        self.hear_link(stage);
        self.tell_cut(stage.now());
        self.supervisor.handle_timeout(stage.now());
        if self.act(stage).is_break() {
            return Next::Done;
        }
        if self.has_finished(stage) {
            self.supervisor.handle_finished(stage.now());
            if self.act(stage).is_break() {
                return Next::Done;
            }
        }
        match more {
            true => Next::Again,
            false => Next::Wait(self.deadline(stage.now())),
        }
    }
}

impl Drop for Supervision {
    fn drop(&mut self) {
        // Does nothing if it came to its end.
        self.shared.tell(ChildEvent::Abandoned);
        drop(self.shared.take_start());
        self.shared.set_process(None);
    }
}

/// Tells lines of stderr as events.
fn teller(shared: &Shared, pid: u32) -> impl FnMut(String, u64) {
    move |text, skipped| {
        shared.tell(ChildEvent::Stderr(StderrLine { pid, text, skipped }));
    }
}
