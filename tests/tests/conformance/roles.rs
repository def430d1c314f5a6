//! What the workers of the scenarios do.

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use switchboard_proto::codec::Value;
use switchboard_proto::fault::Fault;
use switchboard_proto::outgoing::{Everyone, Hub};
use switchboard_tests::{App, Failure, Handle, How, Transport, Worker, int, map, text};

/// Plays a part: registers what it needs, says that it is ready, and returns to be served.
pub(crate) fn play(role: &str, app: &dyn App) {
    match role {
        "echo" => echo(app),
        "topic client" => topic_client(app),
        "log" => log(app),
        "never ready" => never_ready(app),
        "late" => late(app),
        "gossip" => gossip(app),
        "asks hub" => asks_hub(app),
        "strict" => strict(app),
        "go-between" => go_between(app),
        "parent" => parent(app),
        role => panic!("unknown role {role}"),
    }
}

/// A handler from a plain function.
pub(crate) fn answers(
    answer: impl Fn(Value) -> Result<Value, Fault> + Send + Sync + 'static,
) -> Handle {
    Box::new(move |_, value| Some(answer(value)))
}

/// Answers in every way there is.
fn echo(app: &dyn App) {
    let on = |name: &str, handle| app.on(name, handle).expect("a free name");
    on("echo", answers(Ok));
    on("mult", answers(|pair| Ok(int(at(&pair, 0) * at(&pair, 1)))));
    on(
        "namespace",
        Box::new(|call, _| Some(Ok(text(&call.namespace())))),
    );
    on("never", Box::new(|_, _| None));
    // Acknowledges only what says that it wants to be.
    on(
        "if asked",
        Box::new(|_, value| value.as_bool()?.then(|| Ok(text("acknowledged")))),
    );
    on("exits", Box::new(|_, _| std::process::exit(7)));
    on(
        "is killed",
        Box::new(|_, _| {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).expect("it is ours");
            None
        }),
    );
    on(
        "exits soon",
        Box::new(|_, _| {
            // What the scenario says: 100 ms into handling.
            std::thread::sleep(Duration::from_millis(100));
            std::process::exit(7)
        }),
    );
    on(
        "panics",
        Box::new(|_, value| panic!("cannot take {value:?}")),
    );
    on(
        "fails",
        answers(|_| {
            let fault = Fault::new("no such row").with_code(404);
            Err(fault.with_detail("at table.rs:12"))
        }),
    );
    on("write hello", Box::new(write_hello));
    on("open a pipe", Box::new(open_a_pipe));
    // Sends an event to whoever asks before it answers, and stays usable.
    on(
        "tells and answers",
        Box::new(|call, value| {
            let how = How::to(call.from());
            let told = call.app().emit("told", &value, how);
            Some(
                told.map(|_| value)
                    .map_err(|error| Fault::new(format!("{error:?}"))),
            )
        }),
    );
    app.ready();
}

/// Sends the reading end of a pipe along, with what was written into it.
fn open_a_pipe(call: &dyn switchboard_tests::Call, _: Value) -> switchboard_tests::Verdict {
    let (read, mut write) = std::io::pipe().expect("a pipe");
    write.write_all(b"from the worker").expect("there is room");
    call.attach(read.into());
    Some(Ok(text("here it is")))
}

/// Writes on the descriptor that came along.
fn write_hello(call: &dyn switchboard_tests::Call, _: Value) -> switchboard_tests::Verdict {
    let Some(descriptor) = call.take_fd() else {
        return Some(Err(Fault::new("no descriptor came")));
    };
    let mut socket = File::from(descriptor);
    Some(
        socket
            .write_all(b"hello")
            .map(|()| Value::Null)
            .map_err(Fault::from),
    )
}

/// Does as the hub tells it, in a namespace that the hub names: sends to the hub, asks it, counts
/// what came.
fn topic_client(app: &dyn App) {
    for topic in ["topic1", "topic2"] {
        let here = app.ns(topic).expect("a namespace");
        let received = Arc::new(Mutex::new(Vec::new()));
        let add = Arc::clone(&received);
        let add = answers(move |value| {
            add.lock().unwrap().push(value);
            Ok(Value::Null)
        });
        here.on("message", add).expect("a free name");
        let all = answers(move |_| Ok(Value::Array(received.lock().unwrap().clone())));
        here.on("received", all).expect("a free name");
        let send: Handle = Box::new(|call, value| {
            let sent = call.app().emit("message", &value, How::to(Hub));
            Some(
                sent.map(|_| Value::Null)
                    .map_err(|error| Fault::new(format!("{error:?}"))),
            )
        });
        here.on_waiting("do send", send).expect("a free name");
        let get: Handle = Box::new(|call, _| {
            let got = call.app().request("get", &Value::Null, How::to(Hub));
            Some(got.map_err(|error| Fault::new(format!("{error:?}"))))
        });
        here.on_waiting("do get", get).expect("a free name");
        here.ready();
    }
    app.ready();
}

/// Remembers every event of the name `item`, and tells on request.
fn log(app: &dyn App) {
    let items = Arc::new(Mutex::new(Vec::new()));
    let add = Arc::clone(&items);
    let add = answers(move |value| {
        add.lock().unwrap().push(value);
        Ok(Value::Null)
    });
    app.on("item", add).expect("a free name");
    let all = answers(move |_| Ok(Value::Array(items.lock().unwrap().clone())));
    app.on("items", all).expect("a free name");
    app.ready();
}

/// Never says that it is ready, and ends when it is told.
fn never_ready(app: &dyn App) {
    let end: Handle = Box::new(|_, _| std::process::exit(0));
    app.on("end", end).expect("a free name");
}

/// Is ready when it is told, and not before.
fn late(app: &dyn App) {
    app.on("write hello", Box::new(write_hello))
        .expect("a free name");
    app.on("echo", answers(Ok)).expect("a free name");
    let ready: Handle = Box::new(|call, _| {
        call.app().ready();
        Some(Ok(Value::Null))
    });
    app.on("be ready", ready).expect("a free name");
}

/// Tells everybody else when it is asked to, and counts what others told.
fn gossip(app: &dyn App) {
    let heard = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&heard);
    let hear = answers(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(Value::Null)
    });
    app.on("gossip", hear).expect("a free name");
    let heard = answers(move |_| Ok(int(heard.load(Ordering::Relaxed))));
    app.on("heard", heard).expect("a free name");
    let tell: Handle = Box::new(|call, value| {
        let told = call.app().emit("gossip", &value, How::to(Everyone));
        Some(
            told.map(|_| Value::Null)
                .map_err(|error| Fault::new(format!("{error:?}"))),
        )
    });
    app.on_waiting("tell", tell).expect("a free name");
    app.ready();
}

/// Asks its hub, and answers with what the hub said.
fn asks_hub(app: &dyn App) {
    let ask: Handle = Box::new(|call, value| {
        let got = call.app().request("work", &value, How::to(Hub));
        Some(got.map_err(|error| Fault::new(format!("{error:?}"))))
    });
    app.on_waiting("ask", ask).expect("a free name");
    let sum: Handle = Box::new(|call, value| {
        let got = call.app().request("sum", &value, How::to(Hub));
        Some(got.map_err(|error| Fault::new(format!("{error:?}"))))
    });
    app.on_waiting("ask sum", sum).expect("a free name");
    let who: Handle = Box::new(|call, _| {
        let ids = call.app().peers().into_iter().map(|peer| int(peer.id.0));
        Some(Ok(Value::Array(ids.collect())))
    });
    app.on("who", who).expect("a free name");
    // What its own node says to a name that cannot be one.
    let nameless: Handle = Box::new(|call, value| {
        let refused = call.app().request("", &value, How::to(Hub));
        Some(Ok(text(&format!(
            "{:?}",
            refused.map_err(|error| error.why().clone())
        ))))
    });
    app.on_waiting("ask without a name", nameless)
        .expect("a free name");
    app.ready();
}

/// Does with another peer, which the order names, what it is told.
fn go_between(app: &dyn App) {
    let tell = |error: Failure| Fault::new(format!("{error:?}"));
    let ask: Handle = Box::new(move |call, order| {
        let (name, what) = (words(&order, 0), words(&order, 1));
        let value = order.at(2).cloned().unwrap_or_default();
        Some(
            call.app()
                .request(&what, &value, How::to(&*name))
                .map_err(tell),
        )
    });
    app.on_waiting("ask", ask).expect("a free name");
    let tell_many: Handle = Box::new(move |call, order| {
        let name = words(&order, 0);
        let told = (0..at(&order, 1)).try_for_each(|number| {
            let told = call.app().emit("item", &int(number), How::to(&*name));
            told.map(drop)
        });
        Some(told.map(|()| Value::Null).map_err(tell))
    });
    app.on_waiting("tell many", tell_many).expect("a free name");
    let pass: Handle = Box::new(move |call, order| {
        let (name, address) = (words(&order, 0), words(&order, 1));
        let socket = TcpStream::connect(address).expect("the test listens");
        let how = How::to(&*name).attach(socket);
        Some(
            call.app()
                .request("write hello", &Value::Null, how)
                .map_err(tell),
        )
    });
    app.on_waiting("pass", pass).expect("a free name");
    app.ready();
}

/// Has children of its own, which it starts as it is told, and does all that a go-between does.
fn parent(app: &dyn App) {
    let children = Arc::new(Mutex::new(Vec::new()));
    let bear: Handle = Box::new(move |call, order| {
        let (transport, role, name) = (words(&order, 0), words(&order, 1), words(&order, 2));
        let transport = match &*transport {
            "pipes" => Transport::Pipes,
            _ => Transport::Socketpair,
        };
        let child = Worker::child_of(call.app(), transport, &role, &name);
        let pid = child.pid();
        children.lock().unwrap().push(child);
        Some(Ok(int(pid)))
    });
    app.on_waiting("bear", bear).expect("a free name");
    go_between(app);
}

/// Takes each value apart and tells of which type it is and how much there is of it.
fn strict(app: &dyn App) {
    let kind = answers(|value| {
        let (kind, size) = match &value {
            Value::Null => ("empty", 0),
            Value::Bool(_) => ("bool", 1),
            Value::Int(_) => ("int", 8),
            Value::Float(_) => ("double", 8),
            Value::Text(text) => ("string", text.len()),
            Value::Bytes(bytes) => ("bytes", bytes.len()),
            Value::Array(items) => ("array", items.len()),
            Value::Map(entries) => ("object", entries.len()),
        };
        Ok(map([
            ("kind", text(kind)),
            ("size", int(size as u32)),
            ("value", value),
        ]))
    });
    app.on("kind", kind).expect("a free name");
    app.ready();
}

fn words(value: &Value, index: usize) -> String {
    let item = value.at(index).and_then(Value::as_str);
    item.expect("words were sent").to_owned()
}

fn at(value: &Value, index: usize) -> i64 {
    let item = value.at(index).and_then(Value::as_i64);
    item.expect("numbers were sent")
}
