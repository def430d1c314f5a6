//! What an application gives to be called, in its two shapes.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use switchboard_proto::Answer;
use switchboard_proto::codec::{CodecError, CodecId, Decode, Encode};
use switchboard_proto::fault::Fault;
use switchboard_proto::name::{Call, Event};
use switchboard_proto::wire::Refusal;

use super::cx::Cx;
use super::pace::Pace;
use super::subs::Queue;
use crate::error::BoardError;
use crate::incoming::failed;

/// A function that is called with each message: `|message: M| Ok(..)` or
/// `|cx: Cx, message: M| Ok(..)`. The types of the arguments have to be written. It may be called
/// from several threads at once, if several [serve](super::Peer::serve).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler of `{M}`",
    note = "a handler is `|message: M| Ok(..)` or `|cx: Cx, message: M| Ok(..)` with the types of \
            its arguments written, and owns what it captures"
)]
pub trait Handler<M, R, Shape>: Send + Sync + 'static {
    /// Calls it.
    ///
    /// # Errors
    ///
    /// What the caller is told.
    fn call(&self, cx: Cx, message: M) -> Result<R, Fault>;
}

/// The shape of a handler that takes the message alone.
#[derive(Debug)]
pub struct OfMessage;

/// The shape of a handler that takes a [`Cx`] and the message.
#[derive(Debug)]
pub struct OfContext;

impl<F, M, R> Handler<M, R, OfMessage> for F
where
    F: Fn(M) -> Result<R, Fault> + Send + Sync + 'static,
{
    fn call(&self, _: Cx, message: M) -> Result<R, Fault> {
        self(message)
    }
}

impl<F, M, R> Handler<M, R, OfContext> for F
where
    F: Fn(Cx, M) -> Result<R, Fault> + Send + Sync + 'static,
{
    fn call(&self, cx: Cx, message: M) -> Result<R, Fault> {
        self(cx, message)
    }
}

/// What a handler can be registered for: a [`Call`] for requests, an [`Event`] for events, and a
/// string for both.
pub trait HandlerName<M, R> {
    /// Whether events of the name come to the handler.
    const EVENTS: bool;
    /// Whether it answers requests of the name.
    const REQUESTS: bool;

    /// The name on the wire.
    fn as_name(&self) -> &str;
}

impl<M, R> HandlerName<M, R> for Call<M, R> {
    const EVENTS: bool = false;
    const REQUESTS: bool = true;

    fn as_name(&self) -> &str {
        self.name()
    }
}

impl<M> HandlerName<M, ()> for Event<M> {
    const EVENTS: bool = true;
    const REQUESTS: bool = false;

    fn as_name(&self) -> &str {
        self.name()
    }
}

macro_rules! text_names_both {
    ($($text:ty),*) => {$(
        impl<M, R> HandlerName<M, R> for $text {
            const EVENTS: bool = true;
            const REQUESTS: bool = true;

            fn as_name(&self) -> &str {
                self
            }
        }
    )*};
}

text_names_both!(&str, String, &String);

/// A handler that was not registered; it comes back.
pub struct HandlerError<H> {
    /// The handler.
    pub handler: H,
    /// Why. `None`: the name has a request handler already.
    pub reason: Option<BoardError>,
}

impl<H> HandlerError<H> {
    pub(super) fn exists(handler: H) -> Self {
        let reason = None;
        Self { handler, reason }
    }

    pub(super) fn new(handler: H, reason: BoardError) -> Self {
        let reason = Some(reason);
        Self { handler, reason }
    }

    /// Whether the name has a request handler already; see [`Peer::replace`](super::Peer::replace).
    pub fn is_handler_exists(&self) -> bool {
        self.reason.is_none()
    }
}

impl<H> fmt::Display for HandlerError<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => reason.fmt(f),
            None => f.write_str("the name has a request handler already; use replace to swap it"),
        }
    }
}

impl<H> fmt::Debug for HandlerError<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError")
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl<H> std::error::Error for HandlerError<H> {}

/// What the registry holds.
#[derive(Clone)]
pub(super) enum Callee {
    Handler(Arc<dyn AnyHandler>),
    /// Somebody who takes events one by one.
    Queue(Arc<Queue>),
}

impl fmt::Debug for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handler(_) => "Handler",
            Self::Queue(_) => "Queue",
        })
    }
}

/// A handler whose types are forgotten.
pub(super) trait AnyHandler: Send + Sync {
    fn call(&self, cx: &Cx, codec: CodecId, payload: &Bytes) -> Answer<OwnedFd>;

    fn pace(&self) -> &Pace;
}

pub(super) fn erase<M, R, S>(handler: impl Handler<M, R, S>, once: bool) -> Arc<dyn AnyHandler>
where
    M: Decode + Send + 'static,
    R: Encode + Send + 'static,
    S: 'static,
{
    Arc::new(Typed {
        handler,
        once,
        called: AtomicBool::new(false),
        pace: Pace::default(),
        types: PhantomData,
    })
}

struct Typed<H, M, R, S> {
    handler: H,
    once: bool,
    called: AtomicBool,
    pace: Pace,
    types: PhantomData<fn(M, S) -> R>,
}

impl<H, M, R, S> AnyHandler for Typed<H, M, R, S>
where
    H: Handler<M, R, S>,
    M: Decode + Send + 'static,
    R: Encode + Send + 'static,
    S: 'static,
{
    fn call(&self, cx: &Cx, codec: CodecId, payload: &Bytes) -> Answer<OwnedFd> {
        // An event and a request that came together were given out from two lists.
        if self.once && self.called.swap(true, Ordering::AcqRel) {
            return Answer::NotRun(Refusal::NoHandler);
        }
        let codecs = &cx.peer().shared().codecs;
        let message = match codecs.decode::<M>(codec, cx.name(), payload) {
            Ok(message) => message,
            // Only for an unknown codec does the wire have a word that says "not run".
            Err(CodecError::Unknown(_)) => return Answer::NotRun(Refusal::Codec),
            Err(error) => return failed(&Fault::from_error(&error)),
        };
        // Nothing of ours is borrowed across the call, and what panicked is not used again by us;
        // what the application shares between its handlers is its own to keep whole.
        let called = catch_unwind(AssertUnwindSafe(|| {
            let value = self.handler.call(cx.clone(), message)?;
            let encoded = codecs.encode(cx.namespace(), cx.name(), None, &value)?;
            Ok(Answer::value(encoded.codec.0, encoded.payload))
        }));
        match called {
            Ok(Ok(answer)) => answer,
            Ok(Err(fault)) => failed(&fault),
            Err(panic) => panicked(panic),
        }
    }

    fn pace(&self) -> &Pace {
        &self.pace
    }
}

fn panicked(panic: Box<dyn Any + Send>) -> Answer<OwnedFd> {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "with a value that is no text",
    };
    let answer = failed(&Fault::new(format!("the handler panicked: {text}")));
    // What was panicked with can be any value, and its drop can panic again.
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
    answer
}
