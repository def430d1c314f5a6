//! What the receiving half of a conversation gives: credit, room for large messages, and what it
//! asks back.

use alloc::vec::Vec;

use super::inbound::{Books, Breach, Inbound, Row};
use super::recv_flow::{RecvFlow, Wish};
use super::rooms::Ask;
use super::send_flow::LARGEST_SLICE;
use crate::wire::BlockedBody;
use crate::wire::flow::MAX_FLOW;

impl<F> Inbound<F> {
    /// The application has taken what stands there, or it never will.
    pub(crate) fn take(&mut self, row: &Row, books: &mut Books) {
        if let Some(flow) = self.flows.get_mut(row.flow) {
            let before = flow.outstanding();
            flow.take(row, &mut books.ledger);
            self.given = self.given - before + flow.outstanding();
            self.news |= flow.changed;
            if flow.is_low() {
                self.renew(row.flow, books);
            }
        }
    }

    /// The sender says at what limit it stands and what it needs. `true` if it stays without.
    pub(crate) fn blocked(
        &mut self,
        id: u32,
        body: &BlockedBody,
        books: &mut Books,
    ) -> Result<bool, Breach> {
        let open = self.flows.contains(id) || self.replies.get(&id).is_some();
        if id > MAX_FLOW && !open {
            return Ok(false);
        }
        let most = books.ledger.budget().max(LARGEST_SLICE);
        if body.need > most || body.room > 0 && !books.rooms.may_hold(body.size) {
            return Err(Breach::Absurd);
        }
        let largest = books.ledger.largest_window();
        let flow = self.flow(id)?;
        if body.limit > flow.limit() {
            return Err(Breach::Absurd);
        }
        let granted = body.room > 0 && body.room <= flow.rooms;
        if flow.limit() > body.limit || granted {
            flow.changed = true;
            self.urgent = true;
        }
        if granted {
            return Ok(false);
        }
        let flow = self.flow(id)?;
        if body.need > 0 {
            flow.wants(body.limit, body.need, largest);
        }
        if body.room > 0 {
            flow.wishes(Wish {
                number: body.room,
                size: body.size,
                instead: body.need > 0,
            });
        }
        Ok(self.serve(id, books))
    }

    /// Tries again for a flow that stayed without credit. `true` if it still does.
    pub(crate) fn serve(&mut self, id: u32, books: &mut Books) -> bool {
        self.renew(id, books);
        self.ask_room(id, books);
        self.flows.get(id).is_some_and(RecvFlow::is_starving)
    }

    /// Puts the flow into the node's queue of those that stay without credit, or takes it out.
    /// `false` if nothing changes by that.
    pub(crate) fn set_queued(&mut self, id: u32, queued: bool) -> bool {
        let flow = self.flows.get_mut(id);
        flow.is_some_and(|flow| core::mem::replace(&mut flow.queued, queued) != queued)
    }

    /// Asks for the room of the next large message of a flow, if its wish is known and its turn has
    /// come.
    pub(super) fn ask_room(&mut self, id: u32, books: &mut Books) {
        let wish = self.flows.get_mut(id).and_then(RecvFlow::next_wish);
        if let Some(wish) = wish {
            // That a pair may hold so much was checked when the wish came.
            books.rooms.ask(Ask {
                source: self.source,
                flow: id,
                number: wish.number,
                size: wish.size,
            });
        }
    }

    /// The node gives room for a large message of this conversation.
    pub(crate) fn grant_room(&mut self, ask: Ask, books: &mut Books) {
        let flow = self.flows.get_mut(ask.flow);
        let Some(flow) = flow.filter(|flow| ask.number == flow.rooms_ended + 1) else {
            books.rooms.free(self.source, ask.size);
            return;
        };
        flow.grant(ask.number, ask.size);
        self.urgent = true;
        self.renew(ask.flow, books);
    }

    pub(super) fn renew(&mut self, id: u32, books: &mut Books) {
        if self.withheld && id <= MAX_FLOW {
            return;
        }
        let given = self.is_open.then_some(self.given);
        let Some(flow) = self.flows.get_mut(id).filter(|flow| flow.is_low()) else {
            return;
        };
        let before = flow.outstanding();
        self.urgent |= flow.renew(given, &mut books.ledger);
        self.given = self.given - before + flow.outstanding();
        self.is_open |= flow.is_open();
        if flow.wish_lapses() {
            books.rooms.withdraw(self.source, id);
        }
    }

    /// Gives the sender no credit for messages any more, or gives what it has missed: whoever
    /// sends and acknowledges nothing of what it gets back would fill this node's memory with that.
    pub(crate) fn withhold(&mut self, withheld: bool, books: &mut Books) {
        if core::mem::replace(&mut self.withheld, withheld) && !withheld {
            let ids: Vec<u32> = self.flows.keys().collect();
            for id in ids {
                self.renew(id, books);
            }
        }
    }

    pub(crate) fn is_withheld(&self) -> bool {
        self.withheld
    }

    /// Asks for credit back that its sender does not use, because somebody else runs short.
    pub(crate) fn reclaim(&mut self, floor: u64) -> bool {
        let mut reclaims = core::mem::take(&mut self.reclaims);
        self.flows.for_each_mut(|flow| {
            if flow.reclaimable(floor) && !core::mem::replace(&mut flow.reclaiming, true) {
                reclaims.push(flow.id);
            }
        });
        self.reclaims = reclaims;
        !self.reclaims.is_empty()
    }

    /// The next flow whose unused credit is to be asked back, with its limit.
    pub(crate) fn next_reclaim(&mut self) -> Option<(u32, u64)> {
        let id = self.reclaims.pop()?;
        let flow = self.flows.get_mut(id)?;
        flow.reclaiming = false;
        Some((id, flow.limit()))
    }

    /// The sender's instance has ended: everything it held is free. Returns the attachments of
    /// messages that will never be whole, and the reserve of replies that will never come.
    pub(crate) fn end(self, books: &mut Books) -> (Vec<F>, u64) {
        let mut dropped = Vec::new();
        let mut reserve = self.replies.iter().map(|(_, credit)| credit).sum();
        books.rooms.forget(self.source);
        for mut flow in self.flows.into_values() {
            let (room, assembly) = flow.end_room();
            if room > 0 {
                books.rooms.free(self.source, room);
            }
            dropped.extend(
                assembly
                    .into_iter()
                    .flat_map(|assembly| assembly.attachments),
            );
            reserve += flow.reserve();
            flow.close(&mut books.ledger);
        }
        if self.is_open {
            books.ledger.close_pair();
        }
        (dropped, reserve)
    }
}
