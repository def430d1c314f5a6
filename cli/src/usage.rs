//! What is said to a command line that asks for help, or that cannot be understood.

use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::ErrorKind;

use crate::args::Cli;
use crate::end::{self, End, Failure};
use crate::print;

/// Prints the help that was asked for, or says what is wrong: as an object if that was asked for.
pub fn answer(error: &clap::Error) -> ExitCode {
    let asked = std::env::args_os().take_while(|arg| arg != "--");
    let json = asked.into_iter().any(|arg| arg == "--json");
    if !error.use_stderr() {
        return match print::written(error.print()) {
            Ok(()) => End::Done.into(),
            Err(error) => end::report(&error, json),
        };
    }
    if error.kind() == ErrorKind::MissingSubcommand || json {
        return end::report(&Failure::new(End::Usage, sentence(error)).into(), json);
    }
    // Whoever closed stderr does not want to hear it.
    let _ = error.print();
    End::Usage.into()
}

/// The error on one line, without the usage.
fn sentence(error: &clap::Error) -> String {
    match error.kind() {
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let command = Cli::command();
            let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
            let names: Vec<&str> = shown.map(clap::Command::get_name).collect();
            return format!("no command: write one of {}", names.join(", "));
        }
        _ => {}
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let ends = ["\n\nUsage:", "\n\nFor more information"];
    let end = ends.iter().filter_map(|end| text.find(end)).min();
    let text = &text[..end.unwrap_or(text.len())];
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
