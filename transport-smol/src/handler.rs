//! What an application gives to be called, in its two shapes.

use std::any::Any;
use std::future::Future;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

use bytes::Bytes;
use switchboard_proto::codec::{CodecError, CodecId, Decode, Encode};
use switchboard_proto::fault::Fault;
use switchboard_proto::name::{Call, Event};
use switchboard_proto::{Answer, Failure};

use crate::cx::Cx;

/// A function that is called with each message: `async |message: M| Ok(..)` or
/// `async |cx: Cx, message: M| Ok(..)`, or a closure that returns such a future. The types of the
/// arguments have to be written.
///
/// One that captures clones outside of the future and moves the clone in:
///
/// ```
/// # use std::sync::Arc;
/// # use switchboard_smol::Fault;
/// let table = Arc::new(vec![1, 2, 3]);
/// let get = move |at: usize| {
///     let table = Arc::clone(&table);
///     async move { table.get(at).copied().ok_or_else(|| Fault::new("no such row")) }
/// };
/// # fn check<M, R, S>(_: impl switchboard_smol::Handler<M, R, S>) {}
/// # check(get);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler of `{M}`",
    note = "a handler is `async |message: M| Ok(..)` or `async |cx: Cx, message: M| Ok(..)`; what it \
            captures it must own, and its future must be Send"
)]
pub trait Handler<M, R, Shape>: Send + Sync + 'static {
    /// What it returns.
    type Future: Future<Output = Result<R, Fault>> + Send + 'static;

    /// Calls it.
    fn call(&self, cx: Cx, message: M) -> Self::Future;
}

/// The shape of a handler that takes the message alone.
#[derive(Debug)]
pub struct OfMessage;

/// The shape of a handler that takes a [`Cx`] and the message.
#[derive(Debug)]
pub struct OfContext;

impl<F, Fut, M, R> Handler<M, R, OfMessage> for F
where
    F: Fn(M) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, Fault>> + Send + 'static,
{
    type Future = Fut;

    fn call(&self, _: Cx, message: M) -> Fut {
        self(message)
    }
}

impl<F, Fut, M, R> Handler<M, R, OfContext> for F
where
    F: Fn(Cx, M) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, Fault>> + Send + 'static,
{
    type Future = Fut;

    fn call(&self, cx: Cx, message: M) -> Fut {
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

pub(crate) type Running = Pin<Box<dyn Future<Output = Answer<OwnedFd>> + Send>>;

/// A handler whose types are forgotten.
pub(crate) trait AnyHandler: Send + Sync {
    fn start(&self, cx: Cx, codec: CodecId, payload: &Bytes) -> Running;
}

pub(crate) fn erase<M, R, S>(handler: impl Handler<M, R, S>) -> Box<dyn AnyHandler>
where
    M: Decode + Send + 'static,
    R: Encode + Send + 'static,
    S: 'static,
{
    Box::new(Typed {
        handler,
        types: PhantomData,
    })
}

struct Typed<H, M, R, S> {
    handler: H,
    types: PhantomData<fn(M, S) -> R>,
}

impl<H, M, R, S> AnyHandler for Typed<H, M, R, S>
where
    H: Handler<M, R, S>,
    M: Decode + Send + 'static,
    R: Encode + Send + 'static,
    S: 'static,
{
    fn start(&self, cx: Cx, codec: CodecId, payload: &Bytes) -> Running {
        let shared = cx.shared();
        let message = match shared.codecs.decode::<M>(codec, cx.name(), payload) {
            Ok(message) => message,
            Err(error) => return Box::pin(std::future::ready(unreadable(error))),
        };
        let future = self.handler.call(cx.clone(), message);
        Box::pin(async move {
            let result = future.await;
            let reply = match &result {
                Ok(value) => cx.encode_reply(value),
                Err(fault) => return failed(fault),
            };
            match reply {
                Ok(encoded) => Answer::value(encoded.codec.0, encoded.payload),
                Err(error) => failed(&Fault::from_error(&error)),
            }
        })
    }
}

/// The answer to a message that did not become the handler's type. The handler has not run; only
/// for an unknown codec does the wire have a word that says so.
fn unreadable(error: CodecError) -> Answer<OwnedFd> {
    match error {
        CodecError::Unknown(_) => Answer::NotRun(switchboard_proto::wire::Refusal::Codec),
        error => failed(&Fault::from_error(&error)),
    }
}

pub(crate) fn failed(fault: &Fault) -> Answer<OwnedFd> {
    Answer::Failed(Failure {
        code: fault.code,
        message: fault.message.clone(),
        detail: fault.detail.clone().unwrap_or_default(),
    })
}

/// Runs what is the application's. A panic becomes the answer that the caller gets.
///
/// Nothing of ours is borrowed across the call, and what panicked is dropped and never looked at
/// again, so there is no broken state to see.
pub(crate) fn guard<T>(run: impl FnOnce() -> T) -> Result<T, Answer<OwnedFd>> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let answer = failed(&Fault::new(format!(
            "the handler panicked: {}",
            text_of(&*panic)
        )));
        // What was panicked with can be any value, and its drop can panic again.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(panic)));
        if let Err(again) = dropped {
            std::mem::forget(again);
        }
        answer
    })
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "with a value that is no text",
    }
}
