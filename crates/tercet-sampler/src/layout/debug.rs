//! `_Py_DebugOffsets`: the table of offsets that 3.13 and later carry.
//!
//! The table is a row of 64-bit words after an eight-byte cookie. Later versions put fields in
//! between, so the words are found by name in the order of each version's header.

use super::{
    Code, CurrentFrame, Frame, Gil, GilPlace, Interpreter, Layout, LineFormat, Position, Text, Thread, ThreadId,
    Version,
};
use crate::error::{Error, Result};
use crate::memory::{Memory, word_at};

const COOKIE: &[u8; 8] = b"xdebugpy";

/// A section of the table: its name and its fields, in order. A field `name@N` is there since 3.N.
type Section = (&'static str, &'static [&'static str]);

const SECTIONS: &[Section] = &[
    ("table", &["cookie", "version", "free_threaded"]),
    ("runtime", &["size", "finalizing", "interpreters_head"]),
    (
        "interpreter",
        &[
            "size",
            "id",
            "next",
            "threads_head",
            "threads_main@14",
            "gc",
            "imports_modules",
            "sysdict",
            "builtins",
            "ceval_gil",
            "gil",
            "gil_enabled",
            "gil_locked",
            "gil_holder",
            "code_object_generation@14",
            "tlbc_generation@14",
        ],
    ),
    (
        "thread",
        &[
            "size",
            "prev",
            "next",
            "interp",
            "current_frame",
            "base_frame@15",
            "last_profiled_frame@15",
            "last_profiled_frame_seq@15",
            "thread_id",
            "native_thread_id",
            "datastack_chunk",
            "status",
            "holds_gil@15",
            "gil_requested@15",
            "current_exception@15",
            "exc_state@15",
        ],
    ),
    ("err_stackitem", &["exc_value@15"]),
    (
        "frame",
        &["size", "previous", "executable", "instr_ptr", "localsplus", "owner", "stackpointer@14", "tlbc_index@14"],
    ),
    (
        "code",
        &[
            "size",
            "filename",
            "name",
            "qualname",
            "linetable",
            "firstlineno",
            "argcount",
            "localsplusnames",
            "localspluskinds",
            "co_code_adaptive",
            "co_tlbc@14",
        ],
    ),
    ("pyobject", &["size", "ob_type"]),
    ("type", &["size", "tp_name", "tp_repr", "tp_flags", "tp_basicsize@15", "tp_dictoffset@15"]),
    ("heap_type", &["size@15", "ht_cached_keys@15"]),
    ("tuple", &["size", "ob_item", "ob_size"]),
    ("list", &["size", "ob_item", "ob_size"]),
    ("set", &["size@14", "used@14", "table@14", "mask@14"]),
    ("dict", &["size", "ma_keys", "ma_values"]),
    ("float", &["size", "ob_fval"]),
    ("long", &["size", "lv_tag", "ob_digit"]),
    ("bytes", &["size", "ob_size", "ob_sval"]),
    ("unicode", &["size", "state", "length", "asciiobject_size", "compactunicodeobject_size@15"]),
    ("gc", &["size", "collecting"]),
];

/// Length of the longest table that is read.
const LENGTH: usize = 128 * 8;

/// Reads the table at the start of `_PyRuntime` and makes a layout of it.
pub(super) fn read(memory: Memory, pid: u32, runtime: u64) -> Result<(Layout, Version)> {
    let bytes = memory.bytes::<LENGTH>(runtime).map_err(|_| Error::NoProcess { pid })?;
    if &bytes[..8] != COOKIE {
        // The table is part of the file's data, so only an unknown version has none.
        let version = "of an unknown version".to_owned();
        return Err(Error::Version { pid, version });
    }
    let version = Version::from_hex(word_at(&bytes, 8))
        .filter(|version| (13..=15).contains(&version.minor))
        .ok_or_else(|| Error::Version { pid, version: shown(word_at(&bytes, 8)) })?;
    let table = Table { bytes: &bytes, minor: version.minor };
    if table.at("table", "free_threaded") != 0 {
        return Err(Error::FreeThreaded { pid, version: version.to_string() });
    }
    Ok((table.layout(), version))
}

fn shown(hex: u64) -> String {
    let [_, micro, minor, major, ..] = hex.to_le_bytes();
    format!("{major}.{minor}.{micro}")
}

struct Table<'a> {
    bytes: &'a [u8],
    minor: u8,
}

impl Table<'_> {
    fn layout(&self) -> Layout {
        let gil = self.at("interpreter", "gil");
        let locked = self.at("interpreter", "gil_locked") - gil;
        Layout {
            interpreters: self.at("runtime", "interpreters_head"),
            finalizing: self.at("runtime", "finalizing"),
            interpreter: Interpreter {
                next: self.at("interpreter", "next"),
                threads: self.at("interpreter", "threads_head"),
                gc_collecting: self.at("interpreter", "gc") + self.at("gc", "collecting"),
            },
            gil: Gil {
                place: GilPlace::Behind(self.at("interpreter", "ceval_gil")),
                last_holder: self.at("interpreter", "gil_holder") - gil,
                locked,
                switch_number: locked + 8,
            },
            thread: Thread {
                next: self.at("thread", "next"),
                id: ThreadId::Native(self.at("thread", "native_thread_id")),
                current: CurrentFrame::Direct(self.at("thread", "current_frame")),
            },
            frame: Frame {
                previous: self.at("frame", "previous"),
                code: self.at("frame", "executable"),
                position: Position::Pointer(self.at("frame", "instr_ptr")),
                locals: self.at("frame", "localsplus"),
                owner: Some((self.at("frame", "owner"), 3)),
            },
            code: Code {
                filename: self.at("code", "filename"),
                name: self.at("code", "name"),
                first_line: self.at("code", "firstlineno"),
                line_table: self.at("code", "linetable"),
                instructions: self.at("code", "co_code_adaptive"),
                lines: LineFormat::Locations,
            },
            text: self.text(),
        }
    }

    fn text(&self) -> Text {
        let ascii_data = self.at("unicode", "asciiobject_size");
        Text {
            bytes_size: self.at("bytes", "ob_size"),
            bytes_data: self.at("bytes", "ob_sval"),
            length: self.at("unicode", "length"),
            state: self.at("unicode", "state"),
            ascii_data,
            wide_data: ascii_data + 16,
        }
    }

    /// The word of a field. The names are constants of this file, so a wrong one is a bug.
    fn at(&self, section: &str, field: &str) -> u64 {
        word_at(self.bytes, 8 * self.index(section, field))
    }

    fn index(&self, section: &str, field: &str) -> usize {
        let fields = SECTIONS.iter().flat_map(|(name, fields)| fields.iter().map(move |f| (name, f)));
        fields
            .filter_map(|(name, field)| match field.split_once('@') {
                Some((field, since)) => (since.parse::<u8>().ok()? <= self.minor).then_some((*name, field)),
                None => Some((*name, *field)),
            })
            .position(|found| found == (section, field))
            .unwrap_or_else(|| unreachable!("no field `{section}.{field}` in 3.{}", self.minor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_its_place_in_each_header() {
        let index = |minor, section, field| Table { bytes: &[], minor }.index(section, field);
        assert_eq!(index(13, "interpreter", "ceval_gil"), 14);
        assert_eq!(index(14, "interpreter", "ceval_gil"), 15);
        assert_eq!(index(13, "gc", "collecting"), 72);
        assert_eq!(index(15, "thread", "native_thread_id"), 31);
    }

    /// A table in this very process, as an interpreter of version 3.`minor` would carry it.
    fn read_table(cookie: &[u8; 8], minor: u8, free_threaded: u64) -> Result<(Layout, Version)> {
        let mut words = [0_u64; LENGTH / 8];
        words[0] = u64::from_ne_bytes(*cookie);
        words[1] = u64::from_le_bytes([0xf0, 2, minor, 3, 0, 0, 0, 0]);
        words[2] = free_threaded;
        let pid = std::process::id();
        read(Memory::of(pid), pid, words.as_ptr() as u64)
    }

    #[test]
    fn a_known_version_is_read() {
        let (_, version) = read_table(COOKIE, 14, 0).unwrap();
        assert_eq!(version.to_string(), "3.14.2");
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_version() {
        let later = read_table(COOKIE, 16, 0);
        assert!(matches!(later, Err(Error::Version { version, .. }) if version == "3.16.2"));
        assert!(matches!(read_table(b"nonsense", 14, 0), Err(Error::Version { .. })));
    }

    #[test]
    fn a_build_without_the_gil_is_refused_by_name() {
        let free = read_table(COOKIE, 14, 1);
        assert!(matches!(free, Err(Error::FreeThreaded { version, .. }) if version == "3.14.2"));
    }
}
