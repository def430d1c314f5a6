//! A fake kernel: byte streams between processes, with attachments where the kind carries them.
//!
//! The rules are those of Linux 6.18, each measured with `socketpair`, `pipe` and loopback TCP and
//! each stated by a test. On top of the rules a connection may have a
//! [`Shape`]: draws that cut, delay and hold what passes, within what a real kernel may do.

mod lane;
mod shape;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::BytesMut;

use self::lane::Lane;
pub use self::shape::Shape;
use super::handle::{FakeFd, Owner, Registry};
use super::rng::Rng;
use crate::time::Instant;

/// How many attachments one write may carry (SCM_MAX_FD).
pub const MAX_ATTACHMENTS: usize = 253;

/// What a byte stream is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamKind {
    /// Two pipes, one for each direction. No attachments, never a reset.
    Pipe,
    /// A TCP connection: delays, no attachments; what is in flight is lost with a reset.
    Tcp,
    /// A connected pair of unix stream sockets: attachments, no delay.
    Unix,
}

/// One end of a connection. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End(u64);

impl End {
    /// The other end of the same connection.
    pub const fn partner(self) -> Self {
        Self(self.0 ^ 1)
    }
}

/// The buffers that a reader brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that the read takes at most.
    pub bytes: usize,
    /// Attachments for which the control buffer has room.
    pub attachments: usize,
}

impl Room {
    /// What a careful reader brings: 64 KiB, and room for as many attachments as a write can carry.
    pub const FULL: Self = Self {
        bytes: 64 * 1024,
        attachments: MAX_ATTACHMENTS,
    };
}

/// What a read gave.
#[derive(Debug)]
pub enum ReadResult {
    /// Nothing is there now.
    Blocked,
    /// Some bytes, and the attachments that came with them.
    Data {
        /// At least one byte.
        bytes: BytesMut,
        /// In the order in which they were written.
        attachments: Vec<FakeFd>,
        /// Whether attachments were dropped for want of room in the control buffer or in the
        /// process's table (MSG_CTRUNC).
        truncated: bool,
    },
    /// End of file: the writer has closed or shut its side, and everything was read.
    End,
    /// The connection was reset (ECONNRESET). Told once; then it is the end of file.
    Reset,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteResult {
    /// So many bytes were taken, from the front. Attachments went with the first of them; a write of
    /// no bytes takes 0 and loses them.
    Wrote(usize),
    /// Nothing was taken, the buffer is full (EAGAIN).
    Blocked,
    /// Nothing was taken: the user has too many descriptors in flight (ETOOMANYREFS).
    TooManyReferences,
    /// Nothing was taken: more attachments than a write may carry, or a kind that carries none
    /// (EINVAL).
    Invalid,
    /// Nobody can read it any more (EPIPE).
    BrokenPipe,
    /// The connection was reset (ECONNRESET). Told once, by a read or by a write; then the pipe is
    /// broken.
    Reset,
}

/// The kernel of one world: all machines of it, and one user on each.
#[derive(Debug)]
pub struct Kernel {
    registry: Registry,
    /// Each lane is filed under the end that reads from it, with the state of that end's socket.
    lanes: BTreeMap<End, Lane>,
    next_end: u64,
    in_flight_limit: Option<u64>,
    marks: Marks,
}

/// How often each rare path of the kernel was taken, by name.
pub type Marks = BTreeMap<&'static str, u64>;

impl Kernel {
    /// A kernel without connections, whose descriptors are counted in `registry`.
    pub fn new(registry: Registry) -> Self {
        Self {
            registry,
            lanes: BTreeMap::new(),
            next_end: 0,
            in_flight_limit: None,
            marks: Marks::new(),
        }
    }

    /// A connected pair of ends. What the shape leaves open is drawn from a generator of its own for
    /// each direction, started from `rng`.
    pub fn connect(&mut self, kind: StreamKind, shape: Shape, rng: &mut Rng) -> (End, End) {
        let one = End(self.next_end);
        self.next_end += 2;
        for reader in [one, one.partner()] {
            let draws = Rng::numbered(rng.next_u64(), "lane", reader.0);
            self.lanes.insert(reader, Lane::new(kind, shape, draws));
        }
        (one, one.partner())
    }

    /// Writes, as `sendmsg` with MSG_DONTWAIT. The attachments are lent: the kernel makes its own
    /// descriptors of them when it takes the first byte.
    pub fn write(
        &mut self,
        now: Instant,
        end: End,
        bytes: &[u8],
        attachments: &[&FakeFd],
    ) -> WriteResult {
        let error = self
            .lanes
            .get_mut(&end)
            .and_then(|own| own.write_error(now));
        if let Some(error) = error {
            return error;
        }
        if attachments.len() > MAX_ATTACHMENTS {
            return WriteResult::Invalid;
        }
        let in_flight = self.registry.held_by(Owner::InFlight);
        // Linux compares what was in flight before this write, so one write may overshoot.
        let crowded = self.in_flight_limit.is_some_and(|limit| in_flight > limit);
        if crowded && !attachments.is_empty() {
            count(&mut self.marks, "too_many_references");
            return WriteResult::TooManyReferences;
        }
        let Some(lane) = self.lanes.get_mut(&end.partner()) else {
            return WriteResult::BrokenPipe;
        };
        let result = lane.write(now, bytes, attachments, &mut self.marks);
        if lane.answers_with_reset()
            && let Some(own) = self.lanes.get_mut(&end)
        {
            own.reset_by_peer(now);
        }
        result
    }

    /// Reads, as `recvmsg` with MSG_DONTWAIT, on behalf of a process whose table may be full. A room
    /// of 0 bytes counts as 1.
    pub fn read(&mut self, now: Instant, end: End, process: u32, room: Room) -> ReadResult {
        match self.lanes.get_mut(&end) {
            Some(lane) => lane.read(now, &self.registry, process, room, &mut self.marks),
            None => ReadResult::End,
        }
    }

    /// Whether a read would not block: bytes, the end of file or an error wait.
    pub fn readable(&self, now: Instant, end: End) -> bool {
        self.lanes.get(&end).is_none_or(|lane| lane.readable(now))
    }

    /// Whether a poll would call the end writable. A unix socket says so only when at most a quarter
    /// of its buffer is in use, although a write would be taken sooner.
    pub fn writable(&self, now: Instant, end: End) -> bool {
        let broken = self.lanes.get(&end).is_none_or(|own| own.is_broken(now));
        let outward = self.lanes.get(&end.partner());
        broken || outward.is_none_or(|lane| lane.writable(now))
    }

    /// No write to this end takes more bytes than this, so a driver need not gather more.
    pub fn appetite(&self, end: End) -> usize {
        let outward = self.lanes.get(&end.partner());
        outward.map_or(usize::MAX, Lane::appetite)
    }

    /// Ends the writing side (SHUT_WR): the peer reads what was written, then the end of file.
    pub fn shutdown_write(&mut self, now: Instant, end: End) {
        if let Some(lane) = self.lanes.get_mut(&end.partner()) {
            lane.finish(now);
        }
    }

    /// Closes the end, as the process does or as the kernel does for it when it dies. What it had
    /// not read is lost, and where that was anything a socket's peer is told by a reset.
    pub fn close(&mut self, now: Instant, end: End) {
        let unread = match self.lanes.get_mut(&end) {
            Some(lane) => lane.close_reader(&mut self.marks),
            None => return,
        };
        let Some(peer) = self.lanes.get_mut(&end.partner()) else {
            return;
        };
        if unread {
            count(&mut self.marks, "closed_with_unread_input");
            peer.reset_by_peer(now);
        }
        peer.finish(now);
        // When both ends are closed nobody can name the connection any more.
        if peer.reader_has_closed() {
            self.lanes.remove(&end);
            self.lanes.remove(&end.partner());
        }
    }

    /// Cuts a connection in the network: each side keeps what has arrived, loses what is on its way,
    /// and is told of a reset. Only TCP can be cut.
    pub fn cut(&mut self, now: Instant, end: End) {
        for end in [end, end.partner()] {
            if let Some(lane) = self.lanes.get_mut(&end) {
                lane.cut(now);
            }
        }
    }

    /// Holds everything that is on its way to either side, and what is written meanwhile, until a
    /// point in time. Nobody is told, as in a partition. Only TCP can be held.
    pub fn hold(&mut self, now: Instant, end: End, until: Instant) {
        for end in [end, end.partner()] {
            if let Some(lane) = self.lanes.get_mut(&end) {
                lane.hold(now, until);
            }
        }
    }

    /// The number of descriptors in flight above which the user may not write another
    /// (RLIMIT_NOFILE of the sender counts here as well); `None` lifts the limit.
    pub fn set_in_flight_limit(&mut self, limit: Option<u64>) {
        self.in_flight_limit = limit;
    }

    /// When something changes by time alone after `now`: an arrival, or the end of a hold.
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        self.lanes
            .values()
            .filter_map(|lane| lane.next_change(now))
            .min()
    }

    /// How often each rare path was taken.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Bytes that were written to this end and that it has not read.
    pub fn unread(&self, end: End) -> usize {
        self.lanes.get(&end).map_or(0, Lane::unread)
    }
}

fn count(marks: &mut Marks, mark: &'static str) {
    *marks.entry(mark).or_default() += 1;
}
