//! What a hub still has to pass on of one conversation's marks, credit and wishes: totals, of
//! which only the last count.

use alloc::vec::Vec;

use super::Overrun;
use crate::spool::Place;
use crate::wire::{BlockedBody, Credit, Frame, Header, Kind, MarkBody, ReclaimBody, flags};

/// How many flows a conversation's control may speak of: more than a pair can have open, and few
/// enough that a mark of all of them fits into a plan.
const FLOWS_MAX: usize = 2_600;

/// The control frames of one conversation that wait.
///
/// Every number in them is an absolute total, so the last one says all; and a total that arrives
/// early does no harm, so one entry in the queue stands for all of them, where the first was.
/// Marks leave before wishes: a `RECLAIM` names a limit that a mark has given.
#[derive(Debug, Default)]
pub(super) struct Control {
    /// Whether the entry that stands for this is in the queue.
    pub(super) queued: bool,
    /// The last `ASK` that was queued. It is a frame of its own and keeps its place.
    pub(super) asked: Option<Asked>,
    mark: Option<Header>,
    /// What the mark says if there is one; kept for its memory, credit sorted by flow.
    totals: Totals,
    /// By flow.
    blocked: Vec<(Header, BlockedBody)>,
    reclaims: Vec<(Header, ReclaimBody)>,
}

/// An `ASK` in the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) place: Place,
    pub(super) path: u32,
    /// Whether no frame of the conversation that has its place follows it.
    pub(super) last: bool,
}

#[derive(Debug)]
struct Totals(MarkBody);

impl Default for Totals {
    fn default() -> Self {
        Self(MarkBody {
            received: 0,
            path: 0,
            credits: Vec::new(),
        })
    }
}

impl Control {
    /// Takes a `MARK`, `BLOCKED` or `RECLAIM` in, with its hop counted.
    pub(super) fn merge(&mut self, frame: &Frame<'_>) -> Result<(), Overrun> {
        let header = Header {
            hops: frame.header.hops.saturating_add(1),
            attachments: 0,
            ..frame.header
        };
        let body = frame.body();
        match header.kind {
            Kind::MARK => {
                let mark = MarkBody::decode(body).map_err(Overrun::Malformed)?;
                self.merge_mark(header, &mark)
            }
            Kind::BLOCKED => {
                let wish = BlockedBody::decode(body).map_err(Overrun::Malformed)?;
                replace(&mut self.blocked, header, wish)
            }
            _ => {
                let wish = ReclaimBody::decode(body).map_err(Overrun::Malformed)?;
                replace(&mut self.reclaims, header, wish)
            }
        }
    }

    /// Appends the next frame to `out`. `false` if there is none.
    pub(super) fn peek(&self, out: &mut Vec<u8>) -> bool {
        if let Some(header) = &self.mark {
            header.encode_with(|out| self.totals.0.encode(out), out);
        } else if let Some((header, wish)) = self.blocked.last() {
            header.encode_with(|out| wish.encode(out), out);
        } else if let Some((header, wish)) = self.reclaims.last() {
            header.encode_with(|out| wish.encode(out), out);
        } else {
            return false;
        }
        true
    }

    /// Takes the frame of [`Control::peek`] away.
    pub(super) fn pop(&mut self) {
        if self.mark.take().is_some() {
            // What was received stays a true total; credit that was told is not told again.
            self.totals.0.credits.clear();
        } else if self.blocked.pop().is_none() {
            self.reclaims.pop();
        }
    }

    fn merge_mark(&mut self, mut header: Header, new: &MarkBody) -> Result<(), Overrun> {
        let totals = &mut self.totals.0;
        let at = |credits: &[Credit], flow| credits.binary_search_by_key(&flow, |c| c.flow);
        let unknown = |credit: &&Credit| at(&totals.credits, credit.flow).is_err();
        if totals.credits.len() + new.credits.iter().filter(unknown).count() > FLOWS_MAX {
            return Err(Overrun::Flows);
        }
        let old = self.mark.map_or(0, |old| old.flags) & (flags::ANSWER | flags::BROKEN);
        if header.flags & flags::ANSWER != 0 || old & flags::ANSWER == 0 {
            totals.path = new.path;
        }
        header.flags |= old;
        self.mark = Some(header);
        totals.received = totals.received.max(new.received);
        for credit in &new.credits {
            match at(&totals.credits, credit.flow) {
                Ok(at) => raise(&mut totals.credits[at], credit),
                Err(at) => totals.credits.insert(at, *credit),
            }
        }
        Ok(())
    }
}

fn raise(old: &mut Credit, new: &Credit) {
    old.taken = old.taken.max(new.taken);
    old.limit = old.limit.max(new.limit);
    old.rooms = old.rooms.max(new.rooms);
}

/// Puts the last wish of a flow in the place of the one before.
fn replace<W>(wishes: &mut Vec<(Header, W)>, header: Header, wish: W) -> Result<(), Overrun> {
    match wishes.binary_search_by_key(&header.flow, |(header, _)| header.flow) {
        Ok(at) => wishes[at] = (header, wish),
        Err(_) if wishes.len() == FLOWS_MAX => return Err(Overrun::Flows),
        Err(at) => wishes.insert(at, (header, wish)),
    }
    Ok(())
}
