//! What only the node does that is the hub: it says who is who, keeps the truth of who is there,
//! and tells it to its members.

pub(crate) mod declarations;
pub(crate) mod egress;
pub(crate) mod identity;
pub(crate) mod roster;
#[cfg(test)]
mod tests;
