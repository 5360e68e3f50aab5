//! Putting things in front of a person or into a file.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anstream::AutoStream;
use clap::ColorChoice;
use tercet_report::Style;

use crate::error::Error;

/// Prints an error and its hint on standard error.
pub(crate) fn error(error: &Error) {
    let bold_red = anstyle::AnsiColor::Red.on_default().bold();
    let bold = anstyle::Style::new().bold();
    anstream::eprintln!("{bold_red}error:{bold_red:#} {error}");
    if let Some(hint) = error.hint() {
        anstream::eprintln!("{bold}hint:{bold:#} {hint}");
    }
}

/// Where the report goes. A file is opened before the program runs, so that a wrong name costs nothing.
#[derive(Debug)]
pub(crate) enum Sink<'a> {
    Stdout,
    File(&'a Path, File),
}

impl<'a> Sink<'a> {
    pub(crate) fn open(path: Option<&'a Path>) -> Result<Self, Error> {
        let Some(path) = path else { return Ok(Self::Stdout) };
        let file = File::create(path).map_err(|source| Error::Write { path: path.to_owned(), source })?;
        Ok(Self::File(path, file))
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
                    matches!(self, Self::Stdout) && AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
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
            Self::File(path, mut file) => file
                .write_all(text.as_bytes())
                .and_then(|()| file.sync_all().or_else(ignore_unsupported))
                .map_err(|source| Error::Write { path: path.to_owned(), source }),
        }
    }
}

/// A pipe or a terminal cannot be synchronised and need not be.
fn ignore_unsupported(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::EROFS | libc::ENOTSUP) => Ok(()),
        _ => Err(error),
    }
}
