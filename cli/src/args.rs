//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use switchboard_mio::Address;

use crate::bench::pin::Pin;
use crate::duration;

const EXAMPLES: &str = "\
Examples:
  switchboard demo
  switchboard hub unix:/tmp/app.sock &
  export SWITCHBOARD_ADDRESS=unix:/tmp/app.sock
  switchboard peers
  switchboard on hello -n 1 &
  switchboard emit hello '\"world\"'
  switchboard call math.add '[2,3]' --deadline 200ms

Exit codes:
  0  ok                        4    certainly not run
  1  failed, there or here     5    nobody knows whether it ran
  2  wrong usage               124  the deadline passed after it was sent
  3  no hub at the address     130  interrupted; 143 by SIGTERM, 129 by SIGHUP

Data goes to stdout, talk to stderr.";

/// Talk to the processes of an application that are connected with Switchboard.
#[derive(Debug, Parser)]
#[command(name = "switchboard", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Print objects, one to a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Say less on stderr
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// How the application is reached.
#[derive(Debug, Args)]
pub struct Joining {
    /// Where the hub is: unix:/absolute/path or tcp://host:port
    #[arg(short, long, env = "SWITCHBOARD_ADDRESS", value_parser = address)]
    pub address: Option<String>,
    /// Keep trying this long to reach the hub [default: one attempt]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub wait: Option<Duration>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show in a few seconds what Switchboard does, with real processes, and check every step
    Demo(Demo),
    /// Be a hub at a fixed address, for an application without one
    #[command(after_help = "Example:\n  switchboard hub unix:/tmp/app.sock")]
    Hub(Hub),
    /// Show who is there, and what they handle
    #[command(after_help = "Example:\n  switchboard peers -a unix:/tmp/app.sock --json")]
    Peers(Peers),
    /// Make a request and print its reply
    #[command(after_help = "\
Examples:
  switchboard call math.add '[2,3]'
  switchboard call math.add '[2,3]' --to worker/1 --deadline 200ms
  echo '[2,3]' | switchboard call math.add -")]
    Call(Call),
    /// Send an event, and wait until its receivers have it
    #[command(after_help = "\
Examples:
  switchboard emit hello '\"world\"'               to everybody who listens for it
  switchboard emit hello '\"world\"' --all         to everybody
  switchboard emit log 'a line' --raw --to logger  to one, as bytes")]
    Emit(Emit),
    /// Print events as they come
    #[command(after_help = "\
Examples:
  switchboard on hello               the data of each, on a line of its own
  switchboard on hello bye --json    with sender, name and namespace
  switchboard on hello -n 1 -W 5s    one, or exit code 124 after 5 seconds")]
    On(On),
    /// Measure, side by side with raw system calls that do the same work
    #[command(after_help = "\
Examples:
  switchboard bench call --transport unix
  switchboard bench emit --transport tcp --size 1024 --concurrency 64 --duration 3s
  switchboard bench fds --json")]
    Bench(Bench),
    /// A worker of the demonstration.
    #[command(hide = true, name = "__demo-worker")]
    DemoWorker(DemoWorker),
    /// The other end of a measurement.
    #[command(hide = true, name = "__bench-peer")]
    BenchPeer(BenchPeer),
    /// The other end of a measurement of raw system calls.
    #[command(hide = true, name = "__bench-raw")]
    BenchRaw(BenchRaw),
}

/// `demo`.
#[derive(Debug, Args)]
pub struct Demo {}

/// `hub`.
#[derive(Debug, Args)]
pub struct Hub {
    /// Where to listen: unix:/absolute/path or tcp://host:port
    #[arg(env = "SWITCHBOARD_ADDRESS", value_parser = address)]
    pub at: Option<String>,
    /// The name of the hub as a peer
    #[arg(long, default_value = "hub")]
    pub name: String,
}

/// `peers`.
#[derive(Debug, Args)]
pub struct Peers {
    /// Which application.
    #[command(flatten)]
    pub joining: Joining,
}

/// `call`.
#[derive(Debug, Args)]
pub struct Call {
    /// The name of the request
    #[arg(value_parser = event)]
    pub event: String,
    /// JSON text; - reads it from stdin [default: null]
    #[arg(allow_negative_numbers = true)]
    pub data: Option<OsString>,
    /// Who is asked: a name, name#generation, id or id#generation [default: one who handles it]
    #[arg(long, value_name = "PEER")]
    pub to: Option<String>,
    /// How long it may take, such as 200ms or none
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "10s")]
    pub deadline: Duration,
    /// Data is bytes as they are, not JSON
    #[arg(long)]
    pub raw: bool,
    /// Where it goes.
    #[command(flatten)]
    pub place: Place,
}

/// `emit`.
#[derive(Debug, Args)]
pub struct Emit {
    /// The name of the event
    #[arg(value_parser = event)]
    pub event: String,
    /// JSON text; - reads it from stdin [default: null]
    #[arg(allow_negative_numbers = true)]
    pub data: Option<OsString>,
    /// Who gets it: a name, name#generation, id or id#generation [default: who listens]
    #[arg(long, value_name = "PEER")]
    pub to: Option<String>,
    /// Everybody gets it
    #[arg(long, conflicts_with = "to")]
    pub all: bool,
    /// How long to wait until the receivers have it
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "10s")]
    pub deadline: Duration,
    /// Data is bytes as they are, not JSON
    #[arg(long)]
    pub raw: bool,
    /// Where it goes.
    #[command(flatten)]
    pub place: Place,
}

/// `on`.
#[derive(Debug, Args)]
pub struct On {
    /// The names of the events
    #[arg(required = true, value_parser = event)]
    pub event: Vec<String>,
    /// End after this many
    #[arg(short = 'n', long)]
    pub count: Option<u64>,
    /// End after this time; with -n and fewer by then, exit code 124
    #[arg(short = 'W', long = "within", value_name = "DURATION", value_parser = duration::parse)]
    pub within: Option<Duration>,
    /// Where they come from.
    #[command(flatten)]
    pub place: Place,
}

/// Where messages go, or come from.
#[derive(Debug, Args)]
pub struct Place {
    /// The namespace; _ is the one without a name
    #[arg(long, value_name = "NS", default_value = "_")]
    pub ns: String,
    /// Which application.
    #[command(flatten)]
    pub joining: Joining,
}

/// `bench`.
#[derive(Clone, Debug, Args)]
pub struct Bench {
    /// What to measure
    #[arg(value_enum)]
    pub work: Work,
    /// Over which connection
    #[arg(long, value_enum, default_value_t = Transport::Unix)]
    pub transport: Transport,
    /// Bytes of the payload
    #[arg(long, default_value_t = 64)]
    pub size: usize,
    /// Messages under way at once; events are confirmed one by one at 1, and streamed beyond
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub concurrency: u32,
    /// Time for all rounds of both sides together
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "2s")]
    pub duration: Duration,
    /// On which processors both sides run
    #[arg(long, value_enum, default_value_t = Pin::Same)]
    pub pin: Pin,
}

/// What a measurement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// Requests and their replies
    Call,
    /// Events in one direction
    Emit,
    /// File descriptors, one to a message
    Fds,
}

/// How two processes are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Transport {
    /// A unix socket with an address
    Unix,
    /// TCP on loopback
    Tcp,
    /// A socketpair that a child inherits
    Socketpair,
    /// The stdin and stdout of a child
    Pipe,
}

impl Transport {
    /// As it is written on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Tcp => "tcp",
            Self::Socketpair => "socketpair",
            Self::Pipe => "pipe",
        }
    }
}

/// A worker of the demonstration.
#[derive(Debug, Args)]
pub struct DemoWorker {
    /// The address of the hub; without one, the channel to the parent.
    #[arg(long)]
    pub join: Option<String>,
    /// The name of the worker.
    #[arg(long)]
    pub name: String,
    /// Where it writes down which jobs it ran.
    #[arg(long)]
    pub log: PathBuf,
}

/// The other end of a measurement.
#[derive(Debug, Args)]
pub struct BenchPeer {
    /// The address of the hub; without one, the channel to the parent.
    #[arg(long)]
    pub join: Option<String>,
    /// Where to run.
    #[arg(long)]
    pub processor: Option<usize>,
}

/// The other end of a measurement of raw system calls.
#[derive(Debug, Args)]
pub struct BenchRaw {
    /// What it does.
    #[arg(value_enum)]
    pub work: Work,
    /// Where to connect; without one, the channel to the parent.
    #[arg(long)]
    pub join: Option<String>,
    /// Bytes of a message.
    #[arg(long)]
    pub size: usize,
    /// Where to run.
    #[arg(long)]
    pub processor: Option<usize>,
    /// Whether each event is confirmed.
    #[arg(long)]
    pub confirm: bool,
}

fn address(text: &str) -> Result<String, switchboard_mio::AddressError> {
    text.parse::<Address>().map(|_| text.to_owned())
}

fn event(text: &str) -> Result<String, &'static str> {
    match text.len() {
        // NUL cannot stand in an argument.
        1..=255 => Ok(text.to_owned()),
        _ => Err("write a name of 1 to 255 bytes"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
