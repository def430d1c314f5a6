//! Runs: frames that follow another one and are like it in all that is decided by. Of a sender with
//! much to say nearly all frames are such, so they are looked up, checked and queued together. What
//! is unusual in any way is no part of a run and goes its own way.

use super::Node;
use crate::id::LinkId;
use crate::inbox::{Destination, Events};
use crate::link::rx::Receiver;
use crate::wire::{Header, Most};

/// What may follow the frame that came last.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lead {
    /// Events for this node's application that begin with as many bytes that are the same.
    Events {
        to: Destination,
        codec: u8,
        alike: usize,
    },
    /// Frames that go on over this link.
    Passing(LinkId),
}

impl<F> Node<F> {
    /// Takes the runs that follow a frame with this header.
    pub(super) fn on_runs(&mut self, lead: Lead, header: &Header, rx: &mut Receiver<F>) {
        while self.on_run(lead, header, rx) {}
    }

    /// `false` where nothing more of the kind is there.
    fn on_run(&mut self, lead: Lead, header: &Header, rx: &mut Receiver<F>) -> bool {
        match lead {
            Lead::Events { to, codec, alike } => self.accept_run(header, to, codec, alike, rx),
            Lead::Passing(to) => self.pass_run_on(header, to, rx),
        }
    }

    /// Accepts events of a conversation.
    fn accept_run(
        &mut self,
        header: &Header,
        to: Destination,
        codec: u8,
        alike: usize,
        rx: &mut Receiver<F>,
    ) -> bool {
        let Self {
            talks,
            books,
            inbox,
            stats,
            ..
        } = self;
        let Some(talk) = talks.get_mut(header.source) else {
            return false;
        };
        let most = Most::new(inbox.room_for_run(to), talk.inb.unused(header.flow));
        let (Some(run), Some(event)) = (rx.run(alike, most), inbox.recent_event()) else {
            return false;
        };
        let events = Events {
            from: header.source,
            flow: header.flow,
            index: talk.inb.admit_run(header.flow, &run, books),
            event: event.clone(),
            codec,
            payload_at: alike,
            left: run.frames,
            cost: run.cost,
        };
        inbox.arrive_run(to, events, &run);
        stats.frames += run.frames;
        self.touch_later(header.source);
        true
    }

    /// Queues frames for the link that leads to their destination.
    fn pass_run_on(&mut self, header: &Header, to: LinkId, rx: &mut Receiver<F>) -> bool {
        let Some(link) = self.links.get_mut(to) else {
            return false;
        };
        let most = link.egress.most_of_run(header);
        let Some(run) = most.and_then(|most| rx.run(Header::LEN, most)) else {
            return false;
        };
        link.egress.push_run(header, &run);
        self.stats.frames += run.frames;
        self.stats.forwarded += run.frames;
        true
    }
}
