//! A board inside a poll loop.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use switchboard_mio::{Board, Incoming, IncomingEvent, IncomingRequest, ReplyOutcome};
use switchboard_os::app::{Answered, FromReply};
use switchboard_os::engine::Side;
use switchboard_os::{Attachment, Stream};
use switchboard_proto::codec::Value;
use switchboard_proto::fault::Fault;
use switchboard_proto::{
    Config, Fate, MessageId, NamespaceId, PeerId, Receipt, RequestId, SendOptions, Sender,
};

use super::how::{say_of_event, say_of_request};
use super::{App, Call, Failure, Handle, How, Outcome, PATIENCE, Verdict, Way};

#[derive(Clone)]
struct Polled {
    turns: Rc<Turns>,
    namespace: NamespaceId,
    shown: Rc<str>,
}

/// The loop, and what waits in it. A handler that waits turns it once more on top of the turn that
/// called it, so nothing is borrowed while a handler runs.
struct Turns {
    board: RefCell<Board>,
    poll: RefCell<(Poll, Events)>,
    handlers: RefCell<BTreeMap<Key, Vec<Rc<Registered>>>>,
    outcomes: RefCell<BTreeMap<RequestId, ReplyOutcome>>,
    fates: RefCell<BTreeMap<MessageId, Fate<Attachment>>>,
    drained: Cell<bool>,
    shown: RefCell<BTreeMap<NamespaceId, String>>,
}

/// A name in a namespace.
type Key = (NamespaceId, String);

struct Registered {
    handle: Handle,
    once: bool,
    used: Cell<bool>,
}

struct Calling {
    app: Polled,
    from: Sender,
    descriptors: RefCell<Vec<OwnedFd>>,
    attached: RefCell<Vec<OwnedFd>>,
}

pub(super) fn listen(address: &str, config: Config) -> (Box<dyn App>, String) {
    let board = Board::builder()
        .config(|default| *default = config)
        .listen(address);
    let board = board.expect("the hub listens");
    let address = board.address().expect("a hub has an address").to_string();
    (polled(board), address)
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
    polled(board.expect("a member begins"))
}

fn polled(mut board: Board) -> Box<dyn App> {
    let poll = Poll::new().expect("a poller");
    let registry = poll.registry();
    registry
        .register(&mut board, Token(0), Interest::READABLE)
        .expect("a board can be polled");
    let namespace = board.ns("_").expect("the default namespace");
    Box::new(Polled {
        turns: Rc::new(Turns {
            board: RefCell::new(board),
            poll: RefCell::new((poll, Events::with_capacity(4))),
            handlers: RefCell::default(),
            outcomes: RefCell::default(),
            fates: RefCell::default(),
            drained: Cell::new(false),
            shown: RefCell::new(BTreeMap::from([(namespace, String::from("_"))])),
        }),
        namespace,
        shown: "_".into(),
    })
}

impl Polled {
    fn register(&self, name: &str, handle: Handle, once: bool) -> Result<(), String> {
        let mut board = self.turns.board.borrow_mut();
        let declared = board
            .handle(self.namespace, name)
            .and_then(|()| board.listen_to(self.namespace, name));
        declared.map_err(|error| error.to_string())?;
        let registered = Registered {
            handle,
            once,
            used: Cell::new(false),
        };
        let mut handlers = self.turns.handlers.borrow_mut();
        let key = (self.namespace, name.to_owned());
        handlers.entry(key).or_default().push(Rc::new(registered));
        Ok(())
    }

    /// Waits, at most so long, and does what came.
    fn turn(&self, most: Duration) {
        let timeout = self.turns.board.borrow_mut().timeout();
        let wait = timeout.map_or(most, |own| own.min(most));
        {
            let (poll, events) = &mut *self.turns.poll.borrow_mut();
            match poll.poll(events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                polled => polled.expect("the poller waits"),
            }
        }
        self.turns.board.borrow_mut().drive().expect("it drives");
        self.dispatch();
    }

    fn dispatch(&self) {
        loop {
            // Not in the condition: it would stay borrowed in the body.
            let incoming = self.turns.board.borrow_mut().poll_incoming();
            match incoming {
                None => return,
                Some(Incoming::Request(request)) => self.asked(request),
                Some(Incoming::Event(event)) => self.told(event),
                Some(Incoming::Reply { id, outcome }) => {
                    self.turns.outcomes.borrow_mut().insert(id, outcome);
                }
                Some(Incoming::Fate { id, fate }) => {
                    self.turns.fates.borrow_mut().insert(id, fate);
                }
                Some(Incoming::Drained { .. }) => self.turns.drained.set(true),
                Some(_) => {}
            }
        }
    }

    fn callees(&self, namespace: NamespaceId, name: &str) -> Vec<Rc<Registered>> {
        let handlers = self.turns.handlers.borrow();
        let all = handlers.get(&(namespace, name.to_owned()));
        let all = all.into_iter().flatten();
        let free = |one: &&Rc<Registered>| !one.once || !one.used.replace(true);
        all.filter(free).cloned().collect()
    }

    fn calling(&self, namespace: NamespaceId, from: Sender, descriptors: Vec<OwnedFd>) -> Calling {
        let shown = self.turns.shown.borrow()[&namespace].as_str().into();
        Calling {
            app: Self {
                turns: Rc::clone(&self.turns),
                namespace,
                shown,
            },
            from,
            descriptors: RefCell::new(descriptors),
            attached: RefCell::default(),
        }
    }

    fn asked(&self, mut request: IncomingRequest) {
        let descriptors = std::iter::from_fn(|| request.take_fd()).collect();
        let calling = self.calling(request.namespace(), request.from(), descriptors);
        let callees = self.callees(request.namespace(), request.name());
        let Some(callee) = callees.first() else {
            return;
        };
        let value = request.decode().expect("a value is any value");
        if let Some(verdict) = guarded(&callee.handle, &calling, value) {
            let board = &mut self.turns.board.borrow_mut();
            // Its requester may have ended by now.
            let replied = match verdict {
                Ok(value) => {
                    let attached = calling.attached.take().into_iter();
                    let request = attached.fold(request, IncomingRequest::attach);
                    request.reply(board, Ok(&value))
                }
                Err(fault) => request.reply::<Value>(board, Err(fault)),
            };
            if let Err(error) = replied
                && let Some(request) = error.request
            {
                let fault = Fault::new(error.reason.to_string());
                let _ = request.reply::<Value>(board, Err(fault));
            }
        }
    }

    fn told(&self, mut event: IncomingEvent) {
        let descriptors = std::iter::from_fn(|| event.take_fd()).collect();
        let calling = self.calling(event.namespace(), event.from(), descriptors);
        let mut result = Ok(());
        for callee in self.callees(event.namespace(), event.name()) {
            let value: Value = event.decode().expect("a value is any value");
            if let Some(Err(fault)) = guarded(&callee.handle, &calling, value) {
                result = Err(fault);
            }
        }
        let _ = event.handled(&mut self.turns.board.borrow_mut(), result);
    }

    fn ask(&self, name: &str, value: &Value, how: How) -> Result<RequestId, Failure> {
        let mut board = self.turns.board.borrow_mut();
        let request = board.request::<_, Value>(name, value).ns(self.namespace);
        Ok(say_of_request!(request, how).send()?)
    }

    fn outcome<R: FromReply>(&self, id: RequestId) -> Result<R, Failure> {
        let outcome = self.wait_for("the outcome of a request", || {
            self.turns.outcomes.borrow_mut().remove(&id)
        });
        Ok(outcome.decode()?)
    }

    fn wait_for<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let give_up = Instant::now() + PATIENCE;
        loop {
            self.dispatch();
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < give_up, "never came: {what}");
            // Short, for conditions that are not the board's.
            self.turn(Duration::from_millis(5));
        }
    }
}

/// Handlers of a loop are called by the loop, so a panic in one of them is its to catch.
fn guarded(handle: &Handle, calling: &Calling, value: Value) -> Verdict {
    let called = catch_unwind(AssertUnwindSafe(|| handle(calling, value)));
    called.unwrap_or_else(|panic| {
        let text = match panic.downcast_ref::<String>() {
            Some(text) => text.as_str(),
            None => "with something else",
        };
        Some(Err(Fault::new(format!("the handler panicked: {text}"))))
    })
}

impl Call for Calling {
    fn app(&self) -> &dyn App {
        &self.app
    }

    fn from(&self) -> Sender {
        self.from
    }

    fn namespace(&self) -> String {
        self.app.shown.to_string()
    }

    fn take_fd(&self) -> Option<OwnedFd> {
        let mut descriptors = self.descriptors.borrow_mut();
        (!descriptors.is_empty()).then(|| descriptors.remove(0))
    }

    fn attach(&self, descriptor: OwnedFd) {
        self.attached.borrow_mut().push(descriptor);
    }
}

impl App for Polled {
    fn ns(&self, name: &str) -> Result<Box<dyn App>, String> {
        let namespace = self.turns.board.borrow_mut().ns(name);
        let namespace = namespace.map_err(|error| error.to_string())?;
        let mut shown = self.turns.shown.borrow_mut();
        shown.insert(namespace, name.to_owned());
        Ok(Box::new(Self {
            turns: Rc::clone(&self.turns),
            namespace,
            shown: name.into(),
        }))
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
        self.turns.board.borrow_mut().ready();
    }

    fn request(&self, name: &str, value: &Value, how: How) -> Result<Value, Failure> {
        self.begin(name, value, how)?()
    }

    fn request_with_fds(
        &self,
        name: &str,
        value: &Value,
        how: How,
    ) -> Result<Answered<Value>, Failure> {
        let id = self.ask(name, value, how)?;
        self.outcome(id)
    }

    fn begin(&self, name: &str, value: &Value, how: How) -> Result<Outcome<'_>, Failure> {
        let id = self.ask(name, value, how)?;
        Ok(Box::new(move || self.outcome(id)))
    }

    fn emit(&self, name: &str, value: &Value, how: How) -> Result<MessageId, Failure> {
        let options = SendOptions {
            receipt: how.receipt,
            expires: how.expires,
            queue_attachments: how.queue_attachments,
            ..SendOptions::default()
        };
        let mut sent = {
            let mut board = self.turns.board.borrow_mut();
            let emit = board.emit(name, value).ns(self.namespace);
            say_of_event!(emit, how).send()
        };
        let give_up = Instant::now() + PATIENCE;
        let id = loop {
            match sent {
                Err(error) if error.is_full() => {
                    assert!(Instant::now() < give_up, "never came: room");
                    self.turn(Duration::from_millis(5));
                    let message = error.into_message().expect("it comes back whole");
                    sent = self.turns.board.borrow_mut().resend(message, options);
                }
                sent => break sent?,
            }
        };
        if options.receipt == Receipt::None {
            return Ok(id);
        }
        match self.wait_for("a receipt", || self.turns.fates.borrow_mut().remove(&id)) {
            Fate::Delivered | Fate::Handled => Ok(id),
            Fate::HandlerFailed => Err(Failure::Failed(None)),
            Fate::Refused { reason, message } => Err(Failure::NotRun {
                why: reason.into(),
                attachments: message.map_or_else(Vec::new, |message| message.attachments),
            }),
            Fate::NotAccepted { reason, .. } => Err(Failure::NotRun {
                why: (&reason).into(),
                attachments: Vec::new(),
            }),
            Fate::Unconfirmed => Err(Failure::Unconfirmed),
        }
    }

    fn is_connected(&self) -> bool {
        self.turns.board.borrow().is_connected()
    }

    fn close(&self) {
        self.turns.board.borrow_mut().close();
    }

    fn id(&self) -> Option<PeerId> {
        self.turns.board.borrow().id()
    }

    fn peers(&self) -> Vec<switchboard_proto::Peer> {
        self.turns
            .board
            .borrow()
            .roster()
            .peers()
            .cloned()
            .collect()
    }

    fn set_default_deadline(&self, deadline: Duration) {
        let mut board = self.turns.board.borrow_mut();
        board.set_default_deadline(Some(self.namespace), deadline);
    }

    fn adopt(&self, stream: Stream, side: Side) {
        let _ = self.turns.board.borrow_mut().adopt(stream, side);
    }

    fn until(&self, what: &str, condition: &mut dyn FnMut() -> bool) {
        self.wait_for(what, || condition().then_some(()));
    }

    fn drain(&self, within: Duration) -> Vec<MessageId> {
        self.turns.drained.set(false);
        self.turns.board.borrow_mut().drain(within);
        self.wait_for("the end of a drain", || {
            self.turns.drained.get().then_some(())
        });
        self.turns.board.borrow().undelivered()
    }

    fn serve(&self) -> ! {
        loop {
            self.turn(Duration::from_secs(3600));
        }
    }
}
