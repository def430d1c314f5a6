//! The connections of the links: reading what is ready, writing plans.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use switchboard_proto::{
    Hangup, LinkConfig, LinkId, LinkOrigin, Medium, Read as NodeRead, WriteBatch, Written,
};

use super::Engine;
use super::actor::LinkEnd;
use super::source::{Held, Interest, Owner, SourceId, SourceTable};
use crate::{Attachment, FileId, Kind, MAX_READ, Read, Stream, Write};

/// What one link may bring in one turn, so that others are heard too.
const BYTES_PER_TURN: usize = 64 * 1024;
const READS_PER_TURN: usize = 32;
/// What is still read of a link whose process has exited. A pipe holds at most 1 MiB (the default
/// of `/proc/sys/fs/pipe-max-size`), so only somebody else that writes to it brings more.
const BYTES_AFTER_EXIT: usize = 1024 * 1024;
/// Slices of one write; a plan has at most a few dozen, and what is beyond goes with the next.
const SLICES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Links {
    slots: Vec<Option<Conn>>,
    /// Links that may have something to read: each once.
    ready: VecDeque<LinkId>,
    /// Links whose blocked write may go on: each once.
    writable: VecDeque<LinkId>,
}

#[derive(Debug)]
struct Conn {
    id: LinkId,
    stream: Stream,
    read: SourceId,
    /// The second descriptor of pipes, registered only while a write waits.
    write: Option<SourceId>,
    /// Whether a plan waits for room.
    blocked: bool,
    /// Whether it stands in `Links::ready`.
    readable: bool,
    /// Whether it stands in `Links::writable`.
    unblocked: bool,
    /// Whether the poller has reported the end, so that no further report may come.
    to_end: bool,
    /// The link ends with this as soon as what it holds is read.
    ending: Option<Hangup>,
    /// Bytes that are still read of a link that ends.
    left: usize,
    /// The poller does not take it: it is always ready.
    never_blocks: bool,
    /// The first bytes that came, where they are kept.
    beginning: Option<Vec<u8>>,
}

/// What to do with a link after a read.
enum After {
    /// There may be more now.
    Again,
    /// Nothing more before the poller speaks.
    Wait,
    /// All that it will ever bring was read.
    End(Hangup),
    /// The node does not know it any more.
    Forget,
}

impl Links {
    pub(super) fn ready(&mut self, id: LinkId, readable: bool, writable: bool) {
        let Some(conn) = self.get_mut(id) else {
            return;
        };
        let read = readable && !conn.readable;
        let write = writable && conn.blocked && !conn.unblocked;
        conn.readable |= read;
        conn.unblocked |= write;
        if read {
            self.ready.push_back(id);
        }
        if write {
            self.writable.push_back(id);
        }
    }

    pub(super) fn read_to_end(&mut self, id: LinkId) {
        if let Some(conn) = self.get_mut(id) {
            conn.to_end = true;
        }
    }

    pub(super) fn end_soon(&mut self, id: LinkId, cause: Hangup) {
        if let Some(conn) = self.get_mut(id)
            && conn.ending.is_none()
        {
            conn.ending = Some(cause);
            conn.left = BYTES_AFTER_EXIT;
            self.ready(id, true, false);
        }
    }

    pub(super) fn never_blocks(&mut self, id: LinkId) {
        if let Some(conn) = self.get_mut(id) {
            conn.never_blocks = true;
            self.ready(id, true, true);
        }
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty() || !self.writable.is_empty()
    }

    pub(super) fn identities(&self) -> impl Iterator<Item = &FileId> {
        let conns = self.slots.iter().flatten();
        conns.flat_map(|conn| conn.stream.identities())
    }

    pub(super) fn stream(&self, id: LinkId) -> Option<&Stream> {
        let conn = self.slots.get(id.index())?.as_ref()?;
        (conn.id == id).then_some(&conn.stream)
    }

    /// Gives up the connection; the driver takes its descriptors out before they are closed.
    /// Returns the first bytes that came over it, if they were to be kept.
    pub(super) fn close(&mut self, id: LinkId, sources: &mut SourceTable) -> Vec<u8> {
        let Some(slot) = self.slots.get_mut(id.index()) else {
            return Vec::new();
        };
        let Some(conn) = slot.take_if(|conn| conn.id == id) else {
            return Vec::new();
        };
        let held = Held::Stream(Arc::new(conn.stream));
        if let Some(write) = conn.write {
            sources.remove(write, held.clone());
        }
        sources.remove(conn.read, held);
        conn.beginning.unwrap_or_default()
    }

    /// Gives up all connections, as [`Links::close`] gives up one.
    pub(super) fn close_all(&mut self, sources: &mut SourceTable) {
        let ids: Vec<LinkId> = self.slots.iter().flatten().map(|conn| conn.id).collect();
        for id in ids {
            self.close(id, sources);
        }
    }

    /// Keeps the first bytes that come over this link, to show what a program says that does not
    /// speak the protocol.
    pub(super) fn keep_beginning(&mut self, id: LinkId) {
        if let Some(conn) = self.get_mut(id) {
            conn.beginning = Some(Vec::new());
        }
    }

    fn insert(&mut self, conn: Conn) {
        let index = conn.id.index();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some(conn);
    }

    fn get_mut(&mut self, id: LinkId) -> Option<&mut Conn> {
        let conn = self.slots.get_mut(id.index())?.as_mut()?;
        (conn.id == id).then_some(conn)
    }
}

impl Conn {
    /// Asks the poller for room, or stops asking.
    fn set_blocked(&mut self, blocked: bool, sources: &mut SourceTable) {
        if self.blocked == blocked {
            return;
        }
        self.blocked = blocked;
        if self.stream.kind() != Kind::Pipe {
            let interest = if blocked {
                Interest::BOTH
            } else {
                Interest::READ
            };
            return sources.set(self.read, interest);
        }
        // A poller takes no descriptor without an interest, so this one comes and goes.
        match (blocked, self.stream.write_fd()) {
            (true, Some(fd)) => {
                let owner = Owner::PipeWrite(self.id);
                self.write = Some(sources.add(fd, owner, Interest::WRITE));
            }
            _ => {
                if let Some(write) = self.write.take() {
                    sources.remove(write, Held::Elsewhere);
                }
            }
        }
    }

    fn write(&mut self, batch: &WriteBatch<'_, Attachment>) -> Write {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        for (slot, slice) in slices.iter_mut().zip(batch.slices()) {
            *slot = IoSlice::new(slice);
            count += 1;
        }
        let attachments: Vec<BorrowedFd<'_>> =
            batch.attachments().iter().map(AsFd::as_fd).collect();
        self.stream.write(&slices[..count], &attachments)
    }
}

impl Engine {
    pub(super) fn add_stream(&mut self, stream: Stream, origin: LinkOrigin) -> LinkId {
        let attachments = stream.carries_attachments() && self.takes_attachments;
        if !attachments {
            // A kernel that cannot lets them through: reading closes what comes, and the link.
            let _ = stream.refuse_attachments();
        }
        let config = LinkConfig {
            origin,
            medium: match stream.kind() {
                Kind::Tcp => Medium::Network,
                Kind::Unix | Kind::Pipe => Medium::Local,
            },
            attachments,
        };
        let now = self.now();
        let id = self.node.add_link(now, config);
        let owner = Owner::Link(id);
        let read = self.sources.add(stream.read_fd(), owner, Interest::READ);
        self.links.insert(Conn {
            id,
            stream,
            read,
            write: None,
            blocked: false,
            readable: false,
            unblocked: false,
            to_end: false,
            ending: None,
            left: 0,
            never_blocks: false,
            beginning: None,
        });
        id
    }

    /// Writes of the committed plan as much as the kernel takes.
    pub(super) fn write_link(&mut self, id: LinkId) {
        loop {
            let Some(conn) = self.links.get_mut(id) else {
                return;
            };
            let Some(batch) = self.node.write_batch(id) else {
                return conn.set_blocked(false, &mut self.sources);
            };
            self.stats.writes += 1;
            let written = match conn.write(&batch) {
                Write::Wrote(bytes) => Written::Wrote(bytes),
                Write::Blocked => Written::Blocked,
                Write::NoAttachmentRoom => Written::NoAttachmentRoom,
                Write::Failed(_) => {
                    // The peer is gone. What it wrote before that, its goodbye above all, still
                    // lies in the socket: the link ends when that is read.
                    conn.set_blocked(false, &mut self.sources);
                    return self.links.end_soon(id, Hangup::Failed);
                }
            };
            conn.set_blocked(written == Written::Blocked, &mut self.sources);
            let now = self.now();
            let accounted = self.node.handle_written(now, id, written);
            debug_assert!(accounted.is_ok(), "the plan was committed: {accounted:?}");
            if !matches!(written, Written::Wrote(_)) {
                return;
            }
        }
    }

    /// Goes on with writes that the kernel has room for again.
    pub(super) fn retry_writes(&mut self) {
        for _ in 0..self.links.writable.len() {
            let Some(id) = self.links.writable.pop_front() else {
                return;
            };
            if let Some(conn) = self.links.get_mut(id) {
                conn.unblocked = false;
                self.write_link(id);
            }
        }
    }

    /// Reads every link that is ready, each within its budget.
    pub(super) fn read_ready(&mut self) {
        for _ in 0..self.links.ready.len() {
            let Some(id) = self.links.ready.pop_front() else {
                return;
            };
            let after = self.read_link(id);
            let Some(conn) = self.links.get_mut(id) else {
                continue;
            };
            match after {
                After::Again => self.links.ready.push_back(id),
                After::Wait | After::Forget => conn.readable = false,
                After::End(cause) => {
                    conn.readable = false;
                    let now = self.now();
                    // Where the node has ended the link already, it closes it by itself.
                    let _ = self.node.handle_hangup(now, id, cause);
                }
            }
        }
    }

    fn read_link(&mut self, id: LinkId) -> After {
        let mut budget = BYTES_PER_TURN;
        for _ in 0..READS_PER_TURN {
            // A part of the former memory is often free again: then this allocates nothing.
            self.buffer.reserve(MAX_READ);
            let Some(conn) = self.links.get_mut(id) else {
                return After::Forget;
            };
            let mut attachments = Vec::new();
            self.stats.reads += 1;
            let (bytes, truncated, drained) =
                match conn.stream.read(&mut self.buffer, &mut attachments) {
                    Read::Data {
                        bytes,
                        truncated,
                        drained,
                    } => (bytes, truncated, drained),
                    Read::Blocked => return conn.blocked_read(),
                    Read::End { reset: false } => return conn.ended(Hangup::End),
                    Read::End { reset: true } => return conn.ended(Hangup::Reset),
                    Read::Failed(_) => return conn.ended(Hangup::Failed),
                };
            if let Some(beginning) = &mut conn.beginning {
                let room = LinkEnd::FIRST_BYTES - beginning.len();
                let end = self.buffer.len().min(room);
                beginning.extend_from_slice(&self.buffer[..end]);
            }
            let last = drained && !conn.to_end && conn.ending.is_none();
            if let Some(cause) = conn.ending {
                conn.left = conn.left.saturating_sub(bytes);
                if conn.left == 0 {
                    return After::End(cause);
                }
            }
            let read = NodeRead {
                bytes: self.buffer.split(),
                attachments,
                truncated,
            };
            let now = self.now();
            if self.node.handle_read(now, id, read).is_err() {
                return After::Forget;
            }
            if last {
                return After::Wait;
            }
            budget = budget.saturating_sub(bytes);
            if budget == 0 {
                break;
            }
        }
        After::Again
    }
}

impl Conn {
    /// A cause that was told before says more than the end of the bytes.
    fn ended(&self, cause: Hangup) -> After {
        After::End(self.ending.unwrap_or(cause))
    }

    fn blocked_read(&self) -> After {
        match self.ending {
            Some(cause) => After::End(cause),
            None if self.never_blocks => After::Again,
            None => After::Wait,
        }
    }
}
