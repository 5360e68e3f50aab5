//! Texts for the page: made visible, of bounded length, with code told apart.

use serde::Serialize;

use crate::name;

/// The longest name shown on the page, in columns.
const LONGEST_NAME: usize = 160;

/// The longest sentence.
const LONGEST_SENTENCE: usize = 1200;

/// A name from the program for the page; a long one loses its middle.
pub(super) fn short(text: &str) -> String {
    name::shorten_middle(&name::visible(text), LONGEST_NAME, "\u{2026}")
}

/// A piece of a sentence.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Piece {
    text: String,
    is_code: bool,
}

/// A sentence in pieces: what stands between backticks is code.
pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let shown = name::shorten_middle(&name::visible(text), LONGEST_SENTENCE, "\u{2026}");
    let parts: Vec<_> = shown.split('`').collect();
    if parts.len() % 2 == 0 {
        return vec![Piece { text: shown, is_code: false }];
    }
    let pieces = parts.into_iter().enumerate();
    pieces
        .map(|(index, part)| Piece { text: part.to_owned(), is_code: index % 2 == 1 })
        .filter(|piece| !piece.text.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_backticks_is_code() {
        let piece = |text: &str, is_code| Piece { text: text.into(), is_code };
        assert_eq!(pieces("run `x`, or"), [piece("run ", false), piece("x", true), piece(", or", false)]);
        assert_eq!(pieces("one ` only"), [piece("one ` only", false)]);
        assert!(pieces("").is_empty());
    }
}
