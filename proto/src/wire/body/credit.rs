//! What a receiver gives back, and what a sender says when it has run out of it.

use alloc::vec::Vec;

use crate::wire::WireError;
use crate::wire::fields::{Fields, put_count};

/// Body of `MARK`: `received: u64, path: u32, credits: u16 count, then (flow: u32, taken: u64,
/// limit: u64, rooms: u32) each`. All numbers are totals since the conversation began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkBody {
    /// The receiver's node holds every frame up to this sequence.
    pub received: u64,
    /// With the flag `ANSWER`: the path of the question.
    pub path: u32,
    /// Credit of the flows that changed; of every open flow in an answer.
    pub credits: Vec<Credit>,
}

impl MarkBody {
    /// Appends the body to `out`.
    ///
    /// # Panics
    ///
    /// If there are more than 65,535 credits.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(8 + 4 + 2 + self.credits.len() * Credit::LEN);
        out.extend_from_slice(&self.received.to_be_bytes());
        out.extend_from_slice(&self.path.to_be_bytes());
        put_count(out, self.credits.len());
        for credit in &self.credits {
            credit.encode(out);
        }
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it ends too early or too late.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        let received = fields.u64()?;
        let path = fields.u32()?;
        let count = fields.count(Credit::LEN)?;
        let mut credits = Vec::with_capacity(count);
        for _ in 0..count {
            credits.push(Credit::read(&mut fields)?);
        }
        fields.finish()?;
        Ok(Self {
            received,
            path,
            credits,
        })
    }
}

/// The credit of one flow, in totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credit {
    /// The flow.
    pub flow: u32,
    /// Cost that the application has taken, in order.
    pub taken: u64,
    /// Cost that may be sent.
    pub limit: u64,
    /// Large messages for which room has been reserved.
    pub rooms: u32,
}

impl Credit {
    /// Bytes of one entry.
    const LEN: usize = 4 + 8 + 8 + 4;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.flow.to_be_bytes());
        out.extend_from_slice(&self.taken.to_be_bytes());
        out.extend_from_slice(&self.limit.to_be_bytes());
        out.extend_from_slice(&self.rooms.to_be_bytes());
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, WireError> {
        Ok(Self {
            flow: fields.u32()?,
            taken: fields.u64()?,
            limit: fields.u64()?,
            rooms: fields.u32()?,
        })
    }
}

/// Body of `BLOCKED` (the flow stands in the header): `limit: u64, need: u64, room: u32, size: u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockedBody {
    /// The limit at which the sender stands.
    pub limit: u64,
    /// Credit that the sender's next frame needs beyond it.
    pub need: u64,
    /// Number of the large message (from 1) for which room is asked; 0 for none.
    pub room: u32,
    /// Bytes of that message.
    pub size: u64,
}

impl BlockedBody {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.limit.to_be_bytes());
        out.extend_from_slice(&self.need.to_be_bytes());
        out.extend_from_slice(&self.room.to_be_bytes());
        out.extend_from_slice(&self.size.to_be_bytes());
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it ends too early or too late.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        let body = Self {
            limit: fields.u64()?,
            need: fields.u64()?,
            room: fields.u32()?,
            size: fields.u64()?,
        };
        fields.finish()?;
        Ok(body)
    }
}

/// Body of `RECLAIM` (the flow stands in the header): `limit: u64`, the limit up to which unused
/// credit is to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReclaimBody {
    /// The limit that the receiver has given.
    pub limit: u64,
}

impl ReclaimBody {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.limit.to_be_bytes());
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// If it ends too early or too late.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        let limit = fields.u64()?;
        fields.finish()?;
        Ok(Self { limit })
    }
}
