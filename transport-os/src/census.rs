//! Counting descriptors, so that a test can say that none was leaked.

use std::os::fd::OwnedFd;

use rustix::fs::{Dir, Mode, OFlags};

/// How many descriptors this process has open. Other threads change the number: a test that
/// compares two counts must be alone in its process.
///
/// # Panics
///
/// When `/proc/self/fd` (`/dev/fd` outside Linux) cannot be read: a census that cannot count must
/// not pass for one that found nothing.
pub fn open_descriptors() -> usize {
    let path = if cfg!(target_os = "linux") {
        "/proc/self/fd"
    } else {
        "/dev/fd"
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder: OwnedFd =
        rustix::fs::open(path, flags, Mode::empty()).expect("the folder of open descriptors");
    let entries = Dir::new(folder).expect("a directory stream");
    let numbers = entries
        .map(|entry| entry.expect("an entry of the folder of open descriptors"))
        .filter(|entry| entry.file_name().to_bytes()[0].is_ascii_digit())
        .count();
    // One of them is the folder itself.
    numbers - 1
}
