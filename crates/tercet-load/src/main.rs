//! The load generator of tercet's benches, and the native servers that show the limit. It is not shipped.
//!
//! One thread, one epoll: the clients of one run share a processor, and the server that is measured has another.
//! Every byte that comes back is compared with what was sent. The result is one JSON object on standard output.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks to whoever has started it")]

mod address;
mod args;
mod bulk;
mod drive;
mod echo;
mod error;
mod http;
mod idle;
mod pattern;
mod poll;
mod serve;
mod tally;
mod tls;
mod udp;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};
use crate::error::LoadError;

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), LoadError> {
    match command {
        Command::Echo(plan) => echo::run(&plan)?.print(),
        Command::Receive(plan) => bulk::receive(&plan)?.print(),
        Command::Send(plan) => bulk::send(&plan)?.print(),
        Command::Http(plan) => http::run(&plan)?.print(),
        Command::Idle(plan) => idle::run(&plan)?,
        Command::Serve(plan) => serve::run(&plan)?,
        Command::Pattern { file, repeat } => pattern::write(&file, repeat)?,
        Command::Certificate { folder } => tls::write_certificate(&folder)?,
    }
    Ok(())
}
