//! Which codec is used where, and the application's own codecs.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::error::Error;
use core::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, CodecError, CodecId, Decode, Encode, Encoded, Integers, Value};
use crate::message::Payload;

/// The codecs of a node: which there are, and which is chosen for what.
#[derive(Clone)]
pub struct CodecTable {
    node: CodecId,
    namespaces: BTreeMap<Box<str>, Choice>,
    own: BTreeMap<CodecId, Arc<dyn Codec>>,
}

/// An own codec was not registered; it comes back.
#[derive(Clone)]
#[non_exhaustive]
pub enum RegisterError {
    /// Its id is below [`CodecId::FIRST_OWN`].
    Reserved(Arc<dyn Codec>),
    /// Another codec has its id.
    Taken(Arc<dyn Codec>),
}

impl CodecTable {
    /// CBOR everywhere, and no own codec.
    pub const fn new() -> Self {
        Self {
            node: CodecId::CBOR,
            namespaces: BTreeMap::new(),
            own: BTreeMap::new(),
        }
    }

    /// Adds an own codec, for reading at once and for writing where it is chosen.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] with the codec where its id is reserved or taken.
    pub fn register(&mut self, codec: Arc<dyn Codec>) -> Result<(), RegisterError> {
        let id = codec.id();
        if id < CodecId::FIRST_OWN {
            return Err(RegisterError::Reserved(codec));
        }
        if self.own.contains_key(&id) {
            return Err(RegisterError::Taken(codec));
        }
        self.own.insert(id, codec);
        Ok(())
    }

    /// Whether payloads in this codec can be read and written here.
    pub fn knows(&self, codec: CodecId) -> bool {
        match codec {
            CodecId::RAW | CodecId::CBOR => true,
            CodecId::JSON => cfg!(feature = "json"),
            own => self.own.contains_key(&own),
        }
    }

    /// Chooses for the whole node.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unknown`] where the codec is not there; the choice stays.
    pub fn set_node(&mut self, codec: CodecId) -> Result<(), CodecError> {
        self.node = self.known(codec)?;
        Ok(())
    }

    /// Chooses for a namespace, against the node's choice.
    ///
    /// # Errors
    ///
    /// As [`CodecTable::set_node`].
    pub fn set_namespace(&mut self, namespace: &str, codec: CodecId) -> Result<(), CodecError> {
        let codec = self.known(codec)?;
        self.namespaces.entry(namespace.into()).or_default().codec = Some(codec);
        Ok(())
    }

    /// Chooses for one event or request name of a namespace, against the namespace's choice.
    ///
    /// # Errors
    ///
    /// As [`CodecTable::set_node`].
    pub fn set_event(
        &mut self,
        namespace: &str,
        event: &str,
        codec: CodecId,
    ) -> Result<(), CodecError> {
        let codec = self.known(codec)?;
        let choice = self.namespaces.entry(namespace.into()).or_default();
        choice.events.insert(event.into(), codec);
        Ok(())
    }

    /// The codec for a message: its own choice, or the event's, or the namespace's, or the node's.
    pub fn choose(&self, namespace: &str, event: &str, message: Option<CodecId>) -> CodecId {
        let configured = || {
            let choice = self.namespaces.get(namespace)?;
            choice.events.get(event).copied().or(choice.codec)
        };
        message.or_else(configured).unwrap_or(self.node)
    }

    /// Writes a payload with the codec that [`CodecTable::choose`] gives; [`Raw`](super::Raw) stays
    /// raw whatever that is.
    ///
    /// # Errors
    ///
    /// As [`encode`](super::encode), or [`CodecError::Own`].
    pub fn encode<T: Encode + ?Sized>(
        &self,
        namespace: &str,
        event: &str,
        message: Option<CodecId>,
        data: &T,
    ) -> Result<Encoded, CodecError> {
        let codec = self.choose(namespace, event, message);
        data.encode(&Writing {
            table: self,
            event,
            codec,
        })
    }

    /// Reads a payload in the codec that its frame names.
    ///
    /// # Errors
    ///
    /// As [`decode`](super::decode), or [`CodecError::Own`].
    pub fn decode<T: Decode>(
        &self,
        codec: CodecId,
        event: &str,
        payload: &Payload,
    ) -> Result<T, CodecError> {
        T::decode(&Reading {
            table: self,
            event,
            codec,
            payload,
        })
    }

    /// Writes a payload anew in another codec, as a parent does for a child that reads only JSON. Raw
    /// bytes become a value of bytes, and only such a value becomes raw bytes. `integers` counts only
    /// where JSON is written.
    ///
    /// Bytes become base64 text in JSON and come out of it as text, so the way back through here is
    /// not the inverse: forward what a JSON child wrote as JSON, and let the reader's type decide.
    ///
    /// # Errors
    ///
    /// As [`CodecTable::decode`] and [`CodecTable::encode`]: what the new codec cannot carry is
    /// refused.
    pub fn transcode(
        &self,
        from: CodecId,
        to: CodecId,
        event: &str,
        payload: &Bytes,
        integers: Integers,
    ) -> Result<Bytes, CodecError> {
        if from == to && (to != CodecId::JSON || integers == Integers::default()) {
            return Ok(payload.clone());
        }
        let value = match from {
            CodecId::RAW => Value::Bytes(payload.to_vec()),
            _ => self.decode(from, event, &payload.clone().into())?,
        };
        match to {
            CodecId::RAW => match value {
                Value::Bytes(bytes) => Ok(bytes.into()),
                _ => Err(CodecError::Raw),
            },
            #[cfg(feature = "json")]
            CodecId::JSON => super::encode_json(&value, integers),
            _ => {
                let writing = Writing {
                    table: self,
                    event,
                    codec: to,
                };
                Ok(writing.typed(&value)?.payload)
            }
        }
    }

    fn known(&self, codec: CodecId) -> Result<CodecId, CodecError> {
        if self.knows(codec) {
            Ok(codec)
        } else {
            Err(CodecError::Unknown(codec))
        }
    }
}

impl Default for CodecTable {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CodecTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodecTable")
            .field("node", &self.node)
            .field("namespaces", &self.namespaces)
            .field("own", &self.own.keys())
            .finish()
    }
}

impl RegisterError {
    /// The codec that was refused.
    pub fn into_codec(self) -> Arc<dyn Codec> {
        match self {
            Self::Reserved(codec) | Self::Taken(codec) => codec,
        }
    }
}

impl fmt::Debug for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved(codec) => f.debug_tuple("Reserved").field(&codec.id()).finish(),
            Self::Taken(codec) => f.debug_tuple("Taken").field(&codec.id()).finish(),
        }
    }
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved(codec) => {
                let first = CodecId::FIRST_OWN.0;
                write!(f, "{} is reserved: own ones begin at {first}", codec.id())
            }
            Self::Taken(codec) => write!(f, "{} is there already", codec.id()),
        }
    }
}

impl Error for RegisterError {}

#[derive(Clone, Debug, Default)]
struct Choice {
    codec: Option<CodecId>,
    events: BTreeMap<Box<str>, CodecId>,
}

/// One payload that is being written; given to [`Encode`].
pub struct Writing<'a> {
    table: &'a CodecTable,
    event: &'a str,
    codec: CodecId,
}

impl Writing<'_> {
    /// Writes what serde knows.
    pub(super) fn typed<T: Serialize + ?Sized>(&self, data: &T) -> Result<Encoded, CodecError> {
        let codec = self.codec;
        let payload = match self.table.own.get(&codec) {
            None => super::encode(codec, data)?,
            Some(own) => {
                let value = Value::from_typed(data)?;
                let written = own.encode(self.event, &value);
                written
                    .map_err(|error| CodecError::Own { codec, error })?
                    .into()
            }
        };
        Ok(Encoded { codec, payload })
    }
}

impl fmt::Debug for Writing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing")
            .field("event", &self.event)
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

/// One payload that is being read; given to [`Decode`].
pub struct Reading<'a> {
    table: &'a CodecTable,
    event: &'a str,
    codec: CodecId,
    payload: &'a Payload,
}

impl Reading<'_> {
    /// Reads what serde knows.
    pub(super) fn typed<T: DeserializeOwned>(&self) -> Result<T, CodecError> {
        let codec = self.codec;
        match self.table.own.get(&codec) {
            None => super::decode(codec, self.payload),
            Some(own) => {
                let value = own.decode(self.event, self.payload);
                value
                    .map_err(|error| CodecError::Own { codec, error })?
                    .to_typed()
            }
        }
    }

    /// The bytes, shared, where they are raw.
    pub(super) fn raw(&self) -> Result<Bytes, CodecError> {
        match self.codec {
            CodecId::RAW => Ok(self.payload.to_bytes()),
            _ => Err(CodecError::Raw),
        }
    }
}

impl fmt::Debug for Reading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading")
            .field("event", &self.event)
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}
