//! Durations as people write them.

use std::fmt::Write as _;
use std::time::Duration;

/// Reads `200ms`, `1.5s`, `2m`, `1h`, or `none` for no limit.
///
/// # Errors
///
/// What a duration looks like.
pub fn parse(text: &str) -> Result<Duration, String> {
    if text == "none" {
        return Ok(Duration::MAX);
    }
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("write a number and a unit, such as 200ms, 1.5s, 2m or none".into()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("{number:?} is no number"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

/// `1.2 s`, `3.4 ms`, `56 us`: with the digits that matter.
pub fn show(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = match micros {
        m if m < 1000.0 => write!(text, "{m:.0} us"),
        m if m < 1e6 => write!(text, "{:.1} ms", m / 1e3),
        m => write!(text, "{:.1} s", m / 1e6),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse("none"), Ok(Duration::MAX));
        for bad in ["", "5", "s", "-1s", "1 s", "1x", "1.2.3s", "1e400h"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn durations_are_shown_in_the_unit_that_fits() {
        assert_eq!(show(Duration::from_micros(56)), "56 us");
        assert_eq!(show(Duration::from_micros(3400)), "3.4 ms");
        assert_eq!(show(Duration::from_millis(1200)), "1.2 s");
    }
}
