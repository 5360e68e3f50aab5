//! Which files a process has mapped.

use std::fs;

use crate::elf::FileKey;
use crate::error::{Error, Result};

/// The first mapping of a file in a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// Address of the first byte of the file.
    pub(crate) start: u64,
    pub(crate) path: String,
    pub(crate) key: FileKey,
}

impl Mapping {
    /// The version of Python that the file's name tells, as in `libpython3.10.so.1.0`.
    pub(crate) fn named_version(&self) -> Option<(u8, u8)> {
        let (_, rest) = file_name(&self.path).rsplit_once("python")?;
        let (major, rest) = rest.split_once('.')?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some((major.parse().ok()?, digits.parse().ok()?))
    }
}

/// The files of process `pid` that may hold an interpreter: libraries named `libpython` first, then
/// the executable.
pub(crate) fn binaries(pid: u32) -> Result<Vec<Mapping>> {
    let path = format!("/proc/{pid}/maps");
    let maps = fs::read_to_string(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::NoProcess { pid },
        std::io::ErrorKind::PermissionDenied => denied(pid),
        _ => Error::Io { path, source },
    })?;
    let executable = match fs::read_link(format!("/proc/{pid}/exe")) {
        Ok(path) => path.to_string_lossy().into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Err(denied(pid)),
        Err(_) => String::new(),
    };
    let mut found: Vec<_> = maps
        .lines()
        .filter_map(parse)
        .filter(|mapping| mapping.path == executable || file_name(&mapping.path).starts_with("libpython"))
        .collect();
    found.sort_by_key(|mapping| mapping.path == executable);
    Ok(found)
}

/// The kernel does not let the process be read.
pub(crate) fn denied(pid: u32) -> Error {
    Error::Permission {
        pid,
        command: crate::proc_fs::command(pid).unwrap_or_default(),
        is_restricted: crate::proc_fs::is_tracing_restricted(),
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A line of `maps`, when it is the start of a file: `start-end perms offset major:minor inode path`.
fn parse(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, _) = fields.next()?.split_once('-')?;
    let (_, offset, device, inode) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let path = fields.next()?.trim_start();
    if u64::from_str_radix(offset, 16).ok()? != 0 || !path.starts_with('/') {
        return None;
    }
    let (major, minor) = device.split_once(':')?;
    let device = u64::from_str_radix(major, 16).ok()? << 32 | u64::from_str_radix(minor, 16).ok()?;
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        path: path.to_owned(),
        key: (device, inode.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mapping_of_a_file_is_taken() {
        let line = "5581e000-5582f000 r--p 00000000 fe:01 1234                   /usr/bin/python3.10";
        let mapping = parse(line).unwrap();
        assert_eq!((mapping.start, mapping.named_version()), (0x5581_e000, Some((3, 10))));
        assert_eq!(parse("5581e000-5582f000 r--p 00001000 fe:01 1234    /usr/bin/python3.10"), None);
        assert_eq!(parse("7ffe0000-7ffe1000 rw-p 00000000 00:00 0        [stack]"), None);
    }
}
