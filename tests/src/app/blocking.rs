//! The blocking handle, served by a thread.

use std::time::{Duration, Instant};

use switchboard_mio::{BlockingRequest, Board, Cx, Peer};
use switchboard_os::Stream;
use switchboard_os::app::Answered;
use switchboard_os::engine::Side;
use switchboard_proto::codec::Value;
use switchboard_proto::fault::Fault;
use switchboard_proto::{Config, MessageId, PeerId};

use super::calling::Calling;
use super::how::{say_of_event, say_of_request};
use super::{App, Failure, Handle, How, Outcome, PATIENCE, Way};

struct Blocking(Peer);

pub(super) fn listen(address: &str, config: Config) -> (Box<dyn App>, String) {
    let board = Board::builder()
        .config(|default| *default = config)
        .listen(address);
    let board = board.expect("the hub listens");
    let address = board.address().expect("a hub has an address").to_string();
    (served(board), address)
}

pub(super) fn join(way: Way, name: Option<&str>, config: Config) -> Box<dyn App> {
    let mut builder = Board::builder().config(|default| *default = config);
    if let Some(name) = name {
        builder = builder.name(name);
    }
    let board = match way {
        Way::Address(address) => builder.join(address),
        Way::Over(stream) => builder.over(stream),
    };
    served(board.expect("a member begins"))
}

fn served(board: Board) -> Box<dyn App> {
    let peer = board.blocking();
    peer.spawn().expect("a thread");
    Box::new(Blocking(peer))
}

impl Blocking {
    fn asked<'m>(
        &'m self,
        name: &str,
        value: &'m Value,
        how: How,
    ) -> BlockingRequest<'m, Value, Value> {
        say_of_request!(self.0.request::<_, Value>(name, value), how)
    }

    fn register(&self, name: &str, handle: Handle, once: bool) -> Result<(), String> {
        let handler = move |cx: Cx, value: Value| {
            let app = Self(cx.peer().clone());
            let calling = Calling { app, cx };
            match handle(&calling, value) {
                Some(result) => result,
                None => {
                    // It goes on driving, or nobody would see that it is not wanted any more.
                    while !calling.cx.is_cancelled() {
                        calling.app.0.serve_for(Duration::from_millis(5));
                    }
                    Err(Fault::new("nobody waits"))
                }
            }
        };
        let sub = match once {
            false => self.0.on(name, handler),
            true => self.0.once(name, handler),
        };
        sub.checked().map_err(|error| error.to_string())?.forever();
        Ok(())
    }
}

impl App for Blocking {
    fn ns(&self, name: &str) -> Result<Box<dyn App>, String> {
        let peer = self.0.ns(name).map_err(|error| error.to_string())?;
        Ok(Box::new(Self(peer)))
    }

    fn on(&self, name: &str, handle: Handle) -> Result<(), String> {
        self.register(name, handle, false)
    }

    fn on_waiting(&self, name: &str, handle: Handle) -> Result<(), String> {
        self.register(name, handle, false)
    }

    fn once(&self, name: &str, handle: Handle) -> Result<(), String> {
        self.register(name, handle, true)
    }

    fn ready(&self) {
        self.0.ready();
    }

    fn request(&self, name: &str, value: &Value, how: How) -> Result<Value, Failure> {
        Ok(self.asked(name, value, how).wait()?)
    }

    fn request_with_fds(
        &self,
        name: &str,
        value: &Value,
        how: How,
    ) -> Result<Answered<Value>, Failure> {
        Ok(self.asked(name, value, how).with_fds().wait()?)
    }

    fn begin(&self, name: &str, value: &Value, how: How) -> Result<Outcome<'_>, Failure> {
        let pending = self.asked(name, value, how).send()?;
        Ok(Box::new(|| Ok(pending.wait()?)))
    }

    fn emit(&self, name: &str, value: &Value, how: How) -> Result<MessageId, Failure> {
        let emit = say_of_event!(self.0.emit(name, value), how);
        Ok(emit.wait()?)
    }

    fn is_connected(&self) -> bool {
        self.0.is_connected()
    }

    fn close(&self) {
        self.0.close();
    }

    fn id(&self) -> Option<PeerId> {
        self.0.id()
    }

    fn peers(&self) -> Vec<switchboard_proto::Peer> {
        self.0.peers()
    }

    fn set_default_deadline(&self, deadline: Duration) {
        self.0.set_default_deadline(deadline);
    }

    fn adopt(&self, stream: Stream, side: Side) {
        let _ = self.0.adopt(stream, side);
    }

    fn until(&self, what: &str, condition: &mut dyn FnMut() -> bool) {
        look_until(what, condition);
    }

    fn drain(&self, within: Duration) -> Vec<MessageId> {
        self.0.drain(within)
    }

    fn serve(&self) -> ! {
        // The thread of `spawn` serves, and with a second one messages would lose their order.
        loop {
            std::thread::park();
        }
    }
}

/// Looks again and again: what the scenarios wait for is of many kinds, and the driver goes on in
/// another thread.
pub(super) fn look_until(what: &str, condition: &mut dyn FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < give_up, "never came: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
