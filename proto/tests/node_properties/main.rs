//! What holds of a whole node whatever is done to it: by its driver, by its application, and by
//! peers that break the rules.

#[path = "../support/mod.rs"]
mod support;

mod attaching;
mod attachments;
mod breaches;
mod chunks;
mod endings;
mod fairness;
mod flows;
mod framing;
mod handles;
mod limits;
mod queues;
mod requests;
mod runs;
mod time;
mod to_many;
mod violations;
mod waiting;
