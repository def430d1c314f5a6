//! `on`: events as they come.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;
use switchboard_mio::{Incoming, IncomingEvent, State};

use crate::args::{Global, On};
use crate::end::{End, Failure};
use crate::payload::Data;
use crate::print;
use crate::roster::{sender_json, shown_namespace};
use crate::session::Session;

/// Prints events until there were enough, or the time is over, or Ctrl-C. Joins again by itself
/// when the hub comes back.
///
/// # Errors
///
/// Usage, no hub at the beginning, or nobody reads what is printed.
pub fn run(global: &Global, args: &On) -> Result<End> {
    let mut session = Session::join(global, &args.place.joining)?;
    let space = session.namespace(&args.place.ns)?;
    for event in &args.event {
        let listening = session.board.listen_to(space, event.as_str());
        listening.map_err(|error| Failure::new(End::Usage, format!("{event:?}: {error}")))?;
    }
    session.board.ready();
    let until = args
        .within
        .and_then(|time| Instant::now().checked_add(time));
    let mut left = args.count.unwrap_or(u64::MAX);
    if !global.quiet {
        print::talk(&format!("listening for {}", args.event.join(", ")));
    }
    while left > 0 {
        match session.next(until)? {
            Some(Incoming::Event(event)) => {
                show(global, args, &session, &event)?;
                // Its sender has what it asked for, if it still lives.
                let _ = event.handled(&mut session.board, Ok(()));
                left -= 1;
            }
            Some(Incoming::State(State::Disconnected(_))) => {
                talk(global, "the hub is gone: trying again")
            }
            Some(Incoming::State(State::Connected { .. })) => talk(global, "connected again"),
            Some(_) => {}
            None => break,
        }
    }
    session.leave();
    Ok(match args.count {
        Some(_) if left > 0 => End::Deadline,
        _ => End::Done,
    })
}

fn show(global: &Global, args: &On, session: &Session, event: &IncomingEvent) -> Result<()> {
    let data = match Data::of_event(event) {
        Ok(data) => data,
        Err(error) => {
            print::talk(&format!("{} from {}: {error}", event.name(), event.from()));
            return Ok(());
        }
    };
    if global.json {
        print::object(&json!({
            "event": event.name(),
            "ns": shown_namespace(&args.place.ns),
            "from": sender_json(session.board.roster(), event.from()),
            "raw": matches!(data, Data::Raw(_)),
            "data": data.to_json(),
        }))?;
    } else {
        data.print()?;
    }
    Ok(())
}

fn talk(global: &Global, text: &str) {
    if !global.quiet {
        print::talk(text);
    }
}
