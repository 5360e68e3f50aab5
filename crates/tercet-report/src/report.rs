//! What is reported: a program, what was measured of it, and the verdict.

use tercet_model::{Profile, Verdict};

use crate::{Error, Style, html, json, text};

/// The program that was watched, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subject {
    /// The program as the user named it: `app.py`, `-m pkg`, or a command.
    pub program: String,
    /// Version of its Python; empty when not known.
    pub python: String,
    /// Whether it ran before the watch began, rather than being launched for it.
    pub attached: bool,
    /// How it ended, such as `exit code 3` or `killed by SIGTERM`; `None` when it still runs.
    pub exit: Option<String>,
    /// Samples asked for in each second.
    pub hz: f64,
    /// What the sampler itself used, as a share of one processor.
    pub sampler_cpu_share: f64,
}

impl Subject {
    /// How it ended, when that is worth a word.
    pub(crate) fn unusual_exit(&self) -> Option<&str> {
        self.exit.as_deref().filter(|exit| *exit != "exit code 0")
    }
}

/// A verdict about a program, with the facts it rests on.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The program.
    pub subject: &'a Subject,
    /// What was measured.
    pub profile: &'a Profile,
    /// What to do about it.
    pub verdict: &'a Verdict,
}

impl Report<'_> {
    /// One JSON object on one line, without a line break at its end.
    ///
    /// Keys, units and the promise of compatibility are in `docs/json.md`. The object is plain
    /// JSON: a figure that is not finite is `null`, and no character in it can steer a terminal.
    pub fn json(&self) -> String {
        json::render(self)
    }

    /// A page of text for a terminal; every line ends with a line break.
    ///
    /// No line is wider than the style says, and nothing but line breaks and, where the style has
    /// colour, colour codes are control characters.
    pub fn text(&self, style: &Style) -> String {
        text::render(self, *style)
    }

    /// One self-contained HTML page, which runs no script and loads nothing.
    ///
    /// # Errors
    /// [`Error::Template`] when the page cannot be put together, which no input should cause.
    pub fn html(&self) -> Result<String, Error> {
        html::render(self)
    }
}
