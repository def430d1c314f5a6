//! Fields of a log whose form is not what serde would choose.

use core::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

use super::Step;

/// The length of a run. A log of a few bytes must not ask for billions of calls.
pub(super) fn times<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let times = u32::deserialize(from)?;
    match (1..=Step::MOST).contains(&times) {
        true => Ok(times),
        false => Err(D::Error::invalid_value(
            Unexpected::Unsigned(times.into()),
            &"the length of a run, 1 to 65,536",
        )),
    }
}

/// What is behind an `Arc`: serde would ask for one of its features.
pub(crate) mod shared {
    use alloc::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<T: Serialize, S: Serializer>(
        value: &Arc<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        T::serialize(value, to)
    }

    pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(from).map(Arc::new)
    }
}

/// Byte strings: serde would write a list of numbers.
pub(crate) mod byte_string {
    use alloc::vec::Vec;

    use bytes::Bytes;
    use serde::Serializer;

    use super::{Deserializer, Error, Visitor, fmt};

    pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        from.deserialize_byte_buf(ByteString)
    }

    struct ByteString;

    impl Visitor<'_> for ByteString {
        type Value = Bytes;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a byte string")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
            Ok(Bytes::copy_from_slice(bytes))
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
            Ok(bytes.into())
        }
    }
}
