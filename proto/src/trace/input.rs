//! One input for each call that changes a node, as plain data.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::Hash;
use core::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::digest::{self, Digest};
use super::plain;
use crate::id::{LinkId, MessageId, NamespaceId, PeerName, RequestId, Ticket};
use crate::inbox::Names;
use crate::link::Written;
use crate::message::{Answer, Message, RequestOptions, SendOptions, Target};
use crate::node::{Hangup, LinkConfig, Node, Read};
use crate::output::{DialId, Output};
use crate::time::Instant;

/// An attachment of a recorded run: the how manieth one that was handed to the node, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub u64);

/// One input, made once or several times in a row, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What was done.
    pub input: Input,
    /// How often in a row, 1 to [`Step::MOST`]: polls and receives come in runs.
    #[serde(deserialize_with = "plain::times")]
    pub times: u32,
    /// A digest of everything that the calls gave back. After a poll that committed a plan, the
    /// bytes of the plan are in it.
    pub digest: u64,
}

impl Step {
    /// The longest run in one step.
    pub const MOST: u32 = 1 << 16;
}

/// A call that changes a node. The variants are named after the calls, their fields after the
/// parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "each field is a parameter of the call of that name"
)]
#[non_exhaustive]
pub enum Input {
    Poll,
    HandleTimeout {
        now: Instant,
    },
    Open {
        now: Instant,
        name: String,
    },
    Declare {
        now: Instant,
        namespace: NamespaceId,
        names: NamesRecord,
    },
    Ready {
        now: Instant,
        namespace: NamespaceId,
    },
    ReadyAll {
        now: Instant,
    },
    SetDefaultDeadline {
        namespace: Option<NamespaceId>,
        deadline: Duration,
    },
    AddLink {
        now: Instant,
        config: LinkConfig,
    },
    HandleRead {
        now: Instant,
        link: LinkId,
        #[serde(with = "plain::byte_string")]
        bytes: Bytes,
        attachments: Vec<Token>,
        truncated: bool,
    },
    HandleWritten {
        now: Instant,
        link: LinkId,
        result: Written,
    },
    HandleHangup {
        now: Instant,
        link: LinkId,
        cause: Hangup,
    },
    Disconnect {
        now: Instant,
        link: LinkId,
    },
    RefuseWaiting {
        now: Instant,
        name: PeerName,
    },
    Send {
        now: Instant,
        message: Box<MessageRecord>,
        options: SendOptions,
    },
    Request {
        now: Instant,
        message: Box<MessageRecord>,
        options: RequestOptions,
    },
    Reply {
        now: Instant,
        ticket: Ticket,
        answer: Box<Answer<Token>>,
    },
    Cancel {
        now: Instant,
        request: RequestId,
    },
    Recall {
        now: Instant,
        message: MessageId,
    },
    Recv {
        now: Instant,
        namespace: NamespaceId,
    },
    Dial {
        now: Instant,
    },
    DialFailed {
        now: Instant,
        id: DialId,
    },
    DialImpossible {
        now: Instant,
        id: DialId,
    },
    Drain {
        now: Instant,
        within: Duration,
    },
    Close {
        now: Instant,
    },
}

impl Input {
    /// Whether repetitions of it are counted instead of written again.
    pub(super) fn comes_in_runs(&self) -> bool {
        matches!(self, Self::Poll | Self::Recv { .. })
    }

    /// Bytes that it holds outside itself, for the bound of a recorder.
    pub(super) fn heap(&self) -> usize {
        match self {
            Self::Open { name, .. } => name.len(),
            Self::Declare { names, .. } => {
                let all = names.handlers.iter().chain(&names.listeners);
                all.map(|name| size_of::<String>() + name.len()).sum()
            }
            Self::HandleRead {
                bytes, attachments, ..
            } => bytes.len() + attachments.len() * size_of::<Token>(),
            Self::Send { message, .. } | Self::Request { message, .. } => message.heap(),
            Self::Reply { answer, .. } => {
                let held = match &**answer {
                    Answer::Reply {
                        payload,
                        attachments,
                        ..
                    } => payload.len() + attachments.len() * size_of::<Token>(),
                    Answer::Failed(failure) => failure.message.len() + failure.detail.len(),
                    Answer::NotRun(_) => 0,
                };
                size_of::<Answer<Token>>() + held
            }
            _ => 0,
        }
    }

    /// Makes the call once, and adds what it gave back to the digest.
    pub(super) fn apply(
        &self,
        node: &mut Node<Token>,
        digest: &mut Digest,
        see: &mut dyn FnMut(&Output<Token>),
    ) {
        match self {
            Self::Poll => {
                let output = node.poll();
                digest::output(digest, node, &output);
                see(&output);
            }
            Self::Recv { now, namespace } => {
                digest::delivery(digest, node.recv(*now, *namespace).as_ref());
            }
            Self::Send { .. } | Self::Request { .. } | Self::Reply { .. } => {
                self.apply_message(node, digest);
            }
            Self::AddLink { .. }
            | Self::HandleRead { .. }
            | Self::HandleWritten { .. }
            | Self::HandleHangup { .. }
            | Self::Disconnect { .. } => self.apply_link(node, digest),
            _ => self.apply_plain(node, digest),
        }
    }

    fn apply_message(&self, node: &mut Node<Token>, digest: &mut Digest) {
        match self {
            Self::Send {
                now,
                message,
                options,
            } => digest::sent(digest, &node.send(*now, message.to_message(), *options)),
            Self::Request {
                now,
                message,
                options,
            } => digest::sent(digest, &node.request(*now, message.to_message(), *options)),
            Self::Reply {
                now,
                ticket,
                answer,
            } => {
                let replied = node.reply(*now, *ticket, Answer::clone(answer));
                digest::replied(digest, &replied);
            }
            _ => {}
        }
    }

    fn apply_link(&self, node: &mut Node<Token>, digest: &mut Digest) {
        match self {
            Self::AddLink { now, config } => node.add_link(*now, *config).hash(digest),
            Self::HandleRead {
                now,
                link,
                bytes,
                attachments,
                truncated,
            } => {
                let read = Read {
                    bytes: BytesMut::from(&bytes[..]),
                    attachments: attachments.clone(),
                    truncated: *truncated,
                };
                node.handle_read(*now, *link, read).is_ok().hash(digest);
            }
            Self::HandleWritten { now, link, result } => {
                node.handle_written(*now, *link, *result).hash(digest);
            }
            Self::HandleHangup { now, link, cause } => {
                node.handle_hangup(*now, *link, *cause).is_ok().hash(digest);
            }
            Self::Disconnect { now, link } => {
                node.disconnect(*now, *link).is_ok().hash(digest);
            }
            _ => {}
        }
    }

    fn apply_plain(&self, node: &mut Node<Token>, digest: &mut Digest) {
        match self {
            Self::HandleTimeout { now } => node.handle_timeout(*now),
            Self::Open { now, name } => node.open(*now, name).ok().hash(digest),
            Self::Declare {
                now,
                namespace,
                names,
            } => {
                let declared = node.declare(*now, *namespace, names.to_names());
                declared.is_ok().hash(digest);
            }
            Self::Ready { now, namespace } => node.ready(*now, *namespace),
            Self::ReadyAll { now } => node.ready_all(*now),
            Self::SetDefaultDeadline {
                namespace,
                deadline,
            } => node.set_default_deadline(*namespace, *deadline),
            Self::Cancel { now, request } => node.cancel(*now, *request),
            Self::Recall { now, message } => node.recall(*now, *message).hash(digest),
            Self::RefuseWaiting { now, name } => node.refuse_waiting(*now, name),
            Self::Dial { now } => node.dial(*now),
            Self::DialFailed { now, id } => node.dial_failed(*now, *id),
            Self::DialImpossible { now, id } => node.dial_impossible(*now, *id),
            Self::Drain { now, within } => node.drain(*now, *within),
            Self::Close { now } => node.close(*now),
            // Those above, which `apply` has sent elsewhere.
            _ => {}
        }
    }
}

/// A [`Message`] in a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "as the fields of `Message`")]
pub struct MessageRecord {
    pub target: Target,
    pub namespace: NamespaceId,
    pub event: String,
    pub codec: u8,
    #[serde(with = "plain::byte_string")]
    pub payload: Bytes,
    pub attachments: Vec<Token>,
}

impl MessageRecord {
    fn heap(&self) -> usize {
        let attachments = self.attachments.len() * size_of::<Token>();
        size_of::<Self>() + self.event.len() + self.payload.len() + attachments
    }

    fn to_message(&self) -> Message<Token> {
        Message {
            target: self.target.clone(),
            namespace: self.namespace,
            event: Cow::Owned(self.event.clone()),
            codec: self.codec,
            payload: self.payload.clone(),
            attachments: self.attachments.clone(),
        }
    }
}

/// [`Names`] in a log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "as the fields of `Names`")]
pub struct NamesRecord {
    pub handlers: Vec<String>,
    pub listeners: Vec<String>,
    pub all_events: bool,
}

impl NamesRecord {
    pub(super) fn new(names: &Names) -> Self {
        let strings = |set: &alloc::collections::BTreeSet<Arc<str>>| -> Vec<String> {
            set.iter().map(|name| String::from(&**name)).collect()
        };
        Self {
            handlers: strings(&names.handlers),
            listeners: strings(&names.listeners),
            all_events: names.all_events,
        }
    }

    fn to_names(&self) -> Names {
        let set = |names: &[String]| names.iter().map(|name| Arc::from(name.as_str())).collect();
        Names {
            handlers: set(&self.handlers),
            listeners: set(&self.listeners),
            all_events: self.all_events,
        }
    }
}
