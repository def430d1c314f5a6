//! A hub, members that joined it, and children of these members: every process is a peer of every
//! other, over whatever lies between.

use std::io::Read;
use std::net::TcpListener;

use switchboard_proto::codec::Value;
use switchboard_proto::outgoing::Everyone;
use switchboard_tests::{Driver, Failure, How, Setting, Transport, Worker, World, int, text};

/// How the parent reaches the hub, and the child its parent.
const WAYS: [(Transport, Transport); 6] = {
    use Transport::{Pipes, Socketpair, Tcp, Unix};
    [
        (Unix, Socketpair),
        (Unix, Pipes),
        (Tcp, Socketpair),
        (Socketpair, Socketpair),
        (Pipes, Socketpair),
        (Socketpair, Pipes),
    ]
};

/// A hub with a member `parent` and its child `child`, which are told what to do, and a `sibling`
/// of the parent.
struct Family {
    world: World,
    ways: (Transport, Transport),
    parent: Worker,
    _sibling: Worker,
}

impl Family {
    fn new(driver: Driver, above: Transport, below: Transport) -> Self {
        println!("{driver:?}: {above:?}, and {below:?} to the child");
        let world = World::new(Setting {
            hub: driver,
            worker: driver,
            transport: above,
        });
        let parent = world.fork_up("parent", "parent");
        let sibling = world.fork_up("echo", "sibling");
        let family = Self {
            world,
            ways: (above, below),
            parent,
            _sibling: sibling,
        };
        family.bear("go-between", "child");
        family
    }

    /// Has the parent start a child. Its process id.
    fn bear(&self, role: &str, name: &str) -> Value {
        let way = match self.ways.1 {
            Transport::Pipes => "pipes",
            _ => "socketpair",
        };
        let order = Value::Array(vec![text(way), text(role), text(name)]);
        let pid = self.request("parent", "bear", order).unwrap();
        self.world.wait_ready(name);
        pid
    }

    fn request(&self, to: &str, what: &str, value: Value) -> Result<Value, Failure> {
        self.world.hub().request(what, &value, How::to(to))
    }

    /// Has one member do something with another.
    fn order(
        &self,
        who: &str,
        what: &str,
        with: &str,
        words: Vec<Value>,
    ) -> Result<Value, Failure> {
        let order = Value::Array([vec![text(with)], words].concat());
        self.request(who, what, order)
    }
}

fn over_all_ways(scenario: impl Fn(&Family)) {
    for driver in [Driver::Poll, Driver::Blocking, Driver::Smol] {
        for (above, below) in WAYS {
            scenario(&Family::new(driver, above, below));
        }
    }
}

#[test]
fn a_child_of_a_member_calls_everybody_and_is_called_by_everybody() {
    over_all_ways(|family| {
        let large = Value::Bytes(vec![5; 1 << 18]);
        for value in [text("small"), large] {
            // The child asks the hub's member and its own parent, and these ask the child.
            let asked = family.order("child", "ask", "sibling", vec![text("echo"), value.clone()]);
            assert!(asked.unwrap() == value, "it came back changed");
        }
        family.bear("echo", "second");
        for (who, with) in [("parent", "second"), ("child", "second")] {
            let asked = family.order(who, "ask", with, vec![text("echo"), int(7)]);
            assert_eq!(asked.unwrap(), int(7), "{who} asked {with}");
        }
        assert_eq!(family.request("second", "echo", int(9)).unwrap(), int(9));
    });
}

#[test]
fn events_to_everybody_reach_the_children_of_members_and_keep_their_order() {
    const COUNT: i64 = 200;
    over_all_ways(|family| {
        family.bear("log", "log");
        for number in 0..COUNT {
            let how = How::to(Everyone);
            family.world.hub().emit("item", &int(number), how).unwrap();
        }
        // Behind them, from the same sender.
        let items = family.request("log", "items", Value::Null).unwrap();
        assert_eq!(items, Value::Array((0..COUNT).map(int).collect()));
        family
            .order("child", "tell many", "log", vec![int(COUNT)])
            .unwrap();
        let order = vec![text("items")];
        let Value::Array(items) = family.order("child", "ask", "log", order).unwrap() else {
            panic!("a log is a list");
        };
        assert_eq!(
            items[COUNT as usize..],
            (0..COUNT).map(int).collect::<Vec<_>>()
        );
    });
}

#[test]
fn the_death_of_a_child_is_seen_by_all_and_ends_what_they_have_asked_it() {
    over_all_ways(|family| {
        family.bear("echo", "mortal");
        let died = family.order("child", "ask", "mortal", vec![text("exits")]);
        let fault = died.unwrap_err().fault();
        assert!(fault.message.contains("Unknown(PeerGone)"), "{fault}");
        family.world.wait_gone("mortal");
        // Its name is free again.
        family.bear("echo", "mortal");
        assert_eq!(family.request("mortal", "echo", int(1)).unwrap(), int(1));
    });
}

#[test]
fn a_killed_parent_takes_its_children_out_of_the_application() {
    over_all_ways(|family| {
        family.parent.kill();
        family.world.wait_gone("parent");
        family.world.wait_gone("child");
    });
}

#[test]
fn a_parent_and_its_child_find_the_next_hub_with_the_same_names() {
    for driver in [Driver::Poll, Driver::Blocking, Driver::Smol] {
        for below in [Transport::Socketpair, Transport::Pipes] {
            let mut family = Family::new(driver, Transport::Unix, below);
            family.world.replace_hub();
            for name in ["parent", "sibling", "child"] {
                family.world.wait_ready(name);
            }
            let asked = family.order("child", "ask", "sibling", vec![text("echo"), int(3)]);
            assert_eq!(asked.unwrap(), int(3));
            let asked = family.order("parent", "ask", "child", vec![text("absent")]);
            let fault = asked.unwrap_err().fault();
            assert!(fault.message.contains("NoHandler"), "{fault}");
        }
    }
}

#[test]
fn a_descriptor_passes_to_a_child_where_every_link_on_the_way_carries_it() {
    over_all_ways(|family| {
        family.bear("echo", "second");
        let (above, below) = family.ways;
        // Between the children of one parent only their own links count.
        let near = below.carries_attachments();
        let far = near && above.carries_attachments();
        for (with, passes) in [("second", near), ("sibling", far)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let passed = family.order("child", "pass", with, vec![text(&address)]);
            if passes {
                passed.unwrap();
                let mut socket = listener.accept().unwrap().0;
                let mut written = String::new();
                socket.read_to_string(&mut written).unwrap();
                assert_eq!(written, "hello", "{with}");
            } else {
                let refused = passed.unwrap_err().fault();
                assert!(
                    refused.message.contains("AttachmentsUnsupported"),
                    "{refused}"
                );
            }
        }
    });
}
