//! What is said when the system has run out of something.

mod common;

use common::{alone, limit_descriptors, restore_descriptors};
use switchboard_os::process::SpawnSpec;
use switchboard_os::{Address, Listener, Stream};

#[test]
fn a_start_without_free_descriptors_says_what_ran_out() {
    if !alone("a_start_without_free_descriptors_says_what_ran_out") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let address = Address::unix(folder.path().join("hub")).unwrap();
    let before = limit_descriptors(0);
    let said = [
        Listener::bind(&address).unwrap_err().to_string(),
        Stream::connect(&address).unwrap_err().to_string(),
        SpawnSpec::new("true").spawn().unwrap_err().to_string(),
    ];
    restore_descriptors(before);
    for text in said {
        assert!(text.contains("limit of open files (`ulimit -n`)"), "{text}");
    }
    // Nothing was left half made: with descriptors it works at once.
    let _listener = Listener::bind(&address).unwrap();
    assert!(Stream::connect(&address).is_ok());
}
