//! What an application holds of a child.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use switchboard_os::process::{OnDrop, Signal};
use switchboard_proto::PeerName;
use switchboard_proto::outgoing::{IntoTargets, TargetError, Targets};

use crate::event::{ChildEvent, Exited};
use crate::shared::{Shared, Wish};

/// A supervised child. As a target it is the peer with its name, whichever run that is, and nobody
/// once it is over: `peer.request("area", &(3.0, 4.0)).to(&child)`.
///
/// What happens to it happens in the loop of the node that adopted its
/// [`Supervision`](crate::Supervision), so somebody has to drive that. Dropping the handle ends the
/// child as [`Spawn::on_drop`](crate::Spawn::on_drop) says, also where nobody does; it does not
/// block.
pub struct Child {
    shared: Arc<Shared>,
    on_drop: Option<OnDrop>,
}

impl Child {
    pub(crate) fn new(shared: Arc<Shared>, on_drop: OnDrop) -> Self {
        Self {
            shared,
            on_drop: Some(on_drop),
        }
    }

    #[cfg(feature = "blocking")]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The name by which the child is reached.
    pub fn name(&self) -> &PeerName {
        &self.shared.name
    }

    /// The id of its process, if one runs.
    pub fn pid(&self) -> Option<u32> {
        self.shared.pid()
    }

    /// Ends the child and starts it no more: what is under way between it and this process may end,
    /// its link is closed with a goodbye, and if it does not end, it is told and then made to by
    /// signals, as its [`StopLadder`](crate::supervise::StopLadder) says. Requests that take longer
    /// than their grace end as unknown. [`ChildEvent::Ended`] follows.
    pub fn stop(&self) {
        self.shared.demand(Wish::Stop);
    }

    /// Ends the child at once and starts it no more: its process group is killed, in this very call.
    /// [`ChildEvent::Ended`] follows.
    pub fn kill(&self) {
        self.shared.demand(Wish::Kill);
        // What fails here fails again in the supervision, which tells it.
        let _ = self.shared.signal_group(Signal::Kill);
    }

    /// Lets the child be supervised for as long as its node lives, without this handle.
    pub fn detach(mut self) {
        self.on_drop = None;
    }

    /// The next thing that happened, if it has happened by now. Each is told once. Of the last
    /// 1,024 that nobody fetched, lines of stderr give way first.
    pub fn next_event(&self) -> Option<ChildEvent> {
        self.shared.next_event()
    }

    /// The next thing that happens; `None` when the supervision is over and everything was told.
    /// Cancel-safe: an event is taken by the call that returns it.
    pub async fn event(&self) -> Option<ChildEvent> {
        poll_fn(|context| self.poll_event(context)).await
    }

    /// As [`Child::event`], for who polls. Only the last task that asked is woken.
    pub fn poll_event(&self, context: &mut Context<'_>) -> Poll<Option<ChildEvent>> {
        self.shared.poll_event(context)
    }

    /// The next thing that happens, within this time. It happens in the loop of the node, which
    /// **another thread** has to drive meanwhile.
    pub fn wait_event(&self, within: Duration) -> Option<ChildEvent> {
        self.shared.wait_event(within)
    }

    /// How the last run ended, if one has: with code or signal, and its last words. Its `Display` is
    /// the report of it.
    pub fn last_exit(&self) -> Option<Exited> {
        self.shared.last_exit()
    }

    /// Whether the supervision is over: the child has ended and is not started again.
    pub fn is_over(&self) -> bool {
        self.shared.is_over()
    }
}

impl IntoTargets for Child {
    fn add_to(&self, list: &mut Targets) -> Result<(), TargetError> {
        list.push(self.shared.target());
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        match self.on_drop {
            None => {}
            Some(OnDrop::LeaveRunning) => self.shared.demand(Wish::Release),
            Some(_) => self.kill(),
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("name", self.name())
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}
