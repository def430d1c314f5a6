//! Where a hub listens: `unix:/path` or `tcp://host:port`.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A fixed address, as `listen` and `join` take it.
///
/// ```
/// use switchboard_os::Address;
///
/// let local: Address = "unix:/run/user/1000/app.sock".parse()?;
/// let tcp: Address = "tcp://127.0.0.1:7000".parse()?;
/// assert_eq!(tcp.to_string(), "tcp://127.0.0.1:7000");
/// assert!("unix:app.sock".parse::<Address>().is_err()); // relative
/// # Ok::<(), switchboard_os::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A Unix-domain socket by its path.
    Unix(UnixPath),
    /// A TCP port. Plain TCP stays on loopback unless [`Address::allow_remote`] was called.
    Tcp(TcpHost),
}

/// An absolute path that fits a socket address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnixPath(PathBuf);

/// Host and port of a TCP address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TcpHost {
    host: String,
    port: u16,
    remote: bool,
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

/// An address that cannot be used, and what to write instead.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Neither `unix:` nor `tcp://`.
    #[error("{0:?} is no address: write unix:/absolute/path or tcp://host:port")]
    UnknownScheme(String),
    /// `unix:` with nothing behind it.
    #[error("the path is empty: write unix:/absolute/path")]
    EmptyPath,
    /// A relative path would mean another place after the first `chdir`.
    #[error(
        "{0:?} is relative, and would mean another place in every directory: write \
         unix:/absolute/path"
    )]
    RelativePath(PathBuf),
    /// A path that ends in no file name, such as `/` or `/run/..`.
    #[error("{0:?} names no file: a socket needs a name of its own in a directory")]
    NoFileName(PathBuf),
    /// The path does not fit `sun_path`.
    #[error(
        "the path is {length} bytes long and the kernel's limit for a socket is {}: use a shorter \
         directory",
        UnixPath::MAX
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// A NUL byte in a path or host would cut the name short.
    #[error("the address contains a NUL byte, where the kernel would cut it off: remove it")]
    Nul,
    /// `tcp://` with no host, or one that cannot be a host.
    #[error("{0:?} is no host: write tcp://host:port, an IPv6 address in brackets")]
    BadHost(String),
    /// No `:port`.
    #[error("{0:?} has no port: write tcp://host:port")]
    MissingPort(String),
    /// The port is not a number from 0 to 65535.
    #[error("{0:?} is no port: write a number from 0 to 65535 (0 only to listen on any free one)")]
    BadPort(String),
    /// The name of the host was not found.
    #[error("{host} was not found ({source}): check the name, or write the IP address")]
    Unresolvable {
        /// The host as written.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Plain TCP to or from another machine, without having been asked for.
    #[error(
        "{} not loopback; plain TCP is readable by everyone on the way: use 127.0.0.1 or [::1], or \
         ask for it with Address::allow_remote",
        is(host, *ip)
    )]
    NotLoopback {
        /// The host as written.
        host: String,
        /// The first address of it that is not loopback.
        ip: IpAddr,
    },
}

fn is(host: &str, ip: IpAddr) -> String {
    match host.parse() == Ok(ip) {
        true => format!("{host} is"),
        false => format!("{host} is {ip}, which is"),
    }
}

impl Address {
    /// The address of a Unix-domain socket.
    ///
    /// # Errors
    ///
    /// The path must be absolute, end in a file name, hold no NUL and fit [`UnixPath::MAX`].
    pub fn unix(path: impl Into<PathBuf>) -> Result<Self, AddressError> {
        UnixPath::new(path.into()).map(Self::Unix)
    }

    /// The address of a TCP port: a name, an IPv4 address, or an IPv6 address without brackets.
    /// Nothing is looked up until [`Address::resolve`].
    ///
    /// # Errors
    ///
    /// [`AddressError::BadHost`] when the host is empty or contains what no host can.
    pub fn tcp(host: impl Into<String>, port: u16) -> Result<Self, AddressError> {
        TcpHost::new(host.into(), port).map(Self::Tcp)
    }

    /// Permits a TCP address that is not loopback. No effect on a Unix-domain address.
    #[must_use]
    pub fn allow_remote(mut self) -> Self {
        if let Self::Tcp(tcp) = &mut self {
            tcp.remote = true;
        }
        self
    }

    /// The socket addresses of a TCP address, in the order to try them; none for a Unix-domain one.
    ///
    /// IP addresses and `localhost` are answered at once. **Any other name blocks** in the system's
    /// resolver, for seconds when the network is down: inside an event loop use IP addresses, or
    /// call this on a thread of its own.
    ///
    /// # Errors
    ///
    /// [`AddressError::Unresolvable`], and [`AddressError::NotLoopback`] unless
    /// [`Address::allow_remote`] was called.
    pub fn resolve(&self) -> Result<Vec<SocketAddr>, AddressError> {
        match self {
            Self::Unix(_) => Ok(Vec::new()),
            Self::Tcp(tcp) => tcp.resolve(),
        }
    }
}

impl UnixPath {
    /// The longest path, in bytes: what is left of `sun_path` beside its closing NUL.
    pub const MAX: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
        107
    } else {
        103
    };

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The directory the socket lives in.
    pub fn directory(&self) -> &Path {
        // A checked path is absolute and has a file name, so it has a parent.
        self.0.parent().unwrap_or_else(|| Path::new("/"))
    }

    fn new(path: PathBuf) -> Result<Self, AddressError> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() {
            return Err(AddressError::EmptyPath);
        }
        if bytes.contains(&0) {
            return Err(AddressError::Nul);
        }
        if !path.is_absolute() {
            return Err(AddressError::RelativePath(path));
        }
        // `Path` forgives a slash or a dot at the end; the kernel would look for a directory there.
        if path.file_name().is_none() || bytes.ends_with(b"/") || bytes.ends_with(b"/.") {
            return Err(AddressError::NoFileName(path));
        }
        if bytes.len() > Self::MAX {
            let length = bytes.len();
            return Err(AddressError::PathTooLong { path, length });
        }
        Ok(Self(path))
    }
}

impl TcpHost {
    /// The host as written, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 asks a listener for any free one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether addresses that are not loopback are permitted.
    pub fn is_remote_allowed(&self) -> bool {
        self.remote
    }

    fn new(host: String, port: u16) -> Result<Self, AddressError> {
        if host.contains('\0') {
            return Err(AddressError::Nul);
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.parse::<IpAddr>().is_err() && (host.is_empty() || !host.chars().all(fits)) {
            return Err(AddressError::BadHost(host));
        }
        Ok(Self {
            host,
            port,
            remote: false,
        })
    }

    fn resolve(&self) -> Result<Vec<SocketAddr>, AddressError> {
        let found = self.look_up()?;
        // Every address is checked, not only the first: which one is used depends on who answers.
        match found.iter().find(|a| !a.ip().to_canonical().is_loopback()) {
            Some(other) if !self.remote => Err(AddressError::NotLoopback {
                host: self.host.clone(),
                ip: other.ip(),
            }),
            _ => Ok(found),
        }
    }

    fn look_up(&self) -> Result<Vec<SocketAddr>, AddressError> {
        let at = |ip: IpAddr| SocketAddr::new(ip, self.port);
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            return Ok(vec![at(ip)]);
        }
        // RFC 6761, section 6.3: the name is loopback whatever a resolver says.
        if self.host.eq_ignore_ascii_case("localhost") {
            return Ok(vec![
                at(Ipv4Addr::LOCALHOST.into()),
                at(Ipv6Addr::LOCALHOST.into()),
            ]);
        }
        let unresolvable = |source| AddressError::Unresolvable {
            host: self.host.clone(),
            source,
        };
        let found: Vec<_> = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(unresolvable)?
            .collect();
        if found.is_empty() {
            return Err(unresolvable(io::Error::new(
                io::ErrorKind::NotFound,
                "no address",
            )));
        }
        Ok(found)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            Self::unix(path)
        } else if let Some(authority) = text.strip_prefix("tcp://") {
            parse_authority(authority)
        } else {
            Err(AddressError::UnknownScheme(text.to_owned()))
        }
    }
}

fn parse_authority(authority: &str) -> Result<Address, AddressError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let bad = || AddressError::BadHost(authority.to_owned());
            let (inner, after) = rest.split_once(']').ok_or_else(bad)?;
            inner.parse::<Ipv6Addr>().map_err(|_| bad())?;
            let missing = || AddressError::MissingPort(authority.to_owned());
            (inner, after.strip_prefix(':').ok_or_else(missing)?)
        }
        None => {
            let missing = || AddressError::MissingPort(authority.to_owned());
            let (host, port) = authority.rsplit_once(':').ok_or_else(missing)?;
            if host.contains(':') {
                return Err(AddressError::BadHost(host.to_owned()));
            }
            (host, port)
        }
    };
    if port.is_empty() {
        return Err(AddressError::MissingPort(authority.to_owned()));
    }
    // `u16::from_str` takes a leading plus sign, which no other reader of addresses does.
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(AddressError::BadPort(port.to_owned()));
    }
    let number = port
        .parse()
        .map_err(|_| AddressError::BadPort(port.to_owned()))?;
    Address::tcp(host, number)
}

impl From<SocketAddr> for Address {
    /// The TCP address; [`Address::allow_remote`] is off.
    fn from(at: SocketAddr) -> Self {
        Self::Tcp(TcpHost {
            host: at.ip().to_string(),
            port: at.port(),
            remote: false,
        })
    }
}

/// In the form that parses to the same address; a path that is not UTF-8 is shown with
/// replacement characters.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.0.display()),
            Self::Tcp(TcpHost { host, port, .. }) if host.contains(':') => {
                write!(f, "tcp://[{host}]:{port}")
            }
            Self::Tcp(TcpHost { host, port, .. }) => write!(f, "tcp://{host}:{port}"),
        }
    }
}

crate::debug_says!(AddressError);

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
