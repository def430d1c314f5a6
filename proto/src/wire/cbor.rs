//! Typed reading and writing of control bodies over ciborium's item heads.
//!
//! A body is checked as a whole (`cbor_check`) and then read in one pass without a tree in
//! between: keys rise, so a reader that asks for its keys in order finds each one or knows that it
//! is missing.

use alloc::string::String;
use alloc::vec::Vec;

use ciborium_ll::{Decoder, Encoder, Error, Header, simple};

use super::{WireError, cbor_check};
use crate::id::{Generation, InstanceId, PeerId, PeerName};

/// What stands in the wire as a map with integer keys.
pub(super) trait Record: Sized {
    /// Writes the keys in rising order.
    fn write(&self, map: &mut MapWriter<'_>);

    /// Reads the keys in rising order.
    fn read(map: &mut MapReader<'_, '_>) -> Result<Self, WireError>;
}

/// What stands in the wire as one CBOR item.
pub(super) trait Value: Sized {
    fn write(&self, out: &mut ValueWriter<'_>);

    fn read(input: &mut ValueReader<'_>) -> Result<Self, WireError>;
}

/// Appends a record to `out`.
pub(super) fn encode<R: Record>(record: &R, out: &mut Vec<u8>) {
    Value::write(record, &mut ValueWriter(out));
}

/// Checks and reads a body that is one record.
pub(super) fn decode<R: Record>(body: &[u8]) -> Result<R, WireError> {
    cbor_check::check(body)?;
    <R as Value>::read(&mut ValueReader(body))
}

/// Reads the head of the first item: what it is, and how many bytes that took.
pub(super) fn head(bytes: &[u8]) -> Result<(Header, usize), WireError> {
    let mut decoder = Decoder::from(bytes);
    match decoder.pull() {
        Ok(head) => Ok((head, decoder.offset())),
        Err(Error::Io(_)) => Err(WireError::Truncated),
        Err(Error::Syntax(_)) => Err(WireError::BadControl("an item is malformed")),
    }
}

const WRONG_TYPE: WireError = WireError::BadControl("a value is not of the type of its key");

pub(super) struct ValueWriter<'o>(&'o mut Vec<u8>);

impl ValueWriter<'_> {
    fn head(&mut self, head: Header) {
        // A vector takes everything; the error type is there for other writers.
        let _ = Encoder::from(&mut *self.0).push(head);
    }

    pub(super) fn uint(&mut self, value: u64) {
        self.head(Header::Positive(value));
    }

    fn text(&mut self, text: &str) {
        self.head(Header::Text(Some(text.len())));
        self.0.extend_from_slice(text.as_bytes());
    }
}

pub(super) struct MapWriter<'o> {
    out: ValueWriter<'o>,
    entries: u8,
}

impl MapWriter<'_> {
    pub(super) fn field<V: Value>(&mut self, key: u64, value: &V) {
        self.entries += 1;
        self.out.uint(key);
        value.write(&mut self.out);
    }

    pub(super) fn optional<V: Value>(&mut self, key: u64, value: &Option<V>) {
        if let Some(value) = value {
            self.field(key, value);
        }
    }
}

/// The items of a body that has been checked. Types are still to be checked; lengths are not.
pub(super) struct ValueReader<'a>(&'a [u8]);

impl<'a> ValueReader<'a> {
    fn head(&mut self) -> Result<Header, WireError> {
        let (head, len) = head(self.0)?;
        self.0 = &self.0[len..];
        Ok(head)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn text(&mut self) -> Result<&'a str, WireError> {
        let Header::Text(Some(len)) = self.head()? else {
            return Err(WRONG_TYPE);
        };
        core::str::from_utf8(self.take(len)?)
            .map_err(|_| WireError::BadControl("a text is not UTF-8"))
    }

    fn array(&mut self) -> Result<usize, WireError> {
        match self.head()? {
            Header::Array(Some(count)) => Ok(count),
            _ => Err(WRONG_TYPE),
        }
    }

    /// Skips one item with everything in it. The check has bounded the counts.
    fn skip(&mut self) -> Result<(), WireError> {
        let mut items = 1;
        while items > 0 {
            items -= 1;
            match self.head()? {
                Header::Array(Some(count)) => items += count,
                Header::Map(Some(count)) => items += 2 * count,
                Header::Text(Some(len)) | Header::Bytes(Some(len)) => {
                    self.take(len)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

pub(super) struct MapReader<'r, 'a> {
    input: &'r mut ValueReader<'a>,
    /// Entries whose key has not been read.
    left: usize,
    /// A key that has been read and whose value has not.
    key: Option<u64>,
}

impl MapReader<'_, '_> {
    /// A value that must be there.
    pub(super) fn field<V: Value>(&mut self, key: u64) -> Result<V, WireError> {
        self.optional(key)?
            .ok_or(WireError::BadControl("a key is missing"))
    }

    /// A value that may be missing.
    pub(super) fn optional<V: Value>(&mut self, key: u64) -> Result<Option<V>, WireError> {
        if self.seek(key)? {
            V::read(self.input).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Skips everything before `key`. Whether it is there; its value is then next.
    fn seek(&mut self, wanted: u64) -> Result<bool, WireError> {
        while let Some(key) = self.peek_key()? {
            if key > wanted {
                return Ok(false);
            }
            self.key = None;
            if key == wanted {
                return Ok(true);
            }
            self.input.skip()?;
        }
        Ok(false)
    }

    fn peek_key(&mut self) -> Result<Option<u64>, WireError> {
        if self.key.is_none() && self.left > 0 {
            self.left -= 1;
            self.key = Some(u64::read(self.input)?);
        }
        Ok(self.key)
    }

    /// Skips what no reader has asked for.
    fn finish(mut self) -> Result<(), WireError> {
        while self.peek_key()?.is_some() {
            self.key = None;
            self.input.skip()?;
        }
        Ok(())
    }
}

impl<R: Record> Value for R {
    fn write(&self, out: &mut ValueWriter<'_>) {
        let start = out.0.len();
        out.head(Header::Map(Some(0)));
        let mut map = MapWriter {
            out: ValueWriter(out.0),
            entries: 0,
        };
        Record::write(self, &mut map);
        let entries = map.entries;
        // Up to 23 entries are counted within the byte that is already there.
        debug_assert!(entries < 24);
        out.0[start] |= entries;
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self, WireError> {
        let Header::Map(Some(left)) = input.head()? else {
            return Err(WRONG_TYPE);
        };
        let mut map = MapReader {
            input,
            left,
            key: None,
        };
        let record = Record::read(&mut map)?;
        map.finish()?;
        Ok(record)
    }
}

impl<V: Value> Value for Vec<V> {
    fn write(&self, out: &mut ValueWriter<'_>) {
        out.head(Header::Array(Some(self.len())));
        for value in self {
            value.write(out);
        }
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self, WireError> {
        // Grown as values come: one that a byte can announce may be far larger in memory.
        let mut values = Self::new();
        for _ in 0..input.array()? {
            values.push(V::read(input)?);
        }
        Ok(values)
    }
}

impl<A: Value, B: Value> Value for (A, B) {
    fn write(&self, out: &mut ValueWriter<'_>) {
        out.head(Header::Array(Some(2)));
        self.0.write(out);
        self.1.write(out);
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self, WireError> {
        if input.array()? != 2 {
            return Err(WRONG_TYPE);
        }
        Ok((A::read(input)?, B::read(input)?))
    }
}

impl Value for bool {
    fn write(&self, out: &mut ValueWriter<'_>) {
        let value = if *self { simple::TRUE } else { simple::FALSE };
        out.head(Header::Simple(value));
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self, WireError> {
        match input.head()? {
            Header::Simple(simple::FALSE) => Ok(false),
            Header::Simple(simple::TRUE) => Ok(true),
            _ => Err(WRONG_TYPE),
        }
    }
}

impl Value for u64 {
    fn write(&self, out: &mut ValueWriter<'_>) {
        out.uint(*self);
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self, WireError> {
        match input.head()? {
            Header::Positive(value) => Ok(value),
            _ => Err(WRONG_TYPE),
        }
    }
}

/// Integers narrower than CBOR's: what does not fit is not of the type.
macro_rules! narrow {
    ($($int:ty),*) => {$(
        impl Value for $int {
            fn write(&self, out: &mut ValueWriter<'_>) {
                out.uint((*self).into());
            }

            fn read(input: &mut ValueReader<'_>) -> Result<Self, WireError> {
                u64::read(input)?.try_into().map_err(|_| WRONG_TYPE)
            }
        }
    )*};
}

narrow!(u8, u16, u32);

impl Value for String {
    fn write(&self, out: &mut ValueWriter<'_>) {
        out.text(self);
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self, WireError> {
        input.text().map(Into::into)
    }
}

impl Value for PeerName {
    fn write(&self, out: &mut ValueWriter<'_>) {
        out.text(self.as_str());
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self, WireError> {
        Self::new(input.text()?).ok_or(WireError::BadName)
    }
}

impl Value for InstanceId {
    fn write(&self, out: &mut ValueWriter<'_>) {
        out.uint(self.0);
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self, WireError> {
        match u64::read(input)? {
            0 => Err(WireError::BadField("instance")),
            instance => Ok(Self(instance)),
        }
    }
}

impl Value for PeerId {
    fn write(&self, out: &mut ValueWriter<'_>) {
        self.0.write(out);
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self, WireError> {
        u32::read(input).map(Self)
    }
}

impl Value for Generation {
    fn write(&self, out: &mut ValueWriter<'_>) {
        self.0.write(out);
    }

    fn read(input: &mut ValueReader<'_>) -> Result<Self, WireError> {
        u32::read(input).map(Self)
    }
}
