//! The works on a board in a poll loop.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use switchboard_mio::{
    Board, Hub, Incoming, IntoTargets, Raw, Reason, RequestId, SendRefusal, SharedFd, Target,
    Targets,
};

use crate::args::{ASK, Args, Role, TELL, Work};
use crate::report::{self, Latencies, now};

type Done = Result<(), Box<dyn Error>>;

struct Loop {
    board: Board,
    poll: Poll,
    events: Events,
}

pub(crate) fn run(args: &Args) -> Done {
    let builder = Board::builder();
    match args.role {
        Role::Hub => {
            let mut hub = Loop::new(builder.listen(&args.address)?)?;
            report::ready()?;
            loop {
                while hub.board.poll_incoming().is_some() {}
                hub.turn(None)?;
            }
        }
        Role::Server => {
            let builder = builder.handle(ASK).listen_to(TELL);
            let board = match args.through_hub {
                true => builder.name("server").join(&args.address)?,
                false => builder.listen(&args.address)?,
            };
            let mut server = Loop::new(board)?;
            server.connected()?;
            report::ready()?;
            serve(server, args)
        }
        Role::Client => {
            let mut client = Loop::new(builder.join(&args.address)?)?;
            client.connected()?;
            match args.work {
                Work::Ask(window) => ask(client, args, window),
                Work::Tell => tell(client, args),
                Work::Descriptors(_) => pass_descriptors(client, args),
            }
        }
    }
}

fn serve(mut server: Loop, args: &Args) -> Done {
    let mut received = 0;
    loop {
        while let Some(incoming) = server.board.poll_incoming() {
            match incoming {
                Incoming::Request(request) => {
                    let payload: Raw = request.decode()?;
                    // Its sender may have ended by now.
                    let _ = request.reply(&mut server.board, Ok(&payload));
                }
                Incoming::Event(event) => {
                    let _: Raw = event.decode()?;
                    received += 1;
                }
                _ => continue,
            }
            if received == args.count && !matches!(args.work, Work::Ask(_)) {
                report::ended(received)?;
                received += 1;
            }
        }
        server.turn(None)?;
    }
}

fn target(args: &Args) -> Result<Target, Box<dyn Error>> {
    let mut targets = Targets::new();
    match args.through_hub {
        true => "server".add_to(&mut targets)?,
        false => Hub.add_to(&mut targets)?,
    }
    Ok(targets.into_vec().remove(0))
}

fn ask(mut client: Loop, args: &Args, window: usize) -> Done {
    let to = target(args)?;
    let mut pending: HashMap<RequestId, u64> = HashMap::new();
    let mut latencies = Latencies::default();
    let (mut sent, mut answered) = (0, 0);
    let all = args.warm_up() + args.count;
    let mut begun = now();
    while answered < all {
        while sent < all && pending.len() < window {
            let request = client.board.request(ASK, &args.payload);
            let at = now();
            pending.insert(request.to(to.clone()).send()?, at);
            sent += 1;
        }
        client.turn(None)?;
        while let Some(incoming) = client.board.poll_incoming() {
            let Incoming::Reply { id, outcome } = incoming else {
                continue;
            };
            let _: Raw = outcome.decode()?;
            let at = pending.remove(&id).ok_or("a reply to nothing")?;
            answered += 1;
            if answered > args.warm_up() {
                latencies.add(now() - at);
            } else if answered == args.warm_up() {
                begun = now();
            }
        }
    }
    Ok(latencies.report(begun)?)
}

fn tell(mut client: Loop, args: &Args) -> Done {
    let to = target(args)?;
    let begun = now();
    for _ in 0..args.count {
        let emit = client.board.emit(TELL, &args.payload).to(to.clone());
        let mut result = emit.send();
        while let Err(error) = result {
            if !error.is_full() {
                return Err(error.into());
            }
            client.turn_unheard(None)?;
            let message = error.into_message().ok_or("it comes back whole")?;
            result = client.board.resend(message, Default::default());
        }
    }
    report::begun(args.count, begun)?;
    loop {
        client.turn_unheard(None)?;
    }
}

fn pass_descriptors(mut client: Loop, args: &Args) -> Done {
    let null = SharedFd::new(File::open("/dev/null")?);
    let begun = now();
    for _ in 0..args.count {
        let emit = client.board.emit(TELL, &args.payload).to(Hub);
        let mut result = emit.attach(&null).send();
        while let Err(error) = result {
            let waits = matches!(
                error.reason(),
                Reason::NotAccepted(
                    SendRefusal::TooManyAttachments { .. } | SendRefusal::Full { .. }
                )
            );
            if !waits {
                return Err(error.into());
            }
            // The receiver's node says when it has received some.
            client.turn_unheard(Some(Duration::from_millis(1)))?;
            let message = error.into_message().ok_or("it comes back whole")?;
            result = client.board.resend(message, Default::default());
        }
    }
    report::begun(args.count, begun)?;
    loop {
        client.turn_unheard(None)?;
    }
}

impl Loop {
    fn new(mut board: Board) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(&mut board, Token(0), Interest::READABLE)?;
        Ok(Self {
            board,
            poll,
            events: Events::with_capacity(4),
        })
    }

    /// Waits, at most this long, and does what is to be done.
    fn turn(&mut self, most: Option<Duration>) -> io::Result<()> {
        let timeout = self.board.timeout();
        let timeout = [timeout, most].into_iter().flatten().min();
        // A board that has something to do asks for no wait, and needs no poll for it.
        if timeout != Some(Duration::ZERO) {
            match self.poll.poll(&mut self.events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                polled => polled?,
            }
        }
        self.board.drive()
    }

    /// A turn of which nothing that came is of interest.
    fn turn_unheard(&mut self, most: Option<Duration>) -> io::Result<()> {
        self.turn(most)?;
        while self.board.poll_incoming().is_some() {}
        Ok(())
    }

    fn connected(&mut self) -> io::Result<()> {
        while !self.board.is_connected() {
            self.turn_unheard(None)?;
        }
        Ok(())
    }
}
