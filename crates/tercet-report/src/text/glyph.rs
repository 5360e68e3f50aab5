//! What a kind of wait looks like in text: a fill that is its own, and a colour beside it.

use anstyle::AnsiColor;
use tercet_model::Wait;

use super::paper::{Paint, Paper};

/// The character that fills a kind's part of the bar.
pub(super) fn fill(kind: Wait, paper: &Paper) -> char {
    let (unicode, ascii, _) = look(kind);
    paper.pick(unicode, ascii)
}

/// The colour of a kind.
pub(super) const fn paint(kind: Wait) -> Paint {
    Paint::Kind(look(kind).2)
}

const fn look(kind: Wait) -> (char, char, AnsiColor) {
    match kind {
        Wait::CpuGil => ('█', '#', AnsiColor::Blue),
        Wait::CpuNogil => ('▓', '%', AnsiColor::Cyan),
        Wait::Runnable => ('▜', 'r', AnsiColor::Yellow),
        Wait::GilWait => ('▚', 'G', AnsiColor::BrightRed),
        Wait::GilHeld => ('▞', 'H', AnsiColor::Red),
        Wait::Lock => ('╳', 'X', AnsiColor::Magenta),
        Wait::ProcessLock => ('┼', '+', AnsiColor::BrightMagenta),
        Wait::Network => ('▒', '=', AnsiColor::Green),
        Wait::Disk => ('≡', 'd', AnsiColor::BrightYellow),
        Wait::Pipe => ('║', '|', AnsiColor::BrightCyan),
        Wait::Child => ('◇', 'c', AnsiColor::BrightGreen),
        Wait::Sleep => ('·', '.', AnsiColor::White),
        Wait::LoopIdle => ('░', '-', AnsiColor::White),
        Wait::Gc => ('▙', 'g', AnsiColor::BrightBlue),
        Wait::Other => ('?', '?', AnsiColor::BrightBlack),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_has_a_fill_of_its_own_one_column_wide() {
        let unicode: BTreeSet<_> = Wait::ALL.iter().map(|&kind| look(kind).0).collect();
        let ascii: BTreeSet<_> = Wait::ALL.iter().map(|&kind| look(kind).1).collect();
        assert_eq!((unicode.len(), ascii.len()), (Wait::COUNT, Wait::COUNT));
        assert!(ascii.iter().all(char::is_ascii));
        assert!(unicode.iter().all(|fill| crate::name::width(&fill.to_string()) == 1));
    }
}
