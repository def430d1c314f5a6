//! What an instance offers.

use alloc::string::String;
use alloc::vec::Vec;

use crate::id::InstanceId;
use crate::wire::WireError;
use crate::wire::cbor::{self, MapReader, MapWriter, Record};
use crate::wire::fields::check_name;

/// What a peer has declared of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceDeclaration {
    /// The namespace; empty for the default one.
    pub name: String,
    /// Whether the application has said that its list is complete.
    pub ready: bool,
    /// Whether every event of the namespace has a listener.
    pub all_events: bool,
    /// Names with a request handler.
    pub handlers: Vec<String>,
    /// Names with an event listener.
    pub listeners: Vec<String>,
}

impl Record for NamespaceDeclaration {
    fn write(&self, map: &mut MapWriter<'_>) {
        map.field(1, &self.name);
        map.field(2, &self.ready);
        map.field(3, &self.all_events);
        map.field(4, &self.handlers);
        map.field(5, &self.listeners);
    }

    fn read(map: &mut MapReader<'_, '_>) -> Result<Self, WireError> {
        let namespace = Self {
            name: map.field(1)?,
            ready: map.field(2)?,
            all_events: map.field(3)?,
            handlers: map.field(4)?,
            listeners: map.field(5)?,
        };
        check_name(&namespace.name)?;
        for event in namespace.handlers.iter().chain(&namespace.listeners) {
            if event.is_empty() {
                return Err(WireError::BadName);
            }
            check_name(event)?;
        }
        Ok(namespace)
    }
}

/// A slice (at most 32 KiB) of what an attached instance declares. The namespaces of all slices of
/// one version replace what was declared before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declare {
    /// Whose declaration.
    pub instance: InstanceId,
    /// Counts the declarations of the instance.
    pub version: u64,
    /// Number of this slice, from 0.
    pub slice: u32,
    /// Whether it is the last of its version.
    pub last: bool,
    /// The namespaces of this slice.
    pub namespaces: Vec<NamespaceDeclaration>,
}

impl Declare {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        cbor::encode(self, out);
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it is not a map as this one, or a field is missing or has no meaning.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        cbor::decode(bytes)
    }
}

impl Record for Declare {
    fn write(&self, map: &mut MapWriter<'_>) {
        map.field(1, &self.instance);
        map.field(2, &self.version);
        map.field(3, &self.slice);
        map.field(4, &self.last);
        map.field(5, &self.namespaces);
    }

    fn read(map: &mut MapReader<'_, '_>) -> Result<Self, WireError> {
        Ok(Self {
            instance: map.field(1)?,
            version: map.field(2)?,
            slice: map.field(3)?,
            last: map.field(4)?,
            namespaces: map.field(5)?,
        })
    }
}

/// The hub has the slice; the next may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Whose declaration.
    pub instance: InstanceId,
    /// The version.
    pub version: u64,
    /// The slice.
    pub slice: u32,
}

impl Declared {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        cbor::encode(self, out);
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it is not a map as this one, or a field is missing or has no meaning.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        cbor::decode(bytes)
    }
}

impl Record for Declared {
    fn write(&self, map: &mut MapWriter<'_>) {
        map.field(1, &self.instance);
        map.field(2, &self.version);
        map.field(3, &self.slice);
    }

    fn read(map: &mut MapReader<'_, '_>) -> Result<Self, WireError> {
        Ok(Self {
            instance: map.field(1)?,
            version: map.field(2)?,
            slice: map.field(3)?,
        })
    }
}
