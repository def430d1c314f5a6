//! Reading and writing sockets. Every call says `MSG_DONTWAIT`, so the flag of the description,
//! which a parent may share, does not matter.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage,
};

use super::{Read, Write};
use crate::MAX_ATTACHMENTS;
use crate::sys;

/// Room for the descriptors of one message, always for the most there can be: what does not fit is
/// closed by the kernel.
type ControlSpace = [MaybeUninit<u8>; cmsg_space!(ScmRights(MAX_ATTACHMENTS))];

#[cfg(not(target_vendor = "apple"))]
const RECEIVE: RecvFlags = RecvFlags::DONTWAIT.union(RecvFlags::CMSG_CLOEXEC);
#[cfg(target_vendor = "apple")]
const RECEIVE: RecvFlags = RecvFlags::DONTWAIT;

/// Reads a Unix-domain socket. There is no other call for one: `read` and `recv` close the
/// descriptors that lie in the queue without a word.
pub(super) fn receive_with_attachments<F: From<OwnedFd> + AsFd>(
    socket: BorrowedFd<'_>,
    window: &mut [u8],
    attachments: &mut Vec<F>,
) -> Read {
    let room = window.len();
    let mut space: ControlSpace = [MaybeUninit::uninit(); _];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(window)],
            &mut control,
            RECEIVE,
        )
    });
    let message = match received {
        Ok(message) => message,
        Err(error) => return failed(error),
    };
    let before = attachments.len();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = part {
            attachments.extend(descriptors.map(F::from));
        }
    }
    #[cfg(target_vendor = "apple")]
    for descriptor in &attachments[before..] {
        // There is no MSG_CMSG_CLOEXEC here; a fork in another thread may win this race.
        if let Err(error) = sys::set_close_on_exec(descriptor) {
            return Read::Failed(error);
        }
    }
    let truncated = message.flags.contains(ReturnFlags::CTRUNC);
    let carried = truncated || attachments.len() > before;
    match message.bytes {
        0 => Read::End { reset: false },
        // unix_stream_read_generic() goes on over message after message until the room is used up
        // or the queue is empty, and breaks only behind one that carried descriptors.
        bytes => Read::Data {
            bytes,
            truncated,
            drained: bytes < room && !carried,
        },
    }
}

/// Reads a socket that carries no descriptors.
pub(super) fn receive(socket: BorrowedFd<'_>, window: &mut [u8]) -> Read {
    let room = window.len();
    match retry_on_intr(|| rustix::net::recv(socket, &mut *window, RecvFlags::DONTWAIT)) {
        Ok((0, _)) => Read::End { reset: false },
        Ok((bytes, _)) => Read::Data {
            bytes,
            truncated: false,
            drained: bytes < room,
        },
        Err(error) => failed(error),
    }
}

/// The slices hold at least one byte, and there are at most [`MAX_ATTACHMENTS`] descriptors.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    attachments: &[BorrowedFd<'_>],
) -> Write {
    let mut space: ControlSpace = [MaybeUninit::uninit(); _];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !attachments.is_empty() {
        let pushed = control.push(SendAncillaryMessage::ScmRights(attachments));
        debug_assert!(pushed, "the space is for the most descriptors there can be");
    }
    match retry_on_intr(|| rustix::net::sendmsg(socket, slices, &mut control, sys::SEND)) {
        Ok(bytes) => Write::Wrote(bytes),
        Err(Errno::AGAIN) => Write::Blocked,
        Err(Errno::TOOMANYREFS) => Write::NoAttachmentRoom,
        Err(error) => Write::Failed(error.into()),
    }
}

fn failed(error: Errno) -> Read {
    match error {
        Errno::AGAIN => Read::Blocked,
        // A Unix-domain peer that closes with bytes unread makes one read fail with this after the
        // last bytes were read; for TCP it is an abort. Either way nothing else will come.
        Errno::CONNRESET => Read::End { reset: true },
        error => Read::Failed(error.into()),
    }
}
