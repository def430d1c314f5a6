//! Child processes: starting them with a channel, hearing of their end, leaving nothing behind.
//!
//! [`SpawnSpec`] describes a child, [`SpawnSpec::spawn`] starts it, and [`Child`] is what the parent
//! holds: the parent's end of the channel, the child's stderr, a descriptor that becomes readable
//! when the child ends, and the only right to signal and reap it. The child finds its end of the
//! channel with [`take_parent_channel`].
//!
//! What this module keeps to, because each of it has gone wrong elsewhere:
//!
//! - A child is waited for by its own pid or pidfd and never with `waitpid(-1)`, so other code in
//!   the process keeps its children, and ours leave no zombie.
//! - A child always has a process group of its own, and no other group is ever signalled.
//! - A child does not outlive its parent ([`ParentDeath`]), a dropped [`Child`] does not outlive its
//!   handle ([`OnDrop`]), and neither is left to the caller's care.
//! - A child has the descriptors 0, 1, 2 and its channel, and no others, also where a library in the
//!   parent forgot the close-on-exec flag.
//! - Nothing here installs a signal handler, and no drop blocks.

mod channel;
mod child;
mod exit;
mod inherited;
mod keeper;
mod launch;
mod parent;
mod signal;
mod spec;
mod stderr_tail;
mod watch;

pub use channel::ChannelEnd;
pub use child::{Child, SignalError};
pub use exit::Exit;
pub use inherited::{InheritError, parent_channel, secure_stdio, take_parent_channel};
pub use parent::{ENV_NAME, ParentLink, parent_link};
pub use signal::Signal;
pub use spec::{Channel, OnDrop, ParentDeath, SpawnError, SpawnSpec, Stderr};
pub use stderr_tail::{StderrTail, TailRead};
