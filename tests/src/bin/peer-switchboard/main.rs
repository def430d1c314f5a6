//! Switchboard in a benchmark between processes, beside what else one could take.
//!
//! It is started once for each role of a work, with
//! `--role R --work W --addr A --n N [--transport uds|tcp] [--driver mio|blocking|smol|split]`, says `READY` on its
//! stdout when it can be reached, writes one line of JSON with its figures, and ends when its stdin
//! does.
//!
//! | work | what |
//! |---|---|
//! | W1, W2 | requests and replies of 64 bytes, 1 or 64 outstanding |
//! | W3, W4a, W4b | one way, of 64 bytes, 64 KiB and 1 MiB, until the receiver has all |
//! | W6a, W6b | as W1 and W2, between two members of a hub |
//! | W7 | descriptors, one for each message, received and closed |

#![allow(
    clippy::disallowed_methods,
    reason = "the program ends when its driver closes its stdin"
)]

mod args;
mod on_blocking;
mod on_mio;
mod on_smol;
mod report;

use std::error::Error;

use args::{Args, Driver};

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse(std::env::args().skip(1))?;
    report::exit_on_end_of_stdin()?;
    match args.driver {
        Driver::Mio => on_mio::run(&args),
        Driver::Blocking => on_blocking::run(&args),
        Driver::Smol | Driver::Split => smol::block_on(on_smol::run(&args)),
    }
}
