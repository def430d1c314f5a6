//! Cuts the bytes of a link into frames.

use alloc::vec::Vec;
use core::mem;

use bytes::{Buf, Bytes, BytesMut};

use super::{Header, Most, Run, WireError, limits, run};

/// Frames above this many bytes can be kept without a copy. Below it, the copy costs less than the
/// shared chunk that it would keep alive.
const SHARED_ABOVE: usize = 4 * 1024;

/// Cuts the bytes of one direction of a link into frames, whatever pieces they come in.
///
/// Frames that lie whole in a chunk are lent out of it. Only a frame that spans chunks is copied
/// together, into a buffer that never exceeds twice the bytes that have come: what a peer announces
/// costs nothing.
///
/// After an error every later call gives the same error: there is no next frame to find.
#[derive(Debug)]
pub struct Deframer {
    /// Bytes from `at` on are still to be cut; they begin with a frame unless `begun` holds one.
    chunk: BytesMut,
    at: usize,
    /// Where the small frame begins that was lent last out of the chunk and ends at `at`, if one was.
    lead: usize,
    /// The beginning of a frame whose rest is still to come.
    begun: Vec<u8>,
    /// Whether `begun` holds a whole frame, which was lent by the last call.
    lent: bool,
    limit: usize,
    failed: Option<WireError>,
}

/// Where a whole frame lies.
enum Place {
    /// In the chunk, this many bytes from `at` on.
    Chunk(usize),
    Begun,
}

impl Deframer {
    /// A deframer for a new link, with the limit of a hello.
    pub fn new() -> Self {
        Self {
            chunk: BytesMut::new(),
            at: 0,
            lead: 0,
            begun: Vec::new(),
            lent: false,
            limit: limits::HELLO,
            failed: None,
        }
    }

    /// Sets the largest frame in bytes, header included. It applies to all frames that
    /// [`Deframer::next`] has not returned yet.
    pub const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes bytes as they came. Without a copy if all frames of the chunk before have been cut,
    /// that is, if [`Deframer::next`] has returned `None` since.
    pub fn push(&mut self, chunk: BytesMut) {
        self.chunk.advance(mem::take(&mut self.at));
        self.lead = 0;
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            self.chunk.unsplit(chunk);
        }
    }

    /// The next whole frame, or `None` if more bytes must come first. Frames of unknown kinds are
    /// returned too, for the caller to skip with their attachments.
    ///
    /// # Errors
    ///
    /// If a frame is shorter than a header, longer than the limit (known as soon as its first four
    /// bytes are there), of an unknown critical kind, or has more attachments than one write can. A
    /// link-local frame must also keep to [`limits::CONTROL`].
    #[expect(
        clippy::should_implement_trait,
        reason = "frames borrow from the deframer"
    )]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, WireError> {
        if mem::take(&mut self.lent) {
            self.begun.clear();
        }
        // Nearly every frame is small and lies whole in the chunk.
        if self.begun.is_empty()
            && self.failed.is_none()
            && let rest = &self.chunk[self.at..]
            && let Some(raw) = rest.first_chunk()
            && let Ok((header, len)) = self.judge(raw)
            && len <= rest.len().min(SHARED_ABOVE)
        {
            self.lead = self.at;
            self.at += len;
            return Ok(Some(Frame {
                header,
                bytes: FrameBytes::Borrowed(&self.chunk[self.lead..self.at]),
            }));
        }
        self.next_of_any()
    }

    /// The frames that follow the one returned last, or the run returned last, and are like it in
    /// their first `alike` bytes; see [`Run`]. `None` where there are none, and where the one before
    /// did not lie in the chunk. They need not be judged: they are as one that was, and no longer
    /// than what is borrowed.
    #[inline]
    pub(crate) fn run(&mut self, alike: usize, most: Most) -> Option<Run<'_>> {
        let (before, rest) = self.chunk.split_at(self.at);
        let most = Most {
            frame: self.limit.min(SHARED_ABOVE),
            ..most
        };
        let run = run::cut(before.get(self.lead..)?, rest, alike, most)?;
        self.lead = self.at + run.last;
        self.at += run.bytes.len();
        Some(run)
    }

    #[inline(never)]
    fn next_of_any(&mut self) -> Result<Option<Frame<'_>>, WireError> {
        // What this returns is large or spans chunks: no run follows it.
        self.lead = self.chunk.len();
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.locate() {
            Ok(Some((header, place))) => Ok(Some(Frame {
                header,
                bytes: self.lend(place),
            })),
            Ok(None) => Ok(None),
            Err(error) => {
                self.failed = Some(error);
                Err(error)
            }
        }
    }

    /// Finds the next whole frame, or keeps what there is of it.
    fn locate(&mut self) -> Result<Option<(Header, Place)>, WireError> {
        if self.begun.is_empty() {
            let rest = &self.chunk[self.at..];
            match self.inspect(rest)? {
                Progress::Whole(header, len) => return Ok(Some((header, Place::Chunk(len)))),
                Progress::Needs(_) if rest.is_empty() => return Ok(self.exhausted()),
                Progress::Needs(len) => self.gather(len),
            }
        }
        // One round completes the header, the next the body.
        loop {
            match self.inspect(&self.begun)? {
                Progress::Whole(header, _) => return Ok(Some((header, Place::Begun))),
                Progress::Needs(_) if self.at == self.chunk.len() => return Ok(self.exhausted()),
                Progress::Needs(len) => self.gather(len),
            }
        }
    }

    /// Gives the driver the memory of its chunk back while the link is silent.
    fn exhausted(&mut self) -> Option<(Header, Place)> {
        self.chunk = BytesMut::new();
        self.at = 0;
        None
    }

    /// How far the frame at the beginning of `bytes` is.
    fn inspect(&self, bytes: &[u8]) -> Result<Progress, WireError> {
        let Some(raw) = bytes.first_chunk() else {
            // What is too long is known before the header is whole.
            self.announced(bytes)?;
            return Ok(Progress::Needs(Header::LEN));
        };
        let (header, len) = self.judge(raw)?;
        Ok(if bytes.len() < len {
            Progress::Needs(len)
        } else {
            Progress::Whole(header, len)
        })
    }

    /// A frame's header and whole length, if such a frame may come.
    #[inline]
    fn judge(&self, raw: &[u8; Header::LEN]) -> Result<(Header, usize), WireError> {
        let (header, body) = Header::decode(raw)?;
        let len = within((Header::LEN + body) as u64, self.limit)?;
        self.admit(&header, len)?;
        Ok((header, len))
    }

    /// The length that the frame announces, header and length field included.
    fn announced(&self, bytes: &[u8]) -> Result<Option<usize>, WireError> {
        let Some(field) = bytes.first_chunk() else {
            return Ok(None);
        };
        let length = u64::from(u32::from_be_bytes(*field)) + Header::LENGTH_FIELD as u64;
        if length < Header::LEN as u64 {
            return Err(WireError::Truncated);
        }
        within(length, self.limit).map(Some)
    }

    #[inline]
    fn admit(&self, header: &Header, len: usize) -> Result<(), WireError> {
        let kind = header.kind;
        if kind.is_critical() && !kind.is_known() {
            return Err(WireError::UnknownCritical(kind.0));
        }
        if header.attachments > limits::KERNEL_ATTACHMENTS {
            return Err(WireError::TooManyAttachments(header.attachments));
        }
        if kind.is_link_local() {
            within(len as u64, limits::CONTROL)?;
        }
        Ok(())
    }

    /// Moves bytes of the chunk into `begun` until it has `len`, or the chunk is used up.
    fn gather(&mut self, len: usize) {
        let rest = &self.chunk[self.at..];
        let moved = rest.len().min(len - self.begun.len());
        let have = self.begun.len() + moved;
        if have > self.begun.capacity() {
            // At most twice what has come, however long the frame claims to be; exactly the frame
            // in the end, so that nothing is wasted when it is kept.
            let room = len.min(2 * have);
            self.begun.reserve_exact(room - self.begun.len());
        }
        self.begun.extend_from_slice(&rest[..moved]);
        self.at += moved;
    }

    fn lend(&mut self, place: Place) -> FrameBytes<'_> {
        match place {
            Place::Chunk(len) if len > SHARED_ABOVE => {
                self.chunk.advance(mem::take(&mut self.at));
                FrameBytes::Shared(self.chunk.split_to(len).freeze())
            }
            Place::Chunk(len) => {
                let start = self.at;
                self.at += len;
                FrameBytes::Borrowed(&self.chunk[start..self.at])
            }
            Place::Begun if self.begun.len() > SHARED_ABOVE => {
                FrameBytes::Shared(mem::take(&mut self.begun).into())
            }
            Place::Begun => {
                self.lent = true;
                FrameBytes::Borrowed(&self.begun)
            }
        }
    }

    /// Bytes that were pushed and are not part of a frame that was returned.
    pub fn buffered(&self) -> usize {
        self.begun().len() + self.chunk.len() - self.at
    }

    /// Whether a frame has begun and is not whole yet. Meaningful once [`Deframer::next`] has
    /// returned `None`; the deadline of a frame runs as long as this stays true without one being
    /// returned.
    pub fn begun_header(&self) -> bool {
        self.buffered() > 0
    }

    /// How many bytes are missing until the frame that has begun is whole, or until its length is
    /// known; 0 if none has begun. For the size of the next read, and no promise: it grows once the
    /// length is there.
    pub fn need(&self) -> usize {
        let begun = self.begun();
        if begun.is_empty() {
            return 0;
        }
        let len = match self.announced(begun) {
            Ok(Some(len)) => len,
            Ok(None) => Header::LEN,
            Err(_) => 0,
        };
        len.saturating_sub(begun.len())
    }

    fn begun(&self) -> &[u8] {
        if self.lent { &[] } else { &self.begun }
    }
}

impl Default for Deframer {
    fn default() -> Self {
        Self::new()
    }
}

/// How far a frame is.
enum Progress {
    /// It is whole with this many bytes.
    Whole(Header, usize),
    /// This many bytes are needed to know more.
    Needs(usize),
}

#[inline]
fn within(length: u64, limit: usize) -> Result<usize, WireError> {
    match usize::try_from(length) {
        Ok(len) if len <= limit => Ok(len),
        _ => Err(WireError::Oversized {
            length,
            limit: limit as u64,
        }),
    }
}

/// A whole frame, lent until the next call of the deframer.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// Its header.
    pub header: Header,
    bytes: FrameBytes<'a>,
}

#[derive(Clone, Debug)]
enum FrameBytes<'a> {
    Borrowed(&'a [u8]),
    Shared(Bytes),
}

impl Frame<'_> {
    /// Everything after the header.
    #[inline]
    pub fn body(&self) -> &[u8] {
        &self.whole()[Header::LEN..]
    }

    /// The frame as it came, header included.
    #[inline]
    pub fn whole(&self) -> &[u8] {
        match &self.bytes {
            FrameBytes::Borrowed(bytes) => bytes,
            FrameBytes::Shared(bytes) => bytes,
        }
    }

    /// The body from `offset` on, to keep; empty if `offset` is past its end.
    ///
    /// No copy if the frame has more than 4 KiB. What is then kept alive with it is the frame, or
    /// the whole chunk if one read brought the whole frame.
    pub fn share_body_from(&self, offset: usize) -> Bytes {
        let offset = offset.min(self.body().len());
        match &self.bytes {
            FrameBytes::Borrowed(_) => Bytes::copy_from_slice(&self.body()[offset..]),
            FrameBytes::Shared(bytes) => bytes.slice(Header::LEN + offset..),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::InstanceId;
    use crate::wire::Kind;

    fn event(body_len: usize) -> Vec<u8> {
        let header = Header::new(Kind::EVENT, InstanceId(1), InstanceId(2));
        let mut out = Vec::new();
        header.encode_with(|out| out.resize(out.len() + body_len, 7), &mut out);
        out
    }

    fn established() -> Deframer {
        let mut deframer = Deframer::new();
        deframer.set_limit(limits::FRAME);
        deframer
    }

    fn is_shared(frame: &Frame<'_>) -> bool {
        matches!(frame.bytes, FrameBytes::Shared(_))
    }

    #[test]
    fn hazard_w1_memory_follows_what_came_and_not_what_was_announced() {
        let bytes = event(limits::FRAME - Header::LEN);
        let mut deframer = established();
        let mut came = 0;
        for piece in bytes.chunks(1000) {
            deframer.push(BytesMut::from(piece));
            came += piece.len();
            let whole = deframer.next().unwrap().is_some();
            assert_eq!(whole, came == bytes.len());
            assert!(deframer.begun.capacity() <= 2 * came, "{came} came");
        }
    }

    #[test]
    fn a_large_frame_wastes_nothing_once_it_is_whole() {
        let bytes = event(100_000);
        let mut deframer = established();
        for piece in bytes.chunks(3000) {
            deframer.push(BytesMut::from(piece));
            if deframer.begun_header() && deframer.buffered() == bytes.len() {
                break;
            }
            assert!(deframer.next().unwrap().is_none());
        }
        let frame = deframer.next().unwrap().unwrap();
        let shared = frame.share_body_from(0);
        assert_eq!(shared.len(), 100_000);
        assert!(is_shared(&frame));
        assert_eq!(
            deframer.begun.capacity(),
            0,
            "the buffer went with the frame"
        );
    }

    #[test]
    fn frames_up_to_4_kib_are_borrowed_and_larger_ones_are_shared() {
        for (body_len, shared) in [
            (0, false),
            (SHARED_ABOVE - Header::LEN, false),
            (SHARED_ABOVE - Header::LEN + 1, true),
        ] {
            let bytes = event(body_len);
            let mut deframer = established();
            deframer.push(BytesMut::from(&bytes[..]));
            assert_eq!(is_shared(&deframer.next().unwrap().unwrap()), shared);
            for byte in &bytes[..bytes.len() - 1] {
                deframer.push(BytesMut::from(&[*byte][..]));
                assert!(deframer.next().unwrap().is_none());
            }
            deframer.push(BytesMut::from(&bytes[bytes.len() - 1..]));
            assert_eq!(is_shared(&deframer.next().unwrap().unwrap()), shared);
        }
    }

    #[test]
    fn a_shared_body_is_the_memory_that_came() {
        let bytes = BytesMut::from(&event(10_000)[..]);
        let came = bytes[Header::LEN + 5..].as_ptr();
        let mut deframer = established();
        deframer.push(bytes);
        let body = deframer.next().unwrap().unwrap().share_body_from(5);
        assert_eq!(body.as_ptr(), came);
    }

    #[test]
    fn a_frame_that_is_lent_is_not_counted_as_buffered() {
        let bytes = event(10);
        let mut deframer = established();
        let (left, right) = bytes.split_at(20);
        deframer.push(BytesMut::from(left));
        assert!(deframer.next().unwrap().is_none());
        assert!(deframer.begun_header());
        assert_eq!((deframer.buffered(), deframer.need()), (20, 26));
        deframer.push(BytesMut::from(right));
        assert!(deframer.next().unwrap().is_some());
        assert!(!deframer.begun_header());
        assert_eq!((deframer.buffered(), deframer.need()), (0, 0));
        assert!(deframer.next().unwrap().is_none());
    }

    #[test]
    fn the_need_is_that_of_a_header_until_the_length_is_there() {
        let bytes = event(1000);
        let mut deframer = established();
        assert_eq!(deframer.need(), 0);
        for (len, need) in [(1, 35), (3, 33), (4, 1032), (36, 1000), (1035, 1)] {
            let have = deframer.buffered();
            deframer.push(BytesMut::from(&bytes[have..len]));
            assert!(deframer.next().unwrap().is_none());
            assert_eq!(deframer.need(), need, "{len} bytes came");
        }
    }

    #[test]
    fn a_limit_applies_to_the_next_frame_of_the_same_chunk() {
        let mut deframer = Deframer::new();
        let mut bytes = event(100);
        bytes.extend(event(1000));
        deframer.push(BytesMut::from(&bytes[..]));
        assert!(deframer.next().unwrap().is_some());
        deframer.set_limit(2000);
        assert!(deframer.next().unwrap().is_some());
        deframer.push(BytesMut::from(&bytes[..]));
        deframer.set_limit(limits::HELLO);
        assert!(deframer.next().unwrap().is_some());
        let oversized = WireError::Oversized {
            length: 1036,
            limit: limits::HELLO as u64,
        };
        assert_eq!(deframer.next().unwrap_err(), oversized);
        deframer.set_limit(2000);
        assert_eq!(
            deframer.next().unwrap_err(),
            oversized,
            "there is no next frame to find"
        );
    }

    #[test]
    fn the_memory_of_a_chunk_is_given_back_while_the_link_is_silent() {
        let mut driver = BytesMut::with_capacity(4096);
        driver.extend_from_slice(&event(10)[..30]);
        let mut deframer = established();
        deframer.push(driver.split());
        assert!(!driver.try_reclaim(4096), "the deframer has the chunk");
        assert!(deframer.next().unwrap().is_none());
        assert!(driver.try_reclaim(4096));
        assert_eq!(deframer.buffered(), 30);
    }
}
