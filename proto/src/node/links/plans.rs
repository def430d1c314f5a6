//! What a link writes next: its own frames, those that pass on, and those of this node.

use crate::id::LinkId;
use crate::link::life::State;
use crate::node::Node;

/// A plan with no more bytes took all that there was, unless that waits visibly.
const LITTLE: usize = 4 * 1024;

impl<F> Node<F> {
    /// Builds the plan of the next link that has something to write.
    pub(in crate::node) fn next_plan(&mut self) -> Option<LinkId> {
        while let Some(id) = self.links.dirty.pop_front() {
            let Some(link) = self.links.get_mut(id) else {
                continue;
            };
            link.dirty = false;
            link.left = !link.tx.is_idle();
            if link.tx.is_idle() && !link.life.is_mute() && self.build_plan(id) {
                return Some(id);
            }
        }
        None
    }

    fn build_plan(&mut self, id: LinkId) -> bool {
        let Some(link) = self.links.get_mut(id) else {
            return false;
        };
        let attaches = link.egress.wants_plan_start();
        // Who is attached is told so before anything is passed on to it: a relay on the way takes
        // nothing from it earlier, and would drop what it answers.
        let data_first =
            (core::mem::replace(&mut link.data_first, false) || attaches) && !link.attaching;
        let open = link.life.state() == State::Open;
        if data_first && open {
            // Whoever waited until the hub knew of it, and then sent, is known before.
            self.fill_roster(id);
            self.fill_data(id);
        }
        self.fill_control(id, open);
        if !data_first && open {
            self.fill_data(id);
        }
        let Some(link) = self.links.get_mut(id) else {
            return false;
        };
        // What is asked for its share, and not for all it has, has more than this to write.
        link.left = link.tx.len() > LITTLE
            || !(link.ready.is_empty() && link.control.is_empty() && link.egress.is_empty());
        link.tx.commit()
    }

    fn fill_control(&mut self, id: LinkId, open: bool) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if !link.control.is_empty() && link.tx.fits(link.control.len()) {
            link.tx.push(&link.control);
            link.control.clear();
            link.unasked = 0;
            link.attaching = false;
            link.data_first = true;
        }
        if open {
            self.fill_up(id);
            self.fill_roster(id);
        }
    }

    fn fill_data(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        link.egress_first = !link.egress_first || link.egress.wants_plan_start();
        let egress_first = link.egress_first;
        if egress_first {
            link.egress.fill(&mut link.tx);
        }
        self.fill_talks(id);
        if let Some(link) = self.links.get_mut(id)
            && !egress_first
        {
            link.egress.fill(&mut link.tx);
        }
    }
}
