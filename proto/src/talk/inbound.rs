//! The receiving half of a conversation: which frame is next, what is held, and what goes back.

use alloc::vec::Vec;
use core::time::Duration;

use bytes::{Bytes, BytesMut};

use super::first_contact::FirstContact;
use super::ledger::Ledger;
use super::recv_flow::{Assembly, RecvFlow};
use super::rooms::Rooms;
use crate::id::InstanceId;
use crate::rising_map::RisingMap;
use crate::run_map::RunMap;
use crate::time::Instant;
use crate::wire::flow::{MAX_FLOW, cost};
use crate::wire::{Header, MarkBody, Run, SliceBody, flags, limits};

/// How many flows a sender may open: as many namespaces and streams as a peer may have. Every one
/// takes memory here for the life of the conversation, used or not.
const MOST_FLOWS: usize = limits::NAMESPACES + 64;

/// Handles received after which a mark goes at once: a quarter of what a pair may have under way.
const HANDLES_TO_MARK: usize = 16;

/// What a sequence number says about its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Next,
    /// It came before, over an earlier path.
    Old,
    /// Something before it was lost with a path; the sender will ask and send again.
    Gap,
}

/// The sender broke the rules of its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    /// More than its credit, its first contact or its room allows.
    Overrun,
    /// A slice that does not fit the message it belongs to.
    BadSlice,
    /// A wish for credit or room that nobody could ever fulfil.
    Absurd,
}

/// Where a frame stands until the application takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) flow: u32,
    pub(crate) index: u64,
    /// What it costs, on credit or not.
    pub(crate) cost: u64,
    pub(crate) on_credit: bool,
    /// Room of the reassembly cap that is free when it is taken.
    pub(crate) room: u64,
}

/// Places of a flow that follow one another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) flow: u32,
    /// The first of them.
    pub(crate) index: u64,
    pub(crate) places: u64,
    pub(crate) cost: u64,
    pub(crate) on_credit: bool,
}

impl Row {
    /// The row of a single place.
    pub(crate) const fn of(place: &Place) -> Self {
        Self {
            flow: place.flow,
            index: place.index,
            places: 1,
            cost: place.cost,
            on_credit: place.on_credit,
        }
    }

    #[inline]
    pub(crate) const fn goes_on_with(&self, next: &Self) -> bool {
        self.flow == next.flow
            && self.index + self.places == next.index
            && self.on_credit == next.on_credit
    }

    #[inline]
    pub(crate) const fn add(&mut self, next: &Self) {
        self.places += next.places;
        self.cost += next.cost;
    }
}

/// A large message that is whole.
#[derive(Debug)]
pub(crate) struct Assembled<F> {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) body: Bytes,
    pub(crate) attachments: Vec<F>,
    pub(crate) lost: bool,
    pub(crate) place: Place,
}

/// The shared books of the node that a conversation draws on.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) ledger: Ledger,
    pub(crate) rooms: Rooms,
}

#[derive(Debug)]
pub(crate) struct Inbound<F> {
    pub(super) source: InstanceId,
    /// The number that is accepted next.
    next: u64,
    pub(super) flows: RunMap<u32, RecvFlow<F>>,
    /// Replies of which nothing has come: the credit of each, by its flow. Nearly all come whole, in
    /// one frame, and never need more of a flow than that.
    pub(super) replies: RisingMap<u32, u64>,
    /// Credit given and not yet freed, over all flows that the budget is for, and whether there is
    /// one.
    pub(super) given: u64,
    pub(super) is_open: bool,
    /// Whether the sender gets no credit until it acknowledges what it was sent.
    pub(super) withheld: bool,
    /// How many of them the sender has opened: all but replies.
    chosen: usize,
    first_contact: FirstContact,
    /// The first window of a flow; it doubles when its sender is blocked.
    window: u64,
    /// Bytes received since the last mark.
    unmarked: u64,
    /// Handles received since the last mark: their sender keeps its own until it is told.
    unmarked_handles: usize,
    /// When the oldest of what no mark covers yet came.
    unmarked_since: Option<Instant>,
    /// How long a mark may wait for more to cover.
    mark_delay: Duration,
    /// A mark must go now.
    pub(super) urgent: bool,
    /// Something was taken that no mark has told yet.
    pub(super) news: bool,
    /// The path of a question that is to be answered.
    answer: Option<u32>,
    /// The path of the last question, for the answer to a gap.
    path: u32,
    /// Flows whose unused credit is asked back.
    pub(super) reclaims: Vec<u32>,
}

impl<F> Inbound<F> {
    pub(crate) fn new(source: InstanceId, window: u64, mark_delay: Duration) -> Self {
        Self {
            source,
            next: 1,
            flows: RunMap::new(),
            replies: RisingMap::new(),
            given: 0,
            is_open: false,
            withheld: false,
            chosen: 0,
            first_contact: FirstContact::whole(),
            window,
            unmarked: 0,
            unmarked_handles: 0,
            unmarked_since: None,
            mark_delay,
            urgent: false,
            news: false,
            answer: None,
            path: 1,
            reclaims: Vec::new(),
        }
    }

    /// Judges the number of a frame; only [`Order::Next`] may be handled further.
    pub(crate) fn order(&mut self, now: Instant, header: &Header, len: usize) -> Order {
        if header.sequence < self.next {
            self.urgent = true;
            return Order::Old;
        }
        if header.sequence > self.next {
            self.answer = Some(self.path);
            return Order::Gap;
        }
        self.next += 1;
        self.unmarked_handles += usize::from(header.attachments);
        self.unmarked_since.get_or_insert(now);
        self.note_unmarked(len);
        Order::Next
    }

    fn note_unmarked(&mut self, bytes: usize) {
        self.unmarked += bytes as u64;
        self.urgent |= self.unmarked * 4 >= self.window || self.unmarked_handles >= HANDLES_TO_MARK;
    }

    /// What may still come on the credit of a flow; nothing if it is not open.
    pub(crate) fn unused(&mut self, flow: u32) -> u64 {
        self.flows.get_mut(flow).map_or(0, |flow| flow.unused())
    }

    /// Counts and holds a run for the application: it follows a frame that has just been admitted,
    /// and is within what is unused of its flow. The place of its first frame is returned.
    pub(crate) fn admit_run(&mut self, id: u32, run: &Run<'_>, books: &mut Books) -> u64 {
        self.next += run.frames;
        self.note_unmarked(run.bytes.len());
        let Some(flow) = self.flows.get_mut(id) else {
            return 0;
        };
        let first = flow.admit_run(run.frames, run.cost);
        if flow.is_low() {
            self.renew(id, books);
        }
        first
    }

    /// Holds a frame of a flow for the application.
    pub(crate) fn admit(
        &mut self,
        header: &Header,
        len: usize,
        books: &mut Books,
    ) -> Result<Place, Breach> {
        let cost = cost(len);
        let first_contact = self.first_contact_of(header, cost)?;
        let flow = self.flow(header.flow)?;
        let place = flow
            .admit(cost, first_contact)
            .map_err(|_| Breach::Overrun)?;
        if flow.is_low() {
            self.renew(header.flow, books);
        }
        Ok(place)
    }

    fn first_contact_of(&mut self, header: &Header, cost: u64) -> Result<bool, Breach> {
        if header.flags & flags::FIRST_CONTACT == 0 {
            return Ok(false);
        }
        let attachments = usize::from(header.attachments);
        if !self.first_contact.fits(cost, attachments) {
            return Err(Breach::Overrun);
        }
        self.first_contact.take(cost, attachments);
        Ok(true)
    }

    /// Adds a slice to its message. `Some` when that is whole.
    pub(crate) fn slice(
        &mut self,
        header: &Header,
        len: usize,
        slice: &SliceBody<'_>,
        attachments: Vec<F>,
        lost: bool,
        books: &mut Books,
    ) -> Result<Option<Assembled<F>>, Breach> {
        let given = self.given;
        let flow = self.flow(header.flow)?;
        let before = flow.outstanding();
        flow.admit_slice(cost(len), &mut books.ledger)
            .map_err(|_| Breach::Overrun)?;
        self.given = given - before + flow.outstanding();
        let flow = self.flow(header.flow)?;
        let left = match (&slice.first, &flow.assembly) {
            (Some(head), None) if flow.room_size > 0 && head.total <= flow.room_size => {
                head.total as usize
            }
            (None, Some(assembly)) => assembly.left(),
            _ => return Err(Breach::BadSlice),
        };
        let last = header.flags & flags::LAST != 0;
        if slice.bytes.len() > left || last != (slice.bytes.len() == left) {
            return Err(Breach::BadSlice);
        }
        if let Some(head) = slice.first {
            // The whole size was reserved before, so it may be allocated at once.
            flow.assembly = Some(Assembly {
                bytes: BytesMut::with_capacity(head.total as usize),
                head,
                attachments,
                lost,
            });
        }
        if let Some(assembly) = &mut flow.assembly {
            assembly.bytes.extend_from_slice(slice.bytes);
        }
        let whole = last.then(|| flow.assembled()).flatten();
        if last {
            self.ask_room(header.flow, books);
        }
        self.renew(header.flow, books);
        Ok(whole)
    }

    /// Counts a void in its turn: it stands where its frame would have stood, and nobody waits for
    /// it. Returns attachments of a large message that was given up half sent.
    pub(crate) fn void(
        &mut self,
        header: &Header,
        cost: u64,
        books: &mut Books,
    ) -> Result<Vec<F>, Breach> {
        let first_contact = self.first_contact_of(header, cost)?;
        let source = self.source;
        let flow = self.flow(header.flow)?;
        let place = flow
            .admit(cost, first_contact)
            .map_err(|_| Breach::Overrun)?;
        let mut dropped = Vec::new();
        if header.flags & flags::LAST != 0 {
            let (room, assembly) = flow.end_room();
            dropped = assembly.map_or_else(Vec::new, |assembly| assembly.attachments);
            match room {
                0 => {
                    books.rooms.withdraw(source, header.flow);
                }
                size => books.rooms.free(source, size),
            }
            self.ask_room(header.flow, books);
        }
        self.take(&Row::of(&place), books);
        Ok(dropped)
    }

    /// A request is on its way: its reply has this much credit.
    pub(crate) fn open_reply_flow(&mut self, id: u32, credit: u64) {
        self.replies.insert(id, credit);
    }

    /// Whether the frame is the whole of a reply, within its credit. If so, its flow has ended, and
    /// this was set aside for it.
    pub(crate) fn whole_reply(&mut self, header: &Header, len: usize) -> Option<u64> {
        let bits = header.flags & (flags::LAST | flags::FIRST_CONTACT);
        let credit = *self.replies.get(&header.flow)?;
        let whole = bits == flags::LAST && cost(len) <= credit;
        whole.then(|| self.replies.remove(&header.flow)).flatten()
    }

    /// The last frame of a reply has come, or none will. Returns the reserve to give back.
    pub(crate) fn close_reply_flow(&mut self, id: u32, books: &mut Books) -> u64 {
        if let Some(credit) = self.replies.remove(&id) {
            return credit;
        }
        let Some(mut flow) = self.flows.remove(id) else {
            return 0;
        };
        let (room, _) = flow.end_room();
        match room {
            0 => {
                books.rooms.withdraw(self.source, id);
            }
            size => books.rooms.free(self.source, size),
        }
        let reserve = flow.reserve();
        flow.close(&mut books.ledger);
        reserve
    }

    /// A question for the mark came over a path.
    pub(crate) fn ask(&mut self, path: u32) {
        self.path = self.path.max(path);
        self.answer = Some(path);
    }

    /// Whether a mark has to go now.
    pub(crate) fn wants_write(&self) -> bool {
        self.urgent || self.answer.is_some() || !self.reclaims.is_empty()
    }

    /// Until when a mark may wait for more to cover, if there is anything to tell.
    pub(crate) fn mark_at(&self, now: Instant) -> Option<Instant> {
        let since = self.unmarked_since.or(self.news.then_some(now))?;
        Some(since + self.mark_delay)
    }

    /// Marks now what has waited for its time, though no timer was set: something was to be written
    /// all the while.
    pub(crate) fn mark_late(&mut self, now: Instant) {
        self.urgent |= self.mark_at(now).is_some_and(|at| at <= now);
    }

    /// Lets a mark ride along where something is written anyway and there is something worth it.
    pub(crate) fn ride(&mut self) {
        let worth = self.unmarked_handles > 0 || self.unmarked * 16 >= self.window;
        self.urgent |= worth;
    }

    /// Marks what came now: its time has come.
    pub(crate) fn mark_now(&mut self) {
        self.urgent |= self.news || self.unmarked_since.is_some();
    }

    /// The mark, if one is due: with all flows if it answers a question, else with what changed.
    pub(crate) fn take_mark(&mut self) -> Option<(MarkBody, bool)> {
        if !self.urgent && self.answer.is_none() {
            return None;
        }
        let answer = self.answer.take();
        self.urgent = false;
        self.news = false;
        self.unmarked = 0;
        self.unmarked_handles = 0;
        self.unmarked_since = None;
        let mut credits = Vec::new();
        self.flows.for_each_mut(|flow| {
            if answer.is_some() || flow.changed {
                flow.changed = false;
                credits.push(flow.credit());
            }
        });
        if answer.is_some() {
            let replies = self.replies.iter();
            credits.extend(replies.map(|(id, credit)| RecvFlow::<F>::reply(id, *credit).credit()));
        }
        let mark = MarkBody {
            received: self.next - 1,
            path: answer.unwrap_or(0),
            credits,
        };
        Some((mark, answer.is_some()))
    }

    /// A flow that the sender uses. It chooses the number itself, except of a reply, which is open
    /// since its request was made.
    pub(super) fn flow(&mut self, id: u32) -> Result<&mut RecvFlow<F>, Breach> {
        if id > MAX_FLOW
            && let Some(credit) = self.replies.remove(&id)
        {
            self.flows.insert(id, RecvFlow::reply(id, credit));
        }
        if !self.flows.contains(id) {
            if id > MAX_FLOW || self.chosen >= MOST_FLOWS {
                return Err(Breach::Overrun);
            }
            self.chosen += 1;
            self.flows.insert(id, RecvFlow::new(id, self.window));
        }
        self.flows.get_mut(id).ok_or(Breach::Overrun)
    }
}

impl<F> RecvFlow<F> {
    fn assembled(&mut self) -> Option<Assembled<F>> {
        let place = self.admit_assembled(self.room_size);
        let (_, assembly) = self.end_room();
        let assembly = assembly?;
        Some(Assembled {
            kind: assembly.head.kind,
            flags: assembly.head.flags,
            body: assembly.bytes.freeze(),
            attachments: assembly.attachments,
            lost: assembly.lost,
            place,
        })
    }
}
