//! What every scenario runs over.

/// Makes a module of tests for each setting, with a test for each scenario.
macro_rules! over_all {
    ($($scenario:ident),* $(,)?) => {
        crate::settings::over_one!(poll_unix, Poll, Poll, Unix, $($scenario),*);
        crate::settings::over_one!(poll_tcp, Poll, Poll, Tcp, $($scenario),*);
        crate::settings::over_one!(poll_socketpair, Poll, Poll, Socketpair, $($scenario),*);
        crate::settings::over_one!(poll_pipes, Poll, Poll, Pipes, $($scenario),*);
        crate::settings::over_one!(blocking_unix, Blocking, Blocking, Unix, $($scenario),*);
        crate::settings::over_one!(blocking_tcp, Blocking, Blocking, Tcp, $($scenario),*);
        crate::settings::over_one!(
            blocking_socketpair, Blocking, Blocking, Socketpair, $($scenario),*
        );
        crate::settings::over_one!(blocking_pipes, Blocking, Blocking, Pipes, $($scenario),*);
        crate::settings::over_one!(smol_unix, Smol, Smol, Unix, $($scenario),*);
        crate::settings::over_one!(smol_tcp, Smol, Smol, Tcp, $($scenario),*);
        crate::settings::over_one!(smol_socketpair, Smol, Smol, Socketpair, $($scenario),*);
        crate::settings::over_one!(smol_pipes, Smol, Smol, Pipes, $($scenario),*);
        // Two drivers that know nothing of each other.
        crate::settings::over_one!(poll_hub_smol_worker, Poll, Smol, Unix, $($scenario),*);
        crate::settings::over_one!(smol_hub_blocking_worker, Smol, Blocking, Socketpair, $($scenario),*);
        crate::settings::over_one!(blocking_hub_poll_worker, Blocking, Poll, Tcp, $($scenario),*);
    };
}

macro_rules! over_one {
    ($module:ident, $hub:ident, $worker:ident, $transport:ident, $($scenario:ident),*) => {
        mod $module {
            use switchboard_tests::{Driver, Setting, Transport};

            const SETTING: Setting = Setting {
                hub: Driver::$hub,
                worker: Driver::$worker,
                transport: Transport::$transport,
            };

            $(
                #[test]
                fn $scenario() {
                    super::$scenario(SETTING);
                }
            )*
        }
    };
}

pub(crate) use {over_all, over_one};
