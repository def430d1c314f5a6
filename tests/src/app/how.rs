//! For whom a message is, and how it is to be sent.

use std::time::Duration;

use switchboard_os::{Attachment, IntoAttachment};
use switchboard_proto::outgoing::{IntoTargets, Targets};
use switchboard_proto::{PeerId, Receipt, Target};

/// Everything about a message but its name and its value.
#[derive(Debug, Default)]
pub struct How {
    pub(super) targets: Vec<Target>,
    pub(super) except: Vec<PeerId>,
    pub(super) include_self: bool,
    pub(super) deadline: Option<Duration>,
    pub(super) expires: Option<Duration>,
    pub(super) receipt: Receipt,
    pub(super) attachments: Vec<Attachment>,
    pub(super) queue_attachments: bool,
}

/// To these.
///
/// # Panics
///
/// A string can be no peer's name.
pub(super) fn to(targets: impl IntoTargets) -> How {
    let mut how = How::default();
    let mut list = Targets::new();
    let added = targets.add_to(&mut list);
    added.expect("a scenario names peers that can be");
    how.targets = list.into_vec();
    how
}

impl How {
    /// Nothing said: whoever listens, or one who handles it.
    pub fn new() -> Self {
        Self::default()
    }

    /// To these.
    ///
    /// # Panics
    ///
    /// A string can be no peer's name.
    pub fn to(targets: impl IntoTargets) -> Self {
        to(targets)
    }

    /// Not to these.
    #[must_use]
    pub fn except(mut self, peers: &[PeerId]) -> Self {
        self.except.extend_from_slice(peers);
        self
    }

    /// To the sender too.
    #[must_use]
    pub fn include_self(mut self) -> Self {
        self.include_self = true;
        self
    }

    /// How long a request may take.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// When an event is given up.
    #[must_use]
    pub fn expires(mut self, after: Duration) -> Self {
        self.expires = Some(after);
        self
    }

    /// What to wait for of an event.
    #[must_use]
    pub fn receipt(mut self, receipt: Receipt) -> Self {
        self.receipt = receipt;
        self
    }

    /// With this descriptor.
    #[must_use]
    pub fn attach(mut self, descriptor: impl IntoAttachment) -> Self {
        self.attachments.push(descriptor.into_attachment());
        self
    }

    /// Also where it must wait for a peer that is not ready.
    #[must_use]
    pub fn queue_attachments(mut self) -> Self {
        self.queue_attachments = true;
        self
    }
}

/// Says it of a request, whichever driver it is of: they have the same words and no type in common.
macro_rules! say_of_request {
    ($request:expr, $how:expr) => {{
        let (mut request, how): (_, $crate::app::How) = ($request, $how);
        if !how.targets.is_empty() {
            request = request.to(how.targets);
        }
        if let Some(deadline) = how.deadline {
            request = request.deadline(deadline);
        }
        for descriptor in how.attachments {
            request = request.attach(descriptor);
        }
        if how.queue_attachments {
            request = request.queue_attachments();
        }
        request
    }};
}

/// Says it of an event, as [`say_of_request`].
macro_rules! say_of_event {
    ($event:expr, $how:expr) => {{
        let (mut event, how): (_, $crate::app::How) = ($event, $how);
        if !how.targets.is_empty() {
            event = event.to(how.targets);
        }
        if how.include_self {
            event = event.include_self();
        }
        if let Some(after) = how.expires {
            event = event.expires(after);
        }
        for descriptor in how.attachments {
            event = event.attach(descriptor);
        }
        if how.queue_attachments {
            event = event.queue_attachments();
        }
        event.except(&how.except).receipt(how.receipt)
    }};
}

pub(super) use {say_of_event, say_of_request};
