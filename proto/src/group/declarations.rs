//! What a peer has declared: namespaces with the names of their handlers and listeners, sorted for
//! lookups, and cut into slices for the wire.

use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

use crate::wire::NamespaceDeclaration;

/// What the fields of a namespace cost in a control body, at most, without its names.
const NAMESPACE_COST: usize = 24;
/// What a string costs beyond its bytes, at most.
const STRING_COST: usize = 3;

/// The declarations of one peer. Every list is sorted and without doubles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declarations(Vec<NamespaceDeclaration>);

impl Declarations {
    /// Puts the namespaces in order. One that was cut over several slices is made whole.
    pub(crate) fn new(mut pieces: Vec<NamespaceDeclaration>) -> Self {
        pieces.sort_by(|a, b| a.name.cmp(&b.name));
        let mut whole: Vec<NamespaceDeclaration> = Vec::with_capacity(pieces.len());
        for piece in pieces {
            match whole.last_mut() {
                Some(last) if last.name == piece.name => {
                    last.ready |= piece.ready;
                    last.all_events |= piece.all_events;
                    last.handlers.extend(piece.handlers);
                    last.listeners.extend(piece.listeners);
                }
                _ => whole.push(piece),
            }
        }
        for namespace in &mut whole {
            for names in [&mut namespace.handlers, &mut namespace.listeners] {
                names.sort_unstable();
                names.dedup();
            }
        }
        Self(whole)
    }

    /// The namespaces, sorted by name.
    pub(crate) fn namespaces(&self) -> &[NamespaceDeclaration] {
        &self.0
    }

    /// The namespace of this name.
    pub(crate) fn namespace(&self, name: &str) -> Option<&NamespaceDeclaration> {
        let found = self.0.binary_search_by(|n| n.name.as_str().cmp(name));
        found.ok().and_then(|at| self.0.get(at))
    }

    /// Whether there is a request handler for the name.
    pub(crate) fn handles(&self, namespace: &str, name: &str) -> bool {
        self.namespace(namespace)
            .is_some_and(|n| contains(&n.handlers, name))
    }

    /// Whether there is a listener for the event.
    pub(crate) fn listens(&self, namespace: &str, event: &str) -> bool {
        self.namespace(namespace)
            .is_some_and(|n| n.all_events || contains(&n.listeners, event))
    }

    /// Cuts the declarations into slices that each take at most `limit` bytes in a control body.
    /// There is always one, if only an empty one. A namespace that does not fit goes on in the next
    /// slice under the same name.
    pub(crate) fn slices(&self, limit: usize) -> Vec<Vec<NamespaceDeclaration>> {
        let mut cutter = Cutter {
            limit,
            size: 0,
            slice: Vec::new(),
            done: Vec::new(),
        };
        for namespace in &self.0 {
            cutter.begin(namespace);
            for name in &namespace.handlers {
                cutter.add(namespace, name, |piece| &mut piece.handlers);
            }
            for name in &namespace.listeners {
                cutter.add(namespace, name, |piece| &mut piece.listeners);
            }
        }
        cutter.done.push(cutter.slice);
        cutter.done
    }
}

/// What the namespaces take in a control body, in bytes, at most.
pub(crate) fn cost(namespaces: &[NamespaceDeclaration]) -> usize {
    let names = |list: &[String]| list.iter().map(|name| string_cost(name)).sum::<usize>();
    namespaces
        .iter()
        .map(|n| namespace_cost(n) + names(&n.handlers) + names(&n.listeners))
        .sum()
}

struct Cutter {
    limit: usize,
    size: usize,
    slice: Vec<NamespaceDeclaration>,
    done: Vec<Vec<NamespaceDeclaration>>,
}

impl Cutter {
    /// Opens a piece of the namespace; in a slice of its own if this one has no room for it.
    fn begin(&mut self, namespace: &NamespaceDeclaration) {
        let cost = namespace_cost(namespace);
        if !self.slice.is_empty() && self.size + cost > self.limit {
            self.done.push(mem::take(&mut self.slice));
            self.size = 0;
        }
        self.size += cost;
        self.slice.push(NamespaceDeclaration {
            name: namespace.name.clone(),
            ready: namespace.ready,
            all_events: namespace.all_events,
            handlers: Vec::new(),
            listeners: Vec::new(),
        });
    }

    fn add(
        &mut self,
        namespace: &NamespaceDeclaration,
        name: &str,
        list: fn(&mut NamespaceDeclaration) -> &mut Vec<String>,
    ) {
        let cost = string_cost(name);
        if self.size + cost > self.limit {
            self.begin(namespace);
        }
        self.size += cost;
        if let Some(piece) = self.slice.last_mut() {
            list(piece).push(name.into());
        }
    }
}

fn contains(sorted: &[String], name: &str) -> bool {
    sorted.binary_search_by(|n| n.as_str().cmp(name)).is_ok()
}

fn namespace_cost(namespace: &NamespaceDeclaration) -> usize {
    NAMESPACE_COST + string_cost(&namespace.name)
}

fn string_cost(text: &str) -> usize {
    STRING_COST + text.len()
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::id::InstanceId;
    use crate::wire::Declare;

    fn namespace(name: &str, handlers: &[&str], listeners: &[&str]) -> NamespaceDeclaration {
        NamespaceDeclaration {
            name: name.to_string(),
            ready: true,
            all_events: false,
            handlers: handlers.iter().map(ToString::to_string).collect(),
            listeners: listeners.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_declared_name_is_found_in_its_namespace_and_in_no_other() {
        let declared = Declarations::new(vec![
            namespace("topic", &["get"], &[]),
            namespace("", &["add", "Add", "add"], &["tick"]),
        ]);
        assert!(declared.handles("", "add") && declared.handles("", "Add"));
        assert!(declared.handles("topic", "get") && !declared.handles("", "get"));
        assert!(declared.listens("", "tick") && !declared.listens("topic", "tick"));
        assert!(!declared.handles("", "tick") && !declared.handles("none", "add"));
        assert_eq!(declared.namespace("").map(|n| n.handlers.len()), Some(2));
    }

    #[test]
    fn who_listens_to_all_events_listens_to_each() {
        let all = NamespaceDeclaration {
            all_events: true,
            ..namespace("", &[], &[])
        };
        let declared = Declarations::new(vec![all]);
        assert!(declared.listens("", "whatever") && !declared.handles("", "whatever"));
    }

    #[test]
    fn nothing_declared_is_one_empty_slice() {
        assert_eq!(Declarations::default().slices(100), [vec![]]);
    }

    #[test]
    fn a_namespace_larger_than_a_slice_is_cut_and_made_whole_again() {
        let names: Vec<String> = (0..1024).map(|n| format!("{n:0>255}")).collect();
        let large = NamespaceDeclaration {
            name: "n".repeat(255),
            handlers: names.clone(),
            listeners: names,
            ..NamespaceDeclaration::default()
        };
        let declared = Declarations::new(vec![large]);
        let slices = declared.slices(32_000);
        assert!(slices.len() > 15);
        for namespaces in &slices {
            let mut encoded = Vec::new();
            Declare {
                instance: InstanceId(u64::MAX),
                version: u64::MAX,
                slice: u32::MAX,
                last: true,
                namespaces: namespaces.clone(),
            }
            .encode(&mut encoded);
            assert!(encoded.len() <= 32 * 1024, "{} bytes", encoded.len());
        }
        assert_eq!(Declarations::new(slices.concat()), declared);
    }

    fn any_namespaces() -> impl Strategy<Value = Vec<NamespaceDeclaration>> {
        let names = || proptest::collection::vec("[a-c]{1,6}", 0..12);
        let one = ("[a-d]{0,2}", any::<(bool, bool)>(), names(), names());
        let one =
            one.prop_map(
                |(name, (ready, all_events), handlers, listeners)| NamespaceDeclaration {
                    name,
                    ready,
                    all_events,
                    handlers,
                    listeners,
                },
            );
        proptest::collection::vec(one, 0..8)
    }

    proptest! {
        #[test]
        fn slices_hold_all_that_was_declared_within_their_limit(
            namespaces in any_namespaces(),
            limit in 50..200_usize,
        ) {
            let declared = Declarations::new(namespaces);
            let slices = declared.slices(limit);
            for slice in &slices {
                prop_assert!(cost(slice) <= limit);
                let mut encoded = Vec::new();
                let declare = Declare {
                    instance: InstanceId(0),
                    version: 0,
                    slice: 0,
                    last: false,
                    namespaces: slice.clone(),
                };
                declare.encode(&mut encoded);
                prop_assert!(encoded.len() <= cost(slice) + 32);
            }
            prop_assert_eq!(Declarations::new(slices.concat()), declared);
        }
    }
}
