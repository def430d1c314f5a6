//! A process that was stopped judges nobody before he could be heard.

use core::time::Duration;

use super::Node;
use crate::output::Event;

/// How much the wake may be late before the process counts as stopped.
const JUMP: Duration = Duration::from_secs(1);

impl<F> Node<F> {
    /// Sees whether the wake that was announced has long passed. What was read meanwhile may have
    /// moved the deadline that would show it.
    pub(super) fn see_lateness(&mut self) {
        let late = self
            .announced
            .take()
            .map(|at| self.now.saturating_since(at));
        if let Some(late) = late.filter(|late| *late > JUMP) {
            self.late = self.late.max(late);
        }
    }

    /// Sees whether the process was stopped: then nobody is judged before he could be heard.
    pub(super) fn notice_jump(&mut self) {
        self.see_lateness();
        let late = core::mem::take(&mut self.late);
        if late.is_zero() {
            return;
        }
        for link in self.links.iter_mut() {
            link.life.reprieve(self.now, JUMP);
        }
        for id in self.links.ids() {
            self.rearm(id);
        }
        self.put_off_graces();
        self.emit(Event::Jumped(late));
    }
}
