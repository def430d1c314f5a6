//! One flow of a conversation, as its receiver sees it: what was given, what is held, what was
//! taken in order.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::BytesMut;

use super::inbound::{Place, Row};
use super::ledger::{Holding, Ledger};
use crate::wire::{Credit, SliceHead};

#[derive(Debug)]
pub(crate) struct RecvFlow<F> {
    pub(crate) id: u32,
    /// Cost that may be sent on credit, in all.
    limit: u64,
    /// Cost that has come on credit, in all.
    received: u64,
    /// Of that, the cost given back to the ledger: taken, or moved into a large message.
    freed: u64,
    /// Cost of all frames, first contact included, taken by the application in order.
    taken: u64,
    /// What is held for the application has the indices from `first` to before `end`, counted over
    /// the life of the flow. Who holds it knows what it costs: nothing of it is written down here
    /// but the little that was taken before its turn.
    first: u64,
    end: u64,
    early: BTreeMap<u64, Row>,
    /// Credit to keep outstanding while the flow is in use.
    window: u64,
    /// The limit that the sender said it needs. Absolute, as the limit is: a limit that has come up
    /// to it meanwhile answers the wish, whatever it was given for.
    target: u64,
    /// Whether the ledger keeps a floor for this flow. Replies have credit of their own.
    purse: Purse,
    pub(crate) rooms: u32,
    pub(crate) rooms_ended: u32,
    /// Bytes of the room that is given and not used up.
    pub(crate) room_size: u64,
    /// A wish for room whose turn has not come.
    wish: Option<Wish>,
    /// Room is asked for in place of the credit up to `target`.
    asked_instead: bool,
    /// Whether it stands in the node's queue of flows that stay without credit.
    pub(crate) queued: bool,
    /// Whether its unused credit is being asked back.
    pub(crate) reclaiming: bool,
    pub(crate) assembly: Option<Assembly<F>>,
    /// Cost of the slices of the message that is being put together.
    assembled_cost: u64,
    pub(crate) changed: bool,
}

/// Where the credit of a flow comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purse {
    /// The budget has no room for its floor yet.
    None,
    Budget,
    /// The reserve for replies; this much came with the request.
    Reserve(u64),
}

/// Room that the sender wishes for its next large message. A hub may pass it on before the last
/// frames of the message at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// Which large message of the flow, counted from 1.
    pub(crate) number: u32,
    pub(crate) size: u64,
    /// The message would rather go whole, and travels in slices only where credit for it is not to
    /// be had.
    pub(crate) instead: bool,
}

/// A large message on its way.
#[derive(Debug)]
pub(crate) struct Assembly<F> {
    pub(crate) head: SliceHead,
    pub(crate) bytes: BytesMut,
    pub(crate) attachments: Vec<F>,
    pub(crate) lost: bool,
}

impl<F> Assembly<F> {
    /// Bytes of the message that are still to come.
    pub(crate) fn left(&self) -> usize {
        // The total was checked against a room, and every slice against what was left.
        self.head.total as usize - self.bytes.len()
    }
}

/// The sender used credit that it was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overrun;

impl<F> RecvFlow<F> {
    pub(crate) fn new(id: u32, window: u64) -> Self {
        Self {
            id,
            limit: 0,
            received: 0,
            freed: 0,
            taken: 0,
            first: 0,
            end: 0,
            early: BTreeMap::new(),
            window,
            target: 0,
            purse: Purse::None,
            rooms: 0,
            rooms_ended: 0,
            room_size: 0,
            wish: None,
            asked_instead: false,
            queued: false,
            reclaiming: false,
            assembly: None,
            assembled_cost: 0,
            changed: false,
        }
    }

    /// The flow of a reply, with the credit that its request carries.
    pub(crate) fn reply(id: u32, credit: u64) -> Self {
        Self {
            limit: credit,
            purse: Purse::Reserve(credit),
            ..Self::new(id, credit)
        }
    }

    pub(crate) fn outstanding(&self) -> u64 {
        match self.purse {
            Purse::Budget => self.limit - self.freed,
            Purse::None | Purse::Reserve(_) => 0,
        }
    }

    /// Counts a frame that has come. It is held until [`RecvFlow::take`] of what is returned.
    pub(crate) fn admit(&mut self, cost: u64, first_contact: bool) -> Result<Place, Overrun> {
        if !first_contact {
            if cost > self.unused() {
                return Err(Overrun);
            }
            self.received += cost;
        }
        Ok(self.hold(cost, !first_contact, 0))
    }

    /// Counts a run of frames that all use credit, of which there is enough: see
    /// [`RecvFlow::unused`]. They are held as if they had come alone, the first of them in this
    /// place.
    pub(crate) fn admit_run(&mut self, frames: u64, cost: u64) -> u64 {
        debug_assert!(cost <= self.unused(), "a run is cut to the credit");
        self.received += cost;
        let first = self.end;
        self.end += frames;
        first
    }

    fn hold(&mut self, cost: u64, on_credit: bool, room: u64) -> Place {
        let index = self.end;
        self.end += 1;
        Place {
            flow: self.id,
            index,
            cost,
            on_credit,
            room,
        }
    }

    /// Cost that may still come on credit.
    pub(crate) const fn unused(&self) -> u64 {
        self.limit - self.received
    }

    /// Counts a slice: its credit is free again, because its bytes are in the room that was
    /// reserved for its message; it counts as taken when the whole message is.
    pub(crate) fn admit_slice(&mut self, cost: u64, ledger: &mut Ledger) -> Result<(), Overrun> {
        if cost > self.unused() {
            return Err(Overrun);
        }
        self.received += cost;
        self.assembled_cost += cost;
        self.free(cost, ledger);
        Ok(())
    }

    /// The message of all slices so far is whole: it is held like any other, and with it the room
    /// that is free when it is taken.
    pub(crate) fn admit_assembled(&mut self, room: u64) -> Place {
        let cost = core::mem::take(&mut self.assembled_cost);
        self.hold(cost, false, room)
    }

    /// The application has taken what stands there, or it will never see it.
    #[inline]
    pub(crate) fn take(&mut self, row: &Row, ledger: &mut Ledger) {
        if row.index != self.first || row.index + row.places > self.end {
            return self.take_early(row, ledger);
        }
        self.pass(row, ledger);
        if !self.early.is_empty() {
            self.catch_up(ledger);
        }
    }

    /// What comes before it is still held: only taken in order does it count for the sender. What
    /// is not held at all belonged to an earlier conversation, or was taken before.
    #[cold]
    fn take_early(&mut self, row: &Row, ledger: &mut Ledger) {
        if row.index > self.first && row.index + row.places <= self.end {
            self.early.insert(row.index, *row);
            self.catch_up(ledger);
        }
    }

    #[cold]
    fn catch_up(&mut self, ledger: &mut Ledger) {
        while let Some(row) = self.early.remove(&self.first) {
            self.pass(&row, ledger);
        }
    }

    /// The oldest of what is held is taken.
    #[inline]
    fn pass(&mut self, row: &Row, ledger: &mut Ledger) {
        self.first += row.places;
        self.taken += row.cost;
        self.changed = true;
        self.free(if row.on_credit { row.cost } else { 0 }, ledger);
    }

    #[inline]
    fn free(&mut self, credit: u64, ledger: &mut Ledger) {
        let before = self.outstanding();
        self.freed += credit;
        if self.purse == Purse::Budget {
            ledger.changed(before, self.outstanding());
        }
    }

    /// Notes what the sender needs beyond the limit at which it stood when it said so. The window
    /// grows, up to `largest`, also where more has been given meanwhile: a sender whose every round
    /// trip ends in being blocked has too small a one.
    pub(crate) fn wants(&mut self, at: u64, need: u64, largest: u64) {
        self.target = at.saturating_add(need);
        let grown = self.window.max(self.want()).saturating_mul(2);
        self.window = self.window.max(grown.min(largest));
    }

    /// What the sender needs beyond the limit.
    const fn want(&self) -> u64 {
        self.target.saturating_sub(self.limit)
    }

    pub(crate) const fn is_starving(&self) -> bool {
        self.want() > 0
    }

    /// Whether [`RecvFlow::renew`] may have something to give.
    pub(crate) const fn is_low(&self) -> bool {
        let unused = self.unused();
        match self.purse {
            Purse::None => true,
            Purse::Budget | Purse::Reserve(_) => self.is_starving() || unused * 2 < self.window,
        }
    }

    /// Gives credit where the sender has used half of its window or asked. `true` if it must be
    /// told at once.
    ///
    /// `pair` is what all flows of the conversation hold; `None` if none of them is open yet.
    pub(crate) fn renew(&mut self, pair: Option<u64>, ledger: &mut Ledger) -> bool {
        match self.purse {
            Purse::Reserve(credit) => return self.renew_reply(credit),
            Purse::None if ledger.open_flow(pair.is_none()) => self.purse = Purse::Budget,
            Purse::None => return false,
            Purse::Budget => {}
        }
        let unused = self.unused();
        let want = self.want();
        if want == 0 && unused * 2 >= self.window {
            return false;
        }
        let before = self.outstanding();
        let allowed = ledger.allowance(Holding {
            flow: before,
            pair: pair.unwrap_or(0),
        });
        let wish = self.window.saturating_sub(before).max(want);
        let in_parts = self.rooms > self.rooms_ended;
        let useless = want > 0 && allowed < want && !in_parts && before >= ledger.floor();
        let given = wish.min(allowed);
        if given == 0 || useless {
            return false;
        }
        let worth_telling = want > 0 || unused == 0 || given * 4 >= self.window;
        if !worth_telling {
            return false;
        }
        self.limit += given;
        ledger.changed(before, self.outstanding());
        if in_parts {
            // A slice is cut to what there is, so any credit is an answer.
            self.target = 0;
        }
        self.changed = true;
        true
    }

    fn renew_reply(&mut self, credit: u64) -> bool {
        let limit = self.freed + credit;
        let unused = self.unused();
        if !self.is_starving() && unused * 2 >= credit || limit <= self.limit {
            return false;
        }
        self.limit = limit;
        self.target = 0;
        self.changed = true;
        true
    }

    const fn holds_nothing(&self) -> bool {
        self.first == self.end
    }

    /// Credit beyond the floor that the sender does not use.
    pub(crate) fn reclaimable(&self, floor: u64) -> bool {
        self.purse == Purse::Budget && self.holds_nothing() && self.unused() > floor
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn credit(&self) -> Credit {
        Credit {
            flow: self.id,
            taken: self.taken,
            limit: self.limit,
            rooms: self.rooms,
        }
    }

    /// A credit's holding ends with the flow.
    pub(crate) fn close(self, ledger: &mut Ledger) {
        if self.purse == Purse::Budget {
            ledger.close_flow(self.outstanding());
        }
    }

    /// The credit that was set aside for this reply.
    pub(crate) fn reserve(&self) -> u64 {
        match self.purse {
            Purse::Reserve(credit) => credit,
            Purse::None | Purse::Budget => 0,
        }
    }

    /// Takes down a wish for room, in place of an earlier one.
    pub(crate) fn wishes(&mut self, wish: Wish) {
        self.wish = Some(wish);
    }

    /// The wish for room that is to be asked for now: its turn has come, and if it is one in place
    /// of credit, the flow still lacks that and holds nothing that the application leaves unread.
    /// A flow that is not read gets no second message in this way while others may need the room.
    pub(crate) fn next_wish(&mut self) -> Option<Wish> {
        let turn = self.rooms_ended + 1;
        let wish = self.wish.filter(|wish| wish.number <= turn)?;
        let lapsed = wish.number < turn || wish.instead && !self.is_starving();
        if !lapsed && wish.instead && !self.holds_nothing() {
            return None;
        }
        self.wish = None;
        if lapsed {
            return None;
        }
        self.asked_instead = wish.instead;
        Some(wish)
    }

    /// Whether room that is asked for in place of credit is not needed any more, as the credit was
    /// given. Said once. What is said to the sender in one mark is one or the other.
    pub(crate) fn wish_lapses(&mut self) -> bool {
        let lapses = self.asked_instead && !self.is_starving();
        self.asked_instead &= !lapses;
        lapses
    }

    /// Room is given for the large message with this number.
    pub(crate) fn grant(&mut self, number: u32, size: u64) {
        self.rooms = number;
        self.room_size = size;
        self.target = 0;
        self.asked_instead = false;
        self.changed = true;
    }

    /// Whether the budget keeps a floor for it.
    pub(crate) fn is_open(&self) -> bool {
        self.purse == Purse::Budget
    }

    /// Ends the large message at hand, whole or given up. Returns the room to free, if it was
    /// given, and what was put together of it so far.
    pub(crate) fn end_room(&mut self) -> (u64, Option<Assembly<F>>) {
        self.rooms_ended += 1;
        self.rooms = self.rooms.max(self.rooms_ended);
        self.asked_instead = false;
        let cost = core::mem::take(&mut self.assembled_cost);
        if cost > 0 {
            // It counts in the place of the message that will never be whole.
            let given_up = self.hold(cost, false, 0);
            self.early.insert(given_up.index, Row::of(&given_up));
        }
        (core::mem::take(&mut self.room_size), self.assembly.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_doubles_with_each_wish_and_never_beyond_the_largest() {
        let mut flow: RecvFlow<()> = RecvFlow::new(1, 1024);
        let mut grown = Vec::new();
        for _ in 0..4 {
            flow.wants(0, 1, 6000);
            grown.push(flow.window);
        }
        assert_eq!(grown, [2048, 4096, 6000, 6000]);
        flow.wants(0, 1 << 40, 6000);
        assert_eq!(flow.window, 6000, "nor for a single large wish");
        // What the application has set above it stays.
        let mut wide: RecvFlow<()> = RecvFlow::new(1, 8000);
        wide.wants(0, 1, 6000);
        assert_eq!(wide.window, 8000);
    }
}
