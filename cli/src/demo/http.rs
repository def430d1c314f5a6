//! A listening socket changes its process and goes on listening.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use switchboard_mio::{Reason, SendRefusal};

use super::stage::{PATIENCE, Stage};
use super::words::SERVE_HTTP;

/// How long the other end may keep silent.
const SILENCE: Duration = Duration::from_secs(5);

/// What came of it.
#[derive(Debug)]
pub struct Http {
    /// Where the socket listens.
    pub address: SocketAddr,
    /// Who answered.
    pub pid: u32,
    /// How many bytes, each as expected.
    pub bytes: usize,
}

/// What the worker answers; the demonstration compares it byte for byte.
pub fn response(name: &str, pid: u32) -> String {
    let body = format!("{name}, process {pid}, answers on a socket that it never opened\n");
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: \
         close\r\n\r\n{body}",
        body.len()
    )
}

/// Opens a listener, offers it to a worker that cannot get it, moves it to one that can, and asks
/// there.
///
/// # Errors
///
/// Any of this is not so.
pub fn run(stage: &mut Stage, over_pipe: &str, over_socket: &str) -> Result<Http> {
    let listener = TcpListener::bind("127.0.0.1:0").context("opening a TCP listener")?;
    let address = listener.local_addr()?;

    let offered = stage.board().request(SERVE_HTTP, &()).to(over_pipe);
    let Err(refusal) = offered.attach(listener).send() else {
        bail!("a pipe carried a descriptor");
    };
    let unsupported = matches!(
        refusal.reason(),
        Reason::NotAccepted(SendRefusal::AttachmentsUnsupported)
    );
    ensure!(unsupported, "the refusal says {refusal}");
    let returned = refusal.into_attachments().pop();
    let listener = TcpListener::from(
        returned
            .context("the listener did not come back")?
            .into_owned()?,
    );
    ensure!(
        listener.local_addr()? == address,
        "another listener came back"
    );

    let expected_pid = stage.worker(over_socket)?.pid();
    let moved = stage.board().request(SERVE_HTTP, &()).to(over_socket);
    let moved = moved.attach(listener).deadline(PATIENCE).send()?;
    let outcome = stage.await_outcome(moved, "the worker to take the listener")?;
    let pid: u32 = outcome.decode()?;
    ensure!(
        Some(pid) == expected_pid,
        "process {pid} has the listener in place of {expected_pid:?}"
    );

    let got = get(address).with_context(|| format!("GET http://{address}/"))?;
    let expected = response(over_socket, pid);
    ensure!(
        got == expected.as_bytes(),
        "HTTP answered {:?} in place of {expected:?}",
        String::from_utf8_lossy(&got)
    );
    Ok(Http {
        address,
        pid,
        bytes: got.len(),
    })
}

fn get(address: SocketAddr) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, SILENCE)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut got = Vec::new();
    stream.read_to_end(&mut got)?;
    Ok(got)
}
