//! What the tests of this crate and of those above it share. Everything here fails by a panic, with a
//! word on what did not happen.

mod pump;

use std::time::{Duration, Instant};

pub use pump::Pump;

/// No wait of a test is longer; what takes this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something is true that announces itself by no descriptor.
///
/// # Panics
///
/// It did not come true within [`PATIENCE`].
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        // Between two looks.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What a child does that is to be ended by somebody else.
pub fn sleep_forever() -> ! {
    loop {
        std::thread::park();
    }
}

/// Runs `$main(role)` instead of the tests if the binary was started with this variable, whose value
/// is the role.
///
/// It happens before `main`, by an entry in `.init_array`, whose functions the loader of an ELF file
/// runs first: so the test harness prints nothing and takes no arguments, and the standard library has
/// not yet repaired closed descriptors, as it has not in a program written in another language.
#[macro_export]
macro_rules! run_role_before_main {
    ($variable:expr, $main:path) => {
        #[used]
        #[unsafe(link_section = ".init_array")]
        static ROLE_BEFORE_MAIN: extern "C" fn() = {
            extern "C" fn enter() {
                if let Ok(role) = ::std::env::var($variable) {
                    $main(&role);
                    ::std::process::exit(0);
                }
            }
            enter
        };
    };
}
