//! A peer that the test plays byte by byte, so that it can break every rule.

use bytes::Bytes;
use switchboard_proto::wire::{
    self, Attach, CloseCode, Credit, Deframer, EventBody, Header, Hello, Kind, MarkBody,
};
use switchboard_proto::*;

use super::{Handle, World};

/// A peer at the other end of one of the hub's links.
#[derive(Debug)]
pub struct Raw {
    pub wire: usize,
    /// The node at the other end.
    pub at: usize,
    pub link: LinkId,
    pub instance: InstanceId,
    /// The number of its next sequenced frame.
    pub sequence: u64,
}

impl Raw {
    /// Connected, and nothing said yet.
    pub fn stranger(world: &mut World, instance: u64, medium: Medium) -> Self {
        let (wire, link) = world.stranger(medium);
        world.run();
        Self {
            wire,
            at: 0,
            link,
            instance: InstanceId(instance),
            sequence: 1,
        }
    }

    /// A child of a member, attached through it.
    pub fn child_of(world: &mut World, member: usize, instance: u64) -> Self {
        let (wire, link) = world.stranger_at(member, LinkOrigin::Child, Medium::Local);
        let raw = Self {
            wire,
            at: member,
            link,
            instance: InstanceId(instance),
            sequence: 1,
        };
        let bytes = [raw.hello(), raw.attach(1)].concat();
        raw.says(world, &bytes);
        raw
    }

    /// Another instance that this one speaks for.
    pub fn behind(&self, instance: u64) -> Self {
        Self {
            wire: self.wire,
            at: self.at,
            link: self.link,
            instance: InstanceId(instance),
            sequence: 1,
        }
    }

    /// Attached as a member without names.
    pub fn member(world: &mut World, instance: u64) -> Self {
        Self::member_over(world, instance, Medium::Local)
    }

    pub fn member_over(world: &mut World, instance: u64, medium: Medium) -> Self {
        let raw = Self::stranger(world, instance, medium);
        let bytes = [raw.hello(), raw.attach(1)].concat();
        raw.says(world, &bytes);
        let heard = raw.heard(world);
        assert!(
            heard
                .iter()
                .any(|(header, _)| header.kind == Kind::ATTACHED),
            "{heard:?}"
        );
        raw
    }

    /// Writes bytes and lets the world work. Whatever they are, they cost no more memory than a few
    /// times what they are themselves.
    #[track_caller]
    pub fn says(&self, world: &mut World, bytes: &[u8]) {
        self.says_with(world, bytes, Vec::new());
    }

    #[track_caller]
    pub fn says_with(&self, world: &mut World, bytes: &[u8], handles: Vec<Handle>) {
        let cost = allocation_counter::measure(|| {
            world.say(self.wire, bytes, handles);
            world.run();
        });
        // The world holds them once in the connection and once in the read; with what the others
        // write in answer.
        let most = 256 * 1024 + 8 * bytes.len() as u64;
        assert!(
            cost.bytes_max < most,
            "{} bytes cost {}",
            bytes.len(),
            cost.bytes_max
        );
    }

    /// The frames that the hub has written since the last call.
    pub fn heard(&self, world: &mut World) -> Vec<(Header, Bytes)> {
        let bytes = world.heard(self.wire);
        let mut deframer = Deframer::new();
        deframer.set_limit(wire::limits::FRAME);
        deframer.push(bytes[..].into());
        let mut frames = Vec::new();
        while let Some(frame) = deframer.next().expect("the hub writes frames") {
            frames.push((frame.header, Bytes::copy_from_slice(frame.body())));
        }
        frames
    }

    /// Why the hub has closed the link, and that it said so to this peer and to its application.
    pub fn closed_with(&self, world: &mut World) -> Option<CloseCode> {
        let told = self.heard(world).into_iter().find_map(|(header, body)| {
            let close = (header.kind == Kind::CLOSE).then(|| wire::Close::decode(&body));
            CloseCode::from_u16(close?.ok()?.code)
        });
        let event = world.events[self.at].iter().find_map(|event| match event {
            Event::LinkClosed {
                link,
                code,
                by_peer: false,
            } if *link == self.link => Some(*code),
            _ => None,
        });
        assert_eq!(
            told, event,
            "the peer and the application are told the same"
        );
        assert!(told.is_none() || world.is_closed(self.wire), "it is closed");
        told
    }

    pub fn hello(&self) -> Vec<u8> {
        self.hello_with(|_| ())
    }

    pub fn hello_with(&self, change: impl FnOnce(&mut Hello)) -> Vec<u8> {
        let mut hello = Hello {
            version: 1,
            features: 0,
            instance: self.instance,
            epoch: 0,
            name: None,
            budget: 1 << 20,
            message_cap: 1 << 20,
            hub: false,
        };
        change(&mut hello);
        self.control(Kind::HELLO, |body| hello.encode(body))
    }

    pub fn attach(&self, counter: u64) -> Vec<u8> {
        self.attach_with(counter, |_| ())
    }

    pub fn attach_as(&self, counter: u64, name: &str) -> Vec<u8> {
        self.attach_with(counter, |attach| attach.name = PeerName::new(name))
    }

    /// Asks for an instance for which another speaks.
    pub fn attach_relayed(&self, counter: u64) -> Vec<u8> {
        self.attach_with(counter, |attach| attach.relayed = true)
    }

    /// As [`Raw::attach`], with what `change` makes of it.
    pub fn attach_with(&self, counter: u64, change: impl FnOnce(&mut Attach)) -> Vec<u8> {
        let mut attach = self.attachment(counter);
        change(&mut attach);
        self.control(Kind::ATTACH, |body| attach.encode(body))
    }

    fn attachment(&self, counter: u64) -> Attach {
        Attach {
            instance: self.instance,
            counter,
            name: None,
            identity: None,
            handover: false,
            budget: 1 << 20,
            message_cap: 1 << 20,
            attachments: 16,
            reserve: 0,
            known: wire::Known::default(),
            more: false,
            relayed: false,
            tied: false,
            elder: counter > 1,
        }
    }

    /// A link-local frame.
    pub fn control(&self, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        wire::frame(kind, self.instance, InstanceId::NONE, body, &mut out);
        out
    }

    /// A frame of a conversation, numbered if its kind is; `change` may break it.
    pub fn frame(
        &mut self,
        kind: Kind,
        to: InstanceId,
        change: impl FnOnce(&mut Header),
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Vec<u8> {
        let mut header = Header::new(kind, self.instance, to);
        if kind.is_sequenced() {
            header.sequence = self.sequence;
            self.sequence += 1;
        }
        change(&mut header);
        let mut out = Vec::new();
        header.encode_with(body, &mut out);
        out
    }

    /// An event of the default namespace that uses first contact.
    pub fn event(&mut self, to: InstanceId, event: &str, payload: &[u8]) -> Vec<u8> {
        self.frame(
            Kind::EVENT,
            to,
            |header| {
                header.flow = 1;
                header.flags = wire::flags::FIRST_CONTACT;
            },
            event_body(event, payload),
        )
    }

    /// A mark without an answer.
    pub fn mark(&mut self, to: InstanceId, received: u64, credits: Vec<Credit>) -> Vec<u8> {
        let mark = MarkBody {
            received,
            path: 0,
            credits,
        };
        self.frame(Kind::MARK, to, |_| (), |body| mark.encode(body))
    }
}

pub fn event_body<'a>(event: &'a str, payload: &'a [u8]) -> impl FnOnce(&mut Vec<u8>) + 'a {
    move |body| {
        EventBody {
            namespace: "",
            event,
            codec: 0,
            remaining: 0,
            payload,
        }
        .encode(body);
    }
}
