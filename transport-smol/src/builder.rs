//! Everything that a peer is told before it begins.

use std::fmt;
use std::sync::Arc;

use switchboard_os::engine::{Engine, Side};
use switchboard_os::process::parent_link;
use switchboard_os::{Address, AddressError, Stream};
use switchboard_proto::codec::{Codec, CodecTable, Decode, Encode, RegisterError as CodecExists};
use switchboard_proto::{Config, PeerName, Role};

use crate::driver::Driver;
use crate::error::JoinError;
use crate::handler::{Handler, HandlerName, erase};
use crate::peer::{Peer, roles_of};
use crate::service::{Entry, Requests, Roles, Run, Service};
use crate::shared::Shared;

/// How many handlers of one peer run at the same time.
const HANDLERS: usize = 64;

/// A peer that has not begun. With handlers of its own ([`Builder::on`]) it is ready from its first
/// moment: nobody is refused for coming early, and a name that it does not have is refused at once.
#[must_use = "a builder does nothing until it is joined, listened, opened or split"]
pub struct Builder {
    begin: Begin,
    name: Option<String>,
    config: Config,
    codecs: CodecTable,
    handlers: usize,
    namespace: String,
    list: Vec<Listed>,
}

enum Begin {
    At {
        address: Result<Address, AddressError>,
        hub: bool,
    },
    With(Stream, Side),
}

struct Listed {
    namespace: String,
    name: String,
    roles: Roles,
    entry: Entry,
}

/// What can be an address: an [`Address`], or a string such as `unix:/run/user/1000/app.sock` or
/// `tcp://127.0.0.1:7000`.
pub trait ToAddress {
    /// The address.
    ///
    /// # Errors
    ///
    /// The string is none.
    fn to_address(&self) -> Result<Address, AddressError>;
}

/// A peer at this address; its last call says whether it joins the hub there or is the hub.
pub fn builder(address: impl ToAddress) -> Builder {
    Builder::new(Begin::At {
        address: address.to_address(),
        hub: false,
    })
}

impl Builder {
    /// A peer over a connection that is there already, such as one that a parent has left to its
    /// child: [`Side::Parent`] if the other end is the hub, [`Side::Child`] if this one is.
    pub fn adopting(stream: Stream, side: Side) -> Self {
        Self::new(Begin::With(stream, side))
    }

    /// A peer over the channel that the parent process has left to this one, under the name that the
    /// parent gives. What happens to stdin and stdout where they are the channel is said at
    /// [`parent_link`].
    ///
    /// # Errors
    ///
    /// [`JoinError::Parent`]: the program was not started by such a parent.
    pub fn of_parent() -> Result<Self, JoinError> {
        let link = parent_link()?;
        let mut builder = Self::adopting(link.stream, Side::Parent);
        builder.config.name = link.name;
        Ok(builder)
    }

    /// The name under which the peer wants to be known, and found again after a restart: 1 to 64
    /// bytes without NUL and `#`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Changes limits and intervals; each field of [`Config`] says its default and why.
    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// How many handlers run at the same time; at least 1. Default 64. What comes beyond waits in
    /// the receive budget, and its senders with it.
    pub fn handlers(mut self, most: usize) -> Self {
        self.handlers = most.max(1);
        self
    }

    /// Adds a codec of the application's own, for reading what is written in it.
    ///
    /// # Errors
    ///
    /// Its id is reserved or taken; it comes back.
    pub fn codec(mut self, codec: Arc<dyn Codec>) -> Result<Self, CodecExists> {
        self.codecs.register(codec)?;
        Ok(self)
    }

    /// Says which codec is used for what; see [`CodecTable`].
    pub fn codecs(mut self, change: impl FnOnce(&mut CodecTable)) -> Self {
        change(&mut self.codecs);
        self
    }

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
            roles: roles_of(&name, Requests::IfFree),
            entry: Entry::new(Run::Handler(erase(handler)), false, false),
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
            name: None,
            config: Config::default(),
            codecs: CodecTable::new(),
            handlers: HANDLERS,
            namespace: String::from("_"),
            list: Vec::new(),
        }
    }

    fn begin(mut self) -> Result<(Peer, Driver), JoinError> {
        if let Some(name) = self.name {
            self.config.name = Some(PeerName::new(&name).ok_or(JoinError::Name(name))?);
        }
        let is_hub = matches!(
            self.begin,
            Begin::At { hub: true, .. } | Begin::With(_, Side::Child)
        );
        if is_hub {
            self.config.role = Role::Hub;
        }
        let mut engine = Engine::new(self.config)?;
        let mut service = Service::default();
        let now = engine.now();
        let default: Arc<str> = Arc::from("_");
        let namespace = engine.node().open(now, &default)?;
        service.opened(namespace, &default);
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
            Begin::At { address, .. } => engine.join(address?),
            Begin::With(stream, side) => {
                engine.adopt(stream, side);
            }
        }
        let handle = Shared::begin(engine, self.codecs, service, listens);
        let driver = Driver::new(Arc::clone(&handle.shared), self.handlers);
        Ok((Peer::of(handle, namespace, default), driver))
    }
}

fn enlist(engine: &mut Engine, service: &mut Service, listed: Listed) -> Result<(), JoinError> {
    let Listed {
        namespace,
        name,
        roles,
        entry,
    } = listed;
    let now = engine.now();
    let id = engine.node().open(now, &namespace)?;
    service.opened(id, &Arc::from(namespace));
    let (registered, _) = service.register(engine, id, &name, &entry, roles);
    registered?;
    Ok(())
}

macro_rules! text_is_an_address {
    ($($text:ty),*) => {$(
        impl ToAddress for $text {
            fn to_address(&self) -> Result<Address, AddressError> {
                self.parse()
            }
        }
    )*};
}

text_is_an_address!(&str, String, &String);

impl ToAddress for Address {
    fn to_address(&self) -> Result<Address, AddressError> {
        Ok(self.clone())
    }
}

impl ToAddress for &Address {
    fn to_address(&self) -> Result<Address, AddressError> {
        Ok((*self).clone())
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("handlers", &self.list.len())
            .finish_non_exhaustive()
    }
}
