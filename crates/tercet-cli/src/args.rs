//! The words of the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ColorChoice, Parser, Subcommand};

/// What is my Python program waiting on, and which model of concurrency fits it?
#[derive(Debug, Parser)]
#[command(name = "tercet", version, about, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Why(Why),
}

/// Watch a program and say what it waits on, which model fits, and how much faster it would be
///
/// The program keeps its terminal, its input, its output and its signals, and its exit code is
/// passed on. The watch reads it from outside and never stops it.
///
/// Exit codes: that of the program; 1 the report failed; 2 wrong words; 3 the process could not be
/// watched; 4 too little was seen of a running process; 128 + N the program was ended by signal N.
#[derive(Args, Debug)]
#[command(
    override_usage = "tercet why [OPTIONS] PROGRAM [ARG]...\n       \
                      tercet why [OPTIONS] -m MODULE [ARG]...\n       \
                      tercet why [OPTIONS] -- COMMAND [ARG]...\n       \
                      tercet why [OPTIONS] --pid PID",
    disable_help_flag = false
)]
pub(crate) struct Why {
    /// A Python file to run, then its arguments; or, after `--`, any command
    #[arg(
        value_name = "PROGRAM",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required_unless_present = "pid",
        conflicts_with = "pid"
    )]
    pub(crate) words: Vec<OsString>,

    /// The program is the name of a module, as for `python -m`
    #[arg(short = 'm', long = "module", conflicts_with = "pid")]
    pub(crate) is_module: bool,

    /// The words are a command of their own, not a Python file
    #[arg(long = "command", hide = true)]
    pub(crate) is_command: bool,

    /// Watch a process that is running already
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Option<u32>,

    /// End the watch after this many seconds [default: 10 with --pid, else when the program ends]
    #[arg(short, long, value_name = "SECONDS", value_parser = positive)]
    pub(crate) seconds: Option<f64>,

    /// Looks per second; fewer when that would cost more than a twentieth of a processor
    #[arg(long, value_name = "HZ", default_value = "100", value_parser = frequency)]
    pub(crate) hz: f64,

    /// The Python that runs the program [default: the one tercet is installed in]
    #[arg(long, value_name = "PATH", conflicts_with = "pid")]
    pub(crate) python: Option<OsString>,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the report to FILE, so that it never mixes with the program's own output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Also write a report with pictures to FILE, one page that needs no network
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// When to use colour
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
}

/// Clap forgets where `--` stood, and it is what tells a command from a Python file: when it comes
/// before the first word of the program, it is put down as an option that says so.
pub(crate) fn with_marks(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = arguments.into_iter().collect();
    let is_option_with_value = |word: &str| {
        matches!(
            word,
            "-p" | "--pid" | "-s" | "--seconds" | "--hz" | "--python" | "-o" | "--output" | "--html" | "--color"
        )
    };
    let mut index = 2;
    while index < words.len() {
        let Some(word) = words[index].to_str() else { break };
        if word == "--" {
            words.insert(index, "--command".into());
            break;
        }
        if !word.starts_with('-') || word == "-" {
            break;
        }
        index += if is_option_with_value(word) { 2 } else { 1 };
    }
    words
}

fn positive(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if value.is_finite() && value > 0.0 { Ok(value) } else { Err("must be greater than 0".to_owned()) }
}

fn frequency(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (1.0..=2000.0).contains(&value) { Ok(value) } else { Err("must be between 1 and 2000".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Why, clap::Error> {
        let all = ["tercet", "why"].iter().chain(words).map(OsString::from);
        let Command::Why(why) = Arguments::try_parse_from(with_marks(all))?.command;
        Ok(why)
    }

    fn words(why: &Why) -> Vec<&str> {
        why.words.iter().map(|word| word.to_str().unwrap()).collect()
    }

    #[test]
    fn words_after_the_program_belong_to_it() {
        let why = parse(&["--json", "app.py", "--json", "-m", "--", "x"]).unwrap();
        assert_eq!(words(&why), ["app.py", "--json", "-m", "--", "x"]);
        assert!(why.json && !why.is_module && !why.is_command);
    }

    #[test]
    fn a_module_takes_its_arguments() {
        let why = parse(&["-m", "pkg.tool", "--hz", "7"]).unwrap();
        assert_eq!((words(&why), why.is_module, why.hz), (vec!["pkg.tool", "--hz", "7"], true, 100.0));
    }

    #[test]
    fn a_command_follows_two_dashes() {
        let why = parse(&["-o", "out", "--", "python", "app.py", "--", "y"]).unwrap();
        assert_eq!((words(&why), why.is_command), (vec!["python", "app.py", "--", "y"], true));
    }

    #[test]
    fn wrong_words_are_refused() {
        for wrong in
            [&[][..], &["--hz", "0", "a.py"], &["--pid", "0"], &["--pid", "7", "a.py"], &["--seconds", "-1", "a.py"]]
        {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
