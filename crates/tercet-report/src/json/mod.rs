//! The report as one JSON object, whose keys `docs/json.md` holds.
//!
//! The object has types of its own rather than those of the model: the model may change with any
//! release, the object only by addition.

mod fact;
mod object;
mod seen;

use std::fmt::Write as _;

use crate::Report;

/// Version of the object. It changes only when a key is taken away or changes its meaning.
pub(crate) const SCHEMA: u32 = 1;

/// The object on one line.
pub(crate) fn render(report: &Report<'_>) -> String {
    // Every key is a literal and no value refuses to be written, so there is no error to report.
    let text = serde_json::to_string(&object::Object::of(report)).unwrap_or_default();
    quiet(&text)
}

/// The same JSON with every character escaped that a terminal or a reader of lines could act upon.
/// Such characters occur within strings only, where `\u` stands for them.
fn quiet(json: &str) -> String {
    let mut quiet = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => {
                // Writing to a `String` does not fail.
                let _ = write!(quiet, "\\u{:04x}", u32::from(character));
            }
            _ => quiet.push(character),
        }
    }
    quiet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_a_terminal_obeys_are_escaped_and_come_back_the_same() {
        let name = "a\u{9b}31m\u{2028}\u{202e}\u{7f}é\u{1b}[0m";
        let json = quiet(&serde_json::to_string(name).unwrap());
        assert!(json.chars().all(|character| !character.is_control()), "{json}");
        assert!(!json.contains('\u{2028}'));
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), name);
    }
}
