//! Limits of the wire, checked before anything is allocated.

/// The largest hello, header included.
pub const HELLO: usize = 256;
/// The largest frame before a link is authenticated.
pub const UNAUTHENTICATED: usize = 4 * 1024;
/// The largest control frame on an established link (a slice of a declaration or of a roster).
pub const CONTROL: usize = 64 * 1024;
/// The largest frame on an established link by default; larger messages travel in slices.
pub const FRAME: usize = 1024 * 1024;
/// How many attachments a message may carry by default.
pub const ATTACHMENTS: u8 = 16;
/// How many attachments the kernel passes with one write (SCM_MAX_FD of Linux).
pub const KERNEL_ATTACHMENTS: u8 = 253;
/// How many attachments of one sender may be on their way to one receiver: a hub holds no more.
pub const PAIR_ATTACHMENTS: usize = 128;
/// How many namespaces a peer may have.
pub const NAMESPACES: usize = 1024;
/// How many handler names a peer may have over all namespaces, and how many names of listeners.
pub const NAMES: usize = 1024;
/// How many frames that need no credit a conversation may have on their way, without their
/// receiver's mark: half of what a hub queues of them for one source.
pub const UNCREDITED: u64 = 32_768;
/// How many frames each conversation may send without credit, once. Both ends count, so no
/// configuration changes it; nor what follows.
pub const FIRST_CONTACT_FRAMES: u32 = 16;
/// What these frames may cost together, in bytes.
pub const FIRST_CONTACT_BYTES: u64 = 16 * 1024;
/// How many attachments they may carry together.
pub const FIRST_CONTACT_ATTACHMENTS: u32 = 4;
/// How many hubs a frame may pass.
pub const HOPS: u8 = 32;
/// The longest namespace or event name in bytes.
pub const NAME: usize = 255;
/// How deep a control body may nest.
pub const CBOR_DEPTH: usize = 16;
