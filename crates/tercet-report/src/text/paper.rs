//! Lines of coloured text that never pass the edge.

use anstyle::{AnsiColor, Effects};

use crate::{Style, name};

/// How a piece of text looks where there is colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    /// As the terminal has it.
    Plain,
    /// What matters most.
    Strong,
    /// What may be passed over.
    Faint,
    /// What needs attention.
    Alert,
    /// A kind of wait.
    Kind(AnsiColor),
}

impl Paint {
    fn style(self) -> anstyle::Style {
        let plain = anstyle::Style::new();
        match self {
            Self::Plain => plain,
            Self::Strong => plain.effects(Effects::BOLD),
            Self::Faint => plain.effects(Effects::DIMMED),
            Self::Alert => plain.fg_color(Some(AnsiColor::Yellow.into())).effects(Effects::BOLD),
            Self::Kind(colour) => plain.fg_color(Some(colour.into())),
        }
    }
}

/// A piece of one line.
#[derive(Clone, Debug)]
pub(super) struct Span {
    text: String,
    paint: Paint,
}

/// A piece of a line in the terminal's own colour.
pub(super) fn plain(text: impl Into<String>) -> Span {
    painted(text, Paint::Plain)
}

/// A piece of a line.
pub(super) fn painted(text: impl Into<String>, paint: Paint) -> Span {
    Span { text: text.into(), paint }
}

/// The text so far.
#[derive(Debug)]
pub(super) struct Paper {
    style: Style,
    text: String,
}

impl Paper {
    /// An empty page.
    pub(super) fn new(style: Style) -> Self {
        Self { style, text: String::new() }
    }

    /// The page with its lines.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// The columns there are.
    pub(super) fn columns(&self) -> usize {
        self.style.columns()
    }

    /// What stands where something is left out.
    pub(super) fn gap(&self) -> &'static str {
        self.pick("\u{2026}", "...")
    }

    /// The first where the terminal has Unicode, else the second.
    pub(super) fn pick<T>(&self, unicode: T, ascii: T) -> T {
        if self.style.unicode { unicode } else { ascii }
    }

    /// A text as this terminal can show it.
    pub(super) fn shown(&self, text: &str) -> String {
        if self.style.unicode { name::visible(text) } else { name::ascii(text) }
    }

    /// An empty line and a heading.
    pub(super) fn heading(&mut self, text: &str) {
        self.blank();
        self.paragraph("", text, Paint::Strong);
    }

    /// An empty line.
    pub(super) fn blank(&mut self) {
        self.text.push('\n');
    }

    /// One line. What does not fit is cut off.
    pub(super) fn row(&mut self, spans: &[Span]) {
        let mut room = self.columns();
        let mut row = String::new();
        for span in trimmed(spans) {
            let shown = self.shown(&span.text);
            let kept = name::head(&shown, room);
            room -= name::width(kept).min(room);
            self.paint(&mut row, kept, span.paint);
        }
        self.text.push_str(&row);
        self.text.push('\n');
    }

    /// Running text over as many lines as it needs, the first after `lead`, the others below it.
    pub(super) fn paragraph(&mut self, lead: &str, text: &str, paint: Paint) {
        let lead = self.shown(lead);
        let indent = " ".repeat(name::width(&lead));
        let shown = self.shown(text);
        for (index, line) in wrap(&shown, self.columns() - indent.len()).iter().enumerate() {
            let start = if index == 0 { &lead } else { &indent };
            self.row(&[plain(start.as_str()), painted(line.as_str(), paint)]);
        }
    }

    fn paint(&self, row: &mut String, text: &str, paint: Paint) {
        use std::fmt::Write as _;
        if self.style.colour && paint != Paint::Plain && !text.trim().is_empty() {
            let style = paint.style();
            // Writing to a `String` does not fail.
            let _ = write!(row, "{style}{text}{style:#}");
        } else {
            row.push_str(text);
        }
    }
}

/// The spans without the blanks at the end of the line.
fn trimmed(spans: &[Span]) -> Vec<Span> {
    let mut spans = spans.to_vec();
    while let Some(last) = spans.last_mut() {
        last.text.truncate(last.text.trim_end_matches(' ').len());
        if !last.text.is_empty() {
            break;
        }
        spans.pop();
    }
    spans
}

/// Breaks text at blanks; a word longer than a line is cut.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace().flat_map(|word| pieces(word, room)) {
        let width = name::width(word);
        let line = lines.len() - 1;
        if used > 0 && used + 1 + width > room {
            lines.push(word.to_owned());
            used = width;
        } else {
            let blank = if used > 0 { " " } else { "" };
            lines[line].push_str(blank);
            lines[line].push_str(word);
            used += blank.len() + width;
        }
    }
    lines
}

/// A word in pieces that fit.
fn pieces(mut word: &str, room: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    while name::width(word) > room {
        let piece = name::head(word, room.max(2));
        pieces.push(piece);
        word = &word[piece.len()..];
    }
    pieces.push(word);
    pieces
}

/// The text with blanks after it up to `columns`.
pub(super) fn left(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(name::width(text))))
}

/// The text with blanks before it up to `columns`.
pub(super) fn right(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(name::width(text))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_kept_whole_unless_they_are_longer_than_a_line() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn colour_ends_where_it_began_and_blanks_have_none() {
        let style = Style { colour: true, ..Style::default() };
        let mut paper = Paper::new(style);
        paper.row(&[painted("a", Paint::Strong), painted("  ", Paint::Strong), plain("b  ")]);
        assert_eq!(paper.into_text(), "\x1b[1ma\x1b[0m  b\n");
    }

    proptest! {
        #[test]
        fn no_wrapped_line_is_too_wide(text in any::<String>(), room in 2_usize..60) {
            for line in wrap(&name::visible(&text), room) {
                prop_assert!(name::width(&line) <= room);
            }
        }
    }
}
