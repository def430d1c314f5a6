//! `hub`: the one place where the others meet.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::json;
use switchboard_mio::{Board, Generation, Incoming, PeerId, PeerName, State};
use switchboard_proto::wire::CloseCode;

use crate::args::{Global, Hub};
use crate::end::{End, Failure};
use crate::print;
use crate::session::{Session, refused};

/// Runs a hub until Ctrl-C.
///
/// # Errors
///
/// [`End::Usage`] without an address, [`End::Failed`] where nobody can listen.
pub fn run(global: &Global, args: &Hub) -> Result<End> {
    let Some(address) = &args.at else {
        let message = "no address: write switchboard hub unix:/absolute/path, or set \
                       SWITCHBOARD_ADDRESS";
        return Err(Failure::new(End::Usage, message).into());
    };
    let builder = Board::builder().name(&args.name);
    let board = builder.listen(address).map_err(|error| refused(&error))?;
    let mut session = Session::around(board, global.quiet)?;
    session.board.ready();
    let at = session.board.address().map(ToString::to_string);
    tell(global, "listening", &at.unwrap_or_default(), json!({}))?;
    let own = session.board.id();
    // The roster forgets who has ended, and people want to know who it was.
    let mut names = BTreeMap::new();
    loop {
        match session.next(None)? {
            Some(Incoming::State(State::PeerUp { id, generation })) if Some(id) != own => {
                let peer = session.board.roster().by_id(id);
                if let Some(name) = peer.and_then(|peer| peer.name.clone()) {
                    names.insert(id, name);
                }
                tell_peer(global, "up", id, generation, names.get(&id))?;
            }
            Some(Incoming::State(State::PeerChanged {
                id,
                generation,
                was,
            })) => {
                if let Some(name) = names.remove(&was.0) {
                    names.insert(id, name);
                }
                tell_peer(global, "changed", id, generation, names.get(&id))?;
            }
            Some(Incoming::State(State::PeerGone { id, generation })) => {
                tell_peer(global, "down", id, generation, names.remove(&id).as_ref())?;
            }
            Some(Incoming::State(State::Fault(fault))) => print::talk(&fault.to_string()),
            Some(Incoming::State(State::LinkClosed {
                code,
                by_peer: false,
                ..
            })) if code != CloseCode::Normal => {
                let why = code.to_string();
                tell(global, "refused", &why, json!({ "why": why }))?;
            }
            _ => {}
        }
    }
}

fn tell_peer(
    global: &Global,
    what: &str,
    id: PeerId,
    generation: Generation,
    name: Option<&PeerName>,
) -> Result<()> {
    let text = match name {
        Some(name) => format!("{name} {id}#{generation}"),
        None => format!("{id}#{generation}"),
    };
    let details = json!({
        "id": id.0,
        "generation": generation.0,
        "name": name.map(PeerName::as_str),
    });
    tell(global, what, &text, details)
}

fn tell(global: &Global, what: &str, text: &str, mut object: serde_json::Value) -> Result<()> {
    if global.json {
        object["event"] = what.into();
        if what == "listening" {
            object["address"] = text.into();
        }
        print::object(&object)?;
    } else if !global.quiet || what == "listening" {
        print::talk(&format!("{what} {text}"));
    }
    Ok(())
}
