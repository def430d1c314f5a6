//! One pass over a peer's CBOR before anything is built from it: that it is one complete value, that
//! nothing announces more than is there, and that it does not nest too deep. No recursion, and no
//! memory but one word a level.

use core::fmt;

use smallvec::SmallVec;

use crate::codec::MAX_DEPTH;

/// What the pass has found out.
pub(super) struct Checked {
    /// Bytes in the longest text or byte string.
    pub(super) longest: usize,
}

/// Why the bytes are not one CBOR value.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) what: &'static str,
    offset: usize,
}

pub(super) const TOO_DEEP: &str = "nested too deep";

/// Checks that the bytes are exactly one value.
pub(super) fn check(bytes: &[u8]) -> Result<Checked, Fault> {
    let mut walk = Walk {
        bytes,
        at: 0,
        longest: 0,
        open: SmallVec::new(),
    };
    while !walk.item()? {}
    if walk.at < bytes.len() {
        return Err(walk.fault("bytes after the value"));
    }
    Ok(Checked {
        longest: walk.longest,
    })
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.offset)
    }
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    longest: usize,
    open: SmallVec<[Open; 16]>,
}

/// An array, map or tag whose end has not come.
enum Open {
    /// Ends after this many items (a map's keys and values count each); never 0.
    Counted(usize),
    /// Ends with a break.
    Array,
    /// Ends with a break, which must not stand between key and value.
    Map { value_next: bool },
}

const TRUNCATED: &str = "ends too early";
const INDEFINITE: u8 = 31;

impl Walk<'_> {
    /// Passes one item head, with the string that belongs to it. True when the value is complete.
    fn item(&mut self) -> Result<bool, Fault> {
        let (major, info) = self.head()?;
        match (major, info) {
            (0 | 1, _) => {
                self.argument(info)?;
            }
            (2 | 3, INDEFINITE) => self.chunks(major)?,
            (2 | 3, _) => self.string(info)?,
            (4, INDEFINITE) => return self.enter(Open::Array),
            (5, INDEFINITE) => return self.enter(Open::Map { value_next: false }),
            (4 | 5, _) => {
                let count = self.argument(info)?;
                let items = count.saturating_mul(if major == 4 { 1 } else { 2 });
                // Each item takes at least one byte.
                let items = match usize::try_from(items) {
                    Ok(items) if items <= self.bytes.len() - self.at => items,
                    _ => return Err(self.fault("more items announced than there are bytes")),
                };
                if items > 0 {
                    return self.enter(Open::Counted(items));
                }
            }
            (6, _) => {
                self.argument(info)?;
                return self.enter(Open::Counted(1));
            }
            (_, INDEFINITE) => match self.open.pop() {
                Some(Open::Array | Open::Map { value_next: false }) => {}
                _ => return Err(self.fault("a break where none may be")),
            },
            // The rest is major 7: simple values and floats, whose bytes are the argument.
            _ => {
                self.argument(info)?;
            }
        }
        Ok(self.complete())
    }

    /// An item is complete, and with it every container of which it was the last.
    fn complete(&mut self) -> bool {
        loop {
            match self.open.last_mut() {
                None => return true,
                Some(Open::Array) => return false,
                Some(Open::Map { value_next }) => {
                    *value_next = !*value_next;
                    return false;
                }
                Some(Open::Counted(left)) => {
                    *left -= 1;
                    if *left > 0 {
                        return false;
                    }
                    self.open.pop();
                }
            }
        }
    }

    fn enter(&mut self, open: Open) -> Result<bool, Fault> {
        if self.open.len() == MAX_DEPTH {
            return Err(self.fault(TOO_DEEP));
        }
        self.open.push(open);
        Ok(false)
    }

    fn head(&mut self) -> Result<(u8, u8), Fault> {
        let &byte = self.bytes.get(self.at).ok_or(self.fault(TRUNCATED))?;
        self.at += 1;
        Ok((byte >> 5, byte & 0x1f))
    }

    fn argument(&mut self, info: u8) -> Result<u64, Fault> {
        Ok(match info {
            0..=23 => info.into(),
            24 => u8::from_be_bytes(self.chunk()?).into(),
            25 => u16::from_be_bytes(self.chunk()?).into(),
            26 => u32::from_be_bytes(self.chunk()?).into(),
            27 => u64::from_be_bytes(self.chunk()?),
            _ => return Err(self.fault("a head without meaning")),
        })
    }

    fn string(&mut self, info: u8) -> Result<(), Fault> {
        let length = self.argument(info)?;
        let length = usize::try_from(length).map_err(|_| self.fault(TRUNCATED))?;
        if length > self.bytes.len() - self.at {
            return Err(self.fault(TRUNCATED));
        }
        self.at += length;
        self.longest = self.longest.max(length);
        Ok(())
    }

    /// A string in chunks, each a definite string of the same kind.
    fn chunks(&mut self, major: u8) -> Result<(), Fault> {
        loop {
            match self.head()? {
                (7, INDEFINITE) => return Ok(()),
                (kind, info) if kind == major && info != INDEFINITE => self.string(info)?,
                _ => return Err(self.fault("a chunk of another kind than its string")),
            }
        }
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let rest = &self.bytes[self.at..];
        let &chunk = rest.first_chunk().ok_or(self.fault(TRUNCATED))?;
        self.at += N;
        Ok(chunk)
    }

    fn fault(&self, what: &'static str) -> Fault {
        Fault {
            what,
            offset: self.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    fn what(bytes: &[u8]) -> &'static str {
        check(bytes).map_or_else(|fault| fault.what, |_| "valid")
    }

    #[test]
    fn hazard_w3_deep_nesting_is_refused_without_recursion() {
        assert_eq!(what(&[0x81; 200_000]), TOO_DEEP);
        // 0x82, then arrays without an announced length: the shape on which skipping decoders grow.
        let mut mixed = vec![0x82];
        mixed.resize(1 << 20, 0x9f);
        assert_eq!(what(&mixed), TOO_DEEP);
        assert_eq!(what(&[0xc1; 100_000]), TOO_DEEP, "tags nest too");

        let mut deepest = vec![0x81; MAX_DEPTH];
        deepest.push(0x00);
        assert_eq!(what(&deepest), "valid");
        deepest.insert(0, 0x81);
        assert_eq!(what(&deepest), TOO_DEEP);
    }

    #[test]
    fn nothing_may_announce_more_than_is_there() {
        let huge = [0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00];
        let with = |head: u8| -> Vec<u8> { [&[head], &huge[..], &[0, 0]].concat() };
        assert_eq!(what(&with(0x5b)), TRUNCATED);
        assert_eq!(what(&with(0x7b)), TRUNCATED);
        let announced = "more items announced than there are bytes";
        assert_eq!(what(&with(0x9b)), announced);
        assert_eq!(what(&with(0xbb)), announced);
        assert_eq!(
            what(&[0xbb, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0]),
            announced,
            "twice that overflows"
        );
        assert_eq!(what(&[0x83, 1, 2]), announced);
        assert_eq!(what(&[0x82, 0x82, 1, 2]), TRUNCATED);
    }

    #[test]
    fn only_one_whole_value_is_valid() {
        for valid in [
            &[0x00][..],
            &[0xf6],
            &[0x80],
            &[0xa0],
            &[0x9f, 0xff],
            &[0xbf, 0x01, 0x02, 0xff],
            &[0xfb, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0x7f, 0x61, b'a', 0x60, 0xff],
            &[0xc2, 0x41, 0x01],
            &[0x82, 0x9f, 0x01, 0xff, 0xa1, 0x61, b'k', 0x80],
        ] {
            assert_eq!(what(valid), "valid", "{valid:02x?}");
        }
        for (invalid, why) in [
            (&[][..], TRUNCATED),
            (&[0x00, 0x00], "bytes after the value"),
            (&[0xff], "a break where none may be"),
            (&[0x81, 0xff], "a break where none may be"),
            (&[0xbf, 0x01, 0xff], "a break where none may be"),
            (&[0xc1, 0xff], "a break where none may be"),
            (&[0x9f, 0x01], TRUNCATED),
            (&[0x1c], "a head without meaning"),
            (&[0xdf, 0x00], "a head without meaning"),
            (&[0x18], TRUNCATED),
            (
                &[0x7f, 0x41, 0x00, 0xff],
                "a chunk of another kind than its string",
            ),
            (
                &[0x7f, 0x7f, 0xff, 0xff],
                "a chunk of another kind than its string",
            ),
        ] {
            assert_eq!(what(invalid), why, "{invalid:02x?}");
        }
    }
}
