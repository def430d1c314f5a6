//! Something on the way that cuts the stream of bytes into small pieces.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use switchboard_os::Stream;
use switchboard_os::process::ChannelEnd;

use crate::world::pair;

/// The address of a relay to this address, for one connection.
pub(crate) fn of_address(address: &str, piece: usize) -> String {
    if let Some(path) = address.strip_prefix("unix:") {
        let own = format!("{path}.relay{piece}");
        let listener = UnixListener::bind(&own).expect("a free path");
        let path = path.to_owned();
        thread::spawn(move || {
            let near = listener.accept().expect("a worker").0;
            let far = UnixStream::connect(path).expect("a hub");
            let halves = |stream: &UnixStream| stream.try_clone().expect("a descriptor");
            thread::spawn({
                let (near, far) = (halves(&near), halves(&far));
                move || pass(near, far, piece)
            });
            pass(far, near, piece);
        });
        return format!("unix:{own}");
    }
    let hub = address
        .strip_prefix("tcp://")
        .expect("an address")
        .to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let own = listener.local_addr().expect("a bound port");
    thread::spawn(move || {
        let near = listener.accept().expect("a worker").0;
        let far = TcpStream::connect(hub).expect("a hub");
        for stream in [&near, &far] {
            // Or the kernel would put the pieces together again.
            stream.set_nodelay(true).expect("a socket");
        }
        let halves = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
        thread::spawn({
            let (near, far) = (halves(&near), halves(&far));
            move || pass(near, far, piece)
        });
        pass(far, near, piece);
    });
    format!("tcp://{own}")
}

/// A stream that is a relay away from the child at the other end of the channel.
pub(crate) fn of_channel(channel: ChannelEnd, piece: usize) -> Stream {
    let (read, write): (OwnedFd, OwnedFd) = match channel {
        ChannelEnd::Socket(socket) => (socket.try_clone().expect("a descriptor"), socket),
        ChannelEnd::Pipes { read, write } => (read, write),
        other => panic!("a relay for {other:?}"),
    };
    for end in [&read, &write] {
        rustix::io::ioctl_fionbio(end, false).expect("a descriptor");
    }
    let (near, far) = pair();
    let back = far.try_clone().expect("a descriptor");
    let (read, write) = (std::fs::File::from(read), std::fs::File::from(write));
    thread::spawn(move || pass(read, far, piece));
    thread::spawn(move || pass(back, write, piece));
    Stream::unix(near.into()).expect("a unix socket")
}

fn pass(mut from: impl Read, mut to: impl Write + AsFd, piece: usize) {
    let mut buffer = vec![0; piece];
    // It ends with either end.
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // The way back holds a socket open, and nothing may come on it any more that would tell it of
    // the end. A pipe has one way: there this is an error, and the drop its end.
    let _ = rustix::net::shutdown(&to, rustix::net::Shutdown::Write);
}
