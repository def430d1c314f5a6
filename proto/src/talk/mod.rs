//! One conversation for each pair of instances: numbers and retention one way, credit the other.

mod commit;
mod credit;
pub(crate) mod draft;
mod ending;
mod first_contact;
pub(crate) mod inbound;
mod ledger;
mod log;
pub(crate) mod outbound;
mod recv_flow;
mod ring;
mod rooms;
mod run;
mod send_flow;

use alloc::vec::Vec;

pub(crate) use draft::{Draft, DraftPool};
pub(crate) use ending::{GivenUp, Leftover};
pub(crate) use inbound::{Books, Breach, Inbound, Order, Place, Row};
pub(crate) use ledger::Ledger;
pub(crate) use outbound::{Ends, Outbound};
pub(crate) use rooms::Rooms;
pub(crate) use run::Small;

use crate::id::MessageId;
use crate::link::tx::Transmitter;
use crate::message::Target;
use crate::time::Instant;
use crate::wire::{self, Header, Kind, MarkBody, ReclaimBody, flags, flow};

/// Both halves of a conversation with one remote instance.
#[derive(Debug)]
pub(crate) struct Talk<F> {
    pub(crate) ends: Ends,
    pub(crate) out: Outbound<F>,
    pub(crate) inb: Inbound<F>,
    /// Whether it stands in the queue of those that have something to write.
    pub(crate) queued: bool,
    /// Whether one of both broke a rule: what the remote sends from now on is dropped.
    pub(crate) broken: bool,
    /// Whether the remote is to be told that it broke a rule.
    pub(crate) accuses: bool,
    /// Whether a timer will have what came marked.
    pub(crate) mark_timer: bool,
    /// Targets whose messages were refused as full, to be told when half of the buffer is free.
    pub(crate) refused: Vec<Target>,
    /// Requests without an outcome.
    pub(crate) pending: usize,
}

impl<F> Talk<F> {
    pub(crate) fn wants_write(&self) -> bool {
        self.accuses || self.inb.wants_write() || self.out.wants_write()
    }

    /// A request is on its way, and brings credit for its reply.
    #[inline]
    pub(crate) fn begin_request(&mut self, id: MessageId, credit: u32) {
        self.pending += 1;
        let flow = flow::reply_flow(id.0);
        self.inb.open_reply_flow(flow, u64::from(credit));
    }

    /// When what came is to be marked, where nothing is written with which a mark could go: a timer
    /// is to see to it. Said once until that has fired. What is late already is marked now.
    pub(crate) fn leaves_unmarked(&mut self, now: Instant) -> Option<Instant> {
        if self.mark_timer || self.wants_write() {
            return None;
        }
        self.inb.mark_late(now);
        let at = self.inb.mark_at(now).filter(|at| *at > now);
        self.mark_timer = at.is_some();
        at
    }

    /// Puts into a plan what may go now: first what the other side waits for.
    pub(crate) fn fill(&mut self, now: Instant, tx: &mut Transmitter<F>, pool: &mut DraftPool<F>) {
        if self.out.attaches_next() {
            // Marks would take the first place of the plan.
            self.out.fill(now, tx, pool);
        }
        self.inb.mark_late(now);
        if self.out.wants_write() {
            self.inb.ride();
        }
        if core::mem::take(&mut self.accuses) {
            return self.accuse(tx);
        }
        self.fill_marks(tx);
        self.out.fill(now, tx, pool);
    }

    /// Tells the remote that it broke a rule: in a mark, of which a hub keeps one for each
    /// conversation, however often it is said.
    fn accuse(&self, tx: &mut Transmitter<F>) {
        let mut header = Header::new(Kind::MARK, self.ends.source, self.ends.destination);
        header.flags = flags::BROKEN;
        let nothing = MarkBody {
            received: 0,
            path: 0,
            credits: Vec::new(),
        };
        tx.push_encoded(|out| header.encode_with(|body| nothing.encode(body), out));
    }

    fn fill_marks(&mut self, tx: &mut Transmitter<F>) {
        let Ends {
            source,
            destination,
        } = self.ends;
        if let Some((mark, answer)) = self.inb.take_mark() {
            tx.push_encoded(|out| {
                let start = out.len();
                wire::frame(
                    Kind::MARK,
                    source,
                    destination,
                    |body| mark.encode(body),
                    out,
                );
                if answer {
                    out[start + Header::FLAGS_AT] |= flags::ANSWER;
                }
            });
        }
        while let Some((flow, limit)) = self.inb.next_reclaim() {
            tx.push_encoded(|out| {
                let mut header = Header::new(Kind::RECLAIM, source, destination);
                header.flow = flow;
                header.encode(8, out);
                ReclaimBody { limit }.encode(out);
            });
        }
    }
}
