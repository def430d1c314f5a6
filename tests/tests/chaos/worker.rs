//! What each process does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use switchboard_proto::Config;
use switchboard_proto::codec::Value;
use switchboard_proto::fault::Fault;
use switchboard_tests::{App, Driver, How, Outcome, Way, int, text};

use crate::dice::Dice;

pub(crate) const NAME: &str = "SWITCHBOARD_CHAOS_NAME";
pub(crate) const ADDRESS: &str = "SWITCHBOARD_CHAOS_ADDRESS";
pub(crate) const BOOKS: &str = "SWITCHBOARD_CHAOS_BOOKS";
pub(crate) const STOP: &str = "SWITCHBOARD_CHAOS_STOP";
pub(crate) const SEED: &str = "SWITCHBOARD_CHAOS_DICE";

const DRIVERS: [Driver; 3] = [Driver::Poll, Driver::Blocking, Driver::Smol];
/// Requests under way from one worker to another at once.
const WINDOW: usize = 8;
/// Long enough to live through the death of the hub, short enough to come to an end.
const DEADLINE: Duration = Duration::from_secs(3);

/// Plays the part that the environment names, if it names one.
pub(crate) fn enter() {
    let Ok(name) = std::env::var(NAME) else {
        return;
    };
    let variable = |name| std::env::var(name).unwrap();
    let seed: u64 = variable(SEED).parse().unwrap();
    let mut dice = Dice::new(seed ^ u64::from(std::process::id()));
    let driver = DRIVERS[dice.below(DRIVERS.len())];
    let address = variable(ADDRESS);
    if name == "hub" {
        // With its grace for the members of an earlier hub: those must find each other again.
        driver.listen(&address, Config::default()).0.serve();
    }
    let app = driver.join(Way::Address(address), Some(&name), Config::default());
    let books = PathBuf::from(variable(BOOKS));
    work(&*app, &name, &books, Path::new(&variable(STOP)), &mut dice);
    std::fs::write(books.join(format!("{}.done", std::process::id())), "").unwrap();
    app.serve();
}

/// Sends to the others until it is told to stop.
fn work(app: &dyn App, name: &str, books: &Path, stop: &Path, dice: &mut Dice) {
    let life = format!("{}-{}", name.replace('/', "_"), std::process::id());
    let book = |kind: &str| File::create(books.join(format!("{life}.{kind}"))).unwrap();
    let received = book("received");
    let put = move |value: Value| {
        let line = format!("{} {}\n", part(&value, 0), part(&value, 1));
        (&received)
            .write_all(line.as_bytes())
            .map_err(Fault::from)?;
        Ok(Value::Null)
    };
    app.on("put", Box::new(move |_, value| Some(put(value))))
        .unwrap();
    app.ready();
    let mut acknowledged = book("acknowledged");
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    while !stop.exists() {
        let receiver = format!("worker/{}", 1 + dice.below(6));
        if receiver == name {
            continue;
        }
        let mut begun: Vec<(u64, Outcome<'_>)> = Vec::new();
        for _ in 0..WINDOW {
            let number = last.entry(receiver.clone()).or_default();
            *number += 1;
            let value = Value::Array(vec![text(&life), int(*number)]);
            let how = || How::to(&*receiver);
            if dice.below(3) == 0 {
                // Nobody acknowledges it; it must keep its place all the same.
                let _ = app.emit("put", &value, how().expires(DEADLINE));
            } else if let Ok(outcome) = app.begin("put", &value, how().within(DEADLINE)) {
                begun.push((*number, outcome));
            }
        }
        for (number, outcome) in begun {
            if outcome().is_ok() {
                writeln!(acknowledged, "{} {number}", receiver.replace('/', "_")).unwrap();
            }
        }
    }
}

fn part(value: &Value, index: usize) -> String {
    match value.at(index) {
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Int(number)) => number.to_string(),
        other => panic!("no such part: {other:?}"),
    }
}
