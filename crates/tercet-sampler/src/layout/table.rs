//! The layouts of the versions that carry no table of their own.
//!
//! Each figure is `offsetof` from the headers of the version. They hold for every micro version:
//! CPython does not change its structs within a minor one.

use super::{
    Code, CurrentFrame, Frame, Gil, GilPlace, Interpreter, Layout, LineFormat, Position, Text, Thread, ThreadId,
};

const GIL_FIELDS: Gil = Gil { place: GilPlace::InRuntime(0), last_holder: 8, locked: 16, switch_number: 24 };

pub(super) const V3_10: Layout = Layout {
    interpreters: 32,
    finalizing: 16,
    interpreter: Interpreter { next: 0, threads: 8, gc_collecting: 816 },
    gil: Gil { place: GilPlace::InRuntime(352), ..GIL_FIELDS },
    thread: Thread { next: 8, id: ThreadId::Pthread(176), current: CurrentFrame::Direct(24) },
    frame: Frame { previous: 24, code: 32, position: Position::Index(96), locals: 352, owner: None },
    code: Code {
        filename: 104,
        name: 112,
        first_line: 40,
        line_table: 120,
        instructions: 48,
        lines: LineFormat::Pairs,
    },
    text: Text { bytes_size: 16, bytes_data: 32, length: 16, state: 32, ascii_data: 48, wide_data: 72 },
};

pub(super) const V3_11: Layout = Layout {
    interpreters: 40,
    finalizing: 24,
    interpreter: Interpreter { next: 0, threads: 16, gc_collecting: 848 },
    gil: Gil { place: GilPlace::InRuntime(360), ..GIL_FIELDS },
    thread: Thread { next: 8, id: ThreadId::Native(160), current: CurrentFrame::Behind(56, 8) },
    frame: Frame { previous: 48, code: 32, position: Position::Pointer(56), locals: 72, owner: None },
    code: Code {
        filename: 112,
        name: 120,
        first_line: 72,
        line_table: 136,
        instructions: 184,
        lines: LineFormat::Locations,
    },
    text: V3_10.text,
};

pub(super) const V3_12: Layout = Layout {
    interpreters: 40,
    finalizing: 24,
    interpreter: Interpreter { next: 0, threads: 72, gc_collecting: 312 },
    gil: Gil { place: GilPlace::Behind(384), ..GIL_FIELDS },
    thread: Thread { next: 8, id: ThreadId::Native(144), current: CurrentFrame::Behind(56, 0) },
    frame: Frame { previous: 8, code: 0, position: Position::Pointer(56), locals: 72, owner: Some((70, 3)) },
    code: Code {
        filename: 112,
        name: 120,
        first_line: 68,
        line_table: 136,
        instructions: 192,
        lines: LineFormat::Locations,
    },
    text: Text { ascii_data: 40, wide_data: 56, ..V3_10.text },
};
