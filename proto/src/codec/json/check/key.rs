//! Keys of maps: text, or they are refused. (serde_json would write numbers as text, which another
//! reader cannot tell from text.)

use alloc::string::String;
use core::cell::RefCell;
use core::fmt;

use serde::ser::{Impossible, Serialize, Serializer};

use super::{Context, Refusal};

/// A key that is checked while it is written, and copied for the path of its value.
pub(super) struct Key<'c, T: ?Sized> {
    key: &'c T,
    context: &'c Context,
    copy: RefCell<&'c mut String>,
}

impl<'c, T: Serialize + ?Sized> Key<'c, T> {
    pub(super) fn new(key: &'c T, context: &'c Context, copy: &'c mut String) -> Self {
        Self {
            key,
            context,
            copy: RefCell::new(copy),
        }
    }
}

impl<T: Serialize + ?Sized> Serialize for Key<'_, T> {
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        self.key.serialize(TextOnly {
            inner,
            context: self.context,
            copy: &mut self.copy.borrow_mut(),
        })
    }
}

struct TextOnly<'c, S> {
    inner: S,
    context: &'c Context,
    copy: &'c mut String,
}

impl<S: Serializer> TextOnly<'_, S> {
    fn refuse<T>(&self) -> Result<T, S::Error> {
        self.context.refuse(Refusal::KeyNotText)
    }
}

macro_rules! refuse {
    ($($method:ident($($argument:ty),*) -> $ok:ty;)*) => {$(
        refuse! { @ $method ($ok) $($argument),* }
    )*};
    (@ $method:ident ($ok:ty)) => {
        fn $method(self) -> Result<$ok, S::Error> {
            self.refuse()
        }
    };
    (@ $method:ident ($ok:ty) $a:ty) => {
        fn $method(self, _: $a) -> Result<$ok, S::Error> {
            self.refuse()
        }
    };
    (@ $method:ident ($ok:ty) $a:ty, $b:ty) => {
        fn $method(self, _: $a, _: $b) -> Result<$ok, S::Error> {
            self.refuse()
        }
    };
    (@ $method:ident ($ok:ty) $a:ty, $b:ty, $c:ty, $d:ty) => {
        fn $method(self, _: $a, _: $b, _: $c, _: $d) -> Result<$ok, S::Error> {
            self.refuse()
        }
    };
}

impl<S: Serializer> Serializer for TextOnly<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Impossible<S::Ok, S::Error>;
    type SerializeTuple = Impossible<S::Ok, S::Error>;
    type SerializeTupleStruct = Impossible<S::Ok, S::Error>;
    type SerializeTupleVariant = Impossible<S::Ok, S::Error>;
    type SerializeMap = Impossible<S::Ok, S::Error>;
    type SerializeStruct = Impossible<S::Ok, S::Error>;
    type SerializeStructVariant = Impossible<S::Ok, S::Error>;

    fn serialize_str(self, value: &str) -> Result<S::Ok, S::Error> {
        self.copy.push_str(value);
        self.inner.serialize_str(value)
    }

    fn serialize_char(self, value: char) -> Result<S::Ok, S::Error> {
        self.copy.push(value);
        self.inner.serialize_char(value)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.copy.push_str(variant);
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        value.serialize(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        value.serialize(self)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        // Writing to a string fails only where the value's own Display does, and then again below.
        let _ = fmt::Write::write_fmt(self.copy, format_args!("{value}"));
        self.inner.collect_str(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<S::Ok, S::Error> {
        self.refuse()
    }

    refuse! {
        serialize_bool(bool) -> S::Ok;
        serialize_i8(i8) -> S::Ok;
        serialize_i16(i16) -> S::Ok;
        serialize_i32(i32) -> S::Ok;
        serialize_i64(i64) -> S::Ok;
        serialize_i128(i128) -> S::Ok;
        serialize_u8(u8) -> S::Ok;
        serialize_u16(u16) -> S::Ok;
        serialize_u32(u32) -> S::Ok;
        serialize_u64(u64) -> S::Ok;
        serialize_u128(u128) -> S::Ok;
        serialize_f32(f32) -> S::Ok;
        serialize_f64(f64) -> S::Ok;
        serialize_bytes(&[u8]) -> S::Ok;
        serialize_none() -> S::Ok;
        serialize_unit() -> S::Ok;
        serialize_unit_struct(&'static str) -> S::Ok;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}
