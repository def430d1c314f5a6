//! The processes on the stage, and what is done to them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use switchboard_os::process::{ChannelEnd, Child, SpawnSpec, Stderr};
use switchboard_tests::PATIENCE;

use crate::worker::{ADDRESS, BOOKS, NAME, SEED, STOP};

/// The number of the hub among them.
pub(crate) const HUB: usize = 0;
const WORKERS: usize = 6;

/// The hub and the workers.
pub(crate) struct Troupe {
    folder: PathBuf,
    seed: u64,
    /// The hub first.
    all: Vec<Player>,
}

struct Player {
    name: String,
    lives: u32,
    process: Child,
    _channel: Option<ChannelEnd>,
    /// When it goes on.
    stopped: Option<Instant>,
}

impl Troupe {
    pub(crate) fn start(folder: &Path, seed: u64) -> Self {
        std::fs::create_dir(folder.join("books")).unwrap();
        let mut troupe = Self {
            folder: folder.to_owned(),
            seed,
            all: Vec::new(),
        };
        let workers = (1..=WORKERS).map(|number| format!("worker/{number}"));
        for name in std::iter::once(String::from("hub")).chain(workers) {
            let (process, channel) = troupe.start_one(&name, 0);
            troupe.all.push(Player {
                name,
                lives: 1,
                process,
                _channel: channel,
                stopped: None,
            });
        }
        troupe
    }

    pub(crate) fn workers(&self) -> usize {
        WORKERS
    }

    pub(crate) fn deaths(&self, number: usize) -> u32 {
        self.all[number].lives - 1
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.all.iter().map(|player| player.process.id())
    }

    /// Kills one and starts it again.
    pub(crate) fn kill(&mut self, number: usize) {
        self.go_on(Instant::now());
        self.signal(number, rustix::process::Signal::KILL);
        let player = &mut self.all[number];
        let give_up = Instant::now() + PATIENCE;
        while player.process.try_reap().is_none() {
            assert!(Instant::now() < give_up, "{} does not die", player.name);
            // Between two looks: the troupe is played by one thread that waits for nothing else.
            std::thread::sleep(Duration::from_millis(1));
        }
        player.lives += 1;
        player.stopped = None;
        let (name, lives) = (player.name.clone(), player.lives);
        let (process, channel) = self.start_one(&name, lives);
        self.all[number].process = process;
        self.all[number]._channel = channel;
    }

    /// Stops one for a while. It goes on with the next blow after that.
    pub(crate) fn stop_for(&mut self, number: usize, time: Duration) {
        self.go_on(Instant::now());
        self.signal(number, rustix::process::Signal::STOP);
        self.all[number].stopped = Some(Instant::now() + time);
    }

    /// Lets everybody end what it has begun.
    pub(crate) fn finish(&mut self) {
        self.go_on(Instant::now() + PATIENCE);
        std::fs::write(self.folder.join("stop"), "").unwrap();
        let books = self.folder.join("books");
        let give_up = Instant::now() + PATIENCE;
        for player in &self.all[HUB + 1..] {
            let done = books.join(format!("{}.done", player.process.id()));
            while !done.exists() {
                assert!(
                    Instant::now() < give_up,
                    "{} does not come to an end",
                    player.name
                );
                // Between two looks for a file, which announces itself by no descriptor.
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn go_on(&mut self, now: Instant) {
        for number in 0..self.all.len() {
            if self.all[number]
                .stopped
                .take_if(|until| *until <= now)
                .is_some()
            {
                self.signal(number, rustix::process::Signal::CONT);
            }
        }
    }

    fn signal(&self, number: usize, signal: rustix::process::Signal) {
        // Not reaped yet, so the id is still this child's.
        let pid = self.all[number].process.id().try_into().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn start_one(&self, name: &str, lives: u32) -> (Child, Option<ChannelEnd>) {
        let spec = SpawnSpec::new(std::env::current_exe().unwrap())
            .env(NAME, name)
            .env(
                ADDRESS,
                format!("unix:{}", self.folder.join("hub").display()),
            )
            .env(BOOKS, self.folder.join("books"))
            .env(STOP, self.folder.join("stop"))
            .env(SEED, (self.seed + u64::from(lives)).to_string())
            .stderr(Stderr::Inherit);
        let mut process = spec.spawn().unwrap();
        let channel = process.take_channel();
        (process, channel)
    }
}
