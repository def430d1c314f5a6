//! Worlds of real processes: a hub in the test's own, and workers that are the test program again.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use switchboard_os::Stream;
use switchboard_os::engine::Side;
use switchboard_os::process::{
    Channel, ChannelEnd, Child, ENV_NAME, Exit, Signal, SpawnSpec, Stderr, parent_link,
};
use switchboard_proto::{Config, Peer};

use crate::app::{App, Driver, Way};
use crate::relay;

/// The variable that makes a test program a worker.
pub const ROLE: &str = "SWITCHBOARD_TEST_ROLE";
const DRIVER: &str = "SWITCHBOARD_TEST_DRIVER";
const ADDRESS: &str = "SWITCHBOARD_TEST_ADDRESS";
const NAME: &str = "SWITCHBOARD_TEST_NAME";

/// How workers reach their hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A unix socket at a path.
    Unix,
    /// TCP on the loopback.
    Tcp,
    /// The socketpair that a child is given.
    Socketpair,
    /// The stdin and stdout of a child.
    Pipes,
}

impl Transport {
    /// Whether descriptors can pass.
    pub fn carries_attachments(self) -> bool {
        matches!(self, Self::Unix | Self::Socketpair)
    }

    fn is_child(self) -> bool {
        matches!(self, Self::Socketpair | Self::Pipes)
    }
}

/// What a scenario runs over.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The driver of the hub.
    pub hub: Driver,
    /// The driver of the workers.
    pub worker: Driver,
    /// What lies between them.
    pub transport: Transport,
}

/// A hub and what it takes to start workers.
#[derive(Debug)]
pub struct World {
    /// What it runs over.
    pub setting: Setting,
    /// There but while it is replaced.
    hub: Option<Box<dyn App>>,
    config: Config,
    address: String,
    _folder: tempfile::TempDir,
}

/// A process that plays a part. It is killed when this is dropped.
#[derive(Debug)]
pub struct Worker {
    name: String,
    process: Child,
    /// Of a worker that joins by address; its end would be told to nobody.
    _channel: Option<ChannelEnd>,
}

/// The configuration of the hubs of all tests: nobody is awaited from an earlier life, and who is
/// lost on a network link is not awaited for seconds.
pub fn hub_config() -> Config {
    let mut config = Config::default();
    config.complete_grace = Duration::ZERO;
    config.detach_grace = Duration::from_millis(300);
    config
}

impl World {
    /// A hub that is not ready yet: register its handlers and say so.
    pub fn new(setting: Setting) -> Self {
        Self::with(setting, hub_config())
    }

    /// As [`World::new`], with a configuration of its own.
    pub fn with(setting: Setting, config: Config) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let address = match setting.transport {
            Transport::Tcp => String::from("tcp://127.0.0.1:0"),
            _ => format!("unix:{}", folder.path().join("hub").display()),
        };
        let (hub, address) = setting.hub.listen(&address, config.clone());
        Self {
            setting,
            hub: Some(hub),
            config,
            address,
            _folder: folder,
        }
    }

    /// The hub.
    pub fn hub(&self) -> &dyn App {
        self.hub
            .as_deref()
            .expect("it is only away while it is replaced")
    }

    /// The hub ends without a word, and another takes its address.
    pub fn replace_hub(&mut self) {
        self.hub = None;
        let config = self.config.clone();
        let (hub, _) = self.setting.hub.listen(&self.address, config);
        self.hub = Some(hub);
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Starts a worker, which may attach at any time from now on.
    pub fn fork(&self, role: &str, name: &str) -> Worker {
        self.fork_over(self.setting.transport, role, name)
    }

    /// As [`World::fork`], over another transport than the others. A hub listens in one way, so of
    /// unix sockets and TCP it must be the world's own.
    pub fn fork_over(&self, transport: Transport, role: &str, name: &str) -> Worker {
        assert!(
            transport.is_child() || transport == self.setting.transport,
            "the hub does not listen over {transport:?}"
        );
        self.start(transport, role, name, &self.address, stream_of)
    }

    /// Waits until the hub knows that a worker is ready.
    pub fn wait_ready(&self, name: &str) {
        self.hub().until(&format!("{name} being ready"), &mut || {
            let found = self.find(name);
            // The default namespace has no name on the wire.
            found.is_some_and(|peer| peer.is_up && !peer.is_pending(""))
        });
    }

    /// As [`World::fork`], with a relay on the way that passes the bytes on in pieces of this size.
    pub fn fork_behind_relay(&self, role: &str, name: &str, piece: usize) -> Worker {
        let transport = self.setting.transport;
        if transport.is_child() {
            return self.start(transport, role, name, &self.address, |stream| {
                relay::of_channel(stream, piece)
            });
        }
        let address = relay::of_address(&self.address, piece);
        self.start(transport, role, name, &address, stream_of)
    }

    /// Starts a worker, and waits until the hub knows that it is ready.
    pub fn fork_up(&self, role: &str, name: &str) -> Worker {
        let worker = self.fork(role, name);
        self.wait_ready(name);
        worker
    }

    /// Starts a worker, and waits until the hub knows it, ready or not.
    pub fn fork_attached(&self, role: &str, name: &str) -> Worker {
        let worker = self.fork(role, name);
        self.wait_up(name);
        worker
    }

    /// Waits until a peer with this name is there, with what it has declared.
    pub fn wait_up(&self, name: &str) -> Peer {
        let mut found = None;
        self.hub().until(&format!("{name} coming up"), &mut || {
            found = self.find(name).filter(|peer| peer.is_up);
            found.is_some()
        });
        found.expect("it was waited for")
    }

    /// Waits until no peer has this name.
    pub fn wait_gone(&self, name: &str) {
        let what = format!("the end of {name}");
        self.hub().until(&what, &mut || self.find(name).is_none());
    }

    /// Who has this name.
    pub fn find(&self, name: &str) -> Option<Peer> {
        let has_name = |peer: &Peer| peer.name.as_ref().is_some_and(|own| own.as_str() == name);
        self.hub().peers().into_iter().find(has_name)
    }

    fn start(
        &self,
        transport: Transport,
        role: &str,
        name: &str,
        address: &str,
        way: impl FnOnce(ChannelEnd) -> Stream,
    ) -> Worker {
        let mut spec = spec(transport, self.setting.worker.as_str(), role, name);
        if !transport.is_child() {
            spec = spec.env(ADDRESS, address);
        }
        let mut process = spec.spawn().expect("this program starts again");
        let mut channel = process.take_channel();
        if transport.is_child() {
            let end = channel.take().expect("it is there until it is taken");
            self.hub().adopt(way(end), Side::Child);
        }
        Worker {
            name: name.to_owned(),
            process,
            _channel: channel,
        }
    }
}

/// How this program is started again in a role.
fn spec(transport: Transport, driver: &str, role: &str, name: &str) -> SpawnSpec {
    let program = std::env::current_exe().expect("this program");
    let spec = SpawnSpec::new(program)
        .env(ROLE, role)
        .env(DRIVER, driver)
        .env(NAME, name)
        .env(ENV_NAME, name)
        // Handlers that panic are part of the play; where they do is known.
        .env("RUST_BACKTRACE", "0")
        .stderr(Stderr::Inherit);
    match transport {
        Transport::Pipes => spec.channel(Channel::Pipes),
        _ => spec,
    }
}

/// A stream over the parent's end of a channel.
pub(crate) fn stream_of(end: ChannelEnd) -> Stream {
    end.into_stream().expect("a channel as it was made")
}

impl Worker {
    /// Starts a child of a worker, over pipes or a socketpair, as a peer of the same application.
    pub fn child_of(app: &dyn App, transport: Transport, role: &str, name: &str) -> Self {
        let driver = std::env::var(DRIVER).expect("a worker is told this");
        let spec = spec(transport, &driver, role, name).env_remove(ADDRESS);
        let mut process = spec.spawn().expect("this program starts again");
        let end = process.take_channel();
        app.adopt(stream_of(end.expect("a new child has one")), Side::Child);
        Self {
            name: name.to_owned(),
            process,
            _channel: None,
        }
    }

    /// Its name as a peer.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends it with SIGKILL.
    pub fn kill(&self) {
        self.process.signal(Signal::Kill).expect("it is ours");
    }

    /// How it has ended.
    pub fn exit(&mut self, hub: &dyn App) -> Exit {
        let mut exit = None;
        hub.until("the exit of a worker", &mut || {
            exit = self.process.try_reap();
            exit.is_some()
        });
        exit.expect("it was waited for")
    }
}

/// Plays a part if this process was started for one, and then does not return.
pub fn enter_role(play: fn(&str, &dyn App)) {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let variable = |name| std::env::var(name).expect("a worker is told this");
    let driver = Driver::of(&variable(DRIVER)).expect("a driver's name");
    let way = match std::env::var(ADDRESS) {
        Ok(address) => Way::Address(address),
        Err(_) => Way::Over(parent_link().expect("a worker has a parent").stream),
    };
    let app = driver.join(way, Some(&variable(NAME)), Config::default());
    play(&role, &*app);
    app.serve()
}

/// A pair of connected unix sockets.
pub(crate) fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().expect("two sockets")
}
