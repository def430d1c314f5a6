//! Starting one child: the descriptors, the fork, and what the child does before it is a program.

// Between fork and exec there are no owners of descriptors, only numbers, and the calls that reset
// the signals of a thread are libc's. Each block states what it leans on.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::Pid;

use super::channel::{
    CHILD_SOCKET_FD, ChannelEnd, ENV_CHANNEL_ID, ENV_FD, ENV_STDIO, NewChannel, ObjectId,
};
use super::child::Child;
use super::keeper::Keeper;
use super::spec::{Channel, ParentDeath, SpawnError, SpawnSpec, Stderr};
use super::watch::Watch;

/// How often a spawn is repeated that met another thread closing descriptor 3 at the wrong moment.
const TRIES: usize = 16;

/// What the child reports when descriptor 3 is not what it was. Neither `exec` nor any call before it
/// fails with this: it belongs to message queues, and every unix has it.
const DESCRIPTOR_CHANGED: i32 = libc::EIDRM;

/// Starts a child from the present thread, with whose death the child's may be bound up.
pub(super) fn launch(spec: &SpawnSpec, keeper: &Keeper) -> Result<Child, SpawnError> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        match try_launch(spec, keeper) {
            Err(SpawnError::Program { source, .. })
                if source.raw_os_error() == Some(DESCRIPTOR_CHANGED) && tries > 0 => {}
            result => return result,
        }
    }
}

fn try_launch(spec: &SpawnSpec, keeper: &Keeper) -> Result<Child, SpawnError> {
    let channel = match spec.channel {
        Channel::Socketpair => NewChannel::socketpair(),
        Channel::Pipes => NewChannel::pipes(),
    };
    let NewChannel { parent, child, id } = channel.map_err(SpawnError::Resources)?;
    let mut command = describe(spec, &id);
    let stderr = connect_stderr(&mut command, spec.stderr).map_err(SpawnError::Resources)?;

    let slot;
    let socket;
    match child {
        ChannelEnd::Socket(fd) => {
            slot = Some(Slot::reserve(fd.as_raw_fd()).map_err(SpawnError::Resources)?);
            socket = Some(fd);
            command.stdin(Stdio::null());
        }
        ChannelEnd::Pipes { read, write } => {
            slot = None;
            socket = None;
            command.stdin(read).stdout(write);
        }
    }
    let setup = ChildSetup {
        parent: rustix::process::getpid(),
        parent_death: spec.parent_death,
        socket: slot.as_ref().map(|slot| slot.plan),
    };
    // SAFETY: the closure runs between fork and exec in a process that may have had other threads,
    // so it may make async-signal-safe calls only. `ChildSetup::run` makes system calls on values
    // copied before the fork; it neither allocates nor locks, and its errors are plain numbers.
    unsafe { command.pre_exec(move || setup.run()) };
    let started = command.spawn();
    // The child's ends live in the command and in `socket`; were they to stay open here, the parent
    // would never see the end of the channel.
    drop((command, socket, slot));

    match started {
        Ok(started) => own(spec, keeper, &started, parent, stderr),
        Err(source) => Err(SpawnError::Program {
            program: spec.program.clone().into(),
            source,
        }),
    }
}

/// The command without its descriptors.
fn describe(spec: &SpawnSpec, channel_id: &str) -> Command {
    let mut command = Command::new(&spec.program);
    command.args(&spec.args);
    if spec.clear_env {
        command.env_clear();
    }
    for (name, value) in &spec.env {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    match spec.channel {
        Channel::Socketpair => command
            .env(ENV_FD, CHILD_SOCKET_FD.to_string())
            .env_remove(ENV_STDIO),
        Channel::Pipes => command.env(ENV_STDIO, "1").env_remove(ENV_FD),
    };
    command.env(ENV_CHANNEL_ID, channel_id);
    if let Some(cwd) = &spec.cwd {
        command.current_dir(cwd);
    }
    command.process_group(0);
    command
}

fn connect_stderr(command: &mut Command, stderr: Stderr) -> io::Result<Option<OwnedFd>> {
    match stderr {
        Stderr::Piped => {
            let (read, write) = io::pipe()?;
            rustix::io::ioctl_fionbio(&read, true)?;
            command.stderr(write);
            return Ok(Some(read.into()));
        }
        Stderr::Inherit => command.stderr(Stdio::inherit()),
        Stderr::Null => command.stderr(Stdio::null()),
    };
    Ok(None)
}

/// Makes a handle of a child that has just been started. A child that cannot be watched is not kept.
fn own(
    spec: &SpawnSpec,
    keeper: &Keeper,
    started: &std::process::Child,
    channel: ChannelEnd,
    stderr: Option<OwnedFd>,
) -> Result<Child, SpawnError> {
    let pid = Pid::from_child(started);
    match Watch::new(pid) {
        Ok(watch) => Ok(Child::new(
            pid,
            watch,
            channel,
            stderr,
            spec.on_drop,
            keeper.clone(),
        )),
        Err(error) => {
            // Not reaped yet, so the pid is the child's. After the kill, the wait is short.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
            let by_pid = rustix::process::WaitId::Pid(pid);
            let _ = rustix::process::waitid(by_pid, rustix::process::WaitIdOptions::EXITED);
            Err(SpawnError::Resources(error))
        }
    }
}

/// Keeps descriptor 3 from being taken by anything new in this process until the child is started.
///
/// In the child, the socket is copied over descriptor 3. If that were the descriptor by which the
/// standard library reports a failed `exec`, the failure would read as a success, and its bytes
/// would go into the channel. The library makes that descriptor after this reservation, so it can be
/// number 3 only if another thread has closed what was there in between; the child sees that by the
/// object on descriptor 3 no longer being the one recorded here, and backs out.
struct Slot {
    plan: SocketPlan,
    /// Two, for the opened file itself may be what took number 3.
    _occupants: (File, OwnedFd),
}

#[derive(Clone, Copy)]
struct SocketPlan {
    socket: RawFd,
    /// `None` if the number is taken by a call that has not opened anything yet.
    occupant: Option<ObjectId>,
}

impl Slot {
    fn reserve(socket: RawFd) -> io::Result<Self> {
        let null = File::open("/dev/null")?;
        for _ in 0..TRIES {
            // The lowest free number from 3 on: descriptor 3 itself, unless it is in use.
            let lowest = rustix::io::fcntl_dupfd_cloexec(&null, CHILD_SOCKET_FD)?;
            if let Ok(occupant) = object_at(CHILD_SOCKET_FD) {
                let occupant = Some(occupant);
                return Ok(Self {
                    plan: SocketPlan { socket, occupant },
                    _occupants: (null, lowest),
                });
            }
            // It was in use, and was closed just now.
        }
        // Or it is never open: the kernel gives out the number of an `accept` or an `open` before it
        // waits for the connection or for the other end of a fifo. Nothing else can take the number
        // meanwhile, and in the child it is free (`dup_fd` clears what is claimed and not open).
        let lowest = rustix::io::fcntl_dupfd_cloexec(&null, CHILD_SOCKET_FD)?;
        let occupant = object_at(CHILD_SOCKET_FD).ok();
        Ok(Self {
            plan: SocketPlan { socket, occupant },
            _occupants: (null, lowest),
        })
    }
}

/// What the child does between `fork` and `exec`.
#[derive(Clone, Copy)]
struct ChildSetup {
    parent: Pid,
    parent_death: ParentDeath,
    socket: Option<SocketPlan>,
}

impl ChildSetup {
    /// Must be async-signal-safe: nothing but system calls.
    fn run(self) -> io::Result<()> {
        self.bind_to_parent()?;
        seal_descriptors();
        if let Some(plan) = self.socket {
            place_socket(plan)?;
        }
        reset_signals();
        Ok(())
    }

    fn bind_to_parent(self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            use rustix::process::{Signal, set_parent_process_death_signal};
            let signal = match self.parent_death {
                ParentDeath::Kill => Signal::KILL,
                ParentDeath::Terminate => Signal::TERM,
                ParentDeath::Survive => return Ok(()),
            };
            set_parent_process_death_signal(Some(signal))?;
        }
        // A parent that died before the line above sends no signal any more, but it is no longer
        // the parent either.
        if self.parent_death != ParentDeath::Survive
            && rustix::process::getppid() != Some(self.parent)
        {
            return Err(rustix::io::Errno::SRCH.into());
        }
        Ok(())
    }
}

/// Sets close-on-exec on everything but stdio, so that a descriptor opened without the flag anywhere
/// in the parent does not reach the child. The kernel has this call since 5.11; before that, and
/// elsewhere, it is for each library to set the flag, as this one does.
fn seal_descriptors() {
    #[cfg(target_os = "linux")]
    // SAFETY: the call takes three integers and touches no memory. Its failure leaves all as it was.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            CHILD_SOCKET_FD as libc::c_uint,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC as libc::c_uint,
        );
    }
}

/// Puts the socket on descriptor 3, without the close-on-exec flag.
fn place_socket(plan: SocketPlan) -> io::Result<()> {
    if object_at(CHILD_SOCKET_FD).ok() != plan.occupant {
        return Err(io::Error::from_raw_os_error(DESCRIPTOR_CHANGED));
    }
    let result = if plan.socket == CHILD_SOCKET_FD {
        // SAFETY: no memory is touched; the descriptor is open in the parent across the fork.
        unsafe { libc::fcntl(CHILD_SOCKET_FD, libc::F_SETFD, 0) }
    } else {
        // SAFETY: as above. What descriptor 3 was here is the copy of something in the parent and
        // has no owner in this process, which is about to become another program.
        unsafe { libc::dup2(plan.socket, CHILD_SOCKET_FD) }
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The mask and the ignored signals of the forking thread survive `exec`. A child that starts with
/// `SIGTERM` blocked could only be killed, and one that ignores `SIGCHLD` loses its children's exits.
fn reset_signals() {
    // SAFETY: all three are async-signal-safe (signal-safety(7)), and the set is initialised by
    // `sigemptyset` before it is used. With valid signal numbers they cannot fail.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        for signal in [libc::SIGTERM, libc::SIGCHLD, libc::SIGPIPE] {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Blocks every signal for the calling thread.
pub(super) fn block_all_signals() {
    // SAFETY: the set is initialised by `sigfillset`, and only this thread's mask changes.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
    }
}

/// What is open under this number now, if anything.
fn object_at(number: RawFd) -> rustix::io::Result<ObjectId> {
    // SAFETY: the number is only asked about (`fstat`), and a closed one answers with an error.
    ObjectId::of(unsafe { BorrowedFd::borrow_raw(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_finds_something_else_on_descriptor_three_backs_out_and_touches_nothing() {
        let (_ours, elsewhere) = crate::sys::socket_pair().unwrap();
        let plan = SocketPlan {
            // Were it copied to descriptor 3, the error would be another.
            socket: -1,
            occupant: Some(ObjectId::of(&elsewhere).unwrap()),
        };
        let error = place_socket(plan).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(DESCRIPTOR_CHANGED));
    }
}
