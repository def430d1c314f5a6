//! For tests: counted attachments, and the byte stream of a Unix socket as Linux makes it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::BytesMut;

use super::tx::WriteBatch;
use crate::id::InstanceId;
use crate::wire::{Header, Kind};

/// How many attachments are open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Census(Arc<AtomicUsize>);

impl Census {
    pub(crate) fn open(&self) -> usize {
        self.0.load(Relaxed)
    }

    pub(crate) fn fd(&self, number: u32) -> Fd {
        self.0.fetch_add(1, Relaxed);
        Fd {
            number,
            census: self.clone(),
        }
    }

    pub(crate) fn fds(&self, numbers: impl IntoIterator<Item = u32>) -> Vec<Fd> {
        numbers.into_iter().map(|number| self.fd(number)).collect()
    }
}

/// An attachment that counts its life. A clone is what `dup` makes.
#[derive(Debug)]
pub(crate) struct Fd {
    pub(crate) number: u32,
    census: Census,
}

impl Clone for Fd {
    fn clone(&self) -> Self {
        self.census.fd(self.number)
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        self.census.0.fetch_sub(1, Relaxed);
    }
}

pub(crate) fn numbers(fds: &[Fd]) -> Vec<u32> {
    fds.iter().map(|fd| fd.number).collect()
}

/// A frame with a body of one repeated byte.
pub(crate) fn frame(kind: Kind, sequence: u64, attachments: u8, body: usize) -> Vec<u8> {
    let mut header = Header::new(kind, InstanceId(1), InstanceId(2));
    header.sequence = sequence;
    header.attachments = attachments;
    let mut out = Vec::new();
    header.encode(body, &mut out);
    out.resize(out.len() + body, sequence as u8);
    out
}

/// One direction of a Unix stream socket.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    segments: VecDeque<(Vec<u8>, Vec<Fd>)>,
}

/// What one `recvmsg` gave.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) bytes: BytesMut,
    pub(crate) fds: Vec<Fd>,
    pub(crate) truncated: bool,
}

impl Stream {
    pub(crate) fn write(&mut self, bytes: &[u8], fds: Vec<Fd>) {
        assert!(!bytes.is_empty(), "the kernel would drop the attachments");
        self.segments.push_back((bytes.to_vec(), fds));
    }

    /// As `sendmsg` into a socket with room for `room` bytes. The attachments go with the first.
    pub(crate) fn send(&mut self, batch: &WriteBatch<'_, Fd>, room: usize) -> usize {
        let mut bytes: Vec<u8> = Vec::new();
        for slice in batch.slices() {
            bytes.extend_from_slice(slice);
        }
        assert_eq!(bytes.len(), batch.len());
        bytes.truncate(room);
        self.write(&bytes, batch.attachments().to_vec());
        bytes.len()
    }

    /// As `recvmsg` into a buffer of `len` bytes, with room for `slots` descriptors in the process
    /// table. It merges plain segments, and stops after one whose attachments it gave.
    pub(crate) fn read(&mut self, len: usize, slots: usize) -> Option<Read> {
        let mut read = Read {
            bytes: BytesMut::new(),
            fds: Vec::new(),
            truncated: false,
        };
        while let Some((bytes, fds)) = self.segments.front_mut() {
            let taken = bytes.len().min(len - read.bytes.len());
            if taken == 0 {
                break;
            }
            read.bytes.extend(bytes.drain(..taken));
            let bearing = !fds.is_empty();
            read.truncated = fds.len() > slots;
            read.fds = core::mem::take(fds);
            read.fds.truncate(slots);
            if bytes.is_empty() {
                self.segments.pop_front();
            }
            if bearing {
                break;
            }
        }
        (!read.bytes.is_empty()).then_some(read)
    }
}
