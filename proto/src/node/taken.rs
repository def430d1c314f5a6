//! What the application takes frees credit of its sender.

use super::Node;
use crate::id::InstanceId;
use crate::talk::{Place, Row};

/// Messages of one flow that the application took one after the other and that are not counted in
/// their conversation yet: what is taken is so in rows. A row is counted before anything but
/// [`Node::recv`] looks at the node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    from: InstanceId,
    row: Row,
}

impl<F> Node<F> {
    /// The application has taken what stands there, or never will: its credit is free again.
    pub(super) fn taken(&mut self, from: InstanceId, place: Place) {
        self.count_taken(from, &Row::of(&place));
        if place.room > 0 {
            self.books.rooms.free(from, place.room);
        }
    }

    /// As [`Node::taken`], for the next message of a run.
    #[inline]
    pub(super) fn taken_of_run(&mut self, from: InstanceId, row: Row) {
        match &mut self.tally {
            Some(tally) if tally.from == from && tally.row.goes_on_with(&row) => {
                tally.row.add(&row);
            }
            _ => {
                self.settle_tally();
                self.tally = Some(Tally { from, row });
            }
        }
    }

    /// Counts what was taken in a row.
    #[inline]
    pub(super) fn settle_tally(&mut self) {
        if let Some(Tally { from, row }) = self.tally.take() {
            self.count_taken(from, &row);
        }
    }

    fn count_taken(&mut self, from: InstanceId, row: &Row) {
        let Self { talks, books, .. } = self;
        // Of a sender that has ended meanwhile, nothing is left to be freed.
        if let Some(talk) = talks.get_mut(from) {
            talk.inb.take(row, books);
            self.touch_later(from);
        }
        self.credit_is_free();
    }
}
