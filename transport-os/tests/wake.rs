//! The waker, the clock and the seeds.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{is_ready, wait};
use rustix::event::PollFlags;
use switchboard_os::{Clock, Seeds, Waker};

#[test]
fn wakes_coalesce_and_one_clear_ends_them() {
    let waker = Waker::new().unwrap();
    assert!(!is_ready(&waker, PollFlags::IN));
    waker.clear().unwrap();
    for _ in 0..2 {
        for _ in 0..100_000 {
            waker.wake().unwrap();
        }
        assert!(is_ready(&waker, PollFlags::IN));
        waker.clear().unwrap();
        assert!(!is_ready(&waker, PollFlags::IN));
    }
}

#[test]
fn hazard_x7_no_wake_is_lost_between_threads() {
    const EACH: u64 = 100_000;
    let waker = Waker::new().unwrap();
    let posted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..EACH {
                    // The waker must order this before what the sleeper reads.
                    posted.fetch_add(1, Ordering::Relaxed);
                    waker.wake().unwrap();
                }
            });
        }
        let mut seen = 0;
        while seen < 2 * EACH {
            wait(&waker, PollFlags::IN);
            waker.clear().unwrap();
            seen = posted.load(Ordering::Relaxed);
        }
    });
}

/// Waits until the counter is there, at once where there is a core for each thread.
fn reach(counter: &AtomicU64, goal: u64) {
    let mut spins = 0;
    while counter.load(Ordering::Acquire) < goal {
        spins += 1;
        if spins < 1000 {
            std::hint::spin_loop()
        } else {
            std::thread::yield_now()
        }
    }
}

#[test]
fn hazard_x7_a_wake_during_a_clear_does_not_silence_the_later_ones() {
    const LAST: u64 = u64::MAX;
    let end = Instant::now() + Duration::from_secs(2);
    let waker = Waker::new().unwrap();
    let (begun, ended) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1.. {
                reach(&begun, round);
                // A little later in each round, to meet every place in the clear.
                for _ in 0..round % 97 {
                    std::hint::spin_loop();
                }
                waker.wake().unwrap();
                ended.store(round, Ordering::Release);
                if begun.load(Ordering::Acquire) == LAST {
                    return;
                }
            }
        });
        for round in 1.. {
            begun.store(round, Ordering::Release);
            waker.clear().unwrap();
            reach(&ended, round);
            waker.wake().unwrap();
            let heard = is_ready(&waker, PollFlags::IN);
            if !heard || Instant::now() > end {
                // Lets the other thread end, also before the test fails.
                begun.store(LAST, Ordering::Release);
                assert!(heard, "silent since round {round}");
                return;
            }
        }
    });
}

#[test]
fn hazard_t1_the_clock_counts_from_boot_and_never_back_whatever_the_date_is() {
    let clock = Clock;
    let uptime = || {
        let text = std::fs::read_to_string("/proc/uptime").unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let before = uptime();
    let times: Vec<_> = (0..1000).map(|_| clock.now()).collect();
    let after = uptime();
    assert!(times.is_sorted());
    assert!(times[999] > times[0]);
    let seconds = times[0] as f64 / 1e9;
    assert!(
        (before - 0.02..after + 0.02).contains(&seconds),
        "{before} {seconds} {after}"
    );
}

#[test]
fn seeds_are_random_independent_and_never_shown() {
    let (one, two) = (Seeds::from_system().unwrap(), Seeds::from_system().unwrap());
    let all = [one.behaviour, one.secret, two.behaviour, two.secret];
    for (n, seed) in all.iter().enumerate() {
        assert!(all[..n].iter().all(|other| other != seed));
        assert_ne!(seed, &[0; 32]);
    }
    assert_eq!(format!("{one:?}"), "Seeds { .. }");
}
