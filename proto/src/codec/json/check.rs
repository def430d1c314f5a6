//! Writing with a check: a wrapper around a serializer that refuses what JSON cannot carry, remembers
//! where it stood, and writes bytes as base64 text.

mod key;

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as ALPHABET;
use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::CODEC;
use crate::codec::{CodecError, Integers, MAX_DEPTH, Refusal};

/// Hands the value on to `write`, wrapped; turns the error into one that says where.
pub(super) fn checked<T: Serialize + ?Sized, O, E: Error + fmt::Display>(
    integers: Integers,
    value: &T,
    write: impl FnOnce(&Checked<'_, T>) -> Result<O, E>,
) -> Result<O, CodecError> {
    let context = Context {
        integers,
        depth: Cell::new(0),
        refusal: Cell::new(None),
        path: RefCell::default(),
    };
    let wrapped = Checked {
        value,
        context: &context,
    };
    write(&wrapped).map_err(|error| {
        let path = path(&context.path.borrow());
        match context.refusal.get() {
            Some(reason) => CodecError::Refused {
                codec: CODEC,
                path,
                reason,
            },
            None => CodecError::Serialize {
                codec: CODEC,
                path,
                message: error.to_string(),
            },
        }
    })
}

/// A value that is checked while it is written.
pub(super) struct Checked<'c, T: ?Sized> {
    value: &'c T,
    context: &'c Context,
}

impl<T: Serialize + ?Sized> Serialize for Checked<'_, T> {
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Checking {
            inner,
            context: self.context,
        })
    }
}

/// What one writing shares. The path is filled while an error travels up, innermost step first, so
/// that it costs nothing as long as there is none.
struct Context {
    integers: Integers,
    depth: Cell<usize>,
    refusal: Cell<Option<Refusal>>,
    path: RefCell<Vec<Step>>,
}

enum Step {
    Key(String),
    Index(usize),
}

impl Context {
    fn refuse<T, E: Error>(&self, reason: Refusal) -> Result<T, E> {
        self.refusal.set(Some(reason));
        Err(E::custom("refused"))
    }

    fn enter<E: Error>(&self) -> Result<(), E> {
        if self.depth.get() == MAX_DEPTH {
            return self.refuse(Refusal::TooDeep);
        }
        self.depth.set(self.depth.get() + 1);
        Ok(())
    }

    fn leave(&self) {
        self.depth.set(self.depth.get() - 1);
    }

    fn at(&self, step: Step) {
        self.path.borrow_mut().push(step);
    }
}

/// `$.a[3].b`, and `$["odd key"]` where a key is not a plain word.
fn path(steps: &[Step]) -> String {
    let mut path = String::from("$");
    for step in steps.iter().rev() {
        let plain = |key: &str| {
            !key.is_empty()
                && !key.starts_with(|c: char| c.is_ascii_digit())
                && key.chars().all(|c| c.is_alphanumeric() || c == '_')
        };
        // Writing to a string cannot fail.
        let _ = match step {
            Step::Index(index) => write!(path, "[{index}]"),
            Step::Key(key) if plain(key) => write!(path, ".{key}"),
            Step::Key(key) => write!(path, "[{key:?}]"),
        };
    }
    path
}

struct Checking<'c, S> {
    inner: S,
    context: &'c Context,
}

impl<'c, S: Serializer> Checking<'c, S> {
    fn integer(&self, value: i128) -> Result<(), S::Error> {
        const DOUBLE: i128 = 1 << 53;
        let fits = match self.context.integers {
            Integers::Bits64 => (i64::MIN.into()..=u64::MAX.into()).contains(&value),
            Integers::Bits53 => (-DOUBLE..=DOUBLE).contains(&value),
        };
        if fits {
            Ok(())
        } else {
            self.context.refuse(Refusal::IntegerTooLarge)
        }
    }

    fn compound<C>(
        self,
        variant: Option<&'static str>,
        open: impl FnOnce(S) -> Result<C, S::Error>,
    ) -> Result<Compound<'c, C>, S::Error> {
        // A variant that carries several values is a map of one entry around them.
        for _ in 0..=usize::from(variant.is_some()) {
            self.context.enter()?;
        }
        Ok(Compound {
            inner: open(self.inner)?,
            context: self.context,
            variant,
            index: 0,
            key: String::new(),
        })
    }
}

macro_rules! integers {
    ($($method:ident($type:ty))*) => {$(
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.integer(value.into())?;
            self.inner.$method(value)
        }
    )*};
}

macro_rules! pass_on {
    ($($method:ident($($type:ty),*))*) => {$(
        pass_on! { @ $method $($type)* }
    )*};
    (@ $method:ident) => {
        fn $method(self) -> Result<S::Ok, S::Error> {
            self.inner.$method()
        }
    };
    (@ $method:ident $type:ty) => {
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        }
    };
}

impl<'c, S: Serializer> Serializer for Checking<'c, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Compound<'c, S::SerializeSeq>;
    type SerializeTuple = Compound<'c, S::SerializeTuple>;
    type SerializeTupleStruct = Compound<'c, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Compound<'c, S::SerializeTupleVariant>;
    type SerializeMap = Compound<'c, S::SerializeMap>;
    type SerializeStruct = Compound<'c, S::SerializeStruct>;
    type SerializeStructVariant = Compound<'c, S::SerializeStructVariant>;

    integers! {
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64)
        serialize_i128(i128)
    }

    pass_on! {
        serialize_bool(bool) serialize_char(char) serialize_str(&str)
        serialize_none() serialize_unit() serialize_unit_struct(&'static str)
    }

    fn serialize_u128(self, value: u128) -> Result<S::Ok, S::Error> {
        self.integer(i128::try_from(value).unwrap_or(i128::MAX))?;
        self.inner.serialize_u128(value)
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        // The digits of the double: whoever reads one gets the same number, not its neighbour.
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        if !value.is_finite() {
            return self.context.refuse(Refusal::NotFinite);
        }
        self.inner.serialize_f64(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<S::Ok, S::Error> {
        self.inner.serialize_str(&ALPHABET.encode(value))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let context = self.context;
        self.inner.serialize_some(&Checked { value, context })
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let context = self.context;
        let value = &Checked { value, context };
        self.inner.serialize_newtype_struct(name, value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let context = self.context;
        context.enter()?;
        let value = &Checked { value, context };
        let result = self
            .inner
            .serialize_newtype_variant(name, index, variant, value)
            .inspect_err(|_| context.at(Step::Key(variant.to_owned())));
        context.leave();
        result
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.compound(None, |inner| inner.serialize_seq(len))
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.compound(None, |inner| inner.serialize_tuple(len))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.compound(None, |inner| inner.serialize_tuple_struct(name, len))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.compound(Some(variant), |inner| {
            inner.serialize_tuple_variant(name, index, variant, len)
        })
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.compound(None, |inner| inner.serialize_map(len))
    }

    fn serialize_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        self.compound(None, |inner| inner.serialize_struct(name, len))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.compound(Some(variant), |inner| {
            inner.serialize_struct_variant(name, index, variant, len)
        })
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// An array, map, struct or variant that is being written.
struct Compound<'c, C> {
    inner: C,
    context: &'c Context,
    variant: Option<&'static str>,
    /// Of the element that comes next.
    index: usize,
    /// Of the entry whose value comes next.
    key: String,
}

impl<C> Compound<'_, C> {
    /// Writes one value in it, and says where if that fails.
    fn part<T: ?Sized, O, E>(
        &mut self,
        value: &T,
        step: impl FnOnce(&Self) -> Step,
        write: impl FnOnce(&mut C, &Checked<'_, T>) -> Result<O, E>,
    ) -> Result<O, E> {
        let context = self.context;
        let result = write(&mut self.inner, &Checked { value, context });
        if result.is_err() {
            context.at(step(self));
            if let Some(variant) = self.variant {
                context.at(Step::Key(variant.to_owned()));
            }
        }
        self.index += 1;
        result
    }

    fn leave(&self) {
        for _ in 0..=usize::from(self.variant.is_some()) {
            self.context.leave();
        }
    }
}

macro_rules! elements {
    ($($trait:ident :: $method:ident)*) => {$(
        impl<C: $trait> $trait for Compound<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                self.part(value, |this| Step::Index(this.index), |inner, value| inner.$method(value))
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.leave();
                self.inner.end()
            }
        }
    )*};
}

elements! {
    SerializeSeq::serialize_element SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field SerializeTupleVariant::serialize_field
}

macro_rules! fields {
    ($($trait:ident)*) => {$(
        impl<C: $trait> $trait for Compound<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), C::Error> {
                let step = |_: &Self| Step::Key(name.to_owned());
                self.part(value, step, |inner, value| inner.serialize_field(name, value))
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), C::Error> {
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.leave();
                self.inner.end()
            }
        }
    )*};
}

fields! { SerializeStruct SerializeStructVariant }

impl<C: SerializeMap> SerializeMap for Compound<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.key.clear();
        let key = key::Key::new(key, self.context, &mut self.key);
        let result = self.inner.serialize_key(&key);
        if result.is_err() {
            // The key has no path of its own: the map's entry, by number.
            self.context.at(Step::Index(self.index));
        }
        result
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        let step = |this: &Self| Step::Key(this.key.clone());
        self.part(value, step, |inner, value| inner.serialize_value(value))
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.leave();
        self.inner.end()
    }
}
