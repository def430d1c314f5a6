//! The fixed header of every frame.

use alloc::vec::Vec;

use super::WireError;
use crate::id::InstanceId;

/// What a frame is. Numbers at and above 0x80 are critical: a receiver that does not know one
/// closes the link; any other unknown kind is skipped by its length and attachment count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u8);

#[allow(missing_docs)]
impl Kind {
    // Link-local control: destination 0, sequence 0, CBOR bodies unless said otherwise.
    pub const ATTACH: Self = Self(0x02);
    pub const ATTACHED: Self = Self(0x03);
    pub const ATTACH_REFUSED: Self = Self(0x04);
    pub const DETACH: Self = Self(0x05);
    pub const ROSTER: Self = Self(0x06);
    pub const DECLARE: Self = Self(0x07);
    pub const DECLARED: Self = Self(0x08);
    pub const KNOWN: Self = Self(0x09);
    pub const PING: Self = Self(0x0a);
    pub const PONG: Self = Self(0x0b);
    pub const CLOSE: Self = Self(0x0c);
    pub const RETURNED: Self = Self(0x0d);
    // Sequenced frames of a conversation: destination an instance, sequence from 1.
    pub const EVENT: Self = Self(0x20);
    pub const REQUEST: Self = Self(0x21);
    pub const REPLY: Self = Self(0x22);
    pub const FAILED: Self = Self(0x23);
    pub const REFUSED: Self = Self(0x24);
    pub const RECEIPT: Self = Self(0x25);
    pub const CANCEL: Self = Self(0x26);
    pub const SLICE: Self = Self(0x27);
    pub const VOID: Self = Self(0x28);
    pub const SWITCH: Self = Self(0x29);
    pub const STREAM_OPEN: Self = Self(0x2a);
    pub const STREAM_DATA: Self = Self(0x2b);
    pub const STREAM_END: Self = Self(0x2c);
    pub const STREAM_ABORT: Self = Self(0x2d);
    // Rooms.
    pub const ROOM_EVENT: Self = Self(0x30);
    pub const GAP: Self = Self(0x31);
    // Unsequenced frames of a conversation: destination an instance, sequence 0.
    pub const MARK: Self = Self(0x40);
    pub const BLOCKED: Self = Self(0x41);
    pub const ASK: Self = Self(0x42);
    pub const RECLAIM: Self = Self(0x43);
    // The first frame of a link. Critical: who does not know it cannot go on.
    pub const HELLO: Self = Self(0x81);

    /// Whether this version knows the kind.
    pub const fn is_known(self) -> bool {
        matches!(self.0, 0x02..=0x0d | 0x20..=0x2d | 0x30..=0x31 | 0x40..=0x43 | 0x81)
    }

    /// Whether a message of this kind may travel in slices: the kinds that carry what an
    /// application says, which alone has no limit of its own.
    pub const fn is_sliceable(self) -> bool {
        matches!(
            self,
            Self::EVENT
                | Self::REQUEST
                | Self::REPLY
                | Self::FAILED
                | Self::STREAM_OPEN
                | Self::STREAM_END
        )
    }

    /// Whether an implementation that does not know this kind must close the link.
    pub const fn is_critical(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// Whether frames of this kind carry a sequence number.
    pub const fn is_sequenced(self) -> bool {
        self.0 >= 0x20 && self.0 < 0x30
    }

    /// Whether frames of this kind belong to the link and not to a conversation.
    pub const fn is_link_local(self) -> bool {
        self.0 < 0x20 || self.0 == 0x81
    }
}

/// Bits of [`Header::flags`].
pub mod flags {
    /// Set by a hub that could not pass the attachments on; the message itself is whole.
    pub const ATTACHMENTS_LOST: u8 = 0x01;
    /// The sender wants to know when the application took the message.
    pub const WANT_DELIVERED: u8 = 0x02;
    /// The sender wants to know when the handler returned `Ok`.
    pub const WANT_HANDLED: u8 = 0x04;
    /// A slice that begins a message.
    pub const FIRST: u8 = 0x08;
    /// A slice that ends a message; a reply that is the last of its flow.
    pub const LAST: u8 = 0x10;
    /// A mark that answers a question, over the path that the question named.
    pub const ANSWER: u8 = 0x20;
    /// A frame that uses the pair's first contact and not the credit of its flow.
    pub const FIRST_CONTACT: u8 = 0x40;
    /// A mark that ends the conversation: its sender saw the other end break a rule.
    pub const BROKEN: u8 = 0x80;
}

/// The 36 bytes before every body.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | length, big-endian: bytes after this field |
/// | 4 | 1 | kind |
/// | 5 | 1 | flags |
/// | 6 | 1 | attachment count |
/// | 7 | 1 | hops |
/// | 8 | 8 | source instance |
/// | 16 | 8 | destination instance |
/// | 24 | 8 | sequence |
/// | 32 | 4 | flow |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// Bits of [`flags`].
    pub flags: u8,
    /// How many attachments ride with the first byte of the frame.
    pub attachments: u8,
    /// How many hubs have forwarded the frame.
    pub hops: u8,
    /// The sender's instance; a hub checks that it is attached to the link.
    pub source: InstanceId,
    /// The receiver's instance; 0 for rooms and link-local frames.
    pub destination: InstanceId,
    /// The number of the frame in its conversation, from 1; 0 where the kind has none.
    pub sequence: u64,
    /// The flow whose credit the frame uses; 0 where it needs none.
    pub flow: u32,
}

impl Header {
    /// Bytes of an encoded header, the length field included.
    pub const LEN: usize = 36;
    /// Bytes of the length field itself.
    pub const LENGTH_FIELD: usize = 4;
    /// Where the flags stand, for the one bit that a hub changes in place.
    pub const FLAGS_AT: usize = 5;
    /// Where the number of attachments stands.
    pub const ATTACHMENTS_AT: usize = 6;
    /// Where the hops stand, which a hub counts up in place.
    pub const HOPS_AT: usize = 7;
    /// Where the sequence stands, for the sender that numbers a frame when it commits it.
    pub const SEQUENCE_AT: usize = 24;
    /// Where the flow stands.
    pub const FLOW_AT: usize = 32;

    /// A header with everything zero but what is given.
    pub const fn new(kind: Kind, source: InstanceId, destination: InstanceId) -> Self {
        Self {
            kind,
            flags: 0,
            attachments: 0,
            hops: 0,
            source,
            destination,
            sequence: 0,
            flow: 0,
        }
    }

    /// Appends the header of a frame whose body has `body_len` bytes.
    ///
    /// # Panics
    ///
    /// If the length does not fit its 32 bits; every limit is far below.
    pub fn encode(&self, body_len: usize, out: &mut Vec<u8>) {
        let mut raw = [0; Self::LEN];
        raw[0..4].copy_from_slice(&length_field(body_len));
        raw[4] = self.kind.0;
        raw[5] = self.flags;
        raw[6] = self.attachments;
        raw[7] = self.hops;
        raw[8..16].copy_from_slice(&self.source.0.to_be_bytes());
        raw[16..24].copy_from_slice(&self.destination.0.to_be_bytes());
        raw[24..32].copy_from_slice(&self.sequence.to_be_bytes());
        raw[32..36].copy_from_slice(&self.flow.to_be_bytes());
        out.extend_from_slice(&raw);
    }

    /// Appends a frame whose body is what `body` appends.
    ///
    /// # Panics
    ///
    /// As [`Header::encode`], or if `body` removes what was there before.
    pub fn encode_with(&self, body: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
        let start = out.len();
        self.encode(0, out);
        let body_start = out.len();
        body(out);
        let length = length_field(out.len() - body_start);
        out[start..start + Self::LENGTH_FIELD].copy_from_slice(&length);
    }

    /// How long the whole frame is that `bytes` begin with. For a frame that has been judged; 0
    /// where there is not even a length.
    #[inline]
    pub(crate) fn whole_len(bytes: &[u8]) -> usize {
        let field = bytes.first_chunk().copied();
        field.map_or(0, |field| {
            u32::from_be_bytes(field) as usize + Self::LENGTH_FIELD
        })
    }

    /// Reads a header and the length of the body that follows it.
    ///
    /// # Errors
    ///
    /// If the length is less than that of a header. No limit is checked.
    #[inline]
    pub fn decode(raw: &[u8; Self::LEN]) -> Result<(Self, usize), WireError> {
        let length = u32::from_be_bytes([raw[0], raw[1], raw[2], raw[3]]) as usize;
        let body_len = length
            .checked_sub(Self::LEN - Self::LENGTH_FIELD)
            .ok_or(WireError::Truncated)?;
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&raw[at..at + 8]);
            u64::from_be_bytes(word)
        };
        let header = Self {
            kind: Kind(raw[4]),
            flags: raw[5],
            attachments: raw[6],
            hops: raw[7],
            source: InstanceId(word(8)),
            destination: InstanceId(word(16)),
            sequence: word(24),
            flow: u32::from_be_bytes([raw[32], raw[33], raw[34], raw[35]]),
        };
        Ok((header, body_len))
    }
}

/// The length field of a frame whose body has `body_len` bytes.
fn length_field(body_len: usize) -> [u8; Header::LENGTH_FIELD] {
    let length = u32::try_from(Header::LEN - Header::LENGTH_FIELD + body_len);
    // A message fits its receiver's cap, which `Config::check` and the codec of rosters keep below
    // 4 GiB; a frame is a part of one.
    length.expect("a frame is shorter than 4 GiB").to_be_bytes()
}

/// Appends a frame without flags, attachments, sequence and flow, as control frames are.
///
/// # Panics
///
/// As [`Header::encode_with`].
pub fn frame(
    kind: Kind,
    source: InstanceId,
    destination: InstanceId,
    body: impl FnOnce(&mut Vec<u8>),
    out: &mut Vec<u8>,
) {
    Header::new(kind, source, destination).encode_with(body, out);
}
