//! A call of a handler, under every driver that gives a [`Cx`].

use std::os::fd::OwnedFd;

use switchboard_os::app::{Cx, Host};
use switchboard_proto::Sender;

use super::{App, Call};

pub(super) struct Calling<A, P> {
    /// The peer that it came to.
    pub(super) app: A,
    pub(super) cx: Cx<P>,
}

impl<A: App, P: Host> Call for Calling<A, P> {
    fn app(&self) -> &dyn App {
        &self.app
    }

    fn from(&self) -> Sender {
        self.cx.from()
    }

    fn namespace(&self) -> String {
        self.cx.namespace().to_owned()
    }

    fn take_fd(&self) -> Option<OwnedFd> {
        self.cx.take_fd()
    }

    fn attach(&self, descriptor: OwnedFd) {
        self.cx.attach(descriptor);
    }
}
