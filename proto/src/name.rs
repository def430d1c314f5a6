//! Names of requests and events that know their types.
//!
//! ```
//! use switchboard_proto::name::{Call, Event};
//!
//! pub const ADD: Call<(i32, i32), i32> = Call::new("math.add");
//! pub const MOVED: Event<(f32, f32)> = Event::new("moved");
//! ```
//!
//! Shared by both sides, such a constant makes a call with the wrong type an error of the compiler.
//! Wherever one stands, a plain string may stand too; then the types are whatever the caller says.
//!
//! Whether a name is allowed (1 to 255 bytes, no NUL) is checked where it is used, not here. No name
//! is special: `error`, `connect` and `__proto__` are names like any other.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;
use core::marker::PhantomData;

use crate::registry::Roles;

/// The name of a request that carries `M` and is answered with `R`.
pub struct Call<M: ?Sized, R> {
    name: &'static str,
    // A function of both: the name holds neither, so it is Copy, Send and Sync whatever they are.
    types: PhantomData<fn(&M) -> R>,
}

/// The name of an event that carries `M`.
pub struct Event<M: ?Sized> {
    name: &'static str,
    types: PhantomData<fn(&M)>,
}

/// What names a request with `M` that is answered with `R`: a [`Call`] of exactly these types, or a
/// string for any.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name a request that carries `{M}` and is answered with `{R}`",
    note = "a `Call<M, R>` names a request of exactly its own types, a string one of any"
)]
pub trait CallName<M: ?Sized, R> {
    /// The name on the wire.
    fn name(&self) -> &str;

    /// The name to keep: that of a [`Call`] needs no memory.
    fn to_name(&self) -> Cow<'static, str> {
        Cow::Owned(self.name().into())
    }
}

/// What names an event with `M`: an [`Event`] of exactly this type, or a string for any.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name an event that carries `{M}`",
    note = "an `Event<M>` names an event of exactly its own type, a string one of any"
)]
pub trait EventName<M: ?Sized> {
    /// The name on the wire.
    fn name(&self) -> &str;

    /// The name to keep: that of an [`Event`] needs no memory.
    fn to_name(&self) -> Cow<'static, str> {
        Cow::Owned(self.name().into())
    }
}

/// What a handler can be registered for: a [`Call`] for requests, an [`Event`] for events, and a
/// string for both.
#[diagnostic::on_unimplemented(
    message = "`{Self}` names no handler that takes `{M}` and returns `{R}`",
    note = "a `Call<M, R>` names one of exactly its own types, an `Event<M>` one that returns `()`"
)]
pub trait HandlerName<M, R> {
    /// For what the handler is registered.
    fn roles(&self) -> Roles;

    /// The name on the wire.
    fn as_name(&self) -> &str;
}

/// What names something, whatever it carries: a [`Call`], an [`Event`] or a string.
pub trait AnyName {
    /// The name on the wire.
    fn any_name(&self) -> &str;
}

impl<M: ?Sized, R> Call<M, R> {
    /// Names a request.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            types: PhantomData,
        }
    }

    /// The name on the wire.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<M: ?Sized> Event<M> {
    /// Names an event.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            types: PhantomData,
        }
    }

    /// The name on the wire.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<M: ?Sized, R> AnyName for Call<M, R> {
    fn any_name(&self) -> &str {
        self.name
    }
}

impl<M: ?Sized> AnyName for Event<M> {
    fn any_name(&self) -> &str {
        self.name
    }
}

impl<M: ?Sized, R> CallName<M, R> for Call<M, R> {
    fn name(&self) -> &str {
        self.name
    }

    fn to_name(&self) -> Cow<'static, str> {
        Cow::Borrowed(self.name)
    }
}

impl<M: ?Sized> EventName<M> for Event<M> {
    fn name(&self) -> &str {
        self.name
    }

    fn to_name(&self) -> Cow<'static, str> {
        Cow::Borrowed(self.name)
    }
}

impl<M, R> HandlerName<M, R> for Call<M, R> {
    fn roles(&self) -> Roles {
        Roles::REQUESTS
    }

    fn as_name(&self) -> &str {
        self.name
    }
}

impl<M> HandlerName<M, ()> for Event<M> {
    fn roles(&self) -> Roles {
        Roles::EVENTS
    }

    fn as_name(&self) -> &str {
        self.name
    }
}

macro_rules! text_names_anything {
    ($($text:ty),*) => {$(
        impl AnyName for $text {
            fn any_name(&self) -> &str {
                self
            }
        }

        impl<M: ?Sized, R> CallName<M, R> for $text {
            fn name(&self) -> &str {
                self
            }
        }

        impl<M: ?Sized> EventName<M> for $text {
            fn name(&self) -> &str {
                self
            }
        }

        impl<M, R> HandlerName<M, R> for $text {
            fn roles(&self) -> Roles {
                Roles::BOTH
            }

            fn as_name(&self) -> &str {
                self
            }
        }
    )*};
}

text_names_anything!(&str, String, &String, Cow<'_, str>);

// Derived, these would ask the same of `M` and `R`, which a name does not hold.

impl<M: ?Sized, R> Clone for Call<M, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: ?Sized, R> Copy for Call<M, R> {}

impl<M: ?Sized, R> fmt::Debug for Call<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Call").field(&self.name).finish()
    }
}

impl<M: ?Sized, R> fmt::Display for Call<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<M: ?Sized> Clone for Event<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: ?Sized> Copy for Event<M> {}

impl<M: ?Sized> fmt::Debug for Event<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Event").field(&self.name).finish()
    }
}

impl<M: ?Sized> fmt::Display for Event<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
