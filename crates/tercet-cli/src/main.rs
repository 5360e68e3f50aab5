//! The native `tercet` command.

fn main() -> std::process::ExitCode {
    tercet_cli::run(std::env::args_os(), None).into()
}
