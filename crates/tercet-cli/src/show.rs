//! Putting things in front of a person or into a file.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anstream::AutoStream;
use clap::ColorChoice;
use tercet_report::Style;

use crate::error::Error;
use crate::exit::ExitCode;

/// Prints an error and its hint on standard error.
pub(crate) fn error(error: &Error) {
    let bold_red = anstyle::AnsiColor::Red.on_default().bold();
    let bold = anstyle::Style::new().bold();
    anstream::eprintln!("{bold_red}error:{bold_red:#} {error}");
    if let Some(hint) = error.hint() {
        anstream::eprintln!("{bold}hint:{bold:#} {hint}");
    }
}

/// Prints help that was asked for, or what is wrong with the words and what to do next.
pub(crate) fn words(error: &clap::Error) -> u8 {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(error.kind(), DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand) {
        // A closed pipe while help is printed is no failure of ours.
        let _ = error.print();
        return if error.use_stderr() { ExitCode::USAGE } else { ExitCode::DONE };
    }
    let text = error.render().to_string();
    let text = text.split("\n\nFor more information").next().unwrap_or(&text).trim_end();
    anstream::eprintln!("{text}\n\nhint: `tercet why --help` tells what each word means");
    ExitCode::USAGE
}

/// Where the report goes.
#[derive(Debug)]
pub(crate) enum Sink<'a> {
    Stdout,
    File(Target<'a>),
}

/// A file that is opened before the program runs, so that a wrong name costs nothing, and left as it
/// was until there is a report to write.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    path: &'a Path,
    file: File,
    /// It was made for the report, so it goes again when none comes.
    is_new: bool,
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        if self.is_new {
            // Nothing was written; that it stays behind empty would be no great loss.
            let _ = std::fs::remove_file(self.path);
        }
    }
}

impl Target<'_> {
    fn write(&mut self, text: &str) -> io::Result<()> {
        self.is_new = false;
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all().or_else(ignore_unsupported)
    }
}

impl<'a> Sink<'a> {
    pub(crate) fn open(path: Option<&'a Path>) -> Result<Self, Error> {
        let Some(path) = path else { return Ok(Self::Stdout) };
        let is_new = !path.exists();
        let file = File::options().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|source| Error::Write { path: path.to_owned(), source })?;
        Ok(Self::File(Target { path, file, is_new }))
    }

    /// How text should look here.
    pub(crate) fn style(&self, choice: ColorChoice) -> Style {
        let is_terminal = matches!(self, Self::Stdout) && io::stdout().is_terminal();
        let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        Style {
            width: width.filter(|_| is_terminal).unwrap_or(80).clamp(Style::NARROWEST, 120),
            colour: match choice {
                ColorChoice::Always => true,
                ColorChoice::Never => false,
                ColorChoice::Auto => {
                    matches!(self, Self::Stdout)
                        && !is_dumb_terminal()
                        && AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
                }
            },
            unicode: true,
        }
    }

    /// Writes the report. A reader that went away is no failure.
    pub(crate) fn write(self, text: &str) -> Result<(), Error> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                    Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(Error::Print { source }),
                    _ => Ok(()),
                }
            }
            Self::File(mut target) => {
                let written = target.write(text);
                written.map_err(|source| Error::Write { path: target.path.to_owned(), source })
            }
        }
    }
}

/// A terminal that says of itself that it knows no colours, whatever else the environment says.
#[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
fn is_dumb_terminal() -> bool {
    std::env::var_os("TERM").is_some_and(|name| name == "dumb")
}

/// A pipe or a terminal cannot be synchronised and need not be.
fn ignore_unsupported(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::EROFS | libc::ENOTSUP) => Ok(()),
        _ => Err(error),
    }
}
