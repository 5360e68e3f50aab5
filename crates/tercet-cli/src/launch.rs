//! From the words of the command line to a running program.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use crate::args::Why;
use crate::error::Error;
use crate::exit::ExitCode;

/// Starts the program that the words name, with this process's terminal, input and output.
pub(crate) fn launch(why: &Why, python: Option<OsString>) -> Result<Child, Error> {
    let words = command(why, python)?;
    let shown = words[0].to_string_lossy().into_owned();
    Command::new(&words[0]).args(&words[1..]).spawn().map_err(|source| Error::Launch { command: shown, source })
}

/// The program as the person wrote it.
pub(crate) fn shown(why: &Why) -> String {
    let words = why.words.iter().map(|word| word.to_string_lossy().into_owned());
    let module = why.is_module.then(|| "-m".to_owned());
    module.into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

fn command(why: &Why, python: Option<OsString>) -> Result<Vec<OsString>, Error> {
    if why.is_command {
        return Ok(why.words.clone());
    }
    if let Some(word) = why.words[0].to_str().filter(|word| word.starts_with('-')) {
        return Err(Error::UnknownOption { word: word.to_owned() });
    }
    let mut words = vec![interpreter(why, python)];
    if why.is_module {
        words.push("-m".into());
    } else {
        check(&why.words[0])?;
    }
    words.extend(why.words.iter().cloned());
    Ok(words)
}

#[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
fn interpreter(why: &Why, python: Option<OsString>) -> OsString {
    let of_environment = || {
        let path = Path::new(&std::env::var_os("VIRTUAL_ENV")?).join("bin/python");
        path.exists().then(|| path.into_os_string())
    };
    why.python.clone().or(python).or_else(of_environment).unwrap_or_else(|| "python3".into())
}

/// A program is a file that exists, or a folder or archive that Python can run.
fn check(program: &OsStr) -> Result<(), Error> {
    let path = Path::new(program);
    if !path.exists() {
        return Err(Error::NoFile { path: path.to_owned() });
    }
    if path.is_dir() && !path.join("__main__.py").exists() {
        return Err(Error::NoMain { path: path.to_owned() });
    }
    Ok(())
}

/// How a program ended, as an exit code to pass on and as words for the report.
pub(crate) fn ending(status: ExitStatus) -> (u8, String) {
    match (status.code(), status.signal()) {
        (Some(code), _) => (code as u8, format!("exit code {code}")),
        (None, Some(signal)) => (ExitCode::SIGNAL.wrapping_add(signal as u8), format!("killed by {}", name_of(signal))),
        (None, None) => (ExitCode::FAILURE, "in an unknown way".to_owned()),
    }
}

fn name_of(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT (Ctrl-C)",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGABRT => "SIGABRT",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGTERM => "SIGTERM",
        libc::SIGBUS => "SIGBUS",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}
