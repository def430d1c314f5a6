//! Every command that the README and the help show is run, and prints what they say.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{Place, Running, SWITCHBOARD};

/// Examples of the help that run at the same time.
const AT_ONCE: usize = 8;

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    std::fs::read_to_string(path).unwrap()
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// An example as it was built beside the command.
fn example(name: &str) -> PathBuf {
    let directory = Path::new(SWITCHBOARD).parent().unwrap();
    let path = directory.join("examples").join(name);
    assert!(path.exists(), "cargo test -p switchboard-cli --examples");
    path
}

/// A command of the README as this test can run it.
fn runnable(command: &str, place: &Place) -> String {
    command
        .replace("unix:/tmp/hello.sock", &place.address())
        .replace("cargo run --release -- ", "switchboard ")
        .replace(
            "cargo run -q -p switchboard-cli --example hello_answer",
            example("hello_answer").to_str().unwrap(),
        )
        .replace(
            "cargo run -q -p switchboard-cli --example hello_ask",
            example("hello_ask").to_str().unwrap(),
        )
}

/// Runs the commands of all blocks in one shell, and gives what each block has printed.
fn run(blocks: &[String], place: &Place) -> Vec<String> {
    const END: &str = "@@ end of a block @@";
    let mut script = String::from("trap 'kill $(jobs -p) 2>/dev/null' EXIT\n");
    for block in blocks {
        let mut listener = false;
        for command in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
            script += &format!("{}\n", runnable(command, place));
            // A person types slower than a process starts.
            if command.contains("hello_answer") {
                script += &format!("until [ -S {} ]; do :; done\n", place.socket().display());
            }
            if command.starts_with("switchboard on ") {
                listener = true;
                script += "on=$!; until switchboard peers -q | grep -q hello; do :; done\n";
            }
        }
        if listener {
            script += "wait $on\n";
        }
        script += &format!("echo '{END}'\n");
    }
    let ran = Running(shell(&script).spawn().unwrap()).finish();
    assert_eq!(ran.stdout.matches(END).count(), blocks.len(), "{ran:?}");
    let end = format!("{END}\n");
    let printed = ran.stdout.split(&end);
    printed.take(blocks.len()).map(str::to_owned).collect()
}

/// A shell that finds the command.
fn shell(script: &str) -> Command {
    let path = Path::new(SWITCHBOARD).parent().unwrap().display();
    let mut shell = Command::new("bash");
    shell
        .args(["-c", script])
        .env("PATH", format!("{path}:{}", std::env::var("PATH").unwrap()))
        .env_remove("SWITCHBOARD_ADDRESS")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    shell
}

/// Numbers differ from run to run, and with them the space around them.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_ascii_whitespace() {
        let mut digits = false;
        for letter in word.chars() {
            let now = letter.is_ascii_digit() || (digits && letter == '.');
            if !now {
                out.push(letter);
            } else if !digits {
                out.push('0');
            }
            digits = now;
        }
        out.push(' ');
    }
    out
}

#[test]
fn every_command_of_the_readme_prints_what_it_says() {
    let place = Place::new();
    let blocks = blocks(&readme(), "console");
    assert!(blocks.len() >= 4, "{blocks:?}");
    for (block, printed) in blocks.iter().zip(run(&blocks, &place)) {
        let shown: String = block
            .lines()
            .filter(|line| !line.starts_with("$ "))
            .map(|line| format!("{line}\n"))
            .collect();
        if block.contains("-- demo") || block.contains("switchboard bench") {
            assert_eq!(without_numbers(&shown), without_numbers(&printed));
        } else {
            assert_eq!(shown, printed);
        }
    }
}

#[test]
fn the_programs_of_the_readme_are_the_examples() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let programs = blocks(&readme(), "rust");
    assert_eq!(programs.len(), 2);
    for (name, program) in ["hello_answer.rs", "hello_ask.rs"]
        .into_iter()
        .zip(programs)
    {
        let source = std::fs::read_to_string(examples.join(name)).unwrap();
        let code: String = source
            .lines()
            .skip_while(|line| line.starts_with("//!") || line.is_empty())
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(program, code, "{name}");
    }
}

#[test]
fn the_readme_is_short_enough_to_be_read() {
    assert!(readme().lines().count() < 200);
}

/// The examples at the end of a help text.
fn examples_of(args: &[&str]) -> Vec<String> {
    let ran = Place::new().run(&[args, &["--help"]].concat());
    ran.expect(0);
    let help = ran.stdout;
    let lines = help.lines().map(str::trim);
    let commands = lines.filter(|line| {
        line.starts_with("switchboard ") || line.starts_with("echo ") || line.starts_with("export ")
    });
    // Behind two spaces there is an explanation.
    let commands = commands.filter_map(|line| line.split("  ").next());
    commands.map(str::to_owned).collect()
}

#[test]
fn every_example_of_the_help_runs() {
    let mut examples = Vec::new();
    for topic in [
        &[][..],
        &["hub"],
        &["peers"],
        &["call"],
        &["emit"],
        &["on"],
        &["bench"],
    ] {
        examples.extend(examples_of(topic));
    }
    // A setting, and what a test of its own is about.
    examples.retain(|example| !example.starts_with("export ") && !example.ends_with("demo"));
    let count = examples.len();
    assert!(count >= 18, "{count} examples were found");
    // Most of them wait, and each has a place of its own.
    std::thread::scope(|scope| {
        for some in examples.chunks(count.div_ceil(AT_ONCE)) {
            scope.spawn(|| some.iter().for_each(|example| run_example(example)));
        }
    });
}

/// Runs one in the middle of an application in which it makes sense.
fn run_example(example: &str) {
    let place = Place::new();
    let as_hub = example.starts_with("switchboard hub");
    let hub = (!as_hub).then(|| place.answering_hub());
    let worker = (!as_hub).then(|| answering_member(&place));
    let mut line = example.trim_end_matches('&').trim().to_owned();
    line = line.replace("unix:/tmp/app.sock", &place.address());
    if line.starts_with("switchboard bench") {
        line = match line.split_once(" --duration") {
            Some((before, _)) => format!("{before} --duration 100ms"),
            None => format!("{line} --duration 100ms"),
        };
    }
    // What runs until Ctrl-C gets it; `timeout` gives the exit code of the command then.
    let line = match as_hub || (line.contains(" on ") && !line.contains("-n 1")) {
        true => line.replacen(
            "switchboard",
            "timeout --preserve-status -s INT 2 switchboard",
            1,
        ),
        false => line,
    };
    let mut command = shell(&line);
    command.env("SWITCHBOARD_ADDRESS", place.address());
    let mut running = Running(command.spawn().unwrap());
    if line.contains(" on ")
        && let Some(hub) = &hub
    {
        // Somebody has something to say, as often as it takes until it is heard.
        support::wait_until("the listener to have heard", || {
            let _ = hub.emit("hello", &"world").send();
            running.0.try_wait().unwrap().is_some()
        });
    }
    let ran = running.finish();
    let good = match line.starts_with("timeout") {
        true => Some(130),
        false => Some(0),
    };
    assert_eq!(ran.code, good, "{example}: {ran:?}");
    drop((hub, worker));
}

/// The `worker/1` and `logger` that the examples speak of.
fn answering_member(place: &Place) -> [switchboard_mio::Peer; 2] {
    use switchboard_mio::{Board, Fault, Raw};
    let join = |name: &str| Board::builder().name(name).join(place.address()).unwrap();
    let worker = join("worker/1").blocking();
    let add = |(a, b): (i32, i32)| -> Result<i32, Fault> { Ok(a + b) };
    worker.on("math.add", add).forever();
    let logger = join("logger").blocking();
    let log = |_: Raw| -> Result<(), Fault> { Ok(()) };
    logger.on("log", log).forever();
    for peer in [&worker, &logger] {
        peer.ready();
        peer.spawn().unwrap();
        peer.connected(support::PATIENCE).unwrap();
    }
    [worker, logger]
}
