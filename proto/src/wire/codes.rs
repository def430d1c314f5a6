//! Stable numbers for why a link ends and why a message was not taken.

use core::fmt;

/// Why a link was closed, as its other end is told in `CLOSE`. The numbers are on the wire and
/// never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum CloseCode {
    /// The other end is done. Nothing is wrong; reconnect only if there is more to say.
    Normal = 0,
    /// The hub hands over to another member. Attach to the new hub; nothing is lost.
    Handover = 1,
    /// Bytes or their order were not what the protocol allows. A defect at one of the two ends:
    /// report it with the text; the same bytes would end the next link too.
    ProtocolViolation = 2,
    /// The ends have no version of the protocol in common. Update one of them; do not reconnect.
    VersionMismatch = 3,
    /// A frame was longer than the link allowed in its state. A defect as `ProtocolViolation`.
    FrameTooLarge = 4,
    /// More was sent than the credit given. A defect as `ProtocolViolation`.
    CreditOverrun = 5,
    /// A frame named a source that is not attached to the link. A defect as `ProtocolViolation`.
    ForgedSource = 6,
    /// Attachments were lost and it was not clear to which frame they belonged. Reconnect; look at
    /// the descriptor limits of both processes.
    AttachmentsUnclear = 7,
    /// No hello came in time. Look whether the other end speaks this protocol at all; reconnect.
    HelloTimeout = 8,
    /// Nothing was heard for the length of the lease. Reconnect.
    LeaseExpired = 9,
    /// This instance was declared gone. Join again as a new instance; what was unconfirmed stays
    /// so.
    Fenced = 10,
    /// A living peer has the name that was asked for. Choose another, or wait for that peer's end.
    NameTaken = 11,
    /// The other end did not read for too long. Reconnect; look what blocks this process.
    WriteStalled = 12,
    /// The other end hit a defect of its own. Reconnect, and report it with the text.
    Internal = 13,
    /// The hub has as many peers as it may. Reconnect later, or raise its limit.
    TooManyPeers = 14,
    /// A later link of the same instance has taken the place of this one. Do nothing.
    Replaced = 15,
    /// What came first was not a hello. Look what the other end is: most often a program that speaks
    /// something else.
    HelloExpected = 16,
}

impl CloseCode {
    /// The code with this number on the wire. `None` for one of a later version, which is treated
    /// as [`CloseCode::Internal`] is.
    pub const fn from_u16(number: u16) -> Option<Self> {
        Some(match number {
            0 => Self::Normal,
            1 => Self::Handover,
            2 => Self::ProtocolViolation,
            3 => Self::VersionMismatch,
            4 => Self::FrameTooLarge,
            5 => Self::CreditOverrun,
            6 => Self::ForgedSource,
            7 => Self::AttachmentsUnclear,
            8 => Self::HelloTimeout,
            9 => Self::LeaseExpired,
            10 => Self::Fenced,
            11 => Self::NameTaken,
            12 => Self::WriteStalled,
            13 => Self::Internal,
            14 => Self::TooManyPeers,
            15 => Self::Replaced,
            16 => Self::HelloExpected,
            _ => return None,
        })
    }

    /// The number on the wire.
    pub const fn to_u16(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "closed in good order: nothing is wrong",
            Self::Handover => "the hub handed over: attach to the new one",
            Self::ProtocolViolation => "the protocol was violated: a defect of one of the two programs, report it",
            Self::VersionMismatch => "no protocol version in common: update the older of the two programs",
            Self::FrameTooLarge => "a frame was longer than this link allows: a defect of one of the two programs, report it",
            Self::CreditOverrun => "more was sent than the credit allowed: a defect of the sender, report it",
            Self::ForgedSource => "a frame came from an instance not attached to the link: a defect of the sender, report it",
            Self::AttachmentsUnclear => "attachments were lost, unclear of which frame: raise the limits of open files and reconnect",
            Self::HelloTimeout => "no hello came in time: look whether the other end speaks this protocol",
            Self::LeaseExpired => "nothing was heard for the length of the lease: look at the network and reconnect",
            Self::Fenced => "the instance was declared gone: join again as a new one",
            Self::NameTaken => "a living peer has the name: choose another, or wait for its end",
            Self::WriteStalled => "nothing was read for too long: look what blocks the reader, and reconnect",
            Self::Internal => "internal error of the other end: reconnect, and report it",
            Self::TooManyPeers => "the hub has as many peers as it may: raise its limit, or come back later",
            Self::Replaced => "replaced by a later link of the same instance: nothing is to be done",
            Self::HelloExpected => "what came first was no hello: look who connects, it speaks something else",
        })
    }
}

/// Why a receiver's node did not start what a frame asked for, in `REFUSED`. The handler certainly
/// did not run. The numbers are on the wire and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
#[non_exhaustive]
pub enum Refusal {
    /// Nobody has the id, name or generation. Look at the roster; a name may be waited for.
    NoSuchPeer = 1,
    /// The peer has no handler for the name. Final: repeat only after its declaration changed.
    NoHandler = 2,
    /// The peer has not opened the namespace. Final: repeat only after its declaration changed.
    NoNamespace = 3,
    /// The receiver has no room for the flow or the message. Repeat later, or send less.
    Full = 4,
    /// The message's time was over before it was started. Give it more, or drop it.
    Expired = 5,
    /// The receiver does not know the payload's codec. Use one that both ends have.
    Codec = 6,
    /// Attachments cannot reach the receiver. They have come back; send without them.
    AttachmentsUnsupported = 7,
    /// The sender took the request back before it was started.
    Cancelled = 8,
    /// The receiver does not take this message before it is ready. Repeat when it is.
    NotReady = 9,
    /// As many handlers are running as the receiver allows. Repeat later.
    HandlerLimit = 10,
    /// The receiver is closing. Choose another peer.
    Closed = 11,
    /// The receiver's instance has ended; the detail is its generation. Look for its successor.
    PeerGone = 12,
    /// The receiver broke the rules of the conversation, or says that the sender did. Report it; the
    /// one cannot reach the other any more.
    PeerFault = 13,
}

impl Refusal {
    /// The reason with this number on the wire. `None` for one of a later version: the message was
    /// not started, and no more is known.
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::NoSuchPeer,
            2 => Self::NoHandler,
            3 => Self::NoNamespace,
            4 => Self::Full,
            5 => Self::Expired,
            6 => Self::Codec,
            7 => Self::AttachmentsUnsupported,
            8 => Self::Cancelled,
            9 => Self::NotReady,
            10 => Self::HandlerLimit,
            11 => Self::Closed,
            12 => Self::PeerGone,
            13 => Self::PeerFault,
            _ => return None,
        })
    }

    /// The number on the wire.
    pub const fn to_u8(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchPeer => "no such peer: look at the roster, or send to a name and wait",
            Self::NoHandler => "no handler for the name: look at what the peer has declared",
            Self::NoNamespace => "the namespace is not open: look at what the peer has declared",
            Self::Full => "the receiver has no room for the message: repeat later, or send less",
            Self::Expired => "the message's time was over: give it more",
            Self::Codec => {
                "the receiver does not know the payload's codec: use one that both ends have"
            }
            Self::AttachmentsUnsupported => {
                "attachments cannot reach the peer: send without them, or join it by a unix socket"
            }
            Self::Cancelled => "cancelled by the sender: nobody waits for it",
            Self::NotReady => "the peer is not ready: repeat when it is",
            Self::HandlerLimit => {
                "too many handlers are running: repeat later, or raise the receiver's limit"
            }
            Self::Closed => "the peer is closing: choose another",
            Self::PeerGone => "the peer's instance has ended: look for its successor",
            Self::PeerFault => {
                "one of both broke the rules of the conversation: a defect, report it"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn close_codes_keep_their_numbers_and_say_different_things() {
        let known = 0..=16;
        let mut texts = BTreeSet::new();
        for number in 0..=u16::MAX {
            let code = CloseCode::from_u16(number);
            assert_eq!(code.is_some(), known.contains(&number));
            if let Some(code) = code {
                assert_eq!(code.to_u16(), number);
                assert!(texts.insert(code.to_string()));
            }
        }
    }

    #[test]
    fn every_reason_to_close_and_to_refuse_says_what_to_do() {
        let closes = (0..=u16::MAX).filter_map(CloseCode::from_u16);
        let refusals = (0..=u8::MAX).filter_map(Refusal::from_u8);
        let texts = closes.map(|code| code.to_string());
        for text in texts.chain(refusals.map(|refusal| refusal.to_string())) {
            let (what, advice) = text.split_once(": ").expect(&text);
            assert!(what.len() > 8 && advice.len() > 8, "{text}");
        }
    }

    #[test]
    fn refusals_keep_their_numbers_and_say_different_things() {
        let known = 1..=13;
        let mut texts = BTreeSet::new();
        for number in 0..=u8::MAX {
            let refusal = Refusal::from_u8(number);
            assert_eq!(refusal.is_some(), known.contains(&number));
            if let Some(refusal) = refusal {
                assert_eq!(refusal.to_u8(), number);
                assert!(texts.insert(refusal.to_string()));
            }
        }
    }
}
