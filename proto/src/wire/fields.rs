//! Fixed fields and short strings: what the bodies outside CBOR are made of.

use alloc::vec::Vec;

use super::{WireError, limits};

/// Reads the fields of a body one after the other.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) const fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        let Some((field, rest)) = self.0.split_first() else {
            return Err(WireError::Truncated);
        };
        self.0 = rest;
        Ok(*field)
    }

    pub(super) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, WireError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (field, rest) = self.0.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(field)
    }

    /// A namespace and a name, not looked at but for their lengths.
    #[inline]
    pub(super) fn raw_names(&mut self) -> Result<&'a [u8], WireError> {
        let all = self.0;
        let namespace = usize::from(*all.first().ok_or(WireError::Truncated)?);
        let event = usize::from(*all.get(1 + namespace).ok_or(WireError::Truncated)?);
        self.take(2 + namespace + event)
    }

    /// A namespace: a short string that may be empty.
    pub(super) fn namespace(&mut self) -> Result<&'a str, WireError> {
        let len = self.u8()?;
        // The default namespace is by far the most frequent.
        if len == 0 {
            return Ok("");
        }
        name(self.take(len.into())?)
    }

    /// The name of an event or a room: a short string of at least one byte.
    pub(super) fn name(&mut self) -> Result<&'a str, WireError> {
        let len = self.u8()?;
        if len == 0 {
            return Err(WireError::BadName);
        }
        name(self.take(len.into())?)
    }

    /// A text for people: its length in four bytes, then UTF-8.
    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str, WireError> {
        let len = usize::try_from(self.u32()?).map_err(|_| WireError::Truncated)?;
        core::str::from_utf8(self.take(len)?).map_err(|_| WireError::BadField(field))
    }

    /// A count of entries that have at least `least` bytes each, checked against what is there so
    /// that the caller may reserve room for them.
    pub(super) fn count(&mut self, least: usize) -> Result<usize, WireError> {
        let count = usize::from(self.u16()?);
        if count * least > self.0.len() {
            return Err(WireError::Truncated);
        }
        Ok(count)
    }

    /// Everything that has not been read yet.
    pub(super) const fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Ends a body that has no payload.
    pub(super) const fn finish(self) -> Result<(), WireError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(WireError::TrailingBytes)
        }
    }
}

fn name(bytes: &[u8]) -> Result<&str, WireError> {
    let name = core::str::from_utf8(bytes).map_err(|_| WireError::BadName)?;
    check_name(name)?;
    Ok(name)
}

/// Whether `name` may be a namespace: at most 255 bytes without NUL. Events, rooms and handlers
/// must not be empty besides.
pub(super) fn check_name(name: &str) -> Result<(), WireError> {
    // Not `contains`: names are too short for what it does first.
    let has_nul = name.bytes().fold(false, |nul, byte| nul | (byte == 0));
    if name.len() > limits::NAME || has_nul {
        return Err(WireError::BadName);
    }
    Ok(())
}

/// Whether `name` may be that of an event, a request, a room or, shown, a namespace: 1 to 255 bytes
/// without NUL.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && check_name(name).is_ok()
}

/// Appends a short string.
///
/// # Panics
///
/// If it has more than [`limits::NAME`] bytes, which the API has refused long before.
pub(super) fn put_name(out: &mut Vec<u8>, name: &str) {
    // Names of the application pass `is_name`, and what came over the wire had a length of 8 bits.
    let len = u8::try_from(name.len()).expect("a name has at most 255 bytes");
    out.push(len);
    out.extend_from_slice(name.as_bytes());
}

/// Appends the count of a list.
///
/// # Panics
///
/// If it does not fit 16 bits; the frame would be far over its limit.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    // Credits are bounded by the flows of a pair (1,088 and 1,500 pending requests), lists of control
    // bodies by their slices.
    let count = u16::try_from(count).expect("a list has at most 65,535 entries");
    out.extend_from_slice(&count.to_be_bytes());
}

/// Appends a text for people.
///
/// # Panics
///
/// If it does not fit 32 bits; the frame would be far over its limit.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    // A failure's texts are cut to the credit of their request, whose length has 32 bits itself.
    let len = u32::try_from(text.len()).expect("a text has at most 4 GiB");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
