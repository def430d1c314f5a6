//! What the tests of the wire share: a body of any kind, and frames out of a deframer.

#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod describe;

use bytes::BytesMut;
use switchboard_proto::wire::*;

/// A decoded body of any kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body<'a> {
    Hello(Hello),
    Attach(Attach),
    Attached(Attached),
    AttachRefused(AttachRefused),
    Detach(Detach),
    Roster(RosterUpdate),
    Declare(Declare),
    Declared(Declared),
    Known(KnownMore),
    Ping(Ping),
    Close(Close),
    Returned(Returned),
    Event(EventBody<'a>),
    Request(RequestBody<'a>),
    Reply(ReplyBody<'a>),
    Failed(FailedBody<'a>),
    Refused(RefusedBody),
    Receipt(ReceiptBody),
    Cancel(CancelBody),
    Slice(SliceBody<'a>),
    Void(VoidBody),
    Switch(SwitchBody),
    StreamData(&'a [u8]),
    StreamEnd(StreamEndBody<'a>),
    StreamAbort(StreamAbortBody),
    RoomEvent(RoomEventBody<'a>),
    Gap(GapBody<'a>),
    Mark(MarkBody),
    Blocked(BlockedBody),
    Ask(AskBody),
    Reclaim(ReclaimBody),
    Unknown(&'a [u8]),
}

impl<'a> Body<'a> {
    pub(crate) fn decode(header: &Header, bytes: &'a [u8]) -> Result<Self, WireError> {
        Ok(match header.kind {
            Kind::HELLO => Self::Hello(Hello::decode(bytes)?),
            Kind::ATTACH => Self::Attach(Attach::decode(bytes)?),
            Kind::ATTACHED => Self::Attached(Attached::decode(bytes)?),
            Kind::ATTACH_REFUSED => Self::AttachRefused(AttachRefused::decode(bytes)?),
            Kind::DETACH => Self::Detach(Detach::decode(bytes)?),
            Kind::ROSTER => Self::Roster(RosterUpdate::decode(bytes)?),
            Kind::DECLARE => Self::Declare(Declare::decode(bytes)?),
            Kind::DECLARED => Self::Declared(Declared::decode(bytes)?),
            Kind::KNOWN => Self::Known(KnownMore::decode(bytes)?),
            Kind::PING | Kind::PONG => Self::Ping(Ping::decode(bytes)?),
            Kind::CLOSE => Self::Close(Close::decode(bytes)?),
            Kind::RETURNED => Self::Returned(Returned::decode(bytes)?),
            Kind::EVENT | Kind::STREAM_OPEN => Self::Event(EventBody::decode(bytes)?),
            Kind::REQUEST => Self::Request(RequestBody::decode(bytes)?),
            Kind::REPLY => Self::Reply(ReplyBody::decode(bytes)?),
            Kind::FAILED => Self::Failed(FailedBody::decode(bytes)?),
            Kind::REFUSED => Self::Refused(RefusedBody::decode(bytes)?),
            Kind::RECEIPT => Self::Receipt(ReceiptBody::decode(bytes)?),
            Kind::CANCEL => Self::Cancel(CancelBody::decode(bytes)?),
            Kind::SLICE => {
                let first = header.flags & flags::FIRST != 0;
                Self::Slice(SliceBody::decode(bytes, first)?)
            }
            Kind::VOID => Self::Void(VoidBody::decode(bytes)?),
            Kind::SWITCH => Self::Switch(SwitchBody::decode(bytes)?),
            Kind::STREAM_DATA => Self::StreamData(bytes),
            Kind::STREAM_END => Self::StreamEnd(StreamEndBody::decode(bytes)?),
            Kind::STREAM_ABORT => Self::StreamAbort(StreamAbortBody::decode(bytes)?),
            Kind::ROOM_EVENT => Self::RoomEvent(RoomEventBody::decode(bytes)?),
            Kind::GAP => Self::Gap(GapBody::decode(bytes)?),
            Kind::MARK => Self::Mark(MarkBody::decode(bytes)?),
            Kind::BLOCKED => Self::Blocked(BlockedBody::decode(bytes)?),
            Kind::ASK => Self::Ask(AskBody::decode(bytes)?),
            Kind::RECLAIM => Self::Reclaim(ReclaimBody::decode(bytes)?),
            _ => Self::Unknown(bytes),
        })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(body) => body.encode(out),
            Self::Attach(body) => body.encode(out),
            Self::Attached(body) => body.encode(out),
            Self::AttachRefused(body) => body.encode(out),
            Self::Detach(body) => body.encode(out),
            Self::Roster(body) => body.encode(out),
            Self::Declare(body) => body.encode(out),
            Self::Declared(body) => body.encode(out),
            Self::Known(body) => body.encode(out),
            Self::Ping(body) => body.encode(out),
            Self::Close(body) => body.encode(out),
            Self::Returned(body) => body.encode(out),
            Self::Event(body) => body.encode(out),
            Self::Request(body) => body.encode(out),
            Self::Reply(body) => body.encode(out),
            Self::Failed(body) => body.encode(out),
            Self::Refused(body) => body.encode(out),
            Self::Receipt(body) => body.encode(out),
            Self::Cancel(body) => body.encode(out),
            Self::Slice(body) => body.encode(out),
            Self::Void(body) => body.encode(out),
            Self::Switch(body) => body.encode(out),
            Self::StreamEnd(body) => body.encode(out),
            Self::StreamAbort(body) => body.encode(out),
            Self::RoomEvent(body) => body.encode(out),
            Self::Gap(body) => body.encode(out),
            Self::Mark(body) => body.encode(out),
            Self::Blocked(body) => body.encode(out),
            Self::Ask(body) => body.encode(out),
            Self::Reclaim(body) => body.encode(out),
            Self::StreamData(bytes) | Self::Unknown(bytes) => out.extend_from_slice(bytes),
        }
    }

    /// The bytes of a frame with this header and body.
    pub(crate) fn frame(&self, header: &Header) -> Vec<u8> {
        let mut out = Vec::new();
        header.encode_with(|out| self.encode(out), &mut out);
        out
    }

    /// Whether the body is a CBOR map, in which keys of a later version may stand.
    pub(crate) fn is_control(&self, header: &Header) -> bool {
        header.kind.is_link_local() && !matches!(self, Self::Unknown(_))
    }
}

/// What a deframer makes of bytes: whole frames, and how it ends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cut {
    pub(crate) frames: Vec<(Header, Vec<u8>)>,
    /// The error, or how many bytes of a frame have come.
    pub(crate) end: Result<usize, WireError>,
}

/// Cuts what comes in these pieces. The first frame has the limit of a hello if that is asked for.
pub(crate) fn cut<'p>(
    pieces: impl IntoIterator<Item = &'p [u8]>,
    first: usize,
    later: usize,
) -> Cut {
    let mut deframer = Deframer::new();
    deframer.set_limit(first);
    let mut frames = Vec::new();
    for piece in pieces {
        deframer.push(BytesMut::from(piece));
        loop {
            match deframer.next() {
                Ok(None) => break,
                Ok(Some(frame)) => frames.push((frame.header, frame.whole().to_vec())),
                Err(error) => {
                    assert_eq!(deframer.next().unwrap_err(), error, "an error stays");
                    let end = Err(error);
                    return Cut { frames, end };
                }
            }
            deframer.set_limit(later);
        }
    }
    assert_eq!(deframer.begun_header(), deframer.buffered() > 0);
    assert_eq!(deframer.need() > 0, deframer.begun_header());
    let end = Ok(deframer.buffered());
    Cut { frames, end }
}

/// The one frame in these bytes.
pub(crate) fn whole(bytes: &[u8], limit: usize) -> Result<(Header, Vec<u8>), WireError> {
    let cut = cut([bytes], limit, limit);
    let end = cut.end?;
    assert_eq!((cut.frames.len(), end), (1, 0), "one frame and no more");
    Ok(cut.frames.into_iter().next().unwrap())
}
