//! For whom a message is, as an application writes it: `to("worker/1")`, `to(Everyone)`,
//! `to((Hub, "logger"))`. Every driver takes the same words.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::id::{Generation, PeerId, PeerName};
use crate::message::{Audience, Sender, Target};

/// Every other peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Everyone;

/// The hub of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hub;

/// The process that started this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent;

/// What can stand for the receivers of a message: a [`PeerId`], a name or `name#generation` as a
/// string, [`Hub`], [`Parent`], [`Everyone`], a [`Target`], the [`Sender`] of a message, and a
/// slice, array, vector or tuple of those for their union.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say for whom a message is",
    note = "a peer's id, a name or `name#generation`, Hub, Parent, Everyone, or a tuple or slice of those"
)]
pub trait IntoTargets {
    /// Adds the targets to a list.
    ///
    /// # Errors
    ///
    /// A string that can be no peer's name.
    fn add_to(&self, list: &mut Targets) -> Result<(), TargetError>;
}

/// A string that names no peer, whoever is there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} can be no peer: write a name of 1 to 64 bytes without NUL, or name#generation with a \
     number from 1"
)]
pub struct TargetError(pub String);

/// Targets, one after the other. A single one, as most messages have, needs no memory of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    first: Option<Target>,
    others: Vec<Target>,
}

impl Targets {
    /// None so far.
    pub const fn new() -> Self {
        Self {
            first: None,
            others: Vec::new(),
        }
    }

    /// One more.
    pub fn push(&mut self, target: Target) {
        match self.first {
            None => self.first = Some(target),
            Some(_) => self.others.push(target),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// All of them, in their order.
    pub fn into_vec(self) -> Vec<Target> {
        self.first.into_iter().chain(self.others).collect()
    }

    fn truncate(&mut self, len: usize) {
        self.others.truncate(len.saturating_sub(1));
        if len == 0 {
            self.first = None;
        }
    }
}

/// The receivers of one message while it is put together.
#[derive(Clone, Debug, Default)]
pub struct Receivers {
    targets: Targets,
    except: Vec<PeerId>,
    include_self: bool,
}

impl Receivers {
    /// Nobody said so far: whoever listens for an event, or one who handles a request.
    pub const fn new() -> Self {
        Self {
            targets: Targets::new(),
            except: Vec::new(),
            include_self: false,
        }
    }

    /// Adds targets. Who is meant by several gets one copy.
    ///
    /// # Errors
    ///
    /// A string that can be no peer's name; nothing was added then.
    pub fn add(&mut self, targets: &(impl IntoTargets + ?Sized)) -> Result<(), TargetError> {
        let before = self.targets.len();
        let added = targets.add_to(&mut self.targets);
        if added.is_err() {
            self.targets.truncate(before);
        }
        added
    }

    /// Leaves peers out, whatever the targets say.
    pub fn except(&mut self, peers: &[PeerId]) {
        self.except.extend_from_slice(peers);
    }

    /// Makes the sender one of everyone, and of those that listen.
    pub fn include_self(&mut self) {
        self.include_self = true;
    }

    /// The target of an event. Without one it is for everybody else who listens for its name.
    pub fn into_event_target(mut self) -> Target {
        let plain = self.except.is_empty() && !self.include_self;
        if self.targets.len() <= 1 && plain {
            return self.targets.first.unwrap_or(Target::Listeners);
        }
        if self.targets.is_empty() {
            self.targets.push(Target::Listeners);
        }
        Target::Many(Arc::new(Audience {
            targets: self.targets.into_vec(),
            except: self.except,
            include_self: self.include_self,
        }))
    }

    /// The target of a request. Without one it goes to a peer that handles its name; several make
    /// a target that a request refuses.
    pub fn into_request_target(self) -> Target {
        match self.targets.is_empty() && self.except.is_empty() {
            true => Target::Any,
            false => self.into_event_target(),
        }
    }
}

impl IntoTargets for Target {
    fn add_to(&self, list: &mut Targets) -> Result<(), TargetError> {
        match self {
            // Flattened, so that a union holds single targets only.
            Self::Many(audience) => audience
                .targets
                .iter()
                .for_each(|one| list.push(one.clone())),
            single => list.push(single.clone()),
        }
        Ok(())
    }
}

impl IntoTargets for Sender {
    /// The very process that sent the message; where its id is not known, nobody.
    fn add_to(&self, list: &mut Targets) -> Result<(), TargetError> {
        match self.peer {
            Some((id, generation)) => list.push(Target::Exact(id, generation)),
            None => return Err(TargetError(alloc::format!("{self}"))),
        }
        Ok(())
    }
}

impl IntoTargets for str {
    fn add_to(&self, list: &mut Targets) -> Result<(), TargetError> {
        let bad = || TargetError(self.into());
        list.push(match self.rsplit_once('#') {
            None => Target::Named(PeerName::new(self).ok_or_else(bad)?),
            Some((name, generation)) => {
                // `u32::from_str` takes a plus sign, which no generation is shown with.
                let digits = generation.bytes().all(|byte| byte.is_ascii_digit());
                let number = generation.parse().ok().filter(|&n| digits && n > 0);
                let name = PeerName::new(name).ok_or_else(bad)?;
                Target::NamedExact(name, Generation(number.ok_or_else(bad)?))
            }
        });
        Ok(())
    }
}

macro_rules! one_target {
    ($($type:ty: $value:ident => $target:expr;)*) => {$(
        impl IntoTargets for $type {
            fn add_to(&self, list: &mut Targets) -> Result<(), TargetError> {
                let $value = self;
                list.push($target);
                Ok(())
            }
        }
    )*};
}

one_target! {
    Everyone: _all => Target::Everyone;
    Hub: _hub => Target::Hub;
    Parent: _parent => Target::Parent;
    PeerId: id => Target::Peer(*id);
    PeerName: name => Target::Named(name.clone());
}

impl IntoTargets for String {
    fn add_to(&self, list: &mut Targets) -> Result<(), TargetError> {
        self.as_str().add_to(list)
    }
}

impl<T: IntoTargets + ?Sized> IntoTargets for &T {
    fn add_to(&self, list: &mut Targets) -> Result<(), TargetError> {
        (**self).add_to(list)
    }
}

impl<T: IntoTargets> IntoTargets for [T] {
    fn add_to(&self, list: &mut Targets) -> Result<(), TargetError> {
        self.iter().try_for_each(|target| target.add_to(list))
    }
}

impl<T: IntoTargets, const N: usize> IntoTargets for [T; N] {
    fn add_to(&self, list: &mut Targets) -> Result<(), TargetError> {
        self.as_slice().add_to(list)
    }
}

impl<T: IntoTargets> IntoTargets for Vec<T> {
    fn add_to(&self, list: &mut Targets) -> Result<(), TargetError> {
        self.as_slice().add_to(list)
    }
}

macro_rules! union_of_targets {
    ($($name:ident),*) => {
        impl<$($name: IntoTargets),*> IntoTargets for ($($name,)*) {
            fn add_to(&self, list: &mut Targets) -> Result<(), TargetError> {
                #[allow(non_snake_case)]
                let ($($name,)*) = self;
                $($name.add_to(list)?;)*
                Ok(())
            }
        }
    };
}

union_of_targets!(A, B);
union_of_targets!(A, B, C);
union_of_targets!(A, B, C, D);
union_of_targets!(A, B, C, D, E);
union_of_targets!(A, B, C, D, E, G);

#[cfg(test)]
mod tests {
    use super::*;

    fn event(targets: impl IntoTargets) -> Target {
        let mut receivers = Receivers::new();
        receivers.add(&targets).unwrap();
        receivers.into_event_target()
    }

    #[test]
    fn a_string_is_a_peer_s_name_with_or_without_generation() {
        let name = PeerName::new("worker/1").unwrap();
        assert_eq!(event("worker/1"), Target::Named(name.clone()));
        assert_eq!(event("worker/1#7"), Target::NamedExact(name, Generation(7)));
        for bad in [
            "",
            "#7",
            "a#",
            "a#0",
            "a#+1",
            "a#b",
            "a#4294967296",
            "a#b#1",
        ] {
            let mut receivers = Receivers::new();
            assert_eq!(receivers.add(bad), Err(TargetError(bad.into())), "{bad:?}");
        }
    }

    #[test]
    fn nobody_said_means_listeners_for_an_event_and_any_handler_for_a_request() {
        assert_eq!(Receivers::new().into_event_target(), Target::Listeners);
        assert_eq!(Receivers::new().into_request_target(), Target::Any);
    }

    #[test]
    fn several_targets_and_exceptions_make_one_audience() {
        let Target::Many(audience) = event((Hub, [PeerId(3), PeerId(4)], "x")) else {
            panic!("a union")
        };
        assert_eq!(audience.targets.len(), 4);
        let mut receivers = Receivers::new();
        receivers.add(&Everyone).unwrap();
        receivers.except(&[PeerId(2)]);
        let Target::Many(audience) = receivers.into_event_target() else {
            panic!("an exception")
        };
        assert_eq!(audience.targets, [Target::Everyone]);
        assert_eq!(audience.except, [PeerId(2)]);
    }
}
