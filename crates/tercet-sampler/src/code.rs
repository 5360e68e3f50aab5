//! Code objects of the watched process: whose they are, and what role their function plays.

use std::collections::HashMap;
use std::rc::Rc;

use tercet_model::Origin;

use crate::layout::Layout;
use crate::line_table::line_of;
use crate::memory::{Memory, int_at, word_at};
use crate::role::Role;

/// What is remembered of one code object.
#[derive(Debug)]
pub(crate) struct Code {
    pub(crate) file: Rc<str>,
    pub(crate) function: Rc<str>,
    pub(crate) origin: Origin,
    pub(crate) role: Role,
    first_line: i32,
    line_table: Vec<u8>,
    /// Where its first instruction lies.
    instructions: u64,
    layout: Layout,
}

impl Code {
    /// The line of an instruction, counted from 1; 0 when unknown.
    pub(crate) fn line(&self, position: i64) -> u32 {
        let line = line_of(self.layout.code.lines, &self.line_table, self.first_line, position);
        if line == 0 { self.first_line.max(0) as u32 } else { line }
    }

    /// The index of the instruction that a pointer into the code points to.
    pub(crate) fn position(&self, pointer: u64) -> i64 {
        pointer.wrapping_sub(self.instructions) as i64 / 2
    }
}

/// Code objects by address.
///
/// An address may be given to another code object later, so an entry counts only while the words
/// that tell code objects apart are the same.
#[derive(Debug, Default)]
pub(crate) struct CodeCache {
    entries: HashMap<u64, Entry>,
    texts: HashMap<String, Rc<str>>,
}

#[derive(Debug)]
struct Entry {
    mark: [u64; 4],
    code: Option<Rc<Code>>,
}

/// Bytes of a code object that are read to know it.
pub(crate) const HEAD: usize = 152;

/// Entries kept; a program that makes code for ever starts anew.
const MOST_ENTRIES: usize = 50_000;
/// Longest file name, function name or line table that is believed.
const LONGEST: u64 = 1 << 20;

impl CodeCache {
    /// The code object at `address`, whose first bytes are `head`; `None` when it is none.
    pub(crate) fn get(
        &mut self,
        memory: Memory,
        layout: &Layout,
        code_type: Option<u64>,
        address: u64,
        head: &[u8],
    ) -> Option<Rc<Code>> {
        let mark = mark(layout, head);
        if let Some(entry) = self.entries.get(&address).filter(|entry| entry.mark == mark) {
            return entry.code.clone();
        }
        let code = self.read(memory, layout, code_type, address, head).map(Rc::new);
        if self.entries.len() >= MOST_ENTRIES {
            self.entries.clear();
        }
        self.entries.insert(address, Entry { mark, code: code.clone() });
        code
    }

    fn read(
        &mut self,
        memory: Memory,
        layout: &Layout,
        code_type: Option<u64>,
        address: u64,
        head: &[u8],
    ) -> Option<Code> {
        if code_type.is_some_and(|expected| expected != word_at(head, 8)) {
            return None;
        }
        let at = |offset: u64| word_at(head, offset as usize);
        let file = self.text(text(memory, layout, at(layout.code.filename))?);
        let function = self.text(text(memory, layout, at(layout.code.name))?);
        let instructions = match layout.code.lines {
            crate::layout::LineFormat::Pairs => 0,
            crate::layout::LineFormat::Locations => address.wrapping_add(layout.code.instructions),
        };
        Some(Code {
            origin: crate::role::origin(&file),
            role: Role::of(&file, &function),
            file,
            function,
            first_line: int_at(head, layout.code.first_line as usize),
            line_table: bytes(memory, layout, at(layout.code.line_table))?,
            instructions,
            layout: *layout,
        })
    }

    fn text(&mut self, text: String) -> Rc<str> {
        self.texts.entry(text).or_insert_with_key(|text| text.as_str().into()).clone()
    }
}

/// What changes when another code object takes the address.
fn mark(layout: &Layout, head: &[u8]) -> [u64; 4] {
    let at = |offset: u64| word_at(head, offset as usize);
    let code = &layout.code;
    [at(8), at(code.filename), at(code.name), at(code.line_table)]
}

/// The contents of a `str` object.
fn text(memory: Memory, layout: &Layout, address: u64) -> Option<String> {
    let head = memory.bytes::<80>(address).ok()?;
    let text = &layout.text;
    let length = word_at(&head, text.length as usize);
    let state = int_at(&head, text.state as usize) as u32;
    let (kind, is_ascii) = string_form(state)?;
    if length > LONGEST {
        return None;
    }
    let start = address.wrapping_add(if is_ascii { text.ascii_data } else { text.wide_data });
    let raw = memory.vec(start, (length * u64::from(kind)) as usize).ok()?;
    Some(match kind {
        1 if is_ascii => String::from_utf8_lossy(&raw).into_owned(),
        1 => raw.iter().map(|&byte| char::from(byte)).collect(),
        2 => {
            let units = raw.chunks_exact(2).map(|unit| u16::from_ne_bytes([unit[0], unit[1]]));
            char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect()
        }
        _ => raw
            .chunks_exact(4)
            .map(|unit| u32::from_ne_bytes([unit[0], unit[1], unit[2], unit[3]]))
            .map(|code| char::from_u32(code).unwrap_or('\u{fffd}'))
            .collect(),
    })
}

/// Bytes a character and whether all are ASCII, from the `state` of a `str`: a row of bit fields,
/// interned (2 bits), kind (3), compact (1), ascii (1).
fn string_form(state: u32) -> Option<(u8, bool)> {
    let fields = state >> 2;
    let (kind, is_compact, is_ascii) = ((fields & 7) as u8, fields & 8 != 0, fields & 16 != 0);
    (matches!(kind, 1 | 2 | 4) && is_compact).then_some((kind, is_ascii && kind == 1))
}

/// The contents of a `bytes` object.
fn bytes(memory: Memory, layout: &Layout, address: u64) -> Option<Vec<u8>> {
    let size = memory.word(address.wrapping_add(layout.text.bytes_size)).ok()?;
    (size <= LONGEST).then(|| memory.vec(address.wrapping_add(layout.text.bytes_data), size as usize).ok())?
}
