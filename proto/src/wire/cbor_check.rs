//! The pass over a control body before anything is made of it.
//!
//! It needs neither recursion nor heap whatever the bytes are: a decoder that recurses dies of 200
//! KB of array heads, and one that keeps a list of open containers takes many times its input.

use ciborium_ll::{Header, simple};
use smallvec::SmallVec;

use super::{WireError, cbor, limits};

/// A container whose items are being passed over.
struct Level {
    /// Items still to come; a map has two for each entry.
    items: usize,
    /// Of a map, its keys so far.
    keys: Option<Keys>,
}

#[derive(Default)]
struct Keys {
    last: Option<u64>,
}

/// Checks that `body` is one CBOR map of the form that control bodies have: definite lengths,
/// shortest heads, no tags, floats or null, at most [`limits::CBOR_DEPTH`] levels, counts within
/// the bytes that are there, and in every map unsigned integer keys in rising order.
pub(super) fn check(body: &[u8]) -> Result<(), WireError> {
    let mut rest = body;
    let mut open = SmallVec::<[Level; limits::CBOR_DEPTH]>::new();
    loop {
        let (head, used) = cbor::head(rest)?;
        rest = &rest[used..];
        if used != shortest(head)? {
            return Err(WireError::BadControl("a head is not the shortest"));
        }
        match open.last_mut() {
            Some(level) => level.step(head)?,
            None if matches!(head, Header::Map(_)) => {}
            None => return Err(WireError::BadControl("it is not a map")),
        }
        match head {
            Header::Array(Some(count)) => enter(&mut open, count, None, rest)?,
            Header::Map(Some(count)) => {
                let items = count.saturating_mul(2);
                enter(&mut open, items, Some(Keys::default()), rest)?;
            }
            Header::Text(Some(len)) | Header::Bytes(Some(len)) => {
                rest = rest.get(len..).ok_or(WireError::Truncated)?;
            }
            _ => {}
        }
        while open.last().is_some_and(|level| level.items == 0) {
            open.pop();
        }
        if open.is_empty() {
            break;
        }
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(WireError::TrailingBytes)
    }
}

impl Level {
    /// Counts an item, and checks it if it is a key.
    fn step(&mut self, head: Header) -> Result<(), WireError> {
        self.items -= 1;
        let Some(keys) = &mut self.keys else {
            return Ok(());
        };
        let is_key = self.items % 2 == 1;
        if !is_key {
            return Ok(());
        }
        let Header::Positive(key) = head else {
            return Err(WireError::BadControl("a key is not an unsigned integer"));
        };
        if keys.last == Some(key) {
            return Err(WireError::BadControl("a key is there twice"));
        }
        if keys.last > Some(key) {
            return Err(WireError::BadControl("keys do not rise"));
        }
        keys.last = Some(key);
        Ok(())
    }
}

fn enter(
    open: &mut SmallVec<[Level; limits::CBOR_DEPTH]>,
    items: usize,
    keys: Option<Keys>,
    rest: &[u8],
) -> Result<(), WireError> {
    // An item has at least one byte.
    if items > rest.len() {
        return Err(WireError::BadControl("a count exceeds the bytes left"));
    }
    if open.len() == limits::CBOR_DEPTH {
        return Err(WireError::BadControl("it is nested too deeply"));
    }
    open.push(Level { items, keys });
    Ok(())
}

/// The bytes of the head's shortest form. An error if no control body may contain it.
fn shortest(head: Header) -> Result<usize, WireError> {
    let argument = match head {
        Header::Positive(value) | Header::Negative(value) => value,
        Header::Bytes(Some(count))
        | Header::Text(Some(count))
        | Header::Array(Some(count))
        | Header::Map(Some(count)) => count as u64,
        Header::Simple(simple::FALSE | simple::TRUE) => return Ok(1),
        Header::Bytes(None) | Header::Text(None) | Header::Array(None) | Header::Map(None) => {
            return Err(WireError::BadControl("a length is indefinite"));
        }
        Header::Tag(_) => return Err(WireError::BadControl("a value is tagged")),
        Header::Float(_) | Header::Simple(_) | Header::Break => {
            return Err(WireError::BadControl("a value is of no type in use"));
        }
    };
    Ok(match argument {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn the_deepest_body_is_sixteen_levels() {
        // A map of one entry, whose value is an array within an array and so on.
        let nested = |levels: usize| {
            let mut body = vec![0xa1, 0x01];
            body.extend(vec![0x81; levels - 2]);
            body.push(0x80);
            body
        };
        assert_eq!(check(&nested(limits::CBOR_DEPTH)), Ok(()));
        let error = WireError::BadControl("it is nested too deeply");
        assert_eq!(check(&nested(limits::CBOR_DEPTH + 1)), Err(error));
    }

    #[test]
    fn keys_are_checked_in_each_map_for_itself() {
        // {1: {1: 0, 2: {}}, 2: [{1: 0}, {1: 0}]}
        let body = b"\xa2\x01\xa2\x01\x00\x02\xa0\x02\x82\xa1\x01\x00\xa1\x01\x00";
        assert_eq!(check(body), Ok(()));
    }

    #[test]
    fn an_inner_map_does_not_hide_a_key_of_the_outer_one() {
        // {1: {2: 0}, 1: 0}
        let error = WireError::BadControl("a key is there twice");
        assert_eq!(check(b"\xa2\x01\xa1\x02\x00\x01\x00"), Err(error));
    }

    #[test]
    fn the_shortest_head_of_every_width_is_taken_and_no_other() {
        let values = [
            23,
            24,
            0xff,
            0x100,
            0xffff,
            0x1_0000,
            0xffff_ffff,
            1 << 32,
            u64::MAX,
        ];
        for value in values {
            let mut accepted = 0;
            for width in [0, 1, 2, 4, 8] {
                let Some(argument) = argument(value, width) else {
                    continue;
                };
                let mut body = vec![0xa1, 0x01];
                body.extend(argument);
                accepted += usize::from(check(&body).is_ok());
                if accepted == 1 {
                    continue;
                }
                let error = WireError::BadControl("a head is not the shortest");
                assert_eq!(check(&body), Err(error), "{value} in {width} bytes");
            }
            assert_eq!(accepted, 1, "{value}");
        }
    }

    /// The head of `value` with an argument of this many bytes, if it fits.
    fn argument(value: u64, width: usize) -> Option<vec::Vec<u8>> {
        let bytes = value.to_be_bytes();
        let (unused, used) = bytes.split_at(8 - width);
        let fits = if width == 0 {
            value < 24
        } else {
            unused.iter().all(|b| *b == 0)
        };
        let first = match width {
            0 => value as u8,
            1 => 24,
            2 => 25,
            4 => 26,
            _ => 27,
        };
        fits.then(|| [&[first], used].concat())
    }
}
