use alloc::string::ToString;
use alloc::vec;

use super::*;

impl<H: Clone> Registry<H> {
    fn listen(&mut self, namespace: &str, name: &str, handler: H) -> SubId {
        self.insert(namespace, name, Roles::EVENTS, handler, false)
    }

    fn listen_once(&mut self, namespace: &str, name: &str, handler: H) -> SubId {
        self.insert(namespace, name, Roles::EVENTS.once(), handler, false)
    }

    fn set_handler(
        &mut self,
        namespace: &str,
        name: &str,
        handler: H,
    ) -> Result<SubId, HandlerExists<H>> {
        self.register(namespace, name, Roles::REQUESTS, handler)
    }

    fn set_handler_once(
        &mut self,
        namespace: &str,
        name: &str,
        handler: H,
    ) -> Result<SubId, HandlerExists<H>> {
        self.register(namespace, name, Roles::REQUESTS.once(), handler)
    }
}

fn names(registry: &mut Registry<&'static str>, namespace: &str, name: &str) -> Vec<&'static str> {
    registry
        .dispatch(namespace, name)
        .into_iter()
        .map(|(_, target)| target)
        .collect()
}

#[test]
fn listeners_are_called_in_the_order_of_registration() {
    let mut registry = Registry::new();
    registry.listen("", "foo", "a");
    registry.listen_all("", "b");
    registry.listen("", "foo", "c");
    registry.listen_all("", "d");
    registry.listen("", "foo", "a");
    registry.listen("other", "foo", "x");
    registry.listen("", "bar", "y");
    assert_eq!(names(&mut registry, "", "foo"), ["a", "b", "c", "d", "a"]);
    assert_eq!(names(&mut registry, "", "baz"), ["b", "d"]);
    assert_eq!(names(&mut registry, "other", "foo"), ["x"]);
    assert!(names(&mut registry, "other", "bar").is_empty());
}

#[test]
fn a_once_listener_gets_one_of_two_events_that_arrive_together() {
    let mut registry = Registry::new();
    registry.listen("", "foo", "always");
    let once = registry.listen_once("", "foo", "once");
    // Both events are dispatched before either listener has run.
    let first = names(&mut registry, "", "foo");
    let second = names(&mut registry, "", "foo");
    assert_eq!(first, ["always", "once"]);
    assert_eq!(second, ["always"]);
    assert!(!registry.contains(once));
    assert_eq!(registry.remove(once), None);
}

#[test]
fn a_cancelled_once_listener_never_runs() {
    let mut registry = Registry::new();
    let once = registry.listen_once("", "foo", "once");
    assert_eq!(registry.remove(once), Some("once"));
    assert!(names(&mut registry, "", "foo").is_empty());
}

#[test]
fn a_second_request_handler_is_refused_and_comes_back() {
    let mut registry = Registry::new();
    let first = registry.set_handler("", "add", "first").unwrap();
    let refused = registry.set_handler("", "add", "second").unwrap_err();
    assert_eq!((refused.handler, refused.existing), ("second", first));
    assert!(refused.to_string().contains("already"));
    let refused = registry.set_handler_once("", "add", "third").unwrap_err();
    assert_eq!(refused.handler, "third");
    assert_eq!(registry.handle("", "add"), Some((first, "first")));
    assert!(registry.set_handler("math", "add", "elsewhere").is_ok());
    assert!(registry.set_handler("", "sub", "elsewhere").is_ok());
}

#[test]
fn replace_swaps_the_handler_and_the_former_token_removes_nothing() {
    let mut registry = Registry::new();
    let (first, former) = registry.replace("", "add", Roles::REQUESTS, "first");
    assert_eq!(former, None);
    let (second, former) = registry.replace("", "add", Roles::REQUESTS, "second");
    assert_eq!(former, Some("first"));
    assert_ne!(first, second);
    // The owner of the former subscription drops it now.
    assert_eq!(registry.remove(first), None);
    assert_eq!(registry.handler("", "add"), Some((second, &"second")));
}

#[test]
fn the_next_one_answers_requests_when_the_first_is_taken_out() {
    let mut registry = Registry::new();
    let mut add = |handler| registry.register("", "foo", Roles::BOTH, handler).unwrap();
    let (first, second, third) = (add("first"), add("second"), add("third"));
    assert!(registry.answers(first) && !registry.answers(second));
    assert_eq!(
        names(&mut registry, "", "foo"),
        ["first", "second", "third"]
    );
    let revision = registry.revision();
    assert_eq!(registry.remove(second), Some("second"));
    assert_eq!(registry.handle("", "foo"), Some((first, "first")));
    assert_eq!(registry.remove(first), Some("first"));
    assert_eq!(registry.handle("", "foo"), Some((third, "third")));
    assert!(registry.answers(third) && !registry.answers(first));
    assert_eq!(registry.revision(), revision, "the same names are declared");
    let refused = registry.register("", "foo", Roles::REQUESTS, "call");
    assert_eq!(refused.unwrap_err().existing, third);
}

#[test]
fn one_in_the_place_of_another_takes_its_events_and_its_turn() {
    let mut registry = Registry::new();
    let add = |registry: &mut Registry<_>, handler| {
        registry.register("", "foo", Roles::BOTH, handler).unwrap()
    };
    add(&mut registry, "first");
    let waits = add(&mut registry, "waits");
    let (new, former) = registry.replace("", "foo", Roles::BOTH, "new");
    assert_eq!(former, Some("first"));
    assert!(registry.answers(new) && !registry.answers(waits));
    assert_eq!(names(&mut registry, "", "foo"), ["waits", "new"]);
    let revision = registry.revision();
    registry.remove(waits);
    // Events are declared no more.
    registry.replace("", "foo", Roles::REQUESTS, "call");
    assert_ne!(registry.revision(), revision);
    assert!(registry.declaration("").listeners.is_empty());
}

#[test]
fn a_once_for_both_is_gone_with_an_event_or_with_a_request() {
    let mut registry = Registry::new();
    let both = Roles::BOTH.once();
    registry.register("", "foo", both, "once").unwrap();
    assert_eq!(names(&mut registry, "", "foo"), ["once"]);
    assert_eq!(registry.handle("", "foo"), None);
    registry.register("", "foo", both, "again").unwrap();
    assert_eq!(registry.handle("", "foo").map(|(_, h)| h), Some("again"));
    assert!(names(&mut registry, "", "foo").is_empty());
    assert_eq!(registry.declaration(""), Declaration::default());
}

#[test]
fn a_once_handler_answers_one_request() {
    let mut registry = Registry::new();
    let id = registry.set_handler_once("", "baz", "h").unwrap();
    assert_eq!(registry.handle("", "baz"), Some((id, "h")));
    assert_eq!(registry.handle("", "baz"), None);
    assert!(registry.set_handler("", "baz", "next").is_ok());
}

#[test]
fn tokens_are_never_reused() {
    let mut registry = Registry::new();
    let mut seen = vec![registry.listen("", "foo", 0)];
    for round in 1..4 {
        registry.remove(*seen.last().unwrap());
        let id = registry.listen("", "foo", round);
        assert!(!seen.contains(&id));
        assert_eq!(registry.remove(seen[0]), None);
        assert!(registry.contains(id));
        seen.push(id);
    }
    assert_eq!(
        registry
            .listeners("", "foo")
            .map(|(_, h)| *h)
            .collect::<Vec<_>>(),
        [3]
    );
}

#[test]
fn no_event_name_is_special() {
    let mut registry = Registry::new();
    let special = [
        "error",
        "connect",
        "close",
        "__proto__",
        "toString",
        "message",
        "",
        "_",
    ];
    for name in special {
        registry.listen("", name, name);
        registry.set_handler("", name, name).unwrap();
    }
    for name in special {
        assert_eq!(names(&mut registry, "", name), [name]);
        assert_eq!(registry.handle("", name).unwrap().1, name);
    }
    assert!(!registry.listens("", "hasOwnProperty"));
    assert!(registry.handle("", "hasOwnProperty").is_none());
}

#[test]
fn declarations_are_sorted_and_their_revision_rises_with_them_alone() {
    let mut registry = Registry::new();
    assert_eq!(registry.declaration(""), Declaration::default());
    let zeta = registry.listen("", "zeta", 0);
    registry.listen("", "alpha", 0);
    registry.set_handler("", "mul", 0).unwrap();
    registry.set_handler("", "add", 0).unwrap();
    registry.listen("b", "x", 0);
    assert_eq!(registry.namespaces().collect::<Vec<_>>(), ["", "b"]);
    let declared = |registry: &Registry<i32>| {
        let declaration = registry.declaration("");
        let join = |names: Vec<&str>| names.join(",");
        (
            declaration.all_events,
            join(declaration.handlers),
            join(declaration.listeners),
        )
    };
    assert_eq!(
        declared(&registry),
        (false, "add,mul".into(), "alpha,zeta".into())
    );

    let revision = registry.revision();
    let second = registry.listen("", "zeta", 1);
    registry.replace("", "add", Roles::REQUESTS, 1);
    registry.remove(second);
    assert!(registry.set_handler("", "add", 2).is_err());
    assert_eq!(registry.revision(), revision, "the same names are declared");

    registry.remove(zeta);
    assert_eq!(registry.revision(), revision + 1);
    assert_eq!(declared(&registry).2, "alpha");
    let all = registry.listen_all("", 0);
    assert_eq!(registry.revision(), revision + 2);
    assert!(declared(&registry).0);
    registry.remove(all);
    assert_eq!(registry.revision(), revision + 3);
    registry.listen_once("", "tick", 0);
    assert_eq!(registry.revision(), revision + 4);
    registry.dispatch("", "tick");
    assert_eq!(registry.revision(), revision + 5);
}

#[test]
fn nothing_is_left_of_what_was_removed() {
    let mut registry = Registry::new();
    let ids = [
        registry.listen("ns", "a", 0),
        registry.listen_all("ns", 0),
        registry.set_handler("ns", "a", 0).unwrap(),
    ];
    for id in ids {
        assert_eq!(registry.remove(id), Some(0));
    }
    registry.listen_once("ns", "a", 0);
    registry.dispatch("ns", "a");
    assert_eq!(registry.namespaces().count(), 0);
    assert!(registry.places.is_empty());
}

#[test]
fn a_listener_may_remove_one_that_would_be_called_after_it() {
    let mut registry = Registry::new();
    registry.listen("", "foo", "a");
    let later = registry.listen("", "foo", "b");
    let calls = registry.dispatch("", "foo");
    registry.remove(later);
    let called: Vec<_> = calls
        .iter()
        .filter(|(id, _)| registry.contains(*id))
        .collect();
    assert_eq!(called.len(), 1);
}
