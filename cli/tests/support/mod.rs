//! A directory, a hub in it, and the command run against it, every wait bounded.

#![allow(
    dead_code,
    reason = "compiled into each test program, which uses a part of it"
)]

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use switchboard_mio::{Board, Peer};
use tempfile::TempDir;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The command under test.
pub(crate) const SWITCHBOARD: &str = env!("CARGO_BIN_EXE_switchboard");

/// A place of its own for one test.
pub(crate) struct Place {
    directory: TempDir,
}

/// What a run of the command left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A process that does not outlive its test.
pub(crate) struct Running(pub(crate) Child);

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("sb-cli-").tempdir();
        Self {
            directory: directory.unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("hub.sock")
    }

    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// The command, with the address in its environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(SWITCHBOARD);
        command
            .args(args)
            .env("SWITCHBOARD_ADDRESS", self.address())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C for one of them is for no other.
            .process_group(0);
        command
    }

    /// Runs the command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Running(self.command(args).spawn().unwrap()).finish()
    }

    /// Starts the command and leaves it running.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running(self.command(args).spawn().unwrap())
    }

    /// A hub as a process.
    pub(crate) fn hub(&self) -> Running {
        let hub = self.start(&["hub", "--json"]);
        wait_until("the hub's socket", || self.socket().exists());
        hub
    }

    /// A hub in this process, that handles what the tests ask for.
    pub(crate) fn answering_hub(&self) -> Peer {
        let board = Board::builder().name("hub").listen(self.address());
        let peer = board.unwrap().blocking();
        answer(&peer);
        peer
    }

    /// A worker of the demonstration, as a process to be killed.
    pub(crate) fn worker(&self, name: &str) -> Running {
        let log = self.path().join("log");
        let log = log.to_str().unwrap();
        let join = self.address();
        let worker = [
            "__demo-worker",
            "--name",
            name,
            "--log",
            log,
            "--join",
            &join,
        ];
        let worker = self.start(&worker);
        wait_until("the worker", || {
            let peers = self.run(&["peers", "--json"]);
            peers.objects().iter().any(|peer| {
                peer["name"] == name
                    && peer["state"] == "up"
                    && peer["namespaces"][0]["ready"] == true
            })
        });
        worker
    }
}

/// Registers handlers, and has a thread run them.
fn answer(peer: &Peer) {
    use switchboard_mio::{Fault, Raw};
    let add = |(a, b): (i32, i32)| -> Result<i32, Fault> { Ok(a + b) };
    peer.on("math.add", add).forever();
    let fail = |(): ()| -> Result<(), Fault> {
        Err(Fault::new("no such row")
            .with_code(404)
            .with_detail("line 3"))
    };
    peer.on("fail", fail).forever();
    let sleep = |millis: u64| -> Result<(), Fault> {
        // What the caller asked for.
        thread::sleep(Duration::from_millis(millis));
        Ok(())
    };
    peer.on("sleep", sleep).forever();
    let upper = |raw: Raw| -> Result<Raw, Fault> { Ok(raw.0.to_ascii_uppercase().into()) };
    peer.on("upper", upper).forever();
    peer.ready();
    peer.spawn().unwrap();
}

impl Running {
    /// Waits for its end. Both pipes are read meanwhile, so that it never waits for the test.
    pub(crate) fn finish(mut self) -> Ran {
        let stdout = reader(self.0.stdout.take().map(OwnedFd::from));
        let stderr = reader(self.0.stderr.take().map(OwnedFd::from));
        let code = self.code();
        Ran {
            code,
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
        }
    }

    /// Waits for its end: its exit code, if it has one.
    pub(crate) fn code(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the end of the command", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, signal).unwrap();
    }

    /// The next line of its stdout, without reading further.
    pub(crate) fn line(&mut self) -> String {
        let stdout = self.0.stdout.as_mut().unwrap();
        let mut line = Vec::new();
        let mut byte = [0];
        while stdout.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Ran {
    /// Stdout as one object.
    pub(crate) fn object(&self) -> Json {
        match serde_json::from_str(&self.stdout) {
            Ok(object) => object,
            Err(error) => panic!("no object ({error}): {self:?}"),
        }
    }

    /// Stdout as objects, one to a line.
    pub(crate) fn objects(&self) -> Vec<Json> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[track_caller]
    pub(crate) fn expect(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

fn reader(pipe: Option<OwnedFd>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        if let Some(pipe) = pipe {
            std::fs::File::from(pipe).read_to_string(&mut text).unwrap();
        }
        text
    })
}

#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "waited {PATIENCE:?} for {what}");
        // Between two looks at what announces itself by no descriptor.
        thread::sleep(Duration::from_millis(5));
    }
}

/// Processes whose command line names this path, zombies not counted.
pub(crate) fn processes_that_name(path: &Path) -> Vec<String> {
    let path = path.to_str().unwrap();
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == own || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(path) {
            found.push(line);
        }
    }
    found
}
