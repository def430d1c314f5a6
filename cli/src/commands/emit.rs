//! `emit`: an event, and what became of it.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;
use switchboard_mio::{
    Attachment, Everyone, Fate, Incoming, MessageId, NamespaceId, Reason, Receipt, Refusal,
    SendError, State,
};

use crate::args::{Emit, Global};
use crate::end::{End, Failure};
use crate::payload::Data;
use crate::print;
use crate::roster::{PeerArg, shown_namespace};
use crate::session::Session;

/// What is known of the receivers.
#[derive(Debug, Default)]
struct Tally {
    expected: usize,
    delivered: usize,
    refused: usize,
    unconfirmed: usize,
    /// Of everybody: those who do not listen for it.
    ignored: usize,
    why: Option<String>,
}

/// Sends the event and waits until its receivers have it.
///
/// # Errors
///
/// Usage, no hub, or nobody reads what is printed. What becomes of the event is no error but an
/// [`End`].
pub fn run(global: &Global, args: &Emit) -> Result<End> {
    let data = Data::read(args.data.as_deref(), args.raw)?;
    let mut session = Session::join(global, &args.place.joining)?;
    let space = session.namespace(&args.place.ns)?;
    session.board.ready();
    if args.to.is_none() && !session.everybody_known()? && !global.quiet {
        print::talk("the hub still waits for peers that it knew before; they may miss this");
    }
    let mut tally = Tally {
        expected: receivers(&session, args),
        ..Tally::default()
    };
    match send(&mut session, args, space, &data) {
        Ok(_) if tally.expected == 0 => {}
        Ok(id) => follow(&mut session, args, id, &mut tally)?,
        Err(error) if matches!(error.reason(), Reason::Target(_)) => {
            return Err(Failure::new(End::Usage, format!("--to: {error}")).into());
        }
        Err(error) => tally.refuse(error.to_string()),
    }
    let end = tally.end();
    tally.tell(global, args, end)?;
    Ok(end)
}

fn send(
    session: &mut Session,
    args: &Emit,
    space: NamespaceId,
    data: &Data,
) -> Result<MessageId, SendError> {
    let mut emit = session
        .board
        .emit(args.event.as_str(), data.as_encode())
        .ns(space)
        .receipt(Receipt::Delivered)
        .expires(args.deadline);
    if args.all {
        emit = emit.to(Everyone);
    } else if let Some(peer) = &args.to {
        emit = emit.to(PeerArg(peer));
    }
    emit.send()
}

/// How many peers get it.
fn receivers(session: &Session, args: &Emit) -> usize {
    if args.to.is_some() {
        return 1;
    }
    let roster = session.board.roster();
    let own = session.board.id();
    let namespace = match shown_namespace(&args.place.ns) {
        "_" => "",
        name => name,
    };
    let others = roster.peers().filter(|peer| Some(peer.id) != own);
    match args.all {
        true => others.count(),
        false => others.filter(|p| p.listens(namespace, &args.event)).count(),
    }
}

fn follow(session: &mut Session, args: &Emit, event: MessageId, tally: &mut Tally) -> Result<()> {
    let mut until = Instant::now().checked_add(args.deadline);
    let mut hub_lost = false;
    while tally.known() < tally.expected {
        match session.next(until)? {
            Some(Incoming::Fate { id, fate }) if id == event => tally.count(fate, args.all),
            Some(Incoming::State(State::Disconnected(_))) => {
                // A command does not wait for the next hub. Closing ends the event, and the node
                // knows to whom it never left; that is said at once.
                hub_lost = true;
                until = Some(Instant::now());
                session.board.close();
            }
            Some(_) => {}
            None if hub_lost => tally.unconfirmed += tally.expected - tally.known(),
            None => break,
        }
    }
    Ok(())
}

impl Tally {
    fn known(&self) -> usize {
        self.delivered + self.refused + self.unconfirmed + self.ignored
    }

    fn count(&mut self, fate: Fate<Attachment>, all: bool) {
        match fate {
            Fate::Refused {
                reason: Refusal::NoHandler | Refusal::NoNamespace,
                ..
            } if all => self.ignored += 1,
            Fate::Delivered | Fate::Handled | Fate::HandlerFailed => self.delivered += 1,
            Fate::Refused { reason, .. } => self.refuse(reason.to_string()),
            Fate::NotAccepted { reason, .. } => self.refuse(reason.to_string()),
            Fate::Unconfirmed => self.unconfirmed += 1,
        }
    }

    fn refuse(&mut self, why: String) {
        self.refused += 1;
        self.why.get_or_insert(why);
    }

    fn end(&self) -> End {
        if self.known() < self.expected {
            End::Deadline
        } else if self.unconfirmed > 0 {
            End::Unknown
        } else if self.refused > 0 {
            End::NotRun
        } else {
            End::Done
        }
    }

    fn tell(&self, global: &Global, args: &Emit, end: End) -> Result<()> {
        if global.json {
            print::object(&json!({
                "receivers": self.expected,
                "delivered": self.delivered,
                "refused": self.refused,
                "unconfirmed": self.unconfirmed,
                "ignored": self.ignored,
                "why": self.why,
                "exit": end.code(),
            }))?;
            return Ok(());
        }
        let event = &args.event;
        let of = format!("{} of {}", self.delivered, self.expected);
        let text = match (end, self.expected) {
            (End::Done, _) if self.ignored > 0 => {
                format!(
                    "{event} delivered to {of} peers; {} do not listen for it",
                    self.ignored
                )
            }
            (End::Done, 0) => format!("nobody listens for {event}"),
            (End::Done, 1) => format!("{event} delivered"),
            (End::Done, n) => format!("{event} delivered to {n} peers"),
            (End::Deadline, _) => format!("error: {event}: delivered to {of} within the deadline"),
            (End::Unknown, _) => {
                format!(
                    "error: {event}: delivered to {of}; the end of a connection left the rest unknown"
                )
            }
            _ => {
                let why = self.why.as_deref().unwrap_or_default();
                format!("error: {event}: delivered to {of}: {why}")
            }
        };
        if end != End::Done || !global.quiet {
            print::talk(&text);
        }
        Ok(())
    }
}
