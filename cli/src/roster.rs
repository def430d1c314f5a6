//! Peers as the command line names and shows them.

use serde::Serialize;
use serde_json::{Value as Json, json};
use switchboard_mio::{
    Generation, IntoTargets, PeerId, Roster, Sender, Target, TargetError, Targets,
};
use switchboard_proto::{Peer, Presence};

use crate::print::visible;

/// PEER of the command line: `3` and `3#7` are ids, anything else is a name.
#[derive(Clone, Debug)]
pub struct PeerArg<'a>(pub &'a str);

impl IntoTargets for PeerArg<'_> {
    fn add_to(&self, list: &mut Targets) -> Result<(), TargetError> {
        let number = |text: &str| text.parse().ok().filter(|_| !text.starts_with('+'));
        let (id, generation) = match self.0.split_once('#') {
            None => (number(self.0), None),
            Some((id, generation)) => (number(id), Some(number(generation))),
        };
        list.push(match (id, generation) {
            (Some(id), None) => Target::Peer(PeerId(id)),
            (Some(id), Some(Some(generation))) => Target::Exact(PeerId(id), Generation(generation)),
            _ => return self.0.add_to(list),
        });
        Ok(())
    }
}

/// One row of `peers`.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its id.
    pub id: u32,
    /// How often the id has been given out.
    pub generation: u32,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// `up`, `starting` or `detached`.
    pub state: &'static str,
    /// What it has declared.
    pub namespaces: Vec<Json>,
    #[serde(skip)]
    handlers: Vec<String>,
    #[serde(skip)]
    listeners: Vec<String>,
}

impl Row {
    /// What the roster says of a peer.
    pub fn of(peer: &Peer) -> Self {
        let mut row = Self {
            id: peer.id.0,
            generation: peer.generation.0,
            name: peer.name.as_ref().map(ToString::to_string),
            state: match (peer.presence, peer.is_up) {
                (Presence::Attached, true) => "up",
                (Presence::Attached, false) => "starting",
                _ => "detached",
            },
            namespaces: Vec::new(),
            handlers: Vec::new(),
            listeners: Vec::new(),
        };
        for space in peer.namespaces() {
            let shown = shown_namespace(&space.name);
            row.namespaces.push(json!({
                "name": shown,
                "ready": space.ready,
                "handlers": space.handlers,
                "listeners": space.listeners,
                "all_events": space.all_events,
            }));
            let at = |name: &String| match space.name.is_empty() {
                true => name.clone(),
                false => format!("{shown}:{name}"),
            };
            row.handlers.extend(space.handlers.iter().map(at));
            row.listeners.extend(space.listeners.iter().map(at));
            if space.all_events {
                row.listeners.push(at(&"*".to_owned()));
            }
        }
        row
    }

    /// The cells of the table.
    pub fn cells(&self) -> [String; 5] {
        [
            self.name.as_deref().map_or_else(|| "-".into(), visible),
            format!("{}#{}", self.id, self.generation),
            self.state.into(),
            list(&self.handlers),
            list(&self.listeners),
        ]
    }
}

/// A namespace as people write it.
pub fn shown_namespace(name: &str) -> &str {
    match name {
        "" => "_",
        name => name,
    }
}

/// A sender as an object.
pub fn sender_json(roster: &Roster, sender: Sender) -> Json {
    let name = roster
        .by_instance(sender.instance)
        .and_then(|peer| peer.name.as_ref())
        .map(ToString::to_string);
    match sender.peer {
        Some((id, generation)) => json!({ "id": id.0, "generation": generation.0, "name": name }),
        None => json!({ "id": null, "generation": null, "name": name }),
    }
}

/// The first few of a list, and how many there are beside them.
pub fn list(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let names: Vec<String> = names.iter().map(|name| visible(name)).collect();
    match names.len() {
        0 => "-".into(),
        n if n <= SHOWN => names.join(" "),
        n => format!("{} +{}", names[..SHOWN].join(" "), n - SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<Target, TargetError> {
        let mut list = Targets::new();
        PeerArg(text).add_to(&mut list)?;
        Ok(list.into_vec().remove(0))
    }

    #[test]
    fn a_number_is_an_id_and_everything_else_a_name() {
        assert_eq!(target("3"), Ok(Target::Peer(PeerId(3))));
        assert_eq!(target("3#7"), Ok(Target::Exact(PeerId(3), Generation(7))));
        assert!(matches!(target("w/3"), Ok(Target::Named(_))));
        assert!(matches!(target("w/3#7"), Ok(Target::NamedExact(..))));
        assert!(matches!(target("+3"), Ok(Target::Named(_))));
        for bad in ["", "3#", "3#x", "w#0"] {
            assert!(target(bad).is_err(), "{bad:?}");
        }
    }
}
