//! When the hub is dialled again, or asked again over a link that stays.

use super::{Node, Timer};
use crate::output::{DialId, Event, Output};
use crate::time::Instant;

/// How often a node that was attached dials within the time after which it is gone, at least.
const GRACE_ATTEMPTS: u32 = 4;

#[derive(Debug, Default)]
pub(super) struct Dial {
    /// The attempt that the driver makes now.
    current: Option<DialId>,
    next: u64,
    /// Attempts since the last success.
    attempt: u32,
    /// Since when there has been no success.
    since: Option<Instant>,
    /// Whether this node reaches its hub by dialling.
    pub(super) dials: bool,
}

impl<F> Node<F> {
    /// Begins to dial the hub: at once, and again after every loss.
    pub fn dial(&mut self, now: Instant) {
        self.advance(now);
        self.dial.dials = true;
        if self.dial.current.is_none() && self.uplink.link().is_none() && !self.closed {
            self.dial_due();
        }
    }

    pub(super) fn dial_due(&mut self) {
        self.timers.set(Timer::Dial, None);
        if self.closed || self.dial.current.is_some() {
            return;
        }
        self.dial.next += 1;
        let id = DialId(self.dial.next);
        self.dial.current = Some(id);
        self.outputs.push_back(Output::Dial(id));
    }

    /// The hub could not be reached. An attempt that is not the present one is ignored.
    pub fn dial_failed(&mut self, now: Instant, id: DialId) {
        self.advance(now);
        if self.dial.current == Some(id) {
            self.dial.current = None;
            self.dial_again();
        }
    }

    /// As [`Node::dial_failed`], for a reason that does not pass by itself, such as a hub of another
    /// user: waiting would only hide it. A node that has never been attached gives up; one that has
    /// goes on by the rules, as its hub was there once.
    pub fn dial_impossible(&mut self, now: Instant, id: DialId) {
        self.advance(now);
        if self.dial.current == Some(id) && self.me.identity.is_none() {
            self.dial.current = None;
            return self.emit(Event::GaveUp);
        }
        self.dial_failed(now, id);
    }

    pub(super) fn dial_succeeded(&mut self, id: DialId) {
        if self.dial.current == Some(id) {
            self.dial.current = None;
        }
    }

    /// The hub took this node in: the next loss begins with the first delay again.
    pub(super) fn dial_settled(&mut self) {
        self.dial.attempt = 0;
        self.dial.since = None;
    }

    /// Sets the time of the next attempt, or gives up.
    pub(super) fn dial_again(&mut self) {
        if self.closed || !self.dial.dials {
            return;
        }
        match self.next_attempt() {
            Some(at) => self.timers.set(Timer::Dial, Some(at)),
            None => self.emit(Event::GaveUp),
        }
    }

    /// The hub has refused this node for what may pass, and the link to it is the only one there will
    /// be: it asks again over it, by the same rules. `false` if these allow no further attempt.
    pub(super) fn ask_again(&mut self) -> bool {
        let at = self.next_attempt().filter(|_| !self.closed);
        self.timers.set(Timer::Attach, at);
        at.is_some()
    }

    fn next_attempt(&mut self) -> Option<Instant> {
        let rule = self.config.reconnect;
        let since = *self.dial.since.get_or_insert(self.now);
        let tired = rule
            .give_up
            .is_some_and(|after| self.now.saturating_since(since) >= after);
        if !rule.enabled || tired {
            return None;
        }
        let mut after = rule.delay(self.dial.attempt, self.rng.next_u64());
        let away = self.now.saturating_since(since);
        if self.me.identity.is_some() && away < self.config.detach_grace {
            // Others give it up after the grace: a hub that is there again before is to be found in
            // time, however slow the rule has become by then.
            after = after.min(self.config.detach_grace / GRACE_ATTEMPTS);
        }
        self.dial.attempt += 1;
        self.emit(Event::Reconnecting {
            attempt: self.dial.attempt,
            after,
        });
        Some(self.now + after)
    }
}
