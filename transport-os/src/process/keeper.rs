//! The one thread that starts children, and reaps those whose handle was dropped.
//!
//! It is one long-lived thread because the kernel's parent-death signal is bound to the *thread*
//! that forked (`prctl(2)`, `PR_SET_PDEATHSIG`): a child started from a thread of a pool would be
//! killed when the pool shrinks.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::child::Child;
use super::exit::Exit;
use super::launch;
use super::signal::Signal;
use super::spec::{OnDrop, SpawnError, SpawnSpec};
use super::watch::{Condition, Watch};

/// A handle to the thread.
#[derive(Clone)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
}

/// A child without a handle, waiting for its end.
#[derive(Debug)]
pub(super) struct Leftover {
    watch: Watch,
    on_drop: OnDrop,
}

struct Shared {
    jobs: Mutex<VecDeque<Job>>,
    wake: PipeWriter,
    /// The process that the thread lives in.
    process: u32,
}

/// Who is told how a start went.
type Done = Box<dyn FnOnce(Result<Child, SpawnError>) + Send>;

enum Job {
    Spawn { spec: Box<SpawnSpec>, done: Done },
    Adopt(Leftover),
}

static KEEPER: Mutex<Option<Keeper>> = Mutex::new(None);

/// The process that [`KEEPER`] belongs to; 0 before there is one. Apart from it because a fork may
/// copy the mutex while another thread holds it, and it would never be released in the copy.
static KEEPER_PROCESS: AtomicU32 = AtomicU32::new(0);

/// Starts a child from the keeper's thread, and tells `done` from there.
pub(super) fn spawn_then(spec: &SpawnSpec, done: Done) -> Result<(), SpawnError> {
    let keeper = Keeper::get()?;
    keeper.shared.push(Job::Spawn {
        spec: Box::new(spec.clone()),
        done,
    });
    Ok(())
}

/// Starts a child from the keeper's thread, and waits for it.
pub(super) fn spawn(spec: &SpawnSpec) -> Result<Child, SpawnError> {
    let (reply, answer) = mpsc::sync_channel(1);
    // Nobody there to take it: then the child is dropped like any other.
    let done = move |result| drop(reply.send(result));
    spawn_then(spec, Box::new(done))?;
    // The thread lives as long as the process, and always answers.
    let gone = || io::Error::other("the thread that starts children has ended");
    answer
        .recv()
        .unwrap_or_else(|_| Err(SpawnError::Resources(gone())))
}

impl Keeper {
    fn get() -> Result<Self, SpawnError> {
        let this_process = std::process::id();
        let owner = KEEPER_PROCESS.load(Ordering::Acquire);
        if owner != 0 && owner != this_process {
            return Err(SpawnError::Forked);
        }
        let mut keeper = lock(&KEEPER);
        if let Some(keeper) = &*keeper {
            return Ok(keeper.clone());
        }
        let started = Self::start(this_process).map_err(SpawnError::Resources)?;
        KEEPER_PROCESS.store(this_process, Ordering::Release);
        Ok(keeper.insert(started).clone())
    }

    fn start(process: u32) -> io::Result<Self> {
        let (waker, wake) = io::pipe()?;
        rustix::io::ioctl_fionbio(&waker, true)?;
        rustix::io::ioctl_fionbio(&wake, true)?;
        let shared = Arc::new(Shared {
            jobs: Mutex::default(),
            wake,
            process,
        });
        let keeper = Self { shared };
        let of_thread = keeper.clone();
        thread::Builder::new()
            .name("switchboard-children".into())
            .spawn(move || {
                // The process's signals are for the application's threads, which may have blocked
                // them all in order to wait for them; this thread would be the one that takes them.
                launch::block_all_signals();
                of_thread.run(&waker);
            })?;
        Ok(keeper)
    }

    /// Whether this process is a fork of the one that the keeper lives in.
    pub(super) fn is_forked_copy(&self) -> bool {
        self.shared.process != std::process::id()
    }

    /// Takes over a child that still runs. Does not block.
    pub(super) fn adopt(&self, leftover: Leftover) {
        self.shared.push(Job::Adopt(leftover));
    }

    fn run(&self, waker: &PipeReader) {
        let mut leftovers = Vec::new();
        loop {
            drain(waker);
            while let Some(job) = self.shared.pop() {
                match job {
                    Job::Spawn { spec, done } => {
                        // A panic must not end this thread: every child would be killed with it.
                        let launched =
                            catch_unwind(AssertUnwindSafe(|| launch::launch(&spec, self)));
                        let launched = launched.unwrap_or_else(|_| {
                            let panicked = io::Error::other("starting the child panicked");
                            Err(SpawnError::Resources(panicked))
                        });
                        let _ = catch_unwind(AssertUnwindSafe(|| done(launched)));
                    }
                    Job::Adopt(leftover) => leftovers.push(leftover),
                }
            }
            leftovers = leftovers.into_iter().filter_map(Leftover::settle).collect();
            sleep(waker, &leftovers);
        }
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("process", &self.shared.process)
            .finish_non_exhaustive()
    }
}

impl Leftover {
    pub(super) fn new(watch: Watch, on_drop: OnDrop) -> Self {
        Self { watch, on_drop }
    }

    /// Kills what is to be killed and reaps if it has ended; gives the child back if it has not.
    pub(super) fn settle(self) -> Option<Self> {
        let condition = self.watch.condition();
        // The group first, while the unreaped child still holds its id. What cannot be signalled
        // runs under another user by its own doing, and is waited for.
        if self.on_drop == OnDrop::KillGroup && condition != Condition::Ended(Exit::Lost) {
            let _ = self.watch.signal_group(Signal::Kill);
        }
        if self.watch.reap().is_some() {
            None
        } else {
            Some(self)
        }
    }
}

impl Shared {
    fn push(&self, job: Job) {
        lock(&self.jobs).push_back(job);
        // A full pipe has woken the thread already.
        let _ = (&self.wake).write(&[1]);
    }

    fn pop(&self) -> Option<Job> {
        lock(&self.jobs).pop_front()
    }
}

/// Sleeps until there is a job or a child has ended.
fn sleep(waker: &PipeReader, leftovers: &[Leftover]) {
    let mut fds: Vec<_> = leftovers
        .iter()
        .map(|l| PollFd::from_borrowed_fd(l.watch.as_fd(), PollFlags::IN))
        .collect();
    fds.push(PollFd::new(waker, PollFlags::IN));
    match poll(&mut fds, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        // Out of memory, or the descriptor limit fell below what is open: look again in a moment.
        Err(_) => thread::sleep(Duration::from_millis(20)),
    }
}

fn drain(waker: &PipeReader) {
    let mut sink = [0; 64];
    let mut waker = waker;
    while waker.read(&mut sink).is_ok_and(|count| count > 0) {}
}

/// No panic can leave these data half-changed, so a poisoned lock guards them as well as ever.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
