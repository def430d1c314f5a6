//! A connection as two blocking descriptors, and the system calls on it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::io::{Errno, ioctl_fionbio, read, write};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use switchboard_os::process::ChannelEnd;

// What the transports say with each call, where the system has a word for it.
#[cfg(not(target_vendor = "apple"))]
const SEND: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND: SendFlags = SendFlags::empty();
#[cfg(not(target_vendor = "apple"))]
const RECEIVE: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(target_vendor = "apple")]
const RECEIVE: RecvFlags = RecvFlags::empty();

/// One end of a connection.
#[derive(Debug)]
pub struct Line {
    read: OwnedFd,
    /// Where it is another one.
    write: Option<OwnedFd>,
}

impl Line {
    /// The end of an inherited channel.
    ///
    /// # Errors
    ///
    /// None that a valid descriptor gives.
    pub fn of_channel(channel: ChannelEnd) -> Result<Self> {
        let line = match channel {
            ChannelEnd::Socket(socket) => Self::of_socket(socket),
            ChannelEnd::Pipes { read, write } => Self {
                read,
                write: Some(write),
            },
            _ => bail!("a channel of another kind"),
        };
        ioctl_fionbio(&line.read, false)?;
        ioctl_fionbio(line.writer(), false)?;
        Ok(line)
    }

    /// Connects to `unix:/path` or `tcp://host:port`.
    ///
    /// # Errors
    ///
    /// Nobody listens there.
    pub fn connect(address: &str) -> Result<Self> {
        if let Some(path) = address.strip_prefix("unix:") {
            return Ok(Self::of_socket(UnixStream::connect(path)?.into()));
        }
        let host = address.strip_prefix("tcp://").context("an address")?;
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        Ok(Self::of_socket(stream.into()))
    }

    /// A socket, for both directions.
    pub const fn of_socket(socket: OwnedFd) -> Self {
        Self {
            read: socket,
            write: None,
        }
    }

    fn writer(&self) -> BorrowedFd<'_> {
        self.write.as_ref().unwrap_or(&self.read).as_fd()
    }

    /// Reads what is there, waiting for the first byte. Zero at the end.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn read(&self, into: &mut [u8]) -> Result<usize> {
        loop {
            match read(&self.read, &mut *into) {
                Err(Errno::INTR) => {}
                result => return result.context("read"),
            }
        }
    }

    /// Reads until the buffer is full. Whether it is, or the end came before the first byte.
    ///
    /// # Errors
    ///
    /// What the system says, or an end in the middle.
    pub fn read_exact(&self, into: &mut [u8]) -> Result<bool> {
        let mut filled = 0;
        while filled < into.len() {
            match self.read(&mut into[filled..])? {
                0 => {
                    ensure!(filled == 0, "the connection ended within a message");
                    return Ok(false);
                }
                count => filled += count,
            }
        }
        Ok(true)
    }

    /// Writes everything.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn write_all(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match write(self.writer(), bytes) {
                Err(Errno::INTR) => {}
                written => bytes = &bytes[written.context("write")?..],
            }
        }
        Ok(())
    }

    /// Sends a message with a descriptor.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn send_with(&self, bytes: &[u8], descriptor: BorrowedFd<'_>) -> Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor];
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let sent = sendmsg(self.writer(), &[IoSlice::new(bytes)], &mut ancillary, SEND);
        self.write_all(&bytes[sent.context("sendmsg")?..])
    }

    /// Receives a message of this size, and the descriptor with it; `None` at the end.
    ///
    /// # Errors
    ///
    /// What the system says, or a message without a descriptor.
    pub fn receive_with(&self, into: &mut [u8]) -> Result<Option<OwnedFd>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.read,
            &mut [IoSliceMut::new(into)],
            &mut ancillary,
            RECEIVE,
        );
        let count = received.context("recvmsg")?.bytes;
        if count == 0 {
            return Ok(None);
        }
        let descriptor = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let descriptor = descriptor.context("no descriptor came")?;
        if count < into.len() {
            ensure!(
                self.read_exact(&mut into[count..])?,
                "the connection ended within a message"
            );
        }
        Ok(Some(descriptor))
    }
}
