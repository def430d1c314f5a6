//! The other end of the library's side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use switchboard_mio::name::{Call, Event};
use switchboard_mio::{Board, Cx, Fault, Raw};

use crate::args::BenchPeer;
use crate::end::End;

/// The name of this peer.
pub const NAME: &str = "bench/peer";
/// Gives back what it got.
pub const ECHO: Call<Raw, Raw> = Call::new("echo");
/// Takes a descriptor and closes it.
pub const TAKE: Call<Raw, Raw> = Call::new("take");
/// Is counted.
pub const EVENT: Event<Raw> = Event::new("event");
/// How many events have come.
pub const COUNT: Call<(), u64> = Call::new("count");

/// Serves until the hub is gone.
///
/// # Errors
///
/// There is no hub.
pub fn run(args: &BenchPeer) -> Result<End> {
    super::pin::go_to(args.processor);
    let builder = Board::builder().name(NAME);
    let board = match &args.join {
        Some(address) => builder.join(address),
        None => builder.parent(),
    };
    let peer = board.context("no way to the hub")?.blocking();
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    peer.on(ECHO, |data: Raw| Ok(data)).forever();
    peer.on(TAKE, |cx: Cx, _: Raw| match cx.take_fd() {
        Some(_) => Ok(Raw(Bytes::new())),
        None => Err(Fault::new("no descriptor came")),
    })
    .forever();
    peer.on(EVENT, move |_: Raw| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
    .forever();
    peer.on(COUNT, move |(): ()| Ok(counted.load(Ordering::Relaxed)))
        .forever();
    peer.ready();
    peer.connected(super::PATIENCE)?;
    while peer.is_connected() {
        peer.serve_for(Duration::from_millis(100));
    }
    Ok(End::Done)
}
