//! What the handle of a child, its supervision in a node's loop, and the thread that starts
//! processes have in common.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker as TaskWaker};
use std::time::{Duration, Instant};

use switchboard_os::Waker;
use switchboard_os::process::{self, Signal, SignalError, SpawnError};
use switchboard_proto::{Generation, PeerName, Target};

use crate::event::{ChildEvent, Exited};
use crate::stderr::StderrLine;

/// Events that wait to be fetched. Lines of stderr are the first to give way, then the oldest.
const KEPT_EVENTS: usize = 1024;

/// Neither of the two locks is ever taken while the other one is held.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: PeerName,
    state: Mutex<State>,
    /// Something was added to the state.
    changed: Condvar,
    /// Wakes the supervision.
    pub(crate) waker: Arc<Waker>,
    /// The process of the present run. Here, so that the handle can kill it even where nobody
    /// drives the node.
    process: Mutex<Option<process::Child>>,
}

#[derive(Debug, Default)]
struct State {
    wish: Wish,
    /// The result of a start, from the thread that made it.
    started: Option<Result<process::Child, SpawnError>>,
    pid: Option<u32>,
    /// The generation of the last run that attached.
    generation: Option<Generation>,
    last_exit: Option<Exited>,
    events: VecDeque<ChildEvent>,
    skipped_lines: u64,
    over: bool,
    task: Option<TaskWaker>,
}

/// What the owner of the handle wants. The order is that of urgency, and there is no way back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wish {
    #[default]
    Run,
    Stop,
    Kill,
    /// The supervision ends, and the process is left to itself.
    Release,
}

impl Shared {
    pub(crate) fn new(name: PeerName) -> io::Result<Self> {
        Ok(Self {
            name,
            state: Mutex::default(),
            changed: Condvar::new(),
            waker: Arc::new(Waker::new()?),
            process: Mutex::new(None),
        })
    }

    pub(crate) fn wish(&self) -> Wish {
        self.state().wish
    }

    /// Asks for more than was asked for so far.
    pub(crate) fn demand(&self, wish: Wish) {
        {
            let mut state = self.state();
            state.wish = state.wish.max(wish);
        }
        self.wake();
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.state().pid
    }

    /// Tells how a start went, from whichever thread knows. A child that nobody wants any more is
    /// dropped, and with that ended.
    pub(crate) fn start_done(&self, result: Result<process::Child, SpawnError>) {
        let unwanted = {
            let mut state = self.state();
            match state.over {
                true => Some(result),
                false => state.started.replace(result),
            }
        };
        drop(unwanted);
        self.changed.notify_all();
        self.wake();
    }

    pub(crate) fn take_start(&self) -> Option<Result<process::Child, SpawnError>> {
        self.state().started.take()
    }

    /// Waits until the first start is done, and gives back why it failed, if it did. Nobody needs
    /// to drive the node for that.
    #[cfg(feature = "blocking")]
    pub(crate) fn wait_for_start(&self) -> Result<(), SpawnError> {
        let mut state = self.state();
        loop {
            match state.started.take() {
                Some(Err(error)) => return Err(error),
                Some(started) => {
                    state.started = Some(started);
                    return Ok(());
                }
                None if state.pid.is_some() || state.over => return Ok(()),
                None => {}
            }
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn process(&self) -> MutexGuard<'_, Option<process::Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_process(&self, process: Option<process::Child>) {
        let pid = process.as_ref().map(process::Child::id);
        let old = std::mem::replace(&mut *self.process(), process);
        drop(old);
        self.state().pid = pid;
    }

    /// Signals the group of the present run, if there is one.
    pub(crate) fn signal_group(&self, signal: Signal) -> Result<(), SignalError> {
        match &*self.process() {
            Some(process) => process.signal_group(signal),
            None => Ok(()),
        }
    }

    pub(crate) fn tell(&self, event: ChildEvent) {
        let last = matches!(event, ChildEvent::Ended(_) | ChildEvent::Abandoned);
        let task = {
            let mut state = self.state();
            if state.over {
                return;
            }
            state.over = last;
            match &event {
                ChildEvent::Attached { generation, .. } => state.generation = Some(*generation),
                ChildEvent::Exited(exited) => state.last_exit = Some(exited.clone()),
                _ => {}
            }
            state.push(event);
            state.task.take()
        };
        self.changed.notify_all();
        if let Some(task) = task {
            task.wake();
        }
    }

    pub(crate) fn next_event(&self) -> Option<ChildEvent> {
        self.state().events.pop_front()
    }

    pub(crate) fn last_exit(&self) -> Option<Exited> {
        self.state().last_exit.clone()
    }

    /// The child as a target: by its name while there may be another run, and else the last run,
    /// which is refused at once.
    pub(crate) fn target(&self) -> Target {
        let state = self.state();
        match state.over {
            false => Target::Named(self.name.clone()),
            true => {
                // No generation is zero, so without a run it means nobody.
                let last = state.generation.unwrap_or(Generation(0));
                Target::NamedExact(self.name.clone(), last)
            }
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state().over
    }

    pub(crate) fn poll_event(&self, context: &mut Context<'_>) -> Poll<Option<ChildEvent>> {
        let mut state = self.state();
        match state.events.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if state.over => Poll::Ready(None),
            None => {
                state.task = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(crate) fn wait_event(&self, within: Duration) -> Option<ChildEvent> {
        let until = Instant::now().checked_add(within);
        let mut state = self.state();
        loop {
            if let Some(event) = state.events.pop_front() {
                return Some(event);
            }
            let left = match until {
                Some(until) => until.saturating_duration_since(Instant::now()),
                None => within,
            };
            if state.over || left.is_zero() {
                return None;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wake(&self) {
        // None that a valid descriptor can give, and the next wish wakes again.
        let _ = self.waker.wake();
    }

    /// No panic can leave the state half-changed, so a poisoned lock guards it as well as ever.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, mut event: ChildEvent) {
        if self.events.len() >= KEPT_EVENTS {
            self.make_room();
        }
        if let ChildEvent::Stderr(line) = &mut event {
            line.skipped += std::mem::take(&mut self.skipped_lines);
        }
        self.events.push_back(event);
    }

    /// Drops one event: the oldest line of stderr, and only without one the oldest event. What a
    /// dropped line stands for is counted in the next one that is told.
    fn make_room(&mut self) {
        let is_line = |event: &ChildEvent| matches!(event, ChildEvent::Stderr(_));
        let at = self.events.iter().position(is_line).unwrap_or(0);
        let Some(ChildEvent::Stderr(StderrLine { skipped, .. })) = self.events.remove(at) else {
            return;
        };
        let gap = skipped + 1;
        let mut later = self.events.iter_mut().skip(at);
        let next = later.find_map(|event| match event {
            ChildEvent::Stderr(line) => Some(line),
            _ => None,
        });
        match next {
            Some(line) => line.skipped += gap,
            None => self.skipped_lines += gap,
        }
    }
}
