//! What a child writes to its stderr: the tail for the report of its end, and lines for those who
//! want them.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use switchboard_os::process::StderrTail;
use switchboard_proto::Instant;

/// What one turn reads, so that a child that floods its stderr does not keep others waiting.
const PER_TURN: usize = 64 * 1024;
/// What is read of a child that has ended. A pipe holds at most 1 MiB (the default of
/// `/proc/sys/fs/pipe-max-size`); only a grandchild that still writes brings more.
const AFTER_EXIT: usize = 1024 * 1024;
/// A longer line is told in pieces.
const LONGEST_LINE: usize = 4096;

/// A line that a child wrote to its stderr, or to a standard output that is its stderr because its
/// own is the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StderrLine {
    /// The process that wrote it.
    pub pid: u32,
    /// The line without its end, with what is not UTF-8 replaced; a piece of at most 4 KiB of a
    /// longer one.
    pub text: String,
    /// How many lines before it were not told, because they came too fast or were not fetched.
    pub skipped: u64,
}

/// The stderr of one run.
#[derive(Debug)]
pub(crate) struct Stderr {
    pipe: Arc<File>,
    tail: StderrTail,
    lines: Option<Lines>,
}

/// What a read left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing for now.
    Nothing,
    /// Perhaps more.
    More,
    /// Nothing for ever.
    End,
}

/// Cuts bytes into lines, and lets through so many in a second.
#[derive(Debug)]
struct Lines {
    per_second: u32,
    second: Option<Instant>,
    told: u32,
    skipped: u64,
    begun: Vec<u8>,
}

impl Stderr {
    pub(crate) fn new(pipe: OwnedFd, lines_per_second: Option<u32>) -> Self {
        Self {
            pipe: Arc::new(File::from(pipe)),
            tail: StderrTail::default(),
            lines: lines_per_second.map(Lines::new),
        }
    }

    /// The pipe, for a poller.
    pub(crate) fn pipe(&self) -> Arc<File> {
        Arc::clone(&self.pipe)
    }

    pub(crate) fn tail(&self) -> &StderrTail {
        &self.tail
    }

    /// Reads within the budget of a turn.
    pub(crate) fn read(&mut self, now: Instant, tell: &mut impl FnMut(String, u64)) -> Left {
        self.read_up_to(PER_TURN, now, tell)
    }

    /// Reads what a child has left that has ended.
    pub(crate) fn read_rest(&mut self, now: Instant, tell: &mut impl FnMut(String, u64)) {
        self.read_up_to(AFTER_EXIT, now, tell);
        if let Some(lines) = &mut self.lines {
            lines.end(now, tell);
        }
    }

    fn read_up_to(
        &mut self,
        budget: usize,
        now: Instant,
        tell: &mut impl FnMut(String, u64),
    ) -> Left {
        let mut chunk = [0; 4096];
        let mut left = budget;
        while left > 0 {
            match (&*self.pipe).read(&mut chunk) {
                Ok(0) => return Left::End,
                Ok(count) => {
                    self.tail.push(&chunk[..count]);
                    if let Some(lines) = &mut self.lines {
                        lines.push(&chunk[..count], now, tell);
                    }
                    left = left.saturating_sub(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Left::Nothing,
                // A pipe gives no other error; were there one, it would be no use any more.
                Err(_) => return Left::End,
            }
        }
        Left::More
    }
}

impl Lines {
    fn new(per_second: u32) -> Self {
        Self {
            per_second,
            second: None,
            told: 0,
            skipped: 0,
            begun: Vec::new(),
        }
    }

    fn push(&mut self, mut bytes: &[u8], now: Instant, tell: &mut impl FnMut(String, u64)) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.extend(&bytes[..end], now, tell);
            self.end(now, tell);
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes, now, tell);
    }

    fn extend(&mut self, mut bytes: &[u8], now: Instant, tell: &mut impl FnMut(String, u64)) {
        while self.begun.len() + bytes.len() > LONGEST_LINE {
            let (piece, rest) = bytes.split_at(LONGEST_LINE - self.begun.len());
            self.begun.extend_from_slice(piece);
            self.end(now, tell);
            bytes = rest;
        }
        self.begun.extend_from_slice(bytes);
    }

    /// Tells the line that has been put together, if there is one and it is not too many.
    fn end(&mut self, now: Instant, tell: &mut impl FnMut(String, u64)) {
        if self.begun.is_empty() {
            return;
        }
        let same_second = self
            .second
            .is_some_and(|since| now.saturating_since(since) < Duration::from_secs(1));
        if !same_second {
            self.second = Some(now);
            self.told = 0;
        }
        if self.told < self.per_second {
            self.told += 1;
            let text = String::from_utf8_lossy(&self.begun).into_owned();
            tell(text, std::mem::take(&mut self.skipped));
        } else {
            self.skipped += 1;
        }
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(per_second: u32, pieces: &[(u64, &str)]) -> Vec<(String, u64)> {
        let mut lines = Lines::new(per_second);
        let mut told = Vec::new();
        let mut tell = |text, skipped| told.push((text, skipped));
        for (millis, piece) in pieces {
            let now = Instant::ZERO + Duration::from_millis(*millis);
            lines.push(piece.as_bytes(), now, &mut tell);
        }
        told
    }

    #[test]
    fn a_line_is_told_when_its_end_has_come() {
        let told = lines(10, &[(0, "on"), (1, "e\ntwo\n\nthr")]);
        assert_eq!(told, [("one".into(), 0), ("two".into(), 0)]);
    }

    #[test]
    fn lines_beyond_the_rate_are_counted_in_the_next_one() {
        let told = lines(2, &[(0, "a\nb\nc\nd\n"), (1000, "e\n")]);
        assert_eq!(told, [("a".into(), 0), ("b".into(), 0), ("e".into(), 2)]);
    }

    #[test]
    fn an_endless_line_is_told_in_pieces_and_takes_no_more_memory_than_one() {
        let piece = "x".repeat(3000);
        let told = lines(100, &[(0, &piece), (0, &piece), (0, &piece)]);
        assert_eq!(told.len(), 2);
        assert!(told.iter().all(|(text, _)| text.len() == LONGEST_LINE));
    }
}
