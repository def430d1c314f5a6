//! A message while it is put together.

use std::borrow::Cow;
use std::fmt;

use switchboard_proto::codec::{CodecError, CodecId, CodecTable, Encode, Encoded};
use switchboard_proto::outgoing::{IntoTargets, Receivers, TargetError};
use switchboard_proto::{Message, NamespaceId, RequestOptions, SendOptions, Target};

use crate::Attachment;

/// The parts that every message has, and the options of both kinds. The value is encoded at the end,
/// when its codec is known; the first thing that is wrong is told then too.
pub struct Draft<'m, M: ?Sized> {
    /// The name of the event or request.
    pub name: Cow<'static, str>,
    value: &'m M,
    /// Another codec than the name's.
    pub codec: Option<CodecId>,
    /// For whom it is.
    pub receivers: Receivers,
    /// What goes with it.
    pub attachments: Vec<Attachment>,
    /// Where it is a request.
    pub request: RequestOptions,
    /// Where it is an event.
    pub event: SendOptions,
    wrong: Option<TargetError>,
}

/// A message that was never put together; what was attached comes back.
#[derive(Debug)]
pub struct NotMade {
    /// Why.
    pub why: Wrong,
    /// What was attached.
    pub attachments: Vec<Attachment>,
}

/// What is wrong with a message that was never put together.
#[derive(Debug)]
pub enum Wrong {
    /// A target can be nobody.
    Target(TargetError),
    /// The codec cannot carry the value.
    Codec(CodecError),
}

impl<'m, M: Encode + ?Sized> Draft<'m, M> {
    /// A message of this name and value, for nobody in particular.
    pub fn new(name: Cow<'static, str>, value: &'m M) -> Self {
        Self {
            name,
            value,
            codec: None,
            receivers: Receivers::new(),
            attachments: Vec::new(),
            request: RequestOptions::default(),
            event: SendOptions::default(),
            wrong: None,
        }
    }

    /// Adds receivers.
    pub fn to(&mut self, targets: &impl IntoTargets) {
        if let Err(error) = self.receivers.add(targets) {
            // The first one is told when the message is sent.
            self.wrong.get_or_insert(error);
        }
    }

    /// Lets the attachments wait for a receiver that is not ready.
    pub fn queue_attachments(&mut self) {
        self.request.queue_attachments = true;
        self.event.queue_attachments = true;
    }

    /// The message, whole. `shown` is the namespace as people write it.
    ///
    /// # Errors
    ///
    /// What was wrong first.
    pub fn into_message(
        self,
        codecs: &CodecTable,
        namespace: NamespaceId,
        shown: &str,
        target: impl FnOnce(Receivers) -> Target,
    ) -> Result<Message<Attachment>, NotMade> {
        let attachments = self.attachments;
        if let Some(error) = self.wrong {
            let why = Wrong::Target(error);
            return Err(NotMade { why, attachments });
        }
        match codecs.encode(shown, &self.name, self.codec, self.value) {
            Ok(Encoded { codec, payload }) => Ok(Message {
                target: target(self.receivers),
                namespace,
                event: self.name,
                codec: codec.0,
                payload,
                attachments,
            }),
            Err(error) => Err(NotMade {
                why: Wrong::Codec(error),
                attachments,
            }),
        }
    }
}

impl<M: ?Sized> fmt::Debug for Draft<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
