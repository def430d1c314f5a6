//! `call`: one request and its one outcome.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use switchboard_mio::{Incoming, NamespaceId, RequestError, RequestId, SendError, State};

use crate::args::{Call, Global};
use crate::duration;
use crate::end::{End, NoReply};
use crate::payload::Data;
use crate::print;
use crate::roster::{PeerArg, list, shown_namespace};
use crate::session::Session;

/// Makes the request and prints its outcome.
///
/// # Errors
///
/// Usage, no hub, or nobody reads what is printed. What becomes of the request is no error but an
/// [`End`].
pub fn run(global: &Global, args: &Call) -> Result<End> {
    let data = Data::read(args.data.as_deref(), args.raw)?;
    let mut session = Session::join(global, &args.place.joining)?;
    let space = session.namespace(&args.place.ns)?;
    session.board.ready();
    let begin = Instant::now();
    let outcome = match send(&mut session, args, space, &data) {
        Ok(id) => outcome_of(&mut session, id)?,
        Err(error) => Err(RequestError::from(error).into()),
    };
    let took = begin.elapsed();
    match outcome {
        Ok(value) => {
            if global.json {
                print::object(&json!({
                    "outcome": "reply",
                    "value": value.to_json(),
                    "us": took.as_micros(),
                }))?;
            } else {
                value.print()?;
            }
            if !global.quiet && !global.json {
                print::talk(&format!(
                    "{} answered in {}",
                    args.event,
                    duration::show(took)
                ));
            }
            Ok(End::Done)
        }
        Err(reply) => tell(global, args, &session, reply),
    }
}

fn send(
    session: &mut Session,
    args: &Call,
    space: NamespaceId,
    data: &Data,
) -> Result<RequestId, SendError> {
    let board = &mut session.board;
    let mut request = board
        .request::<_, ()>(args.event.as_str(), data.as_encode())
        .ns(space)
        .deadline(args.deadline);
    if let Some(peer) = &args.to {
        request = request.to(PeerArg(peer));
    }
    request.send()
}

/// The node itself ends every request, at its deadline at the latest.
fn outcome_of(session: &mut Session, request: RequestId) -> Result<Result<Data, NoReply>> {
    let mut look = Some(Instant::now() + Duration::from_millis(500));
    let mut hub_lost = false;
    loop {
        match session.next(look)? {
            Some(Incoming::Reply { id, outcome }) if id == request => {
                return Ok(Data::of_reply(outcome).map_err(|error| match hub_lost {
                    true => NoReply::from(error).by_loss_of_hub(),
                    false => error.into(),
                }));
            }
            Some(Incoming::State(State::Disconnected(_))) => {
                // A command does not wait for the next hub. Closing ends the request, and the node
                // knows whether it ever left.
                hub_lost = true;
                session.board.close();
            }
            Some(_) => {}
            None => {
                session.tell_if_incomplete();
                look = None;
            }
        }
    }
}

fn tell(global: &Global, args: &Call, session: &Session, reply: NoReply) -> Result<End> {
    if global.json {
        print::object(&json!({
            "outcome": reply.outcome,
            "why": reply.why,
            "code": reply.fault.as_ref().map(|fault| fault.code),
            "detail": reply.fault.as_ref().and_then(|fault| fault.detail.clone()),
            "exit": reply.end.code(),
        }))?;
        return Ok(reply.end);
    }
    print::talk(&format!("error: {}: {}", args.event, reply.why));
    if let Some(detail) = reply.fault.and_then(|fault| fault.detail) {
        print::talk(&detail);
    }
    if reply.end == End::NotRun {
        let handled = handled(session, shown_namespace(&args.place.ns));
        print::talk(&format!("handled in this namespace: {handled}"));
    }
    Ok(reply.end)
}

/// The names that somebody handles in a namespace.
fn handled(session: &Session, namespace: &str) -> String {
    let spaces = session.board.roster().peers().flat_map(|peer| {
        let spaces = peer.namespaces().iter();
        spaces.filter(|space| shown_namespace(&space.name) == namespace)
    });
    let mut names: Vec<String> = spaces.flat_map(|space| space.handlers.clone()).collect();
    names.sort();
    names.dedup();
    match names.is_empty() {
        true => "nothing".into(),
        false => list(&names),
    }
}
