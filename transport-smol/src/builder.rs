//! Everything that a peer is told before it begins.

use std::fmt;
use std::sync::Arc;

use switchboard_os::app::{JoinError, Place, Setup};
use switchboard_os::engine::{Engine, Side};
use switchboard_os::process::parent_link;
use switchboard_os::{Address, AddressError, Stream, ToAddress, setup_words};
use switchboard_proto::codec::{Decode, Encode};
use switchboard_proto::name::HandlerName;
use switchboard_proto::registry::Roles;
use switchboard_proto::{Names, Role};

use crate::driver::Driver;
use crate::handler::{Handler, erase};
use crate::peer::Peer;
use crate::service::{Callee, Run, Service};
use crate::shared::Shared;

/// A peer that has not begun. With handlers of its own ([`Builder::on`]) it is ready from its first
/// moment: nobody is refused for coming early, and a name that it does not have is refused at once.
#[must_use = "a builder does nothing until it is joined, listened, opened or split"]
pub struct Builder {
    begin: Begin,
    setup: Setup,
    namespace: String,
    list: Vec<Listed>,
}

enum Begin {
    At {
        address: Result<Address, AddressError>,
        hub: bool,
    },
    /// The hub is at the other end.
    Over(Stream),
    Alone,
}

struct Listed {
    namespace: String,
    name: String,
    roles: Roles,
    run: Run,
}

/// A peer at this address; its last call says whether it joins the hub there or is the hub.
pub fn builder(address: impl ToAddress) -> Builder {
    Builder::new(Begin::At {
        address: address.to_address(),
        hub: false,
    })
}

impl Builder {
    /// A hub without an address, for peers over connections that are [adopted](Peer::adopt), such
    /// as child processes.
    pub fn alone() -> Self {
        Self::new(Begin::Alone)
    }

    /// A member whose hub is at the other end of a connection that is there already, such as a
    /// child of its parent.
    pub fn over(stream: Stream) -> Self {
        Self::new(Begin::Over(stream))
    }

    /// A member whose hub is the parent process that started this one, over the channel that it
    /// left, and under the name that it gives. What happens to stdin and stdout where they are the
    /// channel is said at [`parent_link`].
    ///
    /// # Errors
    ///
    /// [`JoinError::Parent`]: the program was not started by such a parent.
    pub fn parent() -> Result<Self, JoinError> {
        let link = parent_link()?;
        let mut builder = Self::over(link.stream);
        builder.setup.config.name = link.name;
        Ok(builder)
    }

    setup_words!();

    /// The handlers after this are of another namespace.
    pub fn ns(mut self, name: impl Into<String>) -> Self {
        self.namespace = name.into();
        self
    }

    /// Adds a handler; see [`Peer::on`].
    pub fn on<M, R, S>(
        mut self,
        name: impl HandlerName<M, R>,
        handler: impl Handler<M, R, S>,
    ) -> Self
    where
        M: Decode + Send + 'static,
        R: Encode + Send + 'static,
        S: 'static,
    {
        self.list.push(Listed {
            namespace: self.namespace.clone(),
            name: name.as_name().to_owned(),
            roles: name.roles(),
            run: Run::Handler(erase(handler)),
        });
        self
    }

    /// Makes this peer the hub, which listens at the address, in [`Builder::split`] too.
    pub fn hub(mut self) -> Self {
        if let Begin::At { hub, .. } = &mut self.begin {
            *hub = true;
        }
        self
    }

    /// Begins, with the driver on smol's global executor, and waits until the peer is attached. A
    /// hub that is not there yet is waited for, by the rules of `Config::reconnect`.
    ///
    /// Cancel-safe: dropping the future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// The address, the configuration or a handler is not possible, or the hub refuses this peer.
    #[cfg(feature = "smol")]
    pub async fn join(self) -> Result<Peer, JoinError> {
        let peer = self.open()?;
        peer.connected().await?;
        Ok(peer)
    }

    /// Begins as the hub at the address, with the driver on smol's global executor.
    ///
    /// Cancel-safe: dropping the future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// As [`Builder::join`], or the address cannot be listened at.
    #[cfg(feature = "smol")]
    pub async fn listen(self) -> Result<Peer, JoinError> {
        self.hub().join().await
    }

    /// As [`Builder::join`], without waiting: not yet connected. What is sent before is queued.
    ///
    /// # Errors
    ///
    /// The address, the configuration or a handler is not possible.
    #[cfg(feature = "smol")]
    pub fn open(self) -> Result<Peer, JoinError> {
        let (peer, driver) = self.begin()?;
        smol::spawn(driver).detach();
        Ok(peer)
    }

    /// Begins, and gives the driver to the caller; nothing is spawned. The peer is not connected
    /// before the driver has been polled.
    ///
    /// Cancel-safe: dropping the future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// As [`Builder::join`], as far as it is known without waiting.
    pub async fn split(self) -> Result<(Peer, Driver), JoinError> {
        self.begin()
    }

    fn new(begin: Begin) -> Self {
        Self {
            begin,
            setup: Setup::default(),
            namespace: String::from("_"),
            list: Vec::new(),
        }
    }

    fn begin(mut self) -> Result<(Peer, Driver), JoinError> {
        self.setup.check_name()?;
        self.setup.config.role = match self.begin {
            Begin::At { hub: true, .. } | Begin::Alone => Role::Hub,
            Begin::At { .. } | Begin::Over(_) => Role::Member,
        };
        let mut engine = Engine::new(self.setup.config)?;
        let mut service = Service::default();
        let now = engine.now();
        let default: Arc<str> = Arc::from("_");
        let namespace = engine.node().open(now, &default)?;
        service.opened(namespace, &default, Names::default());
        let is_ready = !self.list.is_empty();
        for listed in self.list {
            enlist(&mut engine, &mut service, listed)?;
        }
        if is_ready {
            engine.node().ready_all(now);
        }
        let mut listens = None;
        match self.begin {
            Begin::At { address, hub: true } => listens = Some(engine.listen(&address?)?),
            Begin::At { address, .. } => engine.join(address?)?,
            Begin::Over(stream) => {
                engine.adopt(stream, Side::Parent);
            }
            Begin::Alone => {}
        }
        let handle = Shared::begin(engine, self.setup.codecs, service, listens);
        let driver = Driver::new(Arc::clone(&handle.shared), self.setup.handlers);
        Ok((Peer::of(handle, namespace, default), driver))
    }
}

fn enlist(engine: &mut Engine, service: &mut Service, listed: Listed) -> Result<(), JoinError> {
    let Listed {
        namespace,
        name,
        roles,
        run,
    } = listed;
    let now = engine.now();
    let id = engine.node().open(now, &namespace)?;
    service.opened(id, &Arc::from(namespace), Names::default());
    let place = Place {
        namespace: id,
        name: &name,
        roles,
        replace: false,
    };
    service.register(engine, place, Callee::new(run, false))?;
    Ok(())
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.setup.name)
            .field("handlers", &self.list.len())
            .finish_non_exhaustive()
    }
}
