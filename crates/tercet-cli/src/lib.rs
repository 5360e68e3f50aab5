//! The command line of tercet: arguments, progress, exit codes.
//!
//! [`run`] is the whole of it. The native binary and the Python package both call it, so they cannot
//! drift apart. This is the only crate that prints, reads the environment or knows exit codes.

mod args;
mod error;
mod exit;
mod launch;
mod progress;
mod show;
mod signal;
mod why;

use std::ffi::OsString;

use clap::Parser;

pub use exit::ExitCode;

use crate::args::{Arguments, Command};

/// Runs the command line and gives the exit code for the process.
///
/// `arguments` begin with the name of the program. `python` is the interpreter that programs are
/// launched with unless the person names another.
pub fn run(arguments: impl IntoIterator<Item = OsString>, python: Option<OsString>) -> u8 {
    let arguments = match Arguments::try_parse_from(args::with_marks(arguments)) {
        Ok(arguments) => arguments,
        Err(error) => {
            return show::words(&error);
        }
    };
    let done = match arguments.command {
        Command::Why(why) => why::run(&why, python),
    };
    done.unwrap_or_else(|error| {
        show::error(&error);
        error.exit_code()
    })
}
