//! What a member declares, put together from its slices and held within its limits.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::group::declarations::Declarations;
use crate::wire::{Declare, NamespaceDeclaration, limits};

/// How much one peer may declare. All members hold it, so it is bounded for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeclareLimits {
    /// Namespaces; 1,024.
    pub(crate) namespaces: usize,
    /// Names with a request handler, over all namespaces; 1,024.
    pub(crate) handlers: usize,
    /// Names with a listener, over all namespaces; 1,024. Who needs more listens to all events.
    pub(crate) listeners: usize,
}

impl Default for DeclareLimits {
    fn default() -> Self {
        Self {
            namespaces: limits::NAMESPACES,
            handlers: limits::NAMES,
            listeners: limits::NAMES,
        }
    }
}

/// What is wrong with a slice. A fault of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeclareFault {
    /// The instance is not attached here.
    #[error("the instance is not attached")]
    NotAttached,
    /// A later version is in already.
    #[error("version {version} comes after version {current}")]
    Outdated {
        /// The version of the slice.
        version: u64,
        /// The version that is in.
        current: u64,
    },
    /// Not the slice that comes next.
    #[error("slice {slice} of version {version} comes where slice {expected} is due")]
    OutOfOrder {
        /// The version of the slice.
        version: u64,
        /// The slice.
        slice: u32,
        /// The slice that is due.
        expected: u32,
    },
    /// More than a peer may declare.
    #[error("{value} {field} exceed the limit of {limit}")]
    TooMany {
        /// What there is too much of.
        field: &'static str,
        /// How much was declared.
        value: usize,
        /// How much may be.
        limit: usize,
    },
}

/// Declarations as they are passed on: cut into parts, shared by all who are still being told.
pub(crate) type Parts = Arc<[Vec<NamespaceDeclaration>]>;

/// What one peer has declared, and what it is declaring.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    /// The last whole declaration with its version.
    current: Option<(u64, Parts)>,
    /// The version whose slices are coming in.
    coming: Option<Assembly>,
}

#[derive(Debug)]
struct Assembly {
    version: u64,
    next: u32,
    handlers: usize,
    listeners: usize,
    namespaces: BTreeMap<String, NamespaceDeclaration>,
}

impl Declared {
    pub(crate) const fn new() -> Self {
        Self {
            current: None,
            coming: None,
        }
    }

    /// Takes a whole declaration, of which only the present version is known; `true` if it is
    /// another than before.
    pub(crate) fn replace(&mut self, namespaces: Vec<NamespaceDeclaration>, part: usize) -> bool {
        let mut slices = Declarations::new(namespaces).slices(part);
        if slices.is_empty() {
            // Nothing is a declaration too.
            slices.push(Vec::new());
        }
        let parts: Parts = slices.into();
        let before = self.current.as_ref();
        let changed = before.is_none_or(|(_, before)| **before != *parts);
        self.current = Some((0, parts));
        changed
    }

    /// Takes the next slice; `true` if the declaration is whole now and another than before.
    ///
    /// A version that is in already is taken again without effect: its sender has attached anew and
    /// cannot know.
    pub(crate) fn accept(
        &mut self,
        declare: &Declare,
        limits: &DeclareLimits,
        part: usize,
    ) -> Result<bool, DeclareFault> {
        let current = self.current.as_ref().map(|(version, _)| *version);
        if let Some(current) = current {
            if declare.version == current {
                return Ok(false);
            }
            if declare.version < current {
                return Err(DeclareFault::Outdated {
                    version: declare.version,
                    current,
                });
            }
        }
        // Slice 0 begins anew, whatever was coming in: also on a link that replaces another.
        let assembly = match self.coming.take() {
            Some(coming) if declare.slice != 0 && coming.version == declare.version => coming,
            _ => Assembly::new(declare.version),
        };
        let assembly = assembly.add(declare, limits)?;
        if declare.last {
            let pieces = assembly.namespaces.into_values().collect();
            let parts = Declarations::new(pieces).slices(part);
            self.current = Some((declare.version, parts.into()));
        } else {
            self.coming = Some(assembly);
        }
        Ok(declare.last)
    }

    /// The last whole declaration.
    pub(crate) fn parts(&self) -> Option<&Parts> {
        self.current.as_ref().map(|(_, parts)| parts)
    }
}

impl Assembly {
    fn new(version: u64) -> Self {
        Self {
            version,
            next: 0,
            handlers: 0,
            listeners: 0,
            namespaces: BTreeMap::new(),
        }
    }

    /// Takes one slice. On a fault all that came in of this version is gone with it.
    fn add(mut self, declare: &Declare, limits: &DeclareLimits) -> Result<Self, DeclareFault> {
        if declare.slice != self.next {
            return Err(DeclareFault::OutOfOrder {
                version: declare.version,
                slice: declare.slice,
                expected: self.next,
            });
        }
        self.next = self.next.saturating_add(1);
        for piece in &declare.namespaces {
            self.handlers += piece.handlers.len();
            self.listeners += piece.listeners.len();
            within("handler names", self.handlers, limits.handlers)?;
            within("listener names", self.listeners, limits.listeners)?;
            match self.namespaces.get_mut(&piece.name) {
                Some(known) => {
                    known.ready |= piece.ready;
                    known.all_events |= piece.all_events;
                    known.handlers.extend_from_slice(&piece.handlers);
                    known.listeners.extend_from_slice(&piece.listeners);
                }
                None => {
                    self.namespaces.insert(piece.name.clone(), piece.clone());
                }
            }
            within("namespaces", self.namespaces.len(), limits.namespaces)?;
        }
        Ok(self)
    }
}

fn within(field: &'static str, value: usize, limit: usize) -> Result<(), DeclareFault> {
    if value > limit {
        return Err(DeclareFault::TooMany {
            field,
            value,
            limit,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;

    use super::*;
    use crate::id::InstanceId;

    fn slice(version: u64, slice: u32, last: bool, handlers: &[&str]) -> Declare {
        let namespace = NamespaceDeclaration {
            handlers: handlers.iter().map(|&name| name.into()).collect(),
            ..NamespaceDeclaration::default()
        };
        Declare {
            instance: InstanceId(1),
            version,
            slice,
            last,
            namespaces: vec![namespace],
        }
    }

    fn accept(declared: &mut Declared, declare: &Declare) -> Result<bool, DeclareFault> {
        declared.accept(declare, &DeclareLimits::default(), 1000)
    }

    fn handlers(declared: &Declared) -> Vec<String> {
        let parts = declared.parts().map(|parts| parts.concat());
        let whole = Declarations::new(parts.unwrap_or_default());
        whole
            .namespace("")
            .map_or(Vec::new(), |n| n.handlers.clone())
    }

    #[test]
    fn a_declaration_counts_when_its_last_slice_is_in() {
        let mut declared = Declared::default();
        assert_eq!(
            accept(&mut declared, &slice(1, 0, false, &["a"])),
            Ok(false)
        );
        assert!(declared.parts().is_none());
        assert_eq!(accept(&mut declared, &slice(1, 1, true, &["b"])), Ok(true));
        assert_eq!(handlers(&declared), ["a", "b"]);
    }

    #[test]
    fn a_new_version_replaces_all_of_the_former_when_it_is_whole() {
        let mut declared = Declared::default();
        accept(&mut declared, &slice(1, 0, true, &["a"])).unwrap();
        accept(&mut declared, &slice(2, 0, false, &["b"])).unwrap();
        assert_eq!(handlers(&declared), ["a"]);
        accept(&mut declared, &slice(2, 1, true, &["c"])).unwrap();
        assert_eq!(handlers(&declared), ["b", "c"]);
    }

    #[test]
    fn a_member_that_attaches_anew_may_declare_the_same_again() {
        let mut declared = Declared::default();
        accept(&mut declared, &slice(3, 0, false, &["lost"])).unwrap();
        accept(&mut declared, &slice(3, 0, false, &["a"])).unwrap();
        assert_eq!(accept(&mut declared, &slice(3, 1, true, &["b"])), Ok(true));
        assert_eq!(
            accept(&mut declared, &slice(3, 0, true, &["other"])),
            Ok(false)
        );
        assert_eq!(handlers(&declared), ["a", "b"]);
    }

    #[test]
    fn slices_out_of_order_and_old_versions_are_faults() {
        let mut declared = Declared::default();
        accept(&mut declared, &slice(5, 0, true, &["a"])).unwrap();
        assert_eq!(
            accept(&mut declared, &slice(4, 0, true, &["b"])),
            Err(DeclareFault::Outdated {
                version: 4,
                current: 5
            })
        );
        accept(&mut declared, &slice(6, 0, false, &["b"])).unwrap();
        assert_eq!(
            accept(&mut declared, &slice(6, 2, true, &["d"])),
            Err(DeclareFault::OutOfOrder {
                version: 6,
                slice: 2,
                expected: 1
            })
        );
        assert_eq!(
            accept(&mut declared, &slice(7, 1, true, &["d"])),
            Err(DeclareFault::OutOfOrder {
                version: 7,
                slice: 1,
                expected: 0
            })
        );
        assert_eq!(handlers(&declared), ["a"]);
    }

    #[test]
    fn more_than_a_peer_may_declare_names_the_field_and_the_value() {
        let mut declared = Declared::default();
        let names: Vec<String> = (0..1025).map(|n| format!("n{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (most, one) = names.split_at(1024);
        accept(&mut declared, &slice(1, 0, false, most)).unwrap();
        let too_many = |field| DeclareFault::TooMany {
            field,
            value: 1025,
            limit: 1024,
        };
        assert_eq!(
            accept(&mut declared, &slice(1, 1, true, one)),
            Err(too_many("handler names"))
        );
        let mut wide = slice(2, 0, true, &[]);
        wide.namespaces = (0..1025)
            .map(|n| NamespaceDeclaration {
                name: format!("{n}"),
                ..NamespaceDeclaration::default()
            })
            .collect();
        assert_eq!(accept(&mut declared, &wide), Err(too_many("namespaces")));
        let mut loud = slice(3, 0, true, &[]);
        loud.namespaces[0].listeners = names.iter().map(|&name| name.into()).collect();
        assert_eq!(
            accept(&mut declared, &loud),
            Err(too_many("listener names"))
        );
        assert!(declared.parts().is_none());
    }
}
