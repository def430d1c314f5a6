//! Control frames: which of them may come over which link, and who answers them.

use super::Node;
use crate::id::LinkId;
use crate::wire::{
    Attach, AttachRefused, Attached, Close, CloseCode, Declare, Declared, Detach, Frame, Hello,
    Kind, KnownMore, Ping, Returned, RosterUpdate,
};

impl<F> Node<F> {
    pub(super) fn on_control(&mut self, id: LinkId, frame: &Frame<'_>) {
        if self.handle_control(id, frame).is_err() {
            self.close_link(
                id,
                CloseCode::ProtocolViolation,
                "a control body is not what its kind says",
            );
        }
    }

    fn handle_control(
        &mut self,
        id: LinkId,
        frame: &Frame<'_>,
    ) -> Result<(), crate::wire::WireError> {
        let body = frame.body();
        let member = self.uplink.is(id);
        match frame.header.kind {
            Kind::HELLO => self.on_hello(id, &Hello::decode(body)?),
            Kind::DETACH if member => self.on_set_aside(id, Detach::decode(body)?),
            Kind::ATTACHED if member => {
                // Who speaks for this node may be another instance than when the link began.
                if let Some(link) = self.links.get_mut(id) {
                    link.peer = Some(frame.header.source);
                }
                self.on_attached(&Attached::decode(body)?);
            }
            Kind::ATTACH_REFUSED if member => {
                self.on_attach_refused(id, &AttachRefused::decode(body)?);
            }
            Kind::DECLARED if member => self.on_declared(&Declared::decode(body)?),
            Kind::ROSTER if member => self.apply_roster(&RosterUpdate::decode(body)?),
            Kind::RETURNED if member => self.on_returned(Returned::decode(body)?),
            _ if self.leads_below(id) && is_of_member(frame.header.kind) => {
                self.handle_from_below(id, frame)?;
            }
            kind if is_of_member(kind) => {
                self.close_link(id, CloseCode::ProtocolViolation, "this is no hub");
            }
            Kind::PING => {
                let ping = Ping::decode(body)?;
                // A peer that asks and does not read gets no more answers than it can take in.
                if self.links.get(id).is_some_and(|link| link.answers_pings()) {
                    self.control(id, Kind::PONG, |body| ping.encode(body));
                }
            }
            Kind::PONG => {}
            Kind::CLOSE => {
                let close = Close::decode(body)?;
                self.on_close(id, &close);
            }
            _ => self.stats.unknown_kinds += 1,
        }
        Ok(())
    }

    /// What a member says over a link on which others attach to this node: the hub decides, a relay
    /// passes it on.
    fn handle_from_below(
        &mut self,
        id: LinkId,
        frame: &Frame<'_>,
    ) -> Result<(), crate::wire::WireError> {
        let body = frame.body();
        let hub = self.hub.is_some();
        match frame.header.kind {
            Kind::ATTACH if hub => self.on_attach(id, &Attach::decode(body)?),
            Kind::ATTACH => self.on_attach_below(id, Attach::decode(body)?),
            Kind::DETACH => self.on_detach(id, Detach::decode(body)?),
            Kind::DECLARE if hub => self.on_declare(id, &Declare::decode(body)?),
            Kind::DECLARE => self.on_declare_below(id, &Declare::decode(body)?),
            _ => self.on_known(id, &KnownMore::decode(body)?, body.len()),
        }
        Ok(())
    }
}

/// Whether the kind is one that a member says to whom it attaches.
const fn is_of_member(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::ATTACH | Kind::DETACH | Kind::DECLARE | Kind::KNOWN
    )
}
