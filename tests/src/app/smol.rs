//! The async peer, on smol's global executor.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use switchboard_os::Stream;
use switchboard_os::app::Answered;
use switchboard_os::engine::Side;
use switchboard_proto::codec::Value;
use switchboard_proto::fault::Fault;
use switchboard_proto::{Config, MessageId, PeerId};
use switchboard_smol::{Builder, Cx, Peer, Request, builder};

use super::blocking::look_until;
use super::calling::Calling;
use super::how::{say_of_event, say_of_request};
use super::{App, Failure, Handle, How, Outcome, Verdict, Way};

struct Smol(Peer);

pub(super) fn listen(address: &str, config: Config) -> (Box<dyn App>, String) {
    let peer = builder(address).config(|default| *default = config);
    let peer = smol::block_on(peer.listen()).expect("the hub listens");
    let address = peer.address().expect("a hub has an address").to_string();
    (Box::new(Smol(peer)), address)
}

pub(super) fn join(way: Way, name: Option<&str>, config: Config) -> Box<dyn App> {
    let mut builder = match way {
        Way::Address(address) => builder(address),
        Way::Over(stream) => Builder::over(stream),
    };
    builder = builder.config(|default| *default = config);
    if let Some(name) = name {
        builder = builder.name(name);
    }
    Box::new(Smol(builder.open().expect("a member begins")))
}

impl Smol {
    fn asked<'m>(&'m self, name: &str, value: &'m Value, how: How) -> Request<'m, Value, Value> {
        say_of_request!(self.0.request::<_, Value>(name, value), how)
    }

    fn register(
        &self,
        name: &str,
        handle: Handle,
        (waits, once): (bool, bool),
    ) -> Result<(), String> {
        let handle = Arc::new(handle);
        let handler = move |cx: Cx, value: Value| {
            let handle = Arc::clone(&handle);
            async move {
                let app = Self(cx.peer().clone());
                let calling = Calling {
                    app,
                    cx: cx.clone(),
                };
                let run = move || handle(&calling, value);
                let verdict: Verdict = match waits {
                    false => run(),
                    // It would keep the executor from the very answer it waits for.
                    true => smol::unblock(run).await,
                };
                match verdict {
                    Some(result) => result,
                    None => {
                        cx.cancelled().await;
                        Err(Fault::new("nobody waits"))
                    }
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

impl App for Smol {
    fn ns(&self, name: &str) -> Result<Box<dyn App>, String> {
        let peer = self.0.ns(name).map_err(|error| error.to_string())?;
        Ok(Box::new(Self(peer)))
    }

    fn on(&self, name: &str, handle: Handle) -> Result<(), String> {
        self.register(name, handle, (false, false))
    }

    fn on_waiting(&self, name: &str, handle: Handle) -> Result<(), String> {
        self.register(name, handle, (true, false))
    }

    fn once(&self, name: &str, handle: Handle) -> Result<(), String> {
        self.register(name, handle, (false, true))
    }

    fn ready(&self) {
        self.0.ready();
    }

    fn request(&self, name: &str, value: &Value, how: How) -> Result<Value, Failure> {
        Ok(smol::block_on(self.asked(name, value, how).into_future())?)
    }

    fn request_with_fds(
        &self,
        name: &str,
        value: &Value,
        how: How,
    ) -> Result<Answered<Value>, Failure> {
        let asked = self.asked(name, value, how).with_fds();
        Ok(smol::block_on(asked.into_future())?)
    }

    fn begin(&self, name: &str, value: &Value, how: How) -> Result<Outcome<'_>, Failure> {
        let reply = self.asked(name, value, how).try_send()?;
        Ok(Box::new(|| Ok(smol::block_on(reply)?)))
    }

    fn emit(&self, name: &str, value: &Value, how: How) -> Result<MessageId, Failure> {
        let emit = say_of_event!(self.0.emit(name, value), how);
        Ok(smol::block_on(emit.into_future())?)
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
        smol::block_on(self.0.drain(within))
    }

    fn serve(&self) -> ! {
        smol::block_on(std::future::pending())
    }
}
