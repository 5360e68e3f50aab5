//! What can go wrong on the command line: what happened, to what, and what to do next.

use std::path::PathBuf;

use tercet_sampler::Error as SamplerError;
use thiserror::Error;

use crate::exit::ExitCode;

/// A failure of `tercet` itself.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("unknown option: `{word}`")]
    UnknownOption { word: String },
    #[error("no such file: `{}`", .path.display())]
    NoFile { path: PathBuf },
    #[error("`{}` is a folder without a `__main__.py`", .path.display())]
    NoMain { path: PathBuf },
    #[error("could not run `{command}`: {source}")]
    Launch { command: String, source: std::io::Error },
    #[error(transparent)]
    Attach(#[from] SamplerError),
    #[error("could not write `{}`: {source}", .path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("could not write the report: {source}")]
    Print { source: std::io::Error },
    #[error("could not draw the report: {0}")]
    Draw(#[from] tercet_report::Error),
}

impl Error {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::UnknownOption { .. } | Self::NoFile { .. } | Self::NoMain { .. } | Self::Launch { .. } => {
                ExitCode::USAGE
            }
            Self::Attach(_) => ExitCode::COULD_NOT_ATTACH,
            Self::Write { .. } | Self::Print { .. } | Self::Draw(_) => ExitCode::FAILURE,
        }
    }

    /// What to do next.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnknownOption { .. } => {
                "`tercet why --help` lists the options; those of the program come after its name".to_owned()
            }
            Self::NoFile { path } if path.extension().is_none() => format!(
                "name a Python file, or run a module with `tercet why -m {0}` or a command with `tercet why -- {0}`",
                path.display()
            ),
            Self::NoFile { .. } => "check the path; it is taken from the current folder".to_owned(),
            Self::NoMain { .. } => "name the file to run, or a package with `tercet why -m NAME`".to_owned(),
            Self::Launch { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                "check the name, or name the interpreter with `--python PATH`".to_owned()
            }
            Self::Launch { .. } => "check that the file may be executed".to_owned(),
            Self::Attach(error) => hint(error)?,
            Self::Write { source, .. } | Self::Print { source } if is_full(source) => {
                "free some space, or write the report elsewhere with `--output FILE`".to_owned()
            }
            Self::Write { .. } => "name a file in a folder that exists and that you may write to".to_owned(),
            Self::Print { .. } | Self::Draw(_) => return None,
        })
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

fn hint(error: &SamplerError) -> Option<String> {
    Some(match error {
        SamplerError::Permission { pid, is_restricted: true, .. } => format!(
            "this system lets a process be read only by what launched it; run `sudo tercet why --pid {pid}`, \
             or start the program through `tercet why app.py`"
        ),
        SamplerError::Permission { pid, .. } => format!(
            "run `sudo tercet why --pid {pid}`, or start the program through `tercet why app.py`; in a \
             container, add the capability SYS_PTRACE"
        ),
        SamplerError::NoProcess { .. } => "list the running ones with `ps -C python3 -o pid,args`".to_owned(),
        SamplerError::NotPython { .. } => {
            "name the process of the Python program itself; its children are watched with it".to_owned()
        }
        SamplerError::Version { .. } => "run the program with Python 3.10 to 3.15".to_owned(),
        SamplerError::FreeThreaded { .. } => {
            "run the program with a build of Python that has the GIL, through `--python PATH`".to_owned()
        }
        SamplerError::NotStarted { .. } => "try again in a moment".to_owned(),
        _ => return None,
    })
}
