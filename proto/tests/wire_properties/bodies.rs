//! Every body that a frame can have.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use switchboard_proto::wire::*;
use switchboard_proto::{Generation, InstanceId, PeerId, PeerName};

use crate::wire_support::Body;

pub(crate) fn instance() -> impl Strategy<Value = InstanceId> {
    (1..=u64::MAX).prop_map(InstanceId)
}

pub(crate) fn identity() -> impl Strategy<Value = (PeerId, Generation)> {
    any::<(u32, u32)>().prop_map(|(id, generation)| (PeerId(id), Generation(generation)))
}

pub(crate) fn peer_name() -> impl Strategy<Value = Option<PeerName>> {
    option::of("[a-zé/0-9日]{1,21}".prop_filter_map("too long", |name| PeerName::new(&name)))
}

/// A short string that is not empty, up to the longest.
pub(crate) fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z.]{1,12}", "[^\\x00]{1,63}", "[a-z]{250,255}"]
}

pub(crate) fn maybe_name() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), name()]
}

pub(crate) fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(any::<u8>(), 0..80), 1 => vec(any::<u8>(), 4000..9000)]
}

pub(crate) fn namespace() -> impl Strategy<Value = NamespaceDeclaration> {
    let names = || vec(name(), 0..4);
    (maybe_name(), any::<(bool, bool)>(), names(), names()).prop_map(
        |(name, (ready, all_events), handlers, listeners)| NamespaceDeclaration {
            name,
            ready,
            all_events,
            handlers,
            listeners,
        },
    )
}

pub(crate) fn roster_peer() -> impl Strategy<Value = RosterPeer> {
    let bits = any::<(bool, bool, bool)>();
    let sizes = any::<(u64, u64, u64, u64)>();
    let namespaces = option::of(vec(namespace(), 0..3));
    (identity(), instance(), peer_name(), bits, sizes, namespaces).prop_map(
        |((id, generation), instance, name, bits, sizes, namespaces)| RosterPeer {
            id,
            generation,
            instance,
            name,
            attachment: sizes.0,
            attached: bits.0,
            up: bits.1,
            attachments: u8::from(bits.2) * 253,
            budget: sizes.1,
            message_cap: sizes.2,
            namespaces,
            reserve: sizes.3,
        },
    )
}

pub(crate) fn hello() -> impl Strategy<Value = Hello> {
    let sizes = any::<(u64, u64, u64, u64)>();
    (any::<u16>(), sizes, instance(), peer_name(), any::<bool>()).prop_map(
        |(version, (features, epoch, budget, message_cap), instance, name, hub)| Hello {
            version,
            features,
            instance,
            epoch,
            name,
            budget,
            message_cap,
            hub,
        },
    )
}

pub(crate) fn attach() -> impl Strategy<Value = Attach> {
    let sizes = any::<(u64, u64, u64, u64)>();
    let bits = any::<(bool, bool, bool, bool, bool, bool)>();
    (
        instance(),
        peer_name(),
        option::of(identity()),
        sizes,
        bits,
        known(),
    )
        .prop_map(|(instance, name, identity, sizes, bits, known)| Attach {
            instance,
            counter: sizes.0,
            name,
            identity,
            handover: bits.0,
            budget: sizes.1,
            reserve: sizes.3,
            message_cap: sizes.2,
            attachments: u8::from(bits.1) * 16,
            known,
            more: bits.2,
            relayed: bits.3,
            tied: bits.4,
            elder: bits.5,
        })
}

pub(crate) fn known() -> impl Strategy<Value = Known> {
    let peer =
        (identity(), instance(), peer_name()).prop_map(|((id, generation), instance, name)| {
            KnownPeer {
                id,
                generation,
                instance,
                name,
            }
        });
    let lists = (
        vec(peer, 0..5),
        vec(identity(), 0..5),
        vec(instance(), 0..40),
    );
    lists.prop_map(|(living, gone, gone_instances)| Known {
        living,
        gone,
        gone_instances,
    })
}

pub(crate) fn roster() -> impl Strategy<Value = RosterUpdate> {
    let gone = (identity(), instance()).prop_map(|((id, generation), instance)| RosterGone {
        id,
        generation,
        instance,
    });
    let bits = any::<(bool, bool, bool)>();
    (
        any::<u64>(),
        bits,
        vec(roster_peer(), 0..4),
        vec(gone, 0..4),
    )
        .prop_map(
            |(version, (snapshot, more, complete), peers, gone)| RosterUpdate {
                version,
                snapshot,
                more,
                complete,
                peers,
                gone,
            },
        )
}

pub(crate) fn control() -> impl Strategy<Value = (Kind, Body<'static>)> {
    prop_oneof![attachment_control(), other_control()]
}

/// A body about who a peer is, with a kind of frame that carries it.
pub(crate) fn attachment_control() -> impl Strategy<Value = (Kind, Body<'static>)> {
    let refusal = (1..=5u8).prop_map(|number| AttachRefusal::from_u8(number).unwrap());
    prop_oneof![
        hello().prop_map(|b| (Kind::HELLO, Body::Hello(b))),
        attach().prop_map(|b| (Kind::ATTACH, Body::Attach(b))),
        roster().prop_map(|b| (Kind::ROSTER, Body::Roster(b))),
        (
            instance(),
            instance(),
            identity(),
            any::<(u64, u64, bool)>()
        )
            .prop_map(
                |(instance, hub, (id, generation), (counter, epoch, id_changed))| (
                    Kind::ATTACHED,
                    Body::Attached(Attached {
                        instance,
                        counter,
                        id,
                        generation,
                        hub,
                        epoch,
                        id_changed,
                    })
                )
            ),
        (instance(), any::<(u64, u32)>(), refusal).prop_map(
            |(instance, (counter, generation), reason)| (
                Kind::ATTACH_REFUSED,
                Body::AttachRefused(AttachRefused {
                    instance,
                    counter,
                    reason,
                    generation: Generation(generation),
                })
            )
        ),
        (instance(), any::<bool>(), any::<Option<u64>>()).prop_map(|(instance, gone, moved)| {
            let detach = Detach {
                instance,
                gone,
                moved,
            };
            (Kind::DETACH, Body::Detach(detach))
        }),
    ]
}

/// Any other control body, with a kind of frame that carries it.
pub(crate) fn other_control() -> impl Strategy<Value = (Kind, Body<'static>)> {
    prop_oneof![
        (
            instance(),
            any::<(u64, u32, bool)>(),
            vec(namespace(), 0..4)
        )
            .prop_map(|(instance, (version, slice, last), namespaces)| (
                Kind::DECLARE,
                Body::Declare(Declare {
                    instance,
                    version,
                    slice,
                    last,
                    namespaces,
                })
            )),
        (instance(), any::<(u64, u32)>()).prop_map(|(instance, (version, slice))| (
            Kind::DECLARED,
            Body::Declared(Declared {
                instance,
                version,
                slice,
            })
        )),
        (instance(), any::<bool>(), known()).prop_map(|(instance, more, known)| (
            Kind::KNOWN,
            Body::Known(KnownMore {
                instance,
                more,
                known
            })
        )),
        any::<u64>().prop_map(|nonce| (Kind::PING, Body::Ping(Ping { nonce }))),
        any::<(u16, String)>()
            .prop_map(|(code, text)| (Kind::CLOSE, Body::Close(Close { code, text }))),
        (instance(), instance(), any::<u64>()).prop_map(|(source, destination, sequence)| (
            Kind::RETURNED,
            Body::Returned(Returned {
                source,
                destination,
                sequence,
            })
        )),
    ]
}

/// What the bodies that borrow are made of.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    namespace: String,
    event: String,
    payload: Vec<u8>,
    texts: (String, String),
    rooms: Vec<(String, u64, u64, bool)>,
    credits: Vec<(u32, u64, u64, u32)>,
    words: (u64, u64, u64),
    halves: (u32, u32),
    byte: u8,
}

pub(crate) fn parts() -> impl Strategy<Value = Parts> {
    let rooms = vec((name(), any::<u64>(), any::<u64>(), any::<bool>()), 1..6);
    let credits = vec(any::<(u32, u64, u64, u32)>(), 0..6);
    let numbers = (any::<(u64, u64, u64)>(), any::<(u32, u32)>(), any::<u8>());
    let texts = (maybe_name(), name(), payload(), any::<(String, String)>());
    (texts, rooms, credits, numbers).prop_map(|(texts, rooms, credits, numbers)| Parts {
        namespace: texts.0,
        event: texts.1,
        payload: texts.2,
        texts: texts.3,
        rooms,
        credits,
        words: numbers.0,
        halves: numbers.1,
        byte: numbers.2,
    })
}

impl Parts {
    pub(crate) fn event(&self) -> EventBody<'_> {
        EventBody {
            namespace: &self.namespace,
            event: &self.event,
            codec: self.byte,
            remaining: self.halves.0,
            payload: &self.payload,
        }
    }

    pub(crate) fn request(&self) -> RequestBody<'_> {
        RequestBody {
            request: self.words.0,
            remaining: self.halves.0,
            reply_credit: self.halves.1,
            namespace: &self.namespace,
            event: &self.event,
            codec: self.byte,
            payload: &self.payload,
        }
    }

    pub(crate) fn reply(&self) -> ReplyBody<'_> {
        ReplyBody {
            request: self.words.0,
            codec: self.byte,
            payload: &self.payload,
        }
    }

    fn slices(&self) -> [(Kind, u8, Body<'_>); 2] {
        let head = SliceHead {
            total: self.words.0.max(self.payload.len() as u64),
            kind: Kind::EVENT.0,
            flags: self.byte,
        };
        [(flags::FIRST, Some(head)), (flags::LAST, None)].map(|(flag, first)| {
            let bytes = &self.payload[..];
            (Kind::SLICE, flag, Body::Slice(SliceBody { first, bytes }))
        })
    }

    fn rooms(&self) -> [(Kind, u8, Body<'_>); 2] {
        let rooms = self.rooms.iter();
        let event = RoomEventBody {
            rooms: rooms
                .clone()
                .map(|(room, sequence, ..)| (&room[..], *sequence))
                .collect(),
            event: self.event(),
        };
        let gaps = rooms.map(|(room, reached, missed, at_least)| GapRoom {
            room,
            reached: *reached,
            missed: *missed,
            at_least: *at_least,
        });
        let gap = GapBody {
            sender: InstanceId(self.words.0),
            rooms: gaps.collect(),
        };
        [
            (Kind::ROOM_EVENT, 0, Body::RoomEvent(event)),
            (Kind::GAP, 0, Body::Gap(gap)),
        ]
    }

    fn mark(&self) -> MarkBody {
        let credit = |&(flow, taken, limit, rooms)| Credit {
            flow,
            taken,
            limit,
            rooms,
        };
        MarkBody {
            received: self.words.0,
            path: self.halves.0,
            credits: self.credits.iter().map(credit).collect(),
        }
    }

    /// A body of every kind that is no control body, with the flags it depends on.
    pub(crate) fn bodies(&self) -> Vec<(Kind, u8, Body<'_>)> {
        let (of, path) = (self.words.0, self.halves.0);
        let failed = FailedBody {
            request: of,
            code: self.halves.0 as i32,
            message: &self.texts.0,
            detail: &self.texts.1,
        };
        let refused = RefusedBody {
            of,
            reason: self.byte,
            detail: path,
        };
        let level = self.byte % 3 + 1;
        let end = StreamEndBody {
            codec: self.byte,
            payload: &self.payload,
        };
        let blocked = BlockedBody {
            limit: of,
            need: self.words.1,
            room: path,
            size: self.words.2,
        };
        let fixed = [
            (Kind::EVENT, Body::Event(self.event())),
            (Kind::STREAM_OPEN, Body::Event(self.event())),
            (Kind::REQUEST, Body::Request(self.request())),
            (Kind::REPLY, Body::Reply(self.reply())),
            (Kind::FAILED, Body::Failed(failed)),
            (Kind::REFUSED, Body::Refused(refused)),
            (Kind::RECEIPT, Body::Receipt(ReceiptBody { of, level })),
            (Kind::CANCEL, Body::Cancel(CancelBody { request: of })),
            (Kind::VOID, Body::Void(VoidBody { cost: of })),
            (Kind::SWITCH, Body::Switch(SwitchBody { path })),
            (Kind::STREAM_DATA, Body::StreamData(&self.payload)),
            (Kind::STREAM_END, Body::StreamEnd(end)),
            (
                Kind::STREAM_ABORT,
                Body::StreamAbort(StreamAbortBody { code: path }),
            ),
            (Kind::MARK, Body::Mark(self.mark())),
            (Kind::BLOCKED, Body::Blocked(blocked)),
            (Kind::ASK, Body::Ask(AskBody { path })),
            (Kind::RECLAIM, Body::Reclaim(ReclaimBody { limit: of })),
        ];
        let fixed = fixed.into_iter().map(|(kind, body)| (kind, 0, body));
        fixed.chain(self.slices()).chain(self.rooms()).collect()
    }
}
