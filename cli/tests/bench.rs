//! `bench`: both sides do their work over every transport, and leave nothing behind.

mod support;

use rustix::process::Signal;
use support::{Place, Running, processes_that_name, wait_until};

fn bench(place: &Place, args: &[&str]) -> Running {
    let mut command = place.command(&[&["bench"], args].concat());
    command.env("TMPDIR", place.path());
    Running(command.spawn().unwrap())
}

fn measures(work: &str, transport: &str, concurrency: &str, size: &str) {
    let place = Place::new();
    let args = [
        work,
        "--transport",
        transport,
        "--concurrency",
        concurrency,
        "--size",
        size,
    ];
    let args = [&args[..], &["--duration", "200ms", "--json"]].concat();
    let report = bench(&place, &args).finish().expect(0).object();
    assert_eq!(
        (&report["errors"], &report["lost"]),
        (&0.into(), &0.into()),
        "{report}"
    );
    assert!(report["n"].as_u64().unwrap() > 0, "{report}");
    for figure in [
        "rate",
        "p50_us",
        "p99_us",
        "raw_rate",
        "raw_p50_us",
        "ratio",
    ] {
        assert!(report[figure].as_f64().unwrap() > 0.0, "{figure}: {report}");
    }
    let part = |name: &str| report[name].as_f64().unwrap();
    let expected = match concurrency {
        "1" => part("raw_p50_us") / part("p50_us"),
        _ => part("rate") / part("raw_rate"),
    };
    assert!((part("ratio") - expected).abs() < 1e-9, "{report}");
    let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn calls_over_every_transport() {
    for transport in ["unix", "tcp", "socketpair", "pipe"] {
        measures("call", transport, "1", "64");
        measures("call", transport, "32", "64");
    }
}

#[test]
fn events_over_every_transport() {
    for transport in ["unix", "tcp", "socketpair", "pipe"] {
        measures("emit", transport, "1", "64");
        measures("emit", transport, "32", "64");
    }
}

#[test]
fn descriptors_over_sockets() {
    for transport in ["unix", "socketpair"] {
        measures("fds", transport, "1", "8");
        measures("fds", transport, "16", "8");
    }
}

#[test]
fn messages_larger_than_any_buffer_do_not_lock_up() {
    measures("call", "pipe", "4", "300001");
    measures("emit", "unix", "4", "300001");
}

#[cfg(target_os = "linux")]
#[test]
fn both_sides_run_on_the_processors_that_were_asked_for_or_it_is_said() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let place = Place::new();
    let measure = |pin: &str| {
        let args = ["call", "--duration", "100ms", "--json", "--pin", pin];
        let ended = bench(&place, &args).finish();
        let ended = ended.expect(0);
        let told = ended.stderr.clone();
        (ended.object()["pin"].as_str().unwrap().to_owned(), told)
    };
    let allowed = sched_getaffinity(None).unwrap();
    assert_eq!(measure("none").0, "none");
    assert_eq!(measure("same").0, "same");
    let several = allowed.count() > 1;
    assert_eq!(measure("split").0, if several { "split" } else { "same" });
    // What this thread starts from now on has one processor, as in a small container.
    let only = (0..CpuSet::MAX_CPU).find(|at| allowed.is_set(*at));
    let mut one = CpuSet::new();
    one.set(only.unwrap());
    sched_setaffinity(None, &one).unwrap();
    let (how, told) = measure("split");
    assert_eq!(how, "same");
    assert!(told.contains("there is one processor"), "{told}");
}

#[test]
fn ctrl_c_ends_it_with_130_and_leaves_nothing() {
    let place = Place::new();
    let running = bench(&place, &["call", "--duration", "60s"]);
    wait_until("the other side", || {
        !processes_that_name(place.path()).is_empty()
    });
    running.signal(Signal::INT);
    running.finish().expect(130);
    let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    wait_until("all processes to end", || {
        processes_that_name(place.path()).is_empty()
    });
}
