//! The memory that the kernel reads into.

use std::cell::RefCell;

/// The most bytes that one read brings.
pub const MAX_READ: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends `room` bytes, at most [`MAX_READ`], of memory that was zeroed once in this thread's life.
///
/// `recvmsg` and `preadv2` take initialised slices, and the spare capacity of a buffer is none: to
/// zero it would cost 64 KiB of writes for each small message, and to pretend would be undefined
/// behaviour. So the kernel writes here, and only the bytes that came are copied; the memory stays
/// in the cache, and the difference to reading in place was not measurable beside the system call.
pub(super) fn with<T>(room: usize, read: impl FnOnce(&mut [u8]) -> T) -> T {
    let room = room.min(MAX_READ);
    // An option, because only one of the two closures below may have it.
    let mut read = Some(read);
    let shared = SCRATCH.try_with(|scratch| {
        // A signal handler that reads a stream is the only way to find it lent already.
        let mut scratch = scratch.try_borrow_mut().ok()?;
        if scratch.is_empty() {
            scratch.resize(MAX_READ, 0);
        }
        read.take().map(|read| read(&mut scratch[..room]))
    });
    match (shared, read) {
        (Ok(Some(done)), _) => done,
        // In a destructor of the thread's own storage the scratch may be gone.
        (_, Some(read)) => read(&mut vec![0; room]),
        (_, None) => unreachable!("the closure is taken only by the call whose result is returned"),
    }
}
