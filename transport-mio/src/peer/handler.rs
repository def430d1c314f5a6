//! What an application gives to be called, in its two shapes.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use switchboard_os::Attachment;
use switchboard_os::app::{self, OfContext, OfMessage, answer, guard, read};
use switchboard_proto::Answer;
use switchboard_proto::codec::{Decode, Encode};
use switchboard_proto::fault::Fault;

use super::cx::Cx;
use super::pace::Pace;
use super::subs::Queue;

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
    fn call(&self, cx: &Cx, message: M) -> Result<R, Fault>;
}

impl<F, M, R> Handler<M, R, OfMessage> for F
where
    F: Fn(M) -> Result<R, Fault> + Send + Sync + 'static,
{
    fn call(&self, _: &Cx, message: M) -> Result<R, Fault> {
        self(message)
    }
}

impl<F, M, R> Handler<M, R, OfContext> for F
where
    F: Fn(Cx, M) -> Result<R, Fault> + Send + Sync + 'static,
{
    fn call(&self, cx: &Cx, message: M) -> Result<R, Fault> {
        self(cx.clone(), message)
    }
}

/// What is called.
pub(super) enum Run {
    Handler(Box<dyn AnyHandler>),
    /// Somebody who takes events one by one.
    Queue(Arc<Queue>),
}

pub(super) type Callee = app::Callee<Run>;
pub(super) type Job = app::Job<Run>;

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handler(_) => "Handler",
            Self::Queue(_) => "Queue",
        })
    }
}

/// A handler whose types are forgotten.
pub(super) trait AnyHandler: Send + Sync {
    fn call(&self, cx: &Cx) -> Answer<Attachment>;

    fn pace(&self) -> &Pace;
}

pub(super) fn erase<M, R, S>(handler: impl Handler<M, R, S>) -> Box<dyn AnyHandler>
where
    M: Decode + Send + 'static,
    R: Encode + Send + 'static,
    S: 'static,
{
    Box::new(Typed {
        handler,
        pace: Pace::default(),
        types: PhantomData,
    })
}

struct Typed<H, M, R, S> {
    handler: H,
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
    fn call(&self, cx: &Cx) -> Answer<Attachment> {
        let called = guard(|| {
            let message = read(cx)?;
            Ok(answer(cx, self.handler.call(cx, message)))
        });
        match called {
            Ok(Ok(answer) | Err(answer)) | Err(answer) => answer,
        }
    }

    fn pace(&self) -> &Pace {
        &self.pace
    }
}
