//! What the test programs share.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use switchboard_mio::{Board, Builder, Config, Incoming, Peer, ToAddress};

/// No test waits longer for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const ROLE: &str = "SWITCHBOARD_TEST_ROLE";

/// Boards in one poll loop, edge triggered as mio is: a wake-up that is missed stops it.
pub(crate) struct Loop<const N: usize> {
    pub(crate) boards: [Board; N],
    poll: Poll,
    events: Events,
    /// How often the kernel was asked.
    pub(crate) polls: u64,
}

impl<const N: usize> Loop<N> {
    pub(crate) fn new(mut boards: [Board; N]) -> Self {
        let poll = Poll::new().unwrap();
        for (at, board) in boards.iter_mut().enumerate() {
            let registry = poll.registry();
            registry
                .register(board, Token(at), Interest::READABLE)
                .unwrap();
        }
        Self {
            boards,
            poll,
            events: Events::with_capacity(8),
            polls: 0,
        }
    }

    /// One round. Only boards that are reported, or whose timeout is over, are driven. `false` when
    /// nothing happened for this long.
    pub(crate) fn round(&mut self, most: Duration) -> bool {
        let now = Instant::now();
        let until: Vec<_> = self
            .boards
            .iter_mut()
            .map(|board| board.timeout().map(|timeout| now + timeout))
            .collect();
        let due = until.iter().flatten().min().copied();
        let wait = due.map_or(most, |due| due.saturating_duration_since(now).min(most));
        self.poll.poll(&mut self.events, Some(wait)).unwrap();
        self.polls += 1;
        let after = Instant::now();
        let mut any = false;
        for (at, (board, until)) in self.boards.iter_mut().zip(until).enumerate() {
            let reported = self.events.iter().any(|event| event.token() == Token(at));
            if reported || until.is_some_and(|due| due <= after) {
                any = true;
                board.drive().unwrap();
            }
        }
        any
    }

    /// Goes on until something that came is what is looked for.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&mut [Board; N], usize, Incoming) -> Option<T>,
    ) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            for at in 0..N {
                while let Some(incoming) = self.boards[at].poll_incoming() {
                    if let Some(found) = look(&mut self.boards, at, incoming) {
                        return found;
                    }
                }
            }
            assert!(Instant::now() < end, "not in time: {what}");
            self.round(end.saturating_duration_since(Instant::now()));
        }
    }

    /// Until both ends know each other.
    pub(crate) fn until_up(&mut self, count: usize) {
        let end = Instant::now() + PATIENCE;
        while self.boards.iter().any(|board| {
            board.roster().peers().filter(|peer| peer.is_up).count() < count
                || !board.roster().is_complete()
        }) {
            assert!(Instant::now() < end, "not everybody came up");
            for board in &mut self.boards {
                while board.poll_incoming().is_some() {}
            }
            self.round(Duration::from_secs(1));
        }
    }
}

/// The limits of a hub that has no predecessor, whose members it would have to wait for.
pub(crate) fn first_hub() -> Builder {
    let mut config = Config::default();
    config.complete_grace = Duration::ZERO;
    Board::builder().config(|default| *default = config)
}

/// Starts an ignored test of this program as a process of its own that plays a part.
pub(crate) fn start_part(test: &str, argument: &impl ToString) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--ignored", "--nocapture"])
        .env(ROLE, argument.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// As [`start_part`], with the redirections that a shell makes, such as `<&-`.
pub(crate) fn start_part_closing(
    test: &str,
    argument: &impl ToString,
    redirections: &str,
) -> Child {
    let arguments = [test, "--exact", "--ignored", "--nocapture"];
    Command::new("sh")
        .args(["-c", &format!("exec \"$0\" \"$@\" {redirections}")])
        .arg(std::env::current_exe().unwrap())
        .args(arguments)
        .env(ROLE, argument.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The argument of a part; `None` when the test was run by hand.
pub(crate) fn part() -> Option<String> {
    std::env::var(ROLE).ok()
}

pub(crate) fn address_in(folder: &tempfile::TempDir) -> String {
    format!("unix:{}", folder.path().join("hub").display())
}

/// A hub without a thread that serves.
pub(crate) fn hub(address: &str) -> Peer {
    first_hub().listen(address).unwrap().blocking()
}

/// A member that is not attached yet.
pub(crate) fn member(name: &str, address: impl ToAddress) -> Peer {
    let board = Board::builder().name(name).join(address).unwrap();
    board.blocking()
}

/// Says that all is registered, and lets a thread serve.
pub(crate) fn start(peer: &Peer) {
    peer.ready();
    peer.spawn().unwrap();
}
