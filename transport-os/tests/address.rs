//! Addresses as people write them.

use switchboard_os::{Address, AddressError, UnixPath};

fn parse(text: &str) -> Result<Address, AddressError> {
    text.parse()
}

#[test]
fn an_address_is_shown_as_it_is_written() {
    for text in [
        "unix:/run/app.sock",
        "unix:/with space/ü",
        "tcp://127.0.0.1:7000",
        "tcp://[::1]:0",
        "tcp://localhost:65535",
        "tcp://my-host_1.example:80",
    ] {
        let address = parse(text).unwrap();
        assert_eq!(address.to_string(), text);
        assert_eq!(parse(&address.to_string()).unwrap(), address);
    }
}

#[test]
fn an_address_that_does_not_parse_says_what_to_write() {
    let long = format!("unix:/{}", "x".repeat(UnixPath::MAX));
    let cases = [
        ("", "unix:/absolute/path or tcp://host:port"),
        ("/run/app.sock", "unix:/absolute/path or tcp://host:port"),
        (
            "http://127.0.0.1:80",
            "unix:/absolute/path or tcp://host:port",
        ),
        ("tcp:127.0.0.1:80", "unix:/absolute/path or tcp://host:port"),
        ("unix:", "empty"),
        ("unix:app.sock", "relative"),
        ("unix:./app.sock", "relative"),
        ("unix:/", "names no file"),
        ("unix:/run/", "names no file"),
        ("unix:/run/..", "names no file"),
        ("unix:/run/.", "names no file"),
        ("unix:/run/a\0b", "NUL"),
        (long.as_str(), "limit for a socket is"),
        ("tcp://", "no port"),
        ("tcp://127.0.0.1", "no port"),
        ("tcp://127.0.0.1:", "no port"),
        ("tcp://[::1]", "no port"),
        ("tcp://:80", "no host"),
        ("tcp://::1:80", "brackets"),
        ("tcp://[::1:80", "brackets"),
        ("tcp://[127.0.0.1]:80", "no host"),
        ("tcp://user@host:80", "no host"),
        ("tcp://ho st:80", "no host"),
        ("tcp://ho\0st:80", "NUL"),
        ("tcp://localhost:80/", "no port: write a number"),
        ("tcp://localhost:65536", "0 to 65535"),
        ("tcp://localhost:+80", "0 to 65535"),
        ("tcp://localhost:-1", "0 to 65535"),
    ];
    for (text, advice) in cases {
        let error = parse(text).expect_err(text);
        assert!(error.to_string().contains(advice), "{text:?} says: {error}");
    }
}

#[test]
fn hazard_p9_a_path_that_is_too_long_names_the_limit() {
    let longest = format!("/{}", "x".repeat(UnixPath::MAX - 1));
    assert!(Address::unix(&longest).is_ok());
    let error = Address::unix(longest + "y").unwrap_err();
    assert!(
        matches!(error, AddressError::PathTooLong { length, .. } if length == UnixPath::MAX + 1)
    );
    let text = error.to_string();
    assert!(text.contains(&UnixPath::MAX.to_string()), "{text}");
    assert!(text.contains(&(UnixPath::MAX + 1).to_string()), "{text}");
    #[cfg(target_os = "linux")]
    assert_eq!(UnixPath::MAX, 107);
}

#[test]
fn tcp_stays_on_loopback_unless_asked() {
    for text in [
        "tcp://127.0.0.1:1",
        "tcp://127.9.9.9:1",
        "tcp://[::1]:1",
        "tcp://LocalHost:1",
    ] {
        let found = parse(text).unwrap().resolve().unwrap();
        assert!(
            !found.is_empty() && found.iter().all(|at| at.ip().is_loopback()),
            "{found:?}"
        );
    }
    let mapped = parse("tcp://[::ffff:127.0.0.1]:1").unwrap();
    assert_eq!(mapped.resolve().unwrap().len(), 1);
    for text in [
        "tcp://192.0.2.1:1",
        "tcp://0.0.0.0:1",
        "tcp://[::]:1",
        "tcp://[::ffff:10.0.0.1]:1",
    ] {
        let address = parse(text).unwrap();
        let error = address.resolve().unwrap_err();
        assert!(matches!(error, AddressError::NotLoopback { .. }), "{error}");
        assert!(error.to_string().contains("allow_remote"), "{error}");
        assert_eq!(address.allow_remote().resolve().unwrap().len(), 1);
    }
}

#[test]
fn a_unix_address_resolves_to_nothing() {
    assert_eq!(parse("unix:/run/app.sock").unwrap().resolve().unwrap(), []);
}
