//! Decoded bodies in the form in which the vectors describe them.

use serde_json::{Value, json};
use switchboard_proto::wire::*;
use switchboard_proto::{Generation, InstanceId, PeerId, PeerName};

use super::Body;

/// The body as the vectors write it: instances as 16 hexadecimal digits, bytes as hexadecimal,
/// integers from 2^53 on as decimal text.
pub(crate) fn body(body: &Body<'_>) -> Value {
    match body {
        Body::Hello(b) => json!({
            "version": b.version, "features": int(b.features), "instance": instance(b.instance),
            "epoch": int(b.epoch), "name": name(&b.name), "budget": int(b.budget),
            "message_cap": int(b.message_cap), "hub": b.hub,
        }),
        Body::Attach(b) => attach(b),
        Body::Attached(b) => json!({
            "instance": instance(b.instance), "counter": int(b.counter), "id": b.id.0,
            "generation": b.generation.0, "hub": instance(b.hub), "epoch": int(b.epoch),
            "id_changed": b.id_changed,
        }),
        Body::AttachRefused(b) => json!({
            "instance": instance(b.instance), "counter": int(b.counter),
            "reason": b.reason as u8, "generation": b.generation.0,
        }),
        Body::Detach(b) => json!({
            "instance": instance(b.instance), "gone": b.gone, "moved": b.moved.map(int),
        }),
        Body::Roster(b) => json!({
            "version": int(b.version), "snapshot": b.snapshot, "more": b.more,
            "complete": b.complete, "peers": list(&b.peers, peer), "gone": list(&b.gone, ended),
        }),
        Body::Declare(b) => json!({
            "instance": instance(b.instance), "version": int(b.version), "slice": b.slice,
            "last": b.last, "namespaces": list(&b.namespaces, namespace),
        }),
        Body::Declared(b) => json!({
            "instance": instance(b.instance), "version": int(b.version), "slice": b.slice,
        }),
        Body::Known(b) => json!({
            "instance": instance(b.instance), "more": b.more, "known": known(&b.known),
        }),
        Body::Ping(b) => json!({ "nonce": int(b.nonce) }),
        Body::Close(b) => json!({ "code": b.code, "text": b.text }),
        Body::Returned(b) => json!({
            "source": instance(b.source), "destination": instance(b.destination),
            "sequence": int(b.sequence),
        }),
        other => message(other),
    }
}

fn message(body: &Body<'_>) -> Value {
    match body {
        Body::Event(b) => event(b),
        Body::Request(b) => json!({
            "request": int(b.request), "remaining": b.remaining, "reply_credit": b.reply_credit,
            "namespace": b.namespace, "event": b.event, "codec": b.codec, "payload": hex(b.payload),
        }),
        Body::Reply(b) => json!({
            "request": int(b.request), "codec": b.codec, "payload": hex(b.payload),
        }),
        Body::Failed(b) => json!({
            "request": int(b.request), "code": b.code, "message": b.message, "detail": b.detail,
        }),
        Body::Refused(b) => json!({ "of": int(b.of), "reason": b.reason, "detail": b.detail }),
        Body::Receipt(b) => json!({ "of": int(b.of), "level": b.level }),
        Body::Cancel(b) => json!({ "request": int(b.request) }),
        Body::Slice(b) => json!({
            "first": b.first.map(|head| json!({
                "total": int(head.total), "kind": kind(Kind(head.kind)), "flags": head.flags,
            })),
            "bytes": hex(b.bytes),
        }),
        Body::Void(b) => json!({ "cost": int(b.cost) }),
        Body::Switch(b) => json!({ "path": b.path }),
        Body::StreamData(bytes) => json!({ "bytes": hex(bytes) }),
        Body::StreamEnd(b) => json!({ "codec": b.codec, "payload": hex(b.payload) }),
        Body::StreamAbort(b) => json!({ "code": b.code }),
        other => group(other),
    }
}

fn group(body: &Body<'_>) -> Value {
    match body {
        Body::RoomEvent(b) => json!({
            "rooms": list(&b.rooms, |(room, sequence)| json!([room, int(*sequence)])),
            "event": event(&b.event),
        }),
        Body::Gap(b) => json!({
            "sender": instance(b.sender),
            "rooms": list(&b.rooms, |gap| json!({
                "room": gap.room, "reached": int(gap.reached), "missed": int(gap.missed),
                "at_least": gap.at_least,
            })),
        }),
        Body::Mark(b) => json!({
            "received": int(b.received), "path": b.path,
            "credits": list(&b.credits, |credit| json!({
                "flow": credit.flow, "taken": int(credit.taken), "limit": int(credit.limit),
                "rooms": credit.rooms,
            })),
        }),
        Body::Blocked(b) => json!({
            "limit": int(b.limit), "need": int(b.need), "room": b.room, "size": int(b.size),
        }),
        Body::Ask(b) => json!({ "path": b.path }),
        Body::Reclaim(b) => json!({ "limit": int(b.limit) }),
        Body::Unknown(_) => Value::Null,
        other => unreachable!("{other:?} is described elsewhere"),
    }
}

/// The header as the vectors write it.
pub(crate) fn header(header: &Header) -> Value {
    json!({
        "kind": kind(header.kind), "flags": header.flags, "attachments": header.attachments,
        "hops": header.hops, "source": instance(header.source),
        "destination": instance(header.destination), "sequence": int(header.sequence),
        "flow": header.flow,
    })
}

/// The error as the vectors write it: its name, and what belongs to it in words.
pub(crate) fn error(error: WireError) -> (String, Option<&'static str>) {
    let debug = format!("{error:?}");
    let end = debug.find(|c: char| !c.is_alphanumeric());
    let name = debug[..end.unwrap_or(debug.len())].to_owned();
    match error {
        WireError::BadControl(detail) | WireError::BadField(detail) => (name, Some(detail)),
        _ => (name, None),
    }
}

fn attach(b: &Attach) -> Value {
    json!({
        "instance": instance(b.instance), "counter": int(b.counter), "name": name(&b.name),
        "identity": b.identity.as_ref().map(identity), "handover": b.handover,
        "budget": int(b.budget), "reserve": int(b.reserve), "message_cap": int(b.message_cap),
        "attachments": b.attachments, "known": known(&b.known), "more": b.more,
        "relayed": b.relayed, "tied": b.tied, "elder": b.elder,
    })
}

fn known(known: &Known) -> Value {
    let peer = |p: &KnownPeer| {
        json!({
            "id": p.id.0, "generation": p.generation.0, "instance": instance(p.instance),
            "name": name(&p.name),
        })
    };
    json!({
        "living": list(&known.living, peer),
        "gone": list(&known.gone, identity),
        "gone_instances": list(&known.gone_instances, |i| instance(*i)),
    })
}

fn identity((id, generation): &(PeerId, Generation)) -> Value {
    json!([id.0, generation.0])
}

fn peer(p: &RosterPeer) -> Value {
    json!({
        "id": p.id.0, "generation": p.generation.0, "instance": instance(p.instance),
        "name": name(&p.name), "attachment": int(p.attachment), "attached": p.attached,
        "up": p.up, "attachments": p.attachments, "budget": int(p.budget),
        "message_cap": int(p.message_cap),
        "namespaces": p.namespaces.as_ref().map(|all| list(all, namespace)),
        "reserve": int(p.reserve),
    })
}

fn ended(gone: &RosterGone) -> Value {
    json!({
        "id": gone.id.0, "generation": gone.generation.0, "instance": instance(gone.instance),
    })
}

fn namespace(n: &NamespaceDeclaration) -> Value {
    json!({
        "name": n.name, "ready": n.ready, "all_events": n.all_events, "handlers": n.handlers,
        "listeners": n.listeners,
    })
}

fn event(b: &EventBody<'_>) -> Value {
    json!({
        "namespace": b.namespace, "event": b.event, "codec": b.codec, "remaining": b.remaining,
        "payload": hex(b.payload),
    })
}

fn list<T>(items: &[T], describe: impl Fn(&T) -> Value) -> Value {
    items.iter().map(describe).collect()
}

fn name(name: &Option<PeerName>) -> Value {
    name.as_ref().map(PeerName::as_str).into()
}

fn instance(instance: InstanceId) -> Value {
    instance.to_string().into()
}

fn int(value: u64) -> Value {
    if value < 1 << 53 {
        value.into()
    } else {
        value.to_string().into()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every kind by name, and a number for one that has none.
fn kind(kind: Kind) -> Value {
    KINDS
        .iter()
        .find(|(known, _)| *known == kind)
        .map_or(kind.0.into(), |(_, name)| (*name).into())
}

macro_rules! kinds {
    ($($name:ident)*) => {
        /// The kinds of this version with their names.
        pub(crate) const KINDS: &[(Kind, &str)] = &[$((Kind::$name, stringify!($name))),*];
    };
}

kinds! {
    ATTACH ATTACHED ATTACH_REFUSED DETACH ROSTER DECLARE DECLARED KNOWN PING PONG CLOSE RETURNED
    EVENT REQUEST REPLY FAILED REFUSED RECEIPT CANCEL SLICE VOID SWITCH
    STREAM_OPEN STREAM_DATA STREAM_END STREAM_ABORT ROOM_EVENT GAP MARK BLOCKED ASK RECLAIM HELLO
}
