//! The `switchboard` command.

#![forbid(unsafe_code)]
// A program has no public interface; this lint is for libraries.
#![allow(unreachable_pub)]
#![allow(
    clippy::result_large_err,
    reason = "a refusal gives the whole message back"
)]

mod args;
mod bench;
mod commands;
mod demo;
mod duration;
mod end;
mod payload;
mod print;
mod roster;
mod scratch;
mod session;
mod signals;
mod usage;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::answer(&error),
    };
    let json = cli.global.json;
    let result = match cli.command {
        Command::Demo(args) => demo::run(&cli.global, &args),
        Command::Hub(args) => commands::hub::run(&cli.global, &args),
        Command::Peers(args) => commands::peers::run(&cli.global, &args),
        Command::Call(args) => commands::call::run(&cli.global, &args),
        Command::Emit(args) => commands::emit::run(&cli.global, &args),
        Command::On(args) => commands::on::run(&cli.global, &args),
        Command::Bench(args) => bench::run(&cli.global, &args),
        Command::DemoWorker(args) => demo::worker::run(&args),
        Command::BenchPeer(args) => bench::peer::run(&args),
        Command::BenchRaw(args) => bench::raw::run(&args),
    };
    match result {
        Ok(end) => end.into(),
        Err(error) => end::report(&error, json),
    }
}
