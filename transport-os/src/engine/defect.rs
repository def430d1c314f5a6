//! What a panic in this library does: it ends its own node, and nothing else.
//!
//! A node whose call has panicked may be in any state, so it is never asked to go on, only which of
//! its messages are open. Another node takes its place that was closed before it began, and whatever
//! the application does from then on is refused as it is after a close. Its connections end without a
//! word, as those of a process that crashed, and that is how its peers know.

use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use switchboard_proto::{
    Config, Event, Fate, Instant, MessageId, Node, Outcome, Reconnect, RequestId, Seeds,
    UnknownCause,
};

use super::Engine;
use super::fault::EngineFault;
use crate::Attachment;

/// The node of an [`Engine`], to tell it something.
///
/// A call that panics leaves it in an unknown state: the next [`Engine::flush`] or [`Engine::turn`]
/// gives it up, with [`EngineFault::Defect`].
#[derive(Debug)]
pub struct NodeMut<'a> {
    node: &'a mut Node<Attachment>,
    is_defective: &'a mut bool,
    /// Whether a panic was on its way before: then it is not the node's.
    was_panicking: bool,
}

impl<'a> NodeMut<'a> {
    pub(super) fn new(node: &'a mut Node<Attachment>, is_defective: &'a mut bool) -> Self {
        Self {
            node,
            is_defective,
            was_panicking: thread::panicking(),
        }
    }
}

impl Deref for NodeMut<'_> {
    type Target = Node<Attachment>;

    fn deref(&self) -> &Node<Attachment> {
        self.node
    }
}

impl DerefMut for NodeMut<'_> {
    fn deref_mut(&mut self) -> &mut Node<Attachment> {
        self.node
    }
}

impl Drop for NodeMut<'_> {
    fn drop(&mut self) {
        if !self.was_panicking && thread::panicking() {
            *self.is_defective = true;
        }
    }
}

impl Engine {
    /// Gives this node up after a panic that may have left a driver's part of it in an unknown
    /// state, as a panic in the node itself does; see [`EngineFault::Defect`].
    pub fn give_up(&mut self, what: &str) {
        self.is_defective = false;
        // Nothing is asked of it but this, and not even this has to succeed.
        let open = catch_unwind(AssertUnwindSafe(|| open_messages(&self.node)));
        let closed = closed_node(self.now());
        let broken = std::mem::replace(&mut self.node, closed);
        // What it holds, descriptors above all, is dropped; what it leaks then, it leaks.
        quietly(|| drop(broken));
        self.wake = None;
        // Children end with their node, as they do where it is dropped.
        quietly(|| self.actors.remove_all(&mut self.sources));
        self.links.close_all(&mut self.sources);
        self.acceptor.close(&mut self.sources);
        self.dialler.stop(&mut self.sources);
        self.events.extend(open.unwrap_or_default());
        let what = what.to_owned();
        self.faults.push(EngineFault::Defect { what });
    }

    /// Does a part of the engine's work. Nobody who called for it is to blame for a panic: it may
    /// come of what a peer sent. So it ends the node, and does not reach the caller.
    pub(super) fn contain(&mut self, work: impl FnOnce(&mut Self)) {
        if self.is_defective {
            self.give_up("a call of the node panicked");
        }
        // The node and the connections are given up after a panic; of the rest, each part is
        // changed by single moves of values, which a panic does not tear apart.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(self))) {
            let what = text_of(&*panic);
            quietly(|| drop(panic));
            self.give_up(&what);
        }
    }
}

/// The ends of everything that has none yet.
fn open_messages(node: &Node<Attachment>) -> Vec<Event<Attachment>> {
    let requests: Vec<RequestId> = node.pending().collect();
    let is_event = |id: &MessageId| requests.iter().all(|request| request.0 != id.0);
    let events: Vec<MessageId> = node.undelivered().into_iter().filter(is_event).collect();
    let ended = requests.into_iter().map(|request| Event::Outcome {
        request,
        outcome: Outcome::Unknown(UnknownCause::Closed),
    });
    let unconfirmed = events.into_iter().map(|message| Event::Fate {
        message,
        fate: Fate::Unconfirmed,
    });
    ended.chain(unconfirmed).collect()
}

/// A node that refuses everything.
fn closed_node(now: Instant) -> Node<Attachment> {
    let mut config = Config::default();
    config.reconnect = Reconnect::never();
    // It never meets another, so any number will do.
    let seeds = Seeds { behaviour: [0; 32] };
    // The defaults are a valid configuration, which a test of theirs holds fast.
    let mut node = Node::new(config, &seeds, now).expect("the defaults are valid");
    node.close(now);
    node
}

/// Whatever happens in it, it ends here.
fn quietly(work: impl FnOnce()) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(work)) {
        // What was panicked with can be any value, and its drop can panic again.
        std::mem::forget(again);
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic with a value that is no text".to_owned())
}

#[cfg(feature = "test-util")]
thread_local! {
    static FAIL: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Makes the next turn of an engine in this thread panic in its middle, as a failed assertion of the
/// protocol would. For tests.
#[cfg(feature = "test-util")]
pub fn fail_next_turn() {
    FAIL.set(true);
}

#[cfg(feature = "test-util")]
pub(super) fn fail_if_told() {
    assert!(!FAIL.take(), "an assertion that a test made fail");
}
