//! What the tests of the whole share: one interface to every driver ([`App`]), and worlds of real
//! processes to run it in ([`World`]).
//!
//! # What cannot be written down
//!
//! Some scenarios of the ancestors are refusals at run time. Here these are programs that do not
//! compile. This is what does, and each of the following differs from it in one place:
//!
//! ```no_run
//! use std::time::Duration;
//! use switchboard_mio::{Board, IncomingRequest, Peer, PeerId};
//!
//! fn ask(peer: &Peer, worker: PeerId, socket: std::net::TcpStream) -> Result<(), Box<dyn std::error::Error>> {
//!     let within = Duration::from_millis(10);
//!     peer.request::<_, ()>("foo", &1).to(worker).attach(socket).deadline(within).wait()?;
//!     Ok(())
//! }
//!
//! fn answer(board: &mut Board, request: IncomingRequest) {
//!     let _ = request.reply(board, Ok(&1));
//! }
//! ```
//!
//! C5, a worker that is null:
//!
//! ```compile_fail,E0277
//! # use switchboard_mio::{Peer, PeerId};
//! fn ask(peer: &Peer, worker: Option<PeerId>) {
//!     let _ = peer.request::<_, ()>("foo", &1).to(worker).wait();
//! }
//! ```
//!
//! C12, a descriptor that is a number:
//!
//! ```compile_fail,E0277
//! # use switchboard_mio::{Peer, PeerId};
//! fn ask(peer: &Peer, worker: PeerId) {
//!     let _ = peer.request::<_, ()>("foo", &1).to(worker).attach(123).wait();
//! }
//! ```
//!
//! C20, a second acknowledgement (the first one takes the request with it):
//!
//! ```compile_fail,E0382
//! # use switchboard_mio::{Board, IncomingRequest};
//! fn answer(board: &mut Board, request: IncomingRequest) {
//!     let _ = request.reply(board, Ok(&1));
//!     let _ = request.reply(board, Ok(&2));
//! }
//! ```
//!
//! C21 and C22, an acknowledgement and then a promise or an exception: a handler has one result, and
//! there is nothing else that it could acknowledge with.
//!
//! ```compile_fail,E0599
//! # use switchboard_mio::{Cx, Peer};
//! fn serve(peer: &Peer) {
//!     let answers_twice = |cx: Cx, n: u32| {
//!         cx.reply(n);
//!         Ok(n + 1)
//!     };
//!     peer.on("foo", answers_twice).forever();
//! }
//! ```
//!
//! C24, a deadline after the wait for the acknowledgement has begun:
//!
//! ```compile_fail,E0382
//! # use std::time::Duration;
//! # use switchboard_mio::{Peer, PeerId};
//! fn ask(peer: &Peer, worker: PeerId) {
//!     let request = peer.request::<_, ()>("foo", &1).to(worker);
//!     let _ = request.wait();
//!     let _ = request.deadline(Duration::from_millis(10));
//! }
//! ```
//!
//! C25, a deadline for what has been sent before (until then nothing is, however late):
//!
//! ```compile_fail,E0599
//! # use std::time::Duration;
//! # use switchboard_mio::{Peer, PeerId};
//! fn ask(peer: &Peer, worker: PeerId) {
//!     let pending = peer.request::<_, ()>("foo", &1).to(worker).send().unwrap();
//!     let _ = pending.deadline(Duration::from_millis(10));
//! }
//! ```
//!
//! C26, a deadline without a time, and one of bacon:
//!
//! ```compile_fail,E0061
//! # use switchboard_mio::{Peer, PeerId};
//! fn ask(peer: &Peer, worker: PeerId) {
//!     let _ = peer.request::<_, ()>("foo", &1).to(worker).deadline().wait();
//! }
//! ```
//!
//! ```compile_fail,E0308
//! # use switchboard_mio::{Peer, PeerId};
//! fn ask(peer: &Peer, worker: PeerId) {
//!     let _ = peer.request::<_, ()>("foo", &1).to(worker).deadline("bacon").wait();
//! }
//! ```

#![allow(
    clippy::result_large_err,
    reason = "a refusal gives the attachments back"
)]
#![allow(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "what cannot be set up fails the test"
)]

mod app;
mod relay;
mod world;

pub use app::{App, Call, Driver, Failure, Handle, How, Outcome, PATIENCE, Verdict, Way, Why};
pub use world::{ROLE, Setting, Transport, Worker, World, enter_role, hub_config};

use switchboard_proto::codec::Value;

/// A text.
pub fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// An integer.
pub fn int(number: impl Into<i128>) -> Value {
    Value::Int(number.into())
}

/// A map with text keys.
pub fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    let entries = entries.map(|(key, value)| (text(key), value));
    Value::Map(entries.into())
}

/// Runs `$enter()` before `main`: a program that was started in a role plays it there and does not
/// return, so that it never comes to the tests.
///
/// It is an entry in `.init_array`, whose functions the loader of an ELF file runs first: so the test
/// harness prints nothing into a channel over stdout.
#[macro_export]
macro_rules! run_before_main {
    ($enter:path) => {
        #[used]
        #[unsafe(link_section = ".init_array")]
        static BEFORE_MAIN: extern "C" fn() = {
            extern "C" fn before_main() {
                $enter();
            }
            before_main
        };
    };
}
