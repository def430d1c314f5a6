//! What an application gives to be called, in its two shapes.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use switchboard_os::Attachment;
use switchboard_os::app::{OfContext, OfMessage, answer, read};
use switchboard_proto::Answer;
use switchboard_proto::codec::{Decode, Encode};
use switchboard_proto::fault::Fault;

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
    fn call(&self, cx: &Cx, message: M) -> Self::Future;
}

impl<F, Fut, M, R> Handler<M, R, OfMessage> for F
where
    F: Fn(M) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, Fault>> + Send + 'static,
{
    type Future = Fut;

    fn call(&self, _: &Cx, message: M) -> Fut {
        self(message)
    }
}

impl<F, Fut, M, R> Handler<M, R, OfContext> for F
where
    F: Fn(Cx, M) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, Fault>> + Send + 'static,
{
    type Future = Fut;

    fn call(&self, cx: &Cx, message: M) -> Fut {
        self(cx.clone(), message)
    }
}

pub(crate) type Running = Pin<Box<dyn Future<Output = Answer<Attachment>> + Send>>;

/// A handler whose types are forgotten.
pub(crate) trait AnyHandler: Send + Sync {
    fn start(&self, cx: Cx) -> Running;
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
    fn start(&self, cx: Cx) -> Running {
        let message = match read(&cx) {
            Ok(message) => message,
            Err(unreadable) => return Box::pin(std::future::ready(unreadable)),
        };
        let future = self.handler.call(&cx, message);
        Box::pin(async move { answer(&cx, future.await) })
    }
}
