//! The descriptors that a driver has to wait for.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use slab::Slab;
use switchboard_proto::LinkId;

use super::actor::Watched;
use crate::{Connecting, Listener, Stream};

/// One descriptor in the poller. A small number, used again for another one after the driver was
/// told to take it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(usize);

impl SourceId {
    /// The number, for a poller's token.
    pub const fn index(self) -> usize {
        self.0
    }

    /// The source with this number.
    pub const fn from_index(index: usize) -> Self {
        Self(index)
    }
}

/// What to wait for. At least one of the two is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Bytes, a connection, or an end.
    pub readable: bool,
    /// Room for bytes, or the outcome of an attempt to connect.
    pub writable: bool,
}

impl Interest {
    pub(super) const READ: Self = Self {
        readable: true,
        writable: false,
    };
    pub(super) const WRITE: Self = Self {
        readable: false,
        writable: true,
    };
    pub(super) const BOTH: Self = Self {
        readable: true,
        writable: true,
    };
}

/// What to do in the poller. The descriptors are open, and stay so until they are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceChange {
    /// Register this one.
    Added {
        /// The source.
        source: SourceId,
        /// Its descriptor.
        fd: RawFd,
        /// What to wait for.
        interest: Interest,
    },
    /// Wait for something else. An edge-triggered poller must report anew what holds already, as
    /// `EPOLL_CTL_MOD` does.
    Changed {
        /// The source.
        source: SourceId,
        /// Its descriptor.
        fd: RawFd,
        /// What to wait for.
        interest: Interest,
    },
    /// Take it out; the descriptor is closed next.
    Removed {
        /// The source.
        source: SourceId,
        /// Its descriptor.
        fd: RawFd,
    },
}

/// The changes since the last time; see [`Engine::sources`](super::Engine::sources).
#[derive(Debug)]
pub struct Sources<'a> {
    table: &'a mut SourceTable,
}

/// Whom a source belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Link(LinkId),
    /// The second descriptor of a pair of pipes.
    PipeWrite(LinkId),
    Listener(usize),
    Dial,
    /// A descriptor of the actor with this number.
    Actor(usize),
}

/// What keeps the descriptor of a removed source open.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "held for their drop alone")]
pub(super) enum Held {
    Stream(Arc<Stream>),
    Listener(Arc<Listener>),
    Watched(Watched),
    Connecting(Arc<Connecting>),
    /// Its owner holds it for longer than the source.
    Elsewhere,
}

#[derive(Debug, Default)]
pub(super) struct SourceTable {
    slots: Slab<Source>,
    queue: VecDeque<Queued>,
    serial: u64,
    /// Closed when the caller comes back: by then it has taken the descriptor out.
    removed: Option<Held>,
}

#[derive(Debug)]
struct Source {
    serial: u64,
    fd: RawFd,
    owner: Owner,
    wanted: Interest,
    /// What the driver was told; `None` before it knows the source.
    told: Option<Interest>,
    queued: bool,
}

#[derive(Debug)]
enum Queued {
    /// Tell what is wanted by then, unless the number belongs to another one.
    Update { source: SourceId, serial: u64 },
    Removed {
        source: SourceId,
        fd: RawFd,
        held: Held,
    },
}

impl SourceTable {
    pub(super) fn add(&mut self, fd: impl AsFd, owner: Owner, interest: Interest) -> SourceId {
        self.serial += 1;
        let id = self.slots.insert(Source {
            serial: self.serial,
            fd: fd.as_fd().as_raw_fd(),
            owner,
            wanted: interest,
            told: None,
            queued: false,
        });
        let id = SourceId(id);
        self.queue_update(id);
        id
    }

    pub(super) fn set(&mut self, source: SourceId, interest: Interest) {
        if let Some(entry) = self.slots.get_mut(source.0)
            && entry.wanted != interest
        {
            entry.wanted = interest;
            self.queue_update(source);
        }
    }

    /// Forgets the source; `held` keeps its descriptor open until the driver has, too.
    pub(super) fn remove(&mut self, source: SourceId, held: Held) {
        let Some(entry) = self.slots.try_remove(source.0) else {
            return;
        };
        if entry.told.is_some() {
            let fd = entry.fd;
            self.queue.push_back(Queued::Removed { source, fd, held });
        }
    }

    pub(super) fn owner(&self, source: SourceId) -> Option<Owner> {
        self.slots.get(source.0).map(|entry| entry.owner)
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn changes(&mut self) -> Sources<'_> {
        Sources { table: self }
    }

    pub(super) fn next_change(&mut self) -> Option<SourceChange> {
        self.removed = None;
        while let Some(queued) = self.queue.pop_front() {
            match queued {
                Queued::Update { source, serial } => {
                    if let Some(change) = self.update(source, serial) {
                        return Some(change);
                    }
                }
                Queued::Removed { source, fd, held } => {
                    self.removed = Some(held);
                    return Some(SourceChange::Removed { source, fd });
                }
            }
        }
        None
    }

    fn queue_update(&mut self, source: SourceId) {
        if let Some(entry) = self.slots.get_mut(source.0)
            && !entry.queued
        {
            entry.queued = true;
            let serial = entry.serial;
            self.queue.push_back(Queued::Update { source, serial });
        }
    }

    fn update(&mut self, source: SourceId, serial: u64) -> Option<SourceChange> {
        let entry = self.slots.get_mut(source.0)?;
        if entry.serial != serial {
            return None;
        }
        entry.queued = false;
        let (fd, interest) = (entry.fd, entry.wanted);
        match entry.told.replace(interest) {
            None => Some(SourceChange::Added {
                source,
                fd,
                interest,
            }),
            // It was changed and changed back before anybody looked.
            Some(told) if told == interest => None,
            Some(_) => Some(SourceChange::Changed {
                source,
                fd,
                interest,
            }),
        }
    }
}

impl Iterator for Sources<'_> {
    type Item = SourceChange;

    fn next(&mut self) -> Option<SourceChange> {
        self.table.next_change()
    }
}

impl Drop for Sources<'_> {
    fn drop(&mut self) {
        self.table.removed = None;
    }
}
