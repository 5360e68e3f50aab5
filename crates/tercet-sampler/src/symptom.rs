//! Signs that the states alone do not show: what the source says at the hot lines.
//!
//! A busy wait looks like any other computation from outside, and a wait in small pieces like any
//! other sleep. What tells them apart is the loop that stands there, so the few lines that hold most
//! of the time are looked up in their files.

use std::collections::HashMap;
use std::fs;

/// What the source at a line says about a loop around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The line is, or stands alone in, a `while` loop that only asks again.
    Spin,
    /// The line asks for something without waiting, inside a `while` loop.
    Ask,
    /// The line stands inside a `while` loop.
    While,
    /// None of these, or the source cannot be read.
    None,
}

/// Source files, read once.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    files: HashMap<String, Vec<String>>,
}

/// Longest source file that is read.
const LONGEST_FILE: u64 = 4 << 20;

/// Calls that return at once whether or not there is anything.
const ASKING: [&str; 22] = [
    ".select(",
    "select.select(",
    ".poll(",
    ".recv(",
    ".recv_into(",
    ".recvfrom(",
    ".accept(",
    "_nowait(",
    ".empty(",
    ".full(",
    ".qsize(",
    ".done(",
    ".is_alive(",
    ".is_set(",
    ".locked(",
    ".ready(",
    "blocking=False",
    "acquire(False",
    "timeout=0",
    "sleep(0",
    "os.waitpid(",
    ".running(",
];

impl Sources {
    /// What stands at `line` of `file`, in the process whose root and folder are given.
    pub(crate) fn turn(&mut self, file: &str, line: u32) -> Turn {
        let lines = self.files.entry(file.to_owned()).or_insert_with(|| read(file));
        let Some(index) = (line as usize).checked_sub(1).filter(|&index| index < lines.len()) else {
            return Turn::None;
        };
        turn_in(lines, index)
    }
}

fn read(file: &str) -> Vec<String> {
    let is_small = fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.len() <= LONGEST_FILE);
    let text = if is_small { fs::read(file).unwrap_or_default() } else { Vec::new() };
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

fn turn_in(lines: &[String], index: usize) -> Turn {
    let text = code(&lines[index]);
    if text.starts_with("while ") || text.starts_with("while(") {
        return if is_empty_body(lines, index) { Turn::Spin } else { asking_or(text, Turn::While) };
    }
    let Some(head) = enclosing(lines, index) else { return Turn::None };
    let head_text = code(&lines[head]);
    if !(head_text.starts_with("while ") || head_text.starts_with("while(")) {
        return Turn::None;
    }
    match text {
        "pass" | "continue" | "..." => Turn::Spin,
        _ => asking_or(text, Turn::While),
    }
}

fn asking_or(text: &str, otherwise: Turn) -> Turn {
    if ASKING.iter().any(|call| text.contains(call)) { Turn::Ask } else { otherwise }
}

/// A line without its comment and its margins. A `#` inside a string cuts too much, never too little.
fn code(line: &str) -> &str {
    line.split('#').next().unwrap_or(line).trim()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Whether the `while` at `index` has a body that does nothing.
fn is_empty_body(lines: &[String], index: usize) -> bool {
    let head = code(&lines[index]);
    if !head.ends_with(':') {
        return head.ends_with(": pass") || head.ends_with(": continue") || head.ends_with(": ...");
    }
    let depth = indent(&lines[index]);
    let body = lines[index + 1..].iter().filter(|line| !code(line).is_empty());
    let mut body = body.take_while(|line| indent(line) > depth).map(|line| code(line)).peekable();
    body.peek().is_some() && body.all(|line| matches!(line, "pass" | "continue" | "..."))
}

/// The head of the innermost loop around a line; `None` when a function begins before any.
fn enclosing(lines: &[String], index: usize) -> Option<usize> {
    let mut depth = indent(&lines[index]);
    for (at, line) in lines[..index].iter().enumerate().rev() {
        let text = code(line);
        if text.is_empty() || indent(line) >= depth {
            continue;
        }
        depth = indent(line);
        if ["while ", "while(", "for ", "async for "].iter().any(|head| text.starts_with(head)) {
            return Some(at);
        }
        if ["def ", "async def ", "class "].iter().any(|head| text.starts_with(head)) {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(source: &str, line: usize) -> Turn {
        let lines: Vec<_> = source.lines().map(str::to_owned).collect();
        turn_in(&lines, line - 1)
    }

    #[test]
    fn a_loop_that_only_asks_again_spins() {
        assert_eq!(turn("while not done:\n    pass\n", 1), Turn::Spin);
        assert_eq!(turn("while not done:\n    pass\n", 2), Turn::Spin);
        assert_eq!(turn("while not done: pass", 1), Turn::Spin);
    }

    #[test]
    fn a_loop_that_does_something_does_not() {
        assert_eq!(turn("while n < 9:\n    n += 1\n", 1), Turn::While);
        assert_eq!(turn("while n < 9:\n    n += 1\n", 2), Turn::While);
        assert_eq!(turn("for x in y:\n    n += x\n", 2), Turn::None);
    }

    #[test]
    fn asking_without_waiting_is_seen_through_a_condition() {
        let source = "while True:\n    if s:\n        r = poller.poll(0)\n";
        assert_eq!(turn(source, 3), Turn::Ask);
        assert_eq!(turn("def f():\n    s.recv(10)\n", 2), Turn::None);
    }
}
