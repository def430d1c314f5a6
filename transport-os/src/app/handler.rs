//! From a message to a handler's argument, and from what it returns to the answer.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use switchboard_proto::codec::{CodecError, Decode, Encode};
use switchboard_proto::fault::Fault;
use switchboard_proto::wire::Refusal;
use switchboard_proto::{Answer, DeclareError};

use super::{Cx, Host};
use crate::Attachment;

/// The shape of a handler that takes the message alone.
#[derive(Debug)]
pub struct OfMessage;

/// The shape of a handler that takes a [`Cx`] and the message.
#[derive(Debug)]
pub struct OfContext;

/// The answer to a message that nobody was called for.
pub const NOBODY: Answer<Attachment> = Answer::NotRun(Refusal::NoHandler);

/// Why a handler was not registered.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Requests of the name have a handler, and only one can answer them.
    #[error("{name:?} has a request handler already: use `replace` to swap it")]
    HandlerExists {
        /// The name.
        name: String,
    },
    /// The name cannot be declared to the other peers.
    #[error(transparent)]
    Declare(#[from] DeclareError),
}

/// The value of a message; or the answer to one that is not of the handler's type. The handler has
/// not run then, but only for an unknown codec does the wire have a word that says so.
///
/// # Errors
///
/// The answer.
pub fn read<P: Host, M: Decode>(cx: &Cx<P>) -> Result<M, Answer<Attachment>> {
    let read = cx.message.decode(cx.peer().codecs());
    read.map_err(|error| match error {
        CodecError::Unknown(_) => Answer::NotRun(Refusal::Codec),
        error => Answer::from(&Fault::from_error(&error)),
    })
}

/// The answer to what a handler returned, with what it [attached](Cx::attach). A reply is encoded
/// as any other message of its name; a value that the codec cannot carry is a failure.
pub fn answer<P: Host, R: Encode>(cx: &Cx<P>, returned: Result<R, Fault>) -> Answer<Attachment> {
    let value = match returned {
        Ok(value) => value,
        Err(fault) => return Answer::from(&fault),
    };
    let codecs = cx.peer().codecs();
    match codecs.encode(cx.namespace(), cx.name(), None, &value) {
        Ok(encoded) => Answer::Reply {
            codec: encoded.codec.0,
            payload: encoded.payload,
            attachments: cx.message.take_reply(),
        },
        Err(error) => Answer::from(&Fault::from_error(&error)),
    }
}

/// What the sender of a message is told of several handlers: of the first that did not return `Ok`,
/// else of the last. Where none was called, it is told [that](NOBODY).
pub fn weigh(told: Option<Answer<Attachment>>, next: Answer<Attachment>) -> Answer<Attachment> {
    match told {
        Some(bad @ (Answer::Failed(_) | Answer::NotRun(_))) => bad,
        Some(Answer::Reply { .. }) | None => next,
    }
}

/// Runs what is the application's. A panic becomes the answer that the caller gets.
///
/// Nothing of ours is borrowed across the call, and what panicked is dropped and never looked at
/// again, so there is no broken state to see.
///
/// # Errors
///
/// The answer that tells of the panic.
pub fn guard<T>(run: impl FnOnce() -> T) -> Result<T, Answer<Attachment>> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = format!("the handler panicked: {}", text_of(&*panic));
        // What was panicked with can be any value, and its drop can panic again.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(panic)));
        if let Err(again) = dropped {
            std::mem::forget(again);
        }
        Answer::from(&Fault::new(text))
    })
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "with a value that is no text",
    }
}

crate::debug_says!(RegisterError);
