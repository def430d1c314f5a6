//! Events, requests and replies: what carries an application's payload.

use alloc::vec::Vec;

use crate::wire::WireError;
use crate::wire::fields::{Fields, put_name};

/// The namespace and the name of a message as they stand in its body, not looked at yet: who has
/// just seen the same bytes need not check them again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawNames<'a>(&'a [u8]);

impl<'a> RawNames<'a> {
    pub(crate) const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn check(self) -> Result<(&'a str, &'a str), WireError> {
        let mut fields = Fields::new(self.0);
        Ok((fields.namespace()?, fields.name()?))
    }
}

/// An [`EventBody`] of which only the lengths are checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawEvent<'a> {
    pub(crate) names: RawNames<'a>,
    pub(crate) codec: u8,
    pub(crate) remaining: u32,
    pub(crate) payload: &'a [u8],
}

/// A [`RequestBody`] of which only the lengths are checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawRequest<'a> {
    pub(crate) request: u64,
    pub(crate) remaining: u32,
    pub(crate) reply_credit: u32,
    pub(crate) names: RawNames<'a>,
    pub(crate) codec: u8,
    pub(crate) payload: &'a [u8],
}

impl<'a> RawEvent<'a> {
    #[inline]
    pub(crate) fn cut(bytes: &'a [u8]) -> Result<Self, WireError> {
        Self::read(Fields::new(bytes))
    }

    #[inline]
    fn read(mut fields: Fields<'a>) -> Result<Self, WireError> {
        Ok(Self {
            names: RawNames(fields.raw_names()?),
            codec: fields.u8()?,
            remaining: fields.u32()?,
            payload: fields.rest(),
        })
    }
}

impl<'a> RawRequest<'a> {
    #[inline]
    pub(crate) fn cut(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        Ok(Self {
            request: fields.u64()?,
            remaining: fields.u32()?,
            reply_credit: fields.u32()?,
            names: RawNames(fields.raw_names()?),
            codec: fields.u8()?,
            payload: fields.rest(),
        })
    }
}

/// Body of `EVENT` and, after its own fields, of `ROOM_EVENT`.
///
/// `namespace: short string, event: short string, codec: u8, remaining: u32 ms (0 = no limit),
/// payload: the rest`. A short string is its length in one byte and its UTF-8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventBody<'a> {
    /// The namespace; empty for the default one.
    pub namespace: &'a str,
    /// The event's name, 1 to 255 bytes.
    pub event: &'a str,
    /// The codec of the payload.
    pub codec: u8,
    /// Milliseconds left until the message is worthless; 0 means no limit.
    pub remaining: u32,
    /// The payload, opaque to everybody but the two ends.
    pub payload: &'a [u8],
}

impl<'a> EventBody<'a> {
    /// Bytes of the body when encoded.
    pub const fn encoded_len(&self) -> usize {
        (1 + self.namespace.len()) + (1 + self.event.len()) + 1 + 4 + self.payload.len()
    }

    /// Appends the body to `out`.
    ///
    /// # Panics
    ///
    /// If a name has more than [`limits::NAME`](crate::wire::limits::NAME) bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        put_name(out, self.namespace);
        put_name(out, self.event);
        out.push(self.codec);
        out.extend_from_slice(&self.remaining.to_be_bytes());
        out.extend_from_slice(self.payload);
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it ends too early or a name is not valid.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        Self::read(Fields::new(bytes))
    }

    /// Reads the event that ends a body.
    pub(super) fn read(fields: Fields<'a>) -> Result<Self, WireError> {
        let raw = RawEvent::read(fields)?;
        let (namespace, event) = raw.names.check()?;
        Ok(Self {
            namespace,
            event,
            codec: raw.codec,
            remaining: raw.remaining,
            payload: raw.payload,
        })
    }
}

/// Body of `REQUEST`: `request: u64, remaining: u32 ms, reply_credit: u32`, then as [`EventBody`]
/// without its `remaining`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestBody<'a> {
    /// The requester's number of the request; never reused by the instance.
    pub request: u64,
    /// Milliseconds left of the deadline; 0 means none.
    pub remaining: u32,
    /// Credit in bytes that the request brings for its reply.
    pub reply_credit: u32,
    /// The namespace; empty for the default one.
    pub namespace: &'a str,
    /// The event's name, 1 to 255 bytes.
    pub event: &'a str,
    /// The codec of the payload.
    pub codec: u8,
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> RequestBody<'a> {
    /// Bytes of the body when encoded.
    pub const fn encoded_len(&self) -> usize {
        let names = (1 + self.namespace.len()) + (1 + self.event.len());
        8 + 4 + 4 + names + 1 + self.payload.len()
    }

    /// Appends the body to `out`.
    ///
    /// # Panics
    ///
    /// If a name has more than [`limits::NAME`](crate::wire::limits::NAME) bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        out.extend_from_slice(&self.request.to_be_bytes());
        out.extend_from_slice(&self.remaining.to_be_bytes());
        out.extend_from_slice(&self.reply_credit.to_be_bytes());
        put_name(out, self.namespace);
        put_name(out, self.event);
        out.push(self.codec);
        out.extend_from_slice(self.payload);
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it ends too early or a name is not valid.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let raw = RawRequest::cut(bytes)?;
        let (namespace, event) = raw.names.check()?;
        Ok(Self {
            request: raw.request,
            remaining: raw.remaining,
            reply_credit: raw.reply_credit,
            namespace,
            event,
            codec: raw.codec,
            payload: raw.payload,
        })
    }
}

/// Body of `REPLY`: `request: u64, codec: u8, payload`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyBody<'a> {
    /// The requester's number of the request.
    pub request: u64,
    /// The codec of the payload.
    pub codec: u8,
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> ReplyBody<'a> {
    /// Bytes of the body when encoded.
    pub const fn encoded_len(&self) -> usize {
        8 + 1 + self.payload.len()
    }

    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        out.extend_from_slice(&self.request.to_be_bytes());
        out.push(self.codec);
        out.extend_from_slice(self.payload);
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it ends too early.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        Ok(Self {
            request: fields.u64()?,
            codec: fields.u8()?,
            payload: fields.rest(),
        })
    }
}
