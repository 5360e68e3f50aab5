//! Text that comes from the watched program, made safe to show.
//!
//! A path or a thread name may hold escape sequences, line breaks, invisible characters or marks
//! that turn the direction of writing. Such characters are written out (`\x1b`, `\u202e`), so that
//! the reader sees that they are there and no terminal obeys them. Making a text visible twice
//! changes nothing.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How many marks without a width of their own may follow one another.
const MARKS_IN_A_ROW: usize = 3;

/// How many characters of one name are ever looked at. No page has room for more.
const LONGEST: usize = 4096;

/// The text with every character that cannot be seen written out.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(LONGEST));
    let mut marks = 0;
    for character in text.chars().take(LONGEST) {
        let has_width = character.width().is_some_and(|width| width > 0);
        marks = if has_width { 0 } else { marks + 1 };
        if is_unseen(character) || marks > MARKS_IN_A_ROW {
            write_out(&mut shown, character);
            marks = 0;
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The text in ASCII: typographic marks by their nearest likeness, all else written out.
pub(crate) fn ascii(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in visible(text).chars() {
        match character {
            '\u{2026}' => shown.push_str("..."),
            '\u{2013}' | '\u{2014}' | '\u{2212}' | '\u{b7}' => shown.push('-'),
            '\u{d7}' => shown.push('x'),
            '\u{2018}' | '\u{2019}' => shown.push('\''),
            '\u{201c}' | '\u{201d}' => shown.push('"'),
            '\u{a0}' | '\u{202f}' => shown.push(' '),
            _ if character.is_ascii() => shown.push(character),
            _ => write_out(&mut shown, character),
        }
    }
    shown
}

/// The columns a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The text in at most `room` columns: its start, `gap`, its end.
pub(crate) fn shorten_middle(text: &str, room: usize, gap: &str) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let Some(kept) = room.checked_sub(width(gap)) else { return head(text, room).to_owned() };
    format!("{}{gap}{}", head(text, kept - kept / 2), tail(text, kept / 2))
}

/// The text in at most `room` columns: `gap` and its end.
pub(crate) fn shorten_left(text: &str, room: usize, gap: &str) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let Some(kept) = room.checked_sub(width(gap)) else { return tail(text, room).to_owned() };
    format!("{gap}{}", tail(text, kept))
}

/// The longest start of a text that fits.
pub(crate) fn head(text: &str, room: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|&(_, character)| {
        used += columns(character);
        used > room
    });
    end.map_or(text, |(index, _)| &text[..index])
}

/// The longest end of a text that fits.
pub(crate) fn tail(text: &str, room: usize) -> &str {
    let mut used = 0;
    let start = text.char_indices().rev().find(|&(_, character)| {
        used += columns(character);
        used > room
    });
    start.map_or(text, |(index, character)| &text[index + character.len_utf8()..])
}

/// The columns of one character by itself, never less than it takes within a text.
fn columns(character: char) -> usize {
    character.width().unwrap_or(0)
}

/// Whether a character does something other than being seen at its place.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Writes a character the way Python's `ascii` does.
fn write_out(shown: &mut String, character: char) {
    // Writing to a `String` does not fail.
    let _ = match u32::from(character) {
        0x09 => shown.write_str("\\t"),
        0x0a => shown.write_str("\\n"),
        0x0d => shown.write_str("\\r"),
        code @ 0..=0xff => write!(shown, "\\x{code:02x}"),
        code @ 0x100..=0xffff => write!(shown, "\\u{code:04x}"),
        code => write!(shown, "\\U{code:08x}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_sequences_are_written_out() {
        assert_eq!(visible("\x1b[31mred\n\u{9b}2J"), "\\x1b[31mred\\n\\x9b2J");
        assert_eq!(visible("a\u{202e}b\u{2028}c\u{200b}"), "a\\u202eb\\u2028c\\u200b");
    }

    #[test]
    fn ordinary_names_of_any_language_stay_as_they_are() {
        for name in ["app.py", "Überweisung", "下载.py", "загрузка", "🐍.py", "e\u{301}"] {
            assert_eq!(visible(name), name);
        }
    }

    #[test]
    fn ascii_keeps_the_likeness_and_writes_out_the_rest() {
        assert_eq!(ascii("3× – “é”…"), "3x - \"\\xe9\"...");
    }

    #[test]
    fn a_tower_of_marks_is_cut_short() {
        let tower = format!("a{}", "\u{301}".repeat(10_000));
        assert!(width(&visible(&tower)) > 1000);
    }

    #[test]
    fn shortening_keeps_both_ends_or_the_right_one() {
        assert_eq!(shorten_middle("abcdefghij", 7, "…"), "abc…hij");
        assert_eq!(shorten_left("abcdefghij", 4, "..."), "...j");
        assert_eq!(shorten_middle("下载下载下载", 6, "…"), "下…载");
        assert_eq!(shorten_left("abc", 2, "..."), "bc");
    }

    proptest! {
        #[test]
        fn nothing_unseen_is_left_and_twice_is_as_once(text in any::<String>()) {
            let once = visible(&text);
            prop_assert!(!once.chars().any(is_unseen));
            prop_assert_eq!(visible(&once), once.clone());
            prop_assert!(ascii(&text).is_ascii());
        }

        #[test]
        fn shortened_texts_fit(text in any::<String>(), room in 0_usize..40) {
            let text = visible(&text);
            prop_assert!(width(&shorten_middle(&text, room, "…")) <= room);
            prop_assert!(width(&shorten_left(&text, room, "...")) <= room);
        }
    }
}
