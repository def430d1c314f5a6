//! One flow of a conversation, as its sender sees it: what waits, and what credit allows.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::draft::Draft;
use super::first_contact::FirstContact;
use crate::id::MessageId;
use crate::short_queue::ShortQueue;
use crate::wire::flow::{LEAST_COST, MAX_FLOW, cost};
use crate::wire::{BlockedBody, Credit, Header};

/// The largest slice: no flow holds a link for longer than it takes to write one.
pub(crate) const SLICE_BYTES: usize = 64 * 1024 - SLICE_OVERHEAD;
/// What the largest slice costs.
pub(crate) const LARGEST_SLICE: u64 = (SLICE_BYTES + SLICE_OVERHEAD) as u64;
/// Header and first fields of a slice.
const SLICE_OVERHEAD: usize = Header::LEN + 10;
/// A smaller slice is not worth its header, unless it is the last.
const LEAST_SLICE: usize = 512;
/// No budget is this large. A receiver that gives more must not make the totals overflow.
const MOST_CREDIT: u64 = u64::MAX / 2;

#[derive(Debug)]
pub(crate) struct SendFlow<F> {
    id: u32,
    pub(crate) queue: ShortQueue<Box<Draft<F>>>,
    /// Cost committed on credit.
    used: u64,
    /// Cost that may be committed on credit.
    limit: u64,
    /// Cost committed in all, first contact included.
    sent: u64,
    /// Cost that the receiving application has taken, in order.
    taken: u64,
    /// Large messages for which the receiver has room, and those that have ended.
    rooms: u32,
    rooms_used: u32,
    pub(crate) slicing: Option<Slicing>,
    /// Room was asked for the message at the front, which can only travel in slices.
    sliced: bool,
    slice_above: usize,
    /// What was last said of being blocked, so that it is said once.
    blocked_at: Option<BlockedBody>,
    pub(crate) in_turn: bool,
    /// Events until the application has taken them: the id, and `sent` after it.
    unconfirmed: VecDeque<(MessageId, u64)>,
}

/// How far the message at the front of the queue is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slicing {
    /// Bytes of its body that are committed.
    pub(crate) offset: usize,
}

/// What a flow may do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Idle,
    /// Commit the message at the front.
    Whole {
        first_contact: bool,
    },
    /// Commit so many bytes of it as a slice.
    Slice {
        bytes: usize,
    },
    Blocked(BlockedBody),
}

impl<F> SendFlow<F> {
    pub(crate) fn new(id: u32, limit: u64, slice_above: usize) -> Self {
        Self {
            id,
            queue: ShortQueue::new(),
            used: 0,
            limit,
            sent: 0,
            taken: 0,
            rooms: 0,
            rooms_used: 0,
            slicing: None,
            sliced: false,
            slice_above,
            blocked_at: None,
            in_turn: false,
            unconfirmed: VecDeque::new(),
        }
    }

    pub(crate) fn is_reply(&self) -> bool {
        self.id > MAX_FLOW
    }

    /// What credit, room and first contact allow now.
    pub(crate) fn next(&self, first_contact: &FirstContact) -> Next {
        let Some(front) = self.queue.front() else {
            return Next::Idle;
        };
        let available = self.credit_left();
        if self.goes_in_slices(front) {
            return self.next_slice(front, available);
        }
        let cost = cost(front.len());
        if cost <= available {
            Next::Whole {
                first_contact: false,
            }
        } else if !self.is_reply() && first_contact.fits(cost, front.attachment_count()) {
            Next::Whole {
                first_contact: true,
            }
        } else {
            Next::Blocked(BlockedBody {
                limit: self.limit,
                need: cost - available,
                ..self.room_instead(front)
            })
        }
    }

    /// Whether the message at the front is too large for one frame, or has got room in place of
    /// credit.
    fn goes_in_slices(&self, front: &Draft<F>) -> bool {
        self.sliced || self.rooms > self.rooms_used || front.len() > self.slice_above
    }

    /// The room in which a message could travel in slices if credit for the whole of it is not to be
    /// had: the floor of a flow, which nobody else can hold, is enough for a slice. What is no larger
    /// than that needs none.
    fn room_instead(&self, front: &Draft<F>) -> BlockedBody {
        let small = self.is_reply() || front.len() <= LEAST_SLICE + SLICE_OVERHEAD;
        BlockedBody {
            limit: self.limit,
            need: 0,
            room: if small { 0 } else { self.rooms_used + 1 },
            size: if small { 0 } else { front.body_len() as u64 },
        }
    }

    /// Longer frames travel in slices from now on. A reply keeps to the credit it was given.
    pub(crate) fn set_slice_above(&mut self, slice_above: usize) {
        self.slice_above = match self.is_reply() {
            true => self.slice_above.min(slice_above),
            false => slice_above,
        };
    }

    fn next_slice(&self, front: &Draft<F>, available: u64) -> Next {
        let offset = self.slicing.map_or(0, |slicing| slicing.offset);
        let left = front.body_len() - offset;
        let number = self.rooms_used + 1;
        let wish = |need, room| {
            Next::Blocked(BlockedBody {
                limit: self.limit,
                need,
                room,
                size: if room == 0 {
                    0
                } else {
                    front.body_len() as u64
                },
            })
        };
        if self.rooms < number {
            return wish(0, number);
        }
        let least = (left.min(LEAST_SLICE) + SLICE_OVERHEAD) as u64;
        if available < least.max(LEAST_COST) {
            let want = (left.min(SLICE_BYTES) + SLICE_OVERHEAD) as u64;
            return wish(want.max(LEAST_COST) - available, 0);
        }
        let fits = (available as usize).saturating_sub(SLICE_OVERHEAD);
        Next::Slice {
            bytes: left.min(SLICE_BYTES).min(fits),
        }
    }

    /// Whether a frame of `len` bytes goes whole, next, and within the credit that there is.
    #[inline]
    pub(crate) fn is_open(&self, len: usize) -> bool {
        self.queue.is_empty()
            && len <= self.slice_above
            && !self.sliced
            && self.rooms <= self.rooms_used
            && cost(len) <= self.credit_left()
    }

    /// What may still be committed on credit.
    #[inline]
    pub(crate) fn credit_left(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    /// Puts an event before all that wait, with the credit that was counted for it. It is the last
    /// of those for which that was done.
    pub(crate) fn take_back(&mut self, draft: Box<Draft<F>>) {
        let cost = cost(draft.len());
        self.sent -= cost;
        self.used -= cost;
        if self
            .unconfirmed
            .back()
            .is_some_and(|(id, _)| *id == draft.id)
        {
            self.unconfirmed.pop_back();
        }
        self.queue.push_front(draft);
    }

    /// Counts what a commit costs.
    pub(crate) fn charge(&mut self, cost: u64, first_contact: bool) {
        self.blocked_at = None;
        self.sent += cost;
        if !first_contact {
            self.used += cost;
        }
    }

    /// Keeps the id of an event until it is taken.
    pub(crate) fn await_taken(&mut self, id: MessageId) {
        self.unconfirmed.push_back((id, self.sent));
    }

    /// Moves limits and forgets what is known to be taken. Totals never fall, so a repeated or
    /// overtaken mark does no harm.
    pub(crate) fn on_credit(&mut self, credit: &Credit) {
        self.limit = self.limit.max(credit.limit.min(MOST_CREDIT));
        self.taken = self.taken.max(credit.taken.min(self.sent));
        self.rooms = self.rooms.max(credit.rooms);
        while self
            .unconfirmed
            .front()
            .is_some_and(|(_, end)| *end <= self.taken)
        {
            self.unconfirmed.pop_front();
        }
    }

    /// Whether the receiver may know of the large message at the front.
    pub(crate) fn room_is_asked(&self) -> bool {
        let said = self.blocked_at.is_some_and(|said| said.room > 0);
        said || self.sliced || self.rooms > self.rooms_used
    }

    /// The large message at the front has ended, whole or given up.
    pub(crate) fn end_large(&mut self) {
        self.rooms_used += 1;
        self.slicing = None;
        self.sliced = false;
        self.blocked_at = None;
    }

    /// Whether being blocked like this has not been said yet on this path.
    pub(crate) fn must_say(&mut self, blocked: BlockedBody) -> bool {
        // The receiver may give the room at any time from now on.
        self.sliced |= blocked.room > 0 && blocked.need == 0;
        self.blocked_at.replace(blocked) != Some(blocked)
    }

    pub(crate) fn forget_said(&mut self) {
        self.blocked_at = None;
    }

    /// Credit that nothing waits for, if the receiver's `limit` is still ours.
    pub(crate) fn give_back(&mut self, limit: u64) -> Option<u64> {
        let unused = self.limit.checked_sub(self.used).filter(|cost| *cost > 0)?;
        if self.limit != limit || !self.queue.is_empty() {
            return None;
        }
        self.charge(unused, false);
        Some(unused)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.queue.is_empty() && self.unconfirmed.is_empty()
    }

    /// Ids of events that are handed to a link and not known to be taken.
    pub(crate) fn unconfirmed(&self) -> impl Iterator<Item = MessageId> + '_ {
        self.unconfirmed.iter().map(|(id, _)| *id)
    }

    /// Forgets an event whose fate has been reported.
    pub(crate) fn forget(&mut self, id: MessageId) {
        // Receipts come in the order of taking, so it is nearly always the first.
        if let Some(at) = self.unconfirmed.iter().position(|(known, _)| *known == id) {
            self.unconfirmed.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::InstanceId;
    use crate::talk::DraftPool;
    use crate::wire::Kind;

    /// A flow without credit, of a receiver of which nothing is known, with one message of 5,000
    /// bytes in it.
    fn flow() -> SendFlow<()> {
        let mut flow = SendFlow::new(1, 0, 1024);
        let mut draft = DraftPool::new().take(1);
        Header::new(Kind::EVENT, InstanceId(1), InstanceId(2)).encode(4964, &mut draft.head);
        draft.head.resize(5000, 0);
        draft.id = MessageId(1);
        draft.charge = 5000;
        draft.counts = 1;
        flow.queue.push_back(draft);
        flow
    }

    fn blocked(flow: &SendFlow<()>) -> BlockedBody {
        let mut spent = FirstContact::whole();
        spent.take(u64::MAX, 0);
        match flow.next(&spent) {
            Next::Blocked(blocked) => blocked,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_to_travel_in_slices_goes_whole_when_more_is_known_of_its_receiver() {
        let mut flow = flow();
        assert_eq!((blocked(&flow).need, blocked(&flow).room), (0, 1));
        flow.set_slice_above(100_000);
        assert_eq!((blocked(&flow).need, blocked(&flow).room), (5000, 1));
    }

    #[test]
    fn what_has_asked_for_room_keeps_to_it() {
        // The receiver may have given it meanwhile.
        let mut flow = flow();
        assert!(flow.must_say(blocked(&flow)));
        flow.set_slice_above(100_000);
        assert_eq!((blocked(&flow).need, blocked(&flow).room), (0, 1));
    }
}
