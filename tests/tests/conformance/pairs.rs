//! Two workers that reach their hub over different transports, and talk to each other.

use std::io::Read;
use std::net::TcpListener;

use switchboard_proto::codec::Value;
use switchboard_tests::{Driver, Failure, How, Setting, Transport, Worker, World, int, text};

/// Every pair that one hub can have.
const PAIRS: [(Transport, Transport); 12] = {
    use Transport::{Pipes, Socketpair, Tcp, Unix};
    [
        (Unix, Unix),
        (Unix, Socketpair),
        (Unix, Pipes),
        (Socketpair, Unix),
        (Pipes, Unix),
        (Socketpair, Socketpair),
        (Socketpair, Pipes),
        (Pipes, Socketpair),
        (Pipes, Pipes),
        (Tcp, Tcp),
        (Tcp, Socketpair),
        (Pipes, Tcp),
    ]
};

/// Runs a scenario for every pair under every driver.
fn over_all_pairs(scenario: impl Fn(&Pair)) {
    for driver in [Driver::Poll, Driver::Blocking, Driver::Smol] {
        for (one, two) in PAIRS {
            println!("{driver:?}: {one:?} and {two:?}");
            scenario(&Pair::new(driver, one, two));
        }
    }
}

/// Two workers: `one`, which does what it is told, and `two`, which it is to do it with.
struct Pair {
    world: World,
    transports: (Transport, Transport),
    _workers: [Worker; 2],
}

impl Pair {
    fn new(driver: Driver, one: Transport, two: Transport) -> Self {
        let listens = |transport| matches!(transport, Transport::Unix | Transport::Tcp);
        let transport = [one, two].into_iter().find(|one| listens(*one));
        let world = World::new(Setting {
            hub: driver,
            worker: driver,
            transport: transport.unwrap_or(one),
        });
        let workers = [
            world.fork_over(one, "go-between", "one"),
            world.fork_over(two, "echo", "two"),
        ];
        world.wait_ready("one");
        world.wait_ready("two");
        Self {
            world,
            transports: (one, two),
            _workers: workers,
        }
    }

    /// Lets one do something with two.
    fn order(&self, what: &str, words: Vec<Value>) -> Result<Value, Failure> {
        let order = [vec![text("two")], words].concat();
        self.world
            .hub()
            .request(what, &Value::Array(order), How::to("one"))
    }
}

#[test]
fn a_request_between_two_workers_is_answered() {
    over_all_pairs(|pair| {
        let small = text("small");
        let large = Value::Bytes(vec![5; 1 << 18]);
        for value in [small, large] {
            let reply = pair.order("ask", vec![text("echo"), value.clone()]);
            assert!(reply.unwrap() == value, "it came back changed");
        }
    });
}

#[test]
fn events_between_two_workers_arrive_in_order() {
    const COUNT: i64 = 500;
    over_all_pairs(|pair| {
        let world = &pair.world;
        let _log = world.fork_over(pair.transports.1, "log", "log");
        world.wait_ready("log");
        let order = Value::Array(vec![text("log"), int(COUNT)]);
        world
            .hub()
            .request("tell many", &order, How::to("one"))
            .unwrap();
        // Behind them, from the same sender.
        let order = Value::Array(vec![text("log"), text("items")]);
        let items = world.hub().request("ask", &order, How::to("one")).unwrap();
        assert_eq!(items, Value::Array((0..COUNT).map(int).collect()));
    });
}

#[test]
fn the_death_of_one_worker_ends_what_the_other_has_asked_it() {
    over_all_pairs(|pair| {
        let died = pair.order("ask", vec![text("exits")]).unwrap_err().fault();
        assert!(died.message.contains("Unknown(PeerGone)"), "{died}");
    });
}

#[test]
fn a_descriptor_passes_between_two_workers_where_both_ways_carry_it() {
    over_all_pairs(|pair| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let passed = pair.order("pass", vec![text(&address)]);
        let (one, two) = pair.transports;
        if one.carries_attachments() && two.carries_attachments() {
            passed.unwrap();
            let mut socket = listener.accept().unwrap().0;
            let mut written = String::new();
            socket.read_to_string(&mut written).unwrap();
            assert_eq!(written, "hello");
        } else {
            let refused = passed.unwrap_err().fault();
            assert!(
                refused.message.contains("AttachmentsUnsupported"),
                "{refused}"
            );
        }
    });
}
