//! Commands with acknowledgements between a master and its workers.

mod acknowledgement;
mod descriptors;
mod failures;
mod naming;
