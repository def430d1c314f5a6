//! Messages to rooms, and the gaps where one is missing.

use alloc::vec::Vec;

use super::EventBody;
use crate::id::InstanceId;
use crate::wire::WireError;
use crate::wire::fields::{Fields, put_count, put_name};

/// The shortest entry of a list of rooms: a name of one byte and its length.
const SHORTEST_NAME: usize = 2;

/// Body of `ROOM_EVENT`: `rooms: u16 count, then (room: short string, sequence: u64) each`, then as
/// [`EventBody`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomEventBody<'a> {
    /// Every room in which the message counts, with its number there.
    pub rooms: Vec<(&'a str, u64)>,
    /// The event itself.
    pub event: EventBody<'a>,
}

impl<'a> RoomEventBody<'a> {
    /// Appends the body to `out`.
    ///
    /// # Panics
    ///
    /// If a name has more than [`limits::NAME`](crate::wire::limits::NAME) bytes, or there are
    /// more than 65,535 rooms.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.rooms.len());
        for (room, sequence) in &self.rooms {
            put_name(out, room);
            out.extend_from_slice(&sequence.to_be_bytes());
        }
        self.event.encode(out);
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it ends too early, names no room, or a name is not valid.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        let count = fields.count(SHORTEST_NAME + 8)?;
        if count == 0 {
            return Err(WireError::BadField("rooms"));
        }
        let mut rooms = Vec::with_capacity(count);
        for _ in 0..count {
            rooms.push((fields.name()?, fields.u64()?));
        }
        let event = EventBody::read(fields)?;
        Ok(Self { rooms, event })
    }
}

/// Body of `GAP`: `sender: u64, rooms: u16 count, then (room: short string, reached: u64, missed:
/// u64, at_least: u8) each`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapBody<'a> {
    /// Whose messages are missing.
    pub sender: InstanceId,
    /// What is missing in each room.
    pub rooms: Vec<GapRoom<'a>>,
}

impl<'a> GapBody<'a> {
    /// Appends the body to `out`.
    ///
    /// # Panics
    ///
    /// If a name has more than [`limits::NAME`](crate::wire::limits::NAME) bytes, or there are
    /// more than 65,535 rooms.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sender.0.to_be_bytes());
        put_count(out, self.rooms.len());
        for gap in &self.rooms {
            put_name(out, gap.room);
            out.extend_from_slice(&gap.reached.to_be_bytes());
            out.extend_from_slice(&gap.missed.to_be_bytes());
            out.push(gap.at_least.into());
        }
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it ends too early or too late, names no room, or a name or a flag is not valid.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        let sender = InstanceId(fields.u64()?);
        let count = fields.count(SHORTEST_NAME + 8 + 8 + 1)?;
        if count == 0 {
            return Err(WireError::BadField("rooms"));
        }
        let mut rooms = Vec::with_capacity(count);
        for _ in 0..count {
            rooms.push(GapRoom::read(&mut fields)?);
        }
        fields.finish()?;
        Ok(Self { sender, rooms })
    }
}

/// One room of a [`GapBody`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapRoom<'a> {
    /// The room.
    pub room: &'a str,
    /// The last number that the gap covers.
    pub reached: u64,
    /// How many messages are missing; 0 where the receiver was left out on purpose.
    pub missed: u64,
    /// Whether `missed` is a lower bound.
    pub at_least: bool,
}

impl<'a> GapRoom<'a> {
    fn read(fields: &mut Fields<'a>) -> Result<Self, WireError> {
        Ok(Self {
            room: fields.name()?,
            reached: fields.u64()?,
            missed: fields.u64()?,
            at_least: match fields.u8()? {
                0 => false,
                1 => true,
                _ => return Err(WireError::BadField("at_least")),
            },
        })
    }
}
